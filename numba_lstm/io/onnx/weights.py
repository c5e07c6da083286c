"""What an LSTM node has beside its input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ...contract.architecture import GATES, Architecture
from .attributes import Attributes, Refusal
from .constants.graph import Graph
from .constants.operation import Operation, check_inputs
from .constants.tensors import NotConstant, declared, wide
from .constants.values import Deferred, Values

INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
"""Of the operator."""

_OWN = ("W", "R", "B", "P")
"""Those that have to be in the file."""


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


def wired(node: Any) -> dict[str, str]:
    """Return the tensors that are the inputs of a node, by the operator's names; without those that are left out."""
    return {name: tensor for name, tensor in zip(INPUTS, node.input, strict=False) if tensor}


def read(node: Any, values: Values, operation: Operation, attributes: Attributes) -> tuple[Weights, np.dtype[Any]]:
    """Return the weights of a node, and their dtype in the file; or raise Refusal."""
    tensors = wired(node)
    missing = [name for name in ("X", "W", "R") if name not in tensors]
    if missing:
        raise Refusal(f"it has no {' and no '.join(missing)}")
    arrays: dict[str, np.ndarray | None] = dict.fromkeys(_OWN)
    for name in _OWN:
        if name in tensors:
            try:
                value = values.value(tensors[name])
            except NotConstant as reason:
                raise Refusal(f"its {name} is not in the file: {reason}") from reason
            if isinstance(value, Deferred) or value.dtype == object:
                raise Refusal(f"its {name} is not in the file: it depends on sizes of what the model is given")
            arrays[name] = value
    assert arrays["W"] is not None
    dtype = arrays["W"].dtype
    # The others have types that go with them, or are looked at where they are taken.
    like = {name: np.empty(0, np.int32 if name == "sequence_lens" else dtype) for name in tensors}
    there = {name: array for name, array in arrays.items() if array is not None}
    _check({name: array.shape for name, array in there.items()}, attributes)
    roles = (*INPUTS, *("" for _ in node.input))[: len(node.input)]
    try:
        check_inputs(operation, [(like | there).get(role) for role in roles])
    except NotConstant as reason:
        raise Refusal(str(reason)) from reason
    W, R, B, P = (None if array is None else wide(array) for array in arrays.values())
    assert W is not None
    assert R is not None
    return Weights(W, R, B, P), dtype


def _check(shapes: Mapping[str, tuple[int, ...]], attributes: Attributes) -> None:
    directions = attributes.directions
    hidden, width = ((shapes[name] or (0,))[-1] for name in ("R", "W"))
    wanted = {
        "W": (directions, GATES * hidden, width),
        "R": (directions, GATES * hidden, hidden),
        "B": (directions, 2 * GATES * hidden),
        "P": (directions, 3 * hidden),
    }
    for name, shape in shapes.items():
        if shape != wanted[name] or 0 in shape:
            raise Refusal(f"its {name} has shape {shape}, not {wanted[name]} with sizes of 1 or more")
    if attributes.hidden_size not in (None, hidden):
        raise Refusal(f"its hidden_size is {attributes.hidden_size}, and its R is for {hidden}")


def described(node: Any, graph: Graph) -> Mapping[str, tuple[tuple[int, ...], str]]:
    """Return the shapes and dtypes of a node's weights as far as the file declares them, by their names in the file."""
    found = {}
    for role, name in wired(node).items():
        home = graph.home(name)
        if role not in ("X", "sequence_lens") and home is not None and name in home.tensors:
            found[name] = declared(home.tensors[name])
    return found


def _reordered(stacked: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    i, o, f, c = np.split(stacked, GATES)
    return np.concatenate([i, f, c, o]).astype(dtype, copy=False)
