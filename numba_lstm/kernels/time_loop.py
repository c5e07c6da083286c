"""The time loop: layers and directions over a stretch of time, for a slice of the batch's rows.

Time is cut into chunks.  For one chunk, layer and direction, the input part of all steps is computed first, into a
buffer that holds ``bias + input blocks``; then the steps follow each other, each adding its recurrent blocks.  Rows
never meet, so threads may take slices of the batch through the whole network and need no barrier between them; a slice
may be done in blocks of rows, one after the other, whose states and sums stay in cache.  Or threads are a crew, in
which each makes some of the hidden units of all rows, and they meet after every step.
"""
from __future__ import annotations

from collections import namedtuple

import numpy as np

from ..simd.blocksizes import GATES
from ..simd.jit import inlined, inner
from ..simd.records import numbers_of
from ..simd.vectors import at, lanes
from ..simd.weights.forms import depth_of, same_form
from .cells.postgemm import Rule
from .cells.step import CellWeights, Sizes, State, panel_at, panel_vectors, project, step_panel, step_row, sums_of
from .crew import direction_crew, meet, regroup, share
from .frame import CELL_SIZE, FRAME_SIZE, as_cell
from .kept import keeps, kept_gates, numbers_of_rule, row_of_sums, rows_of_step, sums_line
from .left_rows import input_rows, left_rows
from .microkernels import BROADCAST, Following, panel_gemm
from .rows import Block, View, active_rows, gather, pool_row, row_at, run_end, spread, time_distance

FORWARD = 0
"""The direction that every layer has."""

Part = namedtuple(
    "Part", "first_panel end_panel first_vector end_vector first_proj end_proj first_output outputs"
)
"""What one member of a crew does: panels of the gates; vectors of h when it is set; panels of the projection; numbers
of h that it makes."""

Room = namedtuple("Room", "sums distance fused left")
"""A member's part of the workspace of a chunk: gate sums, those of panel 0, and how far from them those of the next
panel; whether the chunk is of one step, in which the sums of one panel at a time are made and used, so that they stay
in L1; copies of rows, see ``left_rows``."""

Cell = namedtuple("Cell", "index direction weights sizes src dst hidden half c unprojected")
"""One layer and direction: its place among all, in torch's order; its direction, `CellWeights` and `Sizes`; the rows
that it reads and those that it writes, as `View`; pointers to two states h, ``half`` numbers apart, which steps read
and write in turn, and to the other parts of `State`."""

Call = namedtuple("Call", "frame weights panels h c kind")
"""What stays the same for all layers and rows of a call: pointers.  ``panels`` has the type of what panels hold, see
``weights.forms``, and the place of ``weights``.  h and c are the first states and become the last ones, (layers *
directions, pool, H_out) and (.., H).  ``kind`` is that of ``postgemm.Rule``."""


@inlined
def _begin_together(frame):
    """Return whether a crew sets the first states of all layers before it begins: it meets once, not in each layer."""
    return frame.crew > 1 and frame.offsets == 0 and frame.from_zero == 0


@inner
def _begin_rows(call, cell, block, part, before, first, last):
    """Set this member's part of the state of rows that enter."""
    frame, sizes, width = call.frame, cell.sizes, lanes(cell.c)
    known = 1 - frame.from_zero
    for b in range(first, last):
        row = pool_row(frame, cell.index, block.first + b) * known
        h, c = at(call.h, row * sizes.output_size), at(call.c, row * sizes.hidden_size)
        target, k = at(before, b * sizes.hidden_stride), part.first_vector * width
        room = part.end_vector - part.first_vector
        spread(at(h, k), known * sizes.output_size - k, at(target, k), width, room)
        target, k = at(cell.c, (part.first_panel * sizes.rows + b) * width), part.first_panel * width
        room = part.end_panel - part.first_panel
        spread(at(c, k), known * sizes.hidden_size - k, target, sizes.rows * width, room)


