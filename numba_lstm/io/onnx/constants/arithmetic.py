"""Operations that compute, by the letter of their opset."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .conversions import converted
from .moves import axes_of, axis_of
from .operation import Operation

# --- element by element -----------------------------------------------------------------------------------


def _pair(operation: Operation, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return two operands, the second with the axes that opsets before 7 let one give."""
    if "broadcast" not in operation.attributes:
        return x, y
    if not operation.attributes["broadcast"]:
        if x.shape != y.shape:
            raise ValueError(f"shapes {x.shape} and {y.shape} without broadcast")
        return x, y
    axis = operation.attributes.get("axis")
    start = x.ndim - y.ndim if axis is None else axis_of(axis, x.ndim)
    after = x.ndim - start - y.ndim
    if start < 0 or after < 0:
        raise ValueError(f"shape {y.shape} within {x.shape}")
    y = y.reshape(y.shape + (1,) * after)
    if np.broadcast_shapes(x.shape, y.shape) != x.shape:
        raise ValueError(f"shape {y.shape} within {x.shape}")
    return x, y


def _binary(function: Callable[[Any, Any], Any]) -> Callable[..., np.ndarray]:
    def compute(operation: Operation, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.asarray(function(*_pair(operation, x, y)))

    return compute


def _divide(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    if x.dtype.kind == "f":
        return np.asarray(x / y)
    if not y.all():
        raise ValueError("integers by zero")
    down = x // y
    return np.asarray(down + ((down < 0) & (down * y != x)))  # towards zero


def _power(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return converted(np.asarray(np.power(x, y)), x.dtype)


def _modulo(operation: Operation, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    if not operation.attributes["fmod"] and x.dtype.kind == "f":
        raise ValueError("fractions need fmod")
    if x.dtype.kind != "f" and not y.all():
        raise ValueError("integers by zero")
    return np.asarray(np.fmod(x, y) if operation.attributes["fmod"] else np.mod(x, y))


def _many(function: Callable[[Any, Any], Any]) -> Callable[..., np.ndarray]:
    def compute(operation: Operation, *parts: np.ndarray) -> np.ndarray:
        if operation.version < 8 and len({part.shape for part in parts}) > 1:
            raise ValueError("shapes that differ")
        found = parts[0]
        for part in parts[1:]:
            found = np.asarray(function(found, part))
        return found

    return compute


def _mean(operation: Operation, *parts: np.ndarray) -> np.ndarray:
    total = _many(np.add)(operation, *parts)
    return np.asarray(total / total.dtype.type(len(parts)))


def _unary(function: Callable[[Any], Any]) -> Callable[..., np.ndarray]:
    def compute(operation: Operation, x: np.ndarray) -> np.ndarray:
        return np.asarray(function(x)).astype(x.dtype, copy=False)

    return compute


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(-np.logaddexp(np.zeros((), x.dtype), -x)))


def _clip(operation: Operation, x: np.ndarray, low: Any = None, high: Any = None) -> np.ndarray:
    bounds = []
    for name, given in (("min", low), ("max", high)):
        bound = operation.attributes.get(name) if given is None else given.reshape(()).item()
        bounds.append(None if bound is None else np.asarray(bound, x.dtype))
    for bound, function in zip(bounds, (np.maximum, np.minimum), strict=True):
        x = x if bound is None else np.asarray(function(x, bound))
    return x


def _where(operation: Operation, condition: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.where(condition, x, y)


# --- along axes -------------------------------------------------------------------------------------------


def _reduction(function: Callable[..., Any]) -> Callable[..., np.ndarray]:
    def compute(operation: Operation, x: np.ndarray, axes: np.ndarray | None = None) -> np.ndarray:
        found = axes_of(operation, axes, x.ndim)
        if not found and operation.attributes.get("noop_with_empty_axes"):
            if operation.kind not in _PLAIN:  # whether x itself or what would be added up is meant has changed
                raise ValueError("over no axes")
            return x
        every = tuple(range(x.ndim))
        keep = bool(operation.attributes["keepdims"])
        return np.asarray(function(x, tuple(found) if found else every, keep)).astype(x.dtype, copy=False)

    return compute


_PLAIN = {"ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum"}
"""Reductions of numbers as they are."""


def _fits(exact: np.ndarray, dtype: np.dtype[Any]) -> None:
    """Raise ValueError if an integer is too large for its type, for which ONNX has no rule."""
    if dtype.kind in "iu" and exact.size and np.abs(exact).max() > np.iinfo(dtype).max:
        raise ValueError("integers too large for their type")


def _average(x: np.ndarray, axes: tuple[int, ...], keep: bool) -> np.ndarray:
    if x.dtype.kind != "f":
        raise ValueError("of integers")
    return np.asarray(np.mean(x, axes, keepdims=keep))


def _total(x: np.ndarray, axes: tuple[int, ...], keep: bool) -> np.ndarray:
    _fits(np.sum(np.abs(x.astype(np.float64))), x.dtype)
    return np.asarray(np.sum(x, axes, x.dtype, keepdims=keep))


def _product(x: np.ndarray, axes: tuple[int, ...], keep: bool) -> np.ndarray:
    _fits(np.prod(x.astype(np.float64), axes), x.dtype)
    return np.asarray(np.prod(x, axes, x.dtype, keepdims=keep))


REDUCTIONS: dict[str, Callable[..., Any]] = {
    "ReduceL1": lambda x, axes, keep: _total(np.abs(x), axes, keep),
    "ReduceL2": lambda x, axes, keep: np.sqrt(_total(x * x, axes, keep)),
    "ReduceMax": lambda x, axes, keep: np.max(x, axes, keepdims=keep),
    "ReduceMean": _average,
    "ReduceMin": lambda x, axes, keep: np.min(x, axes, keepdims=keep),
    "ReduceProd": _product,
    "ReduceSum": _total,
    "ReduceSumSquare": lambda x, axes, keep: _total(x * x, axes, keep),
}


def _cumulative(operation: Operation, x: np.ndarray, axis: np.ndarray) -> np.ndarray:
    where = axis_of(int(axis.reshape(()).item()), x.ndim)
    x = np.flip(x, where) if operation.attributes["reverse"] else x
    if operation.attributes["exclusive"]:
        x = np.roll(x, 1, where)
        np.moveaxis(x, where, 0)[:1] = 0
    total = np.cumsum(x, where, x.dtype)
    return np.flip(total, where) if operation.attributes["reverse"] else total


# --- the tables -------------------------------------------------------------------------------------------

_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "Add": np.add,
    "And": np.logical_and,
    "Div": _divide,
    "Equal": np.equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Mul": np.multiply,
    "Or": np.logical_or,
    "Pow": _power,
    "Sub": np.subtract,
    "Xor": np.logical_xor,
}
_VARIADIC: dict[str, Callable[[Any, Any], Any]] = {"Max": np.maximum, "Min": np.minimum, "Sum": np.add}
_UNARY: dict[str, Callable[[Any], Any]] = {
    "Abs": np.abs,
    "Ceil": np.ceil,
    "Cos": np.cos,
    "Exp": np.exp,
    "Floor": np.floor,
    "Log": np.log,
    "Neg": np.negative,
    "Not": np.logical_not,
    "Reciprocal": lambda x: 1 / x,
    "Relu": lambda x: np.maximum(x, 0),
    "Round": np.rint,
    "Sigmoid": _sigmoid,
    "Sign": np.sign,
    "Sin": np.sin,
    "Sqrt": np.sqrt,
    "Tanh": np.tanh,
}

ELEMENTWISE = frozenset([*_BINARY, *_VARIADIC, *_UNARY, "Cast", "CastLike", "Clip", "Mean", "Mod", "Where"])
"""Each number of what they make depends on those in its place, and on nothing else."""

ARITHMETIC: dict[str, Callable[..., Any]] = {
    **{kind: _binary(function) for kind, function in _BINARY.items()},
    **{kind: _many(function) for kind, function in _VARIADIC.items()},
    **{kind: _unary(function) for kind, function in _UNARY.items()},
    **{kind: _reduction(function) for kind, function in REDUCTIONS.items()},
    "Clip": _clip,
    "CumSum": _cumulative,
    "Mean": _mean,
    "Mod": _modulo,
    "Where": _where,
}
"""What they do; each is given the operation and its inputs, None where one is left out."""
