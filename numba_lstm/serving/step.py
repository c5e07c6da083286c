"""One step, or a chunk of several, on its way through a batch."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from concurrent.futures import Future, InvalidStateError
from time import perf_counter
from typing import Any

import numpy as np

States = tuple[np.ndarray, np.ndarray]
"""(h, c)"""


class Step:
    """What a session waits for.

    Parameters
    ----------
    row : int
        The session's row of the stream.
    x : (L, H_in) array
        The input, which nobody else writes to.
    y : (L, H_out) array
        Is filled.  It is there before anything is computed, so that no memory is missing afterwards.
    loop : event loop, optional
        Of the task that waits; a plain thread has none.
    """

    __slots__ = ("before", "done", "future", "left", "loop", "row", "since", "withdrawn", "x", "y")

    def __init__(self, row: int, x: np.ndarray, y: np.ndarray, loop: asyncio.AbstractEventLoop | None) -> None:
        self.row, self.x, self.y = row, x, y
        self.loop = loop
        self.future: Any = Future() if loop is None else loop.create_future()
        self.since = perf_counter()
        self.done = 0
        """How many of the L steps have been taken."""
        self.left = len(x)
        """How many of them are to come."""
        self.before: States | None = None
        """The states from before the first, with the axis of rows, if not all are taken in one batch."""
        self.withdrawn = False
        """Whether nobody waits any more."""

    def inputs(self, count: int) -> np.ndarray:
        """Return those of the next steps, so many."""
        return self.x if count == len(self.x) else self.x[self.done : self.done + count]

    def take(self, outputs: np.ndarray) -> None:
        """Take as many steps as these outputs have."""
        count = len(outputs)
        if count == len(self.x):  # a slice costs as much as what it is filled with
            self.y[...] = outputs
        else:
            self.y[self.done : self.done + count] = outputs
        self.done += count
        self.left -= count

    def put_back(self, done: int) -> None:
        """Have taken no more than so many steps."""
        self.done, self.left = done, len(self.x) - done


def answer(steps: Iterable[Step], error: BaseException | None = None) -> None:
    """Wake all who wait for these steps: with an error, or to take what is in ``y``."""
    tasks: dict[asyncio.AbstractEventLoop, list[Any]] = {}
    for step in steps:
        if step.loop is None:
            _settle([step.future], error)
        else:
            tasks.setdefault(step.loop, []).append(step.future)
    for loop, futures in tasks.items():
        try:
            loop.call_soon_threadsafe(_settle, futures, error)  # one of these wakes the loop, whoever many wait
        except RuntimeError:  # the loop has been closed, with all who waited
            if not loop.is_closed():
                raise


def _settle(futures: Iterable[Any], error: BaseException | None) -> None:
    for future in futures:
        if future.done():  # cancelled meanwhile
            continue
        try:
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)
        except InvalidStateError:  # a thread's: somebody else was faster
            pass
