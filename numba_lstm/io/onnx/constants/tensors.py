"""The tensors of ONNX files as arrays."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ....formats.bfloat16 import widened
from ..._extras import need

onnx = need("onnx", extra="onnx", purpose="reading ONNX files")
numpy_helper = need("onnx.numpy_helper", extra="onnx", purpose="reading ONNX files")

BFLOAT16 = np.dtype("V2")
"""The bits of bfloat16, which NumPy lacks: they can be moved and widened, and not computed with."""

DTYPES: dict[int, np.dtype[Any]] = {
    onnx.TensorProto.FLOAT: np.dtype(np.float32),
    onnx.TensorProto.DOUBLE: np.dtype(np.float64),
    onnx.TensorProto.FLOAT16: np.dtype(np.float16),
    onnx.TensorProto.BFLOAT16: BFLOAT16,
    onnx.TensorProto.INT64: np.dtype(np.int64),
    onnx.TensorProto.INT32: np.dtype(np.int32),
    onnx.TensorProto.INT16: np.dtype(np.int16),
    onnx.TensorProto.INT8: np.dtype(np.int8),
    onnx.TensorProto.UINT64: np.dtype(np.uint64),
    onnx.TensorProto.UINT32: np.dtype(np.uint32),
    onnx.TensorProto.UINT16: np.dtype(np.uint16),
    onnx.TensorProto.UINT8: np.dtype(np.uint8),
    onnx.TensorProto.BOOL: np.dtype(np.bool_),
}
"""Dtypes of tensors that are read, and what they become."""

INT4, UINT4 = np.dtype([("int4", np.int8)]), np.dtype([("uint4", np.uint8)])
"""Integers of four bits, one in a byte: they can be moved and widened, and not computed with, nor be made of others.

With the dtypes of eight bits they would saturate where those do.
"""

_NIBBLES: dict[int, np.dtype[Any]] = {onnx.TensorProto.INT4: INT4, onnx.TensorProto.UINT4: UINT4}
"""Those of which a file has two in a byte."""

_PLAIN = {INT4: np.dtype(np.int8), UINT4: np.dtype(np.uint8)}


class NotConstant(ValueError):
    """What keeps a tensor from being known before the model runs."""


def declared(tensor: Any) -> tuple[tuple[int, ...], str]:
    """Return a tensor's shape and dtype, without its numbers."""
    try:
        kind = onnx.TensorProto.DataType.Name(tensor.data_type).lower()
    except ValueError:
        kind = str(tensor.data_type)
    return tuple(tensor.dims), {"float": "float32", "double": "float64"}.get(kind, kind)


