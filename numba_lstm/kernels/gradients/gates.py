"""Gates of a segment, made again where a forward pass has kept nothing but states."""
from __future__ import annotations

import numpy as np

from ...simd.blocksizes import GATES
from ...simd.jit import inner
from ...simd.records import pointer_to
from ...simd.vectors import at, lanes
from ..crew import share
from ..microkernels import BROADCAST, Following, panel_gemm
from ..rows import rows_before
from .cell_gradients import activate_gates
from .columns import run_before
from .panels import units_of


@inner
def gates_again(run, crew, t_first, t_last):
    """Make the gates of some steps, for this member's units, with the bits that the forward pass gave them.

    The states that steps began with are known, so that none waits for another.
    """
    frame, record, work, width = run.frame, run.record, run.work, lanes(run.work)
    line, size, reads = GATES * width, record.src_size, frame.output_size
    start = rows_before(frame, t_first)
    rows = rows_before(frame, t_last) - start
    weights, h = pointer_to(record.forward, work), pointer_to(record.h, work)
    first, last = share(frame.panels, crew)
    for j in range(first, last):
        units = units_of(frame, j, width)
        vectors, apart = units.gates_line // width, units.gates_line
        panel, sums = at(weights, record.forward_ih + j * size * line), at(work, record.gates_again)
        sums = at(sums, j * record.capacity * line)
        following, bias = Following(panel, np.int64(0)), at(weights, record.forward_bias + j * line)
        x = at(run.src, start * size)
        panel_gemm(rows, x, size, vectors, panel, following, size, bias, BROADCAST, sums, apart)
        panel = at(weights, record.forward_hh + j * reads * line)
        place, t = np.int64(0), t_first
        while t < t_last:
            steps = run_before(frame, record.reverse, t, t_last)
            here, left = at(sums, place * apart), at(h, steps.first * record.h_row)
            if steps.before > 0:
                panel_gemm(
                    steps.before, left, record.h_row, vectors, panel, following, reads, here, apart, here, apart
                )
            if steps.before < steps.rows and (record.h_0 != 0 or frame.finite == 0):
                left, left_row = at(work, record.zeros), np.int64(0)
                if record.h_0 != 0:
                    left, left_row = at(pointer_to(record.h_0, work), steps.before * reads), reads
                here, rest = at(here, steps.before * apart), steps.rows - steps.before
                panel_gemm(rest, left, left_row, vectors, panel, following, reads, here, apart, here, apart)
            place += steps.rows
            t = steps.end
        for m in range(rows):
            activate_gates(at(sums, m * apart), units.held)
