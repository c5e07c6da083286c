"""What an LSTM node has beside its input."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ...contract.architecture import GATES, Architecture
from ...contract.weight_form import SCALE
from .attributes import Attributes, Refusal
from .constants.deferred import Deferred
from .constants.graph import Graph
from .constants.operation import QUANTIZED_LSTM, Operation, check_inputs
from .constants.tensors import BFLOAT16, NotConstant, declared, wide
from .constants.values import Values
from .quantized import Quantized, behind, of_operator, small

T = TypeVar("T")

INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
"""Of the operator."""

AS_NUMBERS = "numbers"
"""Asks for weights in no smaller form, whatever their dtype."""

_SCALES = ("W_scale", "W_zero_point", "R_scale", "R_zero_point")
"""Those that follow where weights are of 8 bits."""

_OWN = ("W", "R", "B", "P", *_SCALES)
"""Those that have to be in the file."""


class Weights(NamedTuple):
    """Arrays of the file, gates in ONNX's order i, o, f, c; the matrices in the form that is kept."""

    W: np.ndarray
    """(D, 4 * H, I)"""
    R: np.ndarray
    """(D, 4 * H, H)"""
    B: np.ndarray | None
    """(D, 8 * H)"""
    P: np.ndarray | None
    """(D, 3 * H), gates i, o, f"""
    form: str | None = None
    """One of `weight_form`; None if the matrices are numbers of the file."""
    W_scale: np.ndarray | None = None
    """(D, 4 * H) with int8"""
    R_scale: np.ndarray | None = None
    """(D, 4 * H) with int8"""

    @property
    def architecture(self) -> Architecture:
        """Sizes."""
        directions, _, input_size = self.W.shape
        return Architecture(input_size, self.R.shape[2], bias=self.B is not None, bidirectional=directions == 2)

    def parameters(self, dtype: np.dtype[Any], layer: int = 0) -> dict[str, np.ndarray]:
        """Return them by torch's names, gates in its order i, f, g, o; matrices in a form as that keeps them."""
        named = {}
        for direction, suffix in zip(range(len(self.W)), (f"_l{layer}", f"_l{layer}_reverse"), strict=False):
            for kind, matrix, scale in (("ih", self.W, self.W_scale), ("hh", self.R, self.R_scale)):
                name = f"weight_{kind}{suffix}"
                named[name] = _reordered(matrix[direction], dtype if self.form is None else matrix.dtype)
                if scale is not None:
                    named[name + SCALE] = _reordered(scale[direction], scale.dtype)
            if self.B is not None:
                for kind, side in zip(("bias_ih", "bias_hh"), np.split(self.B[direction], 2), strict=True):
                    named[kind + suffix] = _reordered(side, dtype)
        return named

    def peepholes(self) -> tuple[np.ndarray, ...] | None:
        """Return those of each direction, (3, H), gates in torch's order i, f, o."""
        return None if self.P is None else tuple(side.reshape(3, -1)[[0, 2, 1]] for side in self.P)


def wired(node: Any) -> dict[str, str]:
    """Return the tensors that are the inputs of a node, by the operator's names; without those that are left out."""
    return {name: tensor for name, tensor in zip(_inputs(node), node.input, strict=False) if tensor}


def _inputs(node: Any) -> tuple[str, ...]:
    return INPUTS if node.op_type == "LSTM" else (*INPUTS, *_SCALES)


def read(
    node: Any, values: Values, operation: Operation, attributes: Attributes, asked: str | None = None
) -> tuple[Weights, np.dtype[Any]]:
    """Return the weights of a node, and the dtype of its states in the file; or raise Refusal.

    ``asked`` is the form of the weights, ``"float32"`` or `AS_NUMBERS`.  Without it that is int8 where both matrices
    are of 8 bits in the file, with rows that int8 can have, and the cells are those of torch; and numbers as they are
    elsewhere.
    """
    tensors = wired(node)
    missing = [name for name in ("X", "W", "R") if name not in tensors]
    if missing:
        raise Refusal(f"it has no {' and no '.join(missing)}")
    arrays = {name: _constant(values, name, tensors[name]) for name in _OWN if name in tensors}
    eight_bits = operation.kind == QUANTIZED_LSTM
    dtype = np.dtype(np.float32) if eight_bits else arrays["W"].dtype
    _check({name: array.shape for name, array in arrays.items()}, attributes, eight_bits)
    # The others have types that go with them, or are looked at where they are taken.
    like = {name: np.empty(0, np.int32 if name == "sequence_lens" else dtype) for name in tensors}
    roles = (*_inputs(node), *("" for _ in node.input))[: len(node.input)]
    try:
        check_inputs(operation, [(like | arrays).get(role) for role in roles])
    except NotConstant as reason:
        raise Refusal(str(reason)) from reason
    plain = attributes.rule.plain and "P" not in arrays
    if asked not in (None, AS_NUMBERS) and dtype == np.float64:
        raise Refusal(f"its weights are float64, and weights={asked!r} is for those of fewer bits")
    if asked == "int8" and not plain:
        raise Refusal("int8 is for the cells of torch, and it has activations, a clip or peepholes of its own")
    W, R = (_Matrix(role, arrays, values, tensors) for role in ("W", "R"))
    form = None if asked in ("float32", AS_NUMBERS) else asked
    wholes = (each.quantized() for each in (W, R))
    if asked is None and plain and all(whole is not None and whole.fits_int8 for whole in wholes):
        form = "int8"
    (w, w_scale), (r, r_scale) = W.kept(form), R.kept(form)
    B, P = (_widened(values, tensors[name], arrays[name]) if name in arrays else None for name in ("B", "P"))
    return Weights(w, r, B, P, form, w_scale, r_scale), dtype


