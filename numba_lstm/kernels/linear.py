"""A layer without a state: rows times a matrix, in panels, each row with the bits that it has alone."""

from __future__ import annotations

import numpy as np

from ..simd.blocksizes import GATES
from ..simd.float_mode import flush_denormals, restore_mode
from ..simd.vectors import at, lanes, pointer
from .microkernels import BROADCAST, Following, wide_gemm


def run_linear(x, panels, bias, y):
    """Fill y with bias + x @ the matrix.

    Parameters
    ----------
    x : (G, M, K) array
        Rows in groups; unit stride in the last axis.
    panels : array
        Columns of the matrix, see ``panels.output_panels``.
    bias : (columns,) array
        Filled up to whole vectors, as the last panel is.
    y : (G, M, columns) array
        Unit stride in the last axis.
    """
    mode = flush_denormals()
    groups, rows, depth = x.shape
    columns = bias.size
    first = pointer(panels, 0)
    following = Following(first, np.int64(0))  # the matrix is small: it stays in the cache
    stride, distance = x.strides[1] // x.itemsize, y.strides[1] // y.itemsize
    width = GATES * lanes(first)
    for begin in range(0, columns, width):
        vectors = min(width, columns - begin) // lanes(first)
        weights, before = at(first, begin * depth), at(pointer(bias, 0), begin)
        for g in range(groups):
            left = at(pointer(x, 0), g * (x.strides[0] // x.itemsize))
            target = at(pointer(y, 0), g * (y.strides[0] // y.itemsize) + begin)
            wide_gemm(rows, left, stride, vectors, weights, following, depth, before, BROADCAST, target, distance)
    restore_mode(mode)
