"""From padded to packed batches and back: where each row is, and copies that Ctrl-C can interrupt."""
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..formats.contents import is_foreign
from .checks.arrays import check_addressable

COPIED_BYTES = 1 << 26
"""The size of one operation of NumPy, during which no signal is seen: tens of milliseconds where pages are new."""


def sort_by_length(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return sorted_indices, the longest first and ties in the caller's order, and their inverse."""
    order = np.argsort(-lengths, kind="stable")
    return order, np.argsort(order)


def batch_sizes_of(lengths: np.ndarray) -> np.ndarray:
    """Return how many of the descending lengths exceed each step; of batch sizes, it returns the lengths."""
    return np.searchsorted(-lengths, -np.arange(lengths[:1].sum())).astype(np.int64)


def packed_rows(batch_sizes: np.ndarray, first_rows: np.ndarray, stride: int) -> np.ndarray:
    """Return for every packed row ``first_rows[sequence] + step * stride``."""
    sequence = np.arange(batch_sizes.sum()) - np.repeat(np.cumsum(batch_sizes) - batch_sizes, batch_sizes)
    rows: np.ndarray = first_rows[sequence] + np.repeat(np.arange(len(batch_sizes)) * stride, batch_sizes)
    return rows


def padded_rows(batch_sizes: np.ndarray, order: np.ndarray | None, steps: int, batch_first: bool) -> np.ndarray:
    """Return for every packed row its row in a padded batch whose first two axes are flattened."""
    places = np.arange(batch_sizes[:1].sum()) if order is None else order
    return packed_rows(batch_sizes, places * steps, 1) if batch_first else packed_rows(batch_sizes, places, len(places))


def pack_rows(padded: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Gather `padded_rows`."""
    packed = np.empty((len(rows), *padded.shape[2:]), padded.dtype)
    for part in _parts(packed):
        if padded.flags.c_contiguous:
            # Without a mode, or with "raise", take would go through a copy of the output.
            np.take(_in_a_row(padded), rows[part], axis=0, out=packed[part], mode="clip")
        else:
            packed[part] = padded[np.divmod(rows[part], padded.shape[1])]
    return packed


def unpack_rows(data: np.ndarray, rows: np.ndarray, padded: np.ndarray) -> None:
    """Scatter data to `padded_rows` of a batch in C order; its other rows stay as they are."""
    flat = _in_a_row(padded)
    for part in _parts(data):
        flat[rows[part]] = data[part]


def _in_a_row(padded: np.ndarray) -> np.ndarray:
    """Return a batch with its first two axes flattened; NumPy would not find out how long, where others are 0."""
    return padded.reshape(padded.shape[0] * padded.shape[1], *padded.shape[2:])


def filled(rows: int, steps: int, like: np.ndarray, batch_first: bool, value: float) -> np.ndarray:
    """Return a padded batch of nothing but padding; ValueError if the dtype has no such number."""
    value = np.asarray(value).item()
    if not _holds(like.dtype, value):
        raise ValueError(f"padding_value {_shown(value)} does not fit dtype {like.dtype}")
    if like.dtype.kind == "b":  # NumPy 2 refuses integers above 64 bits here, and NumPy 1 takes any
        value = bool(value)
    shape = (rows, steps) if batch_first else (steps, rows)
    check_addressable(shape + like.shape[1:], like.dtype)
    return np.full(shape + like.shape[1:], value, like.dtype)


def _holds(dtype: np.dtype[Any], value: Any) -> bool:
    """Return whether a dtype has a number, or one near it."""
    kind = dtype.kind
    if is_foreign(dtype):
        return _other_holds(dtype, value)
    if kind in "SUT":  # texts, which could be cut as well
        return False
    if kind in "bfc" and (value != value or abs(value) == np.inf):
        return True
    if kind in "bfciumM":
        if kind in "fc":
            limits: Any = np.finfo(dtype)
        elif kind == "b":  # torch makes a float64 of every value first
            limits = np.finfo(np.float64)
        else:
            limits = np.iinfo(dtype if kind in "iu" else np.int64)
        # NumPy would convert the value to compare it, with a warning; integers are exact.
        return bool(int(limits.min) <= value <= int(limits.max))
    try:
        np.full((), value, dtype)
    except OverflowError:  # of a huge integer for the fields of records
        return False
    return True


def _other_holds(dtype: np.dtype[Any], value: Any) -> bool:
    """Return whether a dtype of another library, which does not say its limits, has a number, or one near it."""
    try:
        with np.errstate(all="ignore"):
            number = np.full((), value, dtype).astype(np.float64).item()
    except (OverflowError, TypeError):
        return False
    if value != value or abs(value) == np.inf:
        return bool(number == value or (value != value and number != number))
    return bool(abs(number - value) <= max(1, abs(value) / 2))  # neither wrapped, nor infinite or nan, nor the largest


def _shown(value: Any) -> str:
    """Return a number for a message, if Python writes integers that are so long."""
    try:
        return str(value)
    except ValueError:
        return "of very many digits"


def _parts(array: np.ndarray) -> Iterator[slice]:
    """Yield parts of the first axis."""
    length = max(1, COPIED_BYTES // max(1, array[:1].nbytes))
    return (slice(first, first + length) for first in range(0, len(array), length))
