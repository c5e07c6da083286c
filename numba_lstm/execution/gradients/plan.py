"""Where in the scratch memory of a backward pass what lies, and how threads share its work."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...contract.architecture import Architecture
from ...kernels.crew import crew_words
from ...kernels.frame import FRAME_SIZE, Frame
from ...kernels.gradients.record import SUMS_ROWS, GradientRecord
from ...kernels.panels import count_panels
from ...simd.blocksizes import GATES, block_sizes
from ...simd.memory import CACHE_LINE, round_up
from ..entries import backward_address, entry_for
from ..planning.estimate import MOST_PATIENCE_NS, crew_sizes, launch_steps
from ..planning.machine import Machine
from ..planning.numerics import Numerics
from ..planning.schedule import Batch
from ..planning.workspace import WORD_BYTES

SEGMENT_ROWS = 512
"""Rows of the steps whose weight gradients are one product, if a step has no more: sums are read and written once for
as many multiply-adds each.  Part of the result's definition, as it orders sums."""

GROUP_ROWS = 96
"""Rows of the steps whose gradients of inputs are one product: enough for the tile kernel, and still in L2."""

LEAST_FLOP, LEAST_STEP_FLOP = 2e6, 1e5
"""Work that pays a crew of two: of a layer and direction, and of a step after which they meet.  To wake more, and to
have them meet, takes longer, see ``estimate``."""


class BackwardPlan(NamedTuple):
    """What the backward pass of one layer and direction needs to know."""

    frame: np.ndarray
    """The numbers of a `Frame`, then room for those of a `GradientRecord`, then the rows before each step."""
    record: GradientRecord
    entry: Any
    work_size: int
    launches: range
    """The first step of each launch, in their order: signals get in between two."""
    steps_per_launch: int


def _odd_lines(size: int, line: int) -> int:
    """Return a distance of rows of so many elements that is an odd number of cache lines, and no multiple of a page."""
    lines = -(-size // line)
    return (lines + 1 - lines % 2) * line


def _by_rows(rows: int, outputs: int, in_l2: bool, size: int) -> bool:
    """Return whether members of a crew have rows of their own in each step, and not panels."""
    return rows >= 2 * size and (in_l2 or outputs < size)


def plan_backward(
    a: Architecture,
    src_size: int,
    reverse: bool,
    again: bool,
    forward: np.ndarray,
    batch: Batch,
    dtype: np.dtype[Any],
    machine: Machine,
) -> BackwardPlan:
    """Plan the backward pass of a layer and direction; ``again`` says that gates are made again.

    ``forward`` has the numbers of the forward pass.
    """
    lanes, line = block_sizes().lanes(dtype), CACHE_LINE // dtype.itemsize
    width, rows, hidden, out = GATES * lanes, batch.rows, a.hidden_size, a.output_size
    panels, outputs, cells = count_panels(hidden, lanes), count_panels(out, width), count_panels(hidden, width)
    segment = max(1, SEGMENT_ROWS // max(rows, 1))
    capacity = round_up(min(segment, batch.steps) * rows, lanes)
    group = min(max(1, GROUP_ROWS // max(rows, 1)), segment)
    group_rows = group * rows
    step_flop = 2 * GATES * hidden * out * rows
    weights = GATES * hidden * out * dtype.itemsize
    in_l2, crew = weights <= machine.l2_bytes // 2, 1
    for size in crew_sizes(min(machine.threads, machine.cpus)):
        if step_flop * batch.steps < LEAST_FLOP * size / 2:
            break
        if _by_rows(rows, outputs, in_l2, size):
            # They meet after a group of steps, and two of them pay in any case.
            pays = step_flop * group >= LEAST_STEP_FLOP * (size - 2) / 2
        else:
            pays = outputs >= size and step_flop >= LEAST_STEP_FLOP * size / 2
        if pays:
            crew = size
    words = crew_words(crew) if crew > 1 else 0
    d_rows_stride, left_stride = _odd_lines(GATES * hidden, line), _odd_lines(capacity, line)
    unprojected_stride = _odd_lines(hidden, line)
    projected = 1 if a.proj_size else 0
    parts = {
        "crew_words": words * WORD_BYTES // dtype.itemsize,
        "zeros": round_up(max(hidden, out), lanes) + width,
        "d_hidden": outputs * rows * width,
        "d_cell": panels * rows * lanes,
        "d_unprojected": projected * cells * rows * width,
        "d_rows": 2 * group_rows * d_rows_stride,
        "d_panels": panels * capacity * width,
        "left": (src_size + out + 1) * left_stride,
        "gates_again": again * panels * capacity * width + width,
        "d_states": projected * rows * d_rows_stride,
        "d_projected": projected * outputs * capacity * width,
        "unprojected": projected * capacity * unprojected_stride,
        "left_unprojected": projected * hidden * left_stride,
        "sums": crew * SUMS_ROWS * width,
        "scratch": group_rows * width,
    }
    places, size = {}, 0
    for name, part in parts.items():
        places[name] = size
        size = round_up(size + part, line)
    frame = Frame(*forward[:FRAME_SIZE].tolist())._replace(
        crew=crew,
        slices=1,
        woken=machine.woken(crew),
        crew_words=places.pop("crew_words"),
        crew_size=words,
        patience=int(MOST_PATIENCE_NS / machine.costs.pause_ns),
        offsets=0 if batch.offsets is None else FRAME_SIZE + len(GradientRecord._fields),
        run_share=backward_address(dtype),
    )
    record = GradientRecord(**dict.fromkeys(GradientRecord._fields, 0))._replace(
        **places,
        reverse=reverse,
        src_size=src_size,
        streamed=weights > machine.l2_bytes // 2,
        segment=segment,
        capacity=capacity,
        group=group,
        group_rows=group_rows,
        by_rows=_by_rows(rows, outputs, in_l2, crew),
        d_rows_stride=d_rows_stride,
        left_stride=left_stride,
        unprojected_stride=unprojected_stride,
    )
    # A backward pass does twice the work of a forward pass, and whole segments.
    per_launch = round_up(max(1, launch_steps(a, Numerics(dtype), rows, machine) // 2), segment)
    launches = range(0, batch.steps, per_launch)
    behind = [] if batch.offsets is None else [batch.offsets]
    numbers = np.concatenate([np.array(frame, np.int64), np.zeros(len(record), np.int64), *behind])
    entry = entry_for("parallel" if crew > 1 else "serial", dtype)
    return BackwardPlan(numbers, record, entry, size, launches if reverse else launches[::-1], per_launch)
