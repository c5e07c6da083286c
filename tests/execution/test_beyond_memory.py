"""Inputs and sizes beyond the addresses of memory: views may have such shapes, what comes of them cannot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import numba_lstm
from numba_lstm import LSTM, LSTMCell, PackedSequence
from numba_lstm.serving import Batcher


def view(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return np.broadcast_to(np.zeros((), dtype), shape)


NETWORK, WIDE, PROJECTED = (
    LSTM(1, 512, dtype=dtype, proj_size=size).eval() for dtype, size in (("f4", 0), ("f8", 0), ("f4", 1))
)
CELL = LSTMCell(1, 512)
PACKED = PackedSequence(np.zeros((3, 2), np.float32), [2, 1])

WAYS: dict[str, Callable[[], Any]] = {
    "rows": lambda: NETWORK(view(1, 2**52, 1)),
    "steps": lambda: NETWORK(view(2**59, 1, 1)),
    "float64": lambda: WIDE(view(2**51, 1, 1, dtype=float)),
    "a projection": lambda: PROJECTED(view(2**55, 1, 1)),
    "dropout": lambda: LSTM(1, 512, 2, dropout=0.5)(view(2**52, 1, 1)),
    "a cell": lambda: CELL(view(2**59, 1)),
    "lengths": lambda: NETWORK(view(2**59, 1, 1), lengths=[3]),
    "long lengths": lambda: NETWORK(view(2**59, 1, 1), lengths=[2**59]),
    "vjp": lambda: NETWORK.vjp(view(1, 2**52, 1)),
    "vjp of float64": lambda: WIDE.vjp(view(2**51, 1, 1, dtype=float)),
    "vjp of lengths": lambda: NETWORK.vjp(view(2**59, 1, 1), lengths=[3]),
    "trace": lambda: NETWORK.trace(view(2**59, 1, 1)),
    "vjp of a cell": lambda: CELL.vjp(view(2**52, 1)),
    "a chunk": lambda: NETWORK.stream().step(view(2**59, 1, 1)),
    "a stream": lambda: NETWORK.stream(2**61),
    "a window": lambda: NETWORK.sliding_window(2**62, 8),
    "windows": lambda: NETWORK.sliding_window(8, 2**50),
    "sessions": lambda: Batcher(NETWORK, max_sessions=2**62),
    "padding": lambda: numba_lstm.pad_packed_sequence(PACKED, total_length=2**62),
    "padding to a number of NumPy": lambda: numba_lstm.pad_packed_sequence(PACKED, total_length=np.int64(2**62)),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_what_memory_cannot_be_large_enough_for(way: Callable[[], Any]) -> None:
    """As what it is not large enough for; NumPy has a ValueError that names no argument."""
    x = np.ones((3, 1, 1), np.float32)
    before = NETWORK(x)[0]
    with pytest.raises(MemoryError):
        way()
    np.testing.assert_array_equal(NETWORK(x)[0], before)
