"""What a weight file holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from .whole_module import WholeModule


class Declared(NamedTuple):
    """What a file says of an array."""

    shape: tuple[int, ...]
    dtype: str
    """In the words of the format, where NumPy has none."""


class Contents(NamedTuple):
    """What was read from a file."""

    arrays: dict[str, np.ndarray]
    """Those that were wanted, by name."""
    names: list[str]
    """Of all arrays in the file."""
    metadata: dict[str, str]
    """What was recorded beside the arrays."""
    inner: Mapping[str, str] = {}
    """Names without what precedes them because the file has a state dict within dicts, by whole name."""
    modules: Mapping[str, WholeModule] = {}
    """Modules that lie whole in the file, by prefix."""
