"""Gradients of an LSTM in float64, plain and slow: what the tests believe.  It imports nothing of the package.

The chain rule of the steps of `support.oracle`, one step and one layer after the other: every step is kept as it
was, and no two sums are made one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from support.oracle import Result, largest_finite, of_cell, step


class Trace(NamedTuple):
    """Every step of one layer and direction; zeros beyond a sequence's end."""

    i: np.ndarray
    """(T, B, H), as f, g, o and c"""
    f: np.ndarray
    g: np.ndarray
    o: np.ndarray
    c: np.ndarray
    h: np.ndarray
    """(T, B, H_out)"""
    x: np.ndarray
    """What the step reads: (T, B, I) or (T, B, D * H_out), after dropout."""
    h_before: np.ndarray
    """States before the step."""
    c_before: np.ndarray


class Forward(NamedTuple):
    """A forward pass, kept for its gradients."""

    result: Result
    cells: list[Trace]
    """Of layers and, within a layer, of directions."""
    parameters: dict[str, np.ndarray]
    live: list[np.ndarray]
    """Rows that have each step."""
    masks: Sequence[np.ndarray | None]
    """By layer."""


class Gradients(NamedTuple):
    """What the oracle returns."""

    input: np.ndarray
    """(T, B, I)"""
    h_0: np.ndarray
    """(layers * D, B, H_out)"""
    c_0: np.ndarray
    """(layers * D, B, H)"""
    parameters: dict[str, np.ndarray]
    """By torch's names."""
    masses: dict[str, float]
    """For every gradient by its name the largest sum of absolute values of the terms of any of its numbers; for
    those of input and states that of all sums on the way through steps and layers."""


def forward(
    state_dict: Mapping[str, np.ndarray],
    x: np.ndarray,
    h_0: np.ndarray | None = None,
    c_0: np.ndarray | None = None,
    lengths: Sequence[int] | None = None,
    masks: Sequence[np.ndarray] | None = None,
) -> Forward:
    """Run an LSTM whose sizes are those of its parameters, and keep every step.

    Parameters
    ----------
    state_dict, x, h_0, c_0, lengths
        As ``support.oracle.lstm`` takes them.
    masks : sequence of (T, B, D * H_out) arrays, optional
        What dropout multiplies the outputs of each layer but the last by.
    """
    p = {name: np.asarray(value, np.float64) for name, value in state_dict.items()}
    source = np.asarray(x, np.float64)
    steps, rows, _ = source.shape
    suffixes = _suffixes(p)
    layers = sum(name.startswith("weight_ih") for name in p) // len(suffixes)
    hidden, out = p["weight_hh_l0"].shape[0] // 4, p["weight_hh_l0"].shape[1]
    cells = layers * len(suffixes)
    h_n = np.zeros((cells, rows, out)) if h_0 is None else np.array(h_0, np.float64)
    c_n = np.zeros((cells, rows, hidden)) if c_0 is None else np.array(c_0, np.float64)
    ends = np.full(rows, steps) if lengths is None else np.asarray(lengths)
    live = [np.flatnonzero(ends > t) for t in range(steps)]
    by_layer = [*(masks or [None] * (layers - 1)), None]
    traces: list[Trace] = []
    mass, largest = 0.0, 1.0
    with np.errstate(all="ignore"):  # inf and NaN are legitimate inputs
        for layer, mask in enumerate(by_layer):
            outputs = []
            for suffix in suffixes:
                one, index = of_cell(p, layer, suffix), len(traces)
                h, c = h_n[index], c_n[index]  # written to
                widths = (hidden,) * 5 + (out, source.shape[2], out, hidden)
                kept = Trace(*(np.zeros((steps, rows, width)) for width in widths))
                for t in reversed(range(steps)) if suffix else range(steps):
                    real = live[t]
                    read = source[t, real], h[real], c[real]
                    done = step(one, *read)
                    for whole, part in zip(kept, (*done.gates, done.c, done.h, *read), strict=True):
                        whole[t, real] = part
                    h[real], c[real] = done.h, done.c
                    mass, largest = max(mass, done.mass), max(largest, largest_finite(np.abs(done.c)))
                traces.append(kept)
                outputs.append(kept.h)
            output = np.concatenate(outputs, axis=-1)
            source = output if mask is None else output * mask
    return Forward(Result(output, h_n, c_n, mass, largest), traces, p, live, by_layer)


