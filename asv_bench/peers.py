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
import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import engines, machine, report, shapes
from .shapes import Shape
from .turns import Measured, add_options, complain, keep, measure_all, take_turns

TOLERANCE = 2e-5
"""Of outputs, which are between -1 and 1; float32 sums in other orders are up to 3e-6 apart."""

BLOCKS = {"public": "peers", "few": "few"}
"""Places on the page, for groups of shapes."""


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


def best_peer(row: dict[str, float]) -> str | None:
    """Return the fastest engine that is not ours."""
    peers = {engine: seconds for engine, seconds in row.items() if engine not in engines.OURS}
    return min(peers, key=peers.__getitem__) if peers else None


def ours(row: dict[str, float]) -> float | None:
    """Return our time: of a step of a stream where there is one, of a call elsewhere."""
    return row.get("stream", row.get("numba_lstm"))


def ratio(row: dict[str, float]) -> float | None:
    """Return how many times longer than we the best peer takes."""
    peer, taken = best_peer(row), ours(row)
    return row[peer] / taken if peer and taken else None


def over_call(row: dict[str, float], engine: str) -> float | None:
    """Return the time of a way of ours over that of a call that is given the same states."""
    return row[engine] / row["numba_lstm"] if engine in row and "numba_lstm" in row else None


def microseconds(seconds: float | None) -> str:
    """Return a time for a table."""
    if seconds is None:
        return ""
    return f"{seconds * 1e6:,.1f}" if seconds < 1e-3 else f"{seconds * 1e6:,.0f}"


def number(value: float | None, kind: str) -> str:
    """Return a figure for a table, nothing for none."""
    return "" if value is None else format(value, kind)


def full_table(results: dict[str, Any]) -> str:
    """Return all engines' times, for one number of threads."""
    present = {engine for result in results.values() for engine in result["seconds"]} - {"first step"}
    used = [engine for engine in engines.ENGINES if engine in present]
    beside = ["stream / call"] * ("stream" in used)
    header = ["shape", *used, *beside, "best peer", "ratio", "GFLOP/s", "over bound", "difference"]
    rows = []
    for name, result in results.items():
        row, taken = result["seconds"], ours(result["seconds"])
        rate, over = (_shape(name).flop() / taken / 1e9, taken / result["bound"]) if taken else (None, None)
        cells = [name, *(microseconds(row.get(engine)) for engine in used)]
        cells += [number(over_call(row, "stream"), ".2f") for _ in beside]
        cells += [best_peer(row) or "", number(ratio(row), ".2f"), number(rate, ".1f"), number(over, ".2f")]
        rows.append([*cells, number(result.get("difference"), ".1e")])
    return report.markdown_table(header, rows)


def _shape(name: str) -> Shape:
    return shapes.select([name])[name]


def summary(results: dict[str, Any]) -> str:
    """Return the geometric mean of the ratios, and the smallest."""
    gains = {name: gain for name, result in results.items() if (gain := ratio(result["seconds"]))}
    if not gains:
        return "no peer to compare with"
    mean = math.exp(sum(map(math.log, gains.values())) / len(gains))
    worst = min(gains, key=gains.__getitem__)
    return f"geometric mean {mean:.2f} over {len(gains)} shapes, smallest {gains[worst]:.2f} at {worst}"


def stream_over_call(results: dict[str, Any]) -> str:
    """Return how a step of a stream compares with a call that is given the same states; nothing without such."""
    shares = {name: share for name, result in results.items() if (share := over_call(result["seconds"], "stream"))}
    slowest = max(shares, key=shares.__getitem__, default="")
    return f"stream over call {shares[slowest]:.2f} at most, at {slowest}" if shares else ""


def first_step(runs: dict[str, Any]) -> str:
    """Return what it gives to start from zeros, in one paragraph for all numbers of threads; nothing if not timed."""
    parts = []
    for threads, results in runs.items():
        rows = {name: result["seconds"] for name, result in results.items()}
        shares = [f"{name} {share:.2f}" for name, row in rows.items() if (share := over_call(row, "first step"))]
        if shares:
            parts.append(f"{cores(threads).lower()}: {', '.join(shares)}")
    about = "A first step, from zeros, does without the products with the state. Its time over a call's with states:"
    return report.paragraph(f"{about} {'; '.join(parts)}.") if parts else ""


def summaries(results: dict[str, Any]) -> str:
    """Return what stands below a table."""
    return "; ".join(filter(None, [summary(results), stream_over_call(results)]))


def _with_call(row: dict[str, float]) -> str:
    """Return our time and, if it is a stream's, that of a call behind it."""
    taken = microseconds(ours(row))
    return f"{taken} ({microseconds(row.get('numba_lstm'))})" if "stream" in row else taken


