"""What weights were multiplied by, as columns: the left side of the product that gives their gradients.

A weight's gradient is a sum over all rows of all steps: of the gradient of its gate sum, times the number that it was
multiplied by.  The tile kernel takes the numbers of such a sum side by side, and rows have those of one step.
"""
from __future__ import annotations

from collections import namedtuple

import numpy as np

from ...simd.jit import inlined, inner
from ...simd.vectors import at, fill, lanes, load, store
from ..rows import Block, active_rows, rows_before
from .transposition import transpose_square


@inner
def transpose(source, stride, rows, first, last, target, target_stride):
    """Store columns ``first`` .. ``last`` - 1 of some rows as rows."""
    width = lanes(source)
    whole_rows, whole = rows - rows % width, last - (last - first) % width
    for r in range(0, whole_rows, width):
        for c in range(first, whole, width):
            transpose_square(at(source, r * stride + c), stride, at(target, c * target_stride + r), target_stride)
        for c in range(whole, last):
            for k in range(r, r + width):
                target[c * target_stride + k] = source[k * stride + c]
    for r in range(whole_rows, rows):
        for c in range(first, last):
            target[c * target_stride + r] = source[r * stride + c]


@inlined
def column_share(columns, crew, width):
    """Return a member's part of columns, in squares."""
    squares = (columns + width - 1) // width
    first, last = crew.index * squares // crew.size * width, (crew.index + 1) * squares // crew.size * width
    return min(first, columns), min(last, columns)


@inner
def fill_ones(target, count):
    """Fill a row with ones, up to a multiple of LANES."""
    for k in range(0, count, lanes(target)):
        store(target, k, fill(load(target, k), 1.0))


Run = namedtuple("Run", "first before rows end")
"""Steps of which the same is true: the row, among all, of the h that the first of them began with; how many rows began
with that of the step before, and how many there are; the end of the steps."""


@inlined
def run_before(frame, reverse, t, t_last):
    """Return the run of steps from t on, of some steps."""
    block = Block(0, frame.batch, 0, 0)
    rows = active_rows(frame, block, t)
    back = t + 1 if reverse != 0 else t - 1
    before, first = np.int64(0), np.int64(0)
    if back >= 0 and back < frame.steps:
        before, first = min(active_rows(frame, block, back), rows), rows_before(frame, back)
    if frame.offsets == 0 and before > 0:  # all rows of several steps lie as those of one
        end = min(t_last, frame.steps - 1) if reverse != 0 else t_last
        return Run(first, (end - t) * rows, (end - t) * rows, end)
    return Run(first, before, rows, t + 1)


@inner
def states_before(frame, reverse, h, h_row, h_0, h_0_row, size, t_first, t_last, crew, target, target_stride):
    """Store, as columns, the h that each row of some steps began with: of the step before, or the first one.

    ``h`` points to the first row of all steps, and ``h_0`` to the rows of the first state, ``h_0_row`` apart.
    """
    first, last = column_share(size, crew, lanes(target))
    place, t = 0, t_first
    while t < t_last:
        run, here = run_before(frame, reverse, t, t_last), at(target, place)
        transpose(at(h, run.first * h_row), h_row, run.before, first, last, here, target_stride)
        if run.before < run.rows:
            source, rest = at(h_0, run.before * h_0_row), run.rows - run.before
            transpose(source, h_0_row, rest, first, last, at(here, run.before), target_stride)
        place += run.rows
        t = run.end
