"""Shapes of what a model computes, as far as they follow from those of its inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .arithmetic import ELEMENTWISE
from .moves import axis_of
from .operation import QUANTIZED_LSTM, Operation
from .sizes import Size, Sizes
from .tensors import NotConstant

_KEEP = frozenset({
    "BatchNormalization", "CumSum", "Dropout", "Elu", "Erf", "Gelu", "HardSigmoid", "HardSwish", "Identity",
    "InstanceNormalization", "LayerNormalization", "LeakyRelu", "LogSoftmax", "LpNormalization", "LRN", "Mish", "PRelu",
    "Selu", "Softmax", "Softplus", "Softsign", "ThresholdedRelu",
})  # fmt: skip
"""Kinds whose first output has the shape of their first input, beside those that compute element by element."""

_WINDOWS = frozenset({"AveragePool", "Conv", "LpPool", "MaxPool"})
_RECURRENT = frozenset({"GRU", "LSTM", "RNN", QUANTIZED_LSTM})


class Producer:
    """A node whose outputs are asked for: what it does, and what goes in.

    Parameters
    ----------
    operation : Operation
    outputs : sequence of str
        Their names.
    shape : callable
        The shape of the input of some number; raises NotConstant if it is not known.
    value : callable
        The numbers of one, or open sizes; raises NotConstant if they are not known.
    count : int
        Of inputs.
    """

    def __init__(
        self,
        operation: Operation,
        outputs: Sequence[str],
        shape: Callable[[int], Sizes],
        value: Callable[[int], np.ndarray],
        count: int,
    ) -> None:
        self.operation, self.outputs, self.shape, self.value, self.count = operation, outputs, shape, value, count

    def open(self, output: int, axis: int) -> Size:
        """Return the size of an axis of which nothing is known."""
        return Size(self.outputs[output], axis)

    def axes(self) -> list[int]:
        """Return the axes that the operation names, an attribute or an input."""
        given = self.operation.attributes.get("axes")
        return list(given) if given is not None else [int(axis) for axis in self.value(1)]


def follow(producer: Producer, output: int) -> Sizes | None:
    """Return the shape of an output of a node, None if no rule says it; raise NotConstant if one lacks something."""
    kind = producer.operation.kind
    if kind in _RECURRENT:
        return _recurrent(producer, output)
    if kind == "Split":
        return _split(producer, output)
    if output:
        return None
    if kind in _KEEP or (kind in ELEMENTWISE and producer.count == 1) or kind in ("Clip", "CastLike"):
        return producer.shape(0)
    if kind in ELEMENTWISE and "broadcast" not in producer.operation.attributes:
        return _broadcast(producer)
    rule = _RULES.get(kind) or (_window if kind in _WINDOWS else None)
    return None if rule is None else rule(producer)


def _broadcast(producer: Producer) -> Sizes:
    shapes = [producer.shape(n) for n in range(producer.count)]
    rank = max(map(len, shapes))
    found: list[int | Size] = []
    for axis in range(rank):
        sizes = {shape[axis - rank + len(shape)] for shape in shapes if axis - rank + len(shape) >= 0} - {1}
        numbers = {size for size in sizes if isinstance(size, int)}
        # A number above 1 decides: an open size beside it is 1 or the same.
        one = numbers or sizes or {1}
        found.append(one.pop() if len(one) == 1 else producer.open(0, axis))
    return tuple(found)


def _transpose(producer: Producer) -> Sizes:
    shape = producer.shape(0)
    perm = producer.operation.attributes.get("perm") or range(len(shape))[::-1]
    if sorted(perm) != list(range(len(shape))):
        raise NotConstant("a Transpose does not fit what it is given")
    return tuple(shape[axis] for axis in perm)


def _squeeze(producer: Producer) -> Sizes | None:
    shape = producer.shape(0)
    if producer.operation.attributes.get("axes") is None and producer.count < 2:
        return None
    gone = {axis_of(axis, len(shape)) for axis in producer.axes()}
    return tuple(size for axis, size in enumerate(shape) if axis not in gone)


def _unsqueeze(producer: Producer) -> Sizes:
    left, axes = list(producer.shape(0)), producer.axes()
    rank = len(left) + len(axes)
    new = {axis_of(axis, rank) for axis in axes}
    return tuple(1 if axis in new else left.pop(0) for axis in range(rank))


def _gather(producer: Producer) -> Sizes:
    shape, indices = producer.shape(0), producer.shape(1)
    axis = axis_of(producer.operation.attributes["axis"], len(shape))
    return (*shape[:axis], *indices, *shape[axis + 1 :])


def _product(producer: Producer) -> Sizes | None:
    left, right = producer.shape(0), producer.shape(1)
    return (*left[:-1], right[1]) if len(right) == 2 and len(left) > 1 else None


def _concat(producer: Producer) -> Sizes:
    first = producer.shape(0)
    axis = axis_of(producer.operation.attributes.get("axis", 1), len(first))
    others = [producer.shape(n) for n in range(producer.count)]
    along = [shape[axis] for shape in others if len(shape) == len(first)]
    whole = sum(size for size in along if isinstance(size, int))
    known = len(along) == producer.count and all(isinstance(size, int) for size in along)
    return (*first[:axis], whole if known else producer.open(0, axis), *first[axis + 1 :])


def _split(producer: Producer, output: int) -> Sizes:
    shape = producer.shape(0)
    axis = axis_of(producer.operation.attributes.get("axis", 0), len(shape))
    return (*shape[:axis], producer.open(output, axis), *shape[axis + 1 :])


def _reshape(producer: Producer) -> Sizes | None:
    given = producer.operation.attributes.get("shape")
    target = list(producer.value(1)) if given is None else list(given)
    if producer.operation.attributes.get("allowzero") and 0 in target:
        return None
    found: list[int | Size] = []
    for axis, size in enumerate(target):
        if isinstance(size, Size):
            found.append(size)
        elif size == 0:
            found.append(producer.shape(0)[axis])
        else:
            found.append(int(size) if size > 0 else producer.open(0, axis))
    return tuple(found)


def _window(producer: Producer) -> Sizes:
    """Return the shape of what goes over an image with a window: only its first axis is that of what comes in."""
    shape = producer.shape(0)
    return (shape[0], *(producer.open(0, axis) for axis in range(1, len(shape))))


def _recurrent(producer: Producer, output: int) -> Sizes:
    steps, rows = producer.shape(0)[:2]
    attributes = producer.operation.attributes
    directions = 2 if attributes.get("direction", b"forward").lower() == b"bidirectional" else 1
    hidden = attributes.get("hidden_size") or producer.shape(2)[1 if producer.operation.kind == QUANTIZED_LSTM else -1]
    if attributes.get("layout"):
        rows, steps = steps, rows
        return (rows, steps, directions, hidden) if output == 0 else (rows, directions, hidden)
    return (steps, directions, rows, hidden) if output == 0 else (directions, rows, hidden)


_RULES: dict[str, Callable[[Producer], Any]] = {
    "Concat": _concat,
    "Gather": _gather,
    "MatMul": _product,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
