"""Time every form of the weights beside the peers' int8: ``python -m asv_bench.forms --threads 1 2 --peers PYTHON``.

Engines take turns as in ``peers``, each in a process of its own, bound to as many cores as it has threads.  Single
steps are steps of a stream that has been somewhere before, sequences are calls.  The bound is that of the form: its
bytes, and for int8 the rate of dot products.  The exit status is 1 if an engine fails.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from numba_lstm.host.caches import l2_bytes

from . import engines, machine, peer_tables, report, shapes
from .peer_tables import microseconds, number
from .shapes import Shape
from .turns import Measured, add_options, complain, keep, measure_all, take_turns

FLOAT32_PEERS = tuple(engine for engine in engines.ENGINES if engine not in engines.OURS)

ENGINES = (*engines.FORMS, *engines.INT8_PEERS, *FLOAT32_PEERS)

STEPS = ("vad_step", "stac_tiny", "stac_small", "stac_med", "stac_deep")
SEQUENCES = ("awd_b1", "rnnt_b1", "elmo_b1")
"""One row each, with weights that no L2 cache holds."""
BATCHES = ("ge2e_b32", "awd_b32", "big_b64", "big_b256")

Row = dict[str, float]
"""Seconds by engine."""


def best(row: Row, names: Sequence[str]) -> str | None:
    """Return the fastest of some engines, None if there is none of them."""
    return min((name for name in names if name in row), key=row.__getitem__, default=None)


def gain(row: Row, others: Sequence[str], form: str) -> float | None:
    """Return how many times longer the best of other engines takes than we with weights in a form."""
    other = best(row, others)
    return row[other] / row[form] if other and form in row else None


def beyond_l2(shape: Shape) -> bool:
    """Return whether an L2 cache of this machine is too small for what one row reads again of its float32 weights."""
    return shape.batch == 1 and 4 * shape.read_again() > l2_bytes()


class Comparison(NamedTuple):
    """A line of the summary: over which shapes which engines are compared."""

    what: str
    chosen: Callable[[str, Shape], bool]
    others: Sequence[str]
    form: str


SUMMARY = (
    Comparison("int8 steps, beside the best int8 peer", lambda name, _: name in STEPS, [*engines.INT8_PEERS], "int8"),
    Comparison("int8 steps, beside the best float32 peer", lambda name, _: name in STEPS, FLOAT32_PEERS, "int8"),
    Comparison("int8, beside the best int8 peer", lambda *_: True, [*engines.INT8_PEERS], "int8"),
    Comparison("int8 sequences, beside our float32", lambda name, _: name in SEQUENCES, ["float32"], "int8"),
    Comparison("int8 batches, beside our float32", lambda name, _: name in BATCHES, ["float32"], "int8"),
    Comparison(
        "float16 beyond L2, beside our float32", lambda _, shape: beyond_l2(shape), ["float32"], "float16"
    ),
    Comparison(
        "float16 elsewhere, beside our float32", lambda _, shape: not beyond_l2(shape), ["float32"], "float16"
    ),
)


def measure(threads: int, options: argparse.Namespace) -> Measured:
    """Return for every shape its times and its bounds by form; the versions; what went wrong."""
    chosen = shapes.select(options.shapes)
    figures, versions, complaints = take_turns(threads, options)
    limits = machine.of_forms(machine.measure(threads=threads))
    results = {
        name: {"seconds": row, "bounds": {form: each.bound(chosen[name]) for form, each in limits.items()}}
        for name, row in figures["seconds"].items()
    }
    return results, versions, complaints


def full_table(results: dict[str, Any]) -> str:
    """Return a table of times and one of ratios and distances from the bounds, for one number of threads."""
    timed = {engine for result in results.values() for engine in result["seconds"]}
    columns = [engine for engine in (*engines.FORMS, *engines.INT8_PEERS) if engine in timed]
    ratios = ["int8 peer / int8", "float32 peer / int8", "float32 / int8", "float32 / float16"]
    times, gained = [], []
    for name, result in results.items():
        row, bounds = result["seconds"], result["bounds"]
        peer = best(row, FLOAT32_PEERS)
        cells = [shapes.words(name), *(microseconds(row.get(engine)) for engine in columns)]
        times.append([*cells, f"{microseconds(row[peer])} {peer}" if peer else ""])
        gains = [gain(row, [*engines.INT8_PEERS], "int8"), gain(row, FLOAT32_PEERS, "int8")]
        gains += [gain(row, ["float32"], form) for form in ("int8", "float16")]
        gains += [row[form] / bounds[form] if form in row else None for form in ("int8", "float16")]
        gained.append([shapes.words(name), *(number(value, ".2f") for value in gains)])
    tables = [
        report.markdown_table(["network", *columns, "best float32 peer"], times),
        report.markdown_table(["network", *ratios, "int8 over bound", "float16 over bound"], gained),
    ]
    return "\n\n".join(tables)


def summary(results: dict[str, Any]) -> str:
    """Return the geometric mean and the smallest of the ratios of every comparison."""
    rows = []
    for what, chosen, others, form in SUMMARY:
        gains = {
            name: value
            for name, result in results.items()
            if chosen(name, shapes.select([name])[name])
            and (value := gain(result["seconds"], others, form)) is not None
        }
        if gains:
            mean = math.exp(sum(map(math.log, gains.values())) / len(gains))
            worst = min(gains, key=gains.__getitem__)
            rows.append([what, f"{len(gains)}", f"{mean:.2f}", f"{gains[worst]:.2f}", shapes.words(worst)])
    return report.markdown_table(["time of the other / ours", "shapes", "geometric mean", "smallest", "at"], rows)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(prog="python -m asv_bench.forms", description=__doc__.splitlines()[0])
    add_options(parser, ["public"], ENGINES)
    report.add_page_option(parser, report.FOLDER / "forms.md")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and report; return the exit status."""
    options = parse(arguments)
    measured, complaints = measure_all(options, measure)
    keep(measured, options.json)
    tables = [
        f"{peer_tables.cores(threads)}, microseconds\n\n{full_table(results)}\n\n{summary(results)}"
        for threads, results in measured["runs"].items()
    ]
    report.publish("forms", "\n\n".join(tables), measured, options.page)
    return complain(complaints)


if __name__ == "__main__":
    sys.exit(main())
