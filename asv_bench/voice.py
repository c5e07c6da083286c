"""How many callers the voice server hears, beside the same server with torch and ONNX Runtime.

    python -m asv_bench.voice

The load test of the example is run, by an interpreter that has torch, onnx, onnxruntime and the extra
``serving-example``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from . import report

LOAD_TEST = report.ROOT / "docs" / "examples" / "voice_server" / "load.py"
OURS, PEERS = "ours", ("torch", "onnxruntime")


class Found(NamedTuple):
    """The most callers that a server heard in time, and in what time."""

    engine: str
    cores: str
    callers: int
    median: str
    percentile: str


def parsed(text: str) -> Iterator[Found]:
    """Read the table at the end of what the load test prints."""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and cells[0] in (OURS, *PEERS):
            engine, cores, callers, median, percentile = cells
            yield Found(engine, cores, int(callers), median, percentile)


def table(found: Sequence[Found]) -> str:
    """Return the lines of the page's table: with how many times as many callers as each peer ours has."""
    ours = {each.cores: each.callers for each in found if each.engine == OURS}
    rows = []
    for each in sorted(found, key=lambda each: (each.cores, each.engine != OURS)):
        ratio = "" if each.engine == OURS else f"{ours[each.cores] / each.callers:.2f}"
        name = "numba_lstm" if each.engine == OURS else each.engine
        rows.append([each.cores, name, f"{each.callers:,}", each.median, each.percentile, ratio])
    return report.markdown_table(["cores", "engine", "callers", "median, ms", "99 % in, ms", "ours over it"], rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(prog="python -m asv_bench.voice", description=__doc__)
    report.add_page_option(parser, report.FOLDER / "streams.md")
    options = parser.parse_args(arguments)
    command = [sys.executable, str(LOAD_TEST), "--engine", OURS, *PEERS, "--cores", "1", "2"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    print(done.stdout)
    report.publish("voice", table(list(parsed(done.stdout))), report.own_circumstances(*PEERS), options.page)


if __name__ == "__main__":
    main()
