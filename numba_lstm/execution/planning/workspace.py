"""Where in a launch's scratch memory what lies."""
from __future__ import annotations

from typing import NamedTuple

from ...contract.architecture import Architecture
from ...kernels.crew import crew_words
from ...kernels.left_rows import HEADER
from ...kernels.panels import count_panels
from ...simd.blocksizes import GATES
from ...simd.memory import CACHE_LINE, round_up
from .numerics import Numerics
from .schedule import Batch, Schedule

WORD_BYTES = 8
"""The size of each word that threads share."""

PAGE = 4096
"""Rows of the state that lie a multiple of a page apart would share the sets of L1."""


class Workspace(NamedTuple):
    """Sizes, and places of parts of each slice's memory, in elements; `Frame` says what they are."""

    size: int
    slice_size: int
    panels: int
    proj_panels: int
    hidden_stride: int
    crew_words: int
    crew_size: int
    hidden: int
    cell: int
    unprojected: int
    gate_sums: int
    direction_size: int
    gate_member: int
    gate_distance: int
    left: int
    left_hidden: int
    left_stride: int
    left_member: int
    between: int
    between_size: int
    between_packed: bool


def lay_out(a: Architecture, numerics: Numerics, batch: Batch, schedule: Schedule) -> Workspace:
    """Lay out the memory of a call."""
    dtype, lanes, rows, chunk = numerics.dtype, numerics.lanes, schedule.rows, schedule.chunk
    line = CACHE_LINE // dtype.itemsize
    directions, cells = a.num_directions, a.num_layers * a.num_directions
    panels, proj_panels = count_panels(a.hidden_size, lanes), count_panels(a.proj_size, GATES * lanes)
    hidden_stride = round_up(a.output_size, GATES * lanes if proj_panels else lanes)
    if hidden_stride * dtype.itemsize % PAGE == 0:
        hidden_stride += line

    # A chunk of one step needs the sums of a panel, and a row for inputs that its rows share, for each of a crew: how
    # many of it come is not known, so there is room for all.
    # Those that are kept have a place of their own.
    fused = chunk == 1 and not batch.kept
    sums = 0 if batch.kept else (rows + 1 if fused else panels * chunk * rows) * GATES * lanes
    unprojected = round_up(rows * panels * lanes, line) if proj_panels else 0
    left_stride, left_hidden, left_member = _copies(a, numerics, chunk * rows, rows)
    gates_size = round_up(schedule.crew * sums if fused else sums, line)
    step_size = unprojected + gates_size + schedule.crew * left_member
    # A crew may have members for each direction, which need the buffers of a step twice.
    apart = directions if schedule.crew > 1 else 1

    # With one direction a span goes through all layers; with two, a layer must be complete.
    between_packed = directions == 2 and batch.offsets is not None
    span_rows = (schedule.span if directions == 1 else batch.steps) * rows
    between_rows = batch.all_rows if between_packed else span_rows
    between_size = round_up(between_rows * directions * a.output_size, line)
    # Launches of one layer each read and write arrays of whole sequences, and have nothing between layers.
    by_layer = batch.kept or (directions == 2 and schedule.steps_per_launch < batch.steps)
    buffers = 0 if by_layer else min(a.num_layers - 1, 2) * between_size

    threads = schedule.crew * schedule.slices
    words = crew_words(threads) if threads > 1 else 0
    parts = (
        words * WORD_BYTES // dtype.itemsize,
        cells * 2 * rows * hidden_stride,
        cells * panels * rows * lanes,
        apart * step_size,
        0 if between_packed else buffers,
    )
    places, slice_size = [], 0
    for part in parts:
        places.append(slice_size)
        slice_size = round_up(slice_size + part, line)
    size = slice_size * schedule.slices
    return Workspace(
        size=size + (buffers if between_packed else 0),
        slice_size=slice_size,
        panels=panels,
        proj_panels=proj_panels,
        hidden_stride=hidden_stride,
        crew_words=places[0],
        crew_size=words,
        hidden=places[1],
        cell=places[2],
        unprojected=places[3],
        gate_sums=places[3] + unprojected,
        direction_size=step_size if apart == 2 else 0,
        gate_member=sums if fused else 0,
        gate_distance=0 if fused else (batch.all_rows if batch.kept else chunk * rows) * GATES * lanes,
        left=places[3] + unprojected + gates_size,
        left_hidden=left_hidden,
        left_stride=left_stride,
        left_member=left_member,
        between=size if between_packed else places[4],
        between_size=between_size,
        between_packed=between_packed,
    )


def _copies(a: Architecture, numerics: Numerics, inputs: int, rows: int) -> tuple[int, int, int]:
    """Return the stride of copies of rows in int8, the place of those of h, and the size of all of one thread."""
    if numerics.form != "int8":
        return 0, 0, 0
    widest = max(a.hidden_size, *(a.layer_input_size(layer) for layer in range(a.num_layers)))
    stride = HEADER + round_up(widest, max(numerics.lanes, 4 * HEADER)) // 4
    if stride * numerics.dtype.itemsize % PAGE == 0:
        stride += HEADER
    return stride, inputs * stride, round_up((inputs + rows) * stride, CACHE_LINE // numerics.dtype.itemsize)
