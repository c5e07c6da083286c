"""The backward pass of one layer and direction, for all rows: steps in turn, from the last one done to the first.

Steps are taken in segments, as many as have about `segment_rows` rows; which ones depends on the shape alone, and so
does the order of every sum.  For each segment

    the steps follow each other: gradients of h and c -> of gate sums -> of h of the step before
    the gradients of the input, one product for the rows of a few steps
    the gradients of weights, one product over all rows of the segment, added to those of the segments before

Threads are a crew.  In the steps each takes some rows, or some units of all rows and meets the others after each step;
in the products, rows or units.
"""
from __future__ import annotations

from collections import namedtuple

import numpy as np

from ...simd.blocksizes import GATES
from ...simd.jit import inlined, inner
from ...simd.vectors import add, at, lanes, load, pointer_to, prefetch, store
from ..crew import meet, regroup, share
from ..microkernels import BROADCAST, Following, panel_gemm, wide_gemm
from ..panels import NARROWEST
from ..rows import Block, active_rows, rows_before
from .cell_gradients import Units, activate_gates, cell_gradients, load_units, store_units
from .columns import column_share, fill_ones, run_before, states_before, transpose

Pass = namedtuple("Pass", "frame record weights work h c src dst")
"""What stays the same: the two records; pointers to panels and to scratch memory; to the gradients of the last states,
which become those of the first, (rows, H_out) and (rows, H); to the input and its gradient, whose rows follow each
other."""

DEEP = 1024
"""Most k of a product at once: all tiles of rows then find that part of a panel in L2.  Sums keep their order, since
their blocks end there."""

Part = namedtuple("Part", "first_row end_row first_panel end_panel first_output end_output first_cell end_cell")
"""A member's part of every step: rows; panels of units, of h, and of what is projected."""


Ahead = namedtuple("Ahead", "gates gates_line cells cells_line output")
"""Where rows lie that are fetched: of gates and c, and their distances, and of the gradient of the output."""


