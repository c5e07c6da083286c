"""Rows of a batch over time: where they lie, and which take part in a step.

Rows of variable length lie packed, as in ``torch.nn.utils.rnn.PackedSequence``: step t has the first rows of the
batch, as many as the offsets of the frame say, and they follow those of step t - 1.

States come and go in torch's order, (layers * directions, rows, features).  The kernels keep h as (rows, hidden_stride)
and c as (panels, rows, LANES): vectors that lie one or ``rows`` vectors apart, filled up with zeros.
"""
from __future__ import annotations

from collections import namedtuple

from ..simd.jit import inlined
from ..simd.records import numbers_of
from ..simd.vectors import at, lanes, load, load_first, store, store_first

View = namedtuple("View", "base time row packed")
"""Rows of steps: a pointer to (t=0, b=0), and the distances of two steps and of two rows, in elements.  Where packed,
steps follow each other and ``time`` has no meaning."""

Block = namedtuple("Block", "first rows work between")
"""Rows of the batch, the thread's workspace, and what lies between layers, beginning with these rows unless packed."""


@inlined
def _starts(frame):
    """Return the pointer to the rows before each step of a packed batch."""
    return at(numbers_of(frame), frame.offsets)


@inlined
def rows_before(frame, t):
    """Return how many rows of all steps come before those of step t."""
    return t * frame.batch if frame.offsets == 0 else _starts(frame)[t]


@inlined
def active_rows(frame, block, t):
    """Return how many rows of a block take part in step t."""
    if frame.offsets == 0:
        return block.rows
    starts = _starts(frame)
    return min(max(starts[t + 1] - starts[t] - block.first, 0), block.rows)


@inlined
def row_at(view, frame, t, b):
    """Return the pointer to row b of step t."""
    if view.packed:
        return at(view.base, (_starts(frame)[t] + b) * view.row)
    return at(view.base, t * view.time + b * view.row)


@inlined
def time_distance(view, frame, t):
    """Return the distance of step t and the next one, if the same rows take part in both."""
    if view.packed:
        starts = _starts(frame)
        return (starts[t + 1] - starts[t]) * view.row
    return view.time


@inlined
def run_end(frame, first, last):
    """Return the end of the run of steps in which as many rows take part as in step ``first``."""
    if frame.offsets == 0:
        return last
    starts = _starts(frame)
    rows = starts[first + 1] - starts[first]
    end = first + 1
    while end < last and starts[end + 1] - starts[end] == rows:
        end += 1
    return end


@inlined
def pool_row(frame, index, b):
    """Return which row of h and c row b of the batch has, in one layer and direction."""
    row = numbers_of(frame)[frame.indices + b] if frame.indices != 0 else b
    return index * frame.pool + row


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
