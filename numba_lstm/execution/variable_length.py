"""Batches of sequences of different lengths, packed by the caller or padded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..contract.architecture import Architecture
from ..contract.checks.calls import packed_call
from ..contract.checks.sequences import check_lengths
from ..contract.packed_sequence import PackedSequence
from ..contract.padding import batch_sizes_of, pack_rows, padded_rows, sort_by_length, unpack_rows
from .network import Network

State = tuple[np.ndarray, np.ndarray]
Dropout = Callable[[np.ndarray], None] | None


def _reordered(array: np.ndarray | None, order: np.ndarray | None) -> np.ndarray | None:
    """Return states (cells, N, features) with their rows in another order, C-order."""
    return array if array is None or order is None else np.take(array, order, axis=1)


def run_packed(
    network: Network,
    architecture: Architecture,
    dtype: np.dtype[Any],
    sequence: PackedSequence,
    hx: Any,
    dropout: Dropout,
) -> tuple[PackedSequence, State]:
    """Run a packed batch; states come and go in the order in which the caller packed the sequences."""
    data, h_0, c_0 = packed_call(
        architecture, dtype, sequence.data, int(sequence.batch_sizes[0]), int(sequence.batch_sizes.sum()), hx
    )
    order, inverse = sequence.sorted_indices, sequence.unsorted_indices
    h_0, c_0 = _reordered(h_0, order), _reordered(c_0, order)
    output, h_n, c_n = network.packed(data, sequence.batch_sizes, h_0, c_0, dropout=dropout)
    h_n, c_n = (state if inverse is None else np.take(state, inverse, axis=1) for state in (h_n, c_n))
    return sequence._with(output), (h_n, c_n)


def run_padded(
    network: Network,
    batch_first: bool,
    x: np.ndarray,
    lengths: Any,
    h_0: np.ndarray | None,
    c_0: np.ndarray | None,
    dropout: Dropout,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Run a padded batch: padding is not read, and is zero in the output.

    Parameters
    ----------
    x : (L, N, H_in) array, or (N, L, H_in) with ``batch_first``
        Checked.
    lengths : N integers
        From 1 to L.
    """
    rows, steps = x.shape[not batch_first], x.shape[batch_first]
    real = check_lengths(lengths, rows, steps)
    if not rows:
        return network(x, h_0, c_0, batch_first=batch_first)
    order, inverse = sort_by_length(real)
    batch_sizes = batch_sizes_of(real[order])
    places = padded_rows(batch_sizes, order, steps, batch_first)
    packed, h_n, c_n = network.packed(
        pack_rows(x, places), batch_sizes, _reordered(h_0, order), _reordered(c_0, order), dropout=dropout
    )
    output = np.zeros((*x.shape[:2], packed.shape[1]), packed.dtype)
    unpack_rows(packed, places, output)
    return output, np.take(h_n, inverse, axis=1), np.take(c_n, inverse, axis=1)
