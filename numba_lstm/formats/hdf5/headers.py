"""Headers of objects: messages, each of a kind, that say what there is."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from .file_bytes import FileBytes, Unknown

NOTHING, DATASPACE, LINK_INFO, DATATYPE, LINK, EXTERNAL_FILES, LAYOUT = 0x0, 0x1, 0x2, 0x3, 0x6, 0x7, 0x8
FILTERS, ATTRIBUTE, CONTINUATION, SYMBOL_TABLE, ATTRIBUTE_INFO = 0xB, 0xC, 0x10, 0x11, 0x15
"""Kinds of messages."""

NOWHERE = (1 << 64) - 1
"""The address of what is not there."""


def messages(file: FileBytes, address: int) -> Iterator[tuple[int, int]]:
    """Yield the messages of a header: kinds, and where their data begin."""
    old = file.read(address, 1) == b"\x01"
    if old:
        blocks = deque([(address + 16, file.number(address + 8, 4))])
        heading, kind_size, extra = 8, 2, 0
    else:
        file.expect(address, b"OHDR")
        flags = file.number(address + 5, 1)
        start = address + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
        width = 1 << (flags & 3)
        blocks = deque([(start + width, file.number(start, width))])
        extra = 2 if flags & 4 else 0
        heading, kind_size = 4 + extra, 1
    seen = set()
    while blocks:
        place, size = blocks.popleft()
        if place in seen:
            raise ValueError(f"the header at {address:,} goes in circles")
        seen.add(place)
        file.spend(size)
        file.within(place, size)
        end = place + size
        while place + heading <= end:
            file.spend_piece()
            kind, length = file.number(place, kind_size), file.number(place + kind_size, 2)
            shared = file.number(place + kind_size + 2, 1) & 2
            place += heading
            if place + length > end:
                raise ValueError(f"a part of the header at {address:,} is too long")
            if kind == CONTINUATION:
                further, size = file.number(place, 8), file.number(place + 8, 8)
                if not old:
                    file.expect(further, b"OCHK")
                    further, size = further + 4, size - 8  # without signature and checksum
                blocks.append((further, max(0, size)))
            elif shared and kind != NOTHING:
                raise Unknown("types that stand elsewhere in the file are not read")
            elif kind != NOTHING:
                yield kind, place
            place += length
