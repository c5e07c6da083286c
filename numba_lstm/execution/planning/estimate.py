"""How long a call takes, roughly: what decides between one thread, slices of the batch, and a crew, and whether
weights of 16 bits are made float32 before."""
from __future__ import annotations

import math

import numpy as np

from ...contract.architecture import Architecture
from ...simd.blocksizes import GATES, block_sizes
from .machine import Machine, Way
from .numerics import Numerics
from .residency import L2_SHARE, core_panels, core_share

MOST_PATIENCE_NS = 1e6

WAKE_NS = 750.0
"""What a launch takes for each thread beyond two, with which launches were measured: about what Linux takes to wake
one."""

WORTH_FLOATS = 0.95
"""The part of its time that a call may take with a float32 copy of its weights, which takes memory.  To make the copy
takes about as long as to pack the weights, once."""

SEEN = 0.5
"""The part of the shorter of two times, of multiply-adds and of reading, by which a step is longer than the other."""


def step_flop(a: Architecture) -> int:
    """Return the floating-point operations of one step of one row, two for a multiply-add; projections left out."""
    terms = sum(a.layer_input_size(layer) + a.output_size for layer in range(a.num_layers))
    return 2 * a.num_directions * GATES * a.hidden_size * terms


def launch_steps(a: Architecture, numerics: Numerics, rows: int, machine: Machine) -> int:
    """Return how many steps of so many rows a launch may have, whatever its threads and caches do."""
    if machine.most_steps is not None:
        return machine.most_steps
    terms, costs = step_flop(a) // 2, machine.costs
    multiply = terms * rows / numerics.lanes / numerics.terms * costs.fma_ns
    read = terms * numerics.weight_bytes / costs.shared_l3_bytes_per_ns
    return max(1, int(machine.launch_ns / max(multiply, read)))


def choose(
    a: Architecture,
    numerics: Numerics,
    steps: int,
    rows: int,
    machine: Machine,
    batch_sizes: np.ndarray | None = None,
) -> Way:
    """Return how a call should use threads; ``batch_sizes`` are the rows of each step of a packed batch."""
    if machine.way is not None:
        return machine.way
    threads = min(machine.threads, machine.cpus)
    slices = max(1, min(threads, rows))
    slice_rows, mean_rows = (_rows_of_slice(rows, count, batch_sizes) for count in (slices, 1))
    alone = _call_ns(a, numerics, steps, mean_rows, machine)
    patience = int(min(alone / 2, MOST_PATIENCE_NS) / machine.costs.pause_ns)
    ways = [(alone, 1, 1)]
    if threads > 1 and rows > 0:
        ways.append((_call_ns(a, numerics, steps, slice_rows, machine, slices=slices), slices, 1))
        panels = core_panels(a, numerics, 1) * a.num_directions  # members without one would only be waited for
        for crew in crew_sizes(min(threads, panels)):
            ways.append((_call_ns(a, numerics, steps, mean_rows, machine, crew=crew), 1, crew))
    _, slices, crew = min(ways)
    return Way(slices, crew, patience)


def faster_as_floats(
    a: Architecture,
    numerics: Numerics,
    steps: int,
    rows: int,
    machine: Machine,
    batch_sizes: np.ndarray | None = None,
) -> bool:
    """Return whether a call takes less time with float32 weights than with those of 16 bits, which it need not widen.

    Twice as many bytes are then read.
    """
    if not numerics.widened:
        return False
    if machine.as_floats is not None:
        return machine.as_floats
    if not machine.costs.widen_ns(numerics.form):
        return False
    taken = []
    for each in (numerics, Numerics(numerics.dtype)):
        slices, crew, _ = choose(a, each, steps, rows, machine, batch_sizes)
        own_rows = _rows_of_slice(rows, slices, batch_sizes)
        taken.append(_call_ns(a, each, steps, own_rows, machine, slices=slices, crew=crew, finely=True))
    return taken[1] < WORTH_FLOATS * taken[0]


def _rows_of_slice(rows: int, slices: int, batch_sizes: np.ndarray | None) -> float:
    """Return the rows of the first of some slices in a step, on average: it has the longest sequences."""
    most = -(-rows // slices)
    return float(most if batch_sizes is None else np.minimum(batch_sizes, most).mean())


def crew_sizes(threads: int) -> list[int]:
    """Return the sizes of crews to choose from, smallest first: all threads, or fewer, who wait for fewer others."""
    return [] if threads < 2 else [*(1 << power for power in range(1, (threads - 1).bit_length())), threads]


def _call_ns(
    a: Architecture,
    numerics: Numerics,
    steps: int,
    rows: float,
    machine: Machine,
    *,
    crew: int = 1,
    slices: int = 1,
    finely: bool = False,
) -> float:
    """Return the time of a call for the rows of one thread, of one of some slices, or of a crew.

    Weights that L2 has no room for come from L3, all of them, and beside multiply-adds, at no time of their own.  If
    ``finely``, what there is room for does not come from there, since every other step walks back, a single step waits
    for the weights of its input as well, and what is read is not free: within a tenth of what was measured on an
    Emerald Rapids.  Ways are chosen as they were measured to be fastest on several CPUs, which is without.
    """
    costs, woken = machine.costs, min(machine.threads, machine.cpus)
    launch_ns = costs.launch_ns + WAKE_NS * max(0, woken - 2) if slices * crew > 1 else 0.0
    directions, crew = core_share(a, numerics, crew, machine)
    share = core_panels(a, numerics, crew)
    line = numerics.line_bytes(share)
    recurrent = line * a.output_size
    # For one number of a row: its multiply-adds, and what each tile of rows takes to widen the weights.
    fma, widen = (share * GATES * each for each in (costs.fma_ns / numerics.terms, costs.widen_ns(numerics.form)))
    sizes, room = block_sizes(), L2_SHARE * machine.l2_bytes
    l3_speed = costs.l3_bytes_per_ns if slices == 1 else costs.shared_l3_bytes_per_ns
    exchange = rows * a.output_size * numerics.dtype.itemsize * (crew - 1) / crew / costs.exchange_bytes_per_ns
    total = 0.0
    for layer in range(a.num_layers):
        # The input part of several steps is one product, for which the weights are read once; h needs a step each.
        src = a.layer_input_size(layer)
        resident = recurrent if steps > 1 else (src + a.output_size) * line * a.num_layers
        near = min(1.0, room / resident)
        one_tile = rows <= (sizes.half_rows if near < 1 else sizes.half_rows_kept)
        tiles = 1 if one_tile else math.ceil(rows / sizes.half_rows_kept)
        if near < 1 and not finely:
            near = 0.0
        read: float = recurrent + (src * line if steps == 1 else 0)
        read *= near / costs.l2_bytes_per_ns + (1 - near) / l3_speed
        of_h = (rows * fma + tiles * widen) * a.output_size
        of_x = (rows * fma + (tiles if steps == 1 else rows / sizes.half_rows_kept) * widen) * src
        waiting, other = (of_h + of_x, 0.0) if finely and steps == 1 else (of_h, of_x)
        step = max(waiting, read) + other + rows * share * costs.update_ns
        if finely:
            step += SEEN * min(waiting, read)
        if crew > 1:
            # All members count themselves in one word, one after the other: it was measured with two of them.
            step += costs.meet_ns * crew / 2 * (2 if a.proj_size else 1) + exchange
        total += step * directions
    return total * steps + launch_ns
