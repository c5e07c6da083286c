"""Zip archives as torch writes them: where each member lies in the file, so that parts of it can be read in place.

Python's own module checks a member's checksum after the last byte.  torch may leave the checksums out, and of a large
member only a part is wanted.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

_STORED, _DEFLATED = 0, 8

_END = struct.Struct("<4s4H2LH")  # of the directory: disks, members, its size and place, the length of a comment
_END64_PLACE = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")

_LONGEST_COMMENT = 0xFFFF
_IN_EXTRA, _ZIP64 = 0xFFFFFFFF, 1
_ENCRYPTED = 1

_DIRECTORY_SIZE, _DIRECTORY_SHARE = 1 << 21, 1 / 16
"""Bytes that a directory may have: this much, and a share of the file.  What Python makes of an entry takes some times
its bytes."""


class Member(NamedTuple):
    """Where a member is, by the directory."""

    header: int
    packed: int
    size: int
    method: int


class Archive:
    """The directory of an open zip file of so many bytes, which may begin within another file.

    Raises
    ------
    ValueError
        If it is none, or its members overlap or reach beyond it.
    """

    def __init__(self, file: BinaryIO, size: int, begin: int = 0) -> None:
        self._file, self._begin = file, begin
        start, length, count = _directory(file, size, begin)
        if length > _DIRECTORY_SIZE + _DIRECTORY_SHARE * size:
            raise ValueError(f"its directory is too long for what it describes: {length:,} bytes")
        file.seek(begin + start)
        self.members: dict[str, Member] = {}
        for name, member in _entries(file.read(length)):
            if name in self.members:
                raise ValueError(f"{name} is there twice")
            self.members[name] = member
        if len(self.members) != count:
            raise ValueError(f"its directory has {len(self.members):,} members, not {count:,}")
        self._ends: dict[str, int] = {}
        end = start
        for name, member in sorted(self.members.items(), key=lambda item: item[1].header, reverse=True):
            if member.header + _LOCAL.size + len(name) + member.packed > end:
                raise ValueError(f"{name} overlaps with what follows it")
            self._ends[name], end = end, member.header

    def place(self, name: str) -> tuple[int, int]:
        """Return where in the file a member that is not compressed begins, and its bytes."""
        member = self.members[name]
        if member.method != _STORED or member.packed != member.size:
            raise ValueError(f"{name} is compressed, which torch never does")
        return self._start(name), member.size

    def read(self, name: str, limit: int) -> bytes:
        """Return the bytes of a member, of which there may be so many."""
        member = self.members[name]
        if max(member.size, member.packed) > limit:
            raise ValueError(f"{name} has {member.size:,} bytes; {limit:,} is the most for this file")
        self._file.seek(self._start(name))
        content = self._file.read(member.packed)
        if member.method == _DEFLATED:
            unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
            content = unpacker.decompress(content, member.size + 1)
        elif member.method != _STORED:
            raise ValueError(f"{name} is compressed in a way that torch does not use")
        if len(content) != member.size:
            raise ValueError(f"{name} does not have the {member.size:,} bytes that it declares")
        return content

    def _start(self, name: str) -> int:
        """Return where in the file a member's bytes begin: behind a header whose length only itself tells."""
        member = self.members[name]
        self._file.seek(self._begin + member.header)
        signature, _, flags, *_, name_length, extra_length = _LOCAL.unpack(self._file.read(_LOCAL.size))
        start = member.header + _LOCAL.size + int(name_length) + int(extra_length)
        if signature != b"PK\x03\x04" or start + member.packed > self._ends[name]:
            raise ValueError(f"{name} is not where the directory says")
        if flags & _ENCRYPTED:
            raise ValueError(f"{name} is encrypted")
        return self._begin + start


def _directory(file: BinaryIO, size: int, begin: int) -> tuple[int, int, int]:
    """Return where in the archive its directory begins, its length, and how many members there are."""
    tail = min(size, _END.size + _LONGEST_COMMENT)
    file.seek(begin + size - tail)
    content = file.read(tail)
    place = content.rfind(b"PK\x05\x06")
    if place < 0 or len(content) - place < _END.size:
        raise ValueError("it has no end of a zip archive: something else, or cut short")
    *_, count, length, start, _ = _END.unpack_from(content, place)
    end = size - tail + place
    if end >= _END64_PLACE.size:
        file.seek(begin + end - _END64_PLACE.size)
        signature, _, place64, _ = _END64_PLACE.unpack(file.read(_END64_PLACE.size))
        if signature == b"PK\x06\x07":
            if place64 > size - _END64.size:
                raise ValueError("its directory is not in the file")
            file.seek(begin + place64)
            signature, *_, count, length, start = _END64.unpack(file.read(_END64.size))
            if signature != b"PK\x06\x06":
                raise ValueError("its directory is not where it should be")
    if start + length > size:
        raise ValueError("its directory is not in the file")
    return start, length, count


def _entries(directory: bytes) -> Iterator[tuple[str, Member]]:
    place = 0
    while place < len(directory):
        fields = _ENTRY.unpack_from(directory, place)
        if fields[0] != b"PK\x01\x02":
            raise ValueError("its directory is damaged")
        method, packed, size = fields[4], fields[8], fields[9]
        name_length, extra_length, comment_length, header = *fields[10:13], fields[16]
        place += _ENTRY.size
        name = directory[place : place + name_length].decode()
        extra = directory[place + name_length : place + name_length + extra_length]
        if _IN_EXTRA in (packed, size, header):
            size, packed, header = _wide(extra, size, packed, header)
        yield name, Member(header, packed, size, method)
        place += name_length + extra_length + comment_length


def _wide(extra: bytes, *numbers: int) -> list[int]:
    """Return numbers of an entry, of which those that do not fit in 32 bits are in a field of 64 bits each."""
    place = 0
    while place + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, place)
        place += 4
        if kind == _ZIP64:
            wide = iter(struct.unpack_from(f"<{length // 8}Q", extra, place))
            return [next(wide) if number == _IN_EXTRA else number for number in numbers]
        place += length
    raise ValueError("its directory is damaged")
