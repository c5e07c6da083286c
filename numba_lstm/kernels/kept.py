"""What a forward pass keeps for gradients, and for a look inside: the gates and c of every step.

Gate sums are then not scratch memory: those of every step have a place of their own, in which gates take the place of
their sums.  For each direction there are

    gates: for each panel, for each row of each step, in the order of time, (4, LANES)
    c:     the same with (LANES,)

The last panel has as many units as its vectors hold, see ``panels``, and no padding beyond: (4, units) and (units,).
So what is kept is (4 + 1) * H numbers a row and step, where the last H % LANES units count as a quarter, half or whole
of LANES.  The forward pass has the bits of a call.
"""
from __future__ import annotations

from numba import types

from ..simd.blocksizes import GATES
from ..simd.jit import chosen_by_types, inlined
from ..simd.records import pointer_to
from ..simd.vectors import at, elements_between
from .rows import rows_before

KEPT = types.uint64
"""The type of what stands for a kind of cell that keeps its gates, see ``postgemm.Rule``."""


def keeps(kind):
    """Return whether cells of a kind keep their gates; a constant."""


@chosen_by_types(keeps)
def _choose_keeps(kind):
    return (lambda kind: True) if kind == KEPT else (lambda kind: False)


def sums_line(kind, vectors, width):
    """Return the distance of two rows of gate sums of a panel of so many vectors."""


@chosen_by_types(sums_line)
def _choose_sums_line(kind, vectors, width):
    if kind == KEPT:
        return lambda kind, vectors, width: vectors * width
    return lambda kind, vectors, width: GATES * width


def row_of_sums(kind, frame, block, t_first, t):
    """Return how many rows of gate sums lie before those of a block in step t: of its chunk, or of all steps."""


@chosen_by_types(row_of_sums)
def _choose_row_of_sums(kind, frame, block, t_first, t):
    if kind == KEPT:
        return lambda kind, frame, block, t_first, t: rows_before(frame, t) + block.first
    return lambda kind, frame, block, t_first, t: (t - t_first) * block.rows


def rows_of_step(kind, frame, block, t):
    """Return how many rows lie between the sums of step t and of the next, if the same rows take part in both."""


@chosen_by_types(rows_of_step)
def _choose_rows_of_step(kind, frame, block, t):
    if kind == KEPT:
        return lambda kind, frame, block, t: rows_before(frame, t + 1) - rows_before(frame, t)
    return lambda kind, frame, block, t: block.rows


def kept_gates(kind, frame, direction, sums):
    """Return the pointer to where gates of a direction are kept; ``sums`` where none are."""


@chosen_by_types(kept_gates)
def _choose_kept_gates(kind, frame, direction, sums):
    if kind == KEPT:
        return lambda kind, frame, direction, sums: at(
            pointer_to(frame.kept_address, sums), direction * frame.kept_direction
        )
    return lambda kind, frame, direction, sums: sums


def numbers_of_rule(kind, frame, gates, numbers):
    """Return the pointer to what a rule needs beside gate sums: c that is kept behind ``gates``, or its numbers."""


@chosen_by_types(numbers_of_rule)
def _choose_numbers_of_rule(kind, frame, gates, numbers):
    if kind == KEPT:
        return lambda kind, frame, gates, numbers: at(gates, frame.kept_cells)
    return lambda kind, frame, gates, numbers: numbers


@inlined
def kept_cell(rule, gates):
    """Return the pointer to c that is kept of the units whose gates are at a pointer."""
    return at(rule.numbers, elements_between(rule.gates, gates) // GATES)
