"""Calls of whole modules, over the shapes of the comparison with the peers."""

from __future__ import annotations

import tracemalloc
from typing import ClassVar

import numpy as np

import numba_lstm

from .. import engines, machine, shapes, timing


class Calls:
    """One call on one thread."""

    params: ClassVar = list(shapes.PUBLIC | shapes.ODD)
    param_names = ("shape",)

    def setup_cache(self) -> machine.Machine:
        """Measure the limits of a core, once for all benchmarks."""
        return machine.measure()

    def setup(self, limits: machine.Machine, name: str) -> None:
        """Make a module and an input, and call once."""
        self.shape = shapes.select([name])[name]
        self.call = engines.make("numba_lstm", self.shape, 1).call
        self.call()

    def time_call(self, limits: machine.Machine, name: str) -> None:
        """Time one call."""
        self.call()

    def track_rate(self, limits: machine.Machine, name: str) -> float:
        """Return the rate of the matrix products."""
        return self.shape.flop() / self._seconds() / 1e9

    def track_share_of_peak(self, limits: machine.Machine, name: str) -> float:
        """Return this rate in per cent of what the core's multiply-add units can do."""
        return 100e9 * self.track_rate(limits, name) / limits.flop_per_second

    def track_time_over_bound(self, limits: machine.Machine, name: str) -> float:
        """Return the time over the least that arithmetic and memory allow."""
        return self._seconds() / limits.bound(self.shape)

    def _seconds(self) -> float:
        return timing.seconds_per_call(self.call, samples=3).median

    track_rate.unit = "GFLOP/s"  # type: ignore[attr-defined]
    track_share_of_peak.unit = "%"  # type: ignore[attr-defined]
    track_time_over_bound.unit = "times"  # type: ignore[attr-defined]


class Memory:
    """What a call needs beside its input."""

    params: ClassVar = ["vad_step", "crnn_b16", "big_b256", "long_small"]
    param_names = ("shape",)

    def setup(self, name: str) -> None:
        """Make a module and an input, and call once."""
        self.call = engines.make("numba_lstm", shapes.select([name])[name], 1).call
        self.call()

    def peakmem_process(self, name: str) -> None:
        """Have asv take the most that the process ever had: interpreter, libraries, kernels, weights, outputs."""
        self.call()

    def track_call(self, name: str) -> int:
        """Return the most that a later call allocates: outputs, and what the module does not keep."""
        tracemalloc.start()
        self.call()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    track_call.unit = "bytes"  # type: ignore[attr-defined]


class Double:
    """One call in float64."""

    params: ClassVar = ["vad_step", "mingfei_15", "crnn_b16"]
    param_names = ("shape",)

    def setup(self, name: str) -> None:
        """Make a module and an input, and call once."""
        numba_lstm.set_num_threads(1)
        self.call = engines.numba_lstm_call(shapes.case(shapes.select([name])[name], np.float64))
        self.call()

    def time_call(self, name: str) -> None:
        """Time one call."""
        self.call()
