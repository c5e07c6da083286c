"""Operations that move numbers and compute nothing, by the letter of their opset.

They take open sizes (`sizes`) as well as numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .operation import Operation


def axis_of(axis: int, rank: int) -> int:
    """Return an axis, which may be counted from the end, counted from the start."""
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} of {rank}")
    return axis % rank


def axes_of(operation: Operation, given: np.ndarray | None, rank: int) -> list[int] | None:
    """Return axes, an attribute or, in newer opsets, an input; None if they are left out."""
    axes = operation.attributes.get("axes") if given is None else given.reshape(-1).tolist()
    if axes is None:
        return None
    found = [axis_of(int(axis), rank) for axis in axes]
    if len({*found}) != len(found):
        raise ValueError("an axis twice")
    return found


def sizes_of(shape: np.ndarray) -> tuple[int, ...]:
    """Return a tensor that is a shape as one."""
    if shape.ndim != 1 or (shape.size and shape.min() < 0):
        raise ValueError(f"sizes {shape.tolist()}")
    return tuple(map(int, shape))


def _squeeze(operation: Operation, x: np.ndarray, axes: np.ndarray | None = None) -> np.ndarray:
    found = axes_of(operation, axes, x.ndim)
    if found == []:  # all or none: it is not said
        raise ValueError("an empty list of axes")
    return np.squeeze(x, None if found is None else tuple(found))


def _unsqueeze(operation: Operation, x: np.ndarray, axes: np.ndarray | None = None) -> np.ndarray:
    count = len(operation.attributes["axes"]) if axes is None else axes.size
    return np.expand_dims(x, tuple(axes_of(operation, axes, x.ndim + count) or ()))


def _transpose(operation: Operation, x: np.ndarray) -> np.ndarray:
    perm = operation.attributes.get("perm")
    if perm is not None and sorted(perm) != list(range(x.ndim)):
        raise ValueError(f"perm {perm} of {x.ndim} axes")
    return np.transpose(x, perm)


def _concat(operation: Operation, *parts: np.ndarray) -> np.ndarray:
    # In opset 1 it could be left out, and was 1.
    return np.concatenate(parts, axis_of(operation.attributes.get("axis", 1), parts[0].ndim))


def _reshape(operation: Operation, x: np.ndarray, shape: np.ndarray | None = None) -> np.ndarray:
    given = operation.attributes.get("shape") if shape is None else shape.tolist()
    if given is None or (shape is not None and shape.ndim != 1):
        raise ValueError("no shape")
    sizes = list(map(int, given))
    if operation.attributes.get("allowzero"):
        if 0 in sizes and -1 in sizes:
            raise ValueError("0 and -1 together")
    else:
        sizes = [x.shape[axis] if size == 0 else size for axis, size in enumerate(sizes)]
    if min(sizes, default=0) < -1 or sizes.count(-1) > 1:
        raise ValueError(f"shape {sizes}")
    return x.reshape(sizes)


def _flatten(operation: Operation, x: np.ndarray) -> np.ndarray:
    axis = operation.attributes["axis"]
    if axis < 0 and operation.version < 11:
        raise ValueError(f"axis {axis}")
    axis = axis if axis == x.ndim else axis_of(axis, max(x.ndim, 1))
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


def _slice(operation: Operation, x: np.ndarray, *given: Any) -> np.ndarray:
    if operation.version == 1:
        starts, ends = operation.attributes["starts"], operation.attributes["ends"]
        axes, steps = operation.attributes.get("axes"), None
    else:
        starts, ends, axes, steps = (each if each is None else each.tolist() for each in [*given, None, None][:4])
    axes = list(range(len(starts))) if axes is None else [axis_of(axis, x.ndim) for axis in axes]
    steps = [1] * len(starts) if steps is None else steps
    if len({*axes}) != len(axes):
        raise ValueError("an axis twice")
    cut = [slice(None)] * x.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        cut[axis] = _range(x.shape[axis], start, end, step)
    return x[tuple(cut)]


def _range(size: int, start: int, end: int, step: int) -> slice:
    """Return what starts and ends mean: from the end if negative, and never beyond either end."""
    start, end = (place + size if place < 0 else place for place in (start, end))
    if step > 0:
        return slice(min(max(start, 0), size), min(max(end, 0), size), step)
    start, end = min(max(start, 0), size - 1), min(max(end, -1), size - 1)
    # To NumPy an end of -1 is the last one, and not the one before the first.
    return slice(start, end if end >= 0 else None, step) if size else slice(0)


def _split(operation: Operation, x: np.ndarray, sizes: np.ndarray | None = None) -> list[np.ndarray]:
    axis = axis_of(operation.attributes.get("axis", 0), x.ndim)
    outputs, whole = operation.outputs, x.shape[axis]
    given = operation.attributes.get("split") if sizes is None else sizes.tolist()
    wanted = operation.attributes.get("num_outputs")
    if operation.version >= 18 and (wanted is None) == (given is None):
        raise ValueError("either sizes or num_outputs")
    if given is None:
        each = -(-whole // outputs)
        given = [each] * (outputs - 1) + [whole - each * (outputs - 1)]
        if operation.version < 18 and given[-1] != each:
            raise ValueError(f"{whole} in {outputs} equal parts")
    if len(given) != outputs or wanted not in (None, outputs) or min(given) < 0 or sum(given) != whole:
        raise ValueError(f"{whole} in parts of {given}")
    return np.split(x, np.cumsum(given)[:-1], axis)


def _gather(operation: Operation, x: np.ndarray, indices: np.ndarray) -> np.ndarray:
    return np.take(x, indices, axis_of(operation.attributes["axis"], x.ndim))


def _gather_elements(operation: Operation, x: np.ndarray, indices: np.ndarray) -> np.ndarray:
    axis = axis_of(operation.attributes["axis"], x.ndim)
    if indices.ndim != x.ndim:
        raise ValueError(f"indices of {indices.ndim} axes, data of {x.ndim}")
    # Indices may have fewer rows than the data along the other axes.
    data = x[tuple(slice(None) if n == axis else slice(size) for n, size in enumerate(indices.shape))]
    return np.take_along_axis(data, indices, axis)


def _expand(operation: Operation, x: np.ndarray, shape: np.ndarray) -> np.ndarray:
    return np.broadcast_to(x, _expanded(x, shape))


def _expanded(x: np.ndarray, shape: np.ndarray) -> tuple[int, ...]:
    """Return the shape of an Expand, to which both sides contribute."""
    sizes = sizes_of(shape)
    rank = max(x.ndim, len(sizes))
    mine, wanted = [1] * (rank - x.ndim) + list(x.shape), [1] * (rank - len(sizes)) + list(sizes)
    if any(a != b and 1 not in (a, b) for a, b in zip(mine, wanted, strict=True)):
        raise ValueError(f"{x.shape} to {sizes}")
    return tuple(b if a == 1 else a for a, b in zip(mine, wanted, strict=True))


def _tile(operation: Operation, x: np.ndarray, *given: np.ndarray) -> np.ndarray:
    return np.tile(x, _repeats(operation, x, *given))


def _repeats(operation: Operation, x: np.ndarray, repeats: np.ndarray, axis: np.ndarray | None = None) -> list[int]:
    if axis is not None:  # opset 1: one axis, so many times
        times = [1] * x.ndim
        times[axis_of(int(axis.reshape(()).item()), x.ndim)] = int(repeats.reshape(()).item())
        return times
    times = list(sizes_of(repeats))
    if len(times) != x.ndim:
        raise ValueError(f"{len(times)} repeats for {x.ndim} axes")
    return times


def _same(operation: Operation, x: np.ndarray) -> np.ndarray:
    return x


def _dropout(operation: Operation, x: np.ndarray, ratio: Any = None, training: Any = None) -> list[np.ndarray]:
    drops = training is not None and bool(training.reshape(()).item())
    if operation.version < 7:
        drops = not operation.attributes["is_test"]
    if drops:
        raise ValueError("it drops while the model runs")
    # The mask of older versions has the type of x in some descriptions, and bool in others.
    return [x, np.ones(x.shape, np.bool_)][: operation.outputs if operation.version >= 12 else 1]


def _shape(operation: Operation, sizes: np.ndarray) -> np.ndarray:
    """Return a part of the sizes of a tensor, which stand in for it."""
    return sizes[operation.attributes.get("start", 0) : operation.attributes.get("end")]


MOVES: dict[str, Callable[..., Any]] = {
    "Concat": _concat,
    "Dropout": _dropout,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "Identity": _same,
    "Reshape": _reshape,
    "Shape": _shape,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
"""What they do; each is given the operation and its inputs, None where one is left out."""


def _gathered(operation: Operation, x: np.ndarray, indices: np.ndarray) -> int:
    size = x.shape[axis_of(operation.attributes["axis"], x.ndim)]
    return int(x.size // max(size, 1) * indices.size)


GROW: dict[str, Callable[..., int]] = {
    "Expand": lambda operation, x, shape: math.prod(_expanded(x, shape)),
    "Gather": _gathered,
    "GatherElements": lambda operation, x, indices: indices.size,
    "Tile": lambda operation, x, *given: x.size * math.prod(_repeats(operation, x, *given)),
}
"""How many numbers come out of those of which more can come out than go in; found before they are made."""


def data_inputs(kind: str, count: int) -> Sequence[int]:
    """Return which inputs of an operation are what it moves; the others say where to."""
    return range(count) if kind == "Concat" else range(1)
