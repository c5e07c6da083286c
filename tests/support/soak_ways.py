"""Random networks, and the ways to call them, each with what is right."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

import numba_lstm
from support import oracle

Hidden = tuple[np.ndarray, np.ndarray]
Result = tuple[np.ndarray, Hidden]

SHARED = (48, 96, 2, 30, 4)
"""Input, units, layers, steps and rows of the module that all threads call; large enough for two threads."""


def right(
    parameters: Mapping[str, np.ndarray], x: np.ndarray, hx: Hidden | None = None, lengths: Sequence[int] | None = None
) -> Result:
    """Return what the oracle says, as a module returns it."""
    output, h_n, c_n = oracle.lstm(parameters, x, *(hx or ()), lengths=lengths)[:3]
    return output, (h_n, c_n)


def distance(actual: Result, expected: Result) -> float:
    """Return the largest difference of two results; inf where shapes differ or a number is NaN."""
    pairs = [(actual[0], expected[0]), *zip(actual[1], expected[1], strict=True)]
    if any(a.shape != b.shape or np.isnan(a).any() for a, b in pairs):
        return float("inf")
    return max(float(np.max(np.abs(a - b), initial=0.0)) for a, b in pairs)


class Case(NamedTuple):
    """A network, sequences, and what is right."""

    lstm: numba_lstm.LSTM
    """In eval mode, time first."""
    x: np.ndarray
    """(T, B, H_in)"""
    hx: Hidden
    lengths: list[int]
    whole: Result
    """For all steps."""
    ragged: Result
    """For the lengths."""
    folder: Path
    """Of the thread's own files."""


Way = Callable[[Case, np.random.Generator], tuple[Result, Result]]
"""Calls in one way, and returns what came out and what should have."""


def new_case(rng: np.random.Generator, folder: Path) -> Case:
    """Return a network and sequences of random sizes, with what is right for them."""
    hidden, layers = int(rng.integers(1, 161)), int(rng.integers(1, 4))
    steps, rows = int(rng.integers(1, 51)), int(rng.integers(1, 25))
    two_way = bool(rng.random() < 0.3)
    proj = int(rng.integers(1, hidden)) if hidden > 1 and rng.random() < 0.3 else 0
    lstm = numba_lstm.LSTM(
        int(rng.integers(1, 161)),
        hidden,
        layers,
        bidirectional=two_way,
        proj_size=proj,
        dtype=np.float32 if rng.random() < 0.5 else np.float64,
        seed=rng,
    ).eval()
    cells = layers * (1 + two_way)
    x = rng.standard_normal((steps, rows, lstm.input_size)).astype(lstm.dtype)
    hx = (
        rng.uniform(-1, 1, (cells, rows, proj or hidden)).astype(lstm.dtype),
        rng.standard_normal((cells, rows, hidden)).astype(lstm.dtype),
    )
    lengths = [int(length) for length in rng.integers(1, steps + 1, rows)]
    lengths[int(rng.integers(rows))] = steps
    parameters = lstm.state_dict()
    return Case(lstm, x, hx, lengths, right(parameters, x, hx), right(parameters, x, hx, lengths), folder)


def _whole(case: Case, rng: np.random.Generator) -> tuple[Result, Result]:
    if rng.random() < 0.5:
        return case.lstm(case.x, case.hx), case.whole
    return case.lstm(np.asfortranarray(case.x), case.hx), case.whole


def _lengths(case: Case, rng: np.random.Generator) -> tuple[Result, Result]:
    return case.lstm(case.x, case.hx, lengths=case.lengths), case.ragged


def _packed(case: Case, rng: np.random.Generator) -> tuple[Result, Result]:
    packed = numba_lstm.pack_padded_sequence(case.x, case.lengths, enforce_sorted=False)
    output, hx = case.lstm(packed, case.hx)
    return (numba_lstm.pad_packed_sequence(output)[0], hx), case.ragged


