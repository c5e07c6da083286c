"""Buffers that begin on a cache line."""
from __future__ import annotations

from typing import Any

import numpy as np

CACHE_LINE = 64
"""Bytes.  NumPy aligns to 16; panels that straddle lines halve the bandwidth of L2."""


def aligned_empty(size: int, dtype: np.dtype[Any]) -> np.ndarray:
    """Return an uninitialised 1-D array of ``size`` elements that begins on a cache line."""
    raw = np.empty(size * dtype.itemsize + CACHE_LINE, np.uint8)
    skip = -raw.ctypes.data % CACHE_LINE
    return raw[skip : skip + size * dtype.itemsize].view(dtype)


def round_up(number: int, multiple: int) -> int:
    """Return the smallest multiple of ``multiple`` that is not below ``number``."""
    return -(-number // multiple) * multiple
