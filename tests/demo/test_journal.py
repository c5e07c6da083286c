"""Files of results: what is in them can be gone on with from any byte, and with nothing that is not theirs."""

from __future__ import annotations

import csv
import errno
import io
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.disks import recorded

from numba_lstm.demo import journal
from numba_lstm.demo.fasta import LONGEST, Record
from numba_lstm.demo.journal import (
    COLUMNS,
    HEADER,
    InUseError,
    Journal,
    JournalError,
    line_of,
    parse_line,
    read_journal,
)

NAMES = ["P1", "sp|P2|X", "语\x1b[31m", '"quoted",', "=cmd()", "'=x", "-", "\x00", "🧬" * 50]
ROWS: list[tuple[Record, np.ndarray | None]] = [
    (Record(number, name, "MKV" * number, None), np.linspace(0, 1, 3 * number, dtype=np.float32))
    for number, name in enumerate(NAMES, start=1)
]
ROWS.insert(4, (Record(99, "bad", "", "',' at position 3 is not an amino acid"), None))


def written(path: Path, rows: Any = ROWS) -> bytes:
    with Journal(path) as file:
        assert list(file.stored(iter(()))) == []
        for record, scores in rows:
            file.add(record, scores)
    return path.read_bytes()


def same(found: Any, expected: Any) -> None:
    for (record, scores), (other, right) in zip(found, expected, strict=True):
        assert record == other
        assert (scores is None) == (right is None)
        if right is not None:
            assert scores.dtype == np.float32
            np.testing.assert_array_equal(scores, right)


def test_what_stands_in_the_file(tmp_path: Path) -> None:
    content = written(tmp_path / "r.csv")
    assert content.count(b"\n") == len(ROWS) + 1
    header, *lines = csv.reader(io.StringIO(content.decode()))
    assert tuple(header) == COLUMNS
    assert [line[1] for line in lines] == [
        "P1", "sp|P2|X", "语\\x1b[31m", '"quoted",', "bad", "'=cmd()", "''=x", "'-", "\\x00", "🧬" * 50,
    ]  # fmt: skip
    for line, (record, scores) in zip(lines, ROWS, strict=True):
        assert int(line[0]) == record.number
        if scores is None:
            assert line[2:7] == ["", "", "", record.error, ""]
        else:
            np.testing.assert_array_equal(np.array(line[6].split(), np.float32), scores)
            assert int(line[2]) == scores.size
            assert float(line[3]) == scores.mean(dtype=np.float64)
            assert float(line[4]) == np.mean(scores > 0.5)


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=20))
def test_every_score_comes_back(values: list[float]) -> None:
    scores = np.array(values, np.float32)
    stored = parse_line(line_of(Record(1, "P", "A" * scores.size, None), scores))
    assert stored.scores is not None
    assert stored.scores.tobytes() == scores.tobytes()


def test_rows_of_a_finished_file(tmp_path: Path) -> None:
    written(tmp_path / "r.csv")
    rows = list(read_journal(tmp_path / "r.csv"))
    assert [row.record for row in rows] == [record.number for record, _ in ROWS]
    assert rows[4][2:7] == (None, None, None, ROWS[4][0].error, None)
    assert [row.name for row in rows[5:8]] == ["=cmd()", "'=x", "-"]
    assert all(len(row.digest) == 16 for row in rows)


def test_it_is_gone_on_with_from_any_byte(tmp_path: Path) -> None:
    """Rows that are whole are there, the rest is written again, and the file is what it would have been."""
    path = tmp_path / "r.csv"
    content = written(path)
    for end in range(len(HEADER), len(content) + 1, 3):
        path.write_bytes(content[:end])
        records = iter([record for record, _ in ROWS])
        with Journal(path) as file:
            found = list(file.stored(records))
            assert len(found) == content[:end].count(b"\n") - 1
            same(found, ROWS[: len(found)])
            for (_, scores), record in zip(ROWS[len(found) :], records, strict=True):
                file.add(record, scores)
        assert path.read_bytes() == content


