"""Time a batcher beside the steps of a stream that it takes, on one thread: ``python -m asv_bench.serving``.

Tasks of one event loop each wait for step after step of a session of theirs.  What a round of all costs beyond the step
of a stream is the batcher's own: tasks, futures, copies, and the way to the thread that computes and back.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Sequence

import numba_lstm as nl

from . import report, timing
from .shapes import Shape
from .streams import module, normal

NETWORKS = {"128 to 128": Shape(128, 128), "256 to 3 x 256": Shape(256, 256, 3)}
SESSIONS = 1, 8, 64, 256

TURNS = 5
"""Of the stream and the batcher."""

IN_STEP = 3
"""Rounds that do not count: before the first answer nobody is waited for, and the first batches are parts."""


def stream_seconds(shape: Shape, sessions: int) -> float:
    """Time the step of a stream in which so many rows advance."""
    stream, x, rows = module(shape).stream(max(SESSIONS)), normal(sessions, shape.input_size), list(range(sessions))
    return timing.seconds_per_call(lambda: stream.step(x, rows=rows)).median


async def _rounds(shape: Shape, sessions: int, rounds: int) -> float:
    """Return the seconds of a round of steps of so many tasks, whose sessions have been opened before."""
    x = normal(sessions, shape.input_size)

    async def caller(session: nl.serving.Session, n: int, steps: int) -> None:
        for _ in range(steps):
            await session.step(x[n])

    async with nl.serving.Batcher(module(shape), max_sessions=max(SESSIONS)) as batcher:
        opened = [await batcher.open() for _ in range(sessions)]
        await asyncio.gather(*(caller(session, n, IN_STEP) for n, session in enumerate(opened)))
        start = time.perf_counter()
        await asyncio.gather(*(caller(session, n, rounds) for n, session in enumerate(opened)))
        seconds = time.perf_counter() - start
        for session in opened:
            await session.close()
    return seconds / rounds


def seconds(shape: Shape, sessions: int, rounds: int) -> tuple[float, float, float]:
    """Return the medians of a stream's steps, of the batcher's rounds, and of what these take more; they take turns."""
    pairs = [(stream_seconds(shape, sessions), asyncio.run(_rounds(shape, sessions, rounds))) for _ in range(TURNS)]
    stream, batcher = map(statistics.median, zip(*pairs, strict=True))
    return stream, batcher, statistics.median(whole - step for step, whole in pairs)


def rows(rounds: int) -> list[list[str]]:
    """Return the lines of the table."""
    lines = []
    for name, shape in NETWORKS.items():
        for sessions in SESSIONS:
            stream, batcher, own = (taken * 1e6 for taken in seconds(shape, sessions, rounds))
            cells = [f"{stream:,.1f}", f"{batcher:,.1f}", f"{own / sessions:.1f}", f"{sessions / batcher * 1e6:,.0f}"]
            lines.append([name, str(sessions), *cells])
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(prog="python -m asv_bench.serving", description=__doc__)
    parser.add_argument("--rounds", type=int, default=200, help="steps of each session at a time")
    report.add_page_option(parser, report.FOLDER / "streams.md")
    options = parser.parse_args(arguments)
    timing.pin(1)
    nl.set_num_threads(1)
    headings = ["network", "sessions", "stream, µs", "batcher, µs", "its own, µs a session", "steps a second"]
    text = report.markdown_table(headings, rows(options.rounds))
    report.publish("serving", text, report.own_circumstances(), options.page)


if __name__ == "__main__":
    main()