def readme_table(measured: dict[str, Any]) -> str:
    """Return the table of the README."""
    runs: dict[str, dict[str, Any]] = measured["runs"]
    names = list(dict.fromkeys(name for results in runs.values() for name in results))
    header = ["input to hidden; steps, batch"]
    for threads in runs:
        header += [f"{cores(threads)}: numba_lstm", "best peer", "ratio"]
    rows = []
    for name in names:
        cells = [f"{_shape(name)}"]
        for results in runs.values():
            row = results[name]["seconds"] if name in results else {}
            peer, gain = best_peer(row), ratio(row)
            best = f"{microseconds(row[peer])} {peer}" if peer else ""
            cells += [_with_call(row), best, f"{gain:.2f}" if gain else ""]
        rows.append(cells)
    peers = sorted({engine for results in runs.values() for r in results.values() for engine in r["seconds"]})
    others = ", ".join(engine for engine in peers if engine not in engines.OURS) or "none"
    means = "\n".join(f"- {cores(threads)}: {summaries(results)}." for threads, results in runs.items())
    about = f"""Microseconds, float32. Single steps start from states that are not zero: a step of a stream, in brackets
    a call that is given the states. The lowest of the medians of {measured["rounds"]} rounds; engines take turns, each
    in a process of its own, bound to the cores. The best peer is the fastest of these: {others}. The ratio is its time
    over ours."""
    parts = [report.paragraph(about), report.markdown_table(header, rows), means, first_step(runs)]
    return "\n\n".join(filter(None, parts))


def cores(threads: str) -> str:
    """Return a number of cores as the title of a table."""
    return "One core" if threads == "1" else f"{threads} cores"


def draw(measured: dict[str, Any], plot: Path) -> None:
    """Draw how much longer the best peer takes, a bar for every shape and number of threads."""
    runs: dict[str, dict[str, Any]] = measured["runs"]
    names = [name for name in next(iter(runs.values())) if all(name in results for results in runs.values())]
    figure = report.new_figure(9, 4.5)
    axes = figure.subplots()
    width = 0.8 / len(runs)
    for index, (threads, results) in enumerate(runs.items()):
        gains = [ratio(results[name]["seconds"]) or 0.0 for name in names]
        axes.bar(np.arange(len(names)) + index * width, gains, width, label=cores(threads), align="edge")
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_xticks(np.arange(len(names)) + 0.4, names, rotation=60, ha="right")
    axes.set_ylabel("time of the best peer / ours")
    axes.legend()
    report.save_plot(figure, plot)


def draw_roofline(measured: dict[str, Any], plot: Path) -> None:
    """Draw the rates of the first run and the bound, shapes in the order of their operations for a byte of weights."""
    threads, results = next(iter(measured["runs"].items()))
    chosen = {name: _shape(name) for name, result in results.items() if ratio(result["seconds"])}
    ordered = sorted(chosen, key=lambda name: chosen[name].intensity())
    columns: dict[str, list[float]] = {"bound": [], "numba_lstm": [], "best peer": []}
    for name in ordered:
        row = results[name]["seconds"]
        seconds = results[name]["bound"], ours(row) or 0.0, row[best_peer(row) or ""]
        for column, taken in zip(columns.values(), seconds, strict=True):
            column.append(chosen[name].flop() / taken / 1e9)
    figure = report.new_figure(9, 5)
    axes = figure.subplots()
    for (kind, rates), style in zip(columns.items(), ("k_", "o", "x"), strict=True):
        axes.semilogy(range(len(ordered)), rates, style, label=kind, markersize=12 if kind == "bound" else 7)
    labels = [f"{name}  {chosen[name].intensity():.1f}" for name in ordered]
    axes.set_xticks(range(len(ordered)), labels, rotation=60, ha="right")
    axes.set_xlabel("operations for each byte of weights that is read")
    axes.set_ylabel(f"GFLOP/s, {cores(threads).lower()}")
    axes.grid(which="both", axis="y", linewidth=0.3)
    axes.legend()
    report.save_plot(figure, plot)


def block(names: Sequence[str]) -> str:
    """Return the place of the page for a table of these shapes.

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
    report.add_page_option(parser)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, or read, and report; return the exit status."""
    options = parse(arguments)
    if options.page and not options.read:
        block(options.shapes)  # before hours of measuring
    measured, complaints = (read(options.read), []) if options.read else measure_all(options, measure)
    tables = [
        f"{cores(threads)}, microseconds\n\n{full_table(results)}\n\n{summaries(results)}"
        for threads, results in measured["runs"].items()
    ]
    text = "\n\n".join(filter(None, [*tables, first_step(measured["runs"])]))
    keep(measured, options.json)
    if options.plot:
        draw(measured, options.plot)
    if options.roofline:
        draw_roofline(measured, options.roofline)
    if options.readme:
        report.write_measured(options.readme, measured)
        report.write_block(options.readme, "speed", readme_table(measured))
    picture = ("Time of the best peer over ours", options.plot) if options.plot else None
    report.publish(block(measured["shapes"]) if options.page else "", text, measured, options.page, picture)
    return complain(complaints)


if __name__ == "__main__":
    sys.exit(main())