def changed(**fields: Any) -> list[Record]:
    records = [record for record, _ in ROWS]
    records[2] = records[2]._replace(**fields)
    return records


@pytest.mark.parametrize(
    ("records", "complaint"),
    [
        (changed(name="P3"), r"row 3 was not made of record 3 \(P3\)"),
        (changed(sequence="MKVMKVMKA"), "row 3 was not made of"),
        (changed(sequence="", error="no residues"), "row 3 was not made of"),
        (changed()[1:], "row 2 was not made of"),
        (changed()[:4], "more rows than the input has records"),
    ],
)
def test_another_input_is_refused_and_nothing_is_changed(
    tmp_path: Path, records: list[Record], complaint: str
) -> None:
    path = tmp_path / "r.csv"
    content = written(path) + b"half a ro"
    path.write_bytes(content)
    with Journal(path) as file, pytest.raises(JournalError, match=complaint):
        list(file.stored(iter(records)))
    assert path.read_bytes() == content


def test_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path / "r.csv")
    monkeypatch.setattr(journal, "__version__", "9.9")
    with Journal(tmp_path / "r.csv") as file, pytest.raises(JournalError, match=r"row 1 .* by numba-lstm 9\.9"):
        list(file.stored(record for record, _ in ROWS))


@pytest.mark.parametrize("place", [0.2, 0.5, 0.9])
def test_a_row_that_was_changed_is_refused(tmp_path: Path, place: float) -> None:
    path = tmp_path / "r.csv"
    content = bytearray(written(path))
    content[len(HEADER) + int((len(content) - len(HEADER)) * place)] ^= 1
    path.write_bytes(content)
    with Journal(path) as file, pytest.raises(JournalError, match="or was changed"):
        list(file.stored(record for record, _ in ROWS))


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", HEADER[:-1], b"\xff" * 1000])
def test_a_file_of_something_else_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "r.csv"
    path.write_bytes(content)
    with pytest.raises(JournalError, match="no file of results"):
        Journal(path)
    assert path.read_bytes() == content


