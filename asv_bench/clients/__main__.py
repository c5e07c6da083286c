"""Time programs of published packages with torch's LSTMs and with ours: ``python -m asv_bench.clients``.

They need an environment of their own, which this makes, with all that they need and nothing else::

    python -m venv clients
    clients/bin/pip install --no-deps -r asv_bench/clients/requirements.txt
    clients/bin/python -m asv_bench.clients --page

Each program has a process of its own, in which both are made from the same seed and run in turns, on one thread; times
are those of the CPU.  The times of LSTMs are taken apart from those of whole programs, which have no clocks in them.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import report, timing
from . import PAGE
from .programs import PROGRAMS

ROUNDS = 5
BUDGET = 1.0
"""Seconds for a program in a round."""

LIMIT = 900
"""Seconds after which a program has failed."""

HEADS = [
    "program", "torch, ms", "accelerated, ms", "torch / accelerated", "its LSTMs: torch, ms", "accelerated, ms",
    "torch / accelerated", "largest difference", "replaced",
]  # fmt: skip


def measured(name: str, rounds: int, budget: float) -> dict[str, Any]:
    """Return the figures of a program from a process of its own; if that fails, the error."""
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "figures.json"
        command = [sys.executable, "-m", "asv_bench.clients.measure", name, "--json", str(kept)]
        command += ["--rounds", str(rounds), "--budget", str(budget)]
        try:
            done = subprocess.run(
                command, cwd=report.ROOT, env=timing.environment(1), capture_output=True, text=True, timeout=LIMIT,
                check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return {"error": f"not done after {LIMIT} s"}
        if done.returncode:
            print(done.stderr, file=sys.stderr)
            return {"error": error_of(done.stderr) or f"exit status {done.returncode}"}
        figures: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        for warning in figures["warnings"]:
            print(warning, file=sys.stderr)
        return figures


def error_of(traceback: str) -> str:
    """Return the first line of the error that a traceback ends with."""
    lines = traceback.splitlines()
    starts = [k for k, line in enumerate(lines) if line.startswith("Traceback ")]
    after = lines[starts[-1] + 1 :] if starts else []
    return next((line for line in after if line and not line.startswith(" ")), "")


def row(name: str, figures: dict[str, Any]) -> list[str]:
    """Return a program's line of the table."""
    entry = PROGRAMS[name]
    version = report.versions(entry.package).get(entry.package, "is not installed")
    about = f"{entry.package} {version} ({entry.licence}): {entry.does}"
    if "error" in figures:
        return [about, *[""] * (len(HEADS) - 2), figures["error"].replace("|", "\\|")]
    cells = []
    for theirs, ours in (figures["whole"], figures["lstm"]):
        cells += [f"{theirs * 1e3:.2f}", f"{ours * 1e3:.2f}", f"{theirs / ours:.2f}"]
    return [about, *cells, f"{figures['difference']:.0e}", figures["replaced"]]


def summary(results: dict[str, dict[str, Any]]) -> str:
    """Return what all programs that ran have together."""
    said = []
    for key, what in (("whole", "Whole programs"), ("lstm", "their LSTMs")):
        ratios = {name: each[key][0] / each[key][1] for name, each in results.items() if key in each}
        if ratios:
            least = min(ratios, key=lambda name: ratios[name])
            mean = np.exp(np.mean(np.log(list(ratios.values()))))
            said.append(f"{what}: geometric mean {mean:.2f}, smallest {ratios[least]:.2f} (`{least}`)")
    text = "; ".join(said) + "." if said else ""
    failed = [f"`{name}`" for name, each in results.items() if "error" in each]
    return " ".join([text, f"Failed: {', '.join(failed)}."]).strip() if failed else text


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; return 1 if a program has failed, or has results without anything in common."""
    parser = argparse.ArgumentParser(
        prog="python -m asv_bench.clients", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("programs", nargs="*", metavar="PROGRAM", help=f"of {', '.join(PROGRAMS)}; by default all")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds for a program in a round")
    report.add_page_option(parser, PAGE)
    options = parser.parse_args(arguments)
    unknown = set(options.programs) - set(PROGRAMS)
    if unknown:
        parser.error(f"no program {', '.join(sorted(unknown))}; there are: {', '.join(PROGRAMS)}")
    results = {}
    for name in options.programs or PROGRAMS:
        print(f"--- {name}", file=sys.stderr, flush=True)
        results[name] = measured(name, options.rounds, options.budget)
    text = report.markdown_table(HEADS, [row(name, figures) for name, figures in results.items()])
    text += f"\n\n{report.paragraph(summary(results))}"
    report.publish("clients", text, report.own_circumstances("torch"), options.page)
    return int(any("error" in figures or not math.isfinite(figures["difference"]) for figures in results.values()))


if __name__ == "__main__":
    sys.exit(main())
