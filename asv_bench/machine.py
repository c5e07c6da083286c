"""What one core can do, measured, and the least time that a shape could take on it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np

from numba_lstm.blocksizes import block_sizes
from numba_lstm.memory import CACHE_LINE, aligned_empty
from numba_lstm.simd import add, fma, lanes, load, pointer, store

from .shapes import Shape
from .timing import seconds_per_call

njit: Any = numba.njit(error_model="numpy")

CHAINS = 12
"""Sums that `_multiply_add` keeps in registers: two units of four cycles need eight, and 16 registers hold them."""

ROUNDS = 100_000
"""Of the chains, in one call: tens of microseconds."""

LOADS = 8
"""Vectors that `_read` takes in one turn of its loop."""

READ_BYTES = [size << power for power in range(14, 27) for size in (2, 3)]
"""Sizes of the arrays that are read: from an L1 cache to more than most L3 caches."""

READ_ONCE = 1 << 22
"""Bytes that a call reads at least: 20 us, beside which the call itself is nothing."""


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


class Machine(NamedTuple):
    """The limits of one core."""

    flop_per_second: float
    """Of multiply-adds whose operands are in registers, two operations each."""
    bytes_per_second: dict[int, float]
    """By the size of an array: how fast it is read again and again."""
    itemsize: int
    """Bytes of the numbers that were multiplied."""

    def read_seconds(self, size: float) -> float:
        """Return how long an array of so many bytes takes to be read once more, at the least."""
        smaller = max((measured for measured in self.bytes_per_second if measured <= size), default=0)
        return size / max(speed for measured, speed in self.bytes_per_second.items() if measured >= smaller)

    def bound(self, shape: Shape, threads: int = 1) -> float:
        """Return the least seconds for a shape: its products at full rate, or its weights read at full speed.

        The input part of a layer is one product over all steps; the recurrent part is one for every step, since each
        waits for the one before.  Threads share operations and weights evenly.  Activations and calls cost nothing.
        """
        rate = threads * self.flop_per_second
        kept = shape.directions * sum(map(sum, shape.weights())) * self.itemsize / threads
        total = 0.0
        for counts in shape.weights():
            for count, steps in zip(counts, (1, shape.steps), strict=True):
                share = count * self.itemsize / threads
                # In a single step every weight is read once, and waits for the next call behind all others.
                reading = share / kept * self.read_seconds(kept) if shape.steps == 1 else self.read_seconds(share)
                rows = shape.batch * shape.steps // steps
                total += shape.directions * steps * max(2 * count * rows / rate, reading)
        return total


def measure(dtype: type[np.floating] = np.float32) -> Machine:
    """Measure this core, in about three seconds."""
    kind = np.dtype(dtype)
    width = block_sizes().lanes(kind)
    operands = np.full(15 * width, 0.5, kind)
    taken = seconds_per_call(lambda: _multiply_add(operands, ROUNDS), 0.2).fastest
    speeds = {size: _read_speed(size, kind) for size in READ_BYTES}
    return Machine(2 * width * CHAINS * ROUNDS / taken, speeds, kind.itemsize)


def _read_speed(size: int, dtype: np.dtype[Any]) -> float:
    x, out = aligned_empty(size // dtype.itemsize, dtype), np.empty(CACHE_LINE, dtype)
    x[:] = 1  # touched: pages that were never written to may all be the same one
    rounds = max(1, READ_ONCE // size)
    return rounds * size / seconds_per_call(lambda: _read(x, out, rounds), 0.05).fastest