def backward(
    run: Forward, d_output: np.ndarray | None = None, d_h_n: np.ndarray | None = None, d_c_n: np.ndarray | None = None
) -> Gradients:
    """Return the gradients of a scalar of which those of a forward pass's results are given; zeros by default."""
    output, h_n, c_n, _, _ = run.result
    d_source = np.zeros_like(output) if d_output is None else np.asarray(d_output, np.float64)
    # States' gradients, written to: at first those of the last ones, in the end those of the first ones.
    d_h = np.zeros_like(h_n) if d_h_n is None else np.array(d_h_n, np.float64)
    d_c = np.zeros_like(c_n) if d_c_n is None else np.array(d_c_n, np.float64)
    parameters, masses = {name: np.zeros_like(value) for name, value in run.parameters.items()}, {}
    suffixes, mass = _suffixes(run.parameters), 0.0
    with np.errstate(all="ignore"):
        for layer, mask in reversed([*enumerate(run.masks)]):
            d_target = d_source if mask is None else d_source * mask
            d_source = np.zeros_like(run.cells[layer * len(suffixes)].x)
            for direction, (suffix, d_own) in enumerate(
                zip(suffixes, np.split(d_target, len(suffixes), axis=-1), strict=True)
            ):
                index = layer * len(suffixes) + direction
                of_one = _Cell(of_cell(run.parameters, layer, suffix), run.cells[index])
                for t in range(len(output)) if suffix else reversed(range(len(output))):
                    real = run.live[t]
                    d_x, d_h[index, real], d_c[index, real] = of_one.step_back(
                        t, real, d_h[index, real] + d_own[t, real], d_c[index, real]
                    )
                    d_source[t, real] += d_x
                mass = max(mass, of_one.mass)
                for name, (value, terms) in of_one.parameters.items():
                    parameters[f"{name}_l{layer}{suffix}"] = value
                    masses[f"{name}_l{layer}{suffix}"] = largest_finite(terms)
    mass = max([mass, *(largest_finite(np.abs(d)) for d in (d_h, d_c))])
    return Gradients(d_source, d_h, d_c, parameters, {**masses, **dict.fromkeys(("input", "h_0", "c_0"), mass)})


class _Cell:
    """The way back through the steps of one layer and direction, and what they add up."""

    def __init__(self, parameters: Mapping[str, np.ndarray], trace: Trace) -> None:
        self._p, self._trace = parameters, trace
        self.mass = 0.0
        self.parameters = {name: (np.zeros_like(p), np.zeros_like(p)) for name, p in parameters.items()}
        """Gradients, and the sums of their terms' absolute values."""

    def step_back(
        self, t: int, rows: np.ndarray, d_h: np.ndarray, d_c: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Take the gradients of a step's h and c; return those of its input, and of h and c before it."""
        i, f, g, o, c, _, x, h_before, c_before = (whole[t, rows] for whole in self._trace)
        tanh_c = np.tanh(c)
        if "weight_hr" in self._p:
            self._add("weight_hr", d_h, o * tanh_c)
            d_h = self._product(d_h, "weight_hr")
        d_c = d_c + d_h * o * (1 - tanh_c**2)
        d_i, d_f, d_g, d_o = d_c * g, d_c * c_before, d_c * i, d_h * tanh_c
        sums = np.concatenate([d_i * i * (1 - i), d_f * f * (1 - f), d_g * (1 - g**2), d_o * o * (1 - o)], axis=-1)
        self._add("weight_ih", sums, x)
        self._add("weight_hh", sums, h_before)
        if "bias_ih" in self._p:
            ones = np.ones((len(rows), 1))
            self._add("bias_ih", sums, ones)
            self._add("bias_hh", sums, ones)
        return self._product(sums, "weight_ih"), self._product(sums, "weight_hh"), d_c * f

    def _add(self, name: str, left: np.ndarray, right: np.ndarray) -> None:
        value, terms = self.parameters[name]
        value += (left.T @ right).reshape(value.shape)
        terms += (np.abs(left).T @ np.abs(right)).reshape(terms.shape)

    def _product(self, values: np.ndarray, name: str) -> np.ndarray:
        weight = self._p[name]
        self.mass = max(self.mass, largest_finite(np.abs(values) @ np.abs(weight)))
        return values @ weight


def _suffixes(parameters: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    """Return what names of each direction end with."""
    return ("", "_reverse") if "weight_ih_l0_reverse" in parameters else ("",)
