"""One step back: from gradients of h and c to those of gate sums, and of h and c of the step before."""
from __future__ import annotations

from collections import namedtuple

import numpy as np

from ...simd.blocksizes import GATES
from ...simd.jit import inlined
from ...simd.records import pointer_to
from ...simd.vectors import add, at, lanes, load, prefetch, store
from ..crew import meet, share
from ..rows import Block, active_rows, rows_before
from .cell_gradients import cell_gradients, load_units, store_units
from .panels import count_outputs, multiply, units_of

Part = namedtuple("Part", "first_row end_row first_panel end_panel first_output end_output first_cell end_cell")
"""A member's part of every step: rows; panels of units, of h, and of what is projected."""

Ahead = namedtuple("Ahead", "gates gates_line cells cells_line output")
"""Where rows lie that are fetched: of gates and c, and their distances, and of the gradient of the output."""


@inlined
def _active(frame, block, t):
    """Return how many rows of a block take part in a step, which may be none of the sequence."""
    if t < 0 or t >= frame.steps:
        return np.int64(0)
    return min(active_rows(frame, block, t), block.rows)


@inlined
def part_of(run, crew, width):
    """Return a member's part of each step."""
    frame = run.frame
    outputs, cells = count_outputs(frame.output_size, width), count_outputs(frame.hidden_size, width)
    if run.record.by_rows != 0:
        first, last = share(frame.batch, crew)
        return Part(first, last, np.int64(0), frame.panels, np.int64(0), outputs, np.int64(0), cells)
    first_output, end_output = share(outputs, crew)
    first_cell, end_cell = share(cells, crew)
    first, last = first_cell * GATES, min(end_cell * GATES, frame.panels)
    return Part(np.int64(0), frame.batch, first, last, first_output, end_output, first_cell, end_cell)


