"""Operations that change the type of numbers, by the letter of their opset: casts, and quantised weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .moves import axis_of
from .operation import Operation
from .tensors import BFLOAT16, DTYPES, INT4, UINT4, name_of, narrowed, onnx, wide


def _cast(operation: Operation, x: np.ndarray) -> np.ndarray:
    kind = operation.attributes["to"]
    if isinstance(kind, bytes):  # opsets before 6
        kind = dict(onnx.TensorProto.DataType.items()).get(kind.decode(errors="replace").upper(), 0)
    if kind not in DTYPES:
        raise ValueError(f"to a type that is not known here: {kind}")
    return converted(x, DTYPES[kind])


def _cast_like(operation: Operation, x: np.ndarray, other: np.ndarray) -> np.ndarray:
    return converted(x, other.dtype)


def converted(x: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """Return numbers in another type; raise ValueError where ONNX leaves to the machine what they become."""
    if x.dtype == dtype:
        return x
    if dtype in (INT4, UINT4):
        raise ValueError(f"to {name_of(dtype)}")
    x = wide(x)
    if dtype == BFLOAT16:
        return narrowed(x)
    if x.dtype.kind == "f" and dtype.kind in "iu" and x.size:
        limits, whole = np.iinfo(dtype), np.trunc(x.astype(np.float64))
        if not (whole.min() >= limits.min and whole.max() < float(limits.max) + 1):
            raise ValueError(f"from {x.min()} to {x.max()} as {dtype}")
    return x.astype(dtype)


def _aligned(operation: Operation, x: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Return scales or zero points, one for all, for each place of an axis or for each block of it, beside x."""
    block = operation.attributes.get("block_size", 0)
    if operation.version < 13 and given.ndim:
        raise ValueError(f"scales of shape {given.shape}")
    if not block and given.size == 1:
        return given.reshape(())
    axis = axis_of(operation.attributes["axis"], x.ndim)
    if block:
        counts = tuple(-(-size // block) if n == axis else size for n, size in enumerate(x.shape))
        if block < 0 or given.shape != counts:
            raise ValueError(f"scales of shape {given.shape}, {counts} for blocks of {block}")
        return np.repeat(given, min(block, x.shape[axis]), axis)[tuple(map(slice, x.shape))]
    if given.shape != (x.shape[axis],):
        raise ValueError(f"scales of shape {given.shape}, {x.shape[axis]} for axis {axis}")
    return given.reshape(-1, *[1] * (x.ndim - axis - 1))


def _dequantized(operation: Operation, x: np.ndarray, scale: np.ndarray, zero: np.ndarray | None = None) -> np.ndarray:
    kind = operation.attributes.get("output_dtype", 0)
    if kind and kind not in DTYPES:
        raise ValueError("to a type that is not known here")
    whole, steps = scaled(operation, x, scale, zero)
    return converted(whole.astype(np.float32) * steps, DTYPES[kind] if kind else scale.dtype)


def scaled(
    operation: Operation, x: np.ndarray, scale: np.ndarray, zero: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the whole numbers, and beside them the float32 scales, whose products are what is dequantised."""
    whole = wide(x).astype(np.int64)
    if zero is not None:
        if zero.shape != scale.shape:
            raise ValueError(f"zero points of shape {zero.shape}, scales of {scale.shape}")
        if x.dtype == np.int32 and zero.any():
            raise ValueError("a zero point of 32 bits")
        whole = whole - wide(_aligned(operation, x, zero)).astype(np.int64)
    return whole, wide(_aligned(operation, x, scale)).astype(np.float32)


def _quantized(operation: Operation, x: np.ndarray, scale: np.ndarray, zero: np.ndarray | None = None) -> np.ndarray:
    kind = operation.attributes.get("output_dtype", 0)
    dtype = zero.dtype if zero is not None else DTYPES.get(kind or onnx.TensorProto.UINT8)
    known = dtype is not None and dtype.kind in "iu" and x.dtype == scale.dtype == np.float32
    if not known or operation.attributes.get("precision", 0):
        raise ValueError("with types that are not known here")
    if zero is not None and zero.shape != scale.shape:
        raise ValueError(f"zero points of shape {zero.shape}, scales of {scale.shape}")
    offset = 0 if zero is None else _aligned(operation, x, zero).astype(np.int64)
    found = np.rint(x / _aligned(operation, x, scale))
    if not np.isfinite(found).all():
        raise ValueError("of numbers that are not finite")
    limits = np.iinfo(dtype)
    whole = np.clip(found, -(2.0**40), 2.0**40).astype(np.int64) + offset
    clipped: np.ndarray = np.clip(whole, limits.min, limits.max).astype(dtype)
    return clipped


CONVERSIONS: dict[str, Callable[..., Any]] = {
    "Cast": _cast,
    "CastLike": _cast_like,
    "DequantizeLinear": _dequantized,
    "QuantizeLinear": _quantized,
}
"""What they do; each is given the operation and its inputs."""
