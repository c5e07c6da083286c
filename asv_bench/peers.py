"""Time numba_lstm beside torch, ONNX Runtime and OpenVINO: ``python -m asv_bench.peers --threads 1 2 --rounds 3``.

Every engine runs in a process of its own, bound to as many cores as it has threads, one after the other; then the next
round.  A figure is the lowest of the rounds' medians.  Outputs are compared in full.  The exit status is 1 if an engine
fails or an output differs by more than 2e-5.

A single step has states that are not zero, for every engine; ours is then a step of a stream, which is what users run,
and a call that is given the states stands beside it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import engines, machine, peer_pictures, pictures, report, shapes
from .peer_tables import beside_table, best_peer, bound_table, cores, first_step, full_table, summaries
from .turns import Measured, add_options, complain, keep, measure_all, take_turns

TOLERANCE = 2e-5
"""Of outputs, which are between -1 and 1; float32 sums in other orders are up to 3e-6 apart."""

BLOCKS = {"public": "engines", "few": "few"}
"""Places on the page of all engines, for groups of shapes."""

ALL_ENGINES = report.FOLDER / "engines.md"


def largest_difference(outputs: Path, engine: str, other: str, name: str) -> float:
    """Return how far the outputs of two engines are apart."""
    ours, theirs = (np.load(outputs / f"{e}.{name}.npy").ravel() for e in (engine, other))
    return float(np.abs(ours - theirs).max())


def measure(threads: int, options: argparse.Namespace) -> Measured:
    """Return for every shape its times, its bound and its difference; the versions; what went wrong."""
    chosen = shapes.select(options.shapes)
    with tempfile.TemporaryDirectory() as folder:
        outputs = Path(folder)
        figures, versions, complaints = take_turns(threads, options, outputs)
        limits = machine.measure(threads=threads)
        results: dict[str, Any] = {}
        for name, row in figures["seconds"].items():
            results[name] = {"seconds": row, "bound": limits.bound(chosen[name])}
            peer = best_peer(row)
            if not peer:
                continue
            for way in [engine for engine in engines.SAME if engine in row]:
                difference = largest_difference(outputs, way, peer, name)
                results[name]["difference"] = max(difference, results[name].get("difference", 0.0))
                if not difference <= TOLERANCE:
                    complaints.append(f"{way}, {name}: differs from {peer} by {difference:.1e}")
    return results, versions, complaints


def block(names: Sequence[str]) -> str:
    """Return the place on the page of all engines for a table of these shapes.

    Raises
    ------
    SystemExit
        If they are not those of one group that has a place.
    """
    if len(names) != 1 or names[0] not in BLOCKS:
        raise SystemExit(f"the page has places for {' and for '.join(BLOCKS)}, not for {', '.join(names)}")
    return BLOCKS[names[0]]


def read(paths: Sequence[Path]) -> dict[str, Any]:
    """Return what earlier runs have measured, as one; of equal numbers of threads, the last."""
    first, *others = (json.loads(path.read_text(encoding="utf-8")) for path in paths)
    for other in others:
        if other["shapes"] != first["shapes"]:
            raise SystemExit("these runs are of different shapes")
        first["runs"] |= other["runs"]
        first["rounds"] = min(first["rounds"], other["rounds"])
        first = report.together([first, other])
    return dict(first)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(prog="python -m asv_bench.peers", description=__doc__.splitlines()[0])
    add_options(parser, ["public"], [*engines.ENGINES])
    parser.add_argument("--read", nargs="+", type=Path, metavar="JSON", help="measure nothing, read earlier runs")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the ratios")
    parser.add_argument("--roofline", type=Path, metavar="FILE", help="draw rates and bounds")
    readme = report.ROOT / "README.md"
    parser.add_argument("--readme", nargs="?", type=Path, const=readme, metavar="FILE", help="write the README's table")
    parser.add_argument("--full", nargs="?", type=Path, const=ALL_ENGINES, metavar="FILE", help="write all times")
    report.add_page_option(parser)
    return parser.parse_args(arguments)


def write(measured: dict[str, Any], page: Path, tables: dict[str, str]) -> None:
    """Write tables into the blocks of a page."""
    report.write_measured(page, measured)
    for name, text in tables.items():
        report.write_block(page, name, text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, or read, and report; return the exit status."""
    options = parse(arguments)
    if options.full and not options.read:
        block(options.shapes)  # before hours of measuring
    measured, complaints = (read(options.read), []) if options.read else measure_all(options, measure)
    runs = measured["runs"]
    tables = [
        f"{cores(threads)}, microseconds\n\n{full_table(results)}\n\n{summaries(results)}"
        for threads, results in runs.items()
    ]
    full = "\n\n".join(filter(None, [*tables, first_step(runs)]))
    beside, bound = beside_table(measured), bound_table(runs)
    print(f"{full}\n\n{bound}\n\n{report.caption(measured)}")
    keep(measured, options.json)
    if options.plot:
        peer_pictures.draw(measured, options.plot)
    if options.roofline:
        peer_pictures.draw_roofline(measured, options.roofline)
    if options.readme:
        write(measured, options.readme, {"speed": beside})
    if options.page:
        shown = [
            pictures.show(title, plot, options.page) if plot else ""
            for title, plot in (
                (peer_pictures.TITLE, options.plot),
                (peer_pictures.ROOFLINE, options.roofline),
            )
        ]
        write(measured, options.page, {"peers": f"{beside}\n\n{shown[0]}", "bound": f"{bound}\n\n{shown[1]}"})
    if options.full:
        write(measured, options.full, {block(measured["shapes"]): full})
    return complain(complaints)


if __name__ == "__main__":
    sys.exit(main())
