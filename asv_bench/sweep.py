"""Time every hidden size and batch: does one fall off a cliff?  ``python -m asv_bench.sweep --plot sweep.png``.

A size should take no longer than the next multiple of 16, nor a batch longer than one row more.  Prints the pairs
where they do most, and draws the time per operation.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numba_lstm

from . import engines, pictures, report, timing
from .shapes import Shape

Point = tuple[int, int]
"""Hidden size, which is the input's too, and batch."""

Pair = tuple[Point, Point]
Ratios = dict[Pair, float]

STEPS = 32

HIDDEN_SIZES = [*range(1, 66), 79, 80, 81, 95, 96, 97, 100, 111, 112, 113, 127, 128, 129, 130, 144, 160, 161, 176]
HIDDEN_SIZES += [191, 192, 193, 200, 208, 224, 239, 240, 241, 250, 255, 256, 257, 272, 288, 289, 300]
BATCHES = [1, 2, 3, 4, 5, 6, 7, 8, 12, 13, 16, 24, 31, 32, 39]
"""Without ``--full``: small ones, and those at the edges of vectors, tiles and caches."""

BUDGET = 0.02
"""Seconds for a point."""

SUSPICIOUS = 1.05
"""Pairs whose ratio is larger are timed again, one right after the other, and again: most are noise."""

REPEATS = 8
"""A neighbour on the same machine makes everything up to a third slower for seconds, and a clock that rises makes it
faster: only what was timed at the same moment can be compared."""

TITLE = "Time per operation, over the hidden size and over the batch"

DRAWN_BATCHES = (1, 2, 4, 6, 8, 16, 32)
DRAWN_SIZES = (8, 16, 20, 40, 64, 100, 128, 256, 300)


def measure(point: Point) -> float:
    """Return the seconds of a point."""
    hidden, batch = point
    shape = Shape(hidden, hidden, steps=STEPS, batch=batch)
    runner = engines.make("numba_lstm", shape, numba_lstm.get_num_threads())
    return timing.seconds_per_call(runner.call, BUDGET, samples=5).fastest


def next_full_size(point: Point) -> Point:
    """Return the point with the next multiple of 16 for its hidden size."""
    return -(-point[0] // 16) * 16, point[1]


def next_batch(point: Point) -> Point:
    """Return the point with one row more."""
    return point[0], point[1] + 1


NEIGHBOURS = {"t(next multiple of 16, B)": next_full_size, "t(H, B + 1)": next_batch}


def compare(pairs: Iterable[Pair], times: dict[Point, float], timed: Callable[[Point], float] = measure) -> Ratios:
    """Return the ratio of each pair: of its times or, if that is suspicious, of what it takes one after the other.

    A pair may become suspicious when its neighbour is timed again for the sake of another one, and turns out faster.
    """
    ratios = {(p, other): times[p] / times[other] for p, other in pairs}
    together: dict[Pair, list[float]] = {}
    while suspicious := [pair for pair, ratio in ratios.items() if pair not in together and ratio > SUSPICIOUS]:
        for _ in range(REPEATS):
            for pair in suspicious:
                again = [timed(point) for point in pair]
                for point, taken in zip(pair, again, strict=True):
                    times[point] = min(taken, times[point])
                together.setdefault(pair, []).append(again[0] / again[1])
        ratios = {
            (p, other): statistics.median(together[p, other]) if (p, other) in together else times[p] / times[other]
            for p, other in ratios
        }
    return ratios


def sweep(sizes: Sequence[int], batches: Sequence[int]) -> tuple[dict[str, Ratios], dict[Point, float]]:
    """Return the ratios of points and either neighbour, and the seconds of all of them."""
    points = [(hidden, batch) for hidden in sizes for batch in batches]
    times = {q: measure(q) for q in dict.fromkeys(q for p in points for q in (p, next_full_size(p), next_batch(p)))}
    pairs = {title: [(p, other(p)) for p in points if other(p) != p] for title, other in NEIGHBOURS.items()}
    return {title: compare(some, times) for title, some in pairs.items()}, times


def largest(ratios: Ratios, count: int) -> list[tuple[float, Point]]:
    """Return the largest ratios, and where they are."""
    return sorted(((ratio, p) for (p, _), ratio in ratios.items()), reverse=True)[:count]


def describe(ratios: dict[str, Ratios]) -> str:
    """Return a table of the largest ratios."""
    rows = []
    for title, pairs in ((title, largest(some, 3)) for title, some in ratios.items()):
        for place, (ratio, (hidden, batch)) in enumerate(pairs):
            rows.append([f"t(H, B) / {title}" if place == 0 else "", f"{ratio:.2f}", str(hidden), str(batch)])
    return report.markdown_table(["largest of", "ratio", "H", "B"], rows)


def more_lines() -> Any:
    """Return how lines are drawn where there are more than colours: in all colours, then in the same ones dashed."""
    import matplotlib

    return matplotlib.cycler(linestyle=["-", "--"]) * matplotlib.rcParams["axes.prop_cycle"]


def draw(times: dict[Point, float], plot: Path) -> None:
    """Draw the time per operation over the hidden size and over the batch."""

    def paint(figure: Any) -> None:
        figure.suptitle(TITLE)
        over_size, over_batch = figure.subplots(2, 1, sharey=True)
        panels = ((over_size, 1, DRAWN_BATCHES, "B", "hidden size H"), (over_batch, 0, DRAWN_SIZES, "H", "batch B"))
        for axes, fixed, drawn, letter, label in panels:
            axes.set_prop_cycle(more_lines())
            for value in drawn:
                line = sorted(point for point in times if point[fixed] == value)
                picoseconds = [times[h, b] / Shape(h, h, steps=STEPS, batch=b).flop() * 1e12 for h, b in line]
                axes.plot([p[1 - fixed] for p in line], picoseconds, linewidth=1, label=f"{letter} = {value}")
            axes.set(yscale="log", xlabel=label, ylabel="ps per operation")
            axes.grid(alpha=0.3, which="both")
            axes.legend(fontsize=8, ncols=2, framealpha=0)

    pictures.draw(plot, 7, 8, paint)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(prog="python -m asv_bench.sweep", description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="H = 1 .. 300 and B = 1 .. 40, for half an hour")
    parser.add_argument("--sizes", type=int, nargs="+", default=HIDDEN_SIZES, metavar="H")
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES, metavar="B")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the time per operation")
    report.add_page_option(parser, report.FOLDER / "limits.md")
    options = parser.parse_args(arguments)
    timing.pin(options.threads)
    numba_lstm.set_num_threads(options.threads)
    sizes, batches = (range(1, 301), range(1, 41)) if options.full else (options.sizes, options.batches)
    ratios, times = sweep(sizes, batches)
    if options.plot:
        draw(times, options.plot)
    about = f"{len(sizes) * len(batches)} points, I = H, L = {STEPS}, threads: {options.threads}."
    picture = pictures.show(TITLE, options.plot, options.page) if options.plot and options.page else ""
    report.publish("sweep", f"{describe(ratios)}\n\n{about}", report.own_circumstances(), options.page, picture)


if __name__ == "__main__":
    main()
