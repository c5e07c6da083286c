"""Measure what a process in trouble may lose: ``python -m asv_bench.reliability``.  Needs two cores."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import numba_lstm

from . import engines, report, shapes, special, timing

PAGE = report.ROOT / "docs" / "reliability.md"

THREADS = 2
"""That a call may use; the process has as many cores."""

CALLERS = 8
"""Python threads that call at a time."""

THROUGHPUT, ONE_CORE, CTRL_C, DENORMALS = 0.85, 1.3, 0.3, 1.1
"""What issue 5 asks for: a ratio at least, two at most, and seconds at most."""

SHAPES = ["mingfei_15", "ge2e_b1", "rnnt_b1", "torch81634", "crnn_b16", "big_b64"]
"""Calls of half a millisecond and more.  Shorter ones wait for Python's own lock, whatever they do."""

ROUNDS = 6
"""Calls that each Python thread completes, about, if there is time for so many."""

MOMENTS = (0.2, 0.33, 0.51)
"""Seconds after which Ctrl-C comes."""

Call = Callable[[], Any]


class Figure(NamedTuple):
    """A line of the table."""

    what: str
    measured: str
    required: str
    held: bool


def caller(name: str) -> Call:
    """Return a call of a shape."""
    return engines.numba_lstm_call(shapes.case(shapes.select([name])[name]))


def calls_per_second(call: Call, callers: int, threads: int, seconds: float) -> float:
    """Return how many calls so many Python threads complete, each call with so many threads."""
    numba_lstm.set_num_threads(threads)
    call()
    ends: list[float] = []

    def work() -> None:
        while time.perf_counter() < stop:
            call()
            ends.append(time.perf_counter())

    workers = [threading.Thread(target=work) for _ in range(callers)]
    start = time.perf_counter()
    stop = start + seconds
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    # Calls that end while some threads have already stopped have more of the machine than their share.
    return sum(end <= stop for end in ends) / seconds


def throughput(names: Sequence[str], seconds: float) -> list[Figure]:
    """Compare many callers with the best that any number of callers and threads reaches."""
    figures = []
    for name in names:
        call, best, many = caller(name), 0.0, 0.0
        numba_lstm.set_num_threads(1)
        span = max(seconds, ROUNDS * CALLERS / THREADS * timing.seconds_per_call(call, seconds / 10, 1).median)
        for _ in range(2):
            for callers, threads in ((1, THREADS), (THREADS, 1), (THREADS, THREADS), (CALLERS, 1)):
                best = max(best, calls_per_second(call, callers, threads, span))
            many = max(many, calls_per_second(call, CALLERS, THREADS, span))
        ratio = many / max(best, many)
        what = f"{CALLERS} Python threads on {THREADS} cores: throughput over the best; {shapes.words(name)}"
        figures.append(Figure(what, f"{ratio:.2f}", f">= {THROUGHPUT}", ratio >= THROUGHPUT))
    return figures


def one_core_ratios(names: Sequence[str], budget: float) -> dict[str, float]:
    """Return the time with two threads over that with one; of a process with one core."""
    ratios = {}
    for name in names:
        call, seconds = caller(name), {}
        for threads in (1, THREADS):
            numba_lstm.set_num_threads(threads)
            seconds[threads] = timing.seconds_per_call(call, budget).median
        ratios[name] = seconds[THREADS] / seconds[1]
    return ratios


def one_core(names: Sequence[str], budget: float) -> list[Figure]:
    """Compare threads on one core with one thread: the core is all there is from the start, or is left after a call."""
    figures = []
    for when in ("from the start", "after a call"):
        cores = os.sched_getaffinity(0)
        code = f"from asv_bench import reliability; reliability.print_one_core({list(names)!r}, {budget!r})"
        if when == "from the start":
            timing.pin(1)
        try:
            command = [sys.executable, "-c", code, when]
            done = subprocess.run(
                command, cwd=report.ROOT, env=timing.environment(THREADS), check=True, capture_output=True, text=True
            )
        finally:
            os.sched_setaffinity(0, cores)
        for name, ratio in json.loads(done.stdout).items():
            what = f"one core {when}, {THREADS} threads set: time over one thread's; {shapes.words(name)}"
            figures.append(Figure(what, f"{ratio:.2f}", f"<= {ONE_CORE}", ratio <= ONE_CORE))
    return figures


