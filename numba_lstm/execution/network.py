"""A stack of layers with its packed weights, and the call of it."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..contract.architecture import Architecture
from ..host.threads import Setting
from ..kernels.cells.cell_rule import CellRule
from ..kernels.frame import PLACES
from ..simd.memory import aligned_empty
from .launch_lock import compile_lock
from .output_panels import OutputPanels
from .packing import HALVES, PackedWeights, as_floats, pack
from .planning.estimate import faster_as_floats, launch_steps
from .planning.machine import Machine, this_machine
from .planning.numerics import Numerics
from .planning.plan import Plan, make_plan
from .planning.schedule import Batch

KEPT_PLANS = 256
"""Plans that a network keeps; sequence lengths vary without end in a process that lives long."""

KEPT_WORKSPACES = 4
"""Pieces of scratch memory that a network keeps between calls: one for each thread that calls it at a time."""

KEPT_SIZE = 1 << 24
"""Elements of the largest piece that is kept."""

_empty = np.empty

PlanKey = tuple[tuple[int, ...], bool, bool, int]


def plan_key(shape: tuple[int, ...], batch_first: bool, from_zero: bool) -> PlanKey:
    """Return under what a network keeps the plan of a call on an input of a shape: the threads set belong to it."""
    return shape, batch_first, from_zero, Setting.count


class Network:
    """The packed weights of a stack of LSTM layers; immutable, usable from many threads.

    Parameters
    ----------
    architecture : Architecture
        Sizes.
    parameters : mapping
        Arrays by torch's names.
    dtype : float32 or float64
        Of parameters, inputs and outputs.
    rule : CellRule, optional
        What its cells do, if they are not those of torch.
    form : {"float16", "bfloat16", "int8"}, optional
        In which weights are kept, if not in float32: parameters are then what ``weight_form`` keeps of them.
    """

    def __init__(
        self,
        architecture: Architecture,
        parameters: Mapping[str, np.ndarray],
        dtype: np.dtype[Any],
        rule: CellRule | None = None,
        form: str | None = None,
    ) -> None:
        self.architecture = architecture
        self.dtype = np.dtype(dtype)
        self.weights = pack(architecture, parameters, self.dtype, rule, form)
        self._floats: PackedWeights | None = None
        self.plans: dict[PlanKey, Plan] = {}
        """Plans of calls that were made, by `plan_key`."""
        self.outputs: OutputPanels | None = None
        """The weights as a backward pass reads them, once one was asked for."""
        self._free: list[np.ndarray] = []
        self._no_work = np.empty(0, self.dtype)

    def __call__(
        self,
        x: np.ndarray,
        h_0: np.ndarray | None,
        c_0: np.ndarray | None,
        *,
        batch_first: bool,
        dropout: Callable[[np.ndarray], None] | None = None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Run a batch.

        Parameters
        ----------
        x : (T, B, I) or, with ``batch_first``, (B, T, I) array
            Unit stride in the last axis, T >= 1.
        h_0, c_0 : C-order arrays (layers * directions, B, H_out) and (.., H), or None for zeros
            Initial states.
        batch_first : bool
            The layout of x and of the output.
        dropout : callable, optional
            Called between layers with a layer's whole output (T, B, D * H_out), to be changed in place.

        Returns
        -------
        output, h_n, c_n : ndarray
        """
        key = plan_key(x.shape, batch_first, h_0 is None)
        plan = self.plans.get(key)
        if plan is None:
            if len(self.plans) >= KEPT_PLANS:
                self.plans.clear()
            rows, steps = x.shape[:2] if batch_first else x.shape[1::-1]
            plan = self.plans[key] = self.plan(Batch(steps, rows, h_0 is None, batch_first=batch_first))
        return self.run(plan, x, h_0, c_0, dropout)

    def packed(
        self,
        data: np.ndarray,
        batch_sizes: np.ndarray,
        h_0: np.ndarray | None,
        c_0: np.ndarray | None,
        *,
        dropout: Callable[[np.ndarray], None] | None = None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Run sequences of different lengths, longest first.

        Parameters
        ----------
        data : C-order array (sum of batch_sizes, I)
            Step by step the rows that take part, as in ``torch.nn.utils.rnn.PackedSequence``.
        batch_sizes : (T,) int64 array
            Rows of each step, never increasing, the last at least 1.
        h_0, c_0, dropout
            As in a call; the rows in the order of ``data``.

        Returns
        -------
        output : ndarray (sum of batch_sizes, D * H_out)
        h_n, c_n : ndarray
            The state at each sequence's own end.
        """
        steps, rows = len(batch_sizes), int(batch_sizes[0])
        if rows == batch_sizes[-1]:  # of one length, so that there is nothing to skip
            x = data.reshape(steps, rows, data.shape[1])
            output, h_n, c_n = self(x, h_0, c_0, batch_first=False, dropout=dropout)
            output.resize((steps * rows, output.shape[2]), refcheck=False)  # in place, see below
            return output, h_n, c_n
        offsets = np.zeros(steps + 1, np.int64)
        np.cumsum(batch_sizes, out=offsets[1:])
        plan = self.plan(Batch(steps, rows, h_0 is None, offsets))
        output, h_n, c_n = self.run(plan, data[None], h_0, c_0, dropout)
        output.resize(output.shape[1:], refcheck=False)  # in place: a view would not own its memory
        return output, h_n, c_n

    def plan(self, batch: Batch) -> Plan:
        """Plan calls of a shape."""
        machine = this_machine()
        return make_plan(self.architecture, self._weights_for(batch, machine), batch, machine)

    def _weights_for(self, batch: Batch, machine: Machine) -> PackedWeights:
        """Return the weights for calls of a shape: those that were packed, or a float32 copy if it is faster."""
        numerics = Numerics(self.dtype, self.weights.form)
        sizes = None if batch.offsets is None else np.diff(batch.offsets)
        if not faster_as_floats(self.architecture, numerics, batch.steps, batch.rows, machine, sizes):
            return self.weights
        if self._floats is None:
            try:
                with compile_lock:  # which a fork waits for; threads that come together make one copy
                    self._floats = self._floats or as_floats(self.architecture, self.weights)
            except MemoryError:  # the call may still have what it needs without
                return self.weights
        return self._floats

    def steps_per_launch(self, rows: int) -> int:
        """Return how many steps a launch may have, so that signals get in between two."""
        form = None if self.weights.form in HALVES else self.weights.form  # those may be read as floats
        return launch_steps(self.architecture, Numerics(self.dtype, form), rows, this_machine())

    def run(
        self,
        plan: Plan,
        x: np.ndarray,
        h_0: np.ndarray | None,
        c_0: np.ndarray | None,
        dropout: Callable[[np.ndarray], None] | None = None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return output, h_n and c_n of what was planned; x is (1, rows, I) and output alike if it is packed."""
        dtype, work_size = self.dtype, plan.work_size
        output = target = _empty(plan.output, dtype)
        if plan.batch_first:
            x, target = x.transpose(1, 0, 2), output.transpose(1, 0, 2)
        if h_0 is None or c_0 is None:
            h, c = _empty(plan.hidden, dtype), _empty(plan.cell, dtype)
        else:
            h, c = h_0.copy(), c_0.copy()
        # Scratch memory goes from call to call; concurrent calls each take their own.
        try:
            work = self._free.pop()
        except IndexError:
            work = self._no_work
        if work.size < work_size:
            work = aligned_empty(work_size, dtype)
        if plan.one_launch and dropout is None:
            plan.entry(plan.numbers, plan.data, work, x, target, h, c)
        else:
            self._launch_parts(plan, work, x, target, h, c, dropout)
        if len(self._free) < KEPT_WORKSPACES and work_size <= KEPT_SIZE:
            self._free.append(work)
        return output, h, c

    def _launch_parts(
        self,
        plan: Plan,
        work: np.ndarray,
        x: np.ndarray,
        output: np.ndarray,
        h: np.ndarray,
        c: np.ndarray,
        dropout: Callable[[np.ndarray], None] | None,
    ) -> None:
        """Run a call as a sequence of launches, layer by layer where a layer must be complete before the next."""

        def launch(source: np.ndarray, target: np.ndarray, first: int, last: int) -> None:
            for s in range(0, plan.steps, plan.steps_per_launch):
                part = plan.numbers.copy()
                part[PLACES.first_layer], part[PLACES.end_layer] = first, last
                part[PLACES.first_step], part[PLACES.end_step] = s, min(s + plan.steps_per_launch, plan.steps)
                plan.entry(part, plan.data, work, source, target, h, c)

        layers = self.architecture.num_layers
        if dropout is None and not self.architecture.bidirectional:
            launch(x, output, 0, layers)
            return
        for index in range(layers - 1):
            inner = np.empty(output.shape, self.dtype)
            launch(x, inner, index, index + 1)
            if dropout is not None:
                dropout(inner)
            x = inner
        launch(x, output, layers - 1, layers)
