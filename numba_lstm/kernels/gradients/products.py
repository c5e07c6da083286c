"""Gradients that are products over many rows: of inputs, and of weights."""
from __future__ import annotations

import numpy as np

from ...simd.blocksizes import GATES
from ...simd.jit import inner
from ...simd.records import pointer_to
from ...simd.vectors import add, at, lanes, load, store
from ..crew import share
from ..microkernels import BROADCAST, Following, panel_gemm
from ..rows import rows_before
from .cell_gradients import load_units, store_units
from .columns import column_share, fill_ones, states_before, transpose
from .panels import count_outputs, multiply
from .record import SUMS_ROWS

TERMS = 32
"""Terms of a weight's gradient in one chain of sums.  Part of the result's definition, as it orders sums."""


@inner
def input_gradients(run, crew, t_first, t_last, group_row):
    """Make the gradients of the input of some steps, for this member's rows."""
    frame, record, work, width = run.frame, run.record, run.work, lanes(run.work)
    line, size, depth = GATES * width, record.src_size, GATES * frame.hidden_size
    start = rows_before(frame, t_first)
    first, last = share(rows_before(frame, t_last) - start, crew)
    scratch = at(work, record.scratch + first * line)
    left = at(work, record.d_rows + (group_row + first) * record.d_rows_stride)
    matrix, target = at(run.weights, record.weight_ih), at(run.dst, (start + first) * size)
    rows, stride, whole = last - first, record.d_rows_stride, size // line
    none, panels = np.int64(0), count_outputs(size, width)
    if record.wants_input == 1:  # full panels go where they belong
        multiply(run, rows, left, stride, matrix, depth, size, none, whole, none, target, line, size)
    for j in range(none if record.wants_input > 1 else whole, panels):
        multiply(run, rows, left, stride, matrix, depth, size, j, j + 1, none, at(scratch, -j * line), line, line)
        for m in range(rows):
            for k in range(j * line, min((j + 1) * line, size), width):
                count, here = min(width, size - k), at(target, m * size + k)
                value = load(scratch, m * line + k - j * line)
                if record.wants_input > 1:
                    value = add(load_units(here, count), value)
                store_units(here, value, count)


@inner
def make_columns(run, crew, t_first, t_last):
    """Make the left side of the product for weights."""
    frame, record, work, width = run.frame, run.record, run.work, lanes(run.work)
    first = rows_before(frame, t_first)
    rows = rows_before(frame, t_last) - first
    left, stride = at(work, record.left), record.left_stride
    if record.wants_ih != 0:
        low, high = column_share(record.src_size, crew, width)
        transpose(at(run.src, first * record.src_size), record.src_size, rows, low, high, left, stride)
    if record.wants_hh != 0:
        zeros = at(work, record.zeros)
        h_0, h_0_row = zeros, np.int64(0)
        if record.h_0 != 0:
            h_0, h_0_row = pointer_to(record.h_0, work), frame.output_size
        target = at(left, record.src_size * stride)
        h = pointer_to(record.h, work)
        states_before(
            frame, record.reverse, h, record.h_row, h_0, h_0_row, frame.output_size, t_first, t_last, crew,
            target, stride,
        )  # fmt: skip
    if record.wants_bias != 0 and crew.index == 0:
        fill_ones(at(left, (record.src_size + frame.output_size) * stride), rows)


@inner
def _add_products(run, crew, left, panel, vectors, rows, first, last, target):
    """Add the products of rows ``first`` .. ``last`` - 1 of the left side, if any, and a panel of gradients.

    Sums of ``TERMS`` are added to each other, and only then to those of other segments: chains of sums stay short.  For
    ``SUMS_ROWS`` at a time, so that sums stay in L1.
    """
    record, work = run.record, run.work
    width, stride, line = lanes(work), record.left_stride, vectors * lanes(work)
    sums = at(work, record.sums + crew.index * SUMS_ROWS * GATES * width)
    for m in range(first, last, SUMS_ROWS):
        count, here = min(SUMS_ROWS, last - m), at(target, m * line)
        source, source_stride = at(work, record.zeros), np.int64(BROADCAST)
        for k in range(0, rows, TERMS):
            terms, part, columns = min(TERMS, rows - k), at(panel, k * line), at(left, m * stride + k)
            following = Following(part, np.int64(0))
            panel_gemm(count, columns, stride, vectors, part, following, terms, source, source_stride, sums, line)
            source, source_stride = sums, line
        for k in range(0, count * line, width):
            store(here, k, add(load(here, k), load(sums, k)))


@inner
def weight_gradients(run, crew, t_first, t_last):
    """Add what some steps give to the gradients of weights, for this member's units or rows of the left side."""
    frame, record, work, width = run.frame, run.record, run.work, lanes(run.work)
    line = GATES * width
    rows = rows_before(frame, t_last) - rows_before(frame, t_first)
    states = record.src_size + frame.output_size
    first = np.int64(0) if record.wants_ih != 0 else record.src_size
    last = states + np.int64(1) if record.wants_bias != 0 else states
    if record.wants_hh == 0:
        last = record.src_size if record.wants_bias == 0 else last
    first_panel, end_panel = share(frame.panels, crew)
    if frame.panels < 2 * crew.size:
        first_panel, end_panel = np.int64(0), frame.panels
        low, high = share(last - first, crew)
        first, last = first + low, first + high
    left, sums = at(work, record.left), pointer_to(record.d_weights, work)
    for j in range(first_panel, end_panel):
        panel = at(work, record.d_panels + j * record.capacity * line)
        vectors = frame.tail if j + 1 == frame.panels else np.int64(GATES)
        target = at(sums, j * (states + 1) * line)
        if record.wants_hh != 0 or first >= states or last <= record.src_size:
            _add_products(run, crew, left, panel, vectors, rows, first, last, target)
        else:  # of the input and of the bias, but not what lies in between
            low, high = min(last, record.src_size), max(first, states)
            _add_products(run, crew, left, panel, vectors, rows, first, low, target)
            _add_products(run, crew, left, panel, vectors, rows, high, last, target)


@inner
def projection_gradients(run, crew, t_first, t_last):
    """Add what some steps give to the gradients of the projection's weights."""
    frame, record, work, width = run.frame, run.record, run.work, lanes(run.work)
    line, size = GATES * width, frame.hidden_size
    rows = rows_before(frame, t_last) - rows_before(frame, t_first)
    first, last = column_share(size, crew, width)
    left, stride = at(work, record.left_unprojected), record.left_stride
    transpose(at(work, record.unprojected), record.unprojected_stride, rows, first, last, left, stride)
    sums = pointer_to(record.d_projection, work)
    for j in range(count_outputs(frame.output_size, width)):
        panel, target = at(work, record.d_projected + j * record.capacity * line), at(sums, j * size * line)
        _add_products(run, crew, left, panel, np.int64(GATES), rows, first, last, target)
