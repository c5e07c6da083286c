"""What cores can do, measured, and the least time that a shape could take on them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np

from numba_lstm.simd.blocksizes import block_sizes
from numba_lstm.simd.memory import CACHE_LINE, aligned_empty
from numba_lstm.simd.vectors import add, fma, lanes, load, pointer, store

from .shapes import Shape
from .timing import seconds_per_call

njit: Any = numba.njit(error_model="numpy")

CHAINS = 12
"""Sums that `_multiply_add` keeps in registers: two units of four cycles need eight, and 16 registers hold them."""

ROUNDS = 100_000
"""Of the chains, in one call: tens of microseconds."""

LOADS = 8
"""Vectors that `_read` takes in one turn of its loop."""

READ_BYTES = [size << power for power in range(13, 26) for size in (4, 5, 6, 7)]
"""Sizes of the arrays that are read: from an L1 cache to more than most L3 caches."""

READ_ONCE = 1 << 26
"""Bytes that each core reads at least in a call: 200 us, beside which the launch itself is nothing."""

BUDGET, WARM_UP = 0.05, 1.0
"""Seconds for an array, and before the first: threads may begin on one core, until the system moves them apart."""


@njit
def _multiply_add(x, rounds):  # type: ignore[no-untyped-def]
    """Do CHAINS * rounds multiply-adds of vectors, in chains that do not wait for each other."""
    p = pointer(x, 0)
    n = lanes(p)
    # Each from a place of its own: the compiler would make one chain of equal ones.
    a, b, c, d = load(p, 0), load(p, n), load(p, 2 * n), load(p, 3 * n)
    e, f, g, h = load(p, 4 * n), load(p, 5 * n), load(p, 6 * n), load(p, 7 * n)
    i, j, k, l = load(p, 8 * n), load(p, 9 * n), load(p, 10 * n), load(p, 11 * n)
    y, z = load(p, 12 * n), load(p, 13 * n)
    for _ in range(rounds):
        a, b, c, d = fma(y, z, a), fma(y, z, b), fma(y, z, c), fma(y, z, d)
        e, f, g, h = fma(y, z, e), fma(y, z, f), fma(y, z, g), fma(y, z, h)
        i, j, k, l = fma(y, z, i), fma(y, z, j), fma(y, z, k), fma(y, z, l)
    total = add(add(add(a, b), add(c, d)), add(add(e, f), add(g, h)))
    store(p, 14 * n, add(total, add(add(i, j), add(k, l))))


@njit
def _read(x, out, rounds):  # type: ignore[no-untyped-def]
    """Add up the vectors of an array, LOADS at a time, over and over."""
    p = pointer(x, 0)
    n = lanes(p)
    a, b, c, d = load(p, 0), load(p, n), load(p, 2 * n), load(p, 3 * n)
    e, f, g, h = a, b, c, d
    for _ in range(rounds):
        for k in range(0, x.size, LOADS * n):
            a, b = add(a, load(p, k)), add(b, load(p, k + n))
            c, d = add(c, load(p, k + 2 * n)), add(d, load(p, k + 3 * n))
            e, f = add(e, load(p, k + 4 * n)), add(f, load(p, k + 5 * n))
            g, h = add(g, load(p, k + 6 * n)), add(h, load(p, k + 7 * n))
    store(pointer(out, 0), 0, add(add(add(a, b), add(c, d)), add(add(e, f), add(g, h))))


@numba.njit(parallel=True, error_model="numpy")  # type: ignore[misc]
def _read_together(x, out, rounds):  # type: ignore[no-untyped-def]
    """Do it with one row of arrays for each thread."""
    for thread in numba.prange(len(x)):
        _read(x[thread], out[thread], rounds)


class Machine(NamedTuple):
    """The limits of some cores."""

    flop_per_second: float
    """Of one core, of multiply-adds whose operands are in registers, two operations each."""
    bytes_per_second: dict[int, float]
    """Of one core, by the size of its array: how fast it is read again and again, while the others read theirs.  Caches
    and memory that cores share are slower then."""
    itemsize: int
    """Bytes of the numbers that were multiplied."""
    threads: int = 1
    """Cores."""

    def read_seconds(self, size: float) -> float:
        """Return how long an array of so many bytes takes to be read once more, at the least."""
        smaller = max((measured for measured in self.bytes_per_second if measured <= size), default=0)
        return size / max(speed for measured, speed in self.bytes_per_second.items() if measured >= smaller)

    def bound(self, shape: Shape) -> float:
        """Return the least seconds for a shape: its products at full rate, or its weights read at full speed.

        The input part of a layer is one product over all steps; the recurrent part is one for every step, since each
        waits for the one before.  Cores share operations and weights evenly.  Activations and calls cost nothing.
        """
        rate = self.threads * self.flop_per_second
        kept = shape.directions * sum(map(sum, shape.weights())) * self.itemsize / self.threads
        total = 0.0
        for counts in shape.weights():
            for count, steps in zip(counts, (1, shape.steps), strict=True):
                share = count * self.itemsize / self.threads
                # In a single step every weight is read once, and waits for the next call behind all others.
                reading = share / kept * self.read_seconds(kept) if shape.steps == 1 else self.read_seconds(share)
                rows = shape.batch * shape.steps // steps
                total += shape.directions * steps * max(2 * count * rows / rate, reading)
        return total


def measure(dtype: type[np.floating] = np.float32, threads: int = 1) -> Machine:
    """Measure cores, in about five seconds."""
    kind = np.dtype(dtype)
    width = block_sizes().lanes(kind)
    operands = np.full(15 * width, 0.5, kind)
    taken = seconds_per_call(lambda: _multiply_add(operands, ROUNDS), 0.2).fastest
    before = numba.get_num_threads()
    numba.set_num_threads(threads)
    try:
        _read_speed(READ_BYTES[0], kind, threads, WARM_UP)
        speeds = {size: _read_speed(size, kind, threads, BUDGET) for size in READ_BYTES}
    finally:
        numba.set_num_threads(before)
    return Machine(2 * width * CHAINS * ROUNDS / taken, speeds, kind.itemsize, threads)


def _read_speed(size: int, dtype: np.dtype[Any], threads: int, budget: float) -> float:
    x = aligned_empty(threads * size // dtype.itemsize, dtype).reshape(threads, -1)
    out = np.empty((threads, CACHE_LINE), dtype)
    x[:] = 1  # touched: pages that were never written to may all be the same one
    rounds = max(1, READ_ONCE // size)
    call = (lambda: _read(x[0], out[0], rounds)) if threads == 1 else (lambda: _read_together(x, out, rounds))
    return rounds * size / seconds_per_call(call, budget).fastest
