"""Sequences of different lengths: ``torch.nn.utils.rnn`` on NumPy arrays.

A packed sequence holds step 0 of every sequence, then step 1 of those that have one, and so on, the longest
sequence first, so that the rows of one step are neighbours and shrink from the end::

    sequences    abcd  ef  g
    data         a e g  b f  c  d
    batch_sizes  3      2    1  1

Shapes: N sequences of L <= T steps, ... for any trailing dimensions.  Errors are torch's; where torch accepts what
corrupts the data (lengths beyond T, fractions, too few lengths, batch sizes that increase, shapes that broadcast)
there is a ValueError.  Sequences of equal length keep their order; torch's do up to 16, beyond that any may lead.
"""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .checks.arrays import as_array
from .padding import pack_rows, packed_rows, padded_rows, unpack_rows


class _Fields(NamedTuple):
    data: np.ndarray
    batch_sizes: np.ndarray
    sorted_indices: np.ndarray | None
    unsorted_indices: np.ndarray | None


class PackedSequence(_Fields):
    """Rows of sequences of different lengths, step by step: a tuple, equal where all fields are.

    Parameters
    ----------
    data : array (sum of batch_sizes, ...)
        The rows; or a pair of data and batch_sizes.
    batch_sizes : integers (T,)
        Rows of each step: at least 1, never increasing.  Kept, as are the indices, as a read-only int64 copy.
    sorted_indices, unsorted_indices : integers (N,), optional
        Place in the caller's batch of each sequence, the longest first, and the inverse permutation, which is
        computed if not given.  None where the caller sorted.  Fields that contradict each other: ValueError.

    Examples
    --------
    >>> import numpy as np
    >>> packed = PackedSequence(np.array([1, 4, 2]), [2, 1])
    >>> packed._replace(data=packed.data * 10)
    PackedSequence(data=array([10, 40, 20]), batch_sizes=array([2, 1]), sorted_indices=None, unsorted_indices=None)
    """

    __slots__ = ()

    def __new__(
        cls, data: Any, batch_sizes: Any = None, sorted_indices: Any = None, unsorted_indices: Any = None
    ) -> PackedSequence:
        if batch_sizes is None:
            if not (isinstance(data, list | tuple) and len(data) == 2):
                raise AssertionError("Expected data to be a list or tuple of length 2")
            data, batch_sizes = data
        rows, sizes = as_array(data, "data"), _integers(batch_sizes, "batch_sizes")
        if not sizes.size:
            raise RuntimeError("batch_sizes can not be empty")
        if sizes[-1] < 1 or np.any(np.diff(sizes) > 0):
            raise ValueError("batch_sizes must be at least 1 and never increase")
        if not rows.ndim or len(rows) != sizes.sum():
            raise ValueError(f"data must have sum(batch_sizes) = {sizes.sum()} rows, but has shape {rows.shape}")
        if sorted_indices is None and unsorted_indices is None:
            return super().__new__(cls, rows, sizes, None, None)
        order = _integers(sorted_indices, "sorted_indices")
        inverse = np.argsort(order)
        inverse = _integers(inverse if unsorted_indices is None else unsorted_indices, "unsorted_indices")
        if not (np.array_equal(np.sort(order), np.arange(sizes[0])) and np.array_equal(np.argsort(order), inverse)):
            raise ValueError(f"sorted_indices must permute range({sizes[0]}), unsorted_indices be the inverse")
        return super().__new__(cls, rows, sizes, order, inverse)

    def _with(self, data: np.ndarray) -> PackedSequence:
        """Return other data for the same sequences, which is known to fit."""
        return super().__new__(PackedSequence, data, *self[1:])

    @classmethod
    def _make(cls, iterable: Iterable[Any]) -> PackedSequence:  # type: ignore[override]
        return cls(*iterable)  # the inherited one, which _replace takes, would not check

    def __eq__(self, other: object) -> bool:
        # None has no dimensions to NumPy, and is equal to itself alone.
        return isinstance(other, PackedSequence) and all(map(np.array_equal, self, other))  # type: ignore[arg-type]

    def __ne__(self, other: object) -> bool:
        return not self == other


