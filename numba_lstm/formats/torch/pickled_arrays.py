"""Arrays of NumPy that lie within a pickle."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .pickled_objects import Global, Placeholder

_CODES = {"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"}
_ORDERS = {"<", ">", "|"}

_MOST_AXES = 32  # NumPy's oldest limit

_BOTH = ("numpy.core", "numpy._core")
_RECONSTRUCT = [Global(f"{package}.multiarray", "_reconstruct") for package in _BOTH]
_FROM_BUFFER = [Global(f"{package}.numeric", "_frombuffer") for package in _BOTH]
_DTYPE = Global("numpy", "dtype")
_ENCODE = Global("_codecs", "encode")
_BYTES = [Global(module, "bytes") for module in ("builtins", "__builtin__")]
"""Called with nothing they make empty bytes, which protocols up to 2 write in this way."""


class PickledArray(NamedTuple):
    """What a pickle says of an array, and its bytes."""

    dtype: str
    """In NumPy's words."""
    code: str
    """The same with the byte order."""
    shape: tuple[int, ...]
    axes: tuple[int, ...]
    """For each axis its place in memory, the one with the longest strides first."""
    content: Any
    """Bytes, or what stands for them."""

    def read(self) -> np.ndarray:
        """Return the array.

        Raises
        ------
        ValueError
            If it has another number of bytes than its shape needs.
        """
        content = _bytes(self.content)
        declared = math.prod(self.shape) * np.dtype(self.code).itemsize
        if len(content) != declared:
            raise ValueError(f"has shape {self.shape}, {declared:,} bytes; {len(content):,} are there")
        there: list[int] = [0] * len(self.shape)
        for place, length in zip(self.axes, self.shape, strict=True):
            there[place] = length
        return np.array(np.frombuffer(content, self.code).reshape(there).transpose(self.axes), order="C")


class ArrayInPickle(Placeholder):
    """What a pickle makes an array with."""

    __slots__ = ()

    def described(self) -> PickledArray | None:
        """Return the array, or None if its elements are no numbers.

        Raises
        ------
        ValueError
            If it lies in memory in a way that is not known.
        """
        axes: Any = None
        try:
            if self.kind in _FROM_BUFFER:
                content, dtype, shape, order, *more = self.arguments
                axes, order = more[0] if more else None, order if len(more) < 2 else None
            else:
                _, shape, dtype, fortran, content = self.state
                order = "F" if fortran else "C"
            code = _code(dtype)
        except (TypeError, ValueError):
            return None
        if code is None or type(shape) is not tuple or len(shape) > _MOST_AXES:
            return None
        if any(type(length) is not int or length < 0 for length in shape):
            return None
        numbered = (*range(len(shape)),)
        if order == "K" and type(axes) is tuple and {*map(type, axes)} <= {int} and sorted(axes) == [*numbered]:
            shape = tuple(shape[place] for place in axes)  # which is that of memory
        elif order in ("C", "F"):  # whatever the axes are
            axes = numbered if order == "C" else numbered[::-1]
        else:
            raise ValueError("its pickle has an array of NumPy in an order that is not known")
        return PickledArray(np.dtype(code).name, code, shape, axes, content)


def makes_array(function: Any) -> bool:
    """Return whether what is called makes an array of NumPy."""
    return function in _RECONSTRUCT or function in _FROM_BUFFER


def _code(dtype: Any) -> str | None:
    """Return the type of numbers, with their byte order."""
    if not isinstance(dtype, Placeholder) or dtype.kind != _DTYPE or type(dtype.state) is not tuple:
        return None
    code, order = dtype.arguments[0], dtype.state[1]
    if type(code) is not str or code not in _CODES or type(order) is not str or order not in _ORDERS:
        return None
    return order + code


def _bytes(content: Any) -> bytes:
    """Return bytes; up to protocol 2 they are a text of the same characters, in Python 2 whatever its bytes mean."""
    if isinstance(content, Placeholder) and content.kind == _ENCODE and type(content.arguments[0]) is str:
        return content.arguments[0].encode("latin-1")
    if isinstance(content, Placeholder) and content.kind in _BYTES and content.arguments == ():
        return b""
    if type(content) is str:
        return content.encode()
    if type(content) is not bytes:
        raise ValueError("has no numbers")
    return content
