"""From sizes to tiles, threads and workspace."""
from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from . import layer
from ._target import l2_bytes
from .blocksizes import GATES, block_sizes
from .entries import entry_for
from .memory import CACHE_LINE, round_up
from .packing import PackedWeights
from .parameters import Architecture
from .threads import get_num_threads

GATE_BUFFER_SHARE = 4
"""The buffer of gate sums may take 1 / 4 of L2, beside the recurrent weights and the states."""

MIN_INPUT_ROWS = 48
"""Rows that the input part should have, so that a panel of weights read from L3 is used by eight tiles."""

PARALLEL_FLOP = 1e6
"""Work below this stays on one thread: it is done in about the time that a launch takes to pay for itself."""

LAUNCH_FLOP = 2e9
"""Work of one launch, some tens of milliseconds; signals such as Ctrl-C get in between two launches."""

PAGE = 4096
"""Rows of the state that lie a multiple of a page apart would share the sets of L1."""


class Plan(NamedTuple):
    """What a call of some steps and rows needs to know."""

    frame: np.ndarray
    """Of a launch that does all layers and steps."""
    entry: Any
    steps: int
    work_size: int
    hidden: tuple[int, int, int]
    cell: tuple[int, int, int]
    between: tuple[int, int, int, int]
    """Shapes of h_n, c_n and of what lies between the layers."""
    steps_per_launch: int
    one_launch: bool


def make_plan(
    architecture: Architecture, weights: PackedWeights, steps: int, rows: int, packed_rows: int = 0
) -> Plan:
    """Plan a call.

    Parameters
    ----------
    architecture, weights
        The network.
    steps, rows : int
        Of the input.
    packed_rows : int
        For sequences of different lengths, longest first: all of their rows together; ``rows`` are the first step's.
    """
    a, cells, dtype, finite = architecture, weights.cells, weights.data.dtype, weights.finite
    lanes = block_sizes().lanes(dtype)
    line = CACHE_LINE // dtype.itemsize
    directions = a.num_directions
    panels = -(-a.hidden_size // lanes)
    proj_panels = -(-a.proj_size // (GATES * lanes))
    terms = sum(a.layer_input_size(i) + a.output_size for i in range(a.num_layers))
    flop_per_step = 2 * rows * directions * GATES * a.hidden_size * terms
    slices = max(1, min(get_num_threads(), rows)) if flop_per_step * steps >= PARALLEL_FLOP else 1
    slice_rows = max(1, -(-rows // slices))
    row_bytes = panels * GATES * lanes * dtype.itemsize
    buffer_rows = max(MIN_INPUT_ROWS, l2_bytes() // GATE_BUFFER_SHARE // row_bytes)
    chunk = max(1, buffer_rows // slice_rows)
    hidden_stride = round_up(a.output_size, GATES * lanes if proj_panels else lanes)
    if hidden_stride * dtype.itemsize % PAGE == 0:
        hidden_stride += line

    frame = np.zeros(layer.CELLS + cells.size, np.int64)
    frame[layer.CELLS :] = cells.ravel()
    size = 0
    for index, count in (
        (layer.HIDDEN, len(cells) * 2 * slice_rows * hidden_stride),
        (layer.CELL, len(cells) * panels * slice_rows * lanes),
        (layer.UNPROJECTED, slice_rows * panels * lanes if proj_panels else 0),
        (layer.GATE_SUMS, (panels * chunk if chunk > 1 else 1) * slice_rows * GATES * lanes),
    ):
        frame[index] = size
        size = round_up(size + count, line)
    frame[layer.LAYERS], frame[layer.DIRECTIONS] = a.num_layers, directions
    frame[layer.HIDDEN_SIZE], frame[layer.OUTPUT_SIZE] = a.hidden_size, a.output_size
    frame[layer.PANELS], frame[layer.PROJ_PANELS] = panels, proj_panels
    frame[layer.BATCH], frame[layer.STEPS], frame[layer.CHUNK] = rows, steps, chunk
    frame[layer.SLICES], frame[layer.ROWS], frame[layer.SLICE_SIZE] = slices, slice_rows, size
    frame[layer.HIDDEN_STRIDE], frame[layer.FINITE] = hidden_stride, finite
    frame[layer.END_LAYER], frame[layer.END_STEP] = a.num_layers, steps
    # With one direction a chunk goes through all layers at once; with two, a layer must be complete.
    kept = (chunk * rows if directions == 1 else packed_rows) if packed_rows else rows
    kept_steps = 1 if packed_rows else steps if directions == 2 else min(chunk, steps)
    buffers = min(a.num_layers - 1, 2)
    steps_per_launch = max(1, int(LAUNCH_FLOP / max(flop_per_step, 1)))
    return Plan(
        frame=frame,
        entry=entry_for(slices > 1, dtype),
        steps=steps,
        work_size=size * slices,
        hidden=(len(cells), rows, a.output_size),
        cell=(len(cells), rows, a.hidden_size),
        between=(buffers, kept_steps, kept, directions * a.output_size) if buffers else (0, 0, 0, 0),
        steps_per_launch=steps_per_launch,
        one_launch=steps <= steps_per_launch,
    )
