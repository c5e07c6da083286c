"""What Python calls: arrays become pointers, and ``share.share_of`` is called, once for every share of the work.

These functions are small.  The one that they call is compiled once for each dtype, whatever calls it, and its address
is in the frame.
"""
from __future__ import annotations

import numpy as np
from numba import prange

from ..simd.array_objects import (
    READABLE,
    WRITABLE,
    axes_of,
    data_of,
    dtype_of,
    flags_of,
    itemsize_of,
    length_of,
    stride_of,
    type_of,
)
from ..simd.atomics import clock, words
from ..simd.jit import inlined
from ..simd.records import call_address, pointer_to
from ..simd.vectors import at, elements_between
from .crew import begin_slice, finish_slice, was_late
from .frame import FRAME_SIZE, TURN, as_cell, as_frame
from .thread_mask import set_thread_mask, thread_mask

REFUSED = -1
"""What launches of a pool return where they have done nothing, since arrays are not as they need them."""


@inlined
def _arguments(array, weights, work, x, output, h, c):
    """Return what a share needs, of arrays."""
    size = itemsize_of(x)
    src = data_of(x), stride_of(x, 0) // size, stride_of(x, 1) // size
    dst = data_of(output), stride_of(output, 0) // size, stride_of(output, 1) // size
    return (data_of(array), data_of(weights), data_of(work), data_of(h), data_of(c), *src, *dst)


@inlined
def _arguments_of_pool(numbers, x, output):
    """Return what a share needs, of a pool's numbers and two pointers."""
    frame, size = as_frame(numbers), as_cell(at(numbers, FRAME_SIZE)).src_size
    weights, work = pointer_to(frame.weights_address, x), pointer_to(frame.work_address, x)
    h, c = pointer_to(frame.h_address, x), pointer_to(frame.c_address, x)
    src, dst = (x, frame.batch * size, size), (output, frame.batch * frame.output_size, frame.output_size)
    return (numbers, weights, work, h, c, *src, *dst)


@inlined
def _is_as_planned(array, frame, size, flags):
    """Return whether an object is an array of the dtype, the axes and the order that a launch needs."""
    if type_of(array) != frame.array_type or dtype_of(array) != frame.array_dtype or axes_of(array) != frame.axes:
        return False
    shape = length_of(array, 0) == frame.axis_0 and length_of(array, frame.axes - 1) == size
    return shape and (frame.axes == 2 or length_of(array, 1) == frame.axis_1) and flags_of(array) & flags == flags


@inlined
def _are_as_planned(numbers, x, output):
    """Return whether input and output are as a launch of a pool needs them."""
    frame, size = as_frame(numbers), as_cell(at(numbers, FRAME_SIZE)).src_size
    return _is_as_planned(x, frame, size, READABLE) and _is_as_planned(output, frame, frame.output_size, WRITABLE)


@inlined
def _are_apart(numbers, source, target):
    """Return whether input and output, of which these are pointers to the first numbers, share no memory."""
    frame, size = as_frame(numbers), as_cell(at(numbers, FRAME_SIZE)).src_size
    rows, distance = frame.steps * frame.batch, elements_between(source, target)
    return distance >= rows * size or distance <= -rows * frame.output_size


@inlined
def _run_pool(array, x, output):
    numbers = data_of(array)
    if not _are_as_planned(numbers, x, output):
        return np.int64(REFUSED)
    source, target = data_of(x), data_of(output)
    if not _are_apart(numbers, source, target):
        return np.int64(REFUSED)
    _run_shares(_arguments_of_pool(numbers, source, target))
    numbers[TURN] += as_frame(numbers).steps
    return np.int64(0)


@inlined
def _run_shares(arguments):
    """Do all shares on this thread."""
    frame = as_frame(arguments[0])
    for index in range(frame.slices):
        call_address(frame.run_share, (*arguments, index))


@inlined
def _begin(arguments):
    """Make ready the words that the threads of a launch share, and have Numba wake as many as there are to be."""
    frame = as_frame(arguments[0])
    shared = words(at(arguments[2], frame.crew_words))
    for k in range(frame.crew_size):
        shared[k] = 0
    mask = thread_mask()
    set_thread_mask(frame.woken)
    return shared, mask


@inlined
def _run_share(arguments, shared, crew, slices, index):
    """Do the share of one of several threads."""
    frame = as_frame(arguments[0])
    if crew > 1:
        call_address(frame.run_share, (*arguments, np.int64(-1)))
    else:
        owned = begin_slice(shared)
        call_address(frame.run_share, (*arguments, np.int64(index)))
        finish_slice(shared, index, owned, slices)


def run_serial(array, weights, work, x, output, h, c):
    """Run layers over steps on this thread.  Nothing is checked, not even that these are arrays.

    Parameters
    ----------
    array : int64 array
        Numbers that say what this launch does: those of a `Frame`, and what follows them.
    weights, work : 1-D arrays
        Panels and scratch memory.
    x, output : (T, B, features) arrays of any strides with unit stride in the features; (1, rows, features) if packed
        Input and output.
    h, c : (layers * directions, pool, H_out), (.., H) C-order arrays
        States, which are updated.
    """
    _run_shares(_arguments(array, weights, work, x, output, h, c))


def run_parallel(array, weights, work, x, output, h, c):
    """Do what ``run_serial`` does, with one thread for every slice of the batch, or with a crew.

    Returns
    -------
    int
        1 if threads kept others waiting because they had no core; else 0.
    """
    arguments = _arguments(array, weights, work, x, output, h, c)
    frame, begun = as_frame(arguments[0]), clock()
    shared, mask = _begin(arguments)
    crew, slices = frame.crew, frame.slices
    for index in prange(crew * slices):
        _run_share(arguments, shared, crew, slices, index)
    set_thread_mask(mask)
    return np.int64(was_late(shared, crew, slices, clock() - begun))


def run_pool(array, x, output):
    """Advance a pool, on this thread.

    Parameters
    ----------
    array : int64 array
        Numbers with the addresses of the other arrays of ``run_serial``; the frame's ``turn`` is moved on.
    x, output : Python objects
        Input (T * B, I) and output (T * B, H_out), or (T, B, ...), (B, T, ...), as the frame says.

    Returns
    -------
    int
        0; or `REFUSED`, with nothing done, unless both are plain arrays of the dtype and the planned shapes, aligned,
        in C order and apart in memory, and output is writable.
    """
    return _run_pool(array, x, output)


def run_short(array, x, output):
    """Do what ``run_pool`` does, under another name: machine code that keeps Python's lock is kept beside the other."""
    return _run_pool(array, x, output)


def run_pool_parallel(array, x, output):
    """Do what ``run_pool`` does as ``run_parallel`` does it, which tells what else is returned."""
    numbers = data_of(array)
    if not _are_as_planned(numbers, x, output):
        return np.int64(REFUSED)
    source, target = data_of(x), data_of(output)
    if not _are_apart(numbers, source, target):
        return np.int64(REFUSED)
    arguments = _arguments_of_pool(numbers, source, target)
    frame, begun = as_frame(numbers), clock()
    shared, mask = _begin(arguments)
    crew, slices = frame.crew, frame.slices
    for index in prange(crew * slices):
        _run_share(arguments, shared, crew, slices, index)
    set_thread_mask(mask)
    numbers[TURN] += frame.steps
    return np.int64(was_late(shared, crew, slices, clock() - begun))
