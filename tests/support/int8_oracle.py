"""An LSTM of int8 weights, its sums in integers: what the tests believe.  It imports nothing of the package.

Weights are int8 with a scale for each gate row; each row of an input, and of h, is made int8 with a scale of its own::

    s = absmax / 127            q = rint(x * (127 / absmax))        each operation rounded to float32, ties to even
    gate = bias + float32(sum of q_w * q_x) * (s_w * s_x) + float32(sum of q_w * q_h) * (s_w * s_h)

A row below 2**-100 counts as zeros, one with inf or NaN has NaN for a scale.  All of that is exact here.  Where float32
rounds as it likes, in the gate's two fused multiply-adds and in what makes states of gates, here is float64 with a
bound beside every number:

- gate sums: 5 * U * the sum of the terms' absolute values (the bias is rounded once; each part by its scales, its
  conversion and the multiply-add, or, without that, by a product and a sum), and 2**-90 for scales that are flushed;
- activations: sigmoid 2.5 ULP, sigmoid times tanh 6 ULP, as the package's documentation promises, an ULP being at most
  2 * U of the number; the cell's multiply-add 2 * U;
- what is not known exactly may be rounded to another int8 step: a number with a bound has all steps that its interval
  reaches, and a sum's bound grows by the weights of those that are in doubt.

So the bound of one step from given states and inputs is that of float32, some 1e-6, where an int8 step is some 1e-3.
A whole sequence's bound is as tight until some h lies next to a tie, and honest after that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from support.oracle import sigmoid

U = 2.0**-24
"""Half an ULP of float32 at 1: what a rounding changes, relatively, at most."""

LARGEST = np.float32(127)

SMALLEST = 2.0**-100
"""Rows whose largest number is smaller count as zeros."""


class Bounded(NamedTuple):
    """Numbers, and how far each may be from what float32 makes of it."""

    value: np.ndarray
    bound: np.ndarray


class Result(NamedTuple):
    """What the oracle returns."""

    output: Bounded
    """(T, B, D * H_out)"""
    h_n: Bounded
    """(layers * D, B, H_out)"""
    c_n: Bounded
    """(layers * D, B, H)"""


class Steps(NamedTuple):
    """Rows as int8."""

    steps: np.ndarray
    """(B, K) int64, -127 to 127"""
    doubt: np.ndarray
    """(B, K) int64: how many steps further each may be."""
    scale: Bounded
    """(B, 1), float32"""


def exactly(values: np.ndarray) -> Bounded:
    """Return numbers that are known."""
    return Bounded(np.asarray(values, np.float64), np.zeros(np.shape(values)))


def as_steps(rows: Bounded) -> Steps:
    """Return rows (B, K) as int8, by a scale for each."""
    single = rows.value.astype(np.float32)
    largest = np.abs(single).max(axis=1, keepdims=True)  # NaN where one is NaN
    margin = rows.bound.max(axis=1, keepdims=True)
    scale, factor = largest / LARGEST, LARGEST / largest
    unusable, zero = ~np.isfinite(largest), largest < SMALLEST
    steps = np.where(unusable | zero, 0, np.rint(single * factor))
    # Every step that some number within the bounds is rounded to, by some scale within its own.
    wide = largest.astype(np.float64)
    factors = [127 * (1 - 3 * U) / (wide + margin), 127 * (1 + 3 * U) / np.maximum(wide - margin, 2.0**-120)]
    reached = [(rows.value + side * rows.bound) * each for side in (-1, 1) for each in factors]
    lowest, highest = (np.clip(np.rint(f(reached, axis=0)), -127, 127) for f in (np.min, np.max))
    known = unusable | (rows.bound == 0).all(axis=1, keepdims=True)
    doubt = np.where(known, 0, np.maximum(highest - steps, steps - lowest))
    scale = np.where(unusable, np.float32(np.nan), np.where(zero, np.float32(0), scale))
    return Steps(steps.astype(np.int64), doubt.astype(np.int64), Bounded(scale, np.where(known, 0, margin / 127)))


def products(weight: np.ndarray, scales: np.ndarray, rows: Steps) -> Bounded:
    """Return the sums of int8 rows (B, K) times int8 weights (G, K), with the scales of both: (B, G)."""
    weight = weight.astype(np.int64)
    sums = rows.steps @ weight.T
    assert np.abs(sums).max() < 2**31
    scale = scales * rows.scale.value  # of float32, rounded once
    bound = (rows.doubt @ np.abs(weight).T) * (scales * (rows.scale.value + rows.scale.bound).astype(np.float64))
    value = sums.astype(np.float32).astype(np.float64) * scale.astype(np.float64)
    return Bounded(value, bound + np.abs(sums) * (scales * rows.scale.bound))


def lstm(
    kept: Mapping[str, np.ndarray],
    x: np.ndarray,
    h_0: np.ndarray | None = None,
    c_0: np.ndarray | None = None,
    lengths: Sequence[int] | None = None,
) -> Result:
    """Run an LSTM whose sizes are those of its parameters.

    Parameters
    ----------
    kept : mapping
        By torch's names int8 weights and float32 biases, and under a weight's name with ``_scale`` a float32 number
        for each of its rows.
    x : (T, B, I) float32 array
        Input, time first.
    h_0, c_0 : (layers * D, B, H_out) and (layers * D, B, H) float32 arrays, optional
        Initial states; zeros by default.
    lengths : sequence of B ints, optional
        How many steps of each sequence are real, as for ``oracle.lstm``.
    """
    steps, rows, _ = x.shape
    layers = sum(name.startswith("weight_ih_l") and name[11:].isdigit() for name in kept)
    suffixes = ("", "_reverse") if "weight_ih_l0_reverse" in kept else ("",)
    hidden, out = len(kept["weight_hh_l0"]) // 4, kept["weight_hh_l0"].shape[1]
    cells = layers * len(suffixes)
    h_0 = np.zeros((cells, rows, out)) if h_0 is None else h_0
    c_0 = np.zeros((cells, rows, hidden)) if c_0 is None else c_0
    h_n, c_n = exactly(h_0), exactly(c_0)
    source = exactly(x)
    ends = np.full(rows, steps) if lengths is None else np.asarray(lengths)
    with np.errstate(all="ignore"):  # inf and NaN are legitimate inputs
        for layer in range(layers):
            target = exactly(np.zeros((steps, rows, len(suffixes) * out)))
            for direction, suffix in enumerate(suffixes):
                index = layer * len(suffixes) + direction
                cell = _Cell(kept, f"_l{layer}{suffix}")
                place = slice(direction * out, (direction + 1) * out)
                h, c = (_part(state, index) for state in (h_n, c_n))  # written to in place
                for t in range(steps) if direction == 0 else reversed(range(steps)):
                    real = ends > t
                    new_h, new_c = cell.step(_part(source, (t, real)), _part(h, real), _part(c, real))
                    for new, *olds in ((new_h, (h, real), (target, (t, real, place))), (new_c, (c, real))):
                        for old, where in olds:
                            old.value[where], old.bound[where] = new
            source = target
    return Result(source, h_n, c_n)


def _bounded(value: np.ndarray, bound: np.ndarray) -> Bounded:
    """Return numbers with their bounds; infinity is reached or not, and has none."""
    return Bounded(value, np.where(np.isfinite(value), bound, 0.0))


def _part(numbers: Bounded, where: Any) -> Bounded:
    return Bounded(numbers.value[where], numbers.bound[where])


class _Cell:
    """A layer and direction."""

    def __init__(self, kept: Mapping[str, np.ndarray], end: str) -> None:
        self._kept = {
            name: (kept[name + end], kept[name + end + "_scale"])
            for name in ("weight_ih", "weight_hh", "weight_hr")
            if name + end in kept
        }
        self._bias = np.zeros(len(kept["weight_ih" + end]), np.float32)
        self._bias_mass = np.zeros(len(self._bias))
        for name in ("bias_ih", "bias_hh"):
            if name + end in kept:
                self._bias = self._bias + kept[name + end]
                self._bias_mass += np.abs(kept[name + end])

    def step(self, x: Bounded, h: Bounded, c: Bounded) -> tuple[Bounded, Bounded]:
        """Return h and c after one step."""
        from_x = products(*self._kept["weight_ih"], as_steps(x))
        from_h = products(*self._kept["weight_hh"], as_steps(h))
        # Rounded only so that it overflows where float32 does.
        partial = (self._bias + from_x.value).astype(np.float32)
        gates = (partial + from_h.value).astype(np.float32).astype(np.float64)
        mass = self._bias_mass + np.abs(from_x.value) + np.abs(from_h.value)
        bound = from_x.bound + from_h.bound + 5 * U * mass + 2.0**-90
        i, f, g, o = map(_bounded, np.split(gates, 4, axis=1), np.split(bound, 4, axis=1))
        kept, added = _times(_function(sigmoid, f), c, 6 * U), _times(_function(sigmoid, i), _function(np.tanh, g))
        value = kept.value + added.value
        c = _bounded(value, kept.bound + added.bound + U * np.abs(value))
        h = _times(_function(sigmoid, o), _function(np.tanh, c))
        if "weight_hr" in self._kept:
            h = products(*self._kept["weight_hr"], as_steps(h))
            h = _bounded(h.value, h.bound + 3 * U * np.abs(h.value) + 2.0**-90)
        return h, c


def _function(f: Any, x: Bounded) -> Bounded:
    """Return an increasing function, exact but for what its argument's bound lets it be."""
    value = f(x.value)
    return Bounded(value, np.fmax(f(x.value + x.bound) - value, value - f(x.value - x.bound)))


def _times(a: Bounded, b: Bounded, relative: float = 12 * U) -> Bounded:
    value = a.value * b.value
    bound = a.bound * np.abs(b.value) + (np.abs(a.value) + a.bound) * b.bound
    return _bounded(value, bound + relative * np.abs(value) + 2.0**-126)


def assert_within(actual: Any, expected: Result, what: str = "") -> None:
    """Compare (output, h_n, c_n) with the oracle's; inf and NaN must be where the oracle has them."""
    for name, a, (value, bound) in zip(("output", "h_n", "c_n"), actual, expected, strict=True):
        assert a.shape == value.shape, (what, name)
        assert a.dtype == np.float32, (what, name)
        finite = np.isfinite(value)
        np.testing.assert_array_equal(a[~finite], value[~finite], err_msg=f"{what} {name}")
        beyond = ~(np.abs(a[finite] - value[finite]) <= bound[finite])
        if beyond.any():
            first = tuple(int(n) for n in np.argwhere(finite)[np.flatnonzero(beyond)[0]])
            raise AssertionError(
                f"{what} {name}: {np.count_nonzero(beyond)} of {a.size} are beyond their bounds; at {first} "
                f"{a[first]} instead of {value[first]} +- {bound[first]:.2g}"
            )
