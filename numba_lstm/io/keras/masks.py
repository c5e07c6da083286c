"""Masked steps: the state stays, and nothing is computed.

What is not masked of every sequence is moved together, runs as a batch of sequences of different lengths, and is put
back in its places.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...contract.checks.arrays import as_array
from .core import Core, State


def checked(mask: Any, rows: int, steps: int) -> np.ndarray:
    """Return a mask as an array of bool, or raise ValueError if its shape is not (rows, steps)."""
    array = as_array(mask, "mask")
    if array.shape != (rows, steps):
        raise ValueError(f"mask should have shape ({rows}, {steps}), got: {array.shape}")
    if array.dtype.kind not in "biuf":
        raise TypeError(f"mask should hold truths, got: {array.dtype}")
    return array.astype(bool, copy=False)


def run(core: Core, x: np.ndarray, mask: np.ndarray, state: State | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Run the steps that are not masked.

    Parameters
    ----------
    core : Core
        Of one or both directions.
    x : (N, L, F) array
        Sequences.
    mask : (N, L) array of bool
        False where a step is skipped.
    state : two (count, N, units) arrays, optional
        Initial states.

    Returns
    -------
    outputs : (N, L, count * units) array
        Zeros where masked.
    h, c : (count, N, units) arrays
        Of each sequence's last step; the initial ones where all is masked.
    """
    outputs = np.zeros((*mask.shape, core.count * core.units), core.dtype)
    h, c = (
        np.zeros((core.count, len(x), core.units), core.dtype) if state is None else np.array(state[index])
        for index in range(2)
    )
    lengths = mask.sum(axis=1)
    rows = np.flatnonzero(lengths)
    if not len(rows):
        return outputs, h, c
    real, lengths = mask[rows], lengths[rows]
    longest = int(lengths.max())
    if np.array_equal(real, np.arange(mask.shape[1]) < lengths[:, None]):  # padding at the end: all is in place
        together = x[rows, :longest] if len(rows) < len(x) else x[:, :longest]
    else:
        order = np.argsort(~real, axis=1, kind="stable")[:, :longest]
        together = x[rows[:, None], order]
    computed, h[:, rows], c[:, rows] = core(together, (h[:, rows], c[:, rows]), lengths)
    # Both list steps sequence by sequence, in the order of time.
    outputs[mask] = computed[np.arange(longest) < lengths[:, None]]
    return outputs, h, c


def repeat(outputs: np.ndarray, mask: np.ndarray) -> None:
    """Have every masked step repeat the output before it; zeros stay before the first step that is not masked."""
    latest = np.maximum.accumulate(np.where(mask, np.arange(mask.shape[1]), -1), axis=1)
    rows, steps = np.nonzero(~mask & (latest >= 0))
    outputs[rows, steps] = outputs[rows, latest[rows, steps]]
