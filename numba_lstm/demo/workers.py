"""Scoring by processes of Dask, on this machine or on others; needs distributed, the extra ``dask``."""

from __future__ import annotations

import concurrent.futures
import functools
import logging
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from multiprocessing import resource_tracker
from types import TracebackType
from typing import Any

import numpy as np

from .. import __version__, set_num_threads
from ..io._extras import need
from .disorder import DisorderNetwork

TASKS_PER_THREAD = 4
"""Tasks under way for each thread of a worker: it never waits for the next one while this process does other things."""

ALLOWED_FAILURES = 10
"""Workers of a cluster of our own that may be lost with the same task, before it is the task that must be at fault."""

_KEPT = 1 << 28
"""Bytes of free memory that a worker of ours keeps."""

_CONNECT = "10s"

_LOOK = 1.0
"""Seconds between looks at how many workers there are."""


class Workers:
    """Processes that compute scores: those of a cluster that runs, or some of our own on this machine.

    A worker that is lost is replaced where somebody does so, and what it was computing is computed by another.

    Parameters
    ----------
    count : int, optional
        Start so many processes, of one thread each, and end them at the end.
    scheduler : str, optional
        The address of a Dask scheduler, such as ``tcp://10.0.0.1:8786``.  Its workers need this package in the same
        version.
    waiting : callable, optional
        Called when results are waited for, and there is no worker; again when that comes again.

    Raises
    ------
    ModuleNotFoundError
        If distributed is not there.
    OSError
        If nobody answers at the address.

    Examples
    --------
    >>> with Workers(2) as workers:  # doctest: +SKIP
    ...     for record, scores in score_records(read_records("proteome.fasta.gz"), workers.scores):
    ...         ...
    """

    def __init__(
        self,
        count: int | None = None,
        scheduler: str | None = None,
        waiting: Callable[[], object] | None = None,
    ) -> None:
        if (count is None) == (scheduler is None):
            raise ValueError("either a count of workers or the address of a scheduler")
        self._distributed = need("distributed", "dask", "a cluster")
        self._count, self._scheduler, self._waiting = count, scheduler, waiting
        self._deserted = False
        self._client: Any = None
        self._most, self._look_again = TASKS_PER_THREAD, 0.0
        self._open = ExitStack()

    def __enter__(self) -> Workers:
        distributed = self._distributed
        with ExitStack() as opening:
            self._results = opening.enter_context(concurrent.futures.ThreadPoolExecutor(1, "numba_lstm.results"))
            address: Any = self._scheduler
            if address is not None:
                distributed.comm.get_address_host_port(address, strict=True)  # of a wrong one, a client says too much
            else:
                opening.enter_context(_configured())
                with _undisturbed():
                    cluster = distributed.LocalCluster(
                        n_workers=self._count,
                        threads_per_worker=1,
                        processes=True,
                        dashboard_address="127.0.0.1:0",
                        silence_logs=logging.CRITICAL,
                    )
                    address = opening.enter_context(cluster)  # before signals are heard
            # Results come from workers of our own directly; those of others this process may not reach.
            client = distributed.Client(
                address, timeout=_CONNECT, set_as_default=False, direct_to_workers=self._scheduler is None
            )
            self._client = opening.enter_context(client)
            with self._understood():
                self._client.run(prepare, __version__)
            self._open = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def threads(self) -> int:
        """Return how many threads the workers have together: 0 as long as there is none."""
        return sum(self._client.nthreads().values())

    def scores(self, tasks: Iterator[list[str]]) -> Iterator[list[np.ndarray]]:
        """Compute lists of sequences, and give their scores in the same order, as `score_records` wants it.

        Raises
        ------
        RuntimeError
            If a task was lost with too many workers, or the scheduler went away.
        """
        # The oldest task is waited for while others are computed: the number of those under way is then the number of
        # results that wait as well.
        under_way: deque[tuple[list[int], Any]] = deque()
        for task in tasks:
            lengths = [len(sequence) for sequence in task]
            letters = "".join(task).encode("ascii")
            with self._understood():
                under_way.append((lengths, self._client.submit(score, letters, lengths, __version__, pure=False)))
                most = self._most_under_way()
            if len(under_way) >= most:
                yield self._result(*under_way.popleft())
        while under_way:
            yield self._result(*under_way.popleft())

    def _result(self, lengths: list[int], future: Any) -> list[np.ndarray]:
        """Wait for a task; its scores, sequence by sequence."""
        try:
            with self._understood():
                scores = self._waited_for(future)
        except self._distributed.KilledWorker as error:
            raise RuntimeError(
                f"{len(lengths)} sequences of at most {max(lengths, default=0):,} residues were given up: {error}"
            ) from None
        ends = np.cumsum([0, *lengths])
        return [scores[start:end] for start, end in pairwise(ends)]

    def _waited_for(self, future: Any) -> np.ndarray:
        """Return a result, however long it takes, and tell if nobody is there to compute it."""
        # Not by future.result with a time: a result that is on its way when the time is over can be lost for good.
        result = self._results.submit(future.result)
        while not concurrent.futures.wait([result], _LOOK).done:
            before, self._deserted = self._deserted, not self.threads()
            if self._deserted and not before and self._waiting is not None:
                self._waiting()
        scores: np.ndarray = result.result()
        self._deserted = False
        return scores

    @contextmanager
    def _understood(self) -> Iterator[None]:
        """Have errors of a cluster say what they mean to who uses it."""
        try:
            yield
        except self._distributed.KilledWorker:
            raise
        except Exception as error:
            gone = (concurrent.futures.CancelledError, self._distributed.comm.CommClosedError)
            if isinstance(error, gone) or self._client.status != "running":
                raise RuntimeError(
                    "the scheduler of the cluster is gone, or has cancelled what it was given"
                ) from None
            if isinstance(error, RuntimeError):
                raise
            raise RuntimeError(f"a worker failed, which needs numba-lstm {__version__}: {error}") from error

    def _most_under_way(self) -> int:
        """Return how many tasks may be under way now: workers come and go."""
        now = time.monotonic()
        if now > self._look_again:
            self._most, self._look_again = TASKS_PER_THREAD * max(1, self.threads()), now + _LOOK
        return self._most


