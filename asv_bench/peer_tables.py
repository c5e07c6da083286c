"""Tables of engines beside each other, of what ``peers`` and others have measured."""

from __future__ import annotations

import math
from typing import Any

from . import engines, report, shapes
from .shapes import Shape


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
    for name in names_of(runs):
        cells = [shapes.words(name)]
        for results in runs.values():
            taken = ours(results[name]["seconds"]) if name in results else None
            rate = shape_of(name).flop() / taken / 1e9 if taken else None
            over = taken / results[name]["bound"] if taken else None
            cells += [number(rate, ".1f"), number(over, ".2f")]
        rows.append(cells)
    return report.markdown_table(header, rows)


def names_of(runs: dict[str, Any]) -> list[str]:
    """Return the names of shapes of runs, in their order."""
    return list(dict.fromkeys(name for results in runs.values() for name in results))


def shape_of(name: str) -> Shape:
    """Return the shape of a name."""
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
    most = f"{shares[slowest]:.2f} of the time of a call that is given the states"
    return f"A step of a stream takes at most {most} ({shapes.words(slowest)})."


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
    for name in names_of(runs):
        cells = [shapes.words(name)]
        for results in runs.values():
            row = results[name]["seconds"] if name in results else {}
            peer = best_peer(row)
            cells += [number(ratio(row), ".2f"), _with_call(row), f"{microseconds(row[peer])} {peer}" if peer else ""]
        rows.append([*cells, str(shape_of(name))])
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
