"""Calls of whole modules: time, rate and memory over a few shapes that people run."""
from __future__ import annotations

import time
import tracemalloc
from typing import ClassVar

import numpy as np

import numba_lstm

SHAPES = {
    # name: input, hidden, layers, directions, steps, batch
    "one step, 128 units": (128, 128, 1, 1, 1, 1),
    "speaker encoder, one voice": (40, 256, 3, 1, 160, 1),
    "text recognition, 16 lines": (512, 256, 2, 2, 64, 16),
    "two layers of 512, batch 64": (512, 512, 2, 1, 128, 64),
    "128 to 256, batch 256": (128, 256, 1, 1, 64, 256),
}


def flop(inputs: int, hidden: int, layers: int, directions: int, steps: int, batch: int) -> int:
    """Return the operations of all matrix products, two for a multiply-add."""
    width, total = inputs, 0
    for _ in range(layers):
        total += 8 * hidden * (width + hidden) * directions * steps * batch
        width = hidden * directions
    return total


class Calls:
    """One call on one thread, kernels ready and pages touched."""

    params: ClassVar[list[str]] = list(SHAPES)
    param_names = ("shape",)

    def setup(self, name: str) -> None:
        """Make a module and an input, and call once."""
        inputs, hidden, layers, directions, steps, batch = SHAPES[name]
        numba_lstm.set_num_threads(1)
        numba_lstm.warmup()
        self.lstm = numba_lstm.LSTM(inputs, hidden, layers, bidirectional=directions == 2, seed=0).eval()
        self.x = np.random.default_rng(0).standard_normal((steps, batch, inputs), np.float32)
        self.lstm(self.x)

    def time_call(self, name: str) -> None:
        """Time one call."""
        self.lstm(self.x)

    def track_rate(self, name: str) -> float:
        """Return the rate of the matrix products, from the fastest of some calls."""
        best, end = np.inf, time.perf_counter() + 1
        while time.perf_counter() < end:
            start = time.perf_counter()
            self.lstm(self.x)
            best = min(best, time.perf_counter() - start)
        return float(flop(*SHAPES[name]) / best / 1e9)

    track_rate.unit = "GFLOP/s"  # type: ignore[attr-defined]

    def track_call_memory(self, name: str) -> int:
        """Return the most that a later call allocates: outputs, and what the module does not keep."""
        tracemalloc.start()
        self.lstm(self.x)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    track_call_memory.unit = "bytes"  # type: ignore[attr-defined]
