"""The time loop: layers and directions over a stretch of time, for a slice of the batch's rows.

Time is cut into chunks.  For one chunk, layer and direction, the input part of all steps is computed first, into a
buffer that holds ``bias + input blocks``; then the steps follow each other, each adding its recurrent blocks.  Rows
never meet, so threads take slices of the batch through the whole network and need no barrier between them.

Rows of variable length lie packed, as in ``torch.nn.utils.rnn.PackedSequence``: ``offsets[t]`` is the number of rows
before step t, and ``offsets[t + 1] - offsets[t]`` rows, the first ones, take part in it.  Where all rows take part in
every step, ``offsets`` is empty.
"""
from __future__ import annotations

from collections import namedtuple

import numpy as np
from numba import prange

from ._jit import inlined, inner
from .blocksizes import GATES
from .cell import CellWeights, Sizes, State, copy_row, project, step_panel
from .float_mode import flush_denormals, restore_mode
from .microkernels import BROADCAST, panel_gemm
from .packing import BIAS, CELL_SIZE, SRC_SIZE, WEIGHT_HH, WEIGHT_HR, WEIGHT_IH, ZEROS
from .simd import at, fill, lanes, load, pointer, store

(
    LAYERS,
    DIRECTIONS,
    HIDDEN_SIZE,
    OUTPUT_SIZE,
    PANELS,
    PROJ_PANELS,
    BATCH,
    STEPS,
    CHUNK,  # steps whose input part is computed at once
    FINITE,  # 1 if a zero state contributes exactly nothing
    SLICES,  # of the batch, one for a thread
    ROWS,  # most rows of a slice
    HIDDEN_STRIDE,
    SLICE_SIZE,  # elements of workspace for a slice, and where its parts begin:
    HIDDEN,  # (layers * directions, 2, rows, hidden_stride)
    CELL,  # (layers * directions, panels, rows, LANES)
    UNPROJECTED,  # (rows, panels * LANES)
    GATE_SUMS,  # (panels, chunk * rows, 4, LANES); (rows, 4, LANES) where chunk is 1
    FIRST_LAYER,  # what this launch does: layers, and steps in the order of processing
    END_LAYER,
    FIRST_STEP,
    END_STEP,
    CELLS,  # a record for every layer and direction, see ``packing``
) = range(23)
"""The entries of a call's frame, an int64 array that ``plan`` fills in.  One array of numbers, because every argument
of an entry costs 0.07 us, and one with named fields twice that."""

FORWARD = np.int64(0)
"""The direction that every layer has.  Typed: Numba would compile the time loop once more for a literal 0."""

View = namedtuple("View", "base time row")
"""A sequence of rows: a pointer to (t=0, b=0), and the distances of two steps and of two rows, in elements."""

Slice = namedtuple("Slice", "first rows work")
"""The rows of the batch that one thread takes, and its workspace."""

Call = namedtuple("Call", "frame offsets weights h_0 c_0 h_n c_n")
"""What stays the same for all layers and slices of a call."""


@inlined
def _active(offsets, part, t):
    """Return how many rows of a slice take part in step t."""
    if offsets.size == 0:
        return part.rows
    return min(max(offsets[t + 1] - offsets[t] - part.first, 0), part.rows)


@inlined
def _row(view, offsets, t, b):
    """Return the pointer to row b of step t."""
    if offsets.size == 0:
        return at(view.base, t * view.time + b * view.row)
    return at(view.base, (offsets[t] + b) * view.row)


