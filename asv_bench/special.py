"""Time what is slow elsewhere, denormal numbers, and float64: ``python -m asv_bench.special --threads 1 2``."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import numba_lstm

from . import engines, machine, report, shapes, timing
from .shapes import Shape

DENORMAL = 1e-40
"""A factor that makes denormal float32 of numbers around 1."""

SHAPES = {"one row": Shape(128, 128, steps=64), "batch": Shape(128, 128, steps=32, batch=32)}

DOUBLE_SHAPES = ["vad_step", "ge2e_b1", "mingfei_15", "crnn_b16", "big_b256"]

ROUNDS = 3
"""How often each kind of numbers has its turn.

What disturbs two threads for a while must not count against one kind only.
"""

Call = Callable[[], Any]


def denormal_calls(shape: Shape) -> dict[str, Call]:
    """Return calls by where their denormal numbers are, the first without any."""
    _, weights, x, _ = whole = shapes.case(shape)
    state = np.ones((shape.num_layers, shape.batch, shape.hidden_size), np.float32)
    # Without a bias and an input the states stay as small as they are.
    unbiased = {name: array * (0 if name.startswith("bias") else 1) for name, array in weights.items()}
    small = np.float32(DENORMAL)
    cases = {
        "normal": (weights, x, state),
        "inputs": (weights, x * small, state),
        "states": (unbiased, np.zeros_like(x), state * small),
        "weights": ({name: array * small for name, array in weights.items()}, x, state),
    }

    return {
        where: engines.numba_lstm_call(whole._replace(weights=parameters, x=given, hx=(initial, initial)))
        for where, (parameters, given, initial) in cases.items()
    }


def denormal_rows(budget: float) -> list[list[str]]:
    """Return the times of denormal numbers over that of normal ones, for the threads that are set.

    A time is the lowest of the rounds'.
    """
    lines = []
    for name, shape in SHAPES.items():
        calls = denormal_calls(shape)
        seconds = dict.fromkeys(calls, math.inf)
        for _ in range(ROUNDS):
            for where, call in calls.items():
                seconds[where] = min(seconds[where], timing.seconds_per_call(call, budget / ROUNDS).median)
        normal = seconds.pop("normal")
        ratios = [f"{taken / normal:.2f}" for taken in seconds.values()]
        lines.append([f"{name}: {shape}", f"{normal * 1e6:,.1f}", *ratios])
    return lines


def double_rows(names: Sequence[str], budget: float, limits: machine.Machine) -> list[list[str]]:
    """Return time, rate and distance from the bound in float64, for the threads that are set."""
    lines = []
    for name, shape in shapes.select(names).items():
        seconds = timing.seconds_per_call(engines.numba_lstm_call(shapes.case(shape, np.float64)), budget).median
        over = seconds / limits.bound(shape)
        rate = shape.flop() / seconds / 1e9
        lines.append([shapes.words(name), f"{seconds * 1e6:,.1f}", f"{rate:.1f}", f"{over:.2f}"])
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(prog="python -m asv_bench.special", description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--shapes", nargs="+", default=DOUBLE_SHAPES, help="for float64")
    parser.add_argument("--budget", type=float, default=timing.BUDGET, help="seconds for a figure")
    report.add_page_option(parser, report.FOLDER / "limits.md")
    options = parser.parse_args(arguments)
    timing.pin(max(options.threads))
    denormal, double = [], []
    for threads in options.threads:
        numba_lstm.set_num_threads(threads)
        denormal += [[line[0], str(threads), *line[1:]] for line in denormal_rows(options.budget)]
        limits = machine.measure(np.float64, threads)
        double += [[line[0], str(threads), *line[1:]] for line in double_rows(options.shapes, options.budget, limits)]
    header = ["call", "threads", "normal, µs", "denormal inputs", "denormal states", "denormal weights"]
    text = report.markdown_table(header, denormal)
    text += "\n\n" + report.markdown_table(["float64", "threads", "µs", "GFLOP/s", "over bound"], double)
    report.publish("special", text, report.own_circumstances(), options.page)


if __name__ == "__main__":
    main()
