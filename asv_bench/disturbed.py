"""Time one engine while others want the same cores.

Used by ``neighbours``, which starts it with the interpreter that has the engine.  Prints one JSON object a line.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen
from typing import Any

from . import busy, engines, report, shapes

BUSY = (0, 1, 2)
"""Processes that spin beside the calls."""

QUOTA = "quota"
"""Name of the place in the control group; the others are named by the number of processes."""

WARM_UP = 3
"""Calls that do not count."""

DEPARTURES = 3
"""Times that a neighbour leaves."""

BEFORE, PATIENCE = 0.5, 1.0
"""Seconds that it stays, and for which full speed is waited for afterwards."""

FULL_SPEED = 1.1
"""Times of an undisturbed call up to which calls are at full speed."""

WINDOW = 3
"""Calls whose median says that full speed is back: one of them alone may have been lucky."""

Call = Callable[[], Any]


def seconds_of_calls(call: Call, seconds: float) -> list[float]:
    """Return how long calls take, one after the other, for so many seconds and one call at least."""
    taken, start = [], time.perf_counter()
    while not taken or time.perf_counter() - start < seconds:
        before = time.perf_counter()
        call()
        taken.append(time.perf_counter() - before)
    return taken


def seconds_until_back(call: Call, neighbour: Popen[str], full_speed: float) -> float:
    """Return the seconds from the end of a busy process until calls are at full speed; inf if that does not come."""
    seconds_of_calls(call, BEFORE)
    neighbour.kill()
    neighbour.wait()
    left = time.perf_counter()
    starts, taken = [], []
    while time.perf_counter() - left < PATIENCE:
        starts.append(time.perf_counter())
        call()
        taken.append(time.perf_counter() - starts[-1])
        if len(taken) >= WINDOW and statistics.median(taken[-WINDOW:]) <= full_speed:
            last = zip(starts[-WINDOW:], taken[-WINDOW:], strict=True)
            return next(start for start, seconds in last if seconds <= full_speed) - left
    return float("inf")


def measure(call: Call, seconds: float) -> dict[str, Any]:
    """Return the mean time of a call beside each number of busy processes, and when full speed is back."""
    for _ in range(WARM_UP):
        call()
    means = {}
    for count in BUSY:
        with busy.spinning(count):
            means[str(count)] = statistics.fmean(seconds_of_calls(call, seconds))
    back = []
    for _ in range(DEPARTURES):
        with busy.spinning(1) as (neighbour,):
            back.append(seconds_until_back(call, neighbour, FULL_SPEED * means["0"]))
    return {"seconds": means, "back": max(back)}


def main() -> None:
    """Time an engine in every place."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("engine", choices=engines.ENGINES)
    parser.add_argument("--threads", type=int, nargs="+", required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--shapes", nargs="+", required=True)
    parser.add_argument("--group", type=Path, help="a control group that has a quota")
    options = parser.parse_args()
    cases = shapes.select(options.shapes)
    results: dict[tuple[str, int], dict[str, Any]] = {}
    try:
        for name, shape in cases.items():
            for threads in options.threads:  # one right after the other, since their ratio is what counts
                call = engines.make(options.engine, shape, threads).call
                results[name, threads] = measure(call, options.seconds)
        if options.group:
            busy.join(options.group)  # for good: so this comes last
            for (name, threads), result in results.items():
                call = engines.make(options.engine, cases[name], threads).call
                call()
                result["seconds"][QUOTA] = statistics.fmean(seconds_of_calls(call, options.seconds))
    except ModuleNotFoundError as error:
        print(json.dumps({"missing": error.name}))
        return
    for (name, threads), result in results.items():
        print(json.dumps({"shape": name, "threads": threads, **result}))
    print(json.dumps({"versions": report.versions(*engines.packages(options.engine))}))


if __name__ == "__main__":
    main()
