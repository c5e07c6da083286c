"""Where ``numba-lstm demo`` writes the scores of all proteins, while they come."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType

import numpy as np

from ..demo.fasta import Record
from ..demo.journal import HEADER, InUseError, Journal, JournalError, line_of, read_journal
from ..demo.parquet import pyarrow, stored_parquet, write_parquet
from ..formats.writing import errors_name, open_as_it_is, target_of
from ._console import InputError, errors_of_output, standard_buffer, write_all
from ._output import STANDARD, Output

_SUFFIXES = [".csv", ".parquet"]


class Scores:
    """The output of ``-o``: CSV that grows, or Parquet that is made from such a file beside it at the end.

    Parameters
    ----------
    options : Namespace
        With an ``output``.

    Raises
    ------
    InputError, OSError, ModuleNotFoundError
        If it could not be written, as far as that can be told before any work.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self._resume: bool = options.resume
        self._open = ExitStack()
        self._journal: Journal | None = None

        def inputs() -> list[Path]:
            return [] if options.fasta is None else [options.fasta]

        self._replaces: bool = options.force or options.resume
        self._rows: Path = options.output
        """The file that grows."""
        self._is_parquet = options.output.suffix.lower() == ".parquet"
        if options.output.suffix.lower() == ".csv":
            self._check_rows()
        self._output = Output(options.output, _SUFFIXES, inputs, self._replaces)
        self._is_file = options.output != STANDARD and target_of(options.output).is_file
        if not self._is_file and (self._resume or self._is_parquet):
            what = "--resume goes on with" if self._resume else "Parquet is written to"
            raise InputError(f"{what} a regular file, and {options.output} is none")
        if self._is_parquet:
            pyarrow()
            self._rows = options.output.with_name(options.output.name + ".partial")
            Output(self._rows, [".partial"], inputs, force=True)
            self._check_rows()

    @property
    def is_standard(self) -> bool:
        """Whether the rows go to standard output, where nothing else should be, then."""
        return self._output.is_standard

    def stored(self, records: Iterator[Record]) -> Iterator[tuple[Record, np.ndarray | None]]:
        """Open it; with ``--resume``, give what is in it already, and take the records of that off the stream."""
        try:
            if self._is_parquet and self._resume and self._output.path.exists() and not self._rows.exists():
                yield from stored_parquet(self._output.path, records)
            elif self._is_file:
                self._check_rows()  # some time has passed
                self._journal = self._open.enter_context(Journal(self._rows, anew=not self._resume))
                if self._resume:
                    yield from self._journal.stored(records)
            else:
                self._write(HEADER)
        except InUseError:
            raise
        except JournalError as error:
            raise InputError(f"{error} (--force instead of --resume starts anew)") from None

    def add(self, record: Record, scores: np.ndarray | None) -> None:
        """Write one more row."""
        if self._journal is not None:
            self._journal.add(record, scores)
        else:
            self._write(line_of(record, scores))

    def finish(self) -> None:
        """Make of the rows what was asked for; there are no more."""
        if self._journal is None:
            return
        if not self._is_parquet:
            self._journal.keep()
            return
        self._output.write(lambda file: write_parquet(read_journal(self._rows), file))
        if sys.platform == "win32":  # where nothing can be removed that is open
            self._open.close()
        # Before it is closed, from when on another process may go on with it, which would not see it go.
        self._rows.unlink(missing_ok=True)

    def note(self, text: str) -> None:
        """Tell the user what was written."""
        self._output.note(text)

    def __enter__(self) -> Scores:
        if not self._is_file:
            path = self._output.path
            standard = path == STANDARD
            self._stream = (
                standard_buffer("stdout", "output") if standard else self._open.enter_context(open_as_it_is(path))
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._errors():
            self._open.close()

    def _check_rows(self) -> None:
        """Refuse rows that are there, if they are neither to be replaced nor to be gone on with."""
        if self._replaces:
            return
        if self._is_parquet and self._rows.exists():
            raise InputError(
                f"{self._rows} is there from a run that was stopped: --resume goes on with it, --force starts anew"
            )
        if not self._is_parquet and self._rows.is_file():
            raise InputError(
                f"{self._rows} is there already: --resume goes on with it if its command was stopped, "
                "--force starts anew"
            )

    def _write(self, line: bytes) -> None:
        with self._errors():
            write_all(self._stream, memoryview(line))

    def _errors(self) -> AbstractContextManager[None]:
        """Have errors of the system name what is written."""
        standard = self._output.path == STANDARD
        return errors_of_output() if standard else errors_name(self._rows)
