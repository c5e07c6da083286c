"""What tests of streams, pools and sliding windows have in common."""

from __future__ import annotations

import sys
import threading
from typing import Any

import numpy as np

from numba_lstm.execution.planning.machine import Way
from support.cases import assert_same_bits

NO_LIST = "x should be a NumPy array, got: list. Convert it: np.asarray(x, dtype=np.float32)"
NO_DTYPE = "RNN input dtype ({}) does not match weight dtype (float32). Convert x: x.astype(np.float32)"
C_ORDER = "out should be a writable array in C order"
"""Messages for bad inputs and outputs."""

BAD_SIZES: list[tuple[Any, type, str]] = [
    (0, ValueError, "{} must be greater than zero, got: 0"),
    (-1, ValueError, "{} must be greater than zero, got: -1"),
    (np.int64(0), ValueError, "{} must be greater than zero, got: 0"),
    (1.5, TypeError, "{} should be of type int, got: float"),
    (2.0, TypeError, "{} should be of type int, got: float"),
    ("1", TypeError, "{} should be of type int, got: str"),
    (None, TypeError, "{} should be of type int, got: NoneType"),
    (sys.maxsize + 1, ValueError, "{} " + f"must be at most {sys.maxsize}, which is all that an array can have"),
    (1 << 400, ValueError, "{} " + f"must be at most {sys.maxsize}, which is all that an array can have"),
]
"""Sizes that are none, with the error for a parameter of any name."""

CREW_OF_THREE, THREE_SLICES = Way(1, 3, 20_000), Way(3, 1, 0)


def same_bits(a: np.ndarray, b: np.ndarray, what: str = "") -> None:
    """Compare two arrays bit for bit; NaNs are equal whatever their payload."""
    assert_same_bits((a, (a, a)), (b, (b, b)), what)


class Slow:
    """An array that is not there until it is let go: who converts it waits inside of a step."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.asked, self.let_go = array, threading.Event(), threading.Event()

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        self.asked.set()
        assert self.let_go.wait(60)
        return self.array


def chosen_states(states: tuple[np.ndarray, np.ndarray], rows: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the states of some rows."""
    h, c = states
    return h[:, rows], c[:, rows]
