"""The scores of a stream of proteins, in memory for a part of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

import numpy as np

from .disorder import DisorderNetwork, batches
from .fasta import Record

TASK_RESIDUES = 3 << 15
"""Residues that are handed out together: some 150 ms of work, and 5 to 10 ms to hand it out, on both sides."""

WINDOW_RESIDUES, WINDOW_RECORDS = 1 << 19, 1 << 13
"""How much is sorted by length at a time: enough that a task has alike ones, little enough to keep."""

FIRST_WINDOW = 1 << 17
"""Residues of the first window; the next ones are twice as large each time, so that nobody waits at the beginning."""

Engine: TypeAlias = Callable[[Iterator[list[str]]], Iterator[list[np.ndarray]]]
"""What computes: it takes lists of sequences, and gives their scores, list by list in the same order."""


def score_records(
    records: Iterable[Record], engine: Engine | None = None, progress: Callable[[int], object] | None = None
) -> Iterator[tuple[Record, np.ndarray | None]]:
    """Score records one after the other, computed in batches of alike lengths.

    Parameters
    ----------
    records : iterable of Record
        Such as `read_records` gives; a window of them is read ahead.
    engine : callable, optional
        What computes, such as `Workers.scores`; by default this thread.
    progress : callable, optional
        Called with the number of residues that were finished since the last call.

    Yields
    ------
    record, scores : Record, (L,) float32 array
        In the order of the records; None for the scores of one with an error.  The bits are those of
        `DisorderNetwork.score`, whatever else is in the stream and whatever computes.

    Raises
    ------
    OSError, ValueError
        What ``records`` raises, after all that came before.

    Examples
    --------
    >>> records = [Record(1, "P1", "MSSSSSQAAA", None), Record(2, "P2", "", "no residues")]
    >>> [(record.name, None if scores is None else scores.shape) for record, scores in score_records(records)]
    [('P1', (10,)), ('P2', None)]
    """
    if engine is None:
        network = DisorderNetwork()
        engine = lambda tasks: map(network.score_many, tasks)  # noqa: E731
    windows: deque[_Window] = deque()
    handed: deque[tuple[_Window, list[int]]] = deque()
    failures: list[Exception] = []

    def tasks() -> Iterator[list[str]]:
        """Give the engine work, as it asks for it."""
        for window in _windows(records, failures):
            windows.append(window)
            for indices in window.tasks():
                handed.append((window, indices))
                yield [window.records[index].sequence for index in indices]

    for found in engine(tasks()):
        window, indices = handed.popleft()
        window.add(indices, found)
        if progress is not None:
            progress(sum(map(len, found)))
        while windows and windows[0].left == 0:
            yield from windows.popleft().rows()
    if failures:
        raise failures[0]


class _Window:
    """Some records that follow each other, and the scores that there are."""

    def __init__(self, records: list[Record]) -> None:
        self.records = records
        self._good = [index for index, record in enumerate(records) if record.error is None]
        self._scores: list[np.ndarray | None] = [None] * len(records)
        self.left = len(self._good)
        """Scores that are missing."""

    def tasks(self) -> Iterator[list[int]]:
        """Return the indices of what is to be computed together: one empty list if there is nothing to compute."""
        if not self._good:  # so that the window is asked about, and does not wait for those behind it
            yield []
        for group in batches([len(self.records[index].sequence) for index in self._good], TASK_RESIDUES):
            yield [self._good[index] for index in group]

    def add(self, indices: list[int], scores: list[np.ndarray]) -> None:
        """Take scores."""
        for index, found in zip(indices, scores, strict=True):
            self._scores[index] = found
        self.left -= len(indices)

    def rows(self) -> Iterator[tuple[Record, np.ndarray | None]]:
        return zip(self.records, self._scores, strict=True)


def _windows(records: Iterable[Record], failures: list[Exception]) -> Iterator[_Window]:
    """Cut a stream into windows; if it fails, what came before is the last one, and the failure is kept."""
    gathered: list[Record] = []
    letters, limit = 0, min(FIRST_WINDOW, WINDOW_RESIDUES)
    try:
        for record in records:
            gathered.append(record)
            letters += len(record.sequence) + len(record.name)
            if letters >= limit or len(gathered) == WINDOW_RECORDS:
                yield _Window(gathered)
                gathered, letters, limit = [], 0, min(2 * limit, WINDOW_RESIDUES)
    except (OSError, ValueError) as error:
        failures.append(error)
    if gathered:
        yield _Window(gathered)
