"""What Python calls: arrays become pointers, and ``share.share_of`` is called, once for every share of the work.

These functions are small.  The one that they call is compiled once for each dtype, whatever calls it, and its address
is in the frame.
"""
from __future__ import annotations

import numpy as np
from numba import prange

from ..simd.atomics import clock, words
from ..simd.jit import inlined
from ..simd.records import call_address, pointer_to
from ..simd.vectors import pointer
from .crew import begin_slice, finish_slice, was_late
from .frame import TURN, as_frame
from .thread_mask import set_thread_mask, thread_mask


@inlined
def _run_share(numbers, weights, work, x, output, h, c, index):
    size = x.itemsize
    arrays = pointer(numbers, 0), pointer(weights, 0), pointer(work, 0), pointer(h, 0), pointer(c, 0)
    src = pointer(x, 0), x.strides[0] // size, x.strides[1] // size
    dst = pointer(output, 0), output.strides[0] // size, output.strides[1] // size
    call_address(as_frame(pointer(numbers, 0)).run_share, (*arrays, *src, *dst, index))


def run_serial(numbers, weights, work, x, output, h, c):
    """Run layers over steps on this thread.

    Parameters
    ----------
    numbers : int64 array
        What this launch does: those of a `Frame`, and what follows them.
    weights, work : 1-D arrays
        Panels and scratch memory.
    x, output : (T, B, features) arrays of any strides with unit stride in the features; (1, rows, features) if packed
        Input and output.
    h, c : (layers * directions, pool, H_out), (.., H) C-order arrays
        States, which are updated.
    """
    for index in range(as_frame(pointer(numbers, 0)).slices):
        _run_share(numbers, weights, work, x, output, h, c, index)


def run_parallel(numbers, weights, work, x, output, h, c):
    """Do what ``run_serial`` does, with one thread for every slice of the batch, or with a crew.

    Returns
    -------
    int
        1 if threads kept others waiting because they had no core; else 0.
    """
    frame = as_frame(pointer(numbers, 0))
    shared, crew, slices = words(pointer(work, frame.crew_words)), frame.crew, frame.slices
    for k in range(frame.crew_size):
        shared[k] = 0
    mask = thread_mask()
    set_thread_mask(frame.woken)
    begun = clock()
    for index in prange(crew * slices):
        if crew > 1:
            _run_share(numbers, weights, work, x, output, h, c, -1)
        else:
            owned = begin_slice(shared)
            _run_share(numbers, weights, work, x, output, h, c, np.int64(index))
            finish_slice(shared, index, owned, slices)
    set_thread_mask(mask)
    return np.int64(was_late(shared, crew, slices, clock() - begun))


def run_short(numbers, x, output):
    """Do what ``run_serial`` does for one slice, with the fewest arguments: other arrays stay where they are.

    Parameters
    ----------
    numbers : int64 array
        With the addresses of the other arrays of ``run_serial``; the frame's ``turn`` is moved on.
    x, output : (T * B, features) C-order arrays
        Input and output.
    """
    frame = as_frame(pointer(numbers, 0))
    like, rows = pointer(x, 0), frame.batch
    weights, work = pointer_to(frame.weights_address, like), pointer_to(frame.work_address, like)
    h, c = pointer_to(frame.h_address, like), pointer_to(frame.c_address, like)
    src, dst = (like, rows * x.shape[1], x.shape[1]), (pointer(output, 0), rows * output.shape[1], output.shape[1])
    call_address(frame.run_share, (pointer(numbers, 0), weights, work, h, c, *src, *dst, np.int64(0)))
    numbers[TURN] += frame.steps
