"""The time loop: layers and directions over a stretch of time, for a slice of the batch's rows.

Time is cut into chunks.  For one chunk, layer and direction, the input part of all steps is computed first, into a
buffer that holds ``bias + input blocks``; then the steps follow each other, each adding its recurrent blocks.  Rows
never meet, so threads take slices of the batch through the whole network and need no barrier between them; a slice
may be done in blocks of rows, one after the other, whose states and sums stay in cache.

Rows of variable length lie packed, as in ``torch.nn.utils.rnn.PackedSequence``: step t has the first rows of the
batch, as many as the OFFSETS of ``frame`` say, and they follow those of step t - 1.
"""
from __future__ import annotations

from collections import namedtuple

import numpy as np
from numba import prange

from ._jit import inlined, inner
from .blocksizes import GATES
from .cell import CellWeights, Sizes, State, panel_vectors, project, step_panel
from .float_mode import flush_denormals, restore_mode
from .frame import (
    BATCH,
    BETWEEN,
    BETWEEN_PACKED,
    BETWEEN_SIZE,
    C_ADDRESS,
    CELL,
    CELLS,
    CHUNK,
    DIRECTIONS,
    END_LAYER,
    END_STEP,
    FINITE,
    FIRST_LAYER,
    FIRST_STEP,
    FROM_ZERO,
    GATE_SUMS,
    H_ADDRESS,
    HIDDEN,
    HIDDEN_SIZE,
    HIDDEN_STRIDE,
    INDICES,
    OFFSETS,
    OUTPUT_SIZE,
    PANELS,
    POOL,
    PROJ_PANELS,
    ROWS,
    SLICE_SIZE,
    SLICES,
    STEPS,
    TAIL,
    TURN,
    UNPROJECTED,
    WEIGHTS_ADDRESS,
    WORK_ADDRESS,
)
from .microkernels import BROADCAST, panel_gemm
from .packing import BIAS, CELL_SIZE, SRC_SIZE, WEIGHT_HH, WEIGHT_HR, WEIGHT_IH, ZEROS
from .simd import at, lanes, pointer, pointer_to
from .states import gather, spread

FORWARD = np.int64(0)
"""The direction that every layer has.  Typed: Numba would compile the time loop once more for a literal 0."""

View = namedtuple("View", "base time row packed")
"""Rows of steps: a pointer to (t=0, b=0), and the distances of two steps and of two rows, in elements.  Where packed,
steps follow each other and ``time`` has no meaning."""

Block = namedtuple("Block", "first rows work between")
"""Rows of the batch, the thread's workspace, and what lies between layers, beginning with these rows unless packed."""

Call = namedtuple("Call", "frame weights h c")
"""What stays the same for all layers and rows of a call: pointers.  h and c are the first states and become the last
ones, (layers * directions, pool, H_out) and (.., H)."""


@inlined
def _active(frame, block, t):
    """Return how many rows of a block take part in step t."""
    if frame[OFFSETS] == 0:
        return block.rows
    here = frame[OFFSETS] + t
    return min(max(frame[here + 1] - frame[here] - block.first, 0), block.rows)


@inlined
def _row(view, frame, t, b):
    """Return the pointer to row b of step t."""
    if view.packed:
        return at(view.base, (frame[frame[OFFSETS] + t] + b) * view.row)
    return at(view.base, t * view.time + b * view.row)


@inlined
def _pool_row(frame, index, b):
    """Return which row of h and c row b of the batch has, in one layer and direction."""
    row = frame[frame[INDICES] + b] if frame[INDICES] != 0 else b
    return index * frame[POOL] + row


