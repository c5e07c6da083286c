"""Operations on constants: what exporters leave between weights and nodes, and between layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .tensors import DTYPES, NotConstant, array, onnx

Given = Mapping[str, Any]
"""Attributes by name."""


def constant(attributes: Given, folder: Path) -> np.ndarray:
    """Return what a node Constant holds."""
    for name, attribute in attributes.items():
        if name == "value":
            return array(attribute.t, folder)
        if name == "value_float":
            return np.array(attribute.f, np.float32)
        if name == "value_floats":
            return np.array(attribute.floats, np.float32)
        if name == "value_int":
            return np.array(attribute.i, np.int64)
        if name == "value_ints":
            return np.array(attribute.ints, np.int64)
    raise NotConstant("a Constant holds no numbers")


def compute(kind: str, attributes: Given, inputs: list[Any], outputs: int, limit: int) -> list[np.ndarray]:
    """Return the outputs of an operation, or raise NotConstant.

    Parameters
    ----------
    kind : str
        Of operation, one of `KNOWN`.
    attributes : mapping
        Of the node.
    inputs : list of ndarray or None
        None where it is left out.
    outputs : int
        How many it has.
    limit : int
        Bytes that a result may have; nothing larger is made.
    """
    if kind == "Dropout" and len(inputs) > 2:  # told to drop while the model runs
        raise NotConstant(f"{kind} computes it")
    try:
        if kind in _SIZES and _SIZES[kind](attributes, *inputs) > limit:
            raise NotConstant(f"{kind} makes more of it than the file has")
        if kind == "Split":
            return _split(attributes, outputs, *inputs)
        return [np.asarray(_OPERATIONS[kind](attributes, *inputs))]
    except NotConstant:
        raise
    except (IndexError, KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise NotConstant(f"{kind} cannot be computed: {error}") from error


def _axes(attributes: Given, given: np.ndarray | None) -> tuple[int, ...] | None:
    """Return axes, an attribute before opset 13 and an input since then."""
    if given is not None:
        return tuple(map(int, given))
    return tuple(attributes["axes"].ints) if "axes" in attributes else None


def _squeeze(attributes: Given, x: np.ndarray, axes: np.ndarray | None = None) -> np.ndarray:
    return np.squeeze(x, _axes(attributes, axes))


def _unsqueeze(attributes: Given, x: np.ndarray, axes: np.ndarray | None = None) -> np.ndarray:
    return np.expand_dims(x, _axes(attributes, axes) or ())


def _transpose(attributes: Given, x: np.ndarray) -> np.ndarray:
    return np.transpose(x, tuple(attributes["perm"].ints) if "perm" in attributes else None)


def _concat(attributes: Given, *parts: np.ndarray) -> np.ndarray:
    return np.concatenate(parts, attributes["axis"].i)


def _reshape(attributes: Given, x: np.ndarray, shape: np.ndarray | None = None) -> np.ndarray:
    sizes = [int(size) for size in (attributes["shape"].ints if shape is None else shape)]
    if not ("allowzero" in attributes and attributes["allowzero"].i):
        sizes = [x.shape[axis] if size == 0 else size for axis, size in enumerate(sizes)]
    return x.reshape(sizes)


def _slice(attributes: Given, x: np.ndarray, *given: Any) -> np.ndarray:
    if given:
        starts, ends, axes, steps = [*given, None, None][:4]
    else:
        starts, ends = attributes["starts"].ints, attributes["ends"].ints
        axes, steps = _axes(attributes, None), None
    cut = [slice(None)] * x.ndim
    for n, (start, end) in enumerate(zip(starts, ends, strict=True)):
        axis = n if axes is None else int(axes[n])
        step = 1 if steps is None else int(steps[n])
        # Ends far below 0 mean: to the first one.  Python's slices would stop before it.
        last = None if step < 0 and end < -x.shape[axis] else int(end)
        cut[axis] = slice(int(start), last, step)
    return x[tuple(cut)]


def _split(attributes: Given, outputs: int, x: np.ndarray, sizes: Any = None) -> list[np.ndarray]:
    axis = attributes["axis"].i if "axis" in attributes else 0
    if sizes is None and "split" in attributes:
        sizes = attributes["split"].ints
    if sizes is None:
        return np.array_split(x, outputs, axis)
    return np.split(x, np.cumsum(sizes)[:-1], axis)


def _gather(attributes: Given, x: np.ndarray, indices: np.ndarray) -> np.ndarray:
    return np.take(x, indices, attributes["axis"].i if "axis" in attributes else 0)


def _cast(attributes: Given, x: np.ndarray) -> np.ndarray:
    kind = attributes["to"].i
    if kind not in DTYPES:
        raise ValueError(f"to {onnx.TensorProto.DataType.Name(kind).lower()}")
    result: np.ndarray = x.astype(DTYPES[kind], copy=False)
    return result


def _same(attributes: Given, x: np.ndarray, *rest: Any) -> np.ndarray:
    return x


_OPERATIONS: dict[str, Callable[..., Any]] = {
    "Identity": _same,
    "Dropout": _same,
    "Cast": _cast,
    "Concat": _concat,
    "Gather": _gather,
    "Mul": lambda attributes, x, y: x * y,
    "Reshape": _reshape,
    "Shape": lambda attributes, x: np.array(x.shape, np.int64),
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}

_SIZES: dict[str, Callable[..., int]] = {
    "Cast": lambda attributes, x: 8 * x.size if x.size > 64 and x.itemsize < 8 else 0,
    "Concat": lambda attributes, *parts: sum(part.nbytes for part in parts),
    "Gather": lambda attributes, x, indices: x.nbytes // max(min(x.shape, default=1), 1) * indices.size,
    "Mul": lambda attributes, x, y: math.prod(np.broadcast_shapes(x.shape, y.shape)) * 8,
}
"""Bytes, at most, of results that can be larger than what they are made of."""

KNOWN = frozenset(_OPERATIONS)
"""Kinds of operations that `compute` does."""