class Files:
    """The files beside a model in which tensors lie.

    What several tensors have at one place is read once, and together they are not larger than their file.

    Parameters
    ----------
    folder : Path
        Where the model lies.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[tuple[Path, int, int, int], np.ndarray] = {}
        self._left: dict[Path, int] = {}

    def numbers(self, tensor: Any, dtype: np.dtype[Any], size: int) -> np.ndarray:
        """Return the numbers of a tensor, which take so many bytes, in a row."""
        path, offset = self._place(tensor, size)
        key = path, offset, tensor.data_type, math.prod(tensor.dims)
        if key not in self._made:
            with path.open("rb") as file:
                whole = file.seek(0, 2)
                if offset + size > whole:
                    raise ValueError(f"tensor {tensor.name!r}: {path.name} ends before it")
                left = self._left.get(path, whole) - size
                if left < 0:
                    raise NotConstant(f"the tensors in {path.name} would be larger than it")
                self._left[path] = left
                file.seek(offset)
                raw = file.read(size)
            inner = onnx.TensorProto(dims=key[3:], data_type=tensor.data_type, name=tensor.name, raw_data=raw)
            self._made[key] = _numbers(inner, dtype)
        return self._made[key]

    def _place(self, tensor: Any, size: int) -> tuple[Path, int]:
        """Return the file in which a tensor lies, which has to be beside the model or below, and where in it."""
        entries = {entry.key: entry.value for entry in tensor.external_data}
        path = _beside(entries.get("location", ""), self._folder, tensor.name)
        try:
            offset, length = int(entries.get("offset", 0)), int(entries.get("length", size))
        except ValueError:
            raise ValueError(f"tensor {tensor.name!r}: its place in {path.name} is no number") from None
        if length != size or offset < 0:
            raise ValueError(f"tensor {tensor.name!r}: {length} bytes from {offset} on, its shape needs {size}")
        return path, offset


def array(tensor: Any, files: Files) -> np.ndarray:
    """Return a tensor's numbers.

    Parameters
    ----------
    tensor : TensorProto
        With its numbers, or a place in another file.
    files : Files
        Those beside the model.

    Raises
    ------
    NotConstant
        If it holds something else than numbers that NumPy has, bfloat16, or integers of four bits.
    ValueError
        If they are not all there.
    """
    kind = tensor.data_type
    dtype = DTYPES.get(kind) or _NIBBLES.get(kind)
    if dtype is None:
        raise NotConstant(f"{tensor.name!r} holds {declared(tensor)[1]}")
    shape = tuple(tensor.dims)
    if any(size < 0 for size in shape):
        raise ValueError(f"tensor {tensor.name!r} has shape {shape}")
    size, item = math.prod(shape), dtype.itemsize
    if kind in _NIBBLES:
        size = (size + 1) // 2
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        return files.numbers(tensor, dtype, size * item).reshape(shape)
    fields = tensor.float_data, tensor.double_data, tensor.int32_data, tensor.int64_data, tensor.uint64_data
    there = len(tensor.raw_data) / item if tensor.HasField("raw_data") else max(map(len, fields))
    if there != size:
        raise ValueError(f"tensor {tensor.name!r} of shape {shape} has {there:g} numbers")
    return _numbers(tensor, dtype)


def narrowed(array: np.ndarray) -> np.ndarray:
    """Return float32 numbers as bfloat16: to the nearest, and to the even one of two that are as near."""
    bits = np.asarray(array, np.float32, order="C").view(np.uint32).astype(np.uint64)
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    halves = np.where(np.isnan(array), bits >> 16 | 0x40, rounded).astype(np.uint16)
    return halves.view(BFLOAT16)


def wide(array: np.ndarray) -> np.ndarray:
    """Return an array with bfloat16 as float32, and with integers of four bits as such of eight; others as they are."""
    if array.dtype in _PLAIN:
        return array.view(_PLAIN[array.dtype])
    return widened(array.copy().view(np.uint16)) if array.dtype == BFLOAT16 else array


def name_of(dtype: np.dtype[Any]) -> str:
    """Return what a dtype is called, also one that NumPy lacks."""
    if dtype in _PLAIN:
        return "int4" if dtype == INT4 else "uint4"
    return "bfloat16" if dtype == BFLOAT16 else dtype.name


def _numbers(tensor: Any, dtype: np.dtype[Any]) -> np.ndarray:
    try:
        found = np.asarray(numpy_helper.to_array(tensor))
        # The package gives them as float32 or, since 1.19, in a dtype of its own: both are exact.
        if dtype == BFLOAT16:
            return narrowed(found)
        return found.astype(_PLAIN.get(dtype, dtype), copy=False).view(dtype)
    except (ValueError, TypeError) as error:
        raise ValueError(f"tensor {tensor.name!r}: {error}") from error


def _beside(location: str, folder: Path, name: str) -> Path:
    """Return the path of a file that a model names, or raise ValueError if it could be anybody's."""
    given = Path(location)
    harmless = location and "\0" not in location and not given.is_absolute() and ".." not in given.parts
    path = folder / given
    try:
        there = harmless and path.resolve().is_relative_to(folder.resolve()) and path.is_file()
    except OSError:  # of a name that is too long for one
        there = False
    if not there:
        raise ValueError(f"tensor {name!r} should lie in {location!r}, and no such file is beside the model")
    return path


def locations(message: Any) -> Iterator[str]:
    """Yield the names of files in a message of protobuf, which lies no deeper than protobuf reads."""
    if isinstance(message, onnx.TensorProto):
        yield from (entry.value for entry in message.external_data if entry.key == "location")
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in [value] if hasattr(value, "ListFields") else value:
                yield from locations(inner)


def external_bytes(model: Any, folder: Path) -> int:
    """Return the sizes of the files that the tensors of a model name, wherever in it."""
    found = {}
    for location in dict.fromkeys(locations(model)):
        try:
            path = _beside(location, folder, "")
        except (ValueError, OSError):  # said when the tensor is asked for
            continue
        found[path.resolve()] = path.stat().st_size  # a file has many names
    return sum(found.values())
