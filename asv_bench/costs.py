"""Measure a row of ``numba_lstm.execution.planning.costs`` on this kind of CPU: ``python -m asv_bench.costs``.

Each number is the least of what calls of the library took that do little else, on the first two CPUs of this process.
A machine with one has no numbers of crews.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numba
import numpy as np

import numba_lstm
from numba_lstm.execution.planning.costs import Costs, costs
from numba_lstm.execution.planning.machine import ASSUMED, Way, this_machine
from numba_lstm.kernels.panels import count_panels
from numba_lstm.simd.atomics import pause
from numba_lstm.simd.blocksizes import GATES, block_sizes
from numba_lstm.simd.target import describe, host

from .timing import pin, seconds_per_call

FLOAT = np.dtype(np.float32)
ALONE, CREW = Way(1, 1, 0), Way(1, 2, 50_000)
PAUSES = 10_000

njit: Any = numba.njit(error_model="numpy")


@njit
def _pauses(count):  # type: ignore[no-untyped-def]
    for _ in range(count):
        pause()


def step_ns(size: int, steps: int, rows: int, way: Way, form: str | None = None, inputs: int = 1) -> float:
    """Return the nanoseconds of one step of a layer, as a part of a call of many."""
    numba_lstm.set_num_threads(way.slices * way.crew)
    ASSUMED.update(way=way, as_floats=False)
    try:
        lstm = numba_lstm.LSTM(inputs, size, seed=0).eval()
        if form:
            lstm = lstm.quantize(form)
        x = np.random.default_rng(0).standard_normal((steps, rows, inputs), np.float32)
        hx = tuple(np.full((1, rows, size), 0.1, np.float32) for _ in range(2))
        return 1e9 * seconds_per_call(lambda: lstm(x, hx), 0.5, 15).fastest / steps
    finally:
        del ASSUMED["way"], ASSUMED["as_floats"]


def vectors(size: int) -> int:
    """Return the vectors of units of a layer."""
    return count_panels(size, block_sizes().lanes(FLOAT))


def weight_bytes(size: int) -> int:
    """Return the bytes of a layer's recurrent weights, as they lie in panels."""
    return vectors(size) * GATES * block_sizes().lanes(FLOAT) * size * FLOAT.itemsize


def size_of(weights: float) -> int:
    """Return the units of a layer that has about so many bytes of recurrent weights."""
    lanes = block_sizes().lanes(FLOAT)
    return max(lanes, int((weights / GATES / FLOAT.itemsize) ** 0.5) // lanes * lanes)


def measure() -> Costs:
    """Return the row of this machine; what needs two CPUs stays as it is where there is one."""
    machine = this_machine()
    in_l2, in_l3 = size_of(0.6 * machine.l2_bytes), size_of(min(16 << 20, 6 * machine.l2_bytes))
    # Two sizes of one number of rows tell multiply-adds, of which there are size * size, from updates.
    rows, small, large = 48, 32, 128
    taken = [step_ns(size, 200, rows, ALONE) for size in (small, large)]
    products, updates = (
        [rows * vectors(size) * GATES * size for size in (small, large)],
        [rows * vectors(size) for size in (small, large)],
    )
    fma, update = np.linalg.solve(np.array([products, updates], float).T, np.array(taken))
    loads = -(-rows // block_sizes().half_rows_kept) * vectors(large) * GATES * large
    found = {
        "fma_ns": fma,
        "update_ns": update,
        "l2_bytes_per_ns": weight_bytes(in_l2) / (step_ns(in_l2, 50, 1, ALONE) - vectors(in_l2) * update),
        "l3_bytes_per_ns": weight_bytes(in_l3) / (step_ns(in_l3, 20, 1, ALONE) - vectors(in_l3) * update),
        "pause_ns": 1e9 * seconds_per_call(lambda: _pauses(PAUSES), 0.1).fastest / PAUSES,
    }
    for form in ("float16", "bfloat16"):
        # Where other units widen, batches of such weights take as long, or less.
        found[f"{form}_ns"] = max(0.0, step_ns(large, 200, rows, ALONE, form) - taken[1]) / loads
    if machine.cpus > 1:
        # Small ones, of an even number of panels: each member takes half of the time of one, and they meet.
        meet = step_ns(small, 500, 1, CREW) - step_ns(small, 500, 1, ALONE) / 2
        shared = step_ns(in_l3, 20, 2, Way(2, 1, 0))
        apart = step_ns(in_l2, 50, rows, CREW) - step_ns(in_l2, 50, rows, ALONE) / 2 - meet
        launch = step_ns(small, 1, 2, Way(2, 1, 0)) - step_ns(small, 1, 1, ALONE)
        found |= {
            "meet_ns": meet,
            "shared_l3_bytes_per_ns": weight_bytes(in_l3) / (shared - vectors(in_l3) * update),
            "exchange_bytes_per_ns": rows * in_l2 * FLOAT.itemsize / 2 / max(apart, 1.0),
            "launch_ns": launch,
        }
    return dataclasses.replace(costs(), **{name: float(f"{value:.3g}") for name, value in found.items()})


def main(arguments: Sequence[str] | None = None, measured: Callable[[], Costs] = measure) -> None:
    """Print the row, and how it differs from the one of the table."""
    parser = argparse.ArgumentParser(prog="python -m asv_bench.costs", description=__doc__)
    parser.parse_args(arguments)
    pin(min(2, this_machine().cpus))
    row, known = dataclasses.asdict(measured()), dataclasses.asdict(costs())
    sys.stdout.write(f"{describe()}, L2 {this_machine().l2_bytes >> 10} KiB, family {host().family!r}\n")
    for name, value in row.items():
        sys.stdout.write(f"    {name}={value!r},  # the table has {known[name]!r}\n")


if __name__ == "__main__":
    main()
