"""Cells with a rule of their own: activations with numbers, and networks of random parameters."""

from __future__ import annotations

from typing import Any

import numpy as np

from numba_lstm.contract.architecture import Architecture
from numba_lstm.execution.network import Network
from numba_lstm.kernels.cells.cell_rule import Activation, CellRule

NUMBERS = {
    "Affine": (0.7, 0.1),
    "LeakyRelu": (0.2, 0.0),
    "ThresholdedRelu": (0.3, 0.0),
    "ScaledTanh": (0.9, 0.8),
    "HardSigmoid": (0.2, 0.5),
    "Elu": (1.1, 0.9),
    "Clip": (-0.3, 0.4),
}
"""alpha and beta, where they mean something."""


def named(name: str) -> Activation:
    """Return an activation with numbers that are neither 0 nor 1."""
    return Activation(name, *NUMBERS.get(name, (0.0, 0.0)))


def network(
    seed: int, sizes: Architecture, rule: CellRule, dtype: Any = np.float32
) -> tuple[dict[str, np.ndarray], Network]:
    """Return random parameters and their network."""
    rng = np.random.default_rng(seed)
    parameters = {name: rng.uniform(-0.4, 0.4, shape).astype(dtype) for name, shape in sizes.shapes().items()}
    return parameters, Network(sizes, parameters, np.dtype(dtype), rule)
