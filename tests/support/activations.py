"""The activations of the kernels beside the next wider type: their bounds, and errors in units of the last place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from numba_lstm.kernels.cells import activations
from numba_lstm.simd.float_mode import flush_denormals, restore_mode
from numba_lstm.simd.vectors import lanes, load, pointer, store

BOUNDS = {"exp": 1.25, "sigmoid": 2.5, "tanh": 3.0, "sigmoid_times_tanh": 6.0}
"""ULP, as the docstrings state them."""


def elementwise(name: str) -> Callable[..., np.ndarray]:
    """Return a function that applies an activation to one or two arrays as a kernel would."""
    function = getattr(activations, name)

    @njit(error_model="numpy")
    def one(x: Any, out: Any) -> None:
        mode = flush_denormals()
        for k in range(0, x.size, lanes(pointer(x, 0))):
            store(pointer(out, 0), k, function(load(pointer(x, 0), k)))
        restore_mode(mode)

    @njit(error_model="numpy")
    def two(x: Any, y: Any, out: Any) -> None:
        mode = flush_denormals()
        for k in range(0, x.size, lanes(pointer(x, 0))):
            store(pointer(out, 0), k, function(load(pointer(x, 0), k), load(pointer(y, 0), k)))
        restore_mode(mode)

    def apply(*arguments: np.ndarray) -> np.ndarray:
        size = arguments[0].size
        room = -(-size // 16) * 16  # a multiple of every lane count
        out = np.empty(room, arguments[0].dtype)
        padded = (np.concatenate([a, a[:1].repeat(room - size)]) for a in arguments)
        (one if len(arguments) == 1 else two)(*padded, out)
        return out[:size]

    return apply


def flushed(x: np.ndarray) -> np.ndarray:
    """Return x with zeros, of the same sign, for denormal numbers."""
    return np.where(np.abs(x) < np.finfo(x.dtype).tiny, np.copysign(x.dtype.type(0), x), x)


def exact(name: str, *arguments: np.ndarray) -> np.ndarray:
    """Return the function in the next wider type: float64 for float32, extended for float64."""
    wide = np.float64 if arguments[0].dtype == np.float32 else np.longdouble
    with np.errstate(all="ignore"):
        x, *rest = (flushed(a).astype(wide) for a in arguments)
        if name == "exp":
            return np.exp(x)
        if name == "tanh":
            return np.tanh(x)
        sigmoid = 1 / (1 + np.exp(-x))
        return sigmoid if name == "sigmoid" else sigmoid * np.tanh(rest[0])


def ulp_error(result: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return the error in units of the last place that a number of the reference's size has.

    Where the reference is below the smallest normal number, that number and zero count as exact.  Signs,
    infinities and NaN must agree; where they do not, the error is infinite.
    """
    info = np.finfo(result.dtype)
    size = np.abs(reference)
    with np.errstate(all="ignore"):
        rounded = reference.astype(result.dtype)
        finite = np.isfinite(rounded) & np.isfinite(result)
        _, exponent = np.frexp(np.where(finite, np.maximum(size, info.tiny), 1))
        unit = np.ldexp(reference.dtype.type(1), exponent - info.nmant - 1)
        error = np.abs(result.astype(reference.dtype) - reference) / unit
        error[(size < info.tiny) & ((result == 0) | (np.abs(result) == info.tiny))] = 0
        error = np.where(finite, error, np.where(result == rounded, 0, np.inf))
        error[np.signbit(result) != np.signbit(reference)] = np.inf
    return np.where(np.isnan(reference), np.where(np.isnan(result), 0, np.inf), error)


def with_neighbours(points: list[float], dtype: Any, count: int = 40) -> np.ndarray:
    """Return numbers with the ``count`` next ones on both sides."""
    down = up = np.array(points, dtype)
    found = [down]
    for _ in range(count):
        down, up = np.nextafter(down, dtype(-np.inf)), np.nextafter(up, dtype(np.inf))
        found += [down, up]
    return np.concatenate(found)


def sample(dtype: Any, seed: int, count: int = 100_000) -> np.ndarray:
    """Return numbers of every exponent and kind, dense around 0, and next to every threshold."""
    rng = np.random.default_rng(seed)
    bits = np.dtype(f"u{np.dtype(dtype).itemsize}")
    edges = (0.0, 0.17328679513998632, 10.0, 87.0, 87.33654, 88.0, 88.72284)
    wide_edges = (20.0, 708.0, 708.3964185322641, 709.0, 709.782712893384)
    halves = [(k + 0.5) * np.log(2) for k in range(128)]  # where n steps
    info = np.finfo(dtype)
    points = [sign * p for sign in (1, -1) for p in (*edges, *wide_edges, *halves, info.tiny, info.max, 1.0)]
    with np.errstate(all="ignore"):
        near = with_neighbours(points, dtype)
    return np.concatenate(
        [
            near,
            np.array([np.inf, -np.inf, np.nan, -np.nan, 0.0, -0.0, info.smallest_subnormal], dtype),
            rng.integers(0, np.iinfo(bits).max, count, dtype=bits, endpoint=True).view(dtype),
            *(rng.uniform(-width, width, count).astype(dtype) for width in (1, 10, 100, 750)),
            (rng.choice([-1, 1], count) * 10.0 ** rng.uniform(-37, 2, count)).astype(dtype),
        ]
    )