def _constant(values: Values, role: str, tensor: str) -> np.ndarray:
    try:
        value = values.value(tensor)
    except NotConstant as reason:
        raise Refusal(f"its {role} is not in the file: {reason}") from reason
    if isinstance(value, Deferred) or value.dtype == object:
        raise Refusal(f"its {role} is not in the file: it depends on sizes of what the model is given")
    return value


def _widened(values: Values, tensor: str, array: np.ndarray) -> np.ndarray:
    """Return numbers that NumPy has; those of bfloat16 become float32 once, however many nodes have them."""
    if array.dtype != BFLOAT16:
        return array
    key = (values.graph.home(tensor), tensor, "numbers")
    return values.graph.model.once(key, 4 * array.size, lambda: wide(array))


def _check(shapes: Mapping[str, tuple[int, ...]], attributes: Attributes, eight_bits: bool) -> None:
    directions = attributes.directions
    # Where they are of 8 bits matrices lie the other way round, a column for each gate of each unit.
    hidden, width = ((0, 0, *shapes[name])[-2 if eight_bits else -1] for name in ("R", "W"))
    rows = GATES * hidden
    wanted: dict[str, list[tuple[int, ...]]] = {
        "W": [(directions, width, rows) if eight_bits else (directions, rows, width)],
        "R": [(directions, hidden, rows) if eight_bits else (directions, rows, hidden)],
        "B": [(directions, 2 * rows)],
        "P": [(directions, 3 * hidden)],
        **{name: [(directions,), (directions, rows)] for name in _SCALES},
    }
    for name, shape in shapes.items():
        if shape not in wanted[name] or 0 in shape:
            likely = " or ".join(map(str, wanted[name]))
            raise Refusal(f"its {name} has shape {shape}, not {likely} with sizes of 1 or more")
    if attributes.hidden_size not in (None, hidden):
        raise Refusal(f"its hidden_size is {attributes.hidden_size}, and its R is for {hidden}")


class _Matrix:
    """One of the weight matrices of a node; what is made of it is made once, however many nodes have it."""

    def __init__(self, role: str, arrays: Mapping[str, np.ndarray], values: Values, tensors: Mapping[str, str]) -> None:
        self._role, self._array, self._values, self._tensor = role, arrays[role], values, tensors[role]
        names = [name for name in (role, f"{role}_scale", f"{role}_zero_point") if name in tensors]
        self._parts = [arrays[name] for name in names] if len(names) == 3 else None
        self._key = tuple((values.graph.home(tensors[name]), tensors[name]) for name in names)

    def quantized(self) -> Quantized | None:
        """Return it as whole numbers, if it is that in the file."""
        if self._parts is None:
            return self._once("whole", 0, lambda: behind(self._values, self._tensor, self._array))
        return self._of_operator(self._parts)

    def _of_operator(self, parts: Sequence[np.ndarray]) -> Quantized:
        return self._once("whole", 2, lambda: of_operator(self._role, *parts))

    def kept(self, form: str | None) -> tuple[np.ndarray, np.ndarray | None]:
        """Return it in a form, and its scales if that has some."""
        if form is None:
            return self._numbers(), None
        return self._once(form, 4, lambda: self._in(form))

    def _numbers(self) -> np.ndarray:
        if self._parts is None:
            return _widened(self._values, self._tensor, self._array)
        return self._once("numbers", 4, self._of_operator(self._parts).numbers)

    def _in(self, form: str) -> tuple[np.ndarray, np.ndarray | None]:
        whole = self.quantized() if form == "int8" else None
        if whole is not None:
            return whole.rows(self._role)
        return small(self._role, self._numbers().astype(np.float32, copy=False), form)

    def _once(self, what: str, cost: int, make: Callable[[], T]) -> T:
        """Return what is made, of so many bytes for each number."""
        return self._values.graph.model.once((*self._key, what), cost * self._array.size, make)


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
