"""The memory that a block of a test asks for: a limit for it, and by how much it grows."""

from __future__ import annotations

import gc
import itertools
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from numba_lstm.host.idle_cores import IdleCores


@contextmanager
def at_most(limit: int) -> Iterator[None]:
    """Fail if more memory is asked for within the block, touched or not."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] <= limit
    finally:
        tracemalloc.stop()


def traced(action: Callable[[], Any], times: int) -> tuple[int, int]:
    """Return by how many bytes traced memory has grown, and by how many it was above at most.

    The least of three measurements: now and then something else in the process allocates.
    """
    with pytest.MonkeyPatch.context() as patch:
        # Beside other work a launch looks at what the cores do, now and then, and reads a file for that.
        patch.setattr(IdleCores, "since_last_look", lambda self: None)
        measured = [_traced_once(action, times) for _ in range(3)]
    return min(growth for growth, _ in measured), min(peak for _, peak in measured)


def _traced_once(action: Callable[[], Any], times: int) -> tuple[int, int]:
    gc.collect()
    # It empties Python's lists of free objects, and each that is made anew would count.
    gc.disable()
    tracemalloc.start()
    try:
        for _ in itertools.repeat(None, 50):
            action()
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for _ in itertools.repeat(None, times):
            action()
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.enable()
    return after - before, peak - before
