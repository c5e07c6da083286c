"""A real network on real input: disorder of proteins, by metapredict V3.

The folder holds the published weights, 120 human proteins and their published scores; README.md says where
they come from.
"""
from __future__ import annotations

from pathlib import Path

import numpy as np

from .disorder import DisorderNetwork
from .fasta import Protein, Record, clean, read_fasta, read_records
from .journal import Journal, read_journal
from .scoring import score_records
from .table import Row, format_table, most_disordered
from .workers import Workers

__all__ = [
    "DisorderNetwork",
    "Journal",
    "Protein",
    "Record",
    "Row",
    "Workers",
    "bundled_proteins",
    "clean",
    "format_table",
    "most_disordered",
    "published_scores",
    "read_fasta",
    "read_journal",
    "read_records",
    "score_records",
]

_FOLDER = Path(__file__).parent


def bundled_proteins() -> list[Protein]:
    """Return the proteins that ship with the package.

    Examples
    --------
    >>> len(bundled_proteins())
    120
    """
    return read_fasta(_FOLDER / "proteins.fasta")


def published_scores() -> list[np.ndarray]:
    """Return what the published tool gives for `bundled_proteins`: (L,) float32 arrays, in their order."""
    with np.load(_FOLDER / "expected_v3.npz", allow_pickle=False) as arrays:
        return np.split(arrays["scores"], np.cumsum(arrays["lengths"])[:-1])