def pack_padded_sequence(
    input: np.ndarray, lengths: ArrayLike, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Pack a padded batch.

    Parameters
    ----------
    input : array (T, N, ...), or (N, T, ...) with ``batch_first``
    lengths : integers (N,)
        Real steps of each sequence, 1 to T; what follows them may hold anything.
    batch_first, enforce_sorted : bool
        The layout of input; whether to insist on lengths that never increase, or to sort here.

    Raises
    ------
    RuntimeError, ValueError, TypeError
        If input is empty, or lengths are not N, positive and, if enforced, sorted; if input has fewer than 2
        dimensions, or a length is beyond T or no integer; if an argument is not of its type.

    Examples
    --------
    >>> import numpy as np
    >>> packed = pack_padded_sequence(np.array([[1, 0], [3, 4]]), [1, 2], batch_first=True, enforce_sorted=False)
    >>> packed.data, packed.batch_sizes, packed.sorted_indices
    (array([3, 1, 4]), array([2, 1]), array([1, 0]))
    """
    padded = _padded(input, "input", "pack_padded_sequence")
    _check_type(batch_first, bool, "_pack_padded_sequence(): argument 'batch_first' (position 3)")
    _check_type(enforce_sorted, bool, "pack_padded_sequence(): argument 'enforce_sorted' (position 4)")
    rows, steps = padded.shape[:2] if batch_first else padded.shape[1::-1]
    if not padded.size:
        raise RuntimeError("Cannot pack empty tensors.")
    real = check_lengths(lengths, rows, steps, enforce_sorted)
    order = None if enforce_sorted else sort_by_length(real)[0]
    batch_sizes = batch_sizes_of(real if order is None else real[order])
    return PackedSequence(pack_rows(padded, padded_rows(batch_sizes, order, steps, batch_first)), batch_sizes, order)


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Undo `pack_padded_sequence`: return (T, N, ...), or (N, T, ...) with ``batch_first``, and lengths, int64 (N,).

    Parameters
    ----------
    sequence : PackedSequence
    batch_first, padding_value : bool, float
        The layout to return; what to fill with, within the range of the data's dtype.
    total_length : int, optional
        Steps to return, if not those of the longest sequence.

    Raises
    ------
    ValueError, TypeError
        If total_length is too small or padding_value out of range; if an argument is not of its type.

    Examples
    --------
    >>> padded, lengths = pad_packed_sequence(PackedSequence([1, 4, 2], [2, 1]), padding_value=-1)
    >>> padded.tolist(), lengths.tolist()
    ([[1, 4], [2, -1]], [2, 1])
    """
    _check_type(sequence, PackedSequence, "pad_packed_sequence(): argument 'sequence' (position 1)")
    _check_type(batch_first, bool, "_pad_packed_sequence(): argument 'batch_first' (position 3)")
    _check_type(padding_value, Real, "_pad_packed_sequence(): argument 'padding_value' (position 4)", "Number")
    data, batch_sizes, order, inverse = sequence
    steps = len(batch_sizes) if total_length is None else total_length
    _check_type(steps, Integral, "_pad_packed_sequence(): argument 'total_length' (position 5)", "int")
    if steps < len(batch_sizes):
        raise ValueError(
            "Expected total_length to be at least the length of the longest sequence in input, "
            f"but got total_length={total_length} and max sequence length being {len(batch_sizes)}"
        )
    padded = _filled(int(batch_sizes[0]), steps, data, batch_first, padding_value)
    unpack_rows(data, padded_rows(batch_sizes, order, steps, batch_first), padded)
    lengths = batch_sizes_of(batch_sizes)
    return padded, lengths if inverse is None else lengths[inverse]


def pad_sequence(
    sequences: Iterable[np.ndarray], batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right"
) -> np.ndarray:
    """Stack sequences of different lengths, padded to the longest: (T, N, ...), or (N, T, ...) with ``batch_first``.

    Parameters
    ----------
    sequences : iterable of N arrays (L, ...)
        Of one trailing shape; the first one's dtype is the result's.
    batch_first, padding_value : bool, float
        The layout to return; what to fill with, within the range of the dtype.
    padding_side : {"right", "left"}
        Whether padding follows a sequence or precedes it.

    Raises
    ------
    RuntimeError, ValueError, TypeError
        If sequences is empty or not iterable, or padding_side is neither of the two; if trailing shapes differ, or
        a dtype or padding_value does not fit the first one's dtype; if an argument is not of its type.

    Examples
    --------
    >>> import numpy as np
    >>> pad_sequence([np.array([1, 2, 3]), np.array([4])], batch_first=True, padding_side="left").tolist()
    [[1, 2, 3], [0, 0, 4]]
    """
    if not isinstance(sequences, Iterable):
        raise RuntimeError(
            f"pad_sequence: Expected iterable for input sequences, but got arg of type: {type(sequences)}"
        )
    arrays = _alike(sequences)
    _check_type(batch_first, bool, "pad_sequence(): argument 'batch_first' (position 2)")
    _check_type(padding_value, Real, "pad_sequence(): argument 'padding_value' (position 3)", "float")
    _check_type(padding_side, str, "pad_sequence(): argument 'padding_side' (position 4)")
    if padding_side not in ("left", "right"):
        raise RuntimeError(f"Expected padding_side to be one of left or right, but got {padding_side}.")
    steps = max(map(len, arrays))
    padded = _filled(len(arrays), steps, arrays[0], batch_first, padding_value)
    for target, source in zip(padded if batch_first else padded.swapaxes(0, 1), arrays, strict=True):
        start = steps - len(source) if padding_side == "left" else 0
        target[start : start + len(source)] = source
    return padded


def unpad_sequence(padded_sequences: np.ndarray, lengths: ArrayLike, batch_first: bool = False) -> list[np.ndarray]:
    """Split a batch padded on the right into copies (L, ...); unlike torch's, it leaves its argument alone.

    Parameters
    ----------
    padded_sequences, batch_first : array (T, N, ...), or (N, T, ...) with ``batch_first``; bool
    lengths : integers (N,)
        Real steps of each sequence, 0 to T.

    Raises
    ------
    ValueError, TypeError
        If there are not N lengths, or one is out of range or no integer; if an argument is not of its type.

    Examples
    --------
    >>> import numpy as np
    >>> unpad_sequence(np.array([[1, 2, 3], [4, 0, 0]]), [3, 1], batch_first=True)
    [array([1, 2, 3]), array([4])]
    """
    padded = _padded(padded_sequences, "padded_sequences", "unpad_sequence")
    _check_type(batch_first, bool, "unpad_sequence(): argument 'batch_first' (position 3)")
    by_row = padded if batch_first else padded.swapaxes(0, 1)
    real = _integers(lengths, "lengths")
    if len(real) != len(by_row) or np.any((real < 0) | (real > by_row.shape[1])):
        raise ValueError(f"lengths must be {len(by_row)} integers of 0 to T = {by_row.shape[1]}, but got {lengths!r}")
    return [row[:length].copy() for row, length in zip(by_row, real, strict=True)]


def pack_sequence(sequences: Iterable[np.ndarray], enforce_sorted: bool = True) -> PackedSequence:
    """Pack sequences.

    Parameters
    ----------
    sequences : iterable of N arrays (L, ...)
        Of one trailing shape, L at least 1; the first one's dtype is the result's.
    enforce_sorted : bool
        Whether to insist on lengths that never increase, or to sort here.

    Raises
    ------
    RuntimeError, ValueError, TypeError
        If there are none, one is empty, or they are not sorted as they have to be; if trailing shapes differ or a
        dtype does not fit the first one's; if an argument is not of its type.

    Examples
    --------
    >>> import numpy as np
    >>> pack_sequence([np.array([1, 2, 3]), np.array([4])]).data
    array([1, 4, 2, 3])
    """
    arrays = _alike(sequences)
    _check_type(enforce_sorted, bool, "pack_sequence(): argument 'enforce_sorted' (position 2)")
    joined, lengths = np.concatenate(arrays), np.array([len(array) for array in arrays])
    if not joined.size:
        raise RuntimeError("Cannot pack empty tensors.")
    lengths = check_lengths(lengths, len(lengths), lengths.max(), enforce_sorted)
    order = None if enforce_sorted else sort_by_length(lengths)[0]
    places = slice(None) if order is None else order
    batch_sizes = batch_sizes_of(lengths[places])
    rows = packed_rows(batch_sizes, (np.cumsum(lengths) - lengths)[places], 1)
    return PackedSequence(np.take(joined, rows, axis=0), batch_sizes, order)


def unpack_sequence(packed_sequences: PackedSequence) -> list[np.ndarray]:
    """Split a `PackedSequence` (anything else: TypeError) into copies (L, ...), in the order before packing.

    Examples
    --------
    >>> unpack_sequence(PackedSequence([1, 4, 2], [2, 1]))
    [array([1, 2]), array([4])]
    """
    _check_type(packed_sequences, PackedSequence, "unpack_sequence(): argument 'packed_sequences' (position 1)")
    data, batch_sizes, _, inverse = packed_sequences
    lengths, first_rows = batch_sizes_of(batch_sizes), np.cumsum(batch_sizes) - batch_sizes
    places = range(len(lengths)) if inverse is None else inverse
    return [np.take(data, first_rows[: lengths[place]] + place, axis=0) for place in places]


def check_lengths(lengths: ArrayLike, n: int, steps: int, enforce_sorted: bool = False) -> np.ndarray:
    """Return the lengths of ``n`` sequences as int64; raise torch's error, or ValueError beyond ``steps``."""
    real = _integers(lengths, "lengths")
    if len(real) != n:
        raise RuntimeError(f"Expected `len(lengths)` to be equal to batch_size, but got {len(real)} (batch_size={n})")
    if enforce_sorted and real[-1] > 0 and np.any(np.diff(real) > 0):
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
    return real


def sort_by_length(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return sorted_indices, the longest first and ties in the caller's order, and their inverse."""
    order = np.argsort(-lengths, kind="stable")
    return order, np.argsort(order)


def batch_sizes_of(lengths: np.ndarray) -> np.ndarray:
    """Return how many of the descending lengths exceed each step; of batch sizes, it returns the lengths."""
    return np.searchsorted(-lengths, -np.arange(lengths[:1].sum())).astype(np.int64)


def _integers(values: ArrayLike, name: str) -> np.ndarray:
    """Return a read-only int64 copy of a 1-D sequence of integers."""
    try:
        array = as_array(values, name)
    except ValueError:
        raise ValueError(f"{name} must be 1-D, but its elements differ in length") from None
    if array.dtype.kind not in "iuf":
        error = ValueError if array.ndim else TypeError
        raise error(f"{name} must be integers, but got {type(values).__name__} of dtype {array.dtype}")
    if array.ndim != 1:
        raise RuntimeError(f"'{name}' argument should be a 1D CPU int64 tensor, but got {array.ndim}D cpu Long tensor")
    with np.errstate(invalid="ignore"):
        integers = array.astype(np.int64)
    if not np.array_equal(integers, array):
        raise ValueError(f"{name} must be integers, but got {values!r}")
    integers.setflags(write=False)
    return integers


def _check_type(value: object, kinds: Any, where: str, expected: str | None = None) -> None:
    if not isinstance(value, kinds):
        given = type(value).__name__
        if hasattr(value, "batch_sizes"):  # torch's, whose name is the same
            given = f"{type(value).__module__}.{given}, of which numba_lstm.PackedSequence(*sequence) makes one of ours"
        raise TypeError(f"{where} must be {expected or kinds.__name__}, not {given}")


def _padded(value: Any, name: str, function: str) -> np.ndarray:
    """Return an array, or what turns into one by itself, if it has two dimensions or more."""
    if not hasattr(value, "__array__"):
        _check_type(value, np.ndarray, f"{function}(): argument '{name}' (position 1)")
    array = as_array(value, name)
    if array.ndim < 2:
        raise ValueError(f"{name} must have at least 2 dimensions, but has shape {array.shape}")
    return array


def _filled(rows: int, steps: int, like: np.ndarray, batch_first: bool, value: float) -> np.ndarray:
    """Return a padded batch of nothing but padding."""
    value, kind = np.asarray(value).item(), like.dtype.kind
    if kind in "iu" or (kind == "f" and value == value and abs(value) != np.inf):
        limits = np.finfo(like.dtype) if kind == "f" else np.iinfo(like.dtype)
        # NumPy would convert the value to compare it, with a warning; integers are exact.
        if not int(limits.min) <= value <= int(limits.max):
            raise ValueError(f"padding_value {value} does not fit dtype {like.dtype}")
    return np.full(((rows, steps) if batch_first else (steps, rows)) + like.shape[1:], value, like.dtype)


def _alike(sequences: Iterable[Any]) -> list[np.ndarray]:
    """Return the sequences as arrays of the first one's dtype, after checking that they go together."""
    arrays: list[np.ndarray] = []
    for k, sequence in enumerate(sequences):
        if not hasattr(sequence, "__array__"):
            raise TypeError(f"expected ndarray as element {k} of sequences, but got {type(sequence).__name__}")
        array = as_array(sequence, f"sequences[{k}]")
        first = arrays[0] if arrays else array
        if not array.ndim or array.shape[1:] != first.shape[1:]:
            raise ValueError(f"sequences[{k}] of shape {array.shape} does not go with shape (*, {first.shape[1:]})")
        if not np.can_cast(array.dtype, first.dtype, "same_kind"):
            raise ValueError(f"sequences[{k}] of dtype {array.dtype} does not fit the first one's {first.dtype}")
        arrays.append(array.astype(first.dtype, copy=False))
    if not arrays:
        raise RuntimeError("received an empty list of sequences")
    return arrays
