"""Time streams, pools of them and sliding windows, on one thread: ``python -m asv_bench.streams``."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

import numba_lstm as nl

from . import report, timing
from .shapes import Shape

STEPS = {
    "1 to 40": Shape(1, 40),
    "128 to 128": Shape(128, 128),
    "128 to 2 x 128": Shape(128, 128, 2),
    "256 to 3 x 256": Shape(256, 256, 3),
}

CHUNK = Shape(1, 40, steps=64)
POOL = Shape(128, 128, batch=4096)
WINDOW, WINDOW_LENGTH = Shape(128, 128, 2), 50


def normal(*shape: int) -> np.ndarray:
    """Return random input."""
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def module(shape: Shape) -> nl.LSTM:
    """Return a module with random weights."""
    return nl.LSTM(*shape[:3], seed=0).eval()


def stepper(shape: Shape, reuse: bool = False) -> Callable[[], np.ndarray]:
    """Return what takes a step, or a chunk of several, into a fresh array or the same again.

    One step is taken here, so that the states are not zero.
    """
    stream = module(shape).stream(shape.batch)
    x = normal(shape.steps, shape.batch, shape.input_size)
    x = x[0] if shape.steps == 1 else x
    out = stream.step(x)
    return (lambda: stream.step(x, out)) if reuse else (lambda: stream.step(x))


def half_pool() -> Callable[[], np.ndarray]:
    """Return what takes a step of half of the pool's rows, in random order."""
    stream = module(POOL).stream(POOL.batch)
    rows = np.random.default_rng(0).permutation(POOL.batch)[: POOL.batch // 2]
    x = normal(len(rows), POOL.input_size)
    out = stream.step(x, rows=rows)
    return lambda: stream.step(x, out, rows=rows)


class WindowSeconds(NamedTuple):
    """Medians of the two halves of a sliding window's step."""

    push: float
    push_and_advance: float


def window() -> tuple[Any, np.ndarray]:
    """Return a full sliding window and an input for it."""
    windows, x = module(WINDOW).sliding_window(WINDOW_LENGTH), normal(1, WINDOW.input_size)
    for _ in range(2 * WINDOW_LENGTH):
        windows.push(x)
    windows.advance()
    return windows, x


def window_seconds(pushes: int = 4000) -> WindowSeconds:
    """Time the steps of a sliding window; `push` alone cannot be repeated without `advance`."""
    windows, x = window()
    taken = []
    for _ in range(pushes):
        start = time.perf_counter()
        windows.push(x)
        pushed = time.perf_counter()
        windows.advance()
        taken.append((pushed - start, time.perf_counter() - start))
    return WindowSeconds(*map(statistics.median, zip(*taken, strict=True)))


def rows(budget: float | None) -> list[list[str]]:
    """Return the lines of the table."""

    def microseconds(function: Callable[[], object]) -> str:
        return f"{timing.seconds_per_call(function, budget).median * 1e6:,.2f}"

    def rate(function: Callable[[], object], share: float) -> str:
        return f"{share * POOL.flop() / timing.seconds_per_call(function, budget).median / 1e9:.1f}"

    lines = []
    for name, shape in STEPS.items():
        lines.append([f"step, {name}", microseconds(stepper(shape)), "µs"])
        lines.append([f"step, {name}, with out=", microseconds(stepper(shape, reuse=True)), "µs"])
    lines.append([f"chunk of {CHUNK.steps} steps, 1 to 40", microseconds(stepper(CHUNK)), "µs"])
    push, both = window_seconds()
    lines.append([f"sliding window of {WINDOW_LENGTH}, 2 x 128: push", f"{push * 1e6:.2f}", "µs"])
    lines.append([f"sliding window of {WINDOW_LENGTH}, 2 x 128: push and advance", f"{both * 1e6:.2f}", "µs"])
    lines.append([f"pool of {POOL.batch:,}, 128 to 128, all rows", rate(stepper(POOL, reuse=True), 1), "GFLOP/s"])
    lines.append([f"pool of {POOL.batch:,}, half of the rows", rate(half_pool(), 0.5), "GFLOP/s"])
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(prog="python -m asv_bench.streams", description=__doc__)
    parser.add_argument("--budget", type=float, default=timing.BUDGET, help="seconds for a line")
    report.add_page_option(parser, report.FOLDER / "streams.md")
    options = parser.parse_args(arguments)
    timing.pin(1)
    nl.set_num_threads(1)
    text = report.markdown_table(["what", "value", "unit"], rows(options.budget))
    report.publish("streams", text, report.own_circumstances(), options.page)


if __name__ == "__main__":
    main()
