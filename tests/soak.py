"""Use the library for a long time in all ways at once: ``python tests/soak.py --seconds 600``.

Some Python threads make networks of random sizes and call them in every way there is: whole, with lengths, packed, in
parts, as streams, pools and sliding windows, after a way through a file, and through one module that all of them share
and whose weights change meanwhile.  Every result is compared with the tests' oracle, and the memory of the process
is looked at again and again.  Exit status 0: all results were right, every thread ended, and memory did not grow.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # before NumPy is there, whose threads would wait for the cores that ours compute on
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from support.soak_threads import TOLERANCES, Soak, growth, resident_mib

import numba_lstm

GROWTH_MIB = 32.0
"""By how much memory may be larger in the last quarter than in the second; allocators give back what they like.  In ten
minutes a loss of 100 bytes in every call is more."""

SAMPLES = 200
"""Looks at the memory, at the most."""


def _table(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print what was seen, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python tests/soak.py", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--threads", type=int, default=4, help="Python threads that call at a time (default 4)")
    parser.add_argument("--rows", type=int, default=10, help="of the table of memory (default 10)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.seconds <= 0 or options.threads < 1 or options.rows < 1:
        parser.error("--seconds, --threads and --rows should be positive")
    before = numba_lstm.get_num_threads()
    for dtype in TOLERANCES:
        numba_lstm.warmup(dtype)
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(options.threads, options.seed, Path(folder))
        memory = _watch(soak, options.seconds, options.rows)
    numba_lstm.set_num_threads(before)
    grown = growth(memory)
    if grown > GROWTH_MIB:
        soak.failures.append(f"memory grew by {grown:.1f} MiB")
    print("\n" + _table([["way", "results"], ["---", "--:"], *([n, f"{c:,}"] for n, c in sorted(soak.calls.items()))]))
    errors = ", ".join(f"{dtype} {error:.1e}" for dtype, error in soak.worst.items())
    print(f"\n{soak.calls.total():,} results; largest error: {errors}; memory grew by {grown:.1f} MiB.")
    for failure in soak.failures[:10]:
        print(failure, file=sys.stderr)
    print(f"{len(soak.failures)} failures" if soak.failures else "all of it right")
    return 1 if soak.failures else 0


def _watch(soak: Soak, seconds: float, rows: int) -> list[float]:
    """Run the threads for so long; print some samples of the memory and return all of them."""
    print(_table([["seconds", "results", "MiB", "failures"], ["--:"] * 4]), flush=True)
    start, memory = time.monotonic(), []
    soak.start()
    samples = max(rows, SAMPLES) // rows * rows
    for number in range(1, samples + 1):
        time.sleep(max(0.0, start + seconds * number / samples - time.monotonic()))
        memory.append(resident_mib())
        if number % (samples // rows) == 0:
            seen = f"{time.monotonic() - start:.0f}", f"{soak.calls.total():,}", f"{memory[-1]:.0f}"
            print(_table([[*seen, str(len(soak.failures))]]), flush=True)
    soak.stop()
    return memory


if __name__ == "__main__":
    sys.exit(main())
