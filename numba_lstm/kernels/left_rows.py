"""Rows as panels are multiplied by them: where they are, or copies of them in int8 where the weights are in int8.

A copy is words of four numbers, from ``HEADER`` words on, and its scale in the word before them::

    scale = largest magnitude / 127        number = rint(x * (127 / largest magnitude))

So have rows of h, and of o * tanh(c) before a projection, although without one h stays within 1 and -1: most of its
numbers are far smaller, for which steps of 1 / 127 would be coarse.  No row and no step knows the scale of another one,
so that each gives the same bits wherever it is.

inf or nan in a row makes its scale nan, and with it all that comes of the row.  Rows smaller than ``NOTHING`` are zero:
127 / magnitude would be no normal number.

Every member of a crew makes copies of its own: what one step of them takes is less than a meeting.
"""
from __future__ import annotations

import numpy as np

from ..simd.jit import chosen_by_types, inlined, inner
from ..simd.vectors import at, lanes, load, load_first
from ..simd.weights.dot_products import LARGEST
from ..simd.weights.forms import WORDS, same_form
from ..simd.weights.int8_rows import float_of, magnitudes, most_of, no_magnitudes, store_bytes
from .rows import View, active_rows, row_at

HEADER = 4
"""Words before those of a row: a vector of bytes then lies within a line of the cache."""

STEPS = np.float32(LARGEST)
NOTHING = np.float32(2.0**-100)
_NAN_BITS = np.int32(0x7F800000)


@inlined
def _largest(source, count):
    """Return the bits of the largest magnitude, those of inf or nan if there are such."""
    width = lanes(source)
    top = no_magnitudes(source)
    for k in range(0, count - width + 1, width):
        top = magnitudes(top, load(source, k))
    k = count - count % width
    if k < count:
        top = magnitudes(top, load_first(source, k, count - k))
    return most_of(top)


@inner
def _quantize(source, count, target):
    """Make the copy of one row at ``target``, a pointer to floats behind its header."""
    bits = _largest(source, count)
    scale, inverse = np.float32(0), np.float32(0)
    if bits >= _NAN_BITS:
        scale = np.float32(np.nan)
    else:
        largest = float_of(bits)
        if largest >= NOTHING:
            scale, inverse = largest / STEPS, STEPS / largest
    target[-1] = scale
    width = lanes(source)
    for k in range(0, count - width + 1, width):
        store_bytes(target, k, load(source, k), inverse)
    k = count - count % width
    if k < count:
        store_bytes(target, k, load_first(source, k, count - k), inverse)


@inlined
def _quantized_inputs(call, block, room, size, src, first, last):
    """Return a view of copies of the rows of some steps; rows that are one in memory are one."""
    frame = call.frame
    stride, shared = frame.left_stride, src.row == 0
    rows, target = 1 if shared else block.rows, at(room, HEADER)
    for t in range(first, last):
        for b in range(min(active_rows(frame, block, t), rows)):
            source = row_at(src, frame, t, block.first + b)
            _quantize(source, size, at(target, ((t - first) * rows + b) * stride))
    row, time = 0 if shared else stride, rows * stride
    base = same_form(at(target, -block.first * row - first * time), call.panels)
    return View(base, time, row, False)


@inlined
def _quantized_rows(call, room, rows, size, source, stride):
    """Return the copies of some rows, and how far apart they are."""
    target = at(room, HEADER)
    for b in range(rows):
        _quantize(at(source, b * stride), size, at(target, b * call.frame.left_stride))
    return same_form(target, call.panels), call.frame.left_stride


def input_rows(panels, call, block, room, size, src, first, last):
    """Return a view of the rows of steps ``first`` .. ``last`` - 1 that panels of the input are multiplied by."""


@chosen_by_types(input_rows)
def _choose_input_rows(panels, call, block, room, size, src, first, last):
    if panels.dtype == WORDS:
        return lambda panels, call, block, room, size, src, first, last: _quantized_inputs(
            call, block, room, size, src, first, last
        )
    return lambda panels, call, block, room, size, src, first, last: src


def left_rows(panels, call, room, rows, size, source, stride):
    """Return the pointer to rows that panels are multiplied by, of rows ``stride`` elements apart, and their stride."""


@chosen_by_types(left_rows)
def _choose_left_rows(panels, call, room, rows, size, source, stride):
    if panels.dtype == WORDS:
        return lambda panels, call, room, rows, size, source, stride: _quantized_rows(
            call, room, rows, size, source, stride
        )
    return lambda panels, call, room, rows, size, source, stride: (source, stride)
