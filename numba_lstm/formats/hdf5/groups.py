"""What groups hold."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from .file_bytes import FileBytes, Unknown
from .headers import LINK, LINK_INFO, NOWHERE, SYMBOL_TABLE


def links(file: FileBytes, messages: list[tuple[int, int]]) -> Iterator[tuple[str, int | None]]:
    """Yield what a group holds, with addresses; None for what lies elsewhere."""
    for kind, place in messages:
        if kind == SYMBOL_TABLE:
            yield from _symbols(file, file.number(place, 8), file.number(place + 8, 8))
        elif kind == LINK:
            yield _link(file, place)
        elif kind == LINK_INFO:
            heap = place + 2 + (8 if file.number(place + 1, 1) & 1 else 0)
            if file.number(heap, 8) != NOWHERE:
                raise Unknown("a group is stored in a way that is not read: save it with h5py's own settings")


def _symbols(file: FileBytes, tree: int, heap: int) -> Iterator[tuple[str, int | None]]:
    """Yield what a group of the older kind holds."""
    file.expect(heap, b"HEAP")
    names = file.number(heap + 24, 8)
    waiting, seen = deque([tree]), set()
    while waiting:
        node = waiting.popleft()
        if node in seen:
            raise ValueError(f"the group at {tree:,} goes in circles")
        seen.add(node)
        if file.read(node, 4) == b"TREE":
            count = file.number(node + 6, 2)
            file.spend(16 * count)
            waiting.extend(file.number(node + 32 + 16 * child, 8) for child in range(count))
            continue
        file.expect(node, b"SNOD")
        entries = file.number(node + 6, 2)
        file.spend(40 * entries)
        for entry in range(entries):
            place = node + 8 + 40 * entry
            elsewhere = file.number(place + 16, 4) == 2
            yield file.text(names + file.number(place, 8)), None if elsewhere else file.number(place + 8, 8)


def _link(file: FileBytes, place: int) -> tuple[str, int | None]:
    """Return what a message of the newer kind names."""
    flags = file.number(place + 1, 1)
    place, hard = place + 2, True
    if flags & 8:
        hard = file.number(place, 1) == 0
        place += 1
    place += (8 if flags & 4 else 0) + (1 if flags & 0x10 else 0)
    width = 1 << (flags & 3)
    length = file.number(place, width)
    file.spend_piece(length)
    name = file.read(place + width, length).decode()
    return name, file.number(place + width + length, 8) if hard else None
