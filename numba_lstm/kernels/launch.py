"""What Python calls: arrays become pointers, and ``time_loop.run_share`` is called, once for every share of the work.

These functions are small.  The one that they call is compiled once for each dtype, whatever calls it, and its address
is in the frame.
"""
from __future__ import annotations

import numpy as np
from numba import prange

from ..simd.atomics import clock, words
from ..simd.jit import inlined
from ..simd.vectors import call_address, pointer, pointer_to
from .crew import begin_slice, finish_slice, was_late
from .frame import (
    BATCH,
    C_ADDRESS,
    CREW,
    CREW_SIZE,
    CREW_WORDS,
    H_ADDRESS,
    RUN_SHARE,
    SLICES,
    STEPS,
    TURN,
    WEIGHTS_ADDRESS,
    WORK_ADDRESS,
)


@inlined
def _run_share(frame, weights, work, x, output, h, c, index):
    size = x.itemsize
    numbers = pointer(frame, 0), pointer(weights, 0), pointer(work, 0), pointer(h, 0), pointer(c, 0)
    src = pointer(x, 0), x.strides[0] // size, x.strides[1] // size
    dst = pointer(output, 0), output.strides[0] // size, output.strides[1] // size
    call_address(frame[RUN_SHARE], (*numbers, *src, *dst, index))


def run_serial(frame, weights, work, x, output, h, c):
    """Run layers over steps on this thread.

    Parameters
    ----------
    frame : int64 array
        What this launch does, see ``frame``.
    weights, work : 1-D arrays
        Panels and scratch memory.
    x, output : (T, B, features) arrays of any strides with unit stride in the features; (1, rows, features) if packed
        Input and output.
    h, c : (layers * directions, pool, H_out), (.., H) C-order arrays
        States, which are updated.
    """
    for index in range(frame[SLICES]):
        _run_share(frame, weights, work, x, output, h, c, index)


def run_parallel(frame, weights, work, x, output, h, c):
    """Do what ``run_serial`` does, with one thread for every slice of the batch, or with a crew.

    Returns
    -------
    int
        1 if threads kept others waiting because they had no core; else 0.
    """
    shared, crew, slices = words(pointer(work, frame[CREW_WORDS])), frame[CREW], frame[SLICES]
    for k in range(frame[CREW_SIZE]):
        shared[k] = 0
    begun = clock()
    for index in prange(crew * slices):
        if crew > 1:
            _run_share(frame, weights, work, x, output, h, c, -1)
        else:
            owned = begin_slice(shared)
            _run_share(frame, weights, work, x, output, h, c, np.int64(index))
            finish_slice(shared, index, owned, slices)
    return np.int64(was_late(shared, crew, slices, clock() - begun))


def run_short(frame, x, output):
    """Do what ``run_serial`` does with the fewest arguments: other arrays stay where they are between two calls.

    Parameters
    ----------
    frame : int64 array
        With the addresses of the other arrays of ``run_serial``; TURN is moved on.
    x, output : (T * B, features) C-order arrays
        Input and output.
    """
    like, rows = pointer(x, 0), frame[BATCH]
    weights, work = pointer_to(frame[WEIGHTS_ADDRESS], like), pointer_to(frame[WORK_ADDRESS], like)
    h, c = pointer_to(frame[H_ADDRESS], like), pointer_to(frame[C_ADDRESS], like)
    src, dst = (like, rows * x.shape[1], x.shape[1]), (pointer(output, 0), rows * output.shape[1], output.shape[1])
    for index in range(frame[SLICES]):
        call_address(frame[RUN_SHARE], (pointer(frame, 0), weights, work, h, c, *src, *dst, index))
    frame[TURN] += frame[STEPS]
