"""The tensors of ONNX files as arrays."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from .._extras import need

onnx = need("onnx", extra="onnx", purpose="reading ONNX files")
numpy_helper = need("onnx.numpy_helper", extra="onnx", purpose="reading ONNX files")

DTYPES: dict[int, np.dtype[Any]] = {
    onnx.TensorProto.FLOAT: np.dtype(np.float32),
    onnx.TensorProto.DOUBLE: np.dtype(np.float64),
    onnx.TensorProto.FLOAT16: np.dtype(np.float16),
    onnx.TensorProto.BFLOAT16: np.dtype(np.float32),
    onnx.TensorProto.INT64: np.dtype(np.int64),
    onnx.TensorProto.INT32: np.dtype(np.int32),
}
"""Dtypes of tensors that are read, and what they become."""

_HALF = {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}


class NotConstant(ValueError):
    """What keeps a tensor from being known before the model runs."""


def declared(tensor: Any) -> tuple[tuple[int, ...], str]:
    """Return a tensor's shape and dtype, without its numbers."""
    try:
        kind = onnx.TensorProto.DataType.Name(tensor.data_type).lower()
    except ValueError:
        kind = str(tensor.data_type)
    return tuple(tensor.dims), {"float": "float32", "double": "float64"}.get(kind, kind)


def array(tensor: Any, folder: Path) -> np.ndarray:
    """Return a tensor's numbers.

    Parameters
    ----------
    tensor : TensorProto
        With its numbers, or a place in another file.
    folder : Path
        Where the model lies.

    Raises
    ------
    NotConstant
        If it holds something else than numbers of `DTYPES`.
    ValueError
        If they are not all there.
    """
    kind = tensor.data_type
    if kind not in DTYPES:
        raise NotConstant(f"{tensor.name!r} holds {declared(tensor)[1]}")
    shape = tuple(tensor.dims)
    if any(size < 0 for size in shape):
        raise ValueError(f"tensor {tensor.name!r} has shape {shape}")
    size, item = math.prod(shape), 2 if kind in _HALF else DTYPES[kind].itemsize
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raw = _external(tensor, folder, size * item)
        return _numbers(onnx.TensorProto(dims=tensor.dims, data_type=kind, name=tensor.name, raw_data=raw))
    fields = tensor.float_data, tensor.double_data, tensor.int32_data, tensor.int64_data
    there = len(tensor.raw_data) / item if tensor.HasField("raw_data") else max(map(len, fields))
    if there != size:
        raise ValueError(f"tensor {tensor.name!r} of shape {shape} has {there:g} numbers")
    return _numbers(tensor)


def _numbers(tensor: Any) -> np.ndarray:
    try:
        return np.asarray(numpy_helper.to_array(tensor)).astype(DTYPES[tensor.data_type], copy=False)
    except (ValueError, TypeError) as error:
        raise ValueError(f"tensor {tensor.name!r}: {error}") from error


def _external(tensor: Any, folder: Path, size: int) -> bytes:
    """Return the bytes of a tensor in another file, which has to lie beside the model or below."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    path = _beside(entries.get("location", ""), folder, tensor.name)
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", size))
    except ValueError:
        raise ValueError(f"tensor {tensor.name!r}: its place in {path.name} is no number") from None
    if length != size or offset < 0:
        raise ValueError(f"tensor {tensor.name!r}: {length} bytes from {offset} on, its shape needs {size}")
    with path.open("rb") as file:
        if offset + size > file.seek(0, 2):
            raise ValueError(f"tensor {tensor.name!r}: {path.name} ends before it")
        file.seek(offset)
        return file.read(size)


def _beside(location: str, folder: Path, name: str) -> Path:
    """Return the path of a file that a model names, or raise ValueError if it could be anybody's."""
    given = Path(location)
    harmless = location and "\0" not in location and not given.is_absolute() and ".." not in given.parts
    path = folder / given
    if not harmless or not path.resolve().is_relative_to(folder.resolve()) or not path.is_file():
        raise ValueError(f"tensor {name!r} should lie in {location!r}, and no such file is beside the model")
    return path


def external_bytes(graph: Any, folder: Path) -> int:
    """Return the sizes of the files that the tensors of a graph name."""
    found = {}
    for tensor in graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
            try:
                path = _beside(location, folder, tensor.name)
            except (ValueError, OSError):  # said when the tensor is asked for
                continue
            found[location] = path.stat().st_size
    return sum(found.values())
