"""How long a call takes."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

BUDGET = 0.35
"""Seconds that a measurement takes, if a call is not longer."""

SAMPLES = 7


class Seconds(NamedTuple):
    """Times of one call, each the mean of a sample of calls."""

    median: float
    fastest: float


def seconds_per_call(
    function: Callable[[], object],
    budget: float | None = None,
    samples: int = SAMPLES,
    clock: Callable[[], float] = time.perf_counter,
) -> Seconds:
    """Time a function after calls that do not count: they compile, allocate and touch pages."""
    share = (BUDGET if budget is None else budget) / samples
    function()
    calls, taken = 1, _seconds(function, 1, clock)
    while taken < share:
        calls = min(10 * calls, int(calls * share / max(taken, 1e-9)) + 1)
        taken = _seconds(function, calls, clock)
    means = [_seconds(function, calls, clock) / calls for _ in range(samples)]
    return Seconds(statistics.median(means), min(means))


def _seconds(function: Callable[[], object], calls: int, clock: Callable[[], float]) -> float:
    start = clock()
    for _ in range(calls):
        function()
    return clock() - start


def pin(threads: int) -> list[int]:
    """Bind this process, and those that it starts, to as many cores as there will be threads; return them.

    The last ones of those it may use: the first core does most of what the system itself has to do.
    """
    if not hasattr(os, "sched_setaffinity"):
        return []
    allowed = sorted(os.sched_getaffinity(0))
    if threads > len(allowed):
        raise SystemExit(f"{threads} threads need as many cores; this process may use {len(allowed)}")
    os.sched_setaffinity(0, allowed[-threads:])
    return allowed[-threads:]


def environment(threads: int) -> dict[str, str]:
    """Return the environment of a process whose libraries use so many threads."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    return os.environ | dict.fromkeys(names, str(threads))