@inner
def _end_rows(call, cell, block, part, after, first, last):
    """Hand out this member's part of the state of rows that leave."""
    sizes, width = cell.sizes, lanes(cell.c)
    k = part.first_panel * width
    units = min(part.end_panel * width, sizes.hidden_size) - k
    for b in range(first, last):
        row = pool_row(call.frame, cell.index, block.first + b)
        h, c = at(call.h, row * sizes.output_size), at(call.c, row * sizes.hidden_size)
        source = at(after, b * sizes.hidden_stride + part.first_output)
        gather(source, width, at(h, part.first_output), part.outputs)
        source = at(cell.c, (part.first_panel * sizes.rows + b) * width)
        gather(source, sizes.rows * width, at(c, k), units)


@inlined
def _input_panel(j, upcoming, frame, block, weights, sizes, src, gates, t_first, t_last):
    """Fill gate sums with bias + input blocks of panel j for some steps.

    ``gates`` points to those of the chunk's first row, or of the first one of all if they are kept.  ``upcoming`` is
    the panel that comes next, and ``src`` the view of what ``left_rows`` has made of the input.
    """
    line = GATES * lanes(gates)
    steps = t_last - t_first
    depth, vectors = depth_of(weights.weight_ih, sizes.src_size), panel_vectors(sizes, j)
    panel = panel_at(weights.weight_ih, j, sizes.src_size, line)
    following = Following(panel_at(weights.weight_ih, upcoming, sizes.src_size, line), frame.streamed_ih)
    bias, kind = at(weights.bias, j * line), weights.rule.kind
    line = sums_line(kind, vectors, lanes(gates))
    even = src.time == block.rows * src.row and rows_of_step(kind, frame, block, t_first) == block.rows
    if frame.offsets == 0 and (steps == 1 or even):  # evenly spaced rows
        left = row_at(src, frame, t_first, block.first)
        target = at(gates, row_of_sums(kind, frame, block, t_first, t_first) * line)
        panel_gemm(steps * block.rows, left, src.row, vectors, panel, following, depth, bias, BROADCAST, target, line)
        return
    first = t_first
    while first < t_last:  # a run of steps in which the same rows take part
        rows, end = active_rows(frame, block, first), run_end(frame, first, t_last)
        time = time_distance(src, frame, first)
        step = rows_of_step(kind, frame, block, first) * line
        target = at(gates, row_of_sums(kind, frame, block, t_first, first) * line)
        if rows < end - first:
            for b in range(rows):
                left, here = row_at(src, frame, first, block.first + b), at(target, b * line)
                panel_gemm(end - first, left, time, vectors, panel, following, depth, bias, BROADCAST, here, step)
        else:
            for t in range(end - first):
                left, here = at(row_at(src, frame, first, block.first), t * time), at(target, t * step)
                panel_gemm(rows, left, src.row, vectors, panel, following, depth, bias, BROADCAST, here, line)
        first = end


