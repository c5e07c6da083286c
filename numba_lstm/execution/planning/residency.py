"""Which weights a core finds in its L2 again when it needs them next."""
from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...contract.architecture import Architecture
from ...kernels.panels import count_panels
from ...simd.blocksizes import GATES, block_sizes
from .machine import Machine

L2_SHARE = 0.8
"""Weights stay in L2 up to this part of it, beside states and sums."""


class Kept(NamedTuple):
    """What stays in a cache, in L2 where nothing else is said, if one core reads all of it in turn."""

    recurrent: bool
    """The weights of the state of one layer and direction."""
    layer: bool
    """The weights of the state and of the input of the largest layer."""
    network: bool
    """All weights."""
    shared: bool
    """All weights of all cores, in the L3 that they share."""
    recurrent_bytes: int
    network_bytes: int
    """Sizes of the first and of the third, for one core."""


def unit_bytes(a: Architecture, dtype: np.dtype[Any], parts: int) -> int:
    """Return the bytes of the gate weights of one input number, for one core's units of ``parts``."""
    lanes = block_sizes().lanes(dtype)
    return -(-count_panels(a.hidden_size, lanes) // parts) * GATES * lanes * dtype.itemsize


def _recurrent_bytes(a: Architecture, dtype: np.dtype[Any], parts: int) -> int:
    return unit_bytes(a, dtype, parts) * a.output_size + a.proj_size * a.hidden_size * dtype.itemsize // parts


def core_share(a: Architecture, dtype: np.dtype[Any], crew: int, machine: Machine) -> tuple[int, int]:
    """Return how many directions of a layer a core of a crew computes, and how many parts its units are in.

    Each half of a crew takes one of two directions and need not wait for the other, unless its weights of the state
    would not stay in L2 and do if all of the crew take both directions, one after the other.
    """
    if not a.bidirectional or crew % 2 == 1:
        return a.num_directions, crew
    room = L2_SHARE * machine.l2_bytes
    in_turn = _recurrent_bytes(a, dtype, crew) <= room < _recurrent_bytes(a, dtype, crew // 2)
    return (2, crew) if in_turn else (1, crew // 2)


def kept_weights(a: Architecture, dtype: np.dtype[Any], crew: int, machine: Machine) -> Kept:
    """Return what stays in the L2 of each core of a crew of so many."""
    directions, parts = core_share(a, dtype, crew, machine)
    line = unit_bytes(a, dtype, parts)
    recurrent = _recurrent_bytes(a, dtype, parts)
    inputs = [line * a.layer_input_size(layer) for layer in range(a.num_layers)]
    room = L2_SHARE * machine.l2_bytes
    total = directions * (sum(inputs) + recurrent * a.num_layers)
    in_l2 = recurrent <= room, max(inputs) + recurrent <= room, total <= room
    return Kept(*in_l2, total * crew <= machine.l3_room, recurrent, total)
