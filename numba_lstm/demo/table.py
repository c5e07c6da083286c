"""The table of the most disordered proteins."""
from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from ..formats.printable import columns, padded

THRESHOLD = 0.5
"""A residue with a higher score counts as disordered, as in metapredict."""


class Row(NamedTuple):
    """A protein's name and its (L,) scores."""

    name: str
    scores: np.ndarray

    @property
    def mean(self) -> float:
        """The mean score."""
        return float(self.scores.mean(dtype=np.float64))

    @property
    def disordered(self) -> float:
        """The part of the residues with a score above `THRESHOLD`."""
        return float(np.mean(self.scores > THRESHOLD))


def most_disordered(rows: Iterable[Row], count: int) -> list[Row]:
    """Return the ``count`` rows of the highest mean score, the highest first; only so many are kept meanwhile."""
    return heapq.nlargest(count, rows, key=lambda row: row.mean)


def format_table(rows: Sequence[Row]) -> str:
    """Return the lines of a table: name, residues, mean score, percent disordered.

    Examples
    --------
    >>> print(format_table([Row("P1", np.array([0.25, 0.75, 1.0, 1.0], np.float32))]))
    protein  residues  mean score  > 0.5
    P1              4       0.750    75%
    """
    width = max(len("protein"), *(columns(row.name) for row in rows))
    lines = [f"{'protein':<{width}}  residues  mean score  > {THRESHOLD}"]
    lines += [f"{padded(r.name, width)}  {r.scores.size:>8}  {r.mean:>10.3f}  {r.disordered:>5.0%}" for r in rows]
    return "\n".join(lines)