@inlined
def _cell_at(sizes, cell, b, k):
    """Return the pointer to c of row b and unit k in a state's order, (panels, rows, LANES)."""
    width = lanes(cell)
    return at(cell, ((k // width) * sizes.rows + b) * width + k % width)


@inner
def _begin_rows(call, index, part, sizes, state, first, last):
    """Set the state of rows that enter: h_0, c_0, or zeros."""
    width = lanes(state.cell)
    zero = fill(load(state.cell, 0), 0.0)
    for b in range(first, last):
        h = at(state.before, b * sizes.hidden_stride)
        for k in range(0, sizes.hidden_stride, width):
            store(h, k, zero)
        for j in range(sizes.panels):
            store(state.cell, (j * sizes.rows + b) * width, zero)
        if call.h_0.size > 0:
            row = index * call.frame[BATCH] + part.first + b
            h_0 = pointer(call.h_0, row * sizes.output_size)
            c_0 = pointer(call.c_0, row * sizes.hidden_size)
            for k in range(sizes.output_size):
                h[k] = h_0[k]
            for k in range(sizes.hidden_size):
                _cell_at(sizes, state.cell, b, k)[0] = c_0[k]


@inner
def _end_rows(call, index, part, sizes, state, first, last):
    """Hand out the state of rows that leave, as h_n and c_n."""
    for b in range(first, last):
        row = index * call.frame[BATCH] + part.first + b
        h_n = pointer(call.h_n, row * sizes.output_size)
        c_n = pointer(call.c_n, row * sizes.hidden_size)
        copy_row(at(state.after, b * sizes.hidden_stride), h_n, sizes.output_size)
        for k in range(sizes.hidden_size):
            c_n[k] = _cell_at(sizes, state.cell, b, k)[0]


@inlined
def _input_panel(j, offsets, part, weights, sizes, src, gates, t_first, t_last):
    """Fill ``gates`` (steps, rows, 4, LANES) with bias + input blocks of panel j for some steps."""
    line = GATES * lanes(gates)
    steps = t_last - t_first
    ragged = offsets.size > 0
    depth = sizes.src_size
    panel = at(weights.weight_ih, j * depth * line)
    following = at(panel, depth * line) if j + 1 < sizes.panels else panel
    bias = at(weights.bias, j * line)
    if not ragged and (steps == 1 or src.time == part.rows * src.row):  # evenly spaced rows
        left = _row(src, offsets, t_first, part.first)
        panel_gemm(steps * part.rows, left, src.row, panel, following, depth, bias, BROADCAST, gates, line)
    elif not ragged and part.rows < steps:
        for b in range(part.rows):
            left = _row(src, offsets, t_first, part.first + b)
            target, distance = at(gates, b * line), part.rows * line
            panel_gemm(steps, left, src.time, panel, following, depth, bias, BROADCAST, target, distance)
    else:
        for t in range(t_first, t_last):
            left = _row(src, offsets, t, part.first)
            target = at(gates, (t - t_first) * part.rows * line)
            panel_gemm(_active(offsets, part, t), left, src.row, panel, following, depth, bias, BROADCAST, target, line)


@inner
def _chunk(call, part, layer, direction, src, dst, s_first, s_last):
    """Do steps s_first .. s_last - 1, in the order of processing, of one layer and direction."""
    frame, offsets = call.frame, call.offsets
    width = lanes(part.work)
    index = layer * frame[DIRECTIONS] + direction
    record = CELLS + index * CELL_SIZE
    data = call.weights
    weights = CellWeights(
        pointer(data, frame[record + BIAS]),
        pointer(data, frame[record + WEIGHT_IH]),
        pointer(data, frame[record + WEIGHT_HH]),
        pointer(data, frame[record + WEIGHT_HR]),
        pointer(data, frame[record + ZEROS]),
    )
    sizes = Sizes(
        frame[record + SRC_SIZE],
        frame[HIDDEN_SIZE],
        frame[OUTPUT_SIZE],
        frame[PANELS],
        frame[PROJ_PANELS],
        frame[HIDDEN_STRIDE],
        frame[ROWS],
    )
    state_size = frame[ROWS] * frame[HIDDEN_STRIDE]
    hidden = at(part.work, frame[HIDDEN] + index * 2 * state_size)
    c = at(part.work, frame[CELL] + index * frame[PANELS] * frame[ROWS] * width)
    unprojected = at(part.work, frame[UNPROJECTED])
    gates = at(part.work, frame[GATE_SUMS])
    reverse = direction != FORWARD
    t_first = frame[STEPS] - s_last if reverse else s_first
    t_last = frame[STEPS] - s_first if reverse else s_last
    # A chunk of one step needs the gates of one panel at a time: they stay in L1.
    fused = frame[CHUNK] == 1
    line = GATES * width
    distance = 0 if fused else frame[CHUNK] * frame[ROWS] * line
    if not fused:
        for j in range(sizes.panels):
            _input_panel(j, offsets, part, weights, sizes, src, at(gates, j * distance), t_first, t_last)
    for s in range(s_first, s_last):
        t = frame[STEPS] - 1 - s if reverse else s
        back = -1 if reverse else 1
        rows = _active(offsets, part, t)
        earlier = _active(offsets, part, t - back) if s > 0 else 0
        later = _active(offsets, part, t + back) if s + 1 < frame[STEPS] else 0
        before = at(hidden, (s & 1) * state_size)
        after = at(hidden, (1 - (s & 1)) * state_size)
        state = State(before, after, c, unprojected)
        if earlier < rows:
            _begin_rows(call, index, part, sizes, state, earlier, rows)
        from_zero = earlier == 0 and call.h_0.size == 0 and frame[FINITE] != 0
        sums = at(gates, (t - t_first) * part.rows * line)
        for n in range(sizes.panels):
            # Every other step walks back: the panels read last are still in cache when the weights exceed it.
            j = n if s & 1 == 0 else sizes.panels - 1 - n
            if fused:
                _input_panel(j, offsets, part, weights, sizes, src, sums, t, t + 1)
            following = j if n + 1 == sizes.panels else j + (1 if s & 1 == 0 else -1)
            step_panel(j, following, rows, from_zero, weights, sizes, at(sums, j * distance), state)
        project(rows, weights, sizes, state)
        for b in range(rows):
            target = at(_row(dst, offsets, t, part.first + b), direction * frame[OUTPUT_SIZE])
            copy_row(at(after, b * frame[HIDDEN_STRIDE]), target, frame[OUTPUT_SIZE])
        if later < rows:
            _end_rows(call, index, part, sizes, state, later, rows)


@inlined
def _view(array):
    return View(pointer(array, 0), array.strides[0] // array.itemsize, array.strides[1] // array.itemsize)


@inlined
def _half(between, index):
    """Return one of the two buffers between layers."""
    time, row = between.shape[2] * between.shape[3], between.shape[3]
    return View(pointer(between, index * between.shape[1] * time), time, row)


@inlined
def _shifted(view, offsets, t):
    """Return the view in which step t lies where step 0 lay."""
    back = t * view.time if offsets.size == 0 else offsets[t] * view.row
    return View(at(view.base, -back), view.time, view.row)


@inner
def _network(call, part, x, between, output):
    """Take one slice of the batch through the layers and steps of a launch."""
    frame, offsets = call.frame, call.offsets
    layer_first, layer_last = frame[FIRST_LAYER], frame[END_LAYER]
    s_first, s_last = frame[FIRST_STEP], frame[END_STEP]
    src, dst = _view(x), _view(output)
    if frame[DIRECTIONS] == 1:
        # A chunk of time goes through all layers, so that what lies between them stays in cache.
        for s in range(s_first, s_last, frame[CHUNK]):
            end = min(s + frame[CHUNK], s_last)
            for layer in range(layer_first, layer_last):
                left = src if layer == layer_first else _shifted(_half(between, (layer - 1) & 1), offsets, s)
                right = dst if layer == layer_last - 1 else _shifted(_half(between, layer & 1), offsets, s)
                _chunk(call, part, layer, FORWARD, left, right, s, end)
        return
    # The reverse direction starts at the end: a layer must be complete before the next begins.
    for layer in range(layer_first, layer_last):
        left = src if layer == layer_first else _half(between, (layer - 1) & 1)
        right = dst if layer == layer_last - 1 else _half(between, layer & 1)
        for direction in range(2):  # FORWARD, then reverse
            for s in range(s_first, s_last, frame[CHUNK]):
                _chunk(call, part, layer, direction, left, right, s, min(s + frame[CHUNK], s_last))


@inlined
def _slice(frame, work, index):
    first = index * frame[BATCH] // frame[SLICES]
    last = (index + 1) * frame[BATCH] // frame[SLICES]
    return Slice(first, last - first, pointer(work, index * frame[SLICE_SIZE]))


def run_serial(frame, offsets, weights, work, x, between, output, h_0, c_0, h_n, c_n):
    """Run layers over steps on this thread; ``entries`` compiles it.

    Parameters
    ----------
    frame : (CELLS + layers * directions * CELL_SIZE,) int64 array
        The sizes of the call, what this launch does of it, and where the panels lie in ``weights``.
    offsets : (T + 1,) or (0,) int64 array
        Rows before each step of a packed batch; empty for a full one.
    weights, work : 1-D arrays
        Panels and scratch memory.  ``work`` carries the states from one call to the next stretch of steps.
    x, output : (T, B, features) arrays of any strides with unit stride in the features
        Input and output.
    between : (2, T', B, D * H_out) array
        What lies between layers; T' is ``chunk`` for one direction, T for two.
    h_0, c_0 : (layers * directions, B, H_out), (.., H) arrays
        Initial states; empty for zeros.
    h_n, c_n : arrays of the same shapes
        Receive the final states of rows that end.
    """
    mode = flush_denormals()
    call = Call(frame, offsets, weights, h_0, c_0, h_n, c_n)
    for index in range(frame[SLICES]):
        _network(call, _slice(frame, work, index), x, between, output)
    restore_mode(mode)


def run_parallel(frame, offsets, weights, work, x, between, output, h_0, c_0, h_n, c_n):
    """Do what ``run_serial`` does, with one thread for every slice of the batch."""
    for index in prange(frame[SLICES]):
        mode = flush_denormals()
        call = Call(frame, offsets, weights, h_0, c_0, h_n, c_n)
        _network(call, _slice(frame, work, index), x, between, output)
        restore_mode(mode)
