"""Groups, attributes and arrays of an HDF5 file, as Keras writes them.

The HDF5 library ends the process on some damaged files, and computes for minutes on others.  This reader knows the
part of the format (HDF5 File Format Specification, version 3.0) that h5py writes by default, and the newer headers;
it follows no link to another file or place, and everything that it looks at has to lie within the file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

SIGNATURE = b"\x89HDF\r\n\x1a\n"

_NOWHERE = (1 << 64) - 1
_DATASPACE, _LINK_INFO, _DATATYPE, _LINK, _EXTERNAL_FILES, _LAYOUT = 0x1, 0x2, 0x3, 0x6, 0x7, 0x8
_FILTERS, _ATTRIBUTE, _CONTINUATION, _SYMBOL_TABLE, _ATTRIBUTE_INFO = 0xB, 0xC, 0x10, 0x11, 0x15

_BUDGET, _BUDGET_SHARE = 1 << 20, 4
"""Bytes of headers and names that may be looked at: this much, and so many times the file.  Each is read once or twice;
in a file that is a trap, parts of them lie over each other, or thousands of names are the same long text."""

_FLOATS = {(2, 5): "f2", (2, 8): "bfloat16", (4, 8): "f4", (8, 11): "f8"}
"""Bytes and bits of the exponent -> type."""


class Unknown(ValueError):
    """A part of the format that is not read here."""


class _Type(NamedTuple):
    """A datatype: NumPy's name of it, or "text" of a fixed size, or "texts" that lie elsewhere."""

    kind: str
    size: int


class Node:
    """A group or an array of a file.

    Parameters
    ----------
    file : File
        Where it is.
    address : int
        Of its header.
    path : str
        What messages call it.
    """

    def __init__(self, file: File, address: int, path: str) -> None:
        self.address, self.path = address, path
        self._file = file
        self._messages = list(file.messages(address))
        self._children: dict[str, int | None] | None = None
        self._nodes: dict[str, Node] = {}

    @property
    def is_array(self) -> bool:
        """Whether this is an array, not a group."""
        return any(kind == _LAYOUT for kind, _ in self._messages)

    def names(self) -> list[str]:
        """Return the names of what is in a group."""
        return list(self._links())

    def find(self, path: str) -> Node | None:
        """Return what stands under a path such as ``a/b``, or None."""
        node = self
        for name in path.split("/"):
            found = node._nodes.get(name) or node._child(name)
            if found is None:
                return None
            node = found
        return node

    def _child(self, name: str) -> Node | None:
        links = self._links()
        if name not in links:
            return None
        address, place = links[name], f"{self.path}/{name}".lstrip("/")
        if address is None:
            raise Unknown(f"{place} is a link to another place, which is not followed")
        node = self._nodes[name] = Node(self._file, address, place)
        return node

    def _links(self) -> dict[str, int | None]:
        if self._children is None:
            self._children = dict(self._file.links(self._messages)) if not self.is_array else {}
        return self._children

    def attributes(self) -> list[str]:
        """Return the names of the attributes."""
        return [name for name, _ in self._attributes()]

    def attribute(self, name: str) -> Any:
        """Return an attribute, a text or a list of texts, or None if there is none of this name."""
        for found, place in self._attributes():
            if found == name:
                return self._file.attribute(place)
        return None

    def _attributes(self) -> Iterator[tuple[str, int]]:
        for kind, place in self._messages:
            if kind == _ATTRIBUTE_INFO and self._file.dense_attributes(place):
                raise Unknown(f"the attributes of {self.path or 'the file'} are stored in a way that is not read")
            if kind == _ATTRIBUTE:
                yield self._file.attribute_name(place), place

    def array(self) -> np.ndarray:
        """Return the numbers, a view of the file; bfloat16 as its bits, two bytes each."""
        return self._file.array(self._messages, self.path)[0]

    @property
    def is_bfloat16(self) -> bool:
        """Whether the array holds bfloat16, which NumPy lacks."""
        return self._file.array(self._messages, self.path)[1] or self.attribute("dtype") == "bfloat16"

    def shape(self) -> tuple[int, ...]:
        """Return the shape of an array."""
        return self.array().shape


