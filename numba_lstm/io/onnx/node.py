"""One LSTM node on the kernels, with the operator's own call."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ...contract.checks.arrays import as_array, readable_input
from ...execution.network import Network
from ...execution.variable_length import run_padded
from ...kernels.cells.cell_rule import CellRule
from .._shapes import check_shape
from .attributes import Attributes
from .constants.operations import Tries
from .supplies import Supply
from .weights import Weights


class Outputs(NamedTuple):
    """The outputs of the operator."""

    Y: np.ndarray
    Y_h: np.ndarray
    Y_c: np.ndarray


class Node:
    """An LSTM node of an ONNX file.

    Call it as the operator: ``Y, Y_h, Y_c = node(X, sequence_lens=None, initial_h=None, initial_c=None)``.  Many
    threads may do so at a time.

    Attributes
    ----------
    name : str
        In the file.
    direction : {"forward", "reverse", "bidirectional"}
    input_size, hidden_size : int
        Sizes of a row of X, and of the states.
    layout : {0, 1}
        1 if the batch comes first.
    dtype : dtype
        Of inputs and outputs: float32, or float64 if the weights are.
    form : str
        How weights are kept: ``"int8"``, ``"float16"``, ``"bfloat16"``, or as ``dtype`` says.
    """

    def __init__(
        self, name: str, attributes: Attributes, weights: Weights, supplies: Mapping[str, Supply], dtype: Any = None
    ) -> None:
        self.name, self.direction, self.layout = name, attributes.direction, attributes.layout
        self.attributes, self.weights, self.directions = attributes, weights, attributes.directions
        self.supplies = supplies
        self.dtype = np.dtype(np.result_type(weights.W, np.float32) if dtype is None else dtype)
        self.form = weights.form or self.dtype.name
        self.input_size, self.hidden_size = weights.W.shape[2], weights.R.shape[2]
        self._network: Network | None = None  # packed when it is first used
        self._read: tuple[tuple[int, ...], dict[str, np.ndarray | None]] = ((), {})  # for X of the shape that came last

    def __call__(
        self, X: np.ndarray, sequence_lens: Any = None, initial_h: Any = None, initial_c: Any = None
    ) -> Outputs:
        """Run the node.

        Parameters
        ----------
        X : (T, B, I) array, or (B, T, I) with layout 1
            Sequences.
        sequence_lens : (B,) array of int, optional
            How many steps of each are real.
        initial_h, initial_c : (D, B, H) arrays, or (B, D, H) with layout 1, optional
            First states.

        What is left out is taken from the file, where it may be constant or made for the batch at hand.  If the model
        is given it, or computes it from what it is given, it has to be given here too.  It is zeros, or the full
        length, if the node does not read it.

        Returns
        -------
        Y : (T, D, B, H) array, or (B, T, D, H)
            Hidden states of all steps; zeros beyond a sequence's end.
        Y_h, Y_c : (D, B, H) arrays, or (B, D, H)
            States after each sequence's last step; zeros if it has none.

        Raises
        ------
        ValueError
            If a shape or a length does not fit, or something is left out that only the caller knows.
        TypeError
            If something is no array of the node's dtype.
        """
        X = self._array("X", X, (None, None, self.input_size))
        given = {"sequence_lens": sequence_lens, "initial_h": initial_h, "initial_c": initial_c}
        given = {name: self._of_file(name, X.shape) if value is None else value for name, value in given.items()}
        if self.layout:
            X = X.transpose(1, 0, 2)
        steps, rows, _ = X.shape
        if not steps:
            raise ValueError("X has no steps")
        states = (
            self._state("initial_h", given["initial_h"], rows),
            self._state("initial_c", given["initial_c"], rows),
        )
        lengths = None if given["sequence_lens"] is None else _lengths(given["sequence_lens"], rows, steps)
        y, h, c = self._run(X, lengths, states)
        y = y.reshape(steps, rows, self.directions, self.hidden_size)
        if self.layout:
            return Outputs(_dense(y, (1, 0, 2, 3)), _dense(h, (1, 0, 2)), _dense(c, (1, 0, 2)))
        return Outputs(_dense(y, (0, 2, 1, 3)), h, c)

    def _of_file(self, name: str, shape: tuple[int, ...]) -> np.ndarray | None:
        """Return a state or lengths as the file has them for an X of some shape."""
        of, known = self._read
        if of != shape or name not in known:
            found = self.supplies[name].read(shape)
            if found is not None and name != "sequence_lens" and not found.any():
                found = None  # zeros take less time where it is known that they are
            # Another thread may be doing the same; what it has read is as good.
            known = {**(known if of == shape else {}), name: found}
            self._read = shape, known
        return known[name]

    def _run(
        self, x: np.ndarray, lengths: np.ndarray | None, states: tuple[np.ndarray | None, np.ndarray | None]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return output (T, B, D * H) and states; of sequences of any length."""
        h, c = self._both(states, x.shape[1])
        if lengths is not None and (lengths == x.shape[0]).all():
            lengths = None
        if lengths is None:
            if self.direction == "reverse":
                y, h_n, c_n = self._forward(x[::-1], h, c)
                return y[::-1], h_n, c_n
            return self._forward(x, h, c)
        real = np.flatnonzero(lengths)  # an empty sequence has nothing to run
        shape = (self.directions, x.shape[1], self.hidden_size)
        y = np.zeros((*x.shape[:2], self.directions * self.hidden_size), self.dtype)
        h_n, c_n = np.zeros(shape, self.dtype), np.zeros(shape, self.dtype)
        if len(real):
            some = slice(None) if len(real) == x.shape[1] else real
            x, own = x[:, some], lengths[real]
            order = _reversed_within(own, len(x)) if self.direction == "reverse" else None
            if order is not None:
                x = np.take_along_axis(x, order, 0)
            h, c = (None if state is None else np.ascontiguousarray(state[:, some]) for state in (h, c))
            output, h_n[:, some], c_n[:, some] = run_padded(
                self._packed(), False, readable_input(x, self.dtype), own, h, c, None
            )
            y[:, some] = output if order is None else np.take_along_axis(output, order, 0)
        return y, h_n, c_n

    def _forward(
        self, x: np.ndarray, h: np.ndarray | None, c: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self._packed()(readable_input(x, self.dtype), h, c, batch_first=False)

    def _both(
        self, states: tuple[np.ndarray | None, np.ndarray | None], rows: int
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Return two states in C order, or none if both are zeros."""
        h, c = states
        if h is None and c is None:
            return None, None
        zeros = np.zeros((self.directions, rows, self.hidden_size), self.dtype)
        return (zeros if h is None else h), (zeros if c is None else c)

    def _packed(self) -> Network:
        network = self._network
        if network is None:
            weights = self.weights
            rule = self.attributes.rule._replace(peepholes=weights.peepholes())
            parameters = weights.parameters(self.dtype)
            network = self._network = Network(weights.architecture, parameters, self.dtype, rule, weights.form)
        return network

    def beyond_lstm(self, tries: Tries) -> str | None:
        """Return what the node does that a layer of an `LSTM` does not."""
        weights = self.weights
        if not self.attributes.rule._replace(clip=math.inf).plain:
            return "has activations or coupled gates of its own"
        if not math.isinf(self.attributes.clip):
            return f"clips what gates add up to {self.attributes.clip:g}"
        if weights.P is not None:
            return "has peepholes"
        if self.direction == "reverse":
            return "runs from the end to the start"
        return next((why for why in (each.beyond_lstm(tries) for each in self.supplies.values()) if why), None)

    def described(self) -> dict[str, object]:
        """Return sizes and options for a reader, those that are not usual."""
        a = self.attributes
        sizes: dict[str, object] = {"input_size": self.input_size, "hidden_size": self.hidden_size}
        sizes["direction"] = a.direction
        for name, present in {"layout": a.layout, "input_forget": a.input_forget}.items():
            if present:
                sizes[name] = int(present)
        if not math.isinf(a.clip):
            sizes["clip"] = a.clip
        if not CellRule(a.activations).plain:
            sizes["activations"] = ", ".join(each.name for side in a.activations for each in side)
        if self.weights.P is not None:
            sizes["peepholes"] = True
        if self.weights.form is not None:
            sizes["form"] = self.form
        sources = {name: supply.described() for name, supply in self.supplies.items()}
        return sizes | {name: source for name, source in sources.items() if source is not None}

    def _state(self, name: str, value: Any, rows: int) -> np.ndarray | None:
        if value is None:
            return None
        shape = (rows, self.directions) if self.layout else (self.directions, rows)
        array = self._array(name, value, (*shape, self.hidden_size))
        return np.ascontiguousarray(array.transpose(1, 0, 2) if self.layout else array)

    def _array(self, name: str, value: Any, shape: tuple[int | None, ...]) -> np.ndarray:
        """Return an array of the node's dtype; half precision is widened."""
        array = as_array(value, name)
        check_shape(name, array, shape)
        if array.dtype.newbyteorder("=") not in (self.dtype, np.float16):
            raise TypeError(f"{name} should be {self.dtype}, got: {array.dtype}")
        return array.astype(self.dtype, copy=False)

    def __repr__(self) -> str:
        layout = ", layout=1" if self.layout else ""
        form = f", form={self.form!r}" if self.weights.form is not None else ""
        return f"<LSTM {self.name!r}: {self.input_size} -> {self.hidden_size}, {self.direction}{layout}{form}>"


def _dense(array: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    return np.ascontiguousarray(array.transpose(axes))


def _lengths(value: Any, rows: int, steps: int) -> np.ndarray:
    array = as_array(value, "sequence_lens")
    if array.dtype.kind not in "iu":
        raise TypeError(f"sequence_lens should be integers, got: {array.dtype}")
    if array.shape != (rows,):
        raise ValueError(f"sequence_lens should have shape ({rows},), got: {array.shape}")
    if rows and not (array.min() >= 0 and array.max() <= steps):
        raise ValueError(f"sequence_lens should be from 0 to {steps}, got: {array.min()} to {array.max()}")
    return array.astype(np.int64)


def _reversed_within(lengths: np.ndarray, steps: int) -> np.ndarray:
    """Return for every step and row the step that takes its place, (T, B, 1); padding stays."""
    t = np.arange(steps)[:, None]
    order: np.ndarray = np.where(t < lengths, lengths - 1 - t, t)
    return order[..., None]
