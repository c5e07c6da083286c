"""Operations that make tensors, of a size that they are given, or around others; by the letter of their opset."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .moves import axes_of, sizes_of
from .operation import Operation
from .tensors import DTYPES


def _constant(operation: Operation) -> np.ndarray:
    given = operation.attributes
    if len(given) != 1:
        raise ValueError("it has to have one value")
    ((name, value),) = given.items()
    dtype = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
    if name == "value":
        return np.asarray(value)
    if name not in dtype:
        raise ValueError("it holds no numbers")
    return np.array(value, dtype[name])


def _constant_of_shape(operation: Operation, shape: np.ndarray) -> np.ndarray:
    value = operation.attributes.get("value", np.zeros(1, np.float32))
    if value.size != 1:
        raise ValueError(f"{value.size} values")
    return np.full(sizes_of(shape), value.reshape(()))


def _count(start: np.ndarray, limit: np.ndarray, delta: np.ndarray) -> int:
    if any(each.size != 1 for each in (start, limit, delta)):
        raise ValueError("more than one number")
    return max(math.ceil((float(limit.item()) - float(start.item())) / float(delta.item())), 0)


def _range(operation: Operation, start: np.ndarray, limit: np.ndarray, delta: np.ndarray) -> np.ndarray:
    steps = np.arange(_count(start, limit, delta)).astype(start.dtype)
    return np.asarray(start.reshape(()) + steps * delta.reshape(()))


def _eye_like(operation: Operation, x: np.ndarray) -> np.ndarray:
    kind = operation.attributes.get("dtype")
    if x.ndim != 2 or (kind is not None and kind not in DTYPES):
        raise ValueError(f"of {x.ndim} axes")
    made: np.ndarray = np.eye(
        x.shape[0], x.shape[1], operation.attributes["k"], x.dtype if kind is None else DTYPES[kind]
    )
    return made


def _size(operation: Operation, sizes: np.ndarray) -> np.ndarray:
    """Return how many numbers a tensor has, for which its sizes stand in."""
    return np.array(math.prod(sizes.tolist()), np.int64)


def _pads(operation: Operation, x: np.ndarray, given: Sequence[Any]) -> list[tuple[int, int]]:
    """Return what a Pad puts before and after each axis; negative where it takes away."""
    pads, _, axes = [*given, None, None, None][:3]
    flat = operation.attributes.get("pads", operation.attributes.get("paddings")) if pads is None else pads.tolist()
    where = list(range(x.ndim)) if axes is None else (axes_of(operation, axes, x.ndim) or [])
    if len(flat) != 2 * len(where):
        raise ValueError(f"{len(flat)} pads for {len(where)} axes")
    found = [(0, 0)] * x.ndim
    for n, axis in enumerate(where):
        found[axis] = int(flat[n]), int(flat[n + len(where)])
    return found


_MODES = {b"constant": "constant", b"edge": "edge", b"reflect": "reflect"}


def _pad(operation: Operation, x: np.ndarray, *given: Any) -> np.ndarray:
    pads = _pads(operation, x, given)
    mode = _MODES.get(operation.attributes["mode"])
    if mode is None:
        raise ValueError("its mode is not known here")
    cut = []
    for (before, after), size in zip(pads, x.shape, strict=True):
        wanted = max(before, after, 0)
        far = (mode == "reflect" and wanted > max(size - 1, 0)) or (mode == "edge" and wanted > 0 == size)
        if far or size + before + after < 0 or -before > size or -after > size:
            raise ValueError(f"{pads} around {x.shape}")
        cut.append(slice(max(-before, 0), size - max(-after, 0)))
    outward = [(max(before, 0), max(after, 0)) for before, after in pads]
    if mode != "constant":
        return np.pad(x[tuple(cut)], outward, mode)  # type: ignore[call-overload, no-any-return]
    value = given[1] if len(given) > 1 and given[1] is not None else operation.attributes.get("value", 0)
    made = np.full([size + before + after for size, (before, after) in zip(x.shape, pads, strict=True)], value, x.dtype)
    kept = x[tuple(cut)]
    made[tuple(slice(before, before + size) for (before, _), size in zip(outward, kept.shape, strict=True))] = kept
    return made


MAKERS: dict[str, Callable[..., Any]] = {
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "EyeLike": _eye_like,
    "Pad": _pad,
    "Range": _range,
    "Size": _size,
}
"""What they do; each is given the operation and its inputs, None where one is left out."""


def _padded(operation: Operation, x: np.ndarray, *given: Any) -> int:
    pads = _pads(operation, x, given)
    return math.prod(size + before + after for size, (before, after) in zip(x.shape, pads, strict=True))


MAKE: dict[str, Callable[..., int]] = {
    "ConstantOfShape": lambda operation, shape: math.prod(sizes_of(shape)),
    "Pad": _padded,
    "Range": lambda operation, *given: _count(*given),
}
"""How many numbers come out; found before they are made."""
