"""Measure the activations' errors: exp, sigmoid and tanh at every float32, the rest on large samples.

    python tests/exhaustive_activations.py [millions of samples, 100]

Takes some minutes on one core.  Prints the largest error in ULP and where it is, and fails where one of
``support/activations.py`` does not hold.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
from support.activations import BOUNDS, elementwise, exact, ulp_error
from tqdm import tqdm

CHUNK = 1 << 15
"""Numbers at a time: the arrays of a chunk stay in cache."""


def every_float() -> Iterator[tuple[np.ndarray, ...]]:
    """Give all 2**32 float32, NaN included."""
    for first in range(0, 1 << 32, CHUNK):
        yield (np.arange(first, first + CHUNK, dtype=np.uint32).view(np.float32),)


def random_numbers(count: int, arguments: int, dtype: type[np.floating]) -> Iterator[tuple[np.ndarray, ...]]:
    """Give ``count`` tuples: where gates lie, all over exp's range, of every exponent, of any bits."""
    rng = np.random.default_rng(0)
    bits = np.dtype(f"u{np.dtype(dtype).itemsize}")
    reach = 100 if dtype is np.float32 else 720

    def column(kind: int) -> np.ndarray:
        if kind < 2:
            return rng.uniform(-10, 10, CHUNK).astype(dtype)
        if kind == 2:
            return rng.uniform(-reach, reach, CHUNK).astype(dtype)
        if kind == 3:
            return (rng.choice([-1, 1], CHUNK) * 10.0 ** rng.uniform(-37, 1.3, CHUNK)).astype(dtype)
        return rng.integers(0, np.iinfo(bits).max, CHUNK, dtype=bits, endpoint=True).view(dtype)

    for _ in range(-(-count // CHUNK)):
        yield tuple(column(kind) for kind in rng.integers(0, 5, arguments))


def measure(name: str, title: str, chunks: Iterator[tuple[np.ndarray, ...]], total: int) -> bool:
    """Print the largest error over the chunks; return whether it is within the bound."""
    function = elementwise(name)
    largest, place = -1.0, ()
    for given in tqdm(chunks, title, -(-total // CHUNK), leave=False, disable=None):
        error = ulp_error(function(*given), exact(name, *given))
        k = int(np.argmax(error))
        if error[k] > largest:
            largest, place = float(error[k]), tuple(a[k] for a in given)
    where = ", ".join(map(repr, place))
    print(
        f"{title}, {total:,} inputs: at most {largest:.4f} ULP (bound {BOUNDS[name]}) at {where}", flush=True
    )
    return largest <= BOUNDS[name]


def main(samples: int) -> int:
    """Measure everything; return the exit code."""
    good = True
    for name in ("exp", "sigmoid", "tanh"):
        good &= measure(name, f"{name} float32, every number", every_float(), 1 << 32)
    good &= measure("sigmoid_times_tanh", "product float32", random_numbers(samples, 2, np.float32), samples)
    for name in BOUNDS:
        arguments = 2 if name == "sigmoid_times_tanh" else 1
        chunks = random_numbers(samples // 10, arguments, np.float64)
        good &= measure(name, f"{name} float64", chunks, samples // 10)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(int(float(sys.argv[1]) * 1e6) if len(sys.argv) > 1 else 100_000_000))
