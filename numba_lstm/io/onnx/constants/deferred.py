"""Tensors that depend on sizes of what a model is given: their numbers for some sizes, and what holds for all sizes."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from . import operations
from .arithmetic import ELEMENTWISE
from .moves import MOVES, data_inputs
from .operation import Operation
from .operations import Budget, Tries
from .sizes import Size, Unbound, bound, open_sizes
from .tensors import NotConstant, onnx

DEEPEST = 80
"""Operations that follow each other."""
TOO_LONG = "its computation is too long"


class Deferred:
    """A tensor that depends on sizes that are not known yet.

    Parameters
    ----------
    operation : Operation
        What makes it.
    inputs : sequence of ndarray, Deferred or None
        Of what.
    output : int
        Which output of the operation it is.
    """

    def __init__(self, operation: Operation, inputs: list[Value | None], output: int) -> None:
        self.operation, self.inputs, self.output = operation, inputs, output
        self.depth: int = 1 + max((each.depth for each in inputs if isinstance(each, Deferred)), default=0)
        if self.depth > DEEPEST:
            raise NotConstant(TOO_LONG)


Value = np.ndarray | Deferred


def at(value: Value, known: Mapping[Size, int], budget: Budget, tries: Tries | None = None) -> np.ndarray:
    """Return a tensor's numbers where some sizes are known; raise Unbound if others are missing.

    Operations are counted by ``tries`` while a file is loaded, and not when a node is called.
    """
    found: np.ndarray = _At(known, budget, tries).of(value)
    if found.dtype == object:
        raise Unbound(open_sizes(found))
    return found


class _At:
    """`at`, for tensors that are made of each other."""

    def __init__(self, known: Mapping[Size, int], budget: Budget, tries: Tries | None) -> None:
        self.known, self.budget, self.tries = known, budget, tries
        self._found: dict[int, np.ndarray] = {}

    def of(self, value: Value) -> np.ndarray:
        if id(value) not in self._found:
            self._found[id(value)] = self._made(value) if isinstance(value, Deferred) else self._bound(value)
        return self._found[id(value)]

    def _bound(self, value: np.ndarray) -> np.ndarray:
        if self.tries is not None and value.dtype == object:
            self.tries.take(value.size)
        return bound(value, self.known)

    def _made(self, value: Deferred) -> np.ndarray:
        if self.tries is not None:
            self.tries.take(len(value.inputs))
        inputs = [each if each is None else self.of(each) for each in value.inputs]
        made = operations.compute(value.operation, inputs, self.budget)
        if value.output >= len(made):
            raise NotConstant(f"this output of {value.operation.kind} is not computed here")
        return made[value.output]


def everywhere(value: Value, budget: Budget, tries: Tries) -> Any:
    """Return the number, or the open size, that every place of a tensor has whatever sizes are; None if none is known.

    What follows is proven, with no sizes in particular.  Raise NotConstant if ``tries`` are used up.
    """
    return _Everywhere(budget, tries).of(value)


class _Everywhere:
    """`everywhere`, for tensors that are made of each other."""

    def __init__(self, budget: Budget, tries: Tries) -> None:
        self.budget, self.tries = budget, tries
        self._found: dict[int, Any] = {}
        self._sizes: dict[int, np.ndarray | None] = {}

    def of(self, value: Value) -> Any:
        if isinstance(value, np.ndarray):
            flat = value.reshape(-1)
            return flat[0] if flat.size and np.all(flat == flat[0]) else None
        if id(value) not in self._found:
            self.tries.take(len(value.inputs))
            sizes = self._of_sizes(value)
            self._found[id(value)] = self._spread(value) if sizes is None else self.of(sizes)
        return self._found[id(value)]

    def _of_sizes(self, value: Value | None) -> np.ndarray | None:
        """Return open sizes that are moved about and cast, as they are uncast; None for other tensors."""
        if value is None or isinstance(value, np.ndarray):
            return value
        if id(value) not in self._sizes:
            self.tries.take(len(value.inputs))
            inputs = [self._of_sizes(each) for each in value.inputs]
            found = None
            if _keeps_sizes(value.operation):
                found = inputs[0]
            elif value.operation.kind in MOVES and [n is None for n in inputs] == [n is None for n in value.inputs]:
                with contextlib.suppress(NotConstant):
                    found = operations.compute(value.operation, inputs, self.budget)[value.output]
            self._sizes[id(value)] = None if found is None or found.dtype != object else found
        return self._sizes[id(value)]

    def _spread(self, value: Deferred) -> Any:
        """Return what is everywhere because it is everywhere in what the tensor is made of."""
        kind, inputs = value.operation.kind, value.inputs
        if kind == "ConstantOfShape":
            return value.operation.attributes.get("value", np.zeros(1, np.float32)).reshape(-1)[0]
        moves = kind in MOVES
        if (not moves and kind not in ELEMENTWISE) or (kind == "Dropout" and value.output):  # which is its mask
            return None
        moved = data_inputs(kind, len(inputs)) if moves else range(len(inputs))
        parts = [self.of(each) for each in (inputs[place] for place in moved) if each is not None]
        if any(part is None for part in parts):
            return None
        if moves or (_keeps_sizes(value.operation) and isinstance(parts[0], Size)):
            return parts[0] if all(part == parts[0] for part in parts) else None
        if any(isinstance(part, Size) for part in parts) or len(parts) < len(inputs):
            return None
        with contextlib.suppress(NotConstant):
            return operations.compute(value.operation, [np.asarray(part) for part in parts], self.budget)[0][()]
        return None


_WIDE_ENOUGH = {onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.INT32, onnx.TensorProto.INT64}


def _keeps_sizes(operation: Operation) -> bool:
    """Whether an operation is a Cast to a type that has all numbers of steps or rows."""
    return operation.kind == "Cast" and operation.attributes["to"] in _WIDE_ENOUGH
