"""An LSTM in float64, plain and slow: what the tests believe.  It imports nothing of the package.

The equations are those of ``torch.nn.LSTM``'s documentation, one sequence and one step at a time, with none
of the library's tricks: no packing, no blocks, no fused activations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np


class Result(NamedTuple):
    """What the oracle returns."""

    output: np.ndarray
    """(T, B, D * H_out)"""
    h_n: np.ndarray
    """(layers * D, B, H_out)"""
    c_n: np.ndarray
    """(layers * D, B, H)"""
    mass: float
    """Largest sum of the terms' absolute values in any gate sum or projection: rounding scales with it."""
    largest: float
    """Largest absolute value of any cell state, at least 1."""


class Step(NamedTuple):
    """One step of one layer and direction, of some rows."""

    gates: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
    """i, f, g, o: (B, H) each."""
    h: np.ndarray
    """(B, H_out)"""
    c: np.ndarray
    """(B, H)"""
    mass: float
    """As in `Result`."""


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-x)) without overflow and with relative accuracy on both sides."""
    return np.exp(-np.logaddexp(0.0, -x))


def lstm(
    state_dict: Mapping[str, np.ndarray],
    x: np.ndarray,
    h_0: np.ndarray | None = None,
    c_0: np.ndarray | None = None,
    lengths: Sequence[int] | None = None,
) -> Result:
    """Run an LSTM whose sizes are those of its parameters.

    Parameters
    ----------
    state_dict : mapping
        Arrays by torch's names.
    x : (T, B, I) array
        Input, time first.
    h_0, c_0 : (layers * D, B, H_out) and (layers * D, B, H) arrays, optional
        Initial states; zeros by default.
    lengths : sequence of B ints, optional
        How many steps of each sequence are real.  Output beyond them is zero, the reverse direction starts at
        each sequence's own end, and the final states are those at the sequence's own end.
    """
    p = {name: np.asarray(value, np.float64) for name, value in state_dict.items()}
    x = np.asarray(x, np.float64)
    steps, rows, _ = x.shape
    layers = sum(name.startswith("weight_ih_l") and not name.endswith("_reverse") for name in p)
    suffixes = ("", "_reverse") if "weight_ih_l0_reverse" in p else ("",)
    hidden = p["weight_hh_l0"].shape[0] // 4
    out = p["weight_hh_l0"].shape[1]
    cells = layers * len(suffixes)
    h_0 = np.zeros((cells, rows, out)) if h_0 is None else np.asarray(h_0, np.float64)
    c_0 = np.zeros((cells, rows, hidden)) if c_0 is None else np.asarray(c_0, np.float64)
    h_n, c_n = np.empty_like(h_0), np.empty_like(c_0)
    output = np.zeros((steps, rows, len(suffixes) * out))
    mass, largest = 0.0, 1.0
    with np.errstate(all="ignore"):  # inf and NaN are legitimate inputs
        groups: dict[int, list[int]] = {}
        for row in range(rows):
            groups.setdefault(steps if lengths is None else int(lengths[row]), []).append(row)
        for length, members in groups.items():
            source = x[:length, members]
            for layer in range(layers):
                results = []
                for d, suffix in enumerate(suffixes):
                    index = layer * len(suffixes) + d
                    one = of_cell(p, layer, suffix)
                    h, c = h_0[index, members], c_0[index, members]
                    target = np.empty((length, len(members), out))
                    for t in range(length) if d == 0 else reversed(range(length)):
                        _, h, c, terms = step(one, source[t], h, c)
                        target[t] = h
                        mass, largest = max(mass, terms), max(largest, largest_finite(np.abs(c)))
                    h_n[index, members], c_n[index, members] = h, c
                    results.append(target)
                source = np.concatenate(results, axis=-1)
            output[:length, members] = source
    return Result(output, h_n, c_n, mass, largest)


def of_cell(parameters: Mapping[str, np.ndarray], layer: int, suffix: str) -> dict[str, np.ndarray]:
    """Return the parameters of one layer and direction, by names without either."""
    end = f"_l{layer}{suffix}"
    return {name.removesuffix(end): value for name, value in parameters.items() if name.endswith(end)}


def step(p: Mapping[str, np.ndarray], x: np.ndarray, h: np.ndarray, c: np.ndarray) -> Step:
    """Do one step of one layer and direction."""
    bias = p["bias_ih"] + p["bias_hh"] if "bias_ih" in p else np.zeros(len(p["weight_ih"]))
    i, f, g, o = np.split(bias + x @ p["weight_ih"].T + h @ p["weight_hh"].T, 4, axis=-1)
    mass = np.abs(bias) + np.abs(x) @ np.abs(p["weight_ih"]).T + np.abs(h) @ np.abs(p["weight_hh"]).T
    i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
    c = f * c + i * g
    h = o * np.tanh(c)
    if "weight_hr" in p:
        mass = np.concatenate([mass, np.abs(h) @ np.abs(p["weight_hr"]).T], axis=-1)
        h = h @ p["weight_hr"].T
    return Step((i, f, g, o), h, c, largest_finite(mass))


def largest_finite(values: np.ndarray) -> float:
    """Return the largest of numbers that are not negative, but for inf and NaN; 0 if there is none."""
    return float(np.max(values, where=np.isfinite(values), initial=0.0))