@inlined
def _part(sizes, crew, width):
    """Return the part of a member in every step."""
    first_panel, end_panel = share(sizes.panels, crew)
    first_vector, end_vector = share(sizes.hidden_stride // width, crew)
    first_proj, end_proj = share(sizes.proj_panels, crew)
    size = GATES * width if sizes.proj_panels > 0 else width
    first = (first_proj if sizes.proj_panels > 0 else first_panel) * size
    end = (end_proj if sizes.proj_panels > 0 else end_panel) * size
    outputs = max(min(end, sizes.output_size) - first, 0)
    return Part(first_panel, end_panel, first_vector, end_vector, first_proj, end_proj, first, outputs)


@inlined
def _room(call, block, crew, direction):
    """Return a member's part of the workspace."""
    frame = call.frame
    here = at(block.work, direction * frame.direction_size)
    sums = at(here, frame.gate_sums + crew.index * frame.gate_member)
    left = at(here, frame.left + crew.index * frame.left_member)
    sums = kept_gates(call.kind, frame, direction, sums)
    return Room(sums, frame.gate_distance, frame.chunk == 1 and not keeps(call.kind), left)


@inlined
def _cell(call, block, layer, direction, src, dst):
    """Return what all steps of one layer and direction share."""
    frame = call.frame
    index = layer * frame.directions + direction
    record = as_cell(at(numbers_of(frame), FRAME_SIZE + index * CELL_SIZE))
    gates = kept_gates(call.kind, frame, direction, call.weights)
    numbers = numbers_of_rule(call.kind, frame, gates, at(call.weights, record.numbers))
    weights = CellWeights(
        at(call.weights, record.bias),
        same_form(at(call.weights, record.weight_ih), call.panels),
        same_form(at(call.weights, record.weight_hh), call.panels),
        same_form(at(call.weights, record.weight_hr), call.panels),
        at(call.weights, record.zeros),
        Rule(call.kind, record, numbers, gates),
    )
    sizes = Sizes(
        record.src_size,
        frame.hidden_size,
        frame.output_size,
        frame.panels,
        frame.tail,
        frame.proj_panels,
        frame.hidden_stride,
        frame.rows,
    )
    half = frame.rows * frame.hidden_stride
    hidden = at(block.work, frame.hidden + index * 2 * half)
    c = at(block.work, frame.cell + index * frame.panels * frame.rows * lanes(block.work))
    unprojected = at(block.work, frame.unprojected + direction * frame.direction_size)
    return Cell(index, direction, weights, sizes, src, dst, hidden, half, c, unprojected)


@inlined
def _step(call, block, crew, part, room, cell, src, s, t_first, streamed):
    """Do this member's part of step s, in the order of processing, of one layer and direction.

    ``t_first`` is the first step of its chunk, in the order of time.  Its gate sums hold the input part already, unless
    they are fused; then it is made of ``src``, a view of what ``left_rows`` has made of the input.
    """
    frame, weights, sizes, width = call.frame, cell.weights, cell.sizes, lanes(block.work)
    reverse = cell.direction != FORWARD
    t = frame.steps - 1 - s if reverse else s
    back = -1 if reverse else 1
    rows = active_rows(frame, block, t)
    earlier = active_rows(frame, block, t - back) if s > 0 else 0
    later = active_rows(frame, block, t + back) if s + 1 < frame.steps else 0
    odd = (s + frame.turn) & 1
    before, after = at(cell.hidden, odd * cell.half), at(cell.hidden, (1 - odd) * cell.half)
    from_zero = earlier == 0 and frame.from_zero != 0 and frame.finite != 0
    if earlier < rows and not _begin_together(frame):
        _begin_rows(call, cell, block, part, before, earlier, rows)
        if not from_zero:
            meet(crew)
    copies, copied = at(room.left, frame.left_hidden), 0 if from_zero else rows
    left, stride = left_rows(call.panels, call, copies, copied, sizes.output_size, before, sizes.hidden_stride)
    state = State(before, after, cell.c, cell.unprojected, left, stride)
    # Rows that all read the same input, such as the windows of a stream, share their input part.
    shared = room.fused and src.row == 0 and rows > 1 and not from_zero
    inputs = Block(block.first, 1 if shared else block.rows, block.work, block.between)
    line, row = GATES * width, row_of_sums(call.kind, frame, block, t_first, t)
    # Every other step walks back: the panels read last are still in cache when the weights exceed it.
    first, end, walks_back = part.first_panel, part.end_panel, odd != 0
    if keeps(call.kind) and rows == 0:  # else the tile kernel would do a row, which here is one of others
        end = first
    if rows == 1 and end - first > 1:
        x, pairs = row_at(src, frame, t, block.first), frame.pairs != 0
        step_row(
            first, end, walks_back, pairs, streamed, room.fused, from_zero, weights, sizes, x, room.sums, room.distance,
            row, state,
        )  # fmt: skip
        first = end
    for n in range(first, end):
        j = first + end - 1 - n if walks_back else n
        here = sums_of(call.kind, sizes, room.sums, j, room.distance, row)
        apart = sums_line(call.kind, panel_vectors(sizes, j), width)
        source, source_stride = (at(here, frame.rows * line), BROADCAST) if shared else (here, apart)
        upcoming = j if n + 1 == end else j + (-1 if walks_back else 1)
        if room.fused:
            _input_panel(j, upcoming, frame, inputs, weights, sizes, src, source, t, t + 1)
        step_panel(j, upcoming, streamed, rows, from_zero, weights, sizes, source, source_stride, here, state)
    if sizes.proj_panels > 0:
        meet(crew)
        source, stride = cell.unprojected, sizes.panels * width
        left, stride = left_rows(call.panels, call, copies, rows, sizes.hidden_size, source, stride)
        project(part.first_proj, part.end_proj, streamed, rows, weights, sizes, left, stride, after)
    for b in range(rows):
        target = at(row_at(cell.dst, frame, t, block.first + b), cell.direction * frame.output_size + part.first_output)
        gather(at(after, b * sizes.hidden_stride + part.first_output), width, target, part.outputs)
    if later < rows:
        _end_rows(call, cell, block, part, after, later, rows)


@inner
def _chunk(call, block, crew, cell, first, last):
    """Do steps first .. last - 1, in the order of processing, of one layer and direction.

    Return the crew that has done the last of them, of size 0 if this member is not of it any more.
    """
    frame, width, reverse = call.frame, lanes(block.work), cell.direction != FORWARD
    part, room = _part(cell.sizes, crew, width), _room(call, block, crew, cell.direction)
    t_first = frame.steps - last if reverse else first
    t_last = t_first + last - first
    src = input_rows(call.panels, call, block, room.left, cell.sizes.src_size, cell.src, t_first, t_last)
    if not room.fused:
        for j in range(part.first_panel, part.end_panel):
            upcoming, sums = min(j + 1, part.end_panel - 1), at(room.sums, j * room.distance)
            _input_panel(j, upcoming, frame, block, cell.weights, cell.sizes, src, sums, t_first, t_last)
    for s in range(first, last):
        _step(call, block, crew, part, room, cell, src, s, t_first, np.int64(s - first < frame.streamed_steps))
        meet(crew)
        remaining = regroup(crew)
        if remaining.size < crew.size:
            crew = remaining
            if crew.size == 0:
                break
            part, room = _part(cell.sizes, crew, width), _room(call, block, crew, cell.direction)
    return crew


@inlined
def _between(frame, block, half, s):
    """Return one of the two buffers between layers, in which step s lies first if one direction runs."""
    row = frame.directions * frame.output_size
    packed = frame.between_packed != 0
    time = block.rows * row
    base = at(block.between, half * frame.between_size)
    return View(base if packed else at(base, -block.first * row - s * time), time, row, packed)


@inner
def _begin_layers(call, block, crew, src):
    """Set the first states of all layers that a launch does."""
    frame, width = call.frame, lanes(block.work)
    for layer in range(frame.first_layer, frame.end_layer):
        for direction in range(frame.directions):
            cell = _cell(call, block, layer, direction, src, src)
            before = at(cell.hidden, (frame.turn & 1) * cell.half)
            _begin_rows(call, cell, block, _part(cell.sizes, crew, width), before, 0, block.rows)
    meet(crew)


@inner
def run_network(call, block, crew, src, dst):
    """Take a block of rows through the layers and steps of a launch, a span of steps through all layers at a time.

    Return the crew that has done the last of it, of size 0 if this member is not of it any more.
    """
    frame = call.frame
    layer_first, layer_last, directions = frame.first_layer, frame.end_layer, frame.directions
    s_first, s_last = frame.first_step, frame.end_step
    if s_first == 0 and _begin_together(frame):
        _begin_layers(call, block, crew, src)
    for s in range(s_first, s_last, frame.span):
        end = min(s + frame.span, s_last)
        for layer in range(layer_first, layer_last):
            left = src if layer == layer_first else _between(frame, block, (layer - 1) & 1, s)
            right = dst if layer == layer_last - 1 else _between(frame, block, layer & 1, s)
            apart = frame.apart != 0 and crew.size % 2 == 0
            for direction in range(directions):  # FORWARD, then reverse
                if apart and direction != crew.index % 2:
                    continue
                members = direction_crew(crew, direction) if apart else crew
                cell = _cell(call, block, layer, direction, left, right)
                for first in range(s, end, frame.chunk):
                    members = _chunk(call, block, members, cell, first, min(first + frame.chunk, end))
                    if members.size == 0:
                        return members
                if not apart:
                    crew = members
            if directions == 2:
                meet(crew)
                crew = regroup(crew)
                if crew.size == 0:
                    return crew
    return crew
