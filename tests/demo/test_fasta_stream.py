"""FASTA as a stream: any pieces, packed or not, in memory for one record, and what is wrong with one stays there."""

from __future__ import annotations

import gzip
import io
import os
import random
import re
import tracemalloc
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.pipes import pieces_of, trickling
from support.processes import posix

from numba_lstm.demo import clean, fasta
from numba_lstm.demo.fasta import LONGEST, Record, read_records
from numba_lstm.demo.source import Source


def reference(content: bytes, longest: int) -> list[Record] | str:
    """Return the records of a file that is looked at as a whole, or the beginning of what is wrong with it."""
    lines = [line.strip() for line in re.split("\r\n|\r|\n", content.decode("utf-8-sig", "replace"))]
    lines = [line for line in lines if line]
    if not lines:
        return "no proteins"
    if not lines[0].startswith(">"):
        return "not FASTA"
    starts = [index for index, line in enumerate(lines) if line.startswith(">")]
    records = []
    for number, (start, end) in enumerate(zip(starts, [*starts[1:], len(lines)], strict=True), start=1):
        name = (lines[start][1:].split() or [f"protein_{number}"])[0]
        letters = "".join("".join(lines[start + 1 : end]).split())
        sequence, error = "", None
        if len(name) > longest:
            name, error = name[: min(longest, 100)], f"the name has more than {longest} letters"
        elif len(letters) > longest:
            error = f"the sequence has more than {longest} letters"
        else:
            try:
                sequence = clean(letters)
            except ValueError as wrong:
                error = str(wrong)
        records.append(Record(number, name, sequence, error))
    return records


class Trickle(io.RawIOBase):
    """A file, such as a pipe, that gives as much as it likes."""

    def __init__(self, content: bytes, most: int) -> None:
        self._rest, self._most = io.BytesIO(content), most

    def read(self, size: int = -1) -> bytes:
        return self._rest.read(min(size, self._most))


def packed(content: bytes, members: int) -> bytes:
    """Return what gzip makes of some parts of a file."""
    ends = [len(content) * part // members for part in range(members + 1)]
    return b"".join(gzip.compress(content[start:end]) for start, end in pairwise(ends))


PARTS = [
    b">", b"\n", b"\r\n", b"\r", b" ", b"\t", b"MKV", b"acd", b"B*-", b"1", b"\x00", b"\xff", b"\xc3\xa9", b"name",
    b"\xe2\x80\xa8", b"\x1c", b"\xef\xbb\xbf", b">P1 first\n", b">P2\nMKVL\n", b"A" * 9,
]  # fmt: skip


@given(
    parts=st.lists(st.sampled_from(PARTS), max_size=30),
    piece=st.integers(1, 12),
    most=st.integers(1, 50),
    members=st.integers(0, 3),
    longest=st.integers(1, 12),
)
@example(parts=[b">", b"MKV"], piece=1, most=1, members=0, longest=1)
def test_a_stream_is_what_the_whole_file_is(
    parts: list[bytes], piece: int, most: int, members: int, longest: int
) -> None:
    content = b"".join(parts)
    if content.startswith(b"\x1f\x8b"):
        return
    expected = reference(content, longest)
    stream = Trickle(packed(content, members) if members else content, most)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fasta, "_PIECE", piece)
        if isinstance(expected, str):
            with pytest.raises(ValueError, match=expected):
                list(read_records(stream, longest))
        else:
            assert list(read_records(stream, longest)) == expected


def test_files_are_packed_if_their_content_is(tmp_path: Path) -> None:
    content = b">P1\nMKV\n>P2\nACD\n"
    for name, written in (("p.fasta", packed(content, 2)), ("p.fasta.gz", content), ("p", packed(content, 1))):
        (tmp_path / name).write_bytes(written)
        assert [record.sequence for record in read_records(tmp_path / name)] == ["MKV", "ACD"]


def test_blocks_of_bgzip(tmp_path: Path) -> None:
    """Members with a field of their own, and an empty one at the end."""
    extra = b"\x06\x00BC\x02\x00\x1b\x00"
    end = b"\x1f\x8b\x08\x04" + bytes(5) + b"\xff" + extra + b"\x03" + bytes(9)
    assert gzip.decompress(end) == b""
    (tmp_path / "p.gz").write_bytes(packed(b">P1\nMKV\n", 2) + end)
    assert [record.sequence for record in read_records(tmp_path / "p.gz")] == ["MKV"]


def some_records(count: int) -> bytes:
    letters = random.Random(0)
    return b"".join(b">P%d\n%s\n" % (n, bytes(letters.choices(b"ACDEFGHIKL", k=200))) for n in range(count))


@pytest.mark.parametrize("damage", ["cut", "followed", "changed"])
def test_what_comes_before_the_damage_of_a_gzip_file_is_read(tmp_path: Path, damage: str) -> None:
    content = some_records(2000)
    whole = gzip.compress(content)
    path = tmp_path / "p.fasta.gz"
    middle = len(whole) // 2
    path.write_bytes(
        {
            "cut": whole[:middle],
            "changed": whole[:middle] + bytes(100) + whole[middle + 100 :],
            "followed": whole + b"no gzip",
        }[damage]
    )
    expected = list(read_records(io.BytesIO(content)))
    found = []
    with pytest.raises(ValueError, match=r"p\.fasta\.gz: this gzip file is damaged or was cut off: "):  # noqa: PT012
        for record in read_records(path):
            found.append(record)
    if damage == "changed":  # that letters are others, only the sum behind them tells
        expected = expected[:500]
        found = found[:500]
    assert found == expected[: len(found)]
    assert len(found) >= 500


