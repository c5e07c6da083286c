"""The arguments of functions for sequences of different lengths."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .arrays import as_array, native


def check_lengths(real: np.ndarray, n: int, steps: int, enforce_sorted: bool = False) -> None:
    """Raise torch's error unless integers are lengths of ``n`` sequences; ValueError if one is beyond ``steps``."""
    if len(real) != n:
        raise RuntimeError(f"Expected `len(lengths)` to be equal to batch_size, but got {len(real)} (batch_size={n})")
    if enforce_sorted and real[-1] > 0 and np.any(real[1:] > real[:-1]):  # differences may be beyond 64 bits
        raise RuntimeError(
            "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. "
            "You can pass `enforce_sorted=False` to pack_padded_sequence and/or pack_sequence."
        )
    if np.any(real <= 0):
        raise RuntimeError(
            "Length of all samples has to be greater than 0, but found an element in 'lengths' that is <= 0"
        )
    if np.any(real > steps):
        raise ValueError(f"lengths must be at most T = {steps}, but got {real.max()}")


_INT64 = np.dtype(np.int64)
"""A dtype is compared with another in less time than with a class."""

_SEQUENCE = "must be a 1-D array or a list of integers, but got"


def integers(values: ArrayLike, name: str) -> np.ndarray:
    """Return a read-only int64 copy of a 1-D sequence of integers.

    Examples
    --------
    >>> integers([3, 1.0], "lengths")
    array([3, 1])
    >>> integers(3, "lengths")
    Traceback (most recent call last):
        ...
    TypeError: lengths must be a 1-D array or a list of integers, but got int
    """
    whole = whole_numbers(values, name)
    if not whole.ndim:
        raise TypeError(f"{name} {_SEQUENCE} {type(values).__name__}")
    if whole.ndim > 1:
        raise ValueError(f"{name} {_SEQUENCE} {type(values).__name__} of shape {whole.shape}")
    return whole


def whole_numbers(values: ArrayLike, name: str) -> np.ndarray:
    """Return a read-only int64 copy of integers of any shape."""
    try:
        array = as_array(values, name)
    except ValueError:
        raise ValueError(f"{name} must be 1-D, but its elements differ in length") from None
    native(name, array.dtype)
    if array.dtype.kind not in "iuf":
        if not array.ndim:
            raise TypeError(f"{name} {_SEQUENCE} {type(values).__name__}")
        raise ValueError(f"{name} must be integers, but got {type(values).__name__} of dtype {array.dtype}")
    with np.errstate(invalid="ignore"):
        whole = array.astype(np.int64)
    if not np.array_equal(whole, array):
        raise ValueError(f"{name} must be integers, but got {values!r}")
    whole.setflags(write=False)
    return whole.view()  # the owner of memory can have writing switched on again, a view of it cannot


def check_packing(batch_sizes: np.ndarray, *orders: np.ndarray | None) -> int:
    """Return how many rows a packed batch has; raise ValueError unless its arrays are what they were when it was made.

    They are read-only, and still NumPy lets anybody assign to their shape, dtype and strides.  Kernels read as many
    rows as batch sizes say.

    Parameters
    ----------
    batch_sizes : array
    *orders : array or None
        ``sorted_indices`` and ``unsorted_indices``.

    Examples
    --------
    >>> check_packing(np.array([2, 1]), np.array([1, 0]))
    3
    >>> check_packing(np.array([2, 1]), np.array([1, 0], np.int32))
    Traceback (most recent call last):
        ...
    ValueError: sorted_indices should be a 1-D int64 array in C order, and somebody has changed it in place: it has \
dtype int32, shape (2,) and strides (4,)
    """
    for name, array in zip(("batch_sizes", "sorted_indices", "unsorted_indices"), (batch_sizes, *orders), strict=False):
        if array is not None and not (array.dtype == _INT64 and array.ndim == 1 and array.flags.c_contiguous):
            raise ValueError(
                f"{name} should be a 1-D int64 array in C order, and somebody has changed it in place: it has "
                f"dtype {array.dtype}, shape {array.shape} and strides {array.strides}"
            )
    total = check_batch_sizes(batch_sizes)
    for order in orders:
        if order is not None and len(order) != batch_sizes[0]:
            raise ValueError(f"batch_sizes begin with {batch_sizes[0]} rows, and there are {len(order)} indices")
    return total


