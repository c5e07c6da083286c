"""How a caller's arrays lie, and how the passes want them: (T, B, features), or (1, rows, features) where packed.

What a layout takes in is copied: gradients stay right whatever becomes of the caller's arrays.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np

from ..contract.checks.arrays import check_addressable
from ..contract.packed_sequence import PackedSequence
from ..contract.padding import batch_sizes_of, pack_rows, padded_rows, sort_by_length, unpack_rows
from ..execution.planning.schedule import Batch


class Layout(Protocol):
    """The layout of a call's input and output."""

    def batch(self, from_zero: bool) -> Batch:
        """Return the shape of the call."""

    def plain(self, gradient: Any) -> Any:
        """Return the array of an output's gradient, which may come as the output does."""

    def take(self, array: np.ndarray) -> np.ndarray:
        """Return what passes read of an array of a caller's."""

    def give(self, array: np.ndarray) -> Any:
        """Return a fresh array of the caller's layout of what passes have made."""

    def take_state(self, state: np.ndarray) -> np.ndarray:
        """Return states (cells, B, features) in the order of rows of the passes."""

    def give_state(self, state: np.ndarray) -> np.ndarray:
        """Return fresh states in the caller's order, and of the caller's axes."""


class Even(NamedTuple):
    """Sequences of one length: (T, B, features), (B, T, features) or (T, features)."""

    steps: int
    rows: int
    batch_first: bool
    batched: bool

    def batch(self, from_zero: bool) -> Batch:
        return Batch(self.steps, self.rows, from_zero, kept=True)

    def plain(self, gradient: Any) -> Any:
        return gradient

    def take(self, array: np.ndarray) -> np.ndarray:
        array = array if self.batched else array.reshape(self.steps, 1, -1)
        return np.array(array.swapaxes(0, 1) if self.batch_first else array, order="C")

    def give(self, array: np.ndarray) -> np.ndarray:
        array = np.array(array.swapaxes(0, 1) if self.batch_first else array, order="C")
        return array if self.batched else array.reshape(self.steps, -1)

    def take_state(self, state: np.ndarray) -> np.ndarray:
        return np.array(state if self.batched else state.reshape(len(state), 1, -1), order="C")

    def give_state(self, state: np.ndarray) -> np.ndarray:
        return np.array(state if self.batched else state.reshape(len(state), -1), order="C")


class Padded:
    """A padded batch of sequences of different lengths."""

    def __init__(self, lengths: np.ndarray, shape: tuple[int, ...], batch_first: bool) -> None:
        self._order, self._inverse = sort_by_length(lengths)
        self._sizes = batch_sizes_of(lengths[self._order])
        self._places = padded_rows(self._sizes, self._order, shape[batch_first], batch_first)
        self._shape = shape[:2]

    def batch(self, from_zero: bool) -> Batch:
        return _packed_batch(self._sizes, from_zero)

    def plain(self, gradient: Any) -> Any:
        return gradient

    def take(self, array: np.ndarray) -> np.ndarray:
        return pack_rows(array, self._places)[None]

    def give(self, array: np.ndarray) -> np.ndarray:
        shape = *self._shape, array.shape[2]
        check_addressable(shape, array.dtype)
        padded = np.zeros(shape, array.dtype)
        unpack_rows(array.reshape(-1, array.shape[2]), self._places, padded)
        return padded

    def take_state(self, state: np.ndarray) -> np.ndarray:
        return np.take(state, self._order, axis=1)

    def give_state(self, state: np.ndarray) -> np.ndarray:
        return np.take(state, self._inverse, axis=1)


class Packed:
    """A packed batch."""

    def __init__(self, sequence: PackedSequence) -> None:
        # Not the data, which is copied when it is taken, nor a view, which would keep all of it.
        self._sequence = sequence._with(sequence.data[:0].copy())
        # Arrays of its own, as anybody may change the shape and the dtype of those that come and go with sequences.
        self._sizes = sequence.batch_sizes.view()
        self._order, self._inverse = (None if order is None else order.view() for order in sequence[2:])

    def batch(self, from_zero: bool) -> Batch:
        return _packed_batch(self._sizes, from_zero)

    def plain(self, gradient: Any) -> Any:
        if not isinstance(gradient, PackedSequence):
            return gradient
        if gradient._with(self._sequence.data) != self._sequence:
            raise ValueError("d_output is of another batch than the output: other lengths, or another order")
        return gradient.data

    def take(self, array: Any) -> np.ndarray:
        return np.array(array, order="C")[None]

    def give(self, array: np.ndarray) -> PackedSequence:
        return self._sequence._with(array.reshape(-1, array.shape[2]).copy())

    def take_state(self, state: np.ndarray) -> np.ndarray:
        order = self._order
        return np.array(state, order="C") if order is None else np.take(state, order, axis=1)

    def give_state(self, state: np.ndarray) -> np.ndarray:
        inverse = self._inverse
        return np.array(state, order="C") if inverse is None else np.take(state, inverse, axis=1)


def _packed_batch(sizes: np.ndarray, from_zero: bool) -> Batch:
    steps, rows = len(sizes), int(sizes[0])
    if rows == sizes[-1]:  # of one length: passes then have the steps apart
        return Batch(steps, rows, from_zero, kept=True)
    offsets = np.zeros(steps + 1, np.int64)
    np.cumsum(sizes, out=offsets[1:])
    return Batch(steps, rows, from_zero, offsets, kept=True)
