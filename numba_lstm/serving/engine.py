"""The thread that computes, and what waits for it.

Only this thread touches the states: whatever else is to be done with one, it does between two batches.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from queue import Empty, SimpleQueue
from time import perf_counter
from typing import Any

import numpy as np

from .counters import Counters
from .errand import Errand
from .errors import ClosedError, FullError
from .network import ServedNetwork
from .seat import Seat
from .step import Step, answer

_running: weakref.WeakSet[Engine] = weakref.WeakSet()


class _Process:
    """Which process this is: asking the system in every step would take longer than a lock."""

    forks = 0

    @classmethod
    def after_fork(cls) -> None:
        """Called in a child, which knows so that what it has from its parent is not its own."""
        cls.forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_Process.after_fork)


@atexit.register
def _end() -> None:
    """End all threads: at the end of Python they would be stopped anywhere, with a lock in their hands."""
    for engine in list(_running):
        if engine.is_own:
            engine.close(at_once=True)
            engine.join()


class Engine:
    """The rows that sessions have, and the steps that wait.

    Parameters
    ----------
    network : ServedNetwork
        What computes.
    rows : int
        How many sessions may be open.
    max_wait : float
        Seconds that a step may wait for others.
    """

    def __init__(self, network: ServedNetwork, rows: int, max_wait: float) -> None:
        self._network = network
        self._rows, self._max_wait = rows, max_wait
        self._forks = _Process.forks
        self._lock = threading.RLock()
        # It remembers who rings.  A Condition can forget it, when garbage is collected or Ctrl-C comes in the middle of
        # its own work.
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._preparation = Errand(network.prepare)
        # Whoever reads or changes one of these holds the lock.
        self._counters = Counters()
        self._thread: threading.Thread | None = None
        self._closing = self._given_up = self._ended = False
        self._free = deque(range(rows))
        self._waiting: list[Step] = []
        self._errands: list[Errand] = []
        self._wanted = 1
        """For how many steps the thread is to be woken."""
        self._asleep = False
        """Whether the thread waits for the bell, or is about to."""
        # These are the thread's own.
        self._unfinished: list[Step] = []
        self._answered = np.full(rows, -np.inf)
        """When each row had its last answer."""
        self._taken = np.zeros(rows, np.int64)
        """Steps of each row's session."""

    # --- what other threads ask for -----------------------------------------------------------------------

    def start(self) -> Future[Any]:
        """Start the thread, if that has not been done; return what tells when it is ready to compute."""
        self.check_caller()
        with self.locked():
            self._check_open()
            if self._thread is None:
                try:
                    # Were it no daemon, a service that forgets to close would never end.
                    self._thread = threading.Thread(target=self._run, name="numba_lstm.serving", daemon=True)
                    self._errands.append(self._preparation)
                    _running.add(self)
                    self._thread.start()
                except BaseException:  # the system has no more threads, and may have later; or Ctrl-C came
                    self._thread = None
                    self._errands.clear()
                    raise
        return self._preparation.future

    def enter(self, seat: Seat) -> None:
        """Give a seat a row that is free."""
        with self.locked():
            self._check_open()
            if not self._free:
                self._counters.refused += 1
                raise FullError(f"all {self._rows} sessions are open: close one, or make a Batcher with more")
            seat.take(self._free)
            self._counters.opened += 1

    def leave(self, seat: Seat) -> Future[Any]:
        """Give its row back, if it has one by then."""
        return self._ask(lambda: self._clear(seat))

    def submit(self, step: Step) -> None:
        """Have a step taken.  The caller holds the lock."""
        self.check_caller()
        self._check_open()
        self._waiting.append(step)
        if len(self._waiting) >= self._wanted:
            self._wake()

    def withdraw(self, step: Step) -> None:
        """Have a step not taken, or let its result go if it is just being computed."""
        with self.locked():
            step.withdrawn = True  # at first, so that it holds whatever Ctrl-C interrupts
            self._counters.cancelled += 1
            if step in self._waiting:
                self._waiting.remove(step)

    def state(self, row: int) -> Future[Any]:
        """Return what will be the states of a row."""
        self.check_caller()
        return self._ask(lambda: self._network.state(row))

    def set_state(self, row: int, hx: Any) -> Future[Any]:
        """Replace the states of a row."""
        self.check_caller()
        return self._ask(lambda: self._network.set_state(row, hx))

    def taken(self, row: int) -> Future[Any]:
        """Return what will be the number of steps that the session of a row has taken.

        A step that is just being computed is one of them, though it may be withdrawn by now.
        """
        self.check_caller()
        return self._ask(lambda: int(self._taken[row]))

    def close(self, at_once: bool = False) -> None:
        """Take no more steps but those that wait, or not even those, and let the thread end then."""
        with self.locked():
            self._closing, self._given_up = True, self._given_up or at_once
            self._wake()

    def join(self) -> None:
        """Wait until the thread has ended."""
        if self._thread is not None:
            self._thread.join()

    @property
    def is_running(self) -> bool:
        """Whether the thread waits for work."""
        return self._thread is not None and not self._closing and self.is_own

    @property
    def is_own(self) -> bool:
        """Whether this process made it, rather than one that it was forked from."""
        return self._forks == _Process.forks

    def counters(self) -> dict[str, Any]:
        """Return what `Batcher.counters` describes."""
        with self.locked():
            return {"sessions": self.sessions, **self._counters.as_dict()}

    @property
    def sessions(self) -> int:
        """How many are open."""
        return self._rows - len(self._free)

    def _ask(self, function: Callable[[], Any]) -> Future[Any]:
        """Have something done between two batches, or at once if there will be none."""
        errand = Errand(function)
        with self.locked():
            if self._thread is not None and not self._ended:
                self._errands.append(errand)
                self._wake()
            else:
                errand.do()
        return errand.future

    def locked(self) -> AbstractContextManager[Any]:
        """Return the lock, for a ``with`` block.  In a child that was forked it may never be given back."""
        if not self.is_own:
            raise RuntimeError("this Batcher belongs to the process that made it: make one after the fork")
        return self._lock

    def _wake(self) -> None:
        """Have the thread look what there is to do.  The caller holds the lock."""
        if self._asleep:
            self._bell.put(None)
            self._asleep = False

    def check_caller(self) -> None:
        """Raise if the thread itself, in a function of the caller's, asks for what it would wait for without end."""
        if self._thread is threading.current_thread():
            raise RuntimeError(
                "before and after cannot ask the Batcher that calls them for steps or states, nor close it or a session"
            )

    def _check_open(self) -> None:
        if self._closing:
            raise ClosedError("the Batcher has been closed")

    # --- what the thread does -----------------------------------------------------------------------------

    def _run(self) -> None:
        with self._lock:  # which `start` holds until it is done
            if self._thread is not threading.current_thread():
                return  # Ctrl-C came when this one had been started, and another will be
        steps: list[Step] = []
        try:
            while not self._ended:
                errands, steps = self._next()
                for errand in errands:
                    errand.do()
                if steps:
                    self._compute(steps)
        except BaseException as error:  # nobody may wait for a thread that is gone
            with self._lock:
                self._closing = self._ended = True
                lost, self._waiting = [*steps, *self._unfinished, *self._waiting], []
                errands, self._errands = self._errands, []
            answer(lost, error)
            for errand in errands:
                errand.future.set_exception(error)
            raise

    def _next(self) -> tuple[list[Errand], list[Step]]:
        """Wait until there is something to do; return nothing at the end."""
        while True:
            with self._lock:
                self._asleep = True  # before it looks, so that whatever comes in between rings
                left = self._patience()
                if left is not None and left <= 0:
                    self._asleep = False
                    # A finalizer may ask for more while the batch is chosen: that comes after a batch it may be about.
                    count = len(self._errands)
                    steps = [] if self._given_up else self._batch()
                    errands = self._errands[:count]
                    del self._errands[:count]
                    self._ended = self._closing and not (errands or steps)
                    return errands, steps
            with contextlib.suppress(Empty):
                self._bell.get(timeout=left)

    def _patience(self) -> float | None:
        """Return for how many seconds the thread may wait for the bell, or None: as long as there is nothing to do."""
        if self._errands or self._unfinished or self._closing:
            return 0
        self._wanted = 1
        first = next(iter(self._waiting), None)  # a finalizer on this thread may withdraw it meanwhile
        if first is None:
            return None
        # More is to be expected of those who had an answer lately: who is alone is not held up.
        now = perf_counter()
        self._wanted = int(np.count_nonzero(self._answered > now - self._max_wait))
        return first.since + self._max_wait - now if len(self._waiting) < self._wanted else 0

    def _batch(self) -> list[Step]:
        """Return the steps that are to be computed now: of each session one, since they follow each other."""
        steps = []
        for step in self._unfinished:
            if step.withdrawn:
                self._network.drop(step)
            else:
                steps.append(step)
        rows = {step.row for step in steps}
        later = []
        for step in list(self._waiting):  # of which a finalizer on this thread may withdraw some meanwhile
            if step.withdrawn:
                continue
            if step.row in rows:
                later.append(step)
            else:
                rows.add(step.row)
                steps.append(step)
        self._unfinished, self._waiting = [], later  # at last, so that an error before leaves nobody out
        return steps

    def _compute(self, steps: list[Step]) -> None:
        """Take a batch of steps, and wake those whose steps are through."""
        begin = perf_counter()
        waited = sum(begin - step.since for step in steps if not step.done)
        failures = self._network.take(steps)
        end = perf_counter()
        finished = [step for step in steps if not step.left]
        failed = [step for step, _ in failures]
        self._unfinished = [step for step in steps if step.left and step not in failed]
        counts = [len(step.x) for step in finished]
        if finished:
            rows = [step.row for step in finished]
            self._answered[rows] = end
            self._taken[rows] += counts
        with self._lock:
            counters = self._counters
            counters.count_batch(len(steps))
            counters.steps += sum(counts)
            counters.failed += len(failed)
            counters.waiting += waited
            counters.computing += end - begin
        answer(finished)
        for step, error in failures:
            answer([step], error)

    def _clear(self, seat: Seat) -> None:
        if not seat.is_taken:  # any more
            return
        row = seat.row
        self._network.clear(row)
        self._answered[row] = -np.inf
        self._taken[row] = 0
        with self._lock:
            seat.is_taken = False
            self._free.append(row)
