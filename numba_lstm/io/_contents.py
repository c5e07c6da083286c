"""What a weight file holds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Contents(NamedTuple):
    """What was read from a file."""

    arrays: dict[str, np.ndarray]
    """Those that were wanted, by name."""
    names: list[str]
    """Of all arrays in the file."""
    metadata: dict[str, str]
    """What was recorded beside the arrays."""
