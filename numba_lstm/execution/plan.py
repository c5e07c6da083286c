"""From sizes to tiles, threads and workspace."""
from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..contract.parameters import Architecture
from ..kernels import frame as at
from ..kernels.crew import crew_words
from ..kernels.panels import count_panels, tail_vectors
from ..simd.blocksizes import GATES, block_sizes
from ..simd.memory import CACHE_LINE, round_up
from .cost import choose, launch_steps, step_flop
from .entries import entry_for, share_address
from .machine import Machine
from .packing import PackedWeights
from .residency import core_share, kept_weights, unit_bytes

PAGE = 4096
"""Rows of the state that lie a multiple of a page apart would share the sets of L1."""


class Plan(NamedTuple):
    """What a call of some steps and rows needs to know."""

    frame: np.ndarray
    """Of a launch that does all layers and steps."""
    entry: Any
    short: bool
    """Whether the entry is that of short steps of a pool, which takes two arrays behind the frame."""
    batch_first: bool
    steps: int
    work_size: int
    output: tuple[int, int, int]
    hidden: tuple[int, int, int]
    cell: tuple[int, int, int]
    """Shapes of output, h_n and c_n."""
    steps_per_launch: int
    one_launch: bool


class Batch(NamedTuple):
    """The shape of a call's input, and how its rows and states lie."""

    steps: int
    rows: int
    from_zero: bool = False
    """Whether the first states are zero and need not be given."""
    offsets: np.ndarray | None = None
    """Rows before each step of a packed batch, (steps + 1,)."""
    indices: np.ndarray | None = None
    """Which row of the states each row of the batch has, (rows,)."""
    batch_first: bool = False
    """Whether the caller's arrays are."""
    pool: int = 0
    """Rows of the states, if there are others; rows are then done in blocks that fit the cache."""
    dense: bool = False
    """Whether input and output of the pool are C-order arrays: short steps then take the entry with fewer arguments."""


