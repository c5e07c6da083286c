"""Engines that take turns: each in a process of its own, bound to as many cores as it has threads, then the next round.

What the commands that compare engines have in common.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from . import engines, report, shapes, timing

Times = dict[str, dict[str, float]]
"""Seconds, or another figure, by shape and engine."""

Measured = tuple[dict[str, Any], dict[str, str], list[str]]
"""What there is to say of every shape, the versions, and what went wrong."""


class Failed(Exception):
    """A process ended with an error."""


def run_engine(python: str, engine: str, threads: int, options: argparse.Namespace, outputs: Path | None) -> Any:
    """Return what the process of one engine prints: its objects, one after the other."""
    command = [python, "-m", f"asv_bench.{options.command}", engine]
    command += ["--threads", str(threads), "--budget", str(options.budget)]
    command += ["--shapes", *shapes.select(options.shapes)]
    command += ["--outputs", str(outputs)] if outputs else []
    environment = timing.environment(threads) | options.variables
    run = subprocess.run(command, cwd=report.ROOT, env=environment, capture_output=True, text=True, check=False)
    if run.returncode:
        raise Failed(f"{engine}: {run.stderr.strip()[-400:]}")
    return [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]


def take_turns(
    threads: int, options: argparse.Namespace, outputs: Path | None = None
) -> tuple[dict[str, Times], dict[str, str], list[str]]:
    """Return every figure of every shape, the versions, and what went wrong.

    A figure is the lowest of the rounds'.  Outputs are those of the first round.
    """
    chosen = shapes.select(options.shapes)
    lowest: dict[str, Times] = {"seconds": {name: {} for name in chosen}}
    versions: dict[str, str] = {}
    complaints: list[str] = []
    left_out: set[str] = set()
    for number in range(options.rounds):
        for engine in options.engines:
            if engine in left_out:
                continue
            print(f"threads {threads}, round {number + 1} of {options.rounds}: {engine}", file=sys.stderr)
            python = sys.executable if engine in engines.OURS else options.peers
            try:
                lines = run_engine(python, engine, threads, options, outputs if number == 0 else None)
            except Failed as error:
                complaints.append(str(error))
                left_out.add(engine)
                continue
            for line in lines:
                if "missing" in line:
                    print(f"{engine} is left out: {line['missing']} is not installed", file=sys.stderr)
                    left_out.add(engine)
                elif "versions" in line:
                    versions |= line["versions"]
                else:
                    shape = line.pop("shape")
                    for figure, value in line.items():
                        row = lowest.setdefault(figure, {name: {} for name in chosen})[shape]
                        row[engine] = min(row.get(engine, math.inf), value)
    return lowest, versions, complaints


def add_options(
    parser: argparse.ArgumentParser, names: Sequence[str], known: Sequence[str], command: str = "engines"
) -> None:
    """Let a command compare engines, by default all that are known over shapes of some names or groups.

    ``command`` is what times one of them, and is called as `engines` is.  The command may set ``variables`` of the
    environment that engines have besides their threads.
    """
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--shapes", nargs="+", default=list(names), help=f"names, or {', '.join(shapes.GROUPS)}")
    parser.add_argument("--engines", nargs="+", default=list(known), choices=known, metavar="NAME")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--budget", type=float, default=timing.BUDGET, help="seconds for a shape, at least")
    parser.add_argument("--peers", default=sys.executable, metavar="PYTHON", help="the interpreter that has the peers")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the figures")
    parser.set_defaults(command=command, variables={})


def measure_all(
    options: argparse.Namespace, measure: Callable[[int, argparse.Namespace], Measured]
) -> tuple[dict[str, Any], list[str]]:
    """Measure with each number of threads; return the figures, with their circumstances, and what went wrong."""
    runs: dict[str, Any] = {}
    versions: dict[str, str] = {}
    complaints: list[str] = []
    for threads in options.threads:
        runs[str(threads)], found, wrong = measure(threads, options)
        versions |= found
        complaints += wrong
    about = report.circumstances(versions)
    return {**about, "rounds": options.rounds, "shapes": options.shapes, "runs": runs}, complaints


def keep(measured: dict[str, Any], path: Path | None) -> None:
    """Write the figures into a file, if one was named."""
    if path:
        path.write_text(json.dumps(measured, indent=1), encoding="utf-8")


def complain(complaints: Sequence[str]) -> int:
    """Print what went wrong; return the exit status."""
    for complaint in complaints:
        print(f"! {complaint}", file=sys.stderr)
    return 1 if complaints else 0
