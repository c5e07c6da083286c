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

from . import engines, machine, pictures, report, shapes
from .shapes import Shape
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
    """Return all engines' times, the best peer's in bold, for one number of threads."""
    present = {engine for result in results.values() for engine in result["seconds"]} - {"first step"}
    used = [engine for engine in engines.ENGINES if engine in present]
    rows = []
    for name, result in results.items():
        row = result["seconds"]
        peer, taken = best_peer(row), ours(row)
        times = {engine: microseconds(row.get(engine)) for engine in used}
        if peer:
            times[peer] = f"**{times[peer]}**"
        over = taken / result["bound"] if taken else None
        figures = [number(ratio(row), ".2f"), number(over, ".2f"), number(result.get("difference"), ".1e")]
        rows.append([shapes.words(name), *times.values(), *figures])
    return report.markdown_table(["network", *used, "ratio", "over bound", "difference"], rows)


def bound_table(runs: dict[str, Any]) -> str:
    """Return how far we are from what the hardware allows, for all numbers of threads."""
    header = ["network"]
    for threads in runs:
        header += [f"{cores(threads)}: GFLOP/s", "time over bound"]
    rows = []
    for name in _names(runs):
        cells = [shapes.words(name)]
        for results in runs.values():
            taken = ours(results[name]["seconds"]) if name in results else None
            rate, over = (_shape(name).flop() / taken / 1e9, taken / results[name]["bound"]) if taken else (None, None)
            cells += [number(rate, ".1f"), number(over, ".2f")]
        rows.append(cells)
    return report.markdown_table(header, rows)


def _names(runs: dict[str, Any]) -> list[str]:
    """Return the shapes of runs, in their order."""
    return list(dict.fromkeys(name for results in runs.values() for name in results))


def _shape(name: str) -> Shape:
    return shapes.select([name])[name]


def summary(results: dict[str, Any]) -> str:
    """Return the geometric mean of the ratios, and the smallest."""
    gains = {name: gain for name, result in results.items() if (gain := ratio(result["seconds"]))}
    if not gains:
        return "There is no peer to compare with."
    mean = math.exp(sum(map(math.log, gains.values())) / len(gains))
    worst = min(gains, key=gains.__getitem__)
    return (
        f"The geometric mean of {len(gains)} ratios is {mean:.2f}, and the smallest is {gains[worst]:.2f} "
        f"({shapes.words(worst)})."
    )


def stream_over_call(results: dict[str, Any]) -> str:
    """Return how a step of a stream compares with a call that is given the same states; nothing without such."""
    shares = {name: share for name, result in results.items() if (share := over_call(result["seconds"], "stream"))}
    if not shares:
        return ""
    slowest = max(shares, key=shares.__getitem__)
    return f"A step of a stream takes at most {shares[slowest]:.2f} of a call's time ({shapes.words(slowest)})."


def first_step(runs: dict[str, Any]) -> str:
    """Return what it gives to start from zeros, in one paragraph for all numbers of threads; nothing if not timed."""
    parts = []
    for threads, results in runs.items():
        rows = {name: result["seconds"] for name, result in results.items()}
        shares = [
            f"{shapes.words(name).removesuffix(', 1 step')} {share:.2f}"
            for name, row in rows.items()
            if (share := over_call(row, "first step"))
        ]
        if shares:
            parts.append(f"{cores(threads).lower()}: {', '.join(shares)}")
    about = "A first step, from zeros, does without the products with the state. Its time over a call's with states:"
    return report.paragraph(f"{about} {'; '.join(parts)}.") if parts else ""


def summaries(results: dict[str, Any]) -> str:
    """Return what stands below a table."""
    return " ".join(filter(None, [summary(results), stream_over_call(results)]))


def _with_call(row: dict[str, float]) -> str:
    """Return our time and, if it is a stream's, that of a call behind it."""
    taken = microseconds(ours(row))
    return f"{taken} ({microseconds(row.get('numba_lstm'))})" if "stream" in row else taken


