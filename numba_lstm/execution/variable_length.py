"""Batches of sequences of different lengths, packed by the caller or padded."""

from __future__ import annotations

import numpy as np

from ..contract.checks.arrays import check_addressable
from ..contract.dropout import Dropout
from ..contract.packed_sequence import PackedSequence
from ..contract.padding import batch_sizes_of, pack_rows, padded_rows, sort_by_length, unpack_rows
from .network import Network

State = tuple[np.ndarray, np.ndarray]


def _reordered(array: np.ndarray | None, order: np.ndarray | None) -> np.ndarray | None:
    """Return states (cells, N, features) with their rows in another order, C-order."""
    return array if array is None or order is None else np.take(array, order, axis=1)


def run_packed(
    network: Network,
    sequence: PackedSequence,
    data: np.ndarray,
    h_0: np.ndarray | None,
    c_0: np.ndarray | None,
    dropout: Dropout | None,
) -> tuple[PackedSequence, State]:
    """Run a packed batch; states come and go in the order in which the caller packed the sequences.

    Parameters
    ----------
    data, h_0, c_0 : ndarray
        Those of the sequence and the caller, checked.
    """
    order, inverse = sequence.sorted_indices, sequence.unsorted_indices
    h_0, c_0 = _reordered(h_0, order), _reordered(c_0, order)
    output, h_n, c_n = network.packed(data, sequence.batch_sizes, h_0, c_0, dropout=dropout)
    h_n, c_n = (state if inverse is None else np.take(state, inverse, axis=1) for state in (h_n, c_n))
    return sequence._with(output), (h_n, c_n)


def run_padded(
    network: Network,
    batch_first: bool,
    x: np.ndarray,
    lengths: np.ndarray,
    h_0: np.ndarray | None,
    c_0: np.ndarray | None,
    dropout: Dropout | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Run a padded batch: padding is not read, and is zero in the output.

    Parameters
    ----------
    x : (L, N, H_in) array, or (N, L, H_in) with ``batch_first``
        Checked, as all arguments are.
    lengths : (N,) int64 array
        From 1 to L.
    """
    if not len(lengths):
        return network(x, h_0, c_0, batch_first=batch_first)
    a = network.architecture
    shape = *x.shape[:2], a.num_directions * a.output_size
    check_addressable(shape, network.dtype)
    order, inverse = sort_by_length(lengths)
    batch_sizes = batch_sizes_of(lengths[order])
    places = padded_rows(batch_sizes, order, x.shape[batch_first], batch_first)
    packed, h_n, c_n = network.packed(
        pack_rows(x, places), batch_sizes, _reordered(h_0, order), _reordered(c_0, order), dropout=dropout
    )
    output = np.zeros(shape, packed.dtype)
    unpack_rows(packed, places, output)
    return output, np.take(h_n, inverse, axis=1), np.take(c_n, inverse, axis=1)
