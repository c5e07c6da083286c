"""Print what streams, pools and sliding windows cost, in microseconds, on one thread.

usage: python asv_bench/streams.py        (pin it, and run nothing beside it)
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np

import numba_lstm as nl

ROUNDS = 15


def median_us(function: Callable[[], object], budget: float = 0.05) -> float:
    """Return the median over rounds of the time of one call, in microseconds."""
    function()
    start = time.perf_counter()
    function()
    repeats = max(1, int(budget / (time.perf_counter() - start)))
    rounds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(repeats):
            function()
        rounds.append((time.perf_counter() - start) / repeats)
    return statistics.median(rounds) * 1e6


def make(inputs: int, hidden: int, layers: int) -> nl.LSTM:
    """Return a module with random weights."""
    return nl.LSTM(inputs, hidden, layers, seed=0).eval()


def normal(*shape: int) -> np.ndarray:
    """Return random input."""
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def print_steps() -> None:
    """Print steps of one sequence, with a fresh output and with ``out=``, and a chunk of 64 of them."""
    for inputs, hidden, layers in ((1, 40, 1), (128, 128, 1), (128, 128, 2), (256, 256, 3)):
        stream = make(inputs, hidden, layers).stream()
        x = normal(1, inputs)
        out = stream.step(x)
        fresh, reused = median_us(lambda s=stream, x=x: s.step(x)), median_us(lambda s=stream, x=x, y=out: s.step(x, y))
        print(f"stream.step, I = {inputs}, {layers} x {hidden:<23}{fresh:9.2f} us, out= {reused:.2f} us")
    stream, x = make(1, 40, 1).stream(), normal(64, 1, 1)
    print(f"a chunk of 64 steps, I = 1, H = 40           {median_us(lambda: stream.step(x)):9.2f} us")


def print_windows() -> None:
    """Print the two halves of a sliding window's step."""
    window, x = make(128, 128, 2).sliding_window(50), normal(1, 128)
    for _ in range(100):
        window.push(x)
    window.advance()
    pushes, both = [], []
    for _ in range(4000):
        start = time.perf_counter()
        window.push(x)
        pushed = time.perf_counter()
        window.advance()
        pushes.append(pushed - start)
        both.append(time.perf_counter() - start)
    push, step = statistics.median(pushes) * 1e6, statistics.median(both) * 1e6
    print(f"sliding window of 50, 2 x 128: push          {push:9.2f} us")
    print(f"sliding window of 50, 2 x 128: push, advance {step:9.2f} us")


def print_pool() -> None:
    """Print the rate of a pool in which all rows step, and in which half of them do."""
    rows, hidden = 4096, 128
    stream, x = make(hidden, hidden, 1).stream(rows), normal(rows, hidden)
    out = stream.step(x)
    flop = rows * 8 * hidden * 2 * hidden
    rate = flop / median_us(lambda: stream.step(x, out)) / 1e3
    print(f"a pool of 4,096 streams, I = H = 128         {rate:9.1f} GFLOP/s")
    some = np.random.default_rng(0).permutation(rows)[: rows // 2]
    half, target = x[: rows // 2], out[: rows // 2]
    rate = flop / 2 / median_us(lambda: stream.step(half, target, rows=some)) / 1e3
    print(f"half of its rows, in random order            {rate:9.1f} GFLOP/s")


def main() -> None:
    """Print the table."""
    nl.set_num_threads(1)
    print_steps()
    print_windows()
    print_pool()


if __name__ == "__main__":
    main()
