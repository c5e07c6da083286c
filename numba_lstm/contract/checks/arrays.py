"""Arrays as callers give them: everything that is not ours comes through here."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np

DTYPES = (np.dtype(np.float32), np.dtype(np.float64))
"""Dtypes of parameters, inputs and outputs."""

_MASKED = (
    "is a masked array, and which of its numbers count would be forgotten: "
    "call filled(value), or give the real steps of each sequence as lengths"
)


class MaskedArrayError(TypeError):
    """A mask would be dropped."""


def as_array(value: Any, name: str = "") -> np.ndarray:
    """Return ``np.asarray`` of a value, if that loses nothing.

    Parameters
    ----------
    value : array_like
        An array, a list, or another library's array, such as a tensor of torch.
    name : str
        What an error begins with.

    Raises
    ------
    MaskedArrayError
        If it is a masked array, or a list with one in it.  Also if nothing is masked at the moment: what works must
        not depend on the data.
    TypeError
        If it is a tensor that cannot become an array of NumPy, such as one with gradients.

    Examples
    --------
    >>> as_array(np.ma.masked_less([3, -1], 0), "lengths")
    Traceback (most recent call last):
        ...
    numba_lstm.MaskedArrayError: lengths is a masked array, and which of its numbers count would be forgotten: \
call filled(value), or give the real steps of each sequence as lengths
    """
    if type(value) is np.ndarray:  # as nearly always
        return value
    if _masked(value):
        raise MaskedArrayError(f"{name} {_MASKED}".lstrip())
    try:
        array = np.asanyarray(value)  # what another library makes of it may be masked as well
    except Exception as error:
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        if not kind.startswith("torch."):
            raise
        text = f"{name} is a {kind} that cannot become a NumPy array ({error}); numba_lstm.io.torch takes tensors"
        raise TypeError(text.lstrip()) from error
    if _masked(array):
        raise MaskedArrayError(f"{name} {_MASKED}".lstrip())
    return np.asarray(array)


def _masked(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(map(_masked, value))
    return isinstance(value, np.ma.MaskedArray)


def given_array(name: str, value: Any, dtype: np.dtype[Any]) -> np.ndarray:
    """Return an array, or raise TypeError for what is none: lists have no dtype to check."""
    if isinstance(value, np.ndarray) or (hasattr(value, "__array__") and not isinstance(value, type)):
        return as_array(value, name)
    advice = ""
    if hasattr(value, "batch_sizes"):
        advice = (
            f" of {type(value).__module__.partition('.')[0]}. LSTM takes numba_lstm.PackedSequence(*{name}), "
            "and numba_lstm.io.torch.accelerate has modules that take those of torch"
        )
    elif isinstance(value, (list, tuple)):
        advice = f". Convert it: np.asarray({name}, dtype=np.{dtype.name})"
    raise TypeError(f"{name} should be a NumPy array, got: {type(value).__name__}{advice}")


def match_dtype(subject: str, name: str, array: np.ndarray, dtype: np.dtype[Any]) -> None:
    """Raise torch's ValueError unless an array has the module's dtype, in either byte order; TypeError for texts."""
    if array.dtype == dtype:
        return
    given = native(name, array.dtype)
    if given == dtype:
        return
    text = (
        f"{subject} dtype ({given.name}) does not match weight dtype ({dtype.name}). "
        f"Convert {name}: {name}.astype(np.{dtype.name})"
    )
    if given in DTYPES:
        text += f", or build the model with dtype=np.{given.name}"
    raise ValueError(text)


def native(name: str, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return a dtype in native byte order.

    Raises
    ------
    TypeError
        If it is NumPy's of texts of any length, which has no byte order, and which NumPy reads as numbers if it can.

    Examples
    --------
    >>> native("x", np.dtype(">f4")) == np.float32
    True
    """
    if dtype.kind == "T":
        raise TypeError(f"{name} should hold numbers, got texts: {dtype}")
    return dtype.newbyteorder("=")


def float_dtype(dtype: Any) -> np.dtype[Any]:
    """Return float32 or float64 in native byte order, whatever the spelling; None is torch's default, float32."""
    if dtype is None:
        return DTYPES[0]
    try:
        # NumPy's own object, which its arrays share: `is` compares it.
        return DTYPES[DTYPES.index(np.dtype(dtype).newbyteorder("="))]
    except (TypeError, ValueError, SyntaxError):  # no dtype at all, or not one of the two
        raise TypeError(f"dtype should be float32 or float64, got: {dtype!r}") from None


def check_addressable(shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Raise MemoryError for an array beyond the addresses of memory, for which NumPy has a ValueError.

    Examples
    --------
    >>> check_addressable((2**61, 2), np.dtype(np.float32))
    Traceback (most recent call last):
        ...
    MemoryError: an array of shape (2305843009213693952, 2) and dtype float32 is larger than memory can be
    """
    if math.prod(map(int, shape)) * dtype.itemsize > sys.maxsize:  # integers of NumPy would wrap
        raise MemoryError(f"an array of shape {shape} and dtype {dtype} is larger than memory can be")


def readable_input(x: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """Return an input, or a copy where kernels cannot read it in place."""
    if x.dtype is not dtype or not x.flags.aligned or (x.shape[-1] > 1 and x.strides[-1] != dtype.itemsize):
        return np.array(x, dtype, order="C")
    return x


def ready(array: Any, dtype: np.dtype[Any]) -> bool:
    """Return whether kernels can read an array in place; False for some that they could."""
    if type(array) is not np.ndarray or array.dtype is not dtype:
        return False
    flags = array.flags
    return flags.c_contiguous and flags.aligned
