"""NumPy's npy format: a header, then the numbers.  Objects, which would need pickle, are refused."""

from __future__ import annotations

import io
import math
import sys
from typing import Any, BinaryIO

import numpy as np

from ...host.pipes import read_up_to

_LONGEST_HEADER = 10_000
"""Bytes, as for NumPy: what describes an array of numbers takes some hundred."""

_MOST_AXES = 64
"""As in NumPy 2; before it there were half as many."""

_PIECE = 1 << 20
"""Bytes that are read at a time: a compressed member of an archive gives every read an array of its own."""

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read(file: BinaryIO, size: int, name: str = "it") -> np.ndarray:
    """Read an array whose declared size is that of the file; nothing is allocated before this is known.

    Parameters
    ----------
    file : binary file
        At its start.
    size : int
        Its bytes.
    name : str
        What messages call the array.

    Raises
    ------
    ValueError
        If it is something else, or its size is another.
    """
    start, shape, fortran_order, dtype = _start(file, size, name)
    if dtype.hasobject:
        raise ValueError(f"Object arrays are pickles, which are not read: {name}")
    declared, present = math.prod(shape) * dtype.itemsize, size - start.tell()
    if not dtype.itemsize or declared != present:
        raise ValueError(f"{name} declares {declared:,} bytes, {shape} of {dtype}; {present:,} are there")
    numbers = np.empty(declared, np.uint8)
    places = numbers.data
    filled = start.readinto(places)
    while filled < declared:
        count = file.readinto(places[filled : filled + _PIECE])  # type: ignore[attr-defined]
        if not count:
            raise ValueError(f"{name} ends {declared - filled:,} bytes too early")
        filled += count
    file.read(1)  # the end of an archive's member, where its checksum is looked at
    array = numbers.view(dtype)
    return array.reshape(shape[::-1]).transpose() if fortran_order else array.reshape(shape)


def describe(file: BinaryIO, size: int, name: str = "it") -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and dtype of the array in a file of so many bytes, of which only the header is read."""
    _, shape, _, dtype = _start(file, size, name)
    return shape, dtype


def receive(stream: BinaryIO) -> bytes:
    """Return the bytes of the array that comes out of a pipe, and one more if there is more.

    Raises
    ------
    ValueError
        If it begins with something else.
    """
    first = read_up_to(stream, _LONGEST_HEADER + 12)
    start, shape, _, dtype = _start(io.BytesIO(first), len(first), "it")
    return first + read_up_to(stream, max(0, start.tell() + math.prod(shape) * dtype.itemsize + 1 - len(first)))


def _start(file: BinaryIO, size: int, name: str) -> tuple[io.BytesIO, tuple[int, ...], bool, np.dtype[Any]]:
    """Return the first bytes, read to the end of the header, and what it says."""
    start = io.BytesIO(file.read(min(size, _LONGEST_HEADER + 12)))
    return start, *_header(start, name)


def _header(file: BinaryIO, name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, whether in Fortran order, and dtype."""
    try:
        version = np.lib.format.read_magic(file)
    except ValueError:
        raise ValueError(f"{name} is no array") from None
    if version not in _HEADERS:
        raise ValueError(f"{name} has version {version} of the format, which is not for numbers")
    try:
        shape, fortran_order, dtype = _HEADERS[version](file, max_header_size=_LONGEST_HEADER)
    except Exception as error:  # Python's parser raises whatever the bytes of a damaged header happen to mean
        raise ValueError(f"{name} has a damaged header: {error}") from error
    # More than any array has, also if it is empty.
    if len(shape) > _MOST_AXES or any(type(length) is not int or not 0 <= length <= sys.maxsize for length in shape):
        raise ValueError(f"{name} has shape {shape}")
    return shape, fortran_order, dtype
