"""Pictures of engines beside each other and beside what the hardware allows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import pictures, shapes
from .peer_tables import best_peer, cores, names_of, ours, ratio, shape_of

SIZE = 5, 9
"""Of a picture, in inches: its letters can be read where a phone makes all of it smaller."""

TITLE = "Time of the fastest other engine over that of numba-lstm"

ROOFLINE = "Rates beside what the hardware allows"


def draw(measured: dict[str, Any], plot: Path) -> None:
    """Draw how much longer the best peer takes, a bar for every shape and number of threads."""
    runs: dict[str, dict[str, Any]] = measured["runs"]
    names = [name for name in names_of(runs) if all(name in results for results in runs.values())]
    height = 0.55 / len(runs)

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        for index, (threads, results) in enumerate(runs.items()):
            gains = [(ratio(results[name]["seconds"]) or 1.0) - 1 for name in names]
            places = np.arange(len(names)) + index * height
            axes.barh(places, gains, height, left=1, label=cores(threads), align="edge")
        axes.axvline(1, color=axes.xaxis.label.get_color(), linewidth=0.8)
        _name_rows(axes, [shapes.words(name) for name in names])
        axes.set(xscale="log", xlabel="times as long; at 1 both are as fast", ylim=(len(names) - 0.3, -0.6))
        axes.set_xticks([1, 1.5, 2, 3, 5, 10], ["1", "1.5", "2", "3", "5", "10"])
        axes.set_xticks([], minor=True)
        axes.grid(axis="x", alpha=0.3)
        axes.legend(framealpha=0, loc="lower right")
        figure.suptitle(TITLE, fontsize="medium")

    pictures.draw(plot, *SIZE, paint)


def draw_roofline(measured: dict[str, Any], plot: Path) -> None:
    """Draw the rates of the first run and the bound, shapes in the order of their operations for a byte of weights."""
    threads, results = next(iter(measured["runs"].items()))
    chosen = {name: shape_of(name) for name, result in results.items() if ratio(result["seconds"])}
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
            size, edge = (12, 2) if kind == "bound" else (7, 1)
            rows = np.arange(len(ordered)) + 0.25
            axes.semilogx(rates, rows, marker, label=kind, markersize=size, markeredgewidth=edge)
        _name_rows(axes, labels)
        axes.set_xticks([1, 10, 100, 1000], ["1", "10", "100", "1000"])
        axes.set_xlim(min(map(min, columns.values())) / 1.5, max(map(max, columns.values())) * 1.5)
        axes.set_xlabel(f"GFLOP/s, {cores(threads).lower()}\nbehind a name: operations for each byte of weights")
        axes.grid(axis="x", alpha=0.3)
        axes.set_ylim(len(ordered) - 0.3, -0.8)
        figure.legend(framealpha=0, loc="outside lower center", ncols=3)
        figure.suptitle(ROOFLINE, fontsize="medium")

    pictures.draw(plot, *SIZE, paint)


def _name_rows(axes: Any, names: Sequence[str]) -> None:
    """Write names above what is drawn at 0, 1, 2, ..: beside it they would leave it half of a phone's width."""
    axes.set_yticks([])
    for row, name in enumerate(names):
        axes.annotate(name, (0, row), (4, 2), xycoords=("axes fraction", "data"), textcoords="offset points")
