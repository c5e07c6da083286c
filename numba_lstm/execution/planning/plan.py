"""From sizes to all that a launch needs to know."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...contract.architecture import Architecture
from ...contract.checks.arrays import check_addressable
from ...kernels.frame import FRAME_SIZE, Frame
from ...kernels.panels import kept_sizes, tail_vectors
from ..entries import entry_for, share_address
from ..packing import PackedWeights
from .machine import Machine
from .numerics import Numerics
from .schedule import Batch, Schedule, make_schedule
from .workspace import Workspace, lay_out


@dataclass(frozen=True, slots=True)  # whose fields are read in half the time of a NamedTuple's
class Plan:
    """What a call of some steps and rows needs to know."""

    numbers: np.ndarray
    """The numbers of a launch that does all layers and steps: a `Frame`, and what follows it."""
    entry: Any
    data: np.ndarray
    """The weights that it takes."""
    batch_first: bool
    steps: int
    work_size: int
    output: tuple[int, int, int]
    hidden: tuple[int, int, int]
    cell: tuple[int, int, int]
    """Shapes of output, h_n and c_n."""
    steps_per_launch: int
    one_launch: bool


def make_plan(architecture: Architecture, weights: PackedWeights, batch: Batch, machine: Machine) -> Plan:
    """Plan a call of a network on a batch."""
    a, numerics = architecture, Numerics(weights.data.dtype, weights.form)
    schedule = make_schedule(a, numerics, batch, machine)
    workspace = lay_out(a, numerics, batch, schedule)
    if schedule.slices * schedule.crew > 1:
        kind = "pool parallel" if batch.dense else "parallel"
    else:
        kind = ("short" if schedule.short else "pool") if batch.dense else "serial"
    shape = (batch.rows, batch.steps) if batch.batch_first else (batch.steps, batch.rows)
    if batch.offsets is not None:
        shape = 1, batch.all_rows
    cells = len(weights.cells)
    output = *shape, a.num_directions * a.output_size
    for needed in (output, (cells, batch.rows, a.hidden_size), (workspace.size,)):
        check_addressable(needed, numerics.dtype)
    return Plan(
        numbers=_numbers(a, numerics, weights, batch, machine, schedule, workspace),
        entry=entry_for(kind, numerics.dtype),
        data=weights.data,
        batch_first=batch.batch_first,
        steps=batch.steps,
        work_size=workspace.size,
        output=output,
        hidden=(cells, batch.rows, a.output_size),
        cell=(cells, batch.rows, a.hidden_size),
        steps_per_launch=schedule.steps_per_launch,
        one_launch=batch.steps <= schedule.steps_per_launch,
    )


def _numbers(
    a: Architecture,
    numerics: Numerics,
    weights: PackedWeights,
    batch: Batch,
    machine: Machine,
    schedule: Schedule,
    workspace: Workspace,
) -> np.ndarray:
    """Return the frame of a launch that does all layers and steps, and what follows it."""
    kept = schedule.kept
    read_in_turn = kept.network if schedule.span == schedule.chunk else kept.layer
    few, many = machine.panels_in_turn
    places, parts = [0, 0], [weights.cells.ravel()]
    for index, numbers in enumerate((batch.offsets, batch.indices)):
        if numbers is not None:
            places[index] = FRAME_SIZE + sum(part.size for part in parts)
            parts.append(numbers)
    frame = Frame(
        directions=a.num_directions,
        hidden_size=a.hidden_size,
        output_size=a.output_size,
        panels=workspace.panels,
        tail=tail_vectors(a.hidden_size, numerics.lanes),
        proj_panels=workspace.proj_panels,
        hidden_stride=workspace.hidden_stride,
        batch=batch.rows,
        steps=batch.steps,
        first_layer=0,
        end_layer=a.num_layers,
        first_step=0,
        end_step=batch.steps,
        chunk=schedule.chunk,
        span=schedule.span,
        streamed_ih=not read_in_turn,
        streamed_steps=schedule.chunk if not kept.recurrent else 0 if read_in_turn else 1,
        pairs=numerics.widened or not few < (kept.network_bytes if batch.steps == 1 else kept.recurrent_bytes) <= many,
        from_zero=batch.from_zero,
        finite=weights.finite,
        turn=0,
        pool=batch.pool or batch.rows,
        offsets=places[0],
        indices=places[1],
        crew=schedule.crew,
        apart=schedule.apart,
        crew_words=workspace.crew_words,
        crew_size=workspace.crew_size,
        patience=schedule.patience,
        slices=schedule.slices,
        woken=machine.woken(schedule.crew * schedule.slices),
        rows=schedule.rows,
        slice_size=workspace.slice_size,
        hidden=workspace.hidden,
        cell=workspace.cell,
        unprojected=workspace.unprojected,
        gate_sums=workspace.gate_sums,
        direction_size=workspace.direction_size,
        gate_member=workspace.gate_member,
        gate_distance=workspace.gate_distance,
        left=workspace.left,
        left_hidden=workspace.left_hidden,
        left_stride=workspace.left_stride,
        left_member=workspace.left_member,
        between=workspace.between,
        between_size=workspace.between_size,
        between_packed=workspace.between_packed,
        kept_address=0,
        kept_direction=sum(kept_sizes(a.hidden_size, batch.all_rows, numerics.lanes)),
        kept_cells=kept_sizes(a.hidden_size, batch.all_rows, numerics.lanes)[0],
        run_share=share_address(*numerics, "kept" if batch.kept else "general" if weights.general else "plain"),
    )
    try:
        numbers = np.array(frame, np.int64)
    except OverflowError:
        text = f"{batch.steps} steps of {batch.rows} rows need more than memory has addresses"
        raise MemoryError(text) from None
    return np.concatenate([numbers, *parts])
