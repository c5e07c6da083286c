"""Memory that goes from one training step to the next.

What is kept of a forward pass is large, lives for one step, and is needed again in the next one, of the same size.  To
ask the system for it each time takes up to a third of the step, for it clears every page.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ...simd.memory import aligned_empty

MOST_BYTES = 1 << 28
"""Of all that lies spare."""


class Spare:
    """Arrays that nobody uses at the moment, by their bytes.

    Arrays may come back while another thread takes one, or within `take` itself, when the collector runs: each list is
    changed by operations that Python does at once.
    """

    _arrays: ClassVar[dict[int, list[np.ndarray]]] = {}

    @classmethod
    def take(cls, size: int, dtype: np.dtype[Any]) -> np.ndarray:
        """Return an array of ``size`` elements that begins on a cache line, with anything in it."""
        try:
            array = cls._arrays[size * dtype.itemsize].pop()
        except (KeyError, IndexError):
            return aligned_empty(size, dtype)
        return array.view(dtype)

    @classmethod
    def give(cls, array: np.ndarray) -> None:
        """Take an array that nobody uses any more; one that is too large is let go, and the others stay."""
        if array.nbytes > MOST_BYTES:
            return
        held = sum(size * len(arrays) for size, arrays in list(cls._arrays.items()))
        if held + array.nbytes > MOST_BYTES:
            cls._arrays.clear()  # sizes change from time to time, and then none of the former ones fits
        cls._arrays.setdefault(array.nbytes, []).append(array)
