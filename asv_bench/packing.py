"""Time how weights of every form are made ready for the kernels: ``python -m asv_bench.packing``.

A module of 100 million weights is quantized and packed, the forms in turns.  A figure is the lowest of the rounds'.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from numba_lstm.contract.architecture import Architecture
from numba_lstm.contract.weight_form import quantized
from numba_lstm.execution.packing import pack

from . import engines, report, shapes, timing
from .shapes import Shape

SIZE = 3536
"""Inputs and units of one layer with 100 million weights."""


class Seconds(NamedTuple):
    """Of one form."""

    quantizing: float
    packing: float


def taken(function: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds of a call, and what it returns."""
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def once(shape: Shape, weights: dict[str, np.ndarray], form: str | None) -> Seconds:
    """Quantize weights to a form, None for float32, and pack them."""
    inputs, hidden, layers, both, projection, *_ = shape
    architecture = Architecture(inputs, hidden, layers, True, both, projection)
    quantizing, kept = taken(lambda: quantized(weights, form)) if form else (0.0, weights)
    packing, _ = taken(lambda: pack(architecture, kept, np.dtype(np.float32), form=form))
    return Seconds(quantizing, packing)


def measure(shape: Shape, rounds: int) -> dict[str, Seconds]:
    """Return the lowest seconds by form, each after a time that touches the pages.

    A hypervisor takes pages back that nobody has used for seconds, and the form that needs most of them would pay.
    """
    weights = shapes.parameters(shape)
    lowest = dict.fromkeys(engines.FORMS, Seconds(math.inf, math.inf))
    for _ in range(rounds):
        for name, known in lowest.items():
            form = None if name == "float32" else name
            once(shape, weights, form)
            lowest[name] = Seconds(*map(min, known, once(shape, weights, form)))
    return lowest


def table(figures: dict[str, Seconds]) -> str:
    """Return the lines of all forms."""
    rows = []
    for form, (quantizing, packing) in figures.items():
        both = quantizing + packing
        cells = [f"{value:.2f}" for value in (quantizing, packing, both, both / figures["float32"].packing)]
        rows.append([form, *cells])
    return report.markdown_table(["weights in", "quantizing, s", "packing, s", "both, s", "over float32"], rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(prog="python -m asv_bench.packing", description=__doc__)
    parser.add_argument("--size", type=int, default=SIZE, help="inputs and units of the layer")
    parser.add_argument("--rounds", type=int, default=3)
    report.add_page_option(parser, report.FOLDER / "forms.md")
    options = parser.parse_args(arguments)
    timing.pin(1)
    shape = Shape(options.size, options.size)
    text = table(measure(shape, options.rounds))
    text += f"\n\n{sum(map(sum, shape.weights())) / 1e6:,.1f} million weights, one core."
    report.publish("packing", text, report.own_circumstances(), options.page)


if __name__ == "__main__":
    main()
