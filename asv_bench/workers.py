"""Time scoring by workers beside one thread of one process: ``python -m asv_bench.workers``.

The proteins of the demo, twenty times, are scored by the plain loop on one thread, by workers of one thread each, which
have started before, and by two plain processes at a time, which know nothing of each other and each score all of them.
The last is what the machine gives two processes at best.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import numba_lstm as nl
from numba_lstm import demo
from numba_lstm.demo.scoring import Engine

from . import report


class Round(NamedTuple):
    """Seconds for all proteins; for those of ``apart``, twice."""

    loop: float
    one_worker: float
    two_workers: float
    apart: float


def write_proteins(path: Path, copies: int) -> int:
    """Write a file with the bundled proteins again and again, and return how many residues it has."""
    proteins = [protein for _ in range(copies) for protein in demo.bundled_proteins()]
    lines = (f">{number}\n{protein.sequence}\n" for number, protein in enumerate(proteins))
    path.write_text("".join(lines), encoding="ascii")
    return sum(len(protein.sequence) for protein in proteins)


def seconds(path: Path, engine: Engine | None = None) -> float:
    """Score a file."""
    start = time.perf_counter()
    for _ in demo.score_records(demo.read_records(path), engine):
        pass
    return time.perf_counter() - start


def score_when_told(path: Path, connection: Connection) -> None:
    """Score a file whenever something comes, and say when it is done."""
    nl.set_num_threads(1)
    seconds(path)  # compiled, and the memory is there
    connection.send("ready")
    while connection.recv():
        seconds(path)
        connection.send("done")


def measure(rounds: int, path: Path) -> list[Round]:
    """Time each way in turns, which is more even than one after the other."""
    nl.set_num_threads(1)
    found = []
    with ExitStack() as stack:
        one = stack.enter_context(demo.Workers(1))
        two = stack.enter_context(demo.Workers(2))
        spawn = multiprocessing.get_context("spawn")
        ours = []
        for _ in range(2):
            mine, its = spawn.Pipe()
            process = spawn.Process(target=score_when_told, args=(path, its), daemon=True)
            process.start()
            stack.callback(process.terminate)
            ours.append(mine)
        for each in ours:
            each.recv()
        for engine in (None, one.scores, two.scores):  # everything has been once where it will be
            seconds(path, engine)
        for _ in range(rounds):
            alone, by_one, by_two = seconds(path), seconds(path, one.scores), seconds(path, two.scores)
            start = time.perf_counter()
            for each in ours:
                each.send(True)
            for each in ours:
                each.recv()
            found.append(Round(alone, by_one, by_two, time.perf_counter() - start))
    return found


def table(found: Sequence[Round], residues: int) -> str:
    """Return the medians, and how many times as fast as the loop each is, which is the median of the rounds'."""
    names = {
        "loop": "the plain loop, one thread",
        "one_worker": "one worker",
        "two_workers": "two workers",
        "apart": "two processes apart, each all",
    }
    rows = []
    for field, name in names.items():
        work = 2 if field == "apart" else 1
        taken = statistics.median(getattr(each, field) for each in found)
        ratios = sorted(work * each.loop / getattr(each, field) for each in found)
        spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        rows.append([name, f"{taken:.2f}", f"{work * residues / taken:,.0f}", "" if field == "loop" else spread])
    return report.markdown_table(["who scores", "seconds", "residues a second", "times the loop"], rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(prog="python -m asv_bench.workers", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--copies", type=int, default=20, help="of the bundled proteins")
    report.add_page_option(parser, report.FOLDER / "streams.md")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "proteins.fasta")
        residues = write_proteins(path, options.copies)
        found = measure(options.rounds, path)
    for each in found:
        print("  ".join(f"{field} {value:.2f}" for field, value in each._asdict().items()))
    about = report.own_circumstances("dask", "distributed")
    report.publish("workers", table(found, residues), about, options.page)


if __name__ == "__main__":
    main()
