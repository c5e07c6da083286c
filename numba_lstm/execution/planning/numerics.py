"""What a network computes with: how many numbers a vector has, how many bytes a weight, how much is done at once."""
from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...simd.blocksizes import GATES, block_sizes

_BYTES = {"float16": 2, "bfloat16": 2, "int8": 1}


class Numerics(NamedTuple):
    """A dtype, and the form in which weights are kept if it is another one."""

    dtype: np.dtype[Any]
    """Of inputs, states, sums and outputs."""
    form: str | None = None

    @property
    def lanes(self) -> int:
        """Units of a vector."""
        return block_sizes().lanes(self.dtype)

    @property
    def weight_bytes(self) -> int:
        return _BYTES[self.form] if self.form else self.dtype.itemsize

    @property
    def terms(self) -> int:
        """Products that one instruction adds to the sum of a unit."""
        return 4 if self.form == "int8" else 1

    @property
    def widened(self) -> bool:
        """Whether loads widen weights.

        They read half of the bytes for each multiply-add, and one row's four chains of sums of a panel, which wait
        for one another, are then slower than L2 and L3: pairs of panels take 5 to 10 % less time.
        """
        return self.weight_bytes == 2

    def line_bytes(self, panels: int) -> int:
        """Return the bytes of the weights of one input number in so many panels."""
        return panels * GATES * self.lanes * self.weight_bytes