@inner
def _begin_rows(call, index, block, sizes, state, first, last):
    """Set the state of rows that enter."""
    frame, width = call.frame, lanes(state.cell)
    known = 1 - frame[FROM_ZERO]
    for b in range(first, last):
        row = _pool_row(frame, index, block.first + b) * known
        h, c = at(call.h, row * sizes.output_size), at(call.c, row * sizes.hidden_size)
        target = at(state.before, b * sizes.hidden_stride)
        spread(h, known * sizes.output_size, target, width, sizes.hidden_stride // width)
        spread(c, known * sizes.hidden_size, at(state.cell, b * width), sizes.rows * width, sizes.panels)


@inner
def _end_rows(call, index, block, sizes, state, first, last):
    """Hand out the state of rows that leave."""
    width = lanes(state.cell)
    for b in range(first, last):
        row = _pool_row(call.frame, index, block.first + b)
        h, c = at(call.h, row * sizes.output_size), at(call.c, row * sizes.hidden_size)
        gather(at(state.after, b * sizes.hidden_stride), width, h, sizes.output_size)
        gather(at(state.cell, b * width), sizes.rows * width, c, sizes.hidden_size)


@inlined
def _input_panel(j, frame, block, weights, sizes, src, gates, t_first, t_last):
    """Fill ``gates`` (steps, rows, 4, LANES) with bias + input blocks of panel j for some steps."""
    line = GATES * lanes(gates)
    steps = t_last - t_first
    depth, vectors = sizes.src_size, panel_vectors(sizes, j)
    panel = at(weights.weight_ih, j * depth * line)
    following = at(panel, depth * line) if j + 1 < sizes.panels else panel
    bias = at(weights.bias, j * line)
    ragged = frame[OFFSETS] != 0
    if not ragged and (steps == 1 or src.time == block.rows * src.row):  # evenly spaced rows
        left = _row(src, frame, t_first, block.first)
        panel_gemm(steps * block.rows, left, src.row, vectors, panel, following, depth, bias, BROADCAST, gates, line)
    elif not ragged and block.rows < steps:
        for b in range(block.rows):
            left = _row(src, frame, t_first, block.first + b)
            target, distance = at(gates, b * line), block.rows * line
            panel_gemm(steps, left, src.time, vectors, panel, following, depth, bias, BROADCAST, target, distance)
    else:
        for t in range(t_first, t_last):
            rows = _active(frame, block, t)
            left = _row(src, frame, t, block.first)
            target = at(gates, (t - t_first) * block.rows * line)
            panel_gemm(rows, left, src.row, vectors, panel, following, depth, bias, BROADCAST, target, line)


@inner
def _chunk(call, block, layer, direction, src, dst, s_first, s_last):
    """Do steps s_first .. s_last - 1, in the order of processing, of one layer and direction."""
    frame = call.frame
    width = lanes(block.work)
    index = layer * frame[DIRECTIONS] + direction
    record = CELLS + index * CELL_SIZE
    weights = CellWeights(
        at(call.weights, frame[record + BIAS]),
        at(call.weights, frame[record + WEIGHT_IH]),
        at(call.weights, frame[record + WEIGHT_HH]),
        at(call.weights, frame[record + WEIGHT_HR]),
        at(call.weights, frame[record + ZEROS]),
    )
    sizes = Sizes(
        frame[record + SRC_SIZE],
        frame[HIDDEN_SIZE],
        frame[OUTPUT_SIZE],
        frame[PANELS],
        frame[TAIL],
        frame[PROJ_PANELS],
        frame[HIDDEN_STRIDE],
        frame[ROWS],
    )
    state_size = frame[ROWS] * frame[HIDDEN_STRIDE]
    hidden = at(block.work, frame[HIDDEN] + index * 2 * state_size)
    c = at(block.work, frame[CELL] + index * frame[PANELS] * frame[ROWS] * width)
    unprojected = at(block.work, frame[UNPROJECTED])
    gates = at(block.work, frame[GATE_SUMS])
    reverse = direction != FORWARD
    t_first = frame[STEPS] - s_last if reverse else s_first
    t_last = frame[STEPS] - s_first if reverse else s_last
    # A chunk of one step needs the gates of one panel at a time: they stay in L1.
    fused = frame[CHUNK] == 1
    line = GATES * width
    distance = 0 if fused else frame[CHUNK] * frame[ROWS] * line
    if not fused:
        for j in range(sizes.panels):
            _input_panel(j, frame, block, weights, sizes, src, at(gates, j * distance), t_first, t_last)
    for s in range(s_first, s_last):
        t = frame[STEPS] - 1 - s if reverse else s
        back = -1 if reverse else 1
        rows = _active(frame, block, t)
        earlier = _active(frame, block, t - back) if s > 0 else 0
        later = _active(frame, block, t + back) if s + 1 < frame[STEPS] else 0
        odd = (s + frame[TURN]) & 1
        before, after = at(hidden, odd * state_size), at(hidden, (1 - odd) * state_size)
        state = State(before, after, c, unprojected)
        if earlier < rows:
            _begin_rows(call, index, block, sizes, state, earlier, rows)
        from_zero = earlier == 0 and frame[FROM_ZERO] != 0 and frame[FINITE] != 0
        # Rows that all read the same input, such as the windows of a stream, share their input part.
        shared = fused and src.row == 0 and rows > 1 and not from_zero
        inputs = Block(block.first, 1 if shared else block.rows, block.work, block.between)
        sums = at(gates, (t - t_first) * block.rows * line)
        source, source_stride = (at(gates, frame[ROWS] * line), BROADCAST) if shared else (sums, line)
        for n in range(sizes.panels):
            # Every other step walks back: the panels read last are still in cache when the weights exceed it.
            j = n if odd == 0 else sizes.panels - 1 - n
            if fused:
                _input_panel(j, frame, inputs, weights, sizes, src, source, t, t + 1)
            following = j if n + 1 == sizes.panels else j + (1 if odd == 0 else -1)
            here = at(sums, j * distance)
            left = source if shared else here
            step_panel(j, following, rows, from_zero, weights, sizes, left, source_stride, here, state)
        project(rows, weights, sizes, state)
        for b in range(rows):
            target = at(_row(dst, frame, t, block.first + b), direction * frame[OUTPUT_SIZE])
            gather(at(after, b * frame[HIDDEN_STRIDE]), width, target, frame[OUTPUT_SIZE])
        if later < rows:
            _end_rows(call, index, block, sizes, state, later, rows)


@inlined
def _view(frame, array):
    size = array.itemsize
    return View(pointer(array, 0), array.strides[0] // size, array.strides[1] // size, frame[OFFSETS] != 0)


@inlined
def _between(frame, block, half, s):
    """Return one of the two buffers between layers, in which step s lies first if one direction runs."""
    row = frame[DIRECTIONS] * frame[OUTPUT_SIZE]
    packed = frame[BETWEEN_PACKED] != 0
    time = block.rows * row
    base = at(block.between, half * frame[BETWEEN_SIZE])
    return View(base if packed else at(base, -block.first * row - s * time), time, row, packed)


@inner
def _network(call, block, src, dst):
    """Take a block of rows through the layers and steps of a launch."""
    frame = call.frame
    layer_first, layer_last = frame[FIRST_LAYER], frame[END_LAYER]
    s_first, s_last = frame[FIRST_STEP], frame[END_STEP]
    if frame[DIRECTIONS] == 1:
        # A chunk of time goes through all layers, so that what lies between them stays in cache.
        for s in range(s_first, s_last, frame[CHUNK]):
            end = min(s + frame[CHUNK], s_last)
            for layer in range(layer_first, layer_last):
                left = src if layer == layer_first else _between(frame, block, (layer - 1) & 1, s)
                right = dst if layer == layer_last - 1 else _between(frame, block, layer & 1, s)
                _chunk(call, block, layer, FORWARD, left, right, s, end)
        return
    # The reverse direction starts at the end: a layer must be complete before the next begins.
    for layer in range(layer_first, layer_last):
        left = src if layer == layer_first else _between(frame, block, (layer - 1) & 1, 0)
        right = dst if layer == layer_last - 1 else _between(frame, block, layer & 1, 0)
        for direction in range(2):  # FORWARD, then reverse
            for s in range(s_first, s_last, frame[CHUNK]):
                _chunk(call, block, layer, direction, left, right, s, min(s + frame[CHUNK], s_last))


@inlined
def _slice(call, work, index, src, dst):
    """Take a slice of the batch through the network, block by block."""
    frame = call.frame
    first = index * frame[BATCH] // frame[SLICES]
    last = (index + 1) * frame[BATCH] // frame[SLICES]
    here = at(work, index * frame[SLICE_SIZE])
    between = at(work if frame[BETWEEN_PACKED] != 0 else here, frame[BETWEEN])
    for b in range(first, last, frame[ROWS]):
        _network(call, Block(b, min(last - b, frame[ROWS]), here, between), src, dst)


def run_serial(frame, weights, work, x, output, h, c):
    """Run layers over steps on this thread; ``entries`` compiles it.

    Parameters
    ----------
    frame : int64 array
        What this launch does, see ``frame``.
    weights, work : 1-D arrays
        Panels and scratch memory.  ``work`` carries the states from one call to the next stretch of steps.
    x, output : (T, B, features) arrays of any strides with unit stride in the features; (1, rows, features) if packed
        Input and output.
    h, c : (layers * directions, pool, H_out), (.., H) C-order arrays
        States, which are updated; written only where the first ones are zero.
    """
    mode = flush_denormals()
    numbers = pointer(frame, 0)
    call = Call(numbers, pointer(weights, 0), pointer(h, 0), pointer(c, 0))
    src, dst = _view(frame, x), _view(frame, output)
    for index in range(frame[SLICES]):
        _slice(call, pointer(work, 0), index, src, dst)
    restore_mode(mode)


def run_parallel(frame, weights, work, x, output, h, c):
    """Do what ``run_serial`` does, with one thread for every slice of the batch."""
    for index in prange(frame[SLICES]):
        mode = flush_denormals()
        call = Call(pointer(frame, 0), pointer(weights, 0), pointer(h, 0), pointer(c, 0))
        _slice(call, pointer(work, 0), index, _view(frame, x), _view(frame, output))
        restore_mode(mode)


def run_stream(frame, x, output):
    """Do what ``run_serial`` does with the fewest arguments: other arrays stay where they are between two calls.

    Parameters
    ----------
    frame : int64 array
        With the addresses of the other arrays of ``run_serial``; TURN is moved on.
    x, output : (T * B, features) C-order arrays
        Input and output.
    """
    mode = flush_denormals()
    like = pointer(x, 0)
    weights, work = pointer_to(frame[WEIGHTS_ADDRESS], like), pointer_to(frame[WORK_ADDRESS], like)
    call = Call(pointer(frame, 0), weights, pointer_to(frame[H_ADDRESS], like), pointer_to(frame[C_ADDRESS], like))
    src = View(like, frame[BATCH] * x.shape[1], x.shape[1], False)
    dst = View(pointer(output, 0), frame[BATCH] * output.shape[1], output.shape[1], False)
    for index in range(frame[SLICES]):
        _slice(call, work, index, src, dst)
    frame[TURN] += frame[STEPS]
    restore_mode(mode)
