"""Who does a call's work, and in which order: threads, blocks of rows, chunks of steps."""
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...contract.architecture import Architecture
from .estimate import choose, launch_steps, step_flop
from .machine import Machine
from .numerics import Numerics
from .residency import Kept, core_panels, core_share, kept_weights


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
    kept: bool = False
    """Whether the gates of every step are kept, see ``kernels.kept``."""
    dense: bool = False
    """Whether input and output of the pool are C-order arrays: steps then take an entry with fewer arguments."""


    @property
    def all_rows(self) -> int:
        """Rows of all steps together."""
        return self.steps * self.rows if self.offsets is None else int(self.offsets[-1])


class Schedule(NamedTuple):
    """How a call's rows and steps are divided."""

    slices: int
    """Parts of the batch, one for a thread."""
    crew: int
    """Threads that share all rows; 1: each has its slice of them."""
    patience: int
    """Pauses that a crew waits for its members."""
    apart: bool
    """Whether each half of a crew takes one of two directions."""
    short: bool
    """Whether the launch is over so soon that it keeps Python's lock."""
    rows: int
    """Most rows of a block."""
    steps_per_launch: int
    span: int
    """Steps that go through one layer before the next one."""
    chunk: int
    """Steps whose input part is computed at once."""
    kept: Kept
    """What stays in the caches of each core."""


def _split(number: int, most: int) -> int:
    """Return the size of as few equal parts as there can be of at most so many; a short one would cost the same."""
    return -(-number // -(-number // most))


def make_schedule(a: Architecture, numerics: Numerics, batch: Batch, machine: Machine) -> Schedule:
    """Decide how a call is done."""
    steps, rows = batch.steps, batch.rows
    batch_sizes = None if batch.offsets is None else np.diff(batch.offsets)
    slices, crew, patience = choose(a, numerics, steps, rows, machine, batch_sizes)
    block = max(1, -(-rows // slices))
    if batch.pool:
        block = -(-block // max(1, block // machine.block_rows))
    directions, parts = core_share(a, numerics, crew, machine)
    steps_per_launch = _split(steps, launch_steps(a, numerics, rows, machine))
    sums_bytes = Numerics(numerics.dtype).line_bytes(core_panels(a, numerics, parts))
    buffer_rows = max(machine.input_rows, machine.gate_buffer_bytes // sums_bytes)
    chunk = _split(steps_per_launch, max(1, buffer_rows // block))
    kept = kept_weights(a, numerics, crew, machine)
    return Schedule(
        slices=slices,
        crew=crew,
        patience=patience,
        apart=a.bidirectional and directions == 1,
        short=batch.dense and slices * crew == 1 and step_flop(a) * rows * steps < machine.short_flop,
        rows=block,
        steps_per_launch=steps_per_launch,
        span=chunk if kept.shared and not a.bidirectional else steps_per_launch,
        chunk=chunk,
        kept=kept,
    )