@inlined
def _vectors(size, j, width):
    """Return the vectors of panel j of so many outputs, see ``panels.output_panels``."""
    left = size - j * GATES * width
    if left > GATES // 2 * width:
        return np.int64(GATES)
    return np.int64(GATES // 2 if left > width else NARROWEST)


@inlined
def _count(size, width):
    """Return how many panels so many outputs have."""
    return (size + GATES * width - 1) // (GATES * width)


@inlined
def _units(frame, j, width):
    held = width if j + 1 < frame.panels else width * frame.tail // GATES
    return Units(min(width, frame.hidden_size - j * width), held, held * GATES)


@inlined
def _active(frame, block, t):
    """Return how many rows of a block take part in a step, which may be none of the sequence."""
    if t < 0 or t >= frame.steps:
        return np.int64(0)
    return min(active_rows(frame, block, t), block.rows)


@inlined
def _part(run, crew, width):
    """Return a member's part of each step."""
    frame = run.frame
    outputs, cells = _count(frame.output_size, width), _count(frame.hidden_size, width)
    if run.record.by_rows != 0:
        first, last = share(frame.batch, crew)
        return Part(first, last, np.int64(0), frame.panels, np.int64(0), outputs, np.int64(0), cells)
    first_output, end_output = share(outputs, crew)
    first_cell, end_cell = share(cells, crew)
    first, last = first_cell * GATES, min(end_cell * GATES, frame.panels)
    return Part(np.int64(0), frame.batch, first, last, first_output, end_output, first_cell, end_cell)


@inlined
def _multiply(run, rows, left, stride, matrix, depth, size, first, last, streamed, target, apart, distance):
    """Multiply rows by panels ``first`` .. ``last`` - 1 of a matrix of ``size`` outputs.

    Results of two panels go ``apart`` elements from each other, those of two rows ``distance``.
    """
    width = lanes(target)
    line = GATES * width
    zeros = at(run.work, run.record.zeros)
    for j in range(first, last):
        vectors, here = _vectors(size, j, width), at(target, j * apart)
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
            value = load_units(at(run.c, b * frame.hidden_size + j * width), _units(frame, j, width).count)
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
            store_units(at(run.c, b * frame.hidden_size + j * width), value, _units(frame, j, width).count)


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
    units, all_rows = _units(frame, j, width), rows_before(frame, frame.steps)
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
        units = _units(frame, j, width)
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
def _step(run, crew, part, t, segment_row, group_row):
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
        _multiply(
            run, rows, left, record.d_rows_stride, at(run.weights, record.weight_hr), frame.output_size,
            frame.hidden_size, part.first_cell, part.end_cell, record.streamed, target, frame.batch * line, line,
        )  # fmt: skip
    _unit_gradients(run, part, t, rows, row, side_row)
    if record.by_rows == 0:
        meet(crew)
    left = at(work, record.d_rows + side_row * record.d_rows_stride)
    target = at(work, record.d_hidden + part.first_row * line)
    _multiply(
        run, rows, left, record.d_rows_stride, at(run.weights, record.weight_hh), GATES * frame.hidden_size,
        frame.output_size, part.first_output, part.end_output, record.streamed, target, frame.batch * line, line,
    )  # fmt: skip
    if stay < rows:
        _leaving(run, part, part.first_row + stay, part.first_row + rows)


@inner
def _input_gradients(run, crew, t_first, t_last, group_row):
    """Make the gradients of the input of some steps, for this member's rows."""
    frame, record, work, width = run.frame, run.record, run.work, lanes(run.work)
    line, size, depth = GATES * width, record.src_size, GATES * frame.hidden_size
    start = rows_before(frame, t_first)
    first, last = share(rows_before(frame, t_last) - start, crew)
    scratch = at(work, record.scratch + first * line)
    left = at(work, record.d_rows + (group_row + first) * record.d_rows_stride)
    matrix, target = at(run.weights, record.weight_ih), at(run.dst, (start + first) * size)
    rows, stride, whole = last - first, record.d_rows_stride, size // line
    none, panels = np.int64(0), _count(size, width)
    if record.wants_input == 1:  # full panels go where they belong
        _multiply(run, rows, left, stride, matrix, depth, size, none, whole, none, target, line, size)
    for j in range(none if record.wants_input > 1 else whole, panels):
        _multiply(run, rows, left, stride, matrix, depth, size, j, j + 1, none, at(scratch, -j * line), line, line)
        for m in range(rows):
            for k in range(j * line, min((j + 1) * line, size), width):
                count, here = min(width, size - k), at(target, m * size + k)
                value = load(scratch, m * line + k - j * line)
                if record.wants_input > 1:
                    value = add(load_units(here, count), value)
                store_units(here, value, count)


@inner
def _steps(run, crew, t_first, t_last):
    """Take the gradients back through the steps of a segment, and make those of the input by the way.

    These are made for a group of steps at once, as soon as their gradients of gate sums are there.  Groups take turns
    with two pieces of memory, so that nobody overwrites what others still read: who comes to a group's second successor
    has met those who have done the one between.
    """
    frame, record = run.frame, run.record
    part, start = _part(run, crew, lanes(run.work)), rows_before(frame, t_first)
    groups = (t_last - t_first + record.group - 1) // record.group
    for n in range(groups):
        first = t_first + (n if record.reverse != 0 else groups - 1 - n) * record.group
        last = min(first + record.group, t_last)
        group_row = (n & 1) * record.group_rows - rows_before(frame, first)
        for k in range(last - first):
            t = first + k if record.reverse != 0 else last - 1 - k
            place = rows_before(frame, t)
            _step(run, crew, part, t, place - start, place + group_row)
        if record.wants_input != 0:
            if record.by_rows != 0:
                meet(crew)
            _input_gradients(run, crew, first, last, (n & 1) * record.group_rows)


@inner
def _gates_again(run, crew, t_first, t_last):
    """Make the gates of some steps, for this member's units, with the bits that the forward pass gave them.

    The states that steps began with are known, so that none waits for another.
    """
    frame, record, work, width = run.frame, run.record, run.work, lanes(run.work)
    line, size, reads = GATES * width, record.src_size, frame.output_size
    start = rows_before(frame, t_first)
    rows = rows_before(frame, t_last) - start
    weights, h = pointer_to(record.forward, work), pointer_to(record.h, work)
    first, last = share(frame.panels, crew)
    for j in range(first, last):
        units = _units(frame, j, width)
        vectors, apart = units.gates_line // width, units.gates_line
        panel, sums = at(weights, record.forward_ih + j * size * line), at(work, record.gates_again)
        sums = at(sums, j * record.capacity * line)
        following, bias = Following(panel, np.int64(0)), at(weights, record.forward_bias + j * line)
        x = at(run.src, start * size)
        panel_gemm(rows, x, size, vectors, panel, following, size, bias, BROADCAST, sums, apart)
        panel = at(weights, record.forward_hh + j * reads * line)
        place, t = np.int64(0), t_first
        while t < t_last:
            steps = run_before(frame, record.reverse, t, t_last)
            here, left = at(sums, place * apart), at(h, steps.first * record.h_row)
            if steps.before > 0:
                panel_gemm(
                    steps.before, left, record.h_row, vectors, panel, following, reads, here, apart, here, apart
                )
            if steps.before < steps.rows and record.h_0 != 0:
                left, here = at(pointer_to(record.h_0, work), steps.before * reads), at(here, steps.before * apart)
                rest = steps.rows - steps.before
                panel_gemm(rest, left, reads, vectors, panel, following, reads, here, apart, here, apart)
            place += steps.rows
            t = steps.end
        for m in range(rows):
            activate_gates(at(sums, m * apart), units.held)


@inner
def _columns(run, crew, t_first, t_last):
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


@inlined
def _add_products(run, left, panel, following, vectors, rows, first, last, target):
    """Add the products of rows ``first`` .. ``last`` - 1 of the left side and a panel of gradients."""
    stride, line = run.record.left_stride, vectors * lanes(run.work)
    here = at(target, first * line)
    count = last - first
    panel_gemm(count, at(left, first * stride), stride, vectors, panel, following, rows, here, line, here, line)


@inner
def _weight_gradients(run, crew, t_first, t_last):
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
        following = Following(panel, np.int64(0))
        vectors = frame.tail if j + 1 == frame.panels else np.int64(GATES)
        target = at(sums, j * (states + 1) * line)
        if record.wants_hh != 0 or first >= states or last <= record.src_size:
            _add_products(run, left, panel, following, vectors, rows, first, last, target)
        else:  # of the input and of the bias, but not what lies in between
            low, high = min(last, record.src_size), max(first, states)
            if first < low:
                _add_products(run, left, panel, following, vectors, rows, first, low, target)
            if high < last:
                _add_products(run, left, panel, following, vectors, rows, high, last, target)


@inner
def _projection_gradients(run, crew, t_first, t_last):
    """Add what some steps give to the gradients of the projection's weights."""
    frame, record, work, width = run.frame, run.record, run.work, lanes(run.work)
    line, size = GATES * width, frame.hidden_size
    rows = rows_before(frame, t_last) - rows_before(frame, t_first)
    first, last = column_share(size, crew, width)
    left, stride = at(work, record.left_unprojected), record.left_stride
    transpose(at(work, record.unprojected), record.unprojected_stride, rows, first, last, left, stride)
    sums = pointer_to(record.d_projection, work)
    for j in range(_count(frame.output_size, width)):
        panel = at(work, record.d_projected + j * record.capacity * line)
        following, here = Following(panel, np.int64(0)), at(sums, (j * size + first) * line)
        here_left = at(left, first * stride)
        panel_gemm(last - first, here_left, stride, GATES, panel, following, rows, here, line, here, line)


@inner
def run_segments(run, crew):
    """Take the gradients through the segments of a launch.

    Return the crew that has done the last of it, of size 0 if this member is not of it any more.
    """
    frame, record = run.frame, run.record
    first, last = frame.first_step // record.segment, (frame.end_step - 1) // record.segment
    for k in range(last - first + 1):
        t_first = (first + k if record.reverse != 0 else last - k) * record.segment
        t_last = min(t_first + record.segment, frame.steps)
        _columns(run, crew, t_first, t_last)
        if record.gates == 0:
            _gates_again(run, crew, t_first, t_last)
            meet(crew)
        _steps(run, crew, t_first, t_last)
        meet(crew)
        if record.wants_ih + record.wants_hh + record.wants_bias != 0:
            _weight_gradients(run, crew, t_first, t_last)
        if record.wants_hr != 0:
            _projection_gradients(run, crew, t_first, t_last)
        meet(crew)
        remaining = regroup(crew)
        if remaining.size < crew.size:
            crew = remaining
            if crew.size == 0:
                break
    return crew
