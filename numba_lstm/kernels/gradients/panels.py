"""What stays the same in a backward pass, how its outputs lie in panels, and products with those."""
from __future__ import annotations

from collections import namedtuple

import numpy as np

from ...simd.blocksizes import GATES
from ...simd.jit import inlined
from ...simd.vectors import at, lanes
from ..microkernels import BROADCAST, Following, wide_gemm
from ..panels import NARROWEST
from .cell_gradients import Units

Pass = namedtuple("Pass", "frame record weights work h c src dst")
"""What stays the same: the two records; pointers to panels and to scratch memory; to the gradients of the last states,
which become those of the first, (rows, H_out) and (rows, H); to the input and its gradient, whose rows follow each
other."""

DEEP = 1024
"""Most k of a product at once: all tiles of rows then find that part of a panel in L2.  Sums keep their order, since
their blocks end there."""


@inlined
def vectors_of(size, j, width):
    """Return the vectors of panel j of so many outputs, see ``panels.output_panels``."""
    left = size - j * GATES * width
    if left > GATES // 2 * width:
        return np.int64(GATES)
    return np.int64(GATES // 2 if left > width else NARROWEST)


@inlined
def count_outputs(size, width):
    """Return how many panels so many outputs have."""
    return (size + GATES * width - 1) // (GATES * width)


@inlined
def units_of(frame, j, width):
    held = width if j + 1 < frame.panels else width * frame.tail // GATES
    return Units(min(width, frame.hidden_size - j * width), held, held * GATES)


@inlined
def multiply(run, rows, left, stride, matrix, depth, size, first, last, streamed, target, apart, distance):
    """Multiply rows by panels ``first`` .. ``last`` - 1 of a matrix of ``size`` outputs.

    Results of two panels go ``apart`` elements from each other, those of two rows ``distance``.
    """
    if rows == 0:  # the tile kernel takes one at least
        return
    width = lanes(target)
    line = GATES * width
    zeros = at(run.work, run.record.zeros)
    for j in range(first, last):
        vectors, here = vectors_of(size, j, width), at(target, j * apart)
        source, source_stride = zeros, np.int64(BROADCAST)
        for k in range(0, depth, DEEP):
            panel = at(matrix, j * depth * line + k * vectors * width)
            terms = min(DEEP, depth - k)
            # What comes next lies behind, but for the last part of all.
            ends = k + terms == depth and j + 1 == last
            following = Following(panel if ends else at(panel, terms * vectors * width), streamed)
            columns = at(left, k)
            wide_gemm(rows, columns, stride, vectors, panel, following, terms, source, source_stride, here, distance)
            source, source_stride = here, distance
