"""Operations on constants: what exporters leave between weights and nodes, between layers, and before states.

Whatever a small file asks for stays bounded: what comes out is counted before it is made.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .arithmetic import ARITHMETIC, ELEMENTWISE
from .conversions import CONVERSIONS
from .makers import MAKE, MAKERS
from .moves import GROW, MOVES, data_inputs
from .operation import Operation, check_inputs, check_outputs
from .sizes import Unbound, open_sizes, settled
from .tensors import NotConstant, onnx

_OPERATIONS = {**ARITHMETIC, **CONVERSIONS, **MAKERS, **MOVES}
_COUNTS = {**GROW, **MAKE}

KNOWN = frozenset(_OPERATIONS)
"""Kinds of operations that `compute` does."""

OF_SIZES = frozenset({"Shape", "Size"})
"""Kinds that read the sizes of a tensor and not its numbers; `compute` is given the sizes."""

_ORDER = frozenset({"Clip", "Max", "Min", "ReduceMax", "ReduceMin", "Relu"})
"""Kinds for which runtimes differ in what they make of NaN."""

_WIDEST = 8
"""Bytes of a number, at most."""


class Budget:
    """Bytes that tensors made from others may have together, and each of them.

    A small file can ask for much: a thousand nodes that each convert the same weights.
    """

    def __init__(self, limit: int) -> None:
        self.limit = self.left = limit

    def take(self, size: int) -> None:
        """Count some bytes, or raise NotConstant if they are too many."""
        if size > self.left:
            raise NotConstant("the model's constants would be far larger than its file")
        self.left -= size


class Tries:
    """Inputs of operations that may be looked at while a file is loaded, beside the one time that each is made.

    A small file can ask for much: a thousand nodes whose states are made of the same thousand tensors, which are tried
    out for each node.
    """

    def __init__(self, limit: int) -> None:
        self.left = limit

    def take(self, inputs: int) -> None:
        """Count an operation by its inputs, or raise NotConstant if there have been too many."""
        self.left -= 1 + inputs
        if self.left < 0:
            raise NotConstant("the model has too many operations to try them out for each of its nodes")


def compute(operation: Operation, inputs: Sequence[np.ndarray | None], budget: Budget) -> list[np.ndarray]:
    """Return the outputs of an operation.

    Parameters
    ----------
    operation : Operation
        Its kind is one of `KNOWN`.
    inputs : sequence of ndarray or None
        None where one is left out; in place of the tensor its sizes for kinds in `OF_SIZES`.
    budget : Budget
        From which what it makes is taken.

    Raises
    ------
    Unbound
        If sizes decide that are still open.
    NotConstant
        If it cannot be computed, with the reason.
    """
    kind, there = operation.kind, [each for each in inputs if each is not None]
    _check_open(operation, inputs)
    try:
        with np.errstate(all="ignore"):
            if kind not in OF_SIZES:
                check_inputs(operation, inputs)
            count = _count(operation, inputs)
            if count * _WIDEST > budget.limit:
                raise NotConstant(f"{kind} makes more of it than the file has")
            if kind in _ORDER and any(each.dtype.kind == "f" and np.isnan(each).any() for each in there):
                raise NotConstant(f"{kind} of what is no number is not the same everywhere")
            made = _OPERATIONS[kind](operation, *inputs)
    except NotConstant:
        raise
    except (ArithmeticError, IndexError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise NotConstant(f"{kind} cannot be computed: {error}") from error
    results = [settled(np.asarray(each)) for each in (made if isinstance(made, list) else [made])]
    check_outputs(operation, results)
    budget.take(_cost(kind, results, there))
    return results


def _check_open(operation: Operation, inputs: Sequence[np.ndarray | None]) -> None:
    """Raise Unbound if an operation has to know sizes that are open; those that it only moves may be."""
    kind = operation.kind
    moved = data_inputs(kind, len(inputs)) if kind in MOVES else ()
    if kind == "Cast" and operation.attributes["to"] == onnx.TensorProto.INT64:  # which they are
        moved = range(1)
    for place, each in enumerate(inputs):
        if each is not None and each.dtype == object and place not in moved:
            raise Unbound(open_sizes(each))


def _count(operation: Operation, inputs: Sequence[Any]) -> int:
    """Return how many numbers an operation makes, at most."""
    kind = operation.kind
    if kind in _COUNTS:
        return _COUNTS[kind](operation, *inputs)
    there = [each for each in inputs if each is not None]
    if kind in ELEMENTWISE and "broadcast" not in operation.attributes:
        return math.prod(np.broadcast_shapes(*(each.shape for each in there)))
    return sum(each.size for each in there)


def _cost(kind: str, results: list[np.ndarray], inputs: list[np.ndarray]) -> int:
    """Return how many bytes were made, or looked at to make fewer; none for another view of what was there."""
    made, read = sum(each.nbytes for each in results), sum(each.nbytes for each in inputs)
    if made <= read and all(any(np.may_share_memory(each, one) for one in inputs) for each in results):
        return 0
    return made if kind in MOVES else max(made, read)
