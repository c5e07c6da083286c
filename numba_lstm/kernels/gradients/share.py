"""One thread's share of a launch of the backward pass, which ``entries`` compiles once for each dtype."""
from __future__ import annotations

import numpy as np

from ...simd.atomics import words
from ...simd.float_mode import flush_denormals, restore_mode
from ...simd.records import numbers_of
from ...simd.vectors import at
from ..crew import alone, expect, sign_in, sign_out
from ..frame import FRAME_SIZE, as_frame
from .backward import run_segments
from .panels import Pass
from .record import as_gradient


def run_gradients(numbers, weights, work, h, c, x, x_time, x_row, output, output_time, output_row, index):
    """Do one thread's share, with the arguments of ``share.share_of``.

    Parameters
    ----------
    numbers : pointer to int64
        Those of a `Frame`, and behind them of a `GradientRecord`.
    weights, work : pointer
        Panels of weights whose columns are outputs, and scratch memory.
    h, c : pointer
        The gradients of the last states (rows, H_out) and (rows, H), which become those of the first.
    x, output : pointer
        The layer's input and the input's gradient, rows of all steps one behind the other.
    x_time, x_row, output_time, output_row : int
        Of no meaning.
    index : int
        0, or -1 for a place in the crew.
    """
    frame = as_frame(numbers)
    shared = words(at(work, frame.crew_words))
    crew = sign_in(shared, frame.crew, frame.patience) if index < 0 else alone(shared)
    if crew.size == 0:
        sign_out(shared, crew)
        return
    expect(crew, np.int64(1 << 20))
    mode = flush_denormals()
    record = as_gradient(at(numbers_of(frame), FRAME_SIZE))
    crew = run_segments(Pass(frame, record, weights, work, h, c, x, output), crew)
    restore_mode(mode)
    if index < 0:
        sign_out(shared, crew)