@contextmanager
def _configured() -> Iterator[None]:
    """Have a cluster that is started on this machine suit this work, and leave the environment as it was."""
    dask = need("dask", "dask", "a cluster")
    environment = {
        **dask.config.get("distributed.nanny.pre-spawn-environ"),
        # Dask has memory go back to the system as soon as it is free; every batch would ask for the same again, and
        # spend a tenth of its time on that.
        "MALLOC_TRIM_THRESHOLD_": _KEPT,
        "MALLOC_MMAP_THRESHOLD_": _KEPT,
    }
    # What starts the workers sets these variables in this process as well.
    before = {name: os.environ.get(name) for name in (*environment, "PYTHONHASHSEED")}
    try:
        with dask.config.set(
            {
                "distributed.scheduler.allowed-failures": ALLOWED_FAILURES,
                "distributed.nanny.pre-spawn-environ": environment,
                # What watches would stop the work a hundred times a second.
                "distributed.worker.profile.enabled": False,
                "distributed.admin.tick.interval": "1s",
                "distributed.admin.system-monitor.interval": "2s",
                # Ten looks a second at the memory of each worker, by this process and by itself, are 2 % of a core; a
                # task has little.
                "distributed.worker.memory.monitor-interval": "1s",
                # A worker has its next task before it has finished one.
                "distributed.scheduler.worker-saturation": 2.0,
            }
        ):
            yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Have threads and processes that are started here be deaf to Ctrl-C, which a terminal sends to all of them.

    This process hears it afterwards, and ends them; and so with other signals that would raise an exception here, in
    the middle of what starts them, where nobody could end them.
    """
    if sys.platform == "win32":
        yield
        return
    resource_tracker.ensure_running()  # which, when it is first needed, takes what is blocked off again
    heard: list[int] = []
    replaced: dict[signal.Signals, Any] = {}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # in here, since Ctrl-C may come just after it
        if threading.current_thread() is threading.main_thread():  # no other hears them
            for number in (signal.SIGTERM, signal.SIGHUP):
                # Not blocked: those that are started have to hear them.
                if callable(signal.getsignal(number)):
                    replaced[number] = signal.signal(number, lambda missed, frame: heard.append(missed))
        yield
    finally:
        for number, handler in replaced.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for missed in heard:
            signal.raise_signal(missed)


# --- in a worker -------------------------------------------------------------------------------------------


@functools.cache
def _network() -> DisorderNetwork:
    """Return the network of this process: it is in the package, and never sent."""
    set_num_threads(1)  # a worker has as many threads of its own as it is to use
    network = DisorderNetwork()
    network.score("A")  # kernels are loaded, or compiled
    return network


def prepare(version: str) -> None:
    """Have a worker do what is done once, and refuse one that might compute other bits."""
    if version != __version__:
        raise RuntimeError(f"a worker has numba-lstm {__version__}, and this process {version}: install the same")
    _network()


def score(letters: bytes, lengths: list[int], version: str) -> np.ndarray:
    """Compute a task: the scores of sequences that stand one behind the other, as they do."""
    prepare(version)
    ends = np.cumsum([0, *lengths])
    sequences = [letters[start:end].decode("ascii") for start, end in pairwise(ends)]
    return np.concatenate([np.empty(0, np.float32), *_network().score_many(sequences)])
