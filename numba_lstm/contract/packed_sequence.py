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
from .checks.sequences import (
    arrays_alike,
    check_batch_sizes,
    check_lengths,
    check_packing,
    check_type,
    integers,
    padded_batch,
    whole_numbers,
)
from .padding import batch_sizes_of, filled, pack_rows, packed_rows, padded_rows, sort_by_length, unpack_rows


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
        Place in the caller's batch of each sequence, the longest first, and the inverse permutation; if one is given,
        the other is computed.  None where the caller sorted.  Fields that contradict each other: ValueError.

    Examples
    --------
    >>> import numpy as np
    >>> from numba_lstm import PackedSequence
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
        rows, sizes = as_array(data, "data"), integers(batch_sizes, "batch_sizes")
        total = check_batch_sizes(sizes)
        if not rows.ndim or len(rows) != total:
            raise ValueError(f"data must have sum(batch_sizes) = {total} rows, but has shape {rows.shape}")
        if sorted_indices is None and unsorted_indices is None:
            return super().__new__(cls, rows, sizes, None, None)
        if sorted_indices is None:  # one says what the other is
            unsorted_indices = integers(unsorted_indices, "unsorted_indices")
            sorted_indices = np.argsort(unsorted_indices)
            if not np.array_equal(unsorted_indices[sorted_indices], np.arange(sizes[0])):
                raise ValueError(f"unsorted_indices must permute range({sizes[0]})")
        order = integers(sorted_indices, "sorted_indices")
        inverse = np.argsort(order)
        inverse = integers(inverse if unsorted_indices is None else unsorted_indices, "unsorted_indices")
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
    >>> from numba_lstm import pack_padded_sequence
    >>> packed = pack_padded_sequence(np.array([[1, 0], [3, 4]]), [1, 2], batch_first=True, enforce_sorted=False)
    >>> packed.data, packed.batch_sizes, packed.sorted_indices
    (array([3, 1, 4]), array([2, 1]), array([1, 0]))
    """
    padded = padded_batch(input, "input", "pack_padded_sequence")
    check_type(batch_first, bool, "_pack_padded_sequence(): argument 'batch_first' (position 3)")
    check_type(enforce_sorted, bool, "pack_padded_sequence(): argument 'enforce_sorted' (position 4)")
    rows, steps = padded.shape[:2] if batch_first else padded.shape[1::-1]
    if not padded.size:
        raise RuntimeError("Cannot pack empty tensors.")
    real = whole_numbers(lengths, "lengths")
    if real.ndim != 1:
        raise RuntimeError(f"'lengths' argument should be a 1D CPU int64 tensor, but got {real.ndim}D cpu Long tensor")
    check_lengths(real, rows, steps, enforce_sorted)
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
    >>> from numba_lstm import PackedSequence, pad_packed_sequence
    >>> padded, lengths = pad_packed_sequence(PackedSequence([1, 4, 2], [2, 1]), padding_value=-1)
    >>> padded.tolist(), lengths.tolist()
    ([[1, 4], [2, -1]], [2, 1])
    """
    check_type(sequence, PackedSequence, "pad_packed_sequence(): argument 'sequence' (position 1)")
    check_type(batch_first, bool, "_pad_packed_sequence(): argument 'batch_first' (position 3)")
    check_type(padding_value, Real, "_pad_packed_sequence(): argument 'padding_value' (position 4)", "Number")
    data, batch_sizes, order, inverse = sequence
    check_packing(batch_sizes, order, inverse)
    steps = len(batch_sizes) if total_length is None else total_length
    check_type(steps, Integral, "_pad_packed_sequence(): argument 'total_length' (position 5)", "int")
    if steps < len(batch_sizes):
        raise ValueError(
            "Expected total_length to be at least the length of the longest sequence in input, "
            f"but got total_length={total_length} and max sequence length being {len(batch_sizes)}"
        )
    padded = filled(int(batch_sizes[0]), steps, data, batch_first, padding_value)
    unpack_rows(data, padded_rows(batch_sizes, order, steps, batch_first), padded)
    lengths = batch_sizes_of(batch_sizes)
    return padded, lengths if inverse is None else lengths[inverse]


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
        If there are none, one is empty, or they are not sorted as they have to be; if trailing shapes differ, or a
        dtype or a number does not fit the first one's dtype; if an argument is not of its type.

    Examples
    --------
    >>> import numpy as np
    >>> from numba_lstm import pack_sequence
    >>> pack_sequence([np.array([1, 2, 3]), np.array([4])]).data
    array([1, 4, 2, 3])
    """
    arrays = arrays_alike(sequences)
    check_type(enforce_sorted, bool, "pack_sequence(): argument 'enforce_sorted' (position 2)")
    joined, lengths = np.concatenate(arrays), np.array([len(array) for array in arrays])
    if not joined.size:
        raise RuntimeError("Cannot pack empty tensors.")
    check_lengths(lengths, len(lengths), lengths.max(), enforce_sorted)
    order = None if enforce_sorted else sort_by_length(lengths)[0]
    places = slice(None) if order is None else order
    batch_sizes = batch_sizes_of(lengths[places])
    rows = packed_rows(batch_sizes, (np.cumsum(lengths) - lengths)[places], 1)
    return PackedSequence(np.take(joined, rows, axis=0), batch_sizes, order)


def unpack_sequence(packed_sequences: PackedSequence) -> list[np.ndarray]:
    """Split a `PackedSequence` (anything else: TypeError) into copies (L, ...), in the order before packing.

    Examples
    --------
    >>> from numba_lstm import PackedSequence, unpack_sequence
    >>> unpack_sequence(PackedSequence([1, 4, 2], [2, 1]))
    [array([1, 2]), array([4])]
    """
    check_type(packed_sequences, PackedSequence, "unpack_sequence(): argument 'packed_sequences' (position 1)")
    data, batch_sizes, order, inverse = packed_sequences
    check_packing(batch_sizes, order, inverse)
    lengths, first_rows = batch_sizes_of(batch_sizes), np.cumsum(batch_sizes) - batch_sizes
    places = range(len(lengths)) if inverse is None else inverse
    return [np.take(data, first_rows[: lengths[place]] + place, axis=0) for place in places]
