"""The safetensors format: a length, a JSON header, and the arrays' bytes, little-endian.

The library's own reader maps the file into memory, where a file that is cut short meanwhile ends the process, and it
stops at bfloat16, of which NumPy has no type.  So files are read here, with its rules.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save

from . import bfloat16
from .contents import METADATA, Contents, Declared, writable
from .json import parse

_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip

_DISTRIBUTED = "DCP_SHARDING_INFO"
"""What torch.distributed.checkpoint records in files that have some rows of each array."""

_LENGTH_SIZE = 8

_HEADER_SIZE, _HEADER_SHARE = 1 << 21, 1 / 16
"""Bytes that a header may have: this much, and a share of the arrays.  Python's objects take 25 bytes for each of its
own at most, and a file should not take much more memory than it declares."""


def read(file: BinaryIO, size: int, wanted: Callable[[str], bool]) -> Contents:
    """Read some arrays of a file of so many bytes; bfloat16 becomes float32."""
    header, metadata, start = _header(file, size)
    places = _places(header, size - start)
    arrays = {}
    for name in filter(wanted, places):
        kind, shape = header[name]["dtype"], header[name]["shape"]
        if kind not in _DTYPES:
            raise ValueError(f"{name} holds {kind}, which NumPy lacks: save them as float32")
        file.seek(start + places[name])
        array = np.fromfile(file, _DTYPES[kind], math.prod(shape)).reshape(shape)
        arrays[name] = bfloat16.widened(array) if kind == "BF16" else array
    return Contents(arrays, list(places), metadata)


def describe(file: BinaryIO, size: int) -> dict[str, Declared]:
    """Return what a file of so many bytes says of its arrays."""
    header, _, start = _header(file, size)
    places = _places(header, size - start)
    return {name: Declared(tuple(header[name]["shape"]), _dtype_name(header[name]["dtype"])) for name in places}


def _dtype_name(kind: str) -> str:
    if kind == "BF16":
        return "bfloat16"
    return np.dtype(_DTYPES[kind]).name if kind in _DTYPES else kind


def _header(file: BinaryIO, size: int) -> tuple[dict[str, Any], dict[str, str], int]:
    """Return the descriptions of arrays, what was recorded beside them, and where the arrays begin."""
    header_size = int.from_bytes(file.read(_LENGTH_SIZE), "little")
    start = _LENGTH_SIZE + header_size
    if size < start:
        raise ValueError(f"its header is longer than the file: {header_size:,} bytes")
    if _too_long(header_size, size - start):
        raise ValueError(f"its header is too long for what it describes: {header_size:,} bytes")
    header = parse(file.read(header_size))
    if not isinstance(header, dict):
        raise ValueError("its header is not a mapping")
    metadata = header.pop(METADATA, None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError(f"{METADATA} is not a mapping of texts")
    if _DISTRIBUTED in metadata:
        raise ValueError("it has parts of arrays, of a checkpoint of torch.distributed, which can join its files")
    return header, metadata, start


def _too_long(header_size: int, data_size: int) -> bool:
    return header_size > _HEADER_SIZE + _HEADER_SHARE * data_size


def write(file: BinaryIO, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write arrays and metadata; those of bfloat16 are of `bfloat16.DTYPE`."""
    plain = writable(arrays, metadata)
    if _DISTRIBUTED in metadata:
        raise ValueError(f"{_DISTRIBUTED} cannot be recorded: it says that a file has parts of arrays")
    for key, text in metadata.items():
        try:
            (key + text).encode()
        except UnicodeEncodeError:
            raise ValueError(f"safetensors cannot hold metadata {key[:100]!r}: half of a character is in it") from None
    halves = {name for name, array in plain.items() if array.dtype == bfloat16.DTYPE}
    copies = {
        name: np.array(array.view("<u2") if name in halves else array, order="C") for name, array in plain.items()
    }
    try:
        whole = memoryview(save(copies, dict(metadata) or None))
    except SafetensorError as error:
        raise ValueError(f"safetensors cannot hold these arrays: {error}") from error
    start = _LENGTH_SIZE + int.from_bytes(whole[:_LENGTH_SIZE], "little")
    head = _labelled(whole[_LENGTH_SIZE:start], halves) if halves else whole[:start]
    if _too_long(len(head) - _LENGTH_SIZE, len(whole) - start):
        raise ValueError(f"names and metadata are too long for what they describe: {len(head):,} bytes")
    file.write(head)
    file.write(whole[start:])


def _labelled(header: memoryview, halves: set[str]) -> bytes:
    """Return the start of a file with some arrays of 16 bits called what they are: the library knows NumPy's types."""
    described = json.loads(header.tobytes())
    for name in halves:
        described[name]["dtype"] = "BF16"
    text = json.dumps(described, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _LENGTH_SIZE)  # arrays begin at a multiple of it
    return len(text).to_bytes(_LENGTH_SIZE, "little") + text


def _places(header: Mapping[str, Any], size: int) -> dict[str, int]:
    """Return where in the data arrays begin; they follow each other without gaps, to the end of the file."""
    spans = {}
    for name, entry in header.items():
        if not (isinstance(entry, dict) and entry.keys() >= {"dtype", "shape", "data_offsets"}):
            raise ValueError(f"{name} is not described")
        offsets, shape = _lengths(name, entry["data_offsets"]), _lengths(name, entry["shape"])
        if len(offsets) != 2 or not isinstance(entry["dtype"], str):
            raise ValueError(f"{name} is not described")
        kind = _DTYPES.get(entry["dtype"])
        declared = math.prod(shape) * np.dtype(kind).itemsize if kind else offsets[1] - offsets[0]
        if declared != offsets[1] - offsets[0]:
            raise ValueError(f"{name} declares {declared:,} bytes, and lies from {offsets[0]} to {offsets[1]}")
        spans[name] = offsets
    end = 0
    for name, (first, last) in sorted(spans.items(), key=lambda item: item[1]):
        if first != end or last < first:
            raise ValueError(f"{name} does not begin where the one before it ends")
        end = last
    if end != size:
        raise ValueError(f"arrays of {end:,} bytes are declared; {size:,} are there")
    return {name: first for name, (first, _) in spans.items()}


def _lengths(name: str, values: Any) -> list[int]:
    if not isinstance(values, list) or any(type(value) is not int or value < 0 for value in values):
        raise ValueError(f"{name} is described with {values!r}")
    return values
