"""What was kept of a forward pass, as arrays that people read."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...kernels.panels import kept_arrays
from ...simd.blocksizes import block_sizes
from .forward import Kept


def gates_of(kept: Kept) -> Iterator[tuple[np.ndarray, ...]]:
    """Yield i, f, g, o, c and h of each layer and direction, as the passes lay them: (T, B, ..) or (1, rows, ..)."""
    a, lanes = kept.network.architecture, block_sizes().lanes(kept.network.dtype)
    for layer in kept.layers:
        shape = layer.output.shape[:2]
        for direction in range(a.num_directions):
            gates, c = kept_arrays(
                layer.gates[direction], layer.cells[direction], a.hidden_size, kept.batch.all_rows, lanes
            )
            h = layer.output[:, :, direction * a.output_size : (direction + 1) * a.output_size]
            yield (*(array.reshape(*shape, a.hidden_size) for array in (*gates, c)), h)