class File:
    """A whole file in memory.

    Parameters
    ----------
    content : bytes
        All of it.

    Raises
    ------
    ValueError
        From here on and from all nodes: if something does not lie within the file, or is of a kind that is not read.
    """

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._heaps: dict[tuple[int, int], bytes] = {}
        self._left = _BUDGET + _BUDGET_SHARE * len(content)
        if content[:8] != SIGNATURE:
            raise ValueError("it does not begin as an HDF5 file")
        version = self._number(8, 1)
        if version < 2:
            sizes, base, root = self._read(13, 2), 24 + 4 * version, 24 + 4 * version + 32 + 8
        elif version < 4:
            sizes, base, root = self._read(9, 2), 12, 12 + 24
        else:
            raise Unknown(f"version {version} of the format is not read")
        if sizes != b"\x08\x08":
            raise Unknown("files whose addresses are not of 8 bytes are not read")
        if self._number(base, 8):
            raise Unknown("files that begin with something else are not read")
        self._root = self._number(root, 8)

    @property
    def root(self) -> Node:
        """The group that holds all others; made anew, so that the file's bytes go with the last node."""
        return Node(self, self._root, "")

    # --- bytes ----------------------------------------------------------------------------------------------

    def _spend(self, size: int) -> None:
        """Count bytes that are looked at."""
        self._left -= size
        if self._left < 0:
            raise ValueError("its groups and attributes lie over each other")

    def _read(self, place: int, size: int) -> bytes:
        if place + size > len(self._content):
            raise ValueError(f"something should lie at {place:,}; the file ends at {len(self._content):,}")
        return self._content[place : place + size]

    def _number(self, place: int, size: int) -> int:
        return int.from_bytes(self._read(place, size), "little")

    def _expect(self, place: int, signature: bytes) -> None:
        if self._read(place, len(signature)) != signature:
            raise ValueError(f"{signature.decode()} should lie at {place:,}")

    def _text(self, place: int) -> str:
        """Return a text that a zero ends."""
        end = self._content.find(b"\0", place, place + 4096)
        if end < 0:
            raise ValueError(f"a name at {place:,} does not end")
        self._spend(end - place)
        return self._content[place:end].decode()

    # --- object headers -------------------------------------------------------------------------------------

    def messages(self, address: int) -> Iterator[tuple[int, int]]:
        """Yield the messages of a header: kinds, and where their data begin."""
        old = self._read(address, 1) == b"\x01"
        if old:
            blocks = [(address + 16, self._number(address + 8, 4))]
            heading, kind_size, extra = 8, 2, 0
        else:
            self._expect(address, b"OHDR")
            flags = self._number(address + 5, 1)
            start = address + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
            width = 1 << (flags & 3)
            blocks = [(start + width, self._number(start, width))]
            extra = 2 if flags & 4 else 0
            heading, kind_size = 4 + extra, 1
        seen = set()
        while blocks:
            place, size = blocks.pop(0)
            if place in seen:
                raise ValueError(f"the header at {address:,} goes in circles")
            seen.add(place)
            self._spend(size)
            self._read(place, size)
            end = place + size
            while place + heading <= end:
                kind, length = self._number(place, kind_size), self._number(place + kind_size, 2)
                shared = self._number(place + kind_size + 2, 1) & 2
                place += heading
                if place + length > end:
                    raise ValueError(f"a part of the header at {address:,} is too long")
                if kind == _CONTINUATION:
                    further, size = self._number(place, 8), self._number(place + 8, 8)
                    if not old:
                        self._expect(further, b"OCHK")
                        further, size = further + 4, size - 8  # without signature and checksum
                    blocks.append((further, max(0, size)))
                elif shared and kind != 0:
                    raise Unknown("types that stand elsewhere in the file are not read")
                else:
                    yield kind, place
                place += length

    # --- groups ---------------------------------------------------------------------------------------------

    def links(self, messages: list[tuple[int, int]]) -> Iterator[tuple[str, int | None]]:
        """Yield what a group holds, with addresses; None for what lies elsewhere."""
        for kind, place in messages:
            if kind == _SYMBOL_TABLE:
                yield from self._symbols(self._number(place, 8), self._number(place + 8, 8))
            elif kind == _LINK:
                yield self._link(place)
            elif kind == _LINK_INFO:
                heap = place + 2 + (8 if self._number(place + 1, 1) & 1 else 0)
                if self._number(heap, 8) != _NOWHERE:
                    raise Unknown("a group is stored in a way that is not read: save it with h5py's own settings")

    def _symbols(self, tree: int, heap: int) -> Iterator[tuple[str, int | None]]:
        self._expect(heap, b"HEAP")
        names = self._number(heap + 24, 8)
        waiting, seen = [tree], set()
        while waiting:
            node = waiting.pop(0)
            if node in seen:
                raise ValueError(f"the group at {tree:,} goes in circles")
            seen.add(node)
            if self._read(node, 4) == b"TREE":
                count = self._number(node + 6, 2)
                self._spend(16 * count)
                waiting += [self._number(node + 32 + 16 * child, 8) for child in range(count)]
                continue
            self._expect(node, b"SNOD")
            entries = self._number(node + 6, 2)
            self._spend(40 * entries)
            for entry in range(entries):
                place = node + 8 + 40 * entry
                elsewhere = self._number(place + 16, 4) == 2
                yield self._text(names + self._number(place, 8)), None if elsewhere else self._number(place + 8, 8)

    def _link(self, place: int) -> tuple[str, int | None]:
        flags = self._number(place + 1, 1)
        at, hard = place + 2, True
        if flags & 8:
            hard = self._number(at, 1) == 0
            at += 1
        at += (8 if flags & 4 else 0) + (1 if flags & 0x10 else 0)
        width = 1 << (flags & 3)
        length = self._number(at, width)
        name = self._read(at + width, length).decode()
        return name, self._number(at + width + length, 8) if hard else None

    # --- values ---------------------------------------------------------------------------------------------

    def array(self, messages: list[tuple[int, int]], path: str) -> tuple[np.ndarray, bool]:
        """Return the numbers of a dataset, and whether they are the bits of bfloat16."""
        places = dict(messages)
        if _FILTERS in places:
            raise Unknown(f"{path} is compressed; Keras does not do this")
        if _EXTERNAL_FILES in places:
            raise Unknown(f"{path} lies in another file, which is not read")
        if not places.keys() >= {_DATASPACE, _DATATYPE, _LAYOUT}:
            raise ValueError(f"{path} is no array")
        shape, kind = self._shape(places[_DATASPACE]), self._type(places[_DATATYPE])
        if kind.kind.startswith("text"):
            raise ValueError(f"{path} holds texts")
        layout = places[_LAYOUT]
        version, way = self._number(layout, 1), self._number(layout + 1, 1)
        if version not in (3, 4) or way > 1:
            raise Unknown(f"{path} is stored in pieces or elsewhere; Keras does not do this")
        if way == 0:
            start, size = layout + 4, self._number(layout + 2, 2)
        else:
            start, size = self._number(layout + 2, 8), self._number(layout + 10, 8)
        declared = math.prod(shape) * kind.size
        if not declared:
            start = 0  # nothing has no place
        if declared > size or start + declared > len(self._content):
            raise ValueError(f"{path} declares {declared:,} bytes, {shape} of {kind.kind}, and they are not there")
        half = kind.kind == "bfloat16"
        numbers = np.frombuffer(self._content, "<u2" if half else kind.kind, math.prod(shape), start)
        return numbers.reshape(shape), half

    def _shape(self, place: int) -> tuple[int, ...]:
        version, count = self._number(place, 1), self._number(place + 1, 1)
        if version not in (1, 2) or count > 32:
            raise Unknown("an array's shape is described in a way that is not read")
        if version == 2 and self._number(place + 3, 1) == 2:
            return (0,)  # of nothing at all
        first = place + (8 if version == 1 else 4)
        return tuple(self._number(first + 8 * axis, 8) for axis in range(count))

    def _type(self, place: int) -> _Type:
        kind, bits, size = self._number(place, 1) & 15, self._number(place + 1, 3), self._number(place + 4, 4)
        order = ">" if bits & 1 else "<"
        if kind == 0 and size in (1, 2, 4, 8):
            return _Type(f"{order}{'i' if bits & 8 else 'u'}{size}", size)
        if kind == 1 and not bits & 0x40 and (size, self._number(place + 13, 1)) in _FLOATS:
            name = _FLOATS[size, self._number(place + 13, 1)]
            return _Type(name if name == "bfloat16" else order + name, size)
        if kind == 3 and size:
            return _Type("text", size)
        if kind == 5 and size == 2:  # bytes without a meaning, as NumPy's for bfloat16
            return _Type("<u2", size)
        if kind == 8:  # names for integers, as h5py's for truths
            return self._type(place + 8)
        if kind == 9 and bits & 15 == 1:
            return _Type("texts", 16)
        raise Unknown(f"values of class {kind} and {size} bytes are not read")

    def dense_attributes(self, place: int) -> bool:
        """Return whether attributes lie in a heap of their own."""
        heap = place + 2 + (2 if self._number(place + 1, 1) & 1 else 0)
        return self._number(heap, 8) != _NOWHERE

    def attribute_name(self, place: int) -> str:
        """Return the name in an attribute's message."""
        version = self._number(place, 1)
        if version not in (1, 2, 3):
            raise Unknown(f"attributes of version {version} are not read")
        size = self._number(place + 2, 2)
        return self._read(place + 8 + (version == 3), size).rstrip(b"\0").decode()

    def attribute(self, place: int) -> Any:
        """Return a text, a list of texts, or an array, in an attribute's message."""
        version = self._number(place, 1)
        start = place + 8 + (version == 3)
        sizes = [self._number(place + at, 2) for at in (2, 4, 6)]
        name, kind, space = (-(-size // 8) * 8 if version == 1 else size for size in sizes)
        described, shape = self._type(start + name), self._shape(start + name + kind)
        values, count = start + name + kind + space, math.prod(shape)
        self._read(values, count * described.size)
        if not described.kind.startswith("text"):
            return np.frombuffer(self._content, described.kind, count, values).reshape(shape)
        texts = []
        for at in range(values, values + count * described.size, described.size):
            if described.kind == "text":
                text = self._read(at, described.size)
            else:
                text = self._in_heap(self._number(at, 4), self._number(at + 4, 8), self._number(at + 12, 4))
            self._spend(len(text))
            texts.append(text.rstrip(b"\0").decode())
        return texts if shape else texts[0]

    def _in_heap(self, length: int, collection: int, index: int) -> bytes:
        """Return what stands in a heap of values, each of which is read once."""
        if not length:
            return b""
        if (collection, -1) not in self._heaps:
            self._expect(collection, b"GCOL")
            end = collection + self._number(collection + 8, 8)
            self._spend(end - collection)
            self._read(collection, end - collection)
            self._heaps[collection, -1] = b""
            place = collection + 16
            while place + 16 <= end:
                found, size = self._number(place, 2), self._number(place + 8, 8)
                if not found:
                    break
                self._heaps[collection, found] = self._read(place + 16, size)
                place += 16 + -(-size // 8) * 8
        return self._heaps.get((collection, index), b"")[:length]