class Endless(io.RawIOBase):
    """A file of a beginning and then always the same, up to a size."""

    def __init__(self, beginning: bytes, letters: bytes, size: int) -> None:
        self._beginning, self._letters, self._left = beginning, letters, size

    def read(self, size: int = -1) -> bytes:
        if self._beginning:
            content, self._beginning = self._beginning, b""
            return content
        count = min(size // len(self._letters), self._left // len(self._letters))
        self._left -= count * len(self._letters)
        return self._letters * count


@pytest.mark.parametrize(
    ("beginning", "letters", "error"),
    [
        (b">P\n", b"M", "the sequence has more than 100,000 letters"),
        (b">P\n", b"M\n", "the sequence has more than 100,000 letters"),
        (b">P\n", b" ", "no residues"),
        (b">P\n", b"\n", "no residues"),
        (b">", b"P", "the name has more than 100,000 letters"),
        (b">P ", b"P", "no residues"),
        (b">P ", b" ", "no residues"),
    ],
)
def test_what_has_no_end_takes_no_memory(beginning: bytes, letters: bytes, error: str) -> None:
    size = 1 << 19 if b"\n" in letters else 1 << 23
    tracemalloc.start()
    try:
        (record,) = read_records(Endless(beginning, letters, size))
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()
    assert (record.name.strip("P"), record.sequence, record.error) == ("", "", error)


def test_a_bomb_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(b">P\n" + b"M" * (1 << 24)))
    tracemalloc.start()
    try:
        (record,) = read_records(path)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()
    assert record.error == f"the sequence has more than {LONGEST:,} letters"


def test_a_sequence_may_be_as_long_as_the_limit() -> None:
    for more, error in ((0, None), (1, "the sequence has more than 100,000 letters")):
        content = b">P\n" + b"M" * (LONGEST + more) + b"\n>Q\nM\n"
        first, second = read_records(io.BytesIO(content))
        assert (first.error, len(first.sequence)) == (error, 0 if error else LONGEST)
        assert second == (2, "Q", "M", None)


def test_records_come_before_the_file_ends() -> None:
    """One is complete with the next header: nobody waits for the rest of a pipe."""
    reading, writing = os.pipe()
    with open(reading, "rb") as stream, open(writing, "wb", buffering=0) as pipe:
        records: Iterator[Record] = read_records(stream)
        pipe.write(b">P1\nMKV\n>P2\n" + b" " * 8192 + b"\n")
        assert next(records).sequence == "MKV"
        pipe.write(b"ACD\n")
        pipe.close()
        assert next(records).sequence == "ACD"


def test_how_much_was_read(tmp_path: Path) -> None:
    content = some_records(2000)
    for written in (content, gzip.compress(content)):
        path = tmp_path / "p.fasta"
        path.write_bytes(written)
        with Source(path) as source:
            assert (source.size, source.position) == (len(written), 0)
            records = read_records(source)
            next(records)
            assert 0 < source.position < len(written)
            list(records)
            assert source.position == len(written)


@pytest.mark.parametrize("content", [b"", b"\x1f", b"\n\n", b"\x1f\x8b", b"ACD"])
def test_what_is_no_fasta(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "p.fasta"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"p\.fasta: "):
        list(read_records(path))


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [(OSError(5, "Input/output error"), OSError, "Input/output error"), (None, BlockingIOError, "")],
    ids=["an error", "nothing yet"],
)
def test_an_error_of_the_system_has_the_name(given: Any, kind: type[Exception], words: str) -> None:
    class Broken(io.RawIOBase):
        def read(self, size: int = -1) -> Any:
            if given:
                raise given

    with pytest.raises(kind, match=f"{words}.*: 'a pipe'"):
        list(read_records(Source(Broken(), "a pipe")))


@posix
@pytest.mark.parametrize("buffering", [-1, 0], ids=["buffered", "raw"])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_a_pipe_that_is_empty_for_now_has_not_ended(
    monkeypatch: pytest.MonkeyPatch, packed: bool, buffering: int
) -> None:
    """Another program that has it may make it non-blocking; half a protein would be scored as a whole one."""
    content = b">P1 one\nMKVLAAGIVG\nMKV\n>P2\nAYAY\n"
    content = gzip.compress(content) if packed else content
    with trickling(monkeypatch, pieces_of(content, 5), buffering) as file:
        source = Source(file, "a pipe")
        assert [record[:3] for record in read_records(source)] == [(1, "P1", "MKVLAAGIVGMKV"), (2, "P2", "AYAY")]
        assert source.position == len(content)


@posix
def test_a_pipe_that_is_empty_at_first_and_then_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    with trickling(monkeypatch, []) as file, pytest.raises(ValueError, match="no proteins"):
        list(read_records(file))