def beside_table(measured: dict[str, Any]) -> str:
    """Return our times beside the best peer's, with what has to be known to read them."""
    runs: dict[str, dict[str, Any]] = measured["runs"]
    header, rows = ["network"], []
    for threads in runs:
        header += [f"{cores(threads)}: ratio", "numba_lstm", "best peer"]
    for name in _names(runs):
        cells = [shapes.words(name)]
        for results in runs.values():
            row = results[name]["seconds"] if name in results else {}
            peer = best_peer(row)
            cells += [number(ratio(row), ".2f"), _with_call(row), f"{microseconds(row[peer])} {peer}" if peer else ""]
        rows.append([*cells, str(_shape(name))])
    header.append("sizes")
    peers = sorted({engine for results in runs.values() for r in results.values() for engine in r["seconds"]})
    others = ", ".join(engine for engine in peers if engine not in engines.OURS) or "none"
    means = [report.paragraph(f"- {cores(threads)}. {summaries(results)}") for threads, results in runs.items()]
    about = f"""Microseconds, float32. Sizes are inputs to layers x units; L steps, and N rows in a batch. Single steps
    start from states that are not zero: a step of a stream, in brackets a call that is given the states. The lowest of
    the medians of {measured["rounds"]} rounds; engines take turns, each in a process of its own, bound to the cores.
    The best peer is the fastest of these: {others}. The ratio is its time over ours."""
    return "\n\n".join([report.paragraph(about), report.markdown_table(header, rows), "\n".join(means)])


def cores(threads: str) -> str:
    """Return a number of cores as the title of a table."""
    return "One core" if threads == "1" else f"{threads} cores"


TITLE = "Time of the fastest other engine over that of numba-lstm"
ROOFLINE = "Rates beside what the hardware allows"


def draw(measured: dict[str, Any], plot: Path) -> None:
    """Draw how much longer the best peer takes, a bar for every shape and number of threads."""
    runs: dict[str, dict[str, Any]] = measured["runs"]
    names = [name for name in _names(runs) if all(name in results for results in runs.values())]
    height = 0.8 / len(runs)

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        for index, (threads, results) in enumerate(runs.items()):
            gains = [(ratio(results[name]["seconds"]) or 1.0) - 1 for name in names]
            places = np.arange(len(names)) + index * height
            axes.barh(places, gains, height, left=1, label=cores(threads), align="edge")
        axes.axvline(1, color=axes.xaxis.label.get_color(), linewidth=0.8)
        axes.set_yticks(np.arange(len(names)) + 0.4, [shapes.words(name) for name in names])
        axes.set(xscale="log", xlabel="times as long; at 1 both are as fast", ylim=(len(names), -0.2))
        axes.set_xticks([1, 1.5, 2, 3, 5, 10], ["1", "1.5", "2", "3", "5", "10"])
        axes.set_xticks([], minor=True)
        axes.grid(axis="x", alpha=0.3)
        axes.legend(framealpha=0)
        figure.suptitle(TITLE)

    pictures.draw(plot, 7, 8, paint)


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
    labels = [f"{shapes.words(name)}: {chosen[name].intensity():.1f}" for name in ordered]

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        for (kind, rates), marker in zip(columns.items(), ("|", "o", "x"), strict=True):
            size, edge = (16, 2) if kind == "bound" else (7, 1)
            axes.semilogx(rates, range(len(ordered)), marker, label=kind, markersize=size, markeredgewidth=edge)
        axes.set_yticks(range(len(ordered)), labels)
        axes.set_ylabel("operations for each byte of weights that is read")
        axes.set_xticks([1, 10, 100, 1000], ["1", "10", "100", "1000"])
        axes.set_xlim(min(map(min, columns.values())) / 1.5, max(map(max, columns.values())) * 1.5)
        axes.set_xlabel(f"GFLOP/s, {cores(threads).lower()}")
        axes.grid(which="both", axis="x", alpha=0.3)
        axes.legend(framealpha=0)
        axes.invert_yaxis()
        figure.suptitle(ROOFLINE)

    pictures.draw(plot, 7, 8, paint)


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
        draw(measured, options.plot)
    if options.roofline:
        draw_roofline(measured, options.roofline)
    if options.readme:
        write(measured, options.readme, {"speed": beside})
    if options.page:
        shown = [
            pictures.show(title, plot, options.page) if plot else ""
            for title, plot in ((TITLE, options.plot), (ROOFLINE, options.roofline))
        ]
        write(measured, options.page, {"peers": f"{beside}\n\n{shown[0]}", "bound": f"{bound}\n\n{shown[1]}"})
    if options.full:
        write(measured, options.full, {block(measured["shapes"]): full})
    return complain(complaints)


if __name__ == "__main__":
    sys.exit(main())
