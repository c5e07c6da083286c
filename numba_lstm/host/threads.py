"""How many threads a call may use."""
from __future__ import annotations

import functools
import math
import os
import sys
from typing import Any

import numba
import numpy as np
from numba.np.ufunc import parallel

from .cpu_quota import cpu_quota

config: Any = numba.config


class Setting:
    """The number that was set; 0 as long as none was."""

    count = 0


def get_num_threads() -> int:
    """Return how many threads a call may use.

    Returns
    -------
    int
        The number that was set; otherwise the least of ``NUMBA_NUM_THREADS`` and ``OMP_NUM_THREADS``, if the
        environment has them, the CPUs that this process may run on (its affinity), and the CPU quota of its control
        groups, which is that of its container, rounded up.  It is 1 in a process that `multiprocessing` has started,
        unless one of the two variables says how many: there are as many of these as cores, as a rule.

    Notes
    -----
    All that is looked at once, when the number is first needed.  It stays the same afterwards, in processes that
    ``os.fork`` makes later as well, until ``set_num_threads`` sets another.

    Examples
    --------
    >>> import numba_lstm
    >>> numba_lstm.get_num_threads() >= 1
    True
    """
    return Setting.count or _default_threads(_is_worker())


def usable_cpus() -> int:
    """Return on how many CPUs this thread may run."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def started_threads() -> int:
    """Return how many threads Numba starts, whatever has become of its setting since it was imported."""
    return int(parallel.NUM_THREADS)


def _is_worker() -> bool:
    """Return whether `multiprocessing` has started this process, for a pool as a rule."""
    module = sys.modules.get("multiprocessing")  # which is there then, and not just being imported by another thread
    parent = getattr(module, "parent_process", None)
    return parent is not None and parent() is not None


# Plans of calls are kept under the number that was set, of which a default that changes would be no part.
@functools.cache
def _default_threads(worker: bool) -> int:
    """Return the threads of calls of a process that has set no number."""
    openmp = _openmp_threads()
    if worker and openmp is None and not os.environ.get("NUMBA_NUM_THREADS"):
        return 1
    quota = cpu_quota()
    limits = [int(config.NUMBA_NUM_THREADS), usable_cpus()]
    limits += [] if quota is None else [math.ceil(quota)]
    limits += [] if openmp is None else [openmp]
    return max(1, min(limits))


def _openmp_threads() -> int | None:
    """Return what ``OMP_NUM_THREADS`` says, by which Dask, joblib, Ray and Spark tell workers how many they may use.

    It may be a list, for parallel regions within others; ours are none within others, and take the first number.
    """
    try:
        count = int(os.environ.get("OMP_NUM_THREADS", "").partition(",")[0])
    except ValueError:
        return None
    return count if count > 0 else None


def set_num_threads(n: int) -> None:
    """Set how many threads a call may use.  Results do not depend on it, bit for bit.

    Parameters
    ----------
    n : int
        At least 1, at most ``NUMBA_NUM_THREADS``, which defaults to the number of CPUs.  A call uses no more
        threads than there are CPUs for them.  A quota of CPU time limits the default only, not what is set here.

    Raises
    ------
    TypeError, ValueError
        If n is not an integer in this range.

    Examples
    --------
    >>> import numba_lstm
    >>> numba_lstm.set_num_threads(1)
    >>> numba_lstm.get_num_threads()
    1
    """
    if isinstance(n, bool) or not isinstance(n, int | np.integer):
        raise TypeError(f"n should be of type int, got: {type(n).__name__}")
    if not 1 <= n <= config.NUMBA_NUM_THREADS:
        raise ValueError(f"n must be between 1 and NUMBA_NUM_THREADS = {config.NUMBA_NUM_THREADS}, got {n}")
    Setting.count = int(n)
