"""One step of one layer and direction, for a set of rows."""
from __future__ import annotations

from collections import namedtuple

from ._jit import inner
from .blocksizes import GATES
from .microkernels import panel_gemm, tile_count, tile_first, tile_gemm
from .postgemm import update_state
from .simd import at, lanes, load, store, store_first

CellWeights = namedtuple("CellWeights", "bias weight_ih weight_hh weight_hr zeros")
"""Pointers to one layer and direction's panels."""

Sizes = namedtuple("Sizes", "hidden_size output_size panels proj_panels hidden_stride rows capacity")
"""H; H_out; panels of the gates and of the projection (0: none); distance of two rows of the hidden state; rows of the
state; rows that the buffer of gate sums holds."""

State = namedtuple("State", "before after cell unprojected")
"""Pointers: h of the last step and of this one (rows, hidden_stride); c (panels, rows, LANES); o * tanh(c) before the
projection (rows, panels * LANES)."""


@inner
def step(rows, from_zero, weights, sizes, gates, state):  # type: ignore[no-untyped-def]
    """Advance the first ``rows`` rows of a state by one step.

    ``gates`` (panels, capacity, 4, LANES) holds bias and input part in its first ``rows`` rows, and is used up.
    ``from_zero`` says that h of the last step is zero: its product with the weights is left out.
    """
    width = lanes(gates)
    projected = sizes.proj_panels > 0
    hidden = state.unprojected if projected else state.after
    stride = sizes.panels * width if projected else sizes.hidden_stride
    tiles = tile_count(rows)
    for j in range(sizes.panels):
        panel = at(weights.weight_hh, j * sizes.output_size * GATES * width)
        for index in range(tiles):
            m = tile_first(rows, tiles, index)
            count = tile_first(rows, tiles, index + 1) - m
            sums = at(gates, (j * sizes.capacity + m) * GATES * width)
            if not from_zero:
                left = at(state.before, m * sizes.hidden_stride)
                line = GATES * width
                tile_gemm(count, left, sizes.hidden_stride, panel, sizes.output_size, sums, line, sums, line)
            cell = at(state.cell, (j * sizes.rows + m) * width)
            update_state(count, sums, cell, at(hidden, m * stride + j * width), stride)
    for j in range(sizes.proj_panels):
        line = GATES * width
        panel = at(weights.weight_hr, j * sizes.hidden_size * line)
        target = at(state.after, j * line)
        panel_gemm(rows, hidden, stride, panel, sizes.hidden_size, weights.zeros, 0, target, sizes.hidden_stride)


@inner
def copy_row(source, target, count):  # type: ignore[no-untyped-def]
    """Copy ``count`` numbers.  Reads whole vectors: ``source`` has room for them; writes exactly ``count``."""
    width = lanes(source)
    whole = count - count % width
    for k in range(0, whole, width):
        store(target, k, load(source, k))
    if whole < count:
        store_first(target, whole, load(source, whole), count - whole)
