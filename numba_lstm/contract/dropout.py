"""Dropout between layers: what a module in train mode does to the output of every layer but the last."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .parameter import drawing

_MASK_CHUNK = 1 << 16  # random numbers at a time, to keep the masks out of main memory


@dataclass(frozen=True)
class Dropout:
    """Sets random elements to zero and scales the others so that means stay."""

    rate: float
    """The probability of an element being zeroed."""
    generator: np.random.Generator

    def __call__(self, output: np.ndarray) -> None:
        """Change an array, which is contiguous, in place."""
        flat = output.reshape(-1)
        scale = 1 / (1 - self.rate) if self.rate < 1 else 0.0
        with np.errstate(all="ignore"):
            for start in range(0, flat.size, _MASK_CHUNK):
                chunk = flat[start : start + _MASK_CHUNK]
                # float32 for either dtype: the same seed then gives the same masks.
                with drawing(self.generator):
                    numbers = self.generator.random(chunk.size, np.float32)
                chunk *= (numbers >= self.rate) * flat.dtype.type(scale)
