"""What a process pays before its first result, and how much memory it has then: ``python -m asv_bench.startup``."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from . import report, timing

SERVICE = Path(__file__).with_name("service.py")
REPEATS = 3

SERVICES = ("numba_lstm", "numba_lstm int8")
"""Of ours."""


class Start(NamedTuple):
    """Of a fresh process, its interpreter's own start left out."""

    import_seconds: float
    first_seconds: float
    """Of the first step, kernels compiled or loaded."""
    resident: float
    """Bytes after it."""


def start(service: str, python: str, cache: str) -> Start:
    """Run a service once, with this folder of compiled kernels."""
    # Not what lies beside the service's file may be imported, but what this process would import: asv leaves no trace
    # of PYTHONPATH in the environment.
    environment = {**os.environ, "NUMBA_CACHE_DIR": cache, "PYTHONSAFEPATH": "1"}
    found = importlib.util.find_spec(service.split()[0]) if python == sys.executable else None
    if found and found.origin:
        environment["PYTHONPATH"] = str(Path(found.origin).parents[1])
    command = [python, str(SERVICE), service]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if run.returncode:
        raise SystemExit(f"{service} does not run: {run.stderr.strip()[-400:]}")
    figures = json.loads(run.stdout.splitlines()[-1])
    return Start(figures["import"], figures["first"], figures["resident"])


def fastest(starts: Iterable[Start]) -> Start:
    """Return the lowest figures."""
    return Start(*map(min, zip(*starts, strict=True)))


def starts(peers: str | None) -> dict[str, Start]:
    """Return the lowest figures of several starts by lines of the table; what is compared takes turns."""
    found: dict[str, list[Start]] = {}
    for _ in range(REPEATS):
        with tempfile.TemporaryDirectory() as folder:
            for service in SERVICES:
                for kernels in ("nothing compiled", "kernels from the cache"):
                    figures = start(service, sys.executable, f"{folder}/{service}")
                    found.setdefault(f"{service}, {kernels}", []).append(figures)
            if peers:
                found.setdefault("torch", []).append(start("torch", peers, folder))
    return {line: fastest(some) for line, some in found.items()}


def rows(peers: str | None) -> list[list[str]]:
    """Return the lines of the table."""
    lines = []
    for name, figures in starts(peers).items():
        whole = figures.import_seconds + figures.first_seconds
        seconds = [f"{value:.2f}" for value in (figures.import_seconds, figures.first_seconds, whole)]
        lines.append([name, *seconds, f"{figures.resident / 2**20:.0f}"])
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(prog="python -m asv_bench.startup", description=__doc__)
    parser.add_argument("--peers", metavar="PYTHON", help="an interpreter that has torch")
    report.add_page_option(parser, report.FOLDER / "streams.md")
    options = parser.parse_args(arguments)
    timing.pin(1)
    header = ["a step of 128 units in a fresh process", "import, s", "first call, s", "both, s", "resident, MiB"]
    text, about = report.markdown_table(header, rows(options.peers)), report.own_circumstances()
    if options.peers:
        about["versions"] |= report.versions_of(options.peers, "torch")
    report.publish("startup", text, about, options.page)


if __name__ == "__main__":
    main()