def make_plan(architecture: Architecture, weights: PackedWeights, batch: Batch, machine: Machine) -> Plan:
    """Plan a call of a network on a batch."""
    a, cells, dtype = architecture, weights.cells, weights.data.dtype
    steps, rows = batch.steps, batch.rows
    lanes = block_sizes().lanes(dtype)
    line = CACHE_LINE // dtype.itemsize
    directions = a.num_directions
    panels = count_panels(a.hidden_size, lanes)
    proj_panels = count_panels(a.proj_size, GATES * lanes)
    batch_sizes = None if batch.offsets is None else np.diff(batch.offsets)
    slices, crew, patience = choose(a, dtype, steps, rows, machine, batch_sizes)
    short = batch.dense and slices * crew == 1 and step_flop(a) * rows * steps < machine.short_flop
    block = max(1, -(-rows // slices))
    if batch.pool:
        block = -(-block // max(1, block // machine.block_rows))
    directions_of_core, parts = core_share(a, dtype, crew, machine)
    buffer_rows = max(machine.input_rows, machine.gate_buffer_bytes // unit_bytes(a, dtype, parts))
    launches = -(-steps // launch_steps(a, dtype, rows, machine))
    steps_per_launch = -(-steps // launches)
    chunks = -(-steps_per_launch // max(1, buffer_rows // block))
    chunk = -(-steps_per_launch // chunks)  # of about a size: a short one reads all weights for few rows
    kept = kept_weights(a, dtype, crew, machine)
    span = chunk if kept.shared and directions == 1 else steps_per_launch
    hidden_stride = round_up(a.output_size, GATES * lanes if proj_panels else lanes)
    if hidden_stride * dtype.itemsize % PAGE == 0:
        hidden_stride += line
    # With one direction a span goes through all layers; with two, a layer must be complete.
    whole, between_rows = False, (span if directions == 1 else steps) * block
    if directions == 2 and batch.offsets is not None:
        whole, between_rows = True, int(batch.offsets[-1])

    frame = np.zeros(at.CELLS + cells.size, np.int64)
    frame[at.CELLS :] = cells.ravel()
    size = 0
    between = round_up(between_rows * directions * a.output_size, line)
    buffers = min(a.num_layers - 1, 2)
    # A crew may have members for each direction, which need the buffers of a step twice.  How many of the crew come is
    # not known: there is room for all of them in either direction.
    apart = directions if crew > 1 else 1
    sums = (block + 1 if chunk == 1 else panels * chunk * block) * GATES * lanes
    unprojected = round_up(block * panels * lanes, line) if proj_panels else 0
    step_size = unprojected + round_up(crew * sums if chunk == 1 else sums, line)
    frame[at.DIRECTION_SIZE] = step_size if apart == 2 else 0
    frame[at.GATE_MEMBER], frame[at.GATE_DISTANCE] = (sums, 0) if chunk == 1 else (0, chunk * block * GATES * lanes)
    shared_words = crew_words(crew * slices) if crew * slices > 1 else 0
    frame[at.APART] = directions == 2 and directions_of_core == 1
    frame[at.CREW], frame[at.CREW_SIZE], frame[at.PATIENCE] = crew, shared_words, patience
    for index, count in (
        (at.CREW_WORDS, shared_words * 8 // dtype.itemsize),
        (at.HIDDEN, len(cells) * 2 * block * hidden_stride),
        (at.CELL, len(cells) * panels * block * lanes),
        (at.UNPROJECTED, apart * step_size),
        (at.BETWEEN, 0 if whole else buffers * between),
    ):
        frame[index] = size
        size = round_up(size + count, line)
    frame[at.GATE_SUMS] = frame[at.UNPROJECTED] + unprojected
    frame[at.DIRECTIONS] = directions
    frame[at.HIDDEN_SIZE], frame[at.OUTPUT_SIZE] = a.hidden_size, a.output_size
    frame[at.PANELS], frame[at.PROJ_PANELS] = panels, proj_panels
    frame[at.TAIL] = tail_vectors(a.hidden_size, lanes)
    frame[at.HIDDEN_STRIDE], frame[at.FINITE] = hidden_stride, weights.finite
    frame[at.BATCH], frame[at.STEPS], frame[at.CHUNK], frame[at.SPAN] = rows, steps, chunk, span
    read_in_turn = kept.network if span == chunk else kept.layer
    frame[at.STREAMED_IH] = not read_in_turn
    frame[at.STREAMED_STEPS] = chunk if not kept.recurrent else 0 if read_in_turn else 1
    few, many = machine.panels_in_turn
    frame[at.PAIRS] = not few < (kept.network_bytes if steps == 1 else kept.recurrent_bytes) <= many
    frame[at.SLICES], frame[at.ROWS], frame[at.SLICE_SIZE] = slices, block, size
    frame[at.RUN_SHARE] = share_address(dtype, weights.general)
    frame[at.FROM_ZERO], frame[at.POOL] = batch.from_zero, batch.pool or rows
    frame[at.END_LAYER], frame[at.END_STEP] = a.num_layers, steps
    work_size = size * slices
    frame[at.BETWEEN_SIZE], frame[at.BETWEEN_PACKED] = between, whole
    if whole:
        frame[at.BETWEEN] = work_size
        work_size += buffers * between
    for index, numbers in ((at.OFFSETS, batch.offsets), (at.INDICES, batch.indices)):
        if numbers is not None:
            frame[index] = frame.size
            frame = np.concatenate([frame, numbers])
    shape = (rows, steps) if batch.batch_first else (steps, rows)
    if batch.offsets is not None:
        shape = 1, int(batch.offsets[-1])
    return Plan(
        frame=frame,
        entry=entry_for("parallel" if slices * crew > 1 else "short" if short else "serial", dtype),
        short=short,
        batch_first=batch.batch_first,
        steps=steps,
        work_size=work_size,
        output=(*shape, directions * a.output_size),
        hidden=(len(cells), rows, a.output_size),
        cell=(len(cells), rows, a.hidden_size),
        steps_per_launch=steps_per_launch,
        one_launch=steps <= steps_per_launch,
    )