def print_one_core(names: Sequence[str], budget: float) -> None:
    """Measure in this process, whose core is taken away now if it has more than one."""
    if len(os.sched_getaffinity(0)) > 1:
        numba_lstm.set_num_threads(THREADS)
        for name in names:
            caller(name)()
        for task in Path("/proc/self/task").iterdir():  # Numba's threads too
            os.sched_setaffinity(int(task.name), timing.pin(1))
    print(json.dumps(one_core_ratios(names, budget)))


def long_calls() -> dict[str, tuple[int, Call]]:
    """Return calls of ten seconds and more, each with the threads that it has."""
    one = np.random.default_rng(0).standard_normal((1, 16, 256)).astype(np.float32)
    # Only the shape is in memory.
    x, single = np.broadcast_to(one, (30_000, 16, 256)), np.broadcast_to(one[:, :1], (300_000, 1, 256))
    lstm = numba_lstm.LSTM(256, 256, 2, seed=0).eval()
    large = numba_lstm.LSTM(256, 1024, 2, seed=0).eval()
    both = numba_lstm.LSTM(256, 256, 2, bidirectional=True, seed=0).eval()
    stream, window = lstm.stream(16), lstm.sliding_window(64, 64)

    def push() -> None:
        pushed = np.zeros((64, 256), np.float32)
        while True:
            window.push(pushed)
            window.advance()

    return {
        "a batch, one thread": (1, lambda: lstm(x)),
        "a batch, two threads": (2, lambda: lstm(x)),
        "one row, two threads": (2, lambda: large(single)),
        "two directions": (1, lambda: both(x)),
        "lengths": (1, lambda: lstm(x, lengths=[30_000 - row for row in range(16)])),
        "a stream's chunk": (1, lambda: stream.step(x)),
        "a sliding window": (1, push),
    }


def latency(call: Call, moment: float) -> float:
    """Return the seconds from Ctrl-C to the end of a call."""
    sent: list[float] = []

    def interrupt() -> None:
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(moment, interrupt)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        timer.start()
        call()
    except KeyboardInterrupt:
        return time.perf_counter() - sent[0]
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before)
    raise SystemExit(f"a call ended within {moment} s: it should be longer")


def ctrl_c() -> list[Figure]:
    """Interrupt calls."""
    figures = []
    for name, (threads, call) in long_calls().items():
        numba_lstm.set_num_threads(threads)
        slowest = max(latency(call, moment) for moment in MOMENTS)
        figures.append(Figure(f"Ctrl-C, seconds: {name}", f"{slowest:.3f}", f"<= {CTRL_C}", slowest <= CTRL_C))
    return figures


def denormals(budget: float) -> list[Figure]:
    """Compare calls whose numbers are denormal with calls whose numbers are not."""
    figures = []
    for threads, words in ((1, "one thread"), (THREADS, f"{THREADS} threads")):
        numba_lstm.set_num_threads(threads)
        for name, _, *ratios in special.denormal_rows(budget):
            largest = max(map(float, ratios))
            what = f"denormal numbers: time over that of others, {words}, {name}"
            figures.append(Figure(what, f"{largest:.2f}", f"<= {DENORMALS}", largest <= DENORMALS))
    return figures


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and report; the exit status is 1 if something is not as required."""
    parser = argparse.ArgumentParser(prog="python -m asv_bench.reliability", description=__doc__)
    parser.add_argument("--shapes", nargs="+", default=SHAPES, help="for throughput and for one core")
    parser.add_argument("--seconds", type=float, default=1.0, help="for a figure of throughput")
    parser.add_argument("--budget", type=float, default=timing.BUDGET, help="seconds for any other")
    report.add_page_option(parser, PAGE)
    options = parser.parse_args(arguments)
    timing.pin(THREADS)
    figures = throughput(options.shapes, options.seconds)
    figures += one_core(options.shapes, options.budget)
    figures += ctrl_c() + denormals(options.budget)
    rows = [[f.what, f.measured, f.required, "held" if f.held else "missed"] for f in figures]
    text = report.markdown_table(["what", "measured", "required", "verdict"], rows)
    report.publish("reliability", text, report.own_circumstances(), options.page)
    return 0 if all(figure.held for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