def test_one_process_at_a_time(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    with Journal(tmp_path / "r.csv"), pytest.raises(JournalError, match="being written by another process"):
        Journal(tmp_path / "r.csv")
    Journal(tmp_path / "r.csv").__exit__(None, None, None)


def test_what_is_being_written_is_not_begun_anew(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    path = tmp_path / "r.csv"
    with Journal(path) as file:
        with pytest.raises(InUseError, match=r"r\.csv is being written by another process"):
            Journal(path, anew=True)
        file.add(*ROWS[0])
    assert path.read_bytes() == HEADER + line_of(*ROWS[0])
    Journal(path, anew=True).__exit__(None, None, None)
    assert path.read_bytes() == HEADER


@pytest.mark.parametrize("anew", [False, True])
@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_comes_before_it_is_made_is_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool, anew: bool
) -> None:
    """Two that both found no file: the second one does not take the name from the first one's rows."""
    pytest.importorskip("fcntl")
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    path = tmp_path / "r.csv"
    with Journal(path) as file:
        monkeypatch.setattr(Path, "exists", lambda path: False)
        with pytest.raises(InUseError):
            Journal(path, anew)
        file.add(*ROWS[0])
    assert path.read_bytes() == HEADER + line_of(*ROWS[0])
    Journal(path, anew).__exit__(None, None, None)
    assert path.read_bytes() == HEADER + (b"" if anew else line_of(*ROWS[0]))
    assert [entry.name for entry in tmp_path.iterdir()] == ["r.csv"]


def no_links(*arguments: Any) -> None:
    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


def test_a_file_gets_its_name_once_the_disk_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not its rows one by one: the disk is asked as often for few of them as for many."""
    pytest.importorskip("fcntl")
    events = recorded(monkeypatch, tmp_path)
    header, everything = len(HEADER), len(HEADER) + sum(len(line_of(*row)) for row in ROWS)
    new = [f"keep temporary of {header} bytes", "temporary becomes r.csv", "keep names"]
    for anew in (False, True):
        with Journal(tmp_path / "r.csv", anew=anew) as file:
            for row in ROWS:
                file.add(*row)
            assert [event for event in events if event != "remove temporary"] == new
            file.keep()
        assert events[-1] == f"keep r.csv of {everything} bytes"
        events.clear()


def test_a_file_is_kept_where_there_are_no_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fcntl")
    monkeypatch.setattr(os, "link", no_links)
    events = recorded(monkeypatch, tmp_path)
    Journal(tmp_path / "r.csv").__exit__(None, None, None)
    assert events[-3:] == [f"keep r.csv of {len(HEADER)} bytes", "remove temporary", "keep names"]


def test_a_disk_that_cannot_keep_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with Journal(tmp_path / "r.csv") as file:
        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match=r"r\.csv"):
            file.keep()
    with pytest.raises(OSError, match=r"new\.csv"):
        Journal(tmp_path / "new.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["r.csv"]


@pytest.mark.parametrize("links", [True, False])
def test_a_header_that_a_disk_does_not_take_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    """Without links the file has its name before its content: half a header could not be gone on with."""
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    calls = iter([False, True] if not links else [True])

    def fail(file: Any) -> None:
        if next(calls):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(journal, "keep", fail)
    with pytest.raises(OSError, match=r"r\.csv"):
        Journal(tmp_path / "r.csv")
    assert list(tmp_path.iterdir()) == []
    assert next(calls, None) is None


@pytest.mark.parametrize("anew", [False, True])
def test_a_file_that_was_removed_before_it_is_open_is_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anew: bool
) -> None:
    """By one that made something else of it, between two looks at the file."""
    pytest.importorskip("fcntl")
    monkeypatch.setattr(Path, "exists", lambda path: True)
    with pytest.raises(InUseError, match=r"r\.csv is being written by another process"):
        Journal(tmp_path / "r.csv", anew)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_was_removed_is_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By one that made something else of it, between a look at the file and the lock."""
    fcntl = pytest.importorskip("fcntl")
    path = tmp_path / "r.csv"
    Journal(path).__exit__(None, None, None)
    monkeypatch.setattr(fcntl, "flock", lambda file, how: path.unlink())
    with pytest.raises(InUseError):
        Journal(path)


def test_a_file_that_was_replaced_is_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By one that began between a look at the file and the lock."""
    fcntl = pytest.importorskip("fcntl")
    path = tmp_path / "r.csv"
    Journal(path).__exit__(None, None, None)

    def flock(file: Any, how: int) -> None:
        other = tmp_path / "other.csv"
        other.write_bytes(HEADER)
        other.replace(path)

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(InUseError):
        Journal(path)


def test_a_system_without_these_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows there is no fcntl, and a second process is not noticed, as the page on platforms says."""
    path = tmp_path / "r.csv"
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setattr(sys, "platform", "win32")
    assert written(path) == HEADER + b"".join(line_of(*row) for row in ROWS)
    with Journal(path), Journal(path) as second:
        records = [record for record, _ in ROWS]
        assert [record for record, _ in second.stored(iter(records))] == records
    Journal(path, anew=True).__exit__(None, None, None)
    assert path.read_bytes() == HEADER


def test_a_name_that_is_longer_in_escapes(tmp_path: Path) -> None:
    """Longer than Python's csv takes by default."""
    record = Record(1, "\x01" * LONGEST, "AY", None)
    with Journal(tmp_path / "r.csv") as file:
        file.add(record, np.ones(2, np.float32))
    assert [row.name for row in read_journal(tmp_path / "r.csv")] == ["\\x01" * LONGEST]
    with Journal(tmp_path / "r.csv") as file:
        assert [found for found, _ in file.stored(iter([record]))] == [record]


def test_a_disk_that_is_full_is_named_and_gone_on_from(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    path, (record, scores) = tmp_path / "r.csv", ROWS[0]
    line = line_of(record, scores)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    journal = Journal(path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(HEADER) + len(line) - 5, before[1]))
    try:
        for write in (lambda: journal.add(record, scores), lambda: journal.__exit__(None, None, None)):
            with pytest.raises(OSError, match=r"r\.csv") as caught:
                write()
            assert caught.value.filename == str(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == HEADER + line[:-5]
    with Journal(path) as file:
        assert list(file.stored(iter([record]))) == []
        file.add(record, scores)
    assert path.read_bytes() == HEADER + line


def test_parquet_has_what_the_rows_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    from numba_lstm.demo import parquet as ours

    written(tmp_path / "r.csv")
    rows = list(read_journal(tmp_path / "r.csv"))
    for group in (1 << 14, 3):
        monkeypatch.setattr(ours, "GROUP_ROWS", group)
        with (tmp_path / "r.parquet").open("wb") as file:
            ours.write_parquet(rows, file)
        table = parquet.read_table(tmp_path / "r.parquet")
        assert table.column_names == list(COLUMNS)
        assert str(table.schema.field("scores").type) == "list<element: float>"
        for row, found in zip(rows, table.to_pylist(), strict=True):
            scores = found.pop("scores")
            assert scores == (None if row.scores is None else row.scores.tolist())
            assert found == {name: value for name, value in row._asdict().items() if name != "scores"}
    records = [record for record, _ in ROWS]
    same(ours.stored_parquet(tmp_path / "r.parquet", iter(records)), ROWS)
    for others, complaint in (
        (changed(name="P3"), "row 3 was not made of"),
        (records[:-1], "more rows than"),
        ([*records, record_after(records)], "goes on with record 100"),
    ):
        with pytest.raises(JournalError, match=complaint):
            list(ours.stored_parquet(tmp_path / "r.parquet", iter(others)))


def record_after(records: list[Record]) -> Record:
    return records[-1]._replace(number=100)


def test_parquet_of_something_else_is_refused(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    from numba_lstm.demo.parquet import stored_parquet

    path = tmp_path / "r.parquet"
    parquet.write_table(arrow.table({"a": [1]}), path)
    with pytest.raises(JournalError, match="its columns are others"):
        list(stored_parquet(path, iter(())))
    parquet.write_table(arrow.table({name: ["text"] for name in COLUMNS}), path)
    with pytest.raises(JournalError, match="its columns are others"):
        list(stored_parquet(path, iter(())))
    path.write_bytes(b"PAR1")
    with pytest.raises(JournalError, match="cannot be read as Parquet"):
        list(stored_parquet(path, iter(())))


def test_parquet_that_is_damaged_is_refused(tmp_path: Path) -> None:
    """Wherever: with words that name it, or because a row is not what it was."""
    pytest.importorskip("pyarrow")
    from numba_lstm.demo.parquet import stored_parquet, write_parquet

    path = tmp_path / "r.parquet"
    record, scores = ROWS[0]
    with path.open("wb") as file:
        write_parquet([parse_line(line_of(record, scores))], file)
    whole = path.read_bytes()
    refused = 0
    for position in range(0, len(whole), 7):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x80]) + whole[position + 1 :])
        try:
            same(stored_parquet(path, iter([record])), [ROWS[0]])
        except JournalError as error:
            assert str(path) in str(error)  # noqa: PT017
            refused += 1
    assert refused > 50


def test_no_rows_are_parquet(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    from numba_lstm.demo.parquet import write_parquet

    with (tmp_path / "r.parquet").open("wb") as file:
        write_parquet([], file)
    assert parquet.read_table(tmp_path / "r.parquet").column_names == list(COLUMNS)
