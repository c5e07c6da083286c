"""Attributes: texts, lists of texts, or small arrays, in the messages of a header."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .file_bytes import FileBytes, Unknown
from .headers import NOWHERE
from .values import shape_of, type_of


def dense_attributes(file: FileBytes, place: int) -> bool:
    """Return whether attributes lie in a heap of their own."""
    heap = place + 2 + (2 if file.number(place + 1, 1) & 1 else 0)
    return file.number(heap, 8) != NOWHERE


def attribute_name(file: FileBytes, place: int) -> str:
    """Return the name in an attribute's message."""
    version = file.number(place, 1)
    if version not in (1, 2, 3):
        raise Unknown(f"attributes of version {version} are not read")
    size = file.number(place + 2, 2)
    file.spend_piece(size)
    return file.read(place + 8 + (version == 3), size).rstrip(b"\0").decode()


def attribute(file: FileBytes, place: int) -> Any:
    """Return a text, a list of texts, or an array, in an attribute's message."""
    version = file.number(place, 1)
    start = place + 8 + (version == 3)
    sizes = [file.number(place + field, 2) for field in (2, 4, 6)]
    name, kind, space = (-(-size // 8) * 8 if version == 1 else size for size in sizes)
    described, shape = type_of(file, start + name), shape_of(file, start + name + kind)
    values, count = start + name + kind + space, math.prod(shape)
    file.within(values, count * described.size)
    if not described.kind.startswith("text"):
        return np.frombuffer(file.content, described.kind, count, values).reshape(shape)
    texts = []
    for value in range(values, values + count * described.size, described.size):
        if described.kind == "text":
            text = file.read(value, described.size)
        else:
            text = file.in_heap(file.number(value, 4), file.number(value + 4, 8), file.number(value + 12, 4))
        file.spend_piece(len(text))
        texts.append(text.rstrip(b"\0").decode())
    return texts if shape else texts[0]
