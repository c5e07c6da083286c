"""Padded batches of sequences of different lengths, as ``torch.nn.utils.rnn`` makes them; see `packed_sequence`."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Real

import numpy as np
from numpy.typing import ArrayLike

from .checks.sequences import arrays_alike, check_type, integers, padded_batch
from .padding import filled


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
        a dtype, a number or padding_value does not fit the first one's dtype; if an argument is not of its type.

    Examples
    --------
    >>> import numpy as np
    >>> from numba_lstm import pad_sequence
    >>> pad_sequence([np.array([1, 2, 3]), np.array([4])], batch_first=True, padding_side="left").tolist()
    [[1, 2, 3], [0, 0, 4]]
    """
    if not isinstance(sequences, Iterable):
        raise RuntimeError(
            f"pad_sequence: Expected iterable for input sequences, but got arg of type: {type(sequences)}"
        )
    arrays = arrays_alike(sequences)
    check_type(batch_first, bool, "pad_sequence(): argument 'batch_first' (position 2)")
    check_type(padding_value, Real, "pad_sequence(): argument 'padding_value' (position 3)", "float")
    check_type(padding_side, str, "pad_sequence(): argument 'padding_side' (position 4)")
    if padding_side not in ("left", "right"):
        raise RuntimeError(f"Expected padding_side to be one of left or right, but got {padding_side}.")
    steps = max(map(len, arrays))
    padded = filled(len(arrays), steps, arrays[0], batch_first, padding_value)
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
    >>> from numba_lstm import unpad_sequence
    >>> unpad_sequence(np.array([[1, 2, 3], [4, 0, 0]]), [3, 1], batch_first=True)
    [array([1, 2, 3]), array([4])]
    """
    padded = padded_batch(padded_sequences, "padded_sequences", "unpad_sequence")
    check_type(batch_first, bool, "unpad_sequence(): argument 'batch_first' (position 3)")
    by_row = padded if batch_first else padded.swapaxes(0, 1)
    real = integers(lengths, "lengths")
    if len(real) != len(by_row) or np.any((real < 0) | (real > by_row.shape[1])):
        raise ValueError(f"lengths must be {len(by_row)} integers of 0 to T = {by_row.shape[1]}, but got {lengths!r}")
    return [row[:length].copy() for row, length in zip(by_row, real, strict=True)]
