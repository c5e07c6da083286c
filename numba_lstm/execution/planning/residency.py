"""Which weights a core finds in its L2 again when it needs them next."""
from __future__ import annotations

from typing import NamedTuple

from ...contract.architecture import Architecture
from ...kernels.panels import count_panels
from .machine import Machine
from .numerics import Numerics

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


def core_panels(a: Architecture, numerics: Numerics, parts: int) -> int:
    """Return how many panels a core has, of units that are in so many parts."""
    return -(-count_panels(a.hidden_size, numerics.lanes) // parts)


def _recurrent_bytes(a: Architecture, numerics: Numerics, parts: int) -> int:
    line = numerics.line_bytes(core_panels(a, numerics, parts))
    return line * a.output_size + a.proj_size * a.hidden_size * numerics.weight_bytes // parts


def core_share(a: Architecture, numerics: Numerics, crew: int, machine: Machine) -> tuple[int, int]:
    """Return how many directions of a layer a core of a crew computes, and how many parts its units are in.

    Each half of a crew takes one of two directions and need not wait for the other, unless its weights of the state
    would not stay in L2 and do if all of the crew take both directions, one after the other.
    """
    if not a.bidirectional or crew % 2 == 1:
        return a.num_directions, crew
    room = L2_SHARE * machine.l2_bytes
    in_turn = _recurrent_bytes(a, numerics, crew) <= room < _recurrent_bytes(a, numerics, crew // 2)
    return (2, crew) if in_turn else (1, crew // 2)


def kept_weights(a: Architecture, numerics: Numerics, crew: int, machine: Machine) -> Kept:
    """Return what stays in the L2 of each core of a crew of so many."""
    directions, parts = core_share(a, numerics, crew, machine)
    line = numerics.line_bytes(core_panels(a, numerics, parts))
    recurrent = _recurrent_bytes(a, numerics, parts)
    inputs = [line * a.layer_input_size(layer) for layer in range(a.num_layers)]
    room = L2_SHARE * machine.l2_bytes
    total = directions * (sum(inputs) + recurrent * a.num_layers)
    in_l2 = recurrent <= room, max(inputs) + recurrent <= room, total <= room
    return Kept(*in_l2, total * crew <= machine.l3_room, recurrent, total)
