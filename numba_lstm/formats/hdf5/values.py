"""Numbers and texts: of what type and shape they are, and where."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .file_bytes import FileBytes, Unknown
from .headers import DATASPACE, DATATYPE, EXTERNAL_FILES, FILTERS, LAYOUT

_FLOATS = {(2, 5): "f2", (2, 8): "bfloat16", (4, 8): "f4", (8, 11): "f8"}
"""Bytes and bits of the exponent -> type."""


class Type(NamedTuple):
    """A datatype: NumPy's name of it, or "text" of a fixed size, or "texts" that lie elsewhere."""

    kind: str
    size: int


def array(file: FileBytes, messages: list[tuple[int, int]], path: str) -> tuple[np.ndarray, bool]:
    """Return the numbers of a dataset, and whether they are the bits of bfloat16."""
    places = dict(messages)
    if FILTERS in places:
        raise Unknown(f"{path} is compressed; Keras does not do this")
    if EXTERNAL_FILES in places:
        raise Unknown(f"{path} lies in another file, which is not read")
    if not places.keys() >= {DATASPACE, DATATYPE, LAYOUT}:
        raise ValueError(f"{path} is no array")
    shape, kind = shape_of(file, places[DATASPACE]), type_of(file, places[DATATYPE])
    if kind.kind.startswith("text"):
        raise ValueError(f"{path} holds texts")
    layout = places[LAYOUT]
    version, way = file.number(layout, 1), file.number(layout + 1, 1)
    if version not in (3, 4) or way > 1:
        raise Unknown(f"{path} is stored in pieces or elsewhere; Keras does not do this")
    if way == 0:
        start, size = layout + 4, file.number(layout + 2, 2)
    else:
        start, size = file.number(layout + 2, 8), file.number(layout + 10, 8)
    declared = math.prod(shape) * kind.size
    if not declared:
        start = 0  # nothing has no place
    if declared > size or start + declared > len(file.content):
        raise ValueError(f"{path} declares {declared:,} bytes, {shape} of {kind.kind}, and they are not there")
    half = kind.kind == "bfloat16"
    numbers = np.frombuffer(file.content, "<u2" if half else kind.kind, math.prod(shape), start)
    return numbers.reshape(shape), half


def shape_of(file: FileBytes, place: int) -> tuple[int, ...]:
    """Return the shape that a message describes."""
    version, count = file.number(place, 1), file.number(place + 1, 1)
    if version not in (1, 2) or count > 32:
        raise Unknown("an array's shape is described in a way that is not read")
    if version == 2 and file.number(place + 3, 1) == 2:
        return (0,)  # of nothing at all
    first = place + (8 if version == 1 else 4)
    return tuple(file.number(first + 8 * axis, 8) for axis in range(count))


def type_of(file: FileBytes, place: int) -> Type:
    """Return the type that a message describes."""
    kind, bits, size = file.number(place, 1) & 15, file.number(place + 1, 3), file.number(place + 4, 4)
    order = ">" if bits & 1 else "<"
    if kind == 0 and size in (1, 2, 4, 8):
        return Type(f"{order}{'i' if bits & 8 else 'u'}{size}", size)
    if kind == 1 and not bits & 0x40 and (size, file.number(place + 13, 1)) in _FLOATS:
        name = _FLOATS[size, file.number(place + 13, 1)]
        if name == "bfloat16" and order == ">":
            raise Unknown("big-endian bfloat16 is not read")
        return Type(name if name == "bfloat16" else order + name, size)
    if kind == 3 and size:
        return Type("text", size)
    if kind == 5 and size == 2:  # bytes without a meaning, as NumPy's for bfloat16
        return Type("<u2", size)
    if kind == 8:  # names for integers, as h5py's for truths
        return type_of(file, place + 8)
    if kind == 9 and bits & 15 == 1:
        return Type("texts", 16)
    raise Unknown(f"values of class {kind} and {size} bytes are not read")
