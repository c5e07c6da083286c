"""One step of one layer and direction, for a set of rows."""
from __future__ import annotations

from collections import namedtuple

import numpy as np

from ...simd.blocksizes import GATES
from ...simd.jit import inlined
from ...simd.vectors import at, elements_between, lanes
from ...simd.weights.forms import depth_of, lines_behind
from ..kept import sums_line
from ..microkernels import (
    BROADCAST,
    Following,
    pair_gemm,
    panel_gemm,
    panel_share,
    row_gemm,
    step_gemm,
    tile_gemm,
    tiling,
)
from .postgemm import update_pair, update_state

CellWeights = namedtuple("CellWeights", "bias weight_ih weight_hh weight_hr zeros rule")
"""Pointers to one layer and direction's panels, and its rule, see ``postgemm``."""

Sizes = namedtuple("Sizes", "src_size hidden_size output_size panels tail proj_panels hidden_stride rows")
"""Numbers in an input row; H; H_out; panels of the gates; vectors of the last of them; panels of the projection
(0: none); distance of two rows of the hidden state; rows of the state."""

State = namedtuple("State", "before after cell unprojected left left_stride")
"""Pointers: h of the last step and of this one (rows, hidden_stride); c (panels, rows, LANES); o * tanh(c) before the
projection (rows, panels * LANES); h of the last step as panels are multiplied by it, its rows ``left_stride`` apart."""


@inlined
def panel_vectors(sizes, j):
    """Return the vectors of panel j for every k."""
    return sizes.tail if j + 1 == sizes.panels else np.int64(GATES)


@inlined
def panel_at(matrix, j, size, line):
    """Return the pointer to panel j of a matrix that is multiplied by rows of so many numbers."""
    return at(matrix, j * (depth_of(matrix, size) + lines_behind(matrix)) * line)


@inlined
def sums_of(kind, sizes, sums, j, distance, row):
    """Return the pointer to the gate sums of panel j and some row, given those of panel 0."""
    return at(sums, j * distance + row * sums_line(kind, panel_vectors(sizes, j), lanes(sums)))


@inlined
def step_panel(j, upcoming, streamed, rows, from_zero, weights, sizes, source, source_stride, gates, state):
    """Advance LANES units, those of panel j, of the first ``rows`` rows.

    ``source`` holds bias and input part, its rows ``source_stride`` apart.  ``gates``, see ``update_state``, takes the
    sums; it may be ``source``, and is so if ``from_zero``, which says that h of the last step is zero: its product
    with the weights is left out.  ``upcoming`` is the panel that comes next, and ``streamed`` says whether it comes
    from outside of L2.
    """
    width = lanes(gates)
    line = GATES * width
    projected = sizes.proj_panels > 0
    hidden = state.unprojected if projected else state.after
    stride = sizes.panels * width if projected else sizes.hidden_stride
    vectors = panel_vectors(sizes, j)
    row = sums_line(weights.rule.kind, vectors, width)
    following = Following(panel_at(weights.weight_hh, upcoming, sizes.output_size, line), streamed)
    tiles, each, larger = tiling(rows, following)
    m = 0
    for index in range(tiles):
        count = each + (1 if index < larger else 0)
        sums = at(gates, m * row)
        if not from_zero:
            left = at(state.left, m * state.left_stride)
            panel = panel_at(weights.weight_hh, j, sizes.output_size, line)
            depth = depth_of(weights.weight_hh, sizes.output_size)
            panel = panel_share(vectors, panel, following, depth, tiles, index, count)
            before = at(source, m * source_stride)
            tile_gemm(count, left, state.left_stride, panel, depth, before, source_stride, sums, row)
        cell = at(state.cell, (j * sizes.rows + m) * width)
        target = at(hidden, m * stride + j * width)
        update_state(weights.rule, count, vectors, sums, cell, target, stride, j * width)
        m += count


@inlined
def _row_sums(alone, vectors, left, panel, streamed, depth, source, source_apart, target, apart):
    """Do the operation of ``microkernels`` for one row, and one panel or two."""
    if alone:
        row_gemm(vectors, left, panel, streamed, depth, source, target)
    else:
        pair_gemm(vectors, left, panel, depth, source, source_apart, target, apart)


@inlined
def step_row(first, end, back, pairs, streamed, with_input, from_zero, weights, sizes, x, gates, distance, row, state):
    """Advance the units of panels ``first`` .. ``end`` - 1 of the first row, two panels at a time if ``pairs``.

    ``gates`` points to sums of panel 0, those of other panels ``distance`` apart, of which row ``row`` holds bias and
    input part; or nothing, if ``with_input``: then they are computed from ``x``, and two panels at a time have room.
    ``back`` says that the last panels come first.  ``streamed`` and ``from_zero`` are those of ``step_panel``.
    """
    width = lanes(gates)
    line = GATES * width
    hidden = state.unprojected if sizes.proj_panels > 0 else state.after
    odd = (end - first) & 1 if pairs else end - first
    count = (end - first + odd) >> 1
    for n in range(count):
        index = count - 1 - n if back else n
        alone = index < odd
        j = first + (index if alone else 2 * index - odd)
        vectors = panel_vectors(sizes, j if alone else j + 1)
        sums = sums_of(weights.rule.kind, sizes, gates, j, distance, row)
        apart = line
        if not with_input:
            apart = elements_between(sums, sums_of(weights.rule.kind, sizes, gates, j + 1, distance, row))
        panel, bias = panel_at(weights.weight_ih, j, sizes.src_size, line), at(weights.bias, j * line)
        panel_h, h = panel_at(weights.weight_hh, j, sizes.output_size, line), state.left
        depth, depth_h = depth_of(weights.weight_ih, sizes.src_size), depth_of(weights.weight_hh, sizes.output_size)
        if with_input and not from_zero and not alone:
            step_gemm(vectors, x, panel, depth, h, panel_h, depth_h, bias, line, sums, apart)
        else:
            if with_input:
                _row_sums(alone, vectors, x, panel, streamed, depth, bias, line, sums, apart)
            if not from_zero:
                _row_sums(alone, vectors, h, panel_h, streamed, depth_h, sums, apart, sums, apart)
        cell, target = at(state.cell, j * sizes.rows * width), at(hidden, j * width)
        if alone:
            update_state(weights.rule, 1, vectors, sums, cell, target, 0, j * width)
        else:
            update_pair(weights.rule, vectors, sums, apart, cell, sizes.rows * width, target, j * width)


@inlined
def project(first, end, streamed, rows, weights, sizes, left, stride, target):
    """Multiply ``rows`` rows of o * tanh(c) by panels ``first`` .. ``end`` - 1 of ``weight_hr``: that is h."""
    line, depth = GATES * lanes(target), depth_of(weights.weight_hr, sizes.hidden_size)
    for j in range(first, end):
        panel = panel_at(weights.weight_hr, j, sizes.hidden_size, line)
        upcoming = panel_at(weights.weight_hr, j + 1 if j + 1 < end else j, sizes.hidden_size, line)
        following, here = Following(upcoming, streamed), at(target, j * line)
        zeros, distance = weights.zeros, sizes.hidden_stride
        panel_gemm(rows, left, stride, GATES, panel, following, depth, zeros, BROADCAST, here, distance)
