"""The backward pass of one layer and direction, for all rows: steps in turn, from the last one done to the first.

Steps are taken in segments, as many as have about 512 rows; which ones depends on the shape alone, and so
does the order of every sum.  For each segment

    the steps follow each other: gradients of h and c -> of gate sums -> of h of the step before
    the gradients of the input, one product for the rows of a few steps
    the gradients of weights, one product over all rows of the segment, added to those of the segments before

Threads are a crew.  In the steps each takes some rows, or some units of all rows and meets the others after each step;
in the products, rows or units.
"""
from __future__ import annotations

from ...simd.jit import inner
from ...simd.vectors import lanes
from ..crew import meet, regroup
from ..rows import rows_before
from .gates import gates_again
from .products import input_gradients, make_columns, projection_gradients, weight_gradients
from .step import back_step, part_of


@inner
def _steps(run, crew, t_first, t_last):
    """Take the gradients back through the steps of a segment, and make those of the input by the way.

    These are made for a group of steps at once, as soon as their gradients of gate sums are there.  Groups take turns
    with two pieces of memory, so that nobody overwrites what others still read: who comes to a group's second successor
    has met those who have done the one between.
    """
    frame, record = run.frame, run.record
    part, start = part_of(run, crew, lanes(run.work)), rows_before(frame, t_first)
    groups = (t_last - t_first + record.group - 1) // record.group
    for n in range(groups):
        first = t_first + (n if record.reverse != 0 else groups - 1 - n) * record.group
        last = min(first + record.group, t_last)
        group_row = (n & 1) * record.group_rows - rows_before(frame, first)
        for k in range(last - first):
            t = first + k if record.reverse != 0 else last - 1 - k
            place = rows_before(frame, t)
            back_step(run, crew, part, t, place - start, place + group_row)
        if record.wants_input != 0:
            if record.by_rows != 0:
                meet(crew)
            input_gradients(run, crew, first, last, (n & 1) * record.group_rows)


@inner
def run_segments(run, crew):
    """Take the gradients through the segments of a launch.

    Return the crew that has done the last of it, of size 0 if this member is not of it any more.
    """
    frame, record = run.frame, run.record
    first, last = frame.first_step // record.segment, (frame.end_step - 1) // record.segment
    for k in range(last - first + 1):
        t_first = (first + k if record.reverse != 0 else last - k) * record.segment
        t_last = min(t_first + record.segment, frame.steps)
        make_columns(run, crew, t_first, t_last)
        if record.gates == 0:
            gates_again(run, crew, t_first, t_last)
            meet(crew)
        _steps(run, crew, t_first, t_last)
        meet(crew)
        if record.wants_ih + record.wants_hh + record.wants_bias != 0:
            weight_gradients(run, crew, t_first, t_last)
        if record.wants_hr != 0:
            projection_gradients(run, crew, t_first, t_last)
        meet(crew)
        remaining = regroup(crew)
        if remaining.size < crew.size:
            crew = remaining
            if crew.size == 0:
                break
    return crew
