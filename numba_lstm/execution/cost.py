"""How long a call takes, roughly: what decides between one thread, slices of the batch, and a crew.

The constants were measured on a Zen 4 core with AVX-512 at 3.5 GHz, the speed of L2 on a Sapphire Rapids core, whose L2
holds the sizes in question (with 110, H = 200 was given to two threads for 10.4 us instead of 7.9).  They need not be
right, only their ratios: a choice that is wrong costs some per cent near the sizes where two ways are equally fast, and
nothing else, since all ways give the same bits.
"""
from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..contract.parameters import Architecture
from ..simd.blocksizes import GATES, block_sizes
from ..simd.target import l2_bytes
from .residency import L2_SHARE, core_share, unit_bytes

FMA_NS = 0.30
"""One multiply-add of two vectors."""

L2_BYTES_PER_NS, L3_BYTES_PER_NS, SHARED_L3_BYTES_PER_NS = 145.0, 60.0, 33.0
"""Weights that a core reads for every step; the last where other cores read the same ones."""

UPDATE_NS = 20.0
"""Gates of one vector of units to states."""

MEET_NS = 300.0
"""All members of a crew wait for each other."""

EXCHANGE_BYTES_PER_NS = 1.7
"""What others of a crew made of h."""

LAUNCH_NS = 6000.0
"""Threads are woken, and are done."""

PAUSE_NS = 20.0

MOST_PATIENCE_NS = 1e6


class Way(NamedTuple):
    """How a call uses threads."""

    slices: int
    """Parts of the batch, each on a thread of its own."""
    crew: int
    """Threads that share all rows; one of the two numbers is 1."""
    patience: int
    """Pauses that a crew waits for its members at most."""


def choose(
    a: Architecture, dtype: np.dtype[Any], steps: int, rows: int, threads: int, batch_sizes: np.ndarray | None = None
) -> Way:
    """Return how a call should use threads; ``batch_sizes`` are the rows of each step of a packed batch."""
    slices = max(1, min(threads, rows))
    slice_rows: float = -(-rows // slices)
    mean_rows: float = rows
    if batch_sizes is not None:  # the first slice has the longest sequences, and the others wait for it
        slice_rows, mean_rows = np.minimum(batch_sizes, slice_rows).mean(), batch_sizes.mean()
    alone = _call_ns(a, dtype, steps, mean_rows, 1)
    patience = int(min(alone / 2, MOST_PATIENCE_NS) / PAUSE_NS)
    ways = [(alone, 1, 1)]
    if threads > 1 and rows > 0:
        ways.append((_call_ns(a, dtype, steps, slice_rows, 1, slices) + LAUNCH_NS, slices, 1))
        ways.append((_call_ns(a, dtype, steps, mean_rows, threads) + LAUNCH_NS, 1, threads))
    _, slices, crew = min(ways)
    return Way(slices, crew, patience)


def _call_ns(a: Architecture, dtype: np.dtype[Any], steps: int, rows: float, crew: int, slices: int = 1) -> float:
    """Return the time of all layers and steps for the rows of one thread, of one of some slices, or of a crew."""
    directions, crew = core_share(a, dtype, crew)
    line = unit_bytes(a, dtype, crew)
    share = line // (GATES * block_sizes().lanes(dtype) * dtype.itemsize)
    recurrent = line * a.output_size
    l3_speed = L3_BYTES_PER_NS if slices == 1 else SHARED_L3_BYTES_PER_NS
    exchange = rows * a.output_size * dtype.itemsize * (crew - 1) / crew / EXCHANGE_BYTES_PER_NS
    total = 0.0
    for layer in range(a.num_layers):
        # The input part of several steps is one product, for which the weights are read once; h needs a step each.
        src = a.layer_input_size(layer)
        resident = recurrent if steps > 1 else (src + a.output_size) * line * a.num_layers
        speed = l3_speed if resident > L2_SHARE * l2_bytes() else L2_BYTES_PER_NS
        read = (recurrent + (src * line if steps == 1 else 0)) / speed
        fma = rows * share * GATES * FMA_NS
        step = max(fma * a.output_size, read) + fma * src + rows * share * UPDATE_NS
        if crew > 1:
            step += MEET_NS * (2 if a.proj_size else 1) + exchange
        total += step * directions
    return total * steps