def _parts(case: Case, rng: np.random.Generator) -> tuple[Result, Result]:
    cut, hx, outputs = int(rng.integers(len(case.x) + 1)), case.hx, []
    for part in filter(len, (case.x[:cut], case.x[cut:])):
        output, hx = case.lstm(part, hx)
        outputs.append(output)
    return (np.concatenate(outputs), hx), case.whole


def _stream(case: Case, rng: np.random.Generator) -> tuple[Result, Result]:
    stream, output = case.lstm.stream(case.x.shape[1]), np.empty_like(case.whole[0], case.lstm.dtype)
    stream.state = case.hx
    if rng.random() < 0.5:
        for step, out in zip(case.x, output, strict=True):
            stream.step(step, out=out)
        return (output, stream.state), case.whole
    return (stream.step(case.x), stream.state), case.whole


def _pool(case: Case, rng: np.random.Generator) -> tuple[Result, Result]:
    """Advance random rows, each to its own length."""
    pool, output = case.lstm.stream(case.x.shape[1]), np.zeros_like(case.whole[0], case.lstm.dtype)
    pool.state = case.hx
    done, lengths = np.zeros(len(case.lengths), int), np.array(case.lengths)
    while (done < lengths).any():
        rows = rng.permutation(np.flatnonzero(done < lengths))[: int(rng.integers(1, len(lengths) + 1))]
        output[done[rows], rows] = pool.step(case.x[done[rows], rows], rows=rows)
        done[rows] += 1
    return (output, pool.state), case.ragged


def _window(case: Case, rng: np.random.Generator) -> tuple[Result, Result]:
    length = int(rng.integers(1, len(case.x) + 1))
    window, output = case.lstm.sliding_window(length, case.x.shape[1]), None
    for step in case.x:
        output = window.push(step)
        if rng.random() < 0.5:
            window.advance()
    expected = right(case.lstm.state_dict(), case.x[-length:])[0][-1]
    assert output is not None  # there were enough inputs
    return (output, (output, output)), (expected, (expected, expected))


def _file(case: Case, rng: np.random.Generator) -> tuple[Result, Result]:
    path = case.folder / f"lstm.{rng.choice(['safetensors', 'npz'])}"
    case.lstm.save(path)
    return numba_lstm.LSTM.load(path).eval()(case.x, case.hx), case.whole


def _assigned(case: Case, rng: np.random.Generator) -> tuple[Result, Result]:
    """Take another network's weights, one by one."""
    other = numba_lstm.LSTM(
        case.lstm.input_size,
        case.lstm.hidden_size,
        case.lstm.num_layers,
        bidirectional=case.lstm.bidirectional,
        proj_size=case.lstm.proj_size,
        dtype=case.lstm.dtype,
    ).eval()
    other(case.x)  # packed once, so that there is something stale to call
    for name, array in case.lstm.state_dict().items():
        setattr(other, name, array)
    return other(case.x, case.hx), case.whole


WAYS: dict[str, Way] = {
    "whole": _whole,
    "lengths": _lengths,
    "packed": _packed,
    "parts": _parts,
    "file": _file,
    "assigned": _assigned,
    "stream": _stream,
    "pool": _pool,
    "window": _window,
}

ONE_DIRECTION = ("parts", "stream", "pool", "window")


class Shared:
    """A module that all threads call, and two sets of weights that it has in turn."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        inputs, units, layers, steps, rows = SHARED
        self.lstm = numba_lstm.LSTM(inputs, units, layers, seed=rng).eval()
        self._x = rng.standard_normal((steps, rows, inputs)).astype(np.float32)
        self._weights: list[Mapping[str, np.ndarray]] = []
        self._allowed: list[Result] = []
        for _ in range(2):
            self.lstm.reset_parameters()
            self._weights.append(self.lstm.state_dict())
            self._allowed.append(right(self._weights[-1], self._x))

    def change(self, rng: np.random.Generator) -> None:
        """Load one of the two sets."""
        self.lstm.load_state_dict(self._weights[int(rng.integers(2))])

    def error(self) -> float:
        """Call, and return the distance from the nearer of the two right results."""
        result = self.lstm(self._x)
        return min(distance(result, allowed) for allowed in self._allowed)
