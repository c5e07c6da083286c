"""The network of metapredict V3: how likely each residue of a protein belongs to no fixed structure."""
from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from .. import LSTM, io, pack_sequence, unpack_sequence
from .fasta import RESIDUES

WEIGHTS = Path(__file__).with_name("metapredict_v3.safetensors")
"""The published network, as it ships with this package."""

BATCH = 32
"""Proteins in one packed batch: enough rows for the kernels, few enough that their lengths are alike."""

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
        centred = features - features.mean(axis=1, keepdims=True)
        deviation = np.sqrt(np.square(centred).mean(axis=1, keepdims=True) + np.float32(LAYER_NORM_EPS))
        normed = centred / deviation * self._scale + self._shift
        # Not by BLAS, whose sums for a row depend on how many there are.
        sums = (normed * self._weight).sum(axis=1)
        scores: np.ndarray = np.clip(sums + self._bias, 0, 1)
        return scores

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
        longest_first = sorted(range(len(sequences)), key=lambda index: -len(sequences[index]))
        for start in range(0, len(sequences), BATCH):
            indices = longest_first[start : start + BATCH]
            packed, _ = self.lstm(pack_sequence([one_hot(sequences[index]) for index in indices]))
            batch = packed._replace(data=self._head(packed.data))
            for index, found in zip(indices, unpack_sequence(batch), strict=True):
                scores[index] = found
            if progress is not None:
                progress(sum(len(sequences[index]) for index in indices))
        return scores
