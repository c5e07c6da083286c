"""What cores can do, measured, and the least time that a shape could take on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np

from numba_lstm.simd.blocksizes import block_sizes
from numba_lstm.simd.memory import CACHE_LINE, aligned_empty
from numba_lstm.simd.vectors import add, fma, intrinsic, lanes, load, pointer, store
from numba_lstm.simd.weights.dot_products import emit_dot

from .shapes import Shape
from .timing import seconds_per_call

njit: Any = numba.njit(error_model="numpy")

CHAINS = 12
"""Sums that are kept in registers: two units of four cycles need eight, and 16 registers hold them."""

DOT_TERMS = 4
"""Products of int8 in each lane of a dot product."""

ROUNDS = 100_000
"""Of the chains, in one call: tens of microseconds."""

LOADS = 8
"""Vectors that `_read` takes in one turn of its loop."""

READ_BYTES = [size << power for power in range(12, 25) for size in range(8, 16)]
"""Sizes of the arrays that are read: from an L1 cache to more than most L3 caches.  So near each other because a bound
takes the speed of the next smaller one: with half as many, 2.46 MB on an Emerald Rapids core, whose L2 has 2.1, had a
bound of 46 us, and a plain read of them takes 57."""

READ_ONCE = 1 << 26
"""Bytes that each core reads at least in a call: 200 us, beside which the launch itself is nothing."""

BUDGET, WARM_UP = 0.025, 1.0
"""Seconds for an array, and before the first: threads may begin on one core, until the system moves them apart."""


@intrinsic
def _dot(tyctx, y, z, sums):  # type: ignore[no-untyped-def]
    """Return ``sums`` with the dot products of its own bytes and those of ``z`` added.

    Those of ``y`` and ``z`` would be the same each time, and the compiler would take them out of the loop where they
    are made by other instructions than the sums.
    """

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return emit_dot(builder, sums, args[2], args[1], args[2])

    return sums(y, z, sums), generate


def _in_chains(multiply_add: Any) -> Callable[[np.ndarray, int], None]:
    """Return a function that does CHAINS * rounds operations on vectors, in chains that do not wait for each other."""

    @njit
    def run(x, rounds):  # type: ignore[no-untyped-def]
        p = pointer(x, 0)
        n = lanes(p)
        # Each from a place of its own: the compiler would make one chain of equal ones.
        a, b, c, d = load(p, 0), load(p, n), load(p, 2 * n), load(p, 3 * n)
        e, f, g, h = load(p, 4 * n), load(p, 5 * n), load(p, 6 * n), load(p, 7 * n)
        i, j, k, l = load(p, 8 * n), load(p, 9 * n), load(p, 10 * n), load(p, 11 * n)
        y, z = load(p, 12 * n), load(p, 13 * n)
        for _ in range(rounds):
            a, b, c, d = multiply_add(y, z, a), multiply_add(y, z, b), multiply_add(y, z, c), multiply_add(y, z, d)
            e, f, g, h = multiply_add(y, z, e), multiply_add(y, z, f), multiply_add(y, z, g), multiply_add(y, z, h)
            i, j, k, l = multiply_add(y, z, i), multiply_add(y, z, j), multiply_add(y, z, k), multiply_add(y, z, l)
        store(p, 0, a), store(p, n, b), store(p, 2 * n, c), store(p, 3 * n, d)
        store(p, 4 * n, e), store(p, 5 * n, f), store(p, 6 * n, g), store(p, 7 * n, h)
        store(p, 8 * n, i), store(p, 9 * n, j), store(p, 10 * n, k), store(p, 11 * n, l)

    compiled: Callable[[np.ndarray, int], None] = run
    return compiled


_multiply_add, _multiply_add_bytes = _in_chains(fma), _in_chains(_dot)


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
    """Bytes of a weight."""
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
    operands = np.full((CHAINS + 2) * width, 0.5, kind)
    taken = seconds_per_call(lambda: _multiply_add(operands, ROUNDS), 0.2).fastest
    before = numba.get_num_threads()
    numba.set_num_threads(threads)
    try:
        _read_speed(READ_BYTES[0], kind, threads, WARM_UP)
        speeds = {size: _read_speed(size, kind, threads, BUDGET) for size in READ_BYTES}
    finally:
        numba.set_num_threads(before)
    return Machine(2 * width * CHAINS * ROUNDS / taken, speeds, kind.itemsize, threads)


def of_forms(limits: Machine) -> dict[str, Machine]:
    """Return the limits of the same cores by the form of the weights, given those of float32.

    16-bit weights are multiplied as float32, int8 ones by dot products, whose rate is measured here.
    """
    width = block_sizes().lanes(np.dtype(np.float32))
    operands = np.random.default_rng(0).integers(-(2**31), 2**31, (CHAINS + 2) * width, np.int32)
    taken = seconds_per_call(lambda: _multiply_add_bytes(operands, ROUNDS), 0.2).fastest
    rate = 2 * DOT_TERMS * width * CHAINS * ROUNDS / taken
    half = limits._replace(itemsize=2)
    return {
        "float32": limits,
        "float16": half,
        "bfloat16": half,
        "int8": limits._replace(itemsize=1, flop_per_second=rate),
    }


def _read_speed(size: int, dtype: np.dtype[Any], threads: int, budget: float) -> float:
    x = aligned_empty(threads * size // dtype.itemsize, dtype).reshape(threads, -1)
    out = np.empty((threads, CACHE_LINE), dtype)
    x[:] = 1  # touched: pages that were never written to may all be the same one
    rounds = max(1, READ_ONCE // size)
    call = (lambda: _read(x[0], out[0], rounds)) if threads == 1 else (lambda: _read_together(x, out, rounds))
    return rounds * size / seconds_per_call(call, budget).fastest
