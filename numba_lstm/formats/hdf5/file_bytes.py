"""The bytes of a file, of which only so much is looked at."""

from __future__ import annotations

_BUDGET, _BUDGET_SHARE = 1 << 20, 4
"""Bytes of headers and names that may be looked at: this much, and so many times the file.  Each is read once or twice;
in a file that is a trap, parts of them lie over each other, or thousands of names are the same long text."""

_PIECE = 32
"""Bytes that a message, a name or a text counts for at least: Python takes as much for one that has hardly any."""


class Unknown(ValueError):
    """A part of the format that is not read here."""


class FileBytes:
    """A whole file in memory.

    Parameters
    ----------
    content : bytes
        All of it.

    Raises
    ------
    ValueError
        From all methods: if something does not lie within the file, or too much is looked at.
    """

    def __init__(self, content: bytes) -> None:
        self.content = content
        self._heaps: dict[tuple[int, int], bytes] = {}
        self._left = _BUDGET + _BUDGET_SHARE * len(content)

    def spend(self, size: int) -> None:
        """Count bytes that are looked at."""
        self._left -= size
        if self._left < 0:
            raise ValueError("its groups and attributes lie over each other")

    def spend_piece(self, size: int = 0) -> None:
        """Count a message, a name or a text that is looked at."""
        self.spend(max(size, _PIECE))

    def within(self, place: int, size: int) -> None:
        """Raise unless a part lies within the file."""
        if place + size > len(self.content):
            raise ValueError(f"something should lie at {place:,}; the file ends at {len(self.content):,}")

    def read(self, place: int, size: int) -> bytes:
        """Return bytes of a place."""
        self.within(place, size)
        return self.content[place : place + size]

    def number(self, place: int, size: int) -> int:
        """Return an integer without a sign."""
        return int.from_bytes(self.read(place, size), "little")

    def expect(self, place: int, signature: bytes) -> None:
        """Raise unless a part begins as it should."""
        if self.read(place, len(signature)) != signature:
            raise ValueError(f"{signature.decode()} should lie at {place:,}")

    def text(self, place: int) -> str:
        """Return a text that a zero ends."""
        end = self.content.find(b"\0", place, place + 4096)
        if end < 0:
            raise ValueError(f"a name at {place:,} does not end")
        self.spend_piece(end - place)
        return self.content[place:end].decode()

    def in_heap(self, length: int, collection: int, index: int) -> bytes:
        """Return what stands in a heap of values, each of which is read once."""
        if not length:
            return b""
        if (collection, -1) not in self._heaps:
            self.expect(collection, b"GCOL")
            end = collection + self.number(collection + 8, 8)
            self.spend(end - collection)
            self.within(collection, end - collection)
            self._heaps[collection, -1] = b""
            place = collection + 16
            while place + 16 <= end:
                found, size = self.number(place, 2), self.number(place + 8, 8)
                if not found:
                    break
                if place + 16 + size > end:
                    raise ValueError(f"a text at {place:,} is too long")
                self.spend_piece()
                self._heaps[collection, found] = self.read(place + 16, size)
                place += 16 + -(-size // 8) * 8
        return self._heaps.get((collection, index), b"")[:length]
