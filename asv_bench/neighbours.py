"""Time calls beside processes that keep the cores busy, and under a quota: ``python -m asv_bench.neighbours``.

Each engine runs in a process of its own, one after the other.  It and its neighbours have the same two cores, of which
none is bound to one.  The exit status is 1 if an engine fails or a limit is missed: with one busy neighbour at most
1.15 times what one thread of ours takes undisturbed, with two at most 1.2 times what one thread takes in the same
place, and full speed within 0.2 s after a neighbour has left.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import busy, engines, report, shapes, timing
from .disturbed import DEPARTURES, FULL_SPEED, QUOTA

PAGE = report.ROOT / "docs" / "howto" / "threads.md"

THREADS = 2
"""Of the calls, on as many cores."""

ENGINES = {"numba_lstm": [1, THREADS], "torch": [THREADS], "onnxruntime": [THREADS]}
"""What is timed, each with its numbers of threads."""

SHAPES = ["ge2e_b1", "rnnt_b1", "crnn_b16"]

PLACES = {"0": "alone", "1": "one busy process", "2": "two busy processes", QUOTA: "a quota of 1 CPU"}

ONE_BUSY, ALL_BUSY, BACK = 1.15, 1.2, 0.2
"""The limits: two ratios, and seconds."""

QUOTA_CPUS = 1.0

Results = dict[str, dict[str, dict[str, Any]]]
"""By shape and engine, ours by threads as well, what ``disturbed`` has measured."""


class Failed(Exception):
    """A process ended with an error."""


def column(engine: str, threads: int) -> str:
    """Return the name of an engine's figures."""
    return f"{engine}, {threads} thread{'s' if threads > 1 else ''}"


OURS, ONE = column("numba_lstm", THREADS), column("numba_lstm", 1)


def run_engine(python: str, engine: str, options: argparse.Namespace, group: Path | None) -> list[dict[str, Any]]:
    """Return what the process of one engine prints: its objects, one after the other."""
    command = [python, "-m", "asv_bench.disturbed", engine, "--threads", *map(str, ENGINES[engine])]
    command += ["--seconds", str(options.seconds), "--shapes", *options.shapes]
    command += ["--group", str(group)] if group else []
    environment = timing.environment(THREADS)
    run = subprocess.run(command, cwd=report.ROOT, env=environment, capture_output=True, text=True, check=False)
    if run.returncode:
        raise Failed(f"{engine}: {run.stderr.strip()[-400:]}")
    return [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]


def measure(options: argparse.Namespace) -> tuple[Results, dict[str, str], list[str]]:
    """Return the figures, the versions, and what went wrong."""
    results: Results = {name: {} for name in shapes.select(options.shapes)}
    versions: dict[str, str] = {}
    complaints: list[str] = []
    for engine in options.engines:
        print(f"{engine}, {len(results)} shapes", file=sys.stderr)
        python = sys.executable if engine in engines.OURS else options.peers
        with busy.group_with_quota(QUOTA_CPUS) as group:
            try:
                lines = run_engine(python, engine, options, group)
            except Failed as error:
                complaints.append(str(error))
                continue
        for line in lines:
            if "missing" in line:
                print(f"{engine} is left out: {line['missing']} is not installed", file=sys.stderr)
            elif "versions" in line:
                versions |= line["versions"]
            else:
                results[line["shape"]][column(engine, line["threads"])] = line
    return results, versions, complaints


def ratios(row: dict[str, dict[str, Any]], place: str) -> tuple[float, float] | None:
    """Return our time over that of one thread of ours, undisturbed and in the same place; None if not measured."""
    if not row.keys() >= {OURS, ONE} or place not in row[OURS]["seconds"]:
        return None
    ours, one = row[OURS]["seconds"], row[ONE]["seconds"]
    return ours[place] / one["0"], ours[place] / one[place]


def missed(results: Results) -> list[str]:
    """Return a complaint for each limit that is not kept."""
    complaints = []
    for name, row in results.items():
        for place, which, limit in (("1", 0, ONE_BUSY), ("2", 1, ALL_BUSY)):
            pair = ratios(row, place)
            if pair and not pair[which] <= limit:
                of = ("undisturbed", "in the same place")[which]
                complaints.append(f"{name}, {PLACES[place]}: {pair[which]:.2f} times one thread {of}, not {limit}")
        if OURS in row and not row[OURS]["back"] <= BACK:
            complaints.append(f"{name}: full speed is back after {row[OURS]['back']:.2f} s, not {BACK}")
    return complaints


def table(results: Results) -> str:
    """Return milliseconds and ratios, a line for each shape and place."""
    columns = list(dict.fromkeys(kind for row in results.values() for kind in row))
    header = ["milliseconds a call", *columns, "over one thread alone", "over one thread here"]
    rows = []
    for name, row in results.items():
        for place, words in PLACES.items():
            times = [row[kind]["seconds"].get(place) if kind in row else None for kind in columns]
            absent = "no cgroup here" if place == QUOTA else ""
            cells = [absent if seconds is None else f"{seconds * 1e3:.2f}" for seconds in times]
            pair = ratios(row, place)
            rows.append([f"{shapes.words(name)}: {words}", *cells, *(f"{ratio:.2f}" for ratio in pair or ())])
            rows[-1] += [""] * (len(header) - len(rows[-1]))
    return report.markdown_table(header, rows)


def departures(results: Results) -> str:
    """Return how long it takes until full speed is back, a line for each shape."""
    columns = list(dict.fromkeys(kind for row in results.values() for kind in row))
    rows = [
        [shapes.words(name), *(f"{row[kind]['back']:.3f}" if kind in row else "" for kind in columns)]
        for name, row in results.items()
    ]
    return report.markdown_table(["seconds until full speed is back", *columns], rows)


def describe(measured: dict[str, Any]) -> str:
    """Return the tables and what they mean."""
    results = measured["results"]
    about = f"""Each figure is the mean of calls over {measured["seconds"]:g} s. Calls within {FULL_SPEED} times what
    they take alone are at full speed; the slowest of {DEPARTURES} times that one busy process ends."""
    return f"{table(results)}\n\n{departures(results)}\n\n{report.paragraph(about)}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and report; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m asv_bench.neighbours", description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", nargs="+", default=SHAPES, help=f"names, or {', '.join(shapes.GROUPS)}")
    parser.add_argument("--engines", nargs="+", default=list(ENGINES), choices=ENGINES, metavar="NAME")
    parser.add_argument("--seconds", type=float, default=4.0, help="for each figure")
    parser.add_argument("--peers", default=sys.executable, metavar="PYTHON", help="the interpreter that has the peers")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the figures")
    report.add_page_option(parser, PAGE)
    options = parser.parse_args(arguments)
    timing.pin(THREADS)
    results, versions, complaints = measure(options)
    complaints += missed(results)
    measured = {**report.circumstances(versions), "seconds": options.seconds, "results": results}
    if options.json:
        options.json.write_text(json.dumps(measured, indent=1), encoding="utf-8")
    report.publish("neighbours", describe(measured), measured, options.page)
    for complaint in complaints:
        print(f"! {complaint}", file=sys.stderr)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
