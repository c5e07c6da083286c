"""Weights as the backward pass reads them: gate sums come in, and what they were made of goes out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ..contract.architecture import Architecture
from ..kernels.panels import output_panels
from ..simd.blocksizes import block_sizes
from ..simd.memory import CACHE_LINE, aligned_empty, round_up


class OutputPanels(NamedTuple):
    """All weights of a network, as panels whose columns are what they are multiplied by in a forward pass."""

    data: np.ndarray
    """1-D, begins on a cache line."""
    places: list[dict[str, int]]
    """Where each matrix of a layer and direction lies, by its name without the suffix, in torch's order."""


def pack_outputs(
    architecture: Architecture, parameters: Mapping[str, np.ndarray], dtype: np.dtype[Any]
) -> OutputPanels:
    """Return a network's weights, by torch's names, as panels of outputs."""
    lanes, line = block_sizes().lanes(dtype), CACHE_LINE // dtype.itemsize
    places: list[dict[str, int]] = []
    pieces: list[np.ndarray] = []
    size = 0
    for layer in range(architecture.num_layers):
        for direction in range(architecture.num_directions):
            places.append({})
            for name in architecture.names(layer, direction):
                if name.startswith("weight_"):
                    places[-1][name.split("_l")[0]] = size
                    pieces.append(output_panels(np.asarray(parameters[name]), lanes))
                    size = round_up(size + pieces[-1].size, line)
    data = aligned_empty(size, dtype)
    start = 0
    for piece in pieces:
        data[start : start + piece.size] = piece
        start = round_up(start + piece.size, line)
    return OutputPanels(data, places)
