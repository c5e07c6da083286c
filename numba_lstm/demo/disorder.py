"""The network of metapredict V3: how likely each residue of a protein belongs to no fixed structure."""
from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from .. import LSTM, io, pack_sequence, unpack_sequence
from .fasta import RESIDUES

WEIGHTS = Path(__file__).with_name("metapredict_v3.safetensors")
"""The published network, as it ships with this package."""

BATCH = 32
"""Proteins in one packed batch: enough rows for the kernels, few enough that their lengths are alike."""

BATCH_RESIDUES = 1 << 14
"""Residues in one packed batch: they take 1 KiB each. A protein that has more is a batch of its own."""

HEAD_ROWS = 1 << 9
"""Rows of which the head makes scores at a time; they fit into the cache."""

LAYER_NORM_EPS = 1e-5
"""torch's default, with which the network was trained."""

_INDEX = np.full(128, -1)
_INDEX[np.frombuffer(RESIDUES.encode(), np.uint8)] = np.arange(len(RESIDUES))


def one_hot(sequence: str) -> np.ndarray:
    """Return the (L, 20) float32 input of the network for a sequence of L standard letters.

    Raises
    ------
    ValueError
        If the sequence is empty or has other letters; `numba_lstm.demo.fasta.clean` takes care of those.

    Examples
    --------
    >>> one_hot("AY").argmax(axis=1)
    array([ 0, 19])
    """
    try:
        index = _INDEX[np.frombuffer(sequence.encode("ascii"), np.uint8)]
    except UnicodeEncodeError:
        index = np.array([-1])
    if not index.size or index.min() < 0:
        raise ValueError(f"a sequence must be made of the letters {RESIDUES}, at least one")
    encoded = np.zeros((index.size, len(RESIDUES)), np.float32)
    encoded[np.arange(index.size), index] = 1
    return encoded


def batches(lengths: Sequence[int], residues: int, count: int | None = None) -> Iterator[list[int]]:
    """Group sequences of alike lengths.

    Parameters
    ----------
    lengths : sequence of int
        At least 1 each.
    residues : int
        The most that a group has in all, unless it has only one sequence.
    count : int, optional
        The most sequences of a group.

    Yields
    ------
    list of int
        Indices, each of which occurs once; the longest sequences come first.

    Examples
    --------
    >>> list(batches([2, 9, 3, 3], residues=6))
    [[1], [2, 3], [0]]
    """
    group: list[int] = []
    filled = 0
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if group and (filled + lengths[index] > residues or len(group) == count):
            yield group
            group, filled = [], 0
        group.append(index)
        filled += lengths[index]
    if group:
        yield group


class DisorderNetwork:
    """One-hot residues, a bidirectional LSTM of two layers, layer norm, a linear unit, and a clip to [0, 1].

    Parameters
    ----------
    path : path
        A safetensors file with metapredict's names.

    Examples
    --------
    >>> network = DisorderNetwork()
    >>> network.score("MSSSSSQAAA").shape
    (10,)
    """

    def __init__(self, path: str | os.PathLike[str] = WEIGHTS) -> None:
        arrays = io.read(path)
        self.lstm = LSTM.load(path, prefix="lstm.").eval()
        self._scale = arrays["layer_norm.weight"]
        self._shift = arrays["layer_norm.bias"]
        self._weight = arrays["linear_layers.0.weight"][0]
        self._bias = arrays["linear_layers.0.bias"]

    def score(self, sequence: str) -> np.ndarray:
        """Return the (L,) float32 scores of one protein: 0 is ordered, 1 is disordered."""
        return self._head(self.lstm(one_hot(sequence))[0])

    def _head(self, features: np.ndarray) -> np.ndarray:
        """Return the scores of rows of the LSTM's output."""
        scores = np.empty(len(features), np.float32)
        # Memory that is asked for anew for every block costs more than the arithmetic, where it goes back to the system
        # at once, as in workers of Dask.
        centred, squares = np.empty((2, min(HEAD_ROWS, len(features)), features.shape[1]), np.float32)
        for start in range(0, len(features), HEAD_ROWS):
            block = features[start : start + HEAD_ROWS]
            self._head_of_block(block, centred[: len(block)], squares[: len(block)], scores[start : start + HEAD_ROWS])
        return scores

    def _head_of_block(
        self, features: np.ndarray, centred: np.ndarray, squares: np.ndarray, scores: np.ndarray
    ) -> None:
        np.subtract(features, features.mean(axis=1, keepdims=True), out=centred)
        np.square(centred, out=squares)
        centred /= np.sqrt(squares.mean(axis=1, keepdims=True) + np.float32(LAYER_NORM_EPS))
        centred *= self._scale
        centred += self._shift
        centred *= self._weight
        # Not by BLAS, whose sums for a row depend on how many there are.
        np.clip(centred.sum(axis=1) + self._bias, 0, 1, out=scores)

    def score_many(
        self, sequences: Iterable[str], progress: Callable[[int], object] | None = None
    ) -> list[np.ndarray]:
        """Return the scores of many proteins, in their order: what `score` returns for each.

        Parameters
        ----------
        sequences : iterable of str
            Standard letters.
        progress : callable, optional
            Called with the number of residues that were finished since the last call.

        Returns
        -------
        list of (L,) float32 arrays
        """
        sequences = list(sequences)
        scores: list[np.ndarray] = [np.empty(0, np.float32)] * len(sequences)
        for indices in batches([len(sequence) for sequence in sequences], BATCH_RESIDUES, BATCH):
            packed, _ = self.lstm(pack_sequence([one_hot(sequences[index]) for index in indices]))
            batch = packed._replace(data=self._head(packed.data))
            for index, found in zip(indices, unpack_sequence(batch), strict=True):
                scores[index] = found
            if progress is not None:
                progress(sum(len(sequences[index]) for index in indices))
        return scores