def check_batch_sizes(sizes: np.ndarray) -> int:
    """Return how many rows a packed batch has; raise unless integers are the rows of each of its steps."""
    rows = sizes.tolist()  # Python's integers do not wrap, and NumPy takes longer for few of them
    if not rows:
        raise RuntimeError("batch_sizes can not be empty")
    if rows[-1] < 1 or rows != sorted(rows, reverse=True):
        raise ValueError("batch_sizes must be at least 1 and never increase")
    return sum(rows)


def check_type(value: object, kinds: Any, where: str, expected: str | None = None) -> None:
    """Raise torch's TypeError unless a value, which ``where`` names in torch's words, is of one of some types."""
    if not isinstance(value, kinds):
        given = type(value).__name__
        if hasattr(value, "batch_sizes"):  # torch's, whose name is the same
            given = f"{type(value).__module__}.{given}, of which numba_lstm.PackedSequence(*sequence) makes one of ours"
        raise TypeError(f"{where} must be {expected or kinds.__name__}, not {given}")


def padded_batch(value: Any, name: str, function: str) -> np.ndarray:
    """Return an array, or what turns into one by itself, if it has two dimensions or more."""
    if not hasattr(value, "__array__"):
        check_type(value, np.ndarray, f"{function}(): argument '{name}' (position 1)")
    array = as_array(value, name)
    if array.ndim < 2:
        raise ValueError(f"{name} must have at least 2 dimensions, but has shape {array.shape}")
    return array


def _casting(given: np.dtype[Any], wanted: np.dtype[Any]) -> Any:
    """Return which casts of NumPy are considered: numbers may be rounded, texts are not cut, nor times."""
    if _is_number(given) and _is_number(wanted):
        return "same_kind"
    return "equiv" if given.kind in "mM" else "safe"  # NumPy calls a cast of days to nanoseconds safe, and lets it wrap


def _is_number(dtype: np.dtype[Any]) -> bool:
    # bfloat16 of other libraries is of the kind of records, too.
    return dtype.kind in "biufc" or (dtype.kind == "V" and type(dtype) is not np.dtypes.VoidDType)


def _cast(array: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray | None:
    """Return an array in another dtype, or None if a number is beyond it: it would wrap, or become inf or nan."""
    if np.can_cast(array.dtype, dtype):
        return array.astype(dtype, copy=False)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        fits = not array.size or limits.min <= int(array.min()) <= int(array.max()) <= limits.max
        return array.astype(dtype) if fits else None
    with np.errstate(over="ignore", invalid="ignore"):
        cast = array.astype(dtype)
    parts = (array.real, cast.real), (array.imag, cast.imag)
    fits = all(np.array_equal(np.isfinite(given), np.isfinite(part)) for given, part in parts)
    return cast if fits else None


def arrays_alike(sequences: Iterable[Any]) -> list[np.ndarray]:
    """Return the sequences as arrays of the first one's dtype, after checking that they go together."""
    arrays: list[np.ndarray] = []
    for k, sequence in enumerate(sequences):
        if not hasattr(sequence, "__array__"):
            raise TypeError(f"expected ndarray as element {k} of sequences, but got {type(sequence).__name__}")
        array = as_array(sequence, f"sequences[{k}]")
        first = arrays[0] if arrays else array
        if not array.ndim or array.shape[1:] != first.shape[1:]:
            raise ValueError(f"sequences[{k}] of shape {array.shape} does not go with shape (*, {first.shape[1:]})")
        if array.dtype != first.dtype:
            if not np.can_cast(array.dtype, first.dtype, _casting(array.dtype, first.dtype)):
                raise ValueError(f"sequences[{k}] of dtype {array.dtype} does not fit the first one's {first.dtype}")
            cast = _cast(array, first.dtype)
            if cast is None:
                raise ValueError(f"sequences[{k}] has numbers that do not fit the first one's dtype {first.dtype}")
            array = cast
        arrays.append(array)
    if not arrays:
        raise RuntimeError("received an empty list of sequences")
    return arrays
