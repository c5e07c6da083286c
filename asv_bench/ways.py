"""Print where calls begin to use threads, and how: ``python -m asv_bench.ways --threads 2``.  Measures nothing."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from itertools import groupby

import numpy as np

from numba_lstm.contract.architecture import Architecture
from numba_lstm.execution.planning.estimate import choose
from numba_lstm.execution.planning.machine import this_machine
from numba_lstm.execution.planning.numerics import Numerics

from . import report

SIZES = range(32, 1025, 32)
"""Units that fill an even number of vectors, so that each of two threads has as many."""
STEPS = (1, 16, 160)
BATCHES = (1, 2, 4, 16, 64)


def way(size: int, steps: int, batch: int, threads: int) -> str:
    """Return how a call of a layer uses threads, in a word."""
    machine = this_machine()._replace(threads=threads, cpus=threads)
    chosen = choose(Architecture(size, size), Numerics(np.dtype(np.float32)), steps, batch, machine)
    if chosen.crew > 1:
        return "shared units"
    return "shared batch" if chosen.slices > 1 else "one thread"


def ranges(steps: int, batch: int, threads: int, sizes: Iterable[int] = SIZES) -> str:
    """Return the ways of a layer as it grows, each with the size from which on it is taken."""
    found = [(next(group), name) for name, group in groupby(sizes, lambda size: way(size, steps, batch, threads))]
    first, *others = found
    return ", ".join([first[1], *(f"{name} from {size}" for size, name in others)])


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m asv_bench.ways", description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    report.add_page_option(parser, report.FOLDER / "limits.md")
    options = parser.parse_args(arguments)
    rows = [
        [f"{batch}", f"{steps}", ranges(steps, batch, options.threads)] for batch in BATCHES for steps in STEPS
    ]
    text = report.markdown_table(["rows N", "steps L", "one layer of I = H units"], rows)
    text += f"\n\nFloat32, {options.threads} threads, multiples of {SIZES.step} units, "
    text += f"an L2 cache of {this_machine().l2_bytes >> 10} KiB."
    report.publish("ways", text, report.own_circumstances(), options.page)


if __name__ == "__main__":
    main()
