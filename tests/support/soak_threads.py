"""Threads that use the library, and the memory of the process."""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numba
import numpy as np

import numba_lstm
from support.soak_ways import ONE_DIRECTION, WAYS, Case, Shared, Way, distance, new_case

config: Any = numba.config

TOLERANCES = {np.dtype(np.float32): 1e-4, np.dtype(np.float64): 1e-12}
"""Sums of some hundred terms, over up to 50 steps and three layers; what is wrong is off by more than 1e-3."""

HANG_SECONDS = 120.0
"""After which a thread that should have ended counts as hanging."""


def resident_mib() -> float:
    """Return the memory that this process has, or 0 where that is not known.

    glibc keeps what was freed for each thread: up to 80 MiB after networks of random sizes, more and less with time.
    It is asked to give that back first, so that what remains is in use.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library, or Windows
        ctypes.CDLL(None).malloc_trim(0)
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def _error(way: Way, case: Case, rng: np.random.Generator) -> float:
    return distance(*way(case, rng))


class Soak:
    """Threads that call until they are told to stop, and what they saw.

    Parameters
    ----------
    threads : int
        Python threads.
    seed : int
        Of what they do.
    folder : Path
        For their files.
    """

    def __init__(self, threads: int, seed: int, folder: Path) -> None:
        self.calls: Counter[str] = Counter()
        """Results that were compared, by way."""
        self.worst = dict.fromkeys(TOLERANCES, 0.0)
        """The largest difference from what is right."""
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._shared = Shared(seed)
        self._most_threads = int(config.NUMBA_NUM_THREADS)
        self._threads = [
            threading.Thread(target=self._work, args=(np.random.default_rng([seed, number]), folder / str(number)))
            for number in range(threads)
        ]

    def start(self) -> None:
        """Let the threads begin."""
        for thread in self._threads:
            thread.daemon = True
            thread.start()

    def stop(self) -> None:
        """Wait for the threads; one that hangs is a failure."""
        self._stop.set()
        end = time.monotonic() + HANG_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
            if thread.is_alive():
                self.failures.append(f"{thread.name} hangs")

    def _work(self, rng: np.random.Generator, folder: Path) -> None:
        folder.mkdir()
        while not self._stop.is_set():
            case = new_case(rng, folder)
            names = [name for name in WAYS if not (case.lstm.bidirectional and name in ONE_DIRECTION)]
            for name in rng.permutation(names):
                numba_lstm.set_num_threads(1 + int(rng.integers(self._most_threads)))
                self._compare(str(name), case.lstm, partial(_error, WAYS[name], case, rng))
                if rng.random() < 0.3:
                    self._shared.change(rng)
                self._compare("shared", self._shared.lstm, self._shared.error)

    def _compare(self, name: str, lstm: numba_lstm.LSTM, error: Callable[[], float]) -> None:
        try:
            found = error()
        except BaseException as problem:
            self.failures.append(f"{name}, {lstm}: {problem!r}")
            return
        with self._lock:
            self.calls[name] += 1
            self.worst[lstm.dtype] = max(self.worst[lstm.dtype], found)
        if not found <= TOLERANCES[lstm.dtype]:
            self.failures.append(f"{name}, {lstm}: off by {found:.1e}")


def growth(memory: Sequence[float]) -> float:
    """Return how much larger the median of the last quarter of samples is than that of the second quarter."""
    quarter = len(memory) // 4
    return float(np.median(memory[-quarter:]) - np.median(memory[quarter : 2 * quarter])) if quarter else 0.0
