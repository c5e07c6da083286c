"""What an LSTM node has beside its input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ...parameters import Architecture
from .attributes import Attributes, Refusal
from .graph import Graph
from .tensors import NotConstant, declared

GATES = 4

_PLACES = {"W": 1, "R": 2, "B": 3, "sequence_lens": 4, "initial_h": 5, "initial_c": 6, "P": 7}
"""Inputs of the operator, X aside."""


class Weights(NamedTuple):
    """Arrays of the file, gates in ONNX's order i, o, f, c."""

    W: np.ndarray
    """(D, 4 * H, I)"""
    R: np.ndarray
    """(D, 4 * H, H)"""
    B: np.ndarray | None
    """(D, 8 * H)"""
    P: np.ndarray | None
    """(D, 3 * H), gates i, o, f"""
    sequence_lens: np.ndarray | None
    initial_h: np.ndarray | None
    initial_c: np.ndarray | None
    """What the file gives for these inputs, None where the model computes them or leaves them out."""

    @property
    def architecture(self) -> Architecture:
        """Sizes."""
        directions, _, input_size = self.W.shape
        return Architecture(input_size, self.R.shape[2], bias=self.B is not None, bidirectional=directions == 2)

    def parameters(self, dtype: np.dtype[Any], layer: int = 0) -> dict[str, np.ndarray]:
        """Return them by torch's names, gates in its order i, f, g, o."""
        named = {}
        for direction, suffix in zip(range(len(self.W)), (f"_l{layer}", f"_l{layer}_reverse"), strict=False):
            named["weight_ih" + suffix] = _reordered(self.W[direction], dtype)
            named["weight_hh" + suffix] = _reordered(self.R[direction], dtype)
            if self.B is not None:
                for kind, side in zip(("bias_ih", "bias_hh"), np.split(self.B[direction], 2), strict=True):
                    named[kind + suffix] = _reordered(side, dtype)
        return named

    def peepholes(self) -> tuple[np.ndarray, ...] | None:
        """Return those of each direction, (3, H), gates in torch's order i, f, o."""
        return None if self.P is None else tuple(side.reshape(3, -1)[[0, 2, 1]] for side in self.P)


def read(node: Any, graph: Graph, attributes: Attributes) -> Weights:
    """Return the weights of a node, or raise Refusal."""
    inputs = [*node.input, *[""] * len(_PLACES)]
    there = {name: inputs[place] for name, place in _PLACES.items() if inputs[place]}
    arrays: dict[str, np.ndarray | None] = dict.fromkeys(Weights._fields)
    for name, tensor in there.items():
        try:
            arrays[name] = graph.constant(tensor)
        except NotConstant as reason:
            if name not in ("sequence_lens", "initial_h", "initial_c"):
                raise Refusal(f"its {name} is not in the file: {reason}") from reason
    if arrays["W"] is None or arrays["R"] is None:
        raise Refusal("it has no W or no R")
    weights = Weights(**arrays)  # type: ignore[arg-type]
    _check(weights, attributes)
    return weights


def _check(weights: Weights, attributes: Attributes) -> None:
    directions = attributes.directions
    hidden = weights.R.shape[-1] if weights.R.ndim else 0
    width = weights.W.shape[-1] if weights.W.ndim else 0
    wanted = {
        "W": (directions, GATES * hidden, width),
        "R": (directions, GATES * hidden, hidden),
        "B": (directions, 2 * GATES * hidden),
        "P": (directions, 3 * hidden),
    }
    kinds = {"f"}
    for name, shape in wanted.items():
        array = getattr(weights, name)
        if array is None:
            continue
        if array.shape != shape or not array.size:
            raise Refusal(f"its {name} has shape {array.shape}, not {shape} with sizes of 1 or more")
        if array.dtype.kind not in kinds:
            raise Refusal(f"its {name} holds {array.dtype}")
    if attributes.hidden_size not in (None, hidden):
        raise Refusal(f"its hidden_size is {attributes.hidden_size}, and its R is for {hidden}")


def described(node: Any, graph: Graph) -> Mapping[str, tuple[tuple[int, ...], str]]:
    """Return the shapes and dtypes of a node's weights as far as the file declares them, by their names in the file."""
    found = {}
    for place, name in enumerate(node.input):
        if place in (0, _PLACES["sequence_lens"]) or not name:
            continue
        around: Graph | None = graph
        while around is not None:
            if name in around.tensors:
                found[name] = declared(around.tensors[name])
                break
            around = around.parent
    return found


def _reordered(stacked: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    i, o, f, c = np.split(stacked, GATES)
    return np.concatenate([i, f, c, o]).astype(dtype, copy=False)