@inlined
def _entering(run, part, first, last):
    """Take the gradients of the last states of rows that begin, those of this member's units."""
    frame, record, width = run.frame, run.record, lanes(run.work)
    line = GATES * width
    for b in range(first, last):
        for j in range(part.first_output * GATES, min(part.end_output * GATES, (frame.output_size - 1) // width + 1)):
            source = at(run.h, b * frame.output_size + j * width)
            value = load_units(source, min(width, frame.output_size - j * width))
            store(run.work, record.d_hidden + (j // GATES * frame.batch + b) * line + j % GATES * width, value)
        for j in range(part.first_panel, part.end_panel):
            value = load_units(at(run.c, b * frame.hidden_size + j * width), units_of(frame, j, width).count)
            store(run.work, record.d_cell + (j * frame.batch + b) * width, value)


@inlined
def _leaving(run, part, first, last):
    """Hand out the gradients of the first states of rows that end."""
    frame, record, width = run.frame, run.record, lanes(run.work)
    line = GATES * width
    for b in range(first, last):
        for j in range(part.first_output * GATES, min(part.end_output * GATES, (frame.output_size - 1) // width + 1)):
            value = load(run.work, record.d_hidden + (j // GATES * frame.batch + b) * line + j % GATES * width)
            target = at(run.h, b * frame.output_size + j * width)
            store_units(target, value, min(width, frame.output_size - j * width))
        for j in range(part.first_panel, part.end_panel):
            value = load(run.work, record.d_cell + (j * frame.batch + b) * width)
            store_units(at(run.c, b * frame.hidden_size + j * width), value, units_of(frame, j, width).count)


@inlined
def _output_gradient(run, t, b, unit, count, value):
    """Return a vector of the gradient of h, with what comes from the output."""
    record = run.record
    if record.d_output == 0:
        return value
    place = (rows_before(run.frame, t) + b) * record.d_output_row
    return add(value, load_units(at(pointer_to(record.d_output, run.work), place + unit), count))


@inlined
def _project_back(run, part, t, rows, row):
    """Make the gradients of o * tanh(c) of those of h, which it is projected to."""
    frame, record, work, width = run.frame, run.record, run.work, lanes(run.work)
    line = GATES * width
    for j in range(part.first_output * GATES, min(part.end_output * GATES, (frame.output_size - 1) // width + 1)):
        count = min(width, frame.output_size - j * width)
        for b in range(part.first_row, part.first_row + rows):
            place = j // GATES * frame.batch * line + b * line + j % GATES * width
            dh = _output_gradient(run, t, b, j * width, count, load(work, record.d_hidden + place))
            rows_of_panel = j // GATES * record.capacity + row + b - part.first_row
            store(work, record.d_projected + rows_of_panel * line + j % GATES * width, dh)
            # Beside each other, as the left side of a product has them.
            store(work, record.d_states + b * record.d_rows_stride + j * width, dh)


@inlined
def _ahead(run, part, t, j):
    """Return what to fetch while panel j of step t is done: what the next one reads, or the first one of the next step.

    It comes from memory, where a forward pass has left it: a third of the time of a step at H = 64 was to wait for it.
    """
    frame, record, work, width = run.frame, run.record, run.work, lanes(run.work)
    back = -1 if record.reverse == 0 else 1
    if j + 1 == part.end_panel:
        j, t = part.first_panel, t + back
    else:
        j += 1
    t = min(max(t, 0), frame.steps - 1)
    before = min(max(t + back, 0), frame.steps - 1)
    units, all_rows = units_of(frame, j, width), rows_before(frame, frame.steps)
    row, row_before = rows_before(frame, t) + part.first_row, rows_before(frame, before) + part.first_row
    cells = at(pointer_to(record.cells, work), j * all_rows * width + row_before * units.held)
    gates, output = cells, cells
    if record.gates != 0:
        gates = at(pointer_to(record.gates, work), j * all_rows * GATES * width + row * units.gates_line)
    if record.d_output != 0:
        place = row * record.d_output_row
        output = at(pointer_to(record.d_output, work), place + j * width)
    return Ahead(gates, units.gates_line, cells, units.held, output)


@inlined
def _unit_gradients(run, part, t, rows, row, side_row):
    """Make the gradients of gate sums of one step, for this member's rows and units."""
    frame, record, work, width = run.frame, run.record, run.work, lanes(run.work)
    line, projected = GATES * width, frame.proj_panels > 0
    all_rows = rows_before(frame, frame.steps)
    block = Block(part.first_row, part.end_row - part.first_row, work, work)
    back = t + 1 if record.reverse != 0 else t - 1
    before = _active(frame, block, back)
    zeros, cells = at(work, record.zeros), pointer_to(record.cells, work)
    gates, gates_rows, first_gates = at(work, record.gates_again), record.capacity, row
    if record.gates != 0:
        gates, gates_rows = pointer_to(record.gates, work), all_rows
        first_gates = rows_before(frame, t) + part.first_row
    for j in range(part.first_panel, part.end_panel):
        units = units_of(frame, j, width)
        first = rows_before(frame, t) + part.first_row
        here = at(gates, j * gates_rows * line + first_gates * units.gates_line)
        c = at(cells, j * all_rows * width + first * units.held)
        earlier = at(cells, j * all_rows * width + (rows_before(frame, back) + part.first_row) * units.held)
        panel = at(work, record.d_panels + j * record.capacity * line + row * units.gates_line)
        side = at(work, record.d_rows + side_row * record.d_rows_stride + j * width)
        source = record.d_unprojected if projected else record.d_hidden
        dh_at = at(work, source + (j // GATES * frame.batch + part.first_row) * line + j % GATES * width)
        dc_at = at(work, record.d_cell + (j * frame.batch + part.first_row) * width)
        ahead = _ahead(run, part, t, j)
        for m in range(rows):
            prefetch(ahead.gates, m * ahead.gates_line, GATES, 2)
            prefetch(ahead.cells, m * ahead.cells_line, 1, 2)
            prefetch(ahead.output, m * record.d_output_row, 1, 2)
            dh = load(dh_at, m * line)
            if not projected:
                dh = _output_gradient(run, t, part.first_row + m, j * width, units.count, dh)
            if m < before:
                c_before = load(earlier, m * units.held)
            elif record.c_0 != 0:
                place = (part.first_row + m) * frame.hidden_size + j * width
                c_before = load_units(at(pointer_to(record.c_0, work), place), units.count)
            else:
                c_before = load(zeros, 0)
            gates_of_row, c_of_row = at(here, m * units.gates_line), at(c, m * units.held)
            shown = cell_gradients(
                units, gates_of_row, c_of_row, c_before, dh, at(dc_at, m * width), at(panel, m * units.gates_line),
                at(side, m * record.d_rows_stride), frame.hidden_size,
            )  # fmt: skip
            if projected:
                target = at(work, record.unprojected + (row + m) * record.unprojected_stride + j * width)
                store_units(target, shown, units.count)


@inlined
def back_step(run, crew, part, t, segment_row, group_row):
    """Take the gradients one step back, from those of h and c after step t to those before it.

    The rows of the step come behind so many of its segment, and of its group.
    """
    frame, record, work, width = run.frame, run.record, run.work, lanes(run.work)
    line, block = GATES * width, Block(part.first_row, part.end_row - part.first_row, work, work)
    forth, back = (t - 1, t + 1) if record.reverse != 0 else (t + 1, t - 1)
    rows = active_rows(frame, block, t)
    came, stay = _active(frame, block, forth), _active(frame, block, back)
    row, side_row = segment_row + part.first_row, group_row + part.first_row
    if came < rows:
        _entering(run, part, part.first_row + came, part.first_row + rows)
    if frame.proj_panels > 0:
        _project_back(run, part, t, rows, row)
        if record.by_rows == 0:
            meet(crew)
        left = at(work, record.d_states + part.first_row * record.d_rows_stride)
        target = at(work, record.d_unprojected + part.first_row * line)
        multiply(
            run, rows, left, record.d_rows_stride, at(run.weights, record.weight_hr), frame.output_size,
            frame.hidden_size, part.first_cell, part.end_cell, record.streamed, target, frame.batch * line, line,
        )  # fmt: skip
    _unit_gradients(run, part, t, rows, row, side_row)
    if record.by_rows == 0:
        meet(crew)
    left = at(work, record.d_rows + side_row * record.d_rows_stride)
    target = at(work, record.d_hidden + part.first_row * line)
    multiply(
        run, rows, left, record.d_rows_stride, at(run.weights, record.weight_hh), GATES * frame.hidden_size,
        frame.output_size, part.first_output, part.end_output, record.streamed, target, frame.batch * line, line,
    )  # fmt: skip
    if stay < rows:
        _leaving(run, part, part.first_row + stay, part.first_row + rows)
