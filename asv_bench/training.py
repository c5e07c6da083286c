"""Time training steps beside torch and JAX: ``python -m asv_bench.training --threads 1 2 --peers PYTHON --page``.

A step is the part of an LSTM in one: forward and backward, with the gradients of the input and of all parameters.
Engines take turns as in ``peers``, each in a process of its own, bound to as many cores as it has threads.  The exit
status is 1 if an engine fails, or if a gradient differs by more than 1e-4 of the largest number in it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import machine, peer_tables, report, shapes, trainers
from .peer_tables import best_peer, microseconds, number, ratio
from .trainers import STATES, TRAINERS
from .turns import Measured, add_options, complain, keep, measure_all, take_turns

TOLERANCE = 1e-4
"""Of gradients, over the largest of the same array: sums over thousands of rows, in other orders."""

PASSES = 3
"""Work of a step over that of its forward pass: for each product forward, two backward."""


def largest_difference(outputs: Path, other: str, name: str) -> float:
    """Return how far our gradients are from another engine's, over the largest of each array."""
    ends = np.cumsum(trainers.sizes(shapes.case(shapes.select([name])[name])))[:-1]
    ours, theirs = (np.split(np.load(outputs / f"{engine}.{name}.npy"), ends) for engine in ("numba_lstm", other))
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(ours, theirs, strict=True))


def measure(threads: int, options: argparse.Namespace) -> Measured:
    """Return for every shape its figures by engine, its share of the peak and its difference."""
    chosen = shapes.select(options.shapes)
    with tempfile.TemporaryDirectory() as folder:
        figures, versions, complaints = take_turns(threads, options, Path(folder))
        peak = threads * machine.measure(threads=threads).flop_per_second
        results: dict[str, Any] = {}
        for name, shape in chosen.items():
            result = {figure: rows[name] for figure, rows in figures.items()}
            results[name] = {**result, "flop": PASSES * shape.flop(), "peak": peak}
            peer = best_peer(result["seconds"])
            if peer and "numba_lstm" in result["seconds"]:
                difference = results[name]["difference"] = largest_difference(Path(folder), peer, name)
                if not difference <= TOLERANCE:
                    complaints.append(f"{name}: gradients differ from those of {peer} by {difference:.1e}")
    return results, versions, complaints


def backward_over_forward(result: dict[str, Any], engine: str | None) -> float | None:
    """Return what an engine's step takes beyond a forward pass, over that."""
    step, forward = (result.get(figure, {}).get(engine) for figure in ("seconds", "forward"))
    return (step - forward) / forward if step and forward else None


def full_table(results: dict[str, Any]) -> str:
    """Return a table of all engines' times of a step and one of its parts, for one number of threads."""
    used = [engine for engine in TRAINERS if any(engine in result["seconds"] for result in results.values())]
    parts = ["our forward", "backward / forward", "its backward / forward", "GFLOP/s", "of the peak", "difference"]
    times, of_parts = [], []
    for name, result in results.items():
        row = result["seconds"]
        peer, ours = best_peer(row), row.get("numba_lstm")
        rate = result["flop"] / ours if ours else None
        cells = [microseconds(row.get(engine)) for engine in used]
        times.append([shapes.words(name), *cells, peer or "", number(ratio(row), ".2f")])
        of_parts.append([
            shapes.words(name),
            microseconds(result.get("forward", {}).get("numba_lstm")),
            *(number(backward_over_forward(result, engine), ".2f") for engine in ("numba_lstm", peer)),
            number(rate and rate / 1e9, ".1f"),
            number(rate and rate / result["peak"], ".2f"),
            number(result.get("difference"), ".1e"),
        ])  # fmt: skip
    tables = [
        report.markdown_table(["network", *used, "best peer", "ratio"], times),
        report.markdown_table(["network", *parts], of_parts),
    ]
    return "\n\n".join(tables)


def memory_table(results: dict[str, Any]) -> str:
    """Return what is kept between the passes."""
    columns = {"numba_lstm": ("kept", "numba_lstm"), 'with keep="states"': (STATES, "numba_lstm")}
    columns |= {engine: ("kept", engine) for engine in ("torch", "torch without oneDNN")}
    rows = []
    for name, result in results.items():
        sizes = [result.get(figure, {}).get(engine) for figure, engine in columns.values()]
        over = [sizes[2] / size if size and sizes[2] else None for size in sizes[:2]]
        cells = [*(number(size and size / 2**20, ",.2f") for size in sizes), *(number(each, ".2f") for each in over)]
        rows.append([shapes.words(name), str(shapes.select([name])[name]), *cells])
    return report.markdown_table(["MiB kept", "sizes", *columns, "torch / ours", 'torch / keep="states"'], rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and report; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m asv_bench.training", description=__doc__.splitlines()[0])
    add_options(parser, ["training"], [*TRAINERS], command="trainers")
    report.add_page_option(parser, report.FOLDER / "training.md")
    options = parser.parse_args(arguments)
    measured, complaints = measure_all(options, measure)
    keep(measured, options.json)
    runs: dict[str, Any] = measured["runs"]
    tables = [
        f"{peer_tables.cores(threads)}, microseconds a step\n\n{full_table(results)}\n\n{peer_tables.summary(results)}"
        for threads, results in runs.items()
    ]
    text = "\n\n".join([*tables, memory_table(next(iter(runs.values())))])
    report.publish("training", text, measured, options.page)
    return complain(complaints)


if __name__ == "__main__":
    sys.exit(main())
