"""A layer without a state: rows times a matrix, in panels, each row with the bits that it has alone."""

from __future__ import annotations

import numpy as np

from ..simd.blocksizes import GATES
from ..simd.float_mode import flush_denormals, restore_mode
from ..simd.vectors import at, pointer
from .microkernels import BROADCAST, Following, wide_gemm


def run_linear(x, panels, bias, y):
    """Fill y with bias + x @ the matrix.

    Parameters
    ----------
    x : (G, M, K) array
        Rows in groups; unit stride in the last axis.
    panels : (P, K, GATES * LANES) array
        Columns of the matrix, filled up with zeros.
    bias : (P * GATES * LANES,) array
    y : (G, M, P * GATES * LANES) array
    """
    mode = flush_denormals()
    groups, rows, depth = x.shape
    count, _, width = panels.shape
    columns = count * width
    first = pointer(panels, 0)
    following = Following(first, np.int64(0))  # the matrix is small: it stays in the cache
    stride = x.strides[1] // x.itemsize
    for p in range(count):
        weights, before = at(first, p * depth * width), at(pointer(bias, 0), p * width)
        for g in range(groups):
            left = at(pointer(x, 0), g * (x.strides[0] // x.itemsize))
            target = at(pointer(y, 0), g * rows * columns + p * width)
            wide_gemm(
                rows, left, stride, np.int64(GATES), weights, following, depth, before, BROADCAST, target, columns
            )
    restore_mode(mode)
