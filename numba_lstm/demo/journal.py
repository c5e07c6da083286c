"""Results in a CSV file that grows, and that is whole up to its last line end whenever the process is killed."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple

import numpy as np

from .. import __version__
from ..formats.printable import printable
from ..formats.writing import errors_name, keep, keep_names, target_of, write_whole
from .fasta import LONGEST, Record
from .table import Row

COLUMNS = ("record", "name", "residues", "mean", "disordered", "error", "scores", "digest")
HEADER = (",".join(COLUMNS) + "\n").encode()

_FORMULAS = tuple("'=+-@＝＋－＠")  # noqa: RUF001
"""What spreadsheets take for the beginning of a formula; and the apostrophe, so that it can be told from ours."""

_LONGEST_LINE = 64 * LONGEST
"""Bytes: a name of escapes and the scores of the longest sequence take less."""


class JournalError(ValueError):
    """A file cannot be gone on with."""


class InUseError(JournalError):
    """Another process writes the file."""


class Stored(NamedTuple):
    """The columns of a line."""

    record: int
    name: str
    residues: int | None
    mean: float | None
    disordered: float | None
    error: str | None
    scores: np.ndarray | None
    digest: str


def line_of(record: Record, scores: np.ndarray | None) -> bytes:
    """Return the line of a record: UTF-8, with its line end, and no other line end within.

    Control characters in the name are written as escapes, and a name that a spreadsheet would take for a formula has an
    apostrophe before it.  Numbers can be read back exactly.  The digest is one of the line, the sequence and the
    version of this package: it tells that a line is what would be written again.

    Examples
    --------
    >>> line = line_of(Record(1, "P1", "AY", None), np.array([0.1, 1], np.float32))
    >>> print(line.decode().rpartition(",")[0])  # without the digest
    1,P1,2,0.5500000007450581,0.5,,0.100000001 1
    """
    name = printable(record.name)
    fields = [record.number, "'" + name if name.startswith(_FORMULAS) else name]
    if scores is None:
        fields += ["", "", "", record.error, ""]
    else:
        row = Row(record.name, scores)
        # Nine digits tell every float32 from its neighbours.
        text = " ".join(["%.9g"] * scores.size) % tuple(scores.tolist())
        fields += [scores.size, repr(row.mean), repr(row.disordered), "", text]
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(fields)
    body = line.getvalue().encode()
    return b"%b,%b\n" % (body, _digest(record, body))


def digest_of(record: Record, scores: np.ndarray | None) -> str:
    """Return the last column of the line of a record."""
    return line_of(record, scores).rstrip().rpartition(b",")[2].decode()


def parse_line(line: bytes) -> Stored:
    """Return what stands in a line that `line_of` has made."""
    body, _, digest = line.rstrip(b"\n").rpartition(b",")
    head, _, text = body.rpartition(b",")
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_LINE))  # a name of escapes may be longer than it is
    (number, name, residues, mean, disordered, error), = csv.reader([head.decode()])
    name = name.removeprefix("'")
    if not residues:
        return Stored(int(number), name, None, None, None, error, None, digest.decode())
    scores = np.fromstring(text, np.float32, sep=" ")
    return Stored(int(number), name, int(residues), float(mean), float(disordered), None, scores, digest.decode())


def _digest(record: Record, body: bytes) -> bytes:
    """Return 16 letters for a line and what it was made of."""
    made_of = (__version__, str(record.number), record.name, record.sequence, record.error or "")
    return hashlib.blake2b("\n".join(made_of).encode() + b"\n" + body, digest_size=8).hexdigest().encode()


class Journal:
    """A file of results that is being written.

    Parameters
    ----------
    path : path
        Of a regular file.  If there is one, it is gone on with: `stored` has to be read to its end, then.
        Otherwise, or with ``anew``, it is made with nothing but a header; what was there is replaced.
    anew : bool, optional
        Whether what is there does not matter.

    Raises
    ------
    InUseError
        If another process writes the file, also with ``anew``: the other would go on where nobody sees it.
    JournalError
        If the file has another header.
    OSError
        If it cannot be opened.

    Notes
    -----
    On Windows other processes are not looked for.  Its locks keep readers out as well, and what they do where a file
    is cut and grows has not been tried.  Only ``anew`` fails there while another process has the file open.
    """

    def __init__(self, path: str | os.PathLike[str], anew: bool = False) -> None:
        self.path = Path(path)
        there = self.path.exists() or not self._made()
        if there and anew:
            with ExitStack() as before:
                if sys.platform != "win32":  # where nothing can be replaced that is open
                    before.enter_context(self._opened())
                write_whole(self.path, lambda file: file.write(HEADER))
        self._file = self._opened()
        try:
            if self._file.readline(len(HEADER)) != HEADER:
                raise JournalError(f"{self.path} is no file of results to go on with: its first line is another")
        except BaseException:
            self._file.close()
            raise

    def stored(self, records: Iterator[Record]) -> Iterator[tuple[Record, np.ndarray | None]]:
        """Give the results that are there already, and take their records off a stream.

        What follows the last whole line is removed.  Nothing is removed unless all lines belong to the records.

        Raises
        ------
        JournalError
            If a line is not what would be written for its record: that of another file, written by another version, or
            changed since.
        """
        end = self._file.tell()
        for line in iter(lambda: self._file.readline(_LONGEST_LINE), b""):
            if not line.endswith(b"\n") and len(line) < _LONGEST_LINE:
                break
            record = next(records, None)
            body, _, digest = line.rstrip(b"\n").rpartition(b",")
            if record is None or digest != _digest(record, body):
                raise JournalError(mismatch(self.path, record))
            end += len(line)
            yield record, parse_line(line).scores
        self._file.truncate(end)
        self._file.seek(end)

    def add(self, record: Record, scores: np.ndarray | None) -> None:
        """Write one more line, which a process that is killed afterwards has not lost."""
        with errors_name(self.path):
            self._file.write(line_of(record, scores))
            self._file.flush()

    def keep(self) -> None:
        """Have the disk hold all lines, which takes too long after each: a power cut may take the last ones."""
        with errors_name(self.path):
            keep(self._file)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with errors_name(self.path):  # of what a full disk did not take, and does not take now
            self._file.close()

    def _made(self) -> bool:
        """Make the file with nothing but a header, unless it is there by now; return whether that was done."""
        place = target_of(self.path).place
        temporary = place.with_name(f".{secrets.token_hex(8)}.tmp")
        with errors_name(self.path):
            try:
                with open(temporary, "xb") as file:
                    file.write(HEADER)
                    keep(file)
                try:
                    os.link(temporary, place)  # unlike a replacement, this takes the name from nobody
                except FileExistsError:
                    raise
                except OSError:  # there are file systems without links
                    self._write_header(place)
            except FileExistsError:
                return False
            finally:
                temporary.unlink(missing_ok=True)
            keep_names(place.parent)
        return True

    @staticmethod
    def _write_header(place: Path) -> None:
        """Make a file under its own name, where there would be a part of a header if that failed."""
        file = open(place, "xb")  # noqa: SIM115
        try:
            with file:
                file.write(HEADER)
                keep(file)
        except BaseException:
            place.unlink(missing_ok=True)
            raise

    def _opened(self) -> BinaryIO:
        """Open the file, as long as nobody else has it."""
        place = target_of(self.path).place
        try:
            file = open(place, "r+b")  # noqa: SIM115
        except FileNotFoundError:  # removed since it was there, as it may be after it is open
            raise self._in_use() from None
        try:
            if sys.platform != "win32":
                import fcntl

                with errors_name(self.path):  # there are systems without locks
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if not os.path.samestat(os.fstat(file.fileno()), os.stat(place)):  # replaced meanwhile
                    raise BlockingIOError
        except (BlockingIOError, FileNotFoundError):  # or removed, by the process that has made Parquet of it
            file.close()
            raise self._in_use() from None
        except BaseException:
            file.close()
            raise
        return file

    def _in_use(self) -> InUseError:
        return InUseError(f"{self.path} is being written by another process")


def mismatch(path: str | os.PathLike[str], record: Record | None) -> str:
    """Return what to say of a file whose row does not belong to a record, or has none."""
    if record is None:
        return f"{path} has more rows than the input has records: it was made of another input"
    return (
        f"{path}: row {record.number} was not made of record {record.number} ({printable(record.name[:100])}) by "
        f"numba-lstm {__version__}: it has another input, is of another version, or was changed"
    )


def read_journal(path: str | os.PathLike[str]) -> Iterator[Stored]:
    """Read a finished file of results."""
    with open(path, "rb") as file:
        file.readline()
        for line in file:
            yield parse_line(line)
