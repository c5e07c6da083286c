"""What a launch of the backward pass does, beside what its frame says of sizes, steps and threads.

It stands behind the frame, in the array of numbers, where those of a forward pass have their cells.  A launch takes one
layer and direction.
"""
from __future__ import annotations

from typing import NamedTuple

from ...simd.records import record_of

SUMS_ROWS = 96
"""Rows of sums of a segment that are made at a time: 24 KiB."""


class GradientRecord(NamedTuple):
    """Places are elements: of weights in ``output_panels``, else of the workspace.  Addresses are 0 for none."""

    reverse: int
    """1 for the direction that runs from the end to the start."""
    src_size: int
    weight_ih: int
    """Panels of the weights, whose columns are outputs here: see ``panels.output_panels``."""
    weight_hh: int
    weight_hr: int
    streamed: int
    """1 if the weights of the state do not stay in L2 from one step to the next."""

    segment: int
    """Steps whose weight gradients are one product."""
    capacity: int
    """Most rows of such steps."""
    group: int
    """Steps whose gradients of inputs are one product, and most rows of them."""
    group_rows: int
    by_rows: int
    """1 if each of a crew takes its rows through all steps of a segment, 0 if its units of all rows."""

    gates: int
    """Address of the gates that were kept, see ``kept``; 0 if they are made again."""
    cells: int
    """Address of c that was kept."""
    forward: int
    """Address of the forward pass's panels, and places in it of the bias and the weights, to make gates again."""
    forward_bias: int
    forward_ih: int
    forward_hh: int
    h: int
    """Address of h of the first step, and the distance of two rows of all steps."""
    h_row: int
    h_0: int
    """Addresses of the first states (rows, H_out) and (rows, H)."""
    c_0: int
    d_output: int
    """Address of the gradient of h of the first step, and the distance of two rows of all steps."""
    d_output_row: int

    wants_input: int
    """1 if the input's gradient is wanted; 2 if it is to be added to what is there."""
    wants_ih: int
    wants_hh: int
    wants_bias: int
    wants_hr: int
    d_weights: int
    """Address of the sums of the gradients of ``weight_ih``, ``weight_hh`` and the bias; and of ``weight_hr``."""
    d_projection: int

    zeros: int
    """Zeros: a row of h or of a panel."""
    d_hidden: int
    """(H_out / (4 * LANES), rows, 4, LANES): the gradient of h of the step before."""
    d_cell: int
    """(panels, rows, LANES)"""
    d_unprojected: int
    """(panels / 4, rows, 4, LANES): that of o * tanh(c), where it is projected."""
    d_rows: int
    """Gradients of gate sums: (2, group_rows, 4, H), rows ``d_rows_stride`` apart; groups take turns."""
    d_rows_stride: int
    d_panels: int
    """Those of a segment in the order of ``kept``, with ``capacity`` rows."""
    left: int
    """What weights are multiplied by: (H_in + H_out + 1, capacity), rows ``left_stride`` apart: x, h and 1."""
    left_stride: int
    gates_again: int
    """Gates of a segment, as ``d_panels``, if they are made again."""
    d_states: int
    """(rows, H_out), rows ``d_rows_stride`` apart: gradients of h, where it is projected; and the same of a segment,"""
    d_projected: int
    """(H_out / (4 * LANES), capacity, 4, LANES)."""
    unprojected: int
    """(capacity, H), rows ``unprojected_stride`` apart: o * tanh(c); and its transpose (H, capacity)."""
    unprojected_stride: int
    left_unprojected: int
    sums: int
    """(SUMS_ROWS, 4, LANES) for each member of a crew: sums of a segment."""
    scratch: int
    """(group_rows, 4, LANES)"""


as_gradient = record_of(GradientRecord)
"""What makes such a record of a pointer, in kernels."""
