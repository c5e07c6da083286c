"""Where files of the repository lie that tests read."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]

ROOT = TESTS.parent
"""Of the repository."""

SHARED = ROOT.parent / "shared"
"""Data beside the project; what needs it is skipped where it is absent."""

GOLDEN = TESTS / "golden"
"""Results of torch, and digests of our own."""

GOLDEN_KERAS = TESTS / "golden_keras"
"""Files of Keras, with what it computes from them."""
