"""Results as Parquet; needs pyarrow, the extra ``parquet``.

A Parquet file is none before its end is written, where it says what is in it.  So results are gathered in a
`journal.Journal` beside it, which outlives the process, and become Parquet when all are there.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np

from ..io._extras import need
from .fasta import Record
from .journal import COLUMNS, JournalError, Stored, digest_of, mismatch

GROUP_RESIDUES, GROUP_ROWS = 1 << 20, 1 << 14
"""The size of a row group, which is what is in memory at a time."""

_ROWS_READ = 64
"""Rows that are read at a time."""


def pyarrow() -> ModuleType:
    """Import pyarrow, or raise ImportError with the command that installs it."""
    module = need("pyarrow", "parquet", "Parquet")
    need("pyarrow.parquet", "parquet", "Parquet")
    return module


def write_parquet(rows: Iterable[Stored], file: BinaryIO) -> None:
    """Write rows, with the columns of the CSV file; scores are ``list<float32>``.

    Parameters
    ----------
    rows : iterable of Stored
        Such as `read_journal` gives.
    file : binary file
        Where they go; not closed.
    """
    arrow = pyarrow()
    schema = _schema(arrow)
    with arrow.parquet.ParquetWriter(file, schema) as writer:
        for group in _groups(rows):
            columns = dict(zip(COLUMNS, zip(*group, strict=True), strict=True))
            scores = _lists(arrow, columns.pop("scores"))
            arrays = [arrow.array(columns[f.name], f.type) if f.name in columns else scores for f in schema]
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))


def stored_parquet(
    path: str | os.PathLike[str], records: Iterator[Record]
) -> Iterator[tuple[Record, np.ndarray | None]]:
    """Give the results of a finished file, and take their records off a stream, which has to end with them.

    Raises
    ------
    JournalError
        If it is not what would be written for the records.
    """
    for scores, digest in _read(path):
        record = next(records, None)
        if record is None or digest_of(record, scores) != digest:
            raise JournalError(mismatch(path, record))
        yield record, scores
    if (record := next(records, None)) is not None:
        raise JournalError(f"{path} is finished, and the input goes on with record {record.number}: it is another")


def _read(path: str | os.PathLike[str]) -> Iterator[tuple[np.ndarray | None, str | None]]:
    """Give scores and digests, row by row; raise JournalError if the file is none of ours, or damaged."""
    arrow = pyarrow()
    try:
        with arrow.parquet.ParquetFile(path) as file:
            if not file.schema_arrow.equals(_schema(arrow)):
                raise JournalError(f"{path} is no file of results: its columns are others")
            for batch in file.iter_batches(_ROWS_READ, columns=["scores", "digest"]):
                for found, digest in zip(batch["scores"], batch["digest"], strict=True):
                    yield found.values.to_numpy() if found.is_valid else None, digest.as_py()
    except (arrow.ArrowException, OSError, UnicodeDecodeError) as error:  # any of them, as the damage has it
        raise JournalError(f"{path} cannot be read as Parquet: {error}") from None


def _schema(arrow: Any) -> Any:
    """Return the columns and their types."""
    kinds = {
        "record": arrow.int64(),
        "residues": arrow.int64(),
        "mean": arrow.float64(),
        "disordered": arrow.float64(),
        "scores": arrow.list_(arrow.float32()),
    }
    return arrow.schema([(name, kinds.get(name, arrow.string())) for name in COLUMNS])


def _groups(rows: Iterable[Stored]) -> Iterator[list[Stored]]:
    group: list[Stored] = []
    residues = 0
    for row in rows:
        group.append(row)
        residues += row.residues or 0
        if residues >= GROUP_RESIDUES or len(group) == GROUP_ROWS:
            yield group
            group, residues = [], 0
    if group:
        yield group


def _lists(arrow: Any, scores: Iterable[np.ndarray | None]) -> Any:
    """Return a column of lists, of which those of None are null."""
    starts, parts, end = [], [np.empty(0, np.float32)], 0
    for found in scores:
        starts.append(None if found is None else end)
        if found is not None:
            parts.append(found)
            end += found.size
    return arrow.ListArray.from_arrays(arrow.array([*starts, end], arrow.int32()), arrow.array(np.concatenate(parts)))
