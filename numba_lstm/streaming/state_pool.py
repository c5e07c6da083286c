"""Rows of states that a network advances in place: what streams and sliding windows are made of."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..contract.architecture import Architecture
from ..contract.checks.arrays import check_addressable
from ..execution.network import Network
from ..execution.planning.schedule import Batch
from ..host.threads import Setting
from ..kernels.frame import PLACES, TURN
from ..kernels.launch import REFUSED
from ..simd.memory import aligned_empty

KEPT_LAUNCHES = 64
"""Launches that a pool keeps; the number of rows that have input may differ from step to step."""


class Launch(NamedTuple):
    """A launch of some steps and rows, ready to be repeated."""

    entry: Any
    numbers: np.ndarray
    weights: np.ndarray
    work: np.ndarray
    """The numbers have the addresses of both, which live as long."""
    threads: int
    """The setting that it was planned for."""


class Pool:
    """The states of many rows, zero at first, and the buffers to advance them.

    Parameters
    ----------
    network : Network
        Of one direction.
    architecture : Architecture
        Its sizes.
    dtype : float32 or float64
        Its dtype.
    rows : int
        How many rows there are, at least 1.

    Attributes
    ----------
    h, c : ndarray (layers, rows, H_out), (layers, rows, H)
        The states.  They may be written to, but not replaced: launches have their addresses.
    """

    def __init__(self, network: Network, architecture: Architecture, dtype: np.dtype[Any], rows: int) -> None:
        layers = architecture.num_layers
        self._network = network
        hidden, cell = (layers, rows, architecture.output_size), (layers, rows, architecture.hidden_size)
        check_addressable(cell, dtype)  # and so the other, which is not larger
        self.h, self.c = np.zeros(hidden, dtype), np.zeros(cell, dtype)
        self._work = aligned_empty(0, dtype)
        self._launches: dict[tuple[int, int, int, bool, bool], Launch] = {}

    def is_one_launch(self, steps: int, rows: int) -> bool:
        """Whether so many steps of so many rows are done in one launch."""
        return steps == 1 or steps <= self._network.steps_per_launch(rows)

    def launch(self, steps: int, rows: int, chosen: bool = False, dense: bool = True) -> Launch:
        """Return a launch of so many steps of all rows or, if ``chosen``, of those that end its numbers.

        If ``dense``, its entry takes the numbers, x (T * B, I) and output (T * B, H_out), see ``launch.run_pool``; else
        it is that of calls, and the frame's turn is to be moved on.
        """
        key = steps, rows, Setting.count, chosen, dense
        launch = self._launches.get(key)
        if launch is None:
            indices = np.zeros(rows, np.int64) if chosen else None
            plan = self._network.plan(Batch(steps, rows, indices=indices, pool=self.h.shape[1], dense=dense))
            if len(self._launches) >= KEPT_LAUNCHES:
                self._launches.clear()
            if self._work.size < plan.work_size:
                self._work = aligned_empty(plan.work_size, self.h.dtype)
                self._launches.clear()  # they would keep the former one
            for index, number in (
                (PLACES.weights_address, plan.data.ctypes.data),
                (PLACES.work_address, self._work.ctypes.data),
                (PLACES.h_address, self.h.ctypes.data),
                (PLACES.c_address, self.c.ctypes.data),
                (PLACES.array_type, id(np.ndarray)),
                (PLACES.array_dtype, id(self.h.dtype)),
                (PLACES.axis_0, steps * rows),
            ):
                plan.numbers[index] = number
            launch = self._launches[key] = Launch(plan.entry, plan.numbers, plan.data, self._work, Setting.count)
        return launch

    def advance(self, x: np.ndarray, output: np.ndarray, chosen: np.ndarray | None = None) -> None:
        """Advance all rows, or those that are chosen.

        Parameters
        ----------
        x : (T, B, I) array
            Input; unit stride in the last axis.
        output : (T, B, H_out) array
            Is filled.
        chosen : (B,) int64 array, optional
            Different rows of the pool.
        """
        steps, rows, _ = x.shape
        if self.is_one_launch(steps, rows):
            self._advance(x, output, chosen)
            return
        stretch = self._network.steps_per_launch(rows)
        before = self.h.copy(), self.c.copy()
        try:
            for first in range(0, steps, stretch):
                self._advance(x[first : first + stretch], output[first : first + stretch], chosen)
        except BaseException:  # Ctrl-C between two stretches: the steps have not been taken
            self.h[...], self.c[...] = before
            raise

    def _advance(self, x: np.ndarray, output: np.ndarray, chosen: np.ndarray | None) -> None:
        steps, rows, _ = x.shape
        if x.flags.c_contiguous and output.flags.c_contiguous:
            entry, numbers, *_ = self._launch_of(steps, rows, chosen, dense=True)
            if entry(numbers, x.reshape(steps * rows, -1), output.reshape(steps * rows, -1)) != REFUSED:
                return
        entry, numbers, weights, work, _ = self._launch_of(steps, rows, chosen, dense=False)
        entry(numbers, weights, work, x, output, self.h, self.c)
        numbers[TURN] += steps

    def _launch_of(self, steps: int, rows: int, chosen: np.ndarray | None, dense: bool) -> Launch:
        launch = self.launch(steps, rows, chosen is not None, dense)
        if chosen is not None:
            launch.numbers[-rows:] = chosen
        return launch
