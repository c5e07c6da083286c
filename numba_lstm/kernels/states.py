"""States between torch's order, (layers * directions, rows, features), and the kernels'.

The kernels keep h as (rows, hidden_stride) and c as (panels, rows, LANES): vectors that lie one or ``rows`` vectors
apart, filled up with zeros.
"""
from __future__ import annotations

from ..simd.jit import inlined
from ..simd.vectors import lanes, load, load_first, store, store_first


@inlined
def spread(source, count, target, distance, room):
    """Copy ``count`` numbers, or none if negative, to ``room`` vectors ``distance`` apart; zeros behind them."""
    width = lanes(source)
    whole = min(max(count // width, 0), room)
    for j in range(whole):
        store(target, j * distance, load(source, j * width))
    for j in range(whole, room):
        store(target, j * distance, load_first(source, j * width, count - j * width))


@inlined
def gather(source, distance, target, count):
    """Copy ``count`` numbers from vectors that lie ``distance`` apart; writes nothing else."""
    width = lanes(source)
    whole = count // width
    for j in range(whole):
        store(target, j * width, load(source, j * distance))
    if whole * width < count:
        store_first(target, whole * width, load(source, whole * distance), count - whole * width)
