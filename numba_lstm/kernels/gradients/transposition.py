"""Rows into columns, a square of LANES x LANES numbers at a time, in registers."""
from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from ...simd.vectors import Vector, emit_at, emit_load, emit_store, intrinsic, vector_of

_LANE = ir.IntType(32)


def _exchange(builder: Any, vector: Vector, first: Any, second: Any, apart: int) -> tuple[Any, Any]:
    """Return two rows, of which odd runs of ``apart`` lanes of the first were exchanged for even ones of the other."""
    low, high = [], []
    for lane in range(vector.lanes):
        odd = lane & apart
        low.append(lane if not odd else vector.lanes + lane - apart)
        high.append(lane + apart if not odd else vector.lanes + lane)
    kind = ir.VectorType(_LANE, vector.lanes)
    masks = (ir.Constant(kind, [ir.Constant(_LANE, place) for place in places]) for places in (low, high))
    one, other = (builder.shuffle_vector(first, second, mask) for mask in masks)
    return one, other


@intrinsic
def transpose_square(tyctx, source, stride, target, target_stride):
    """Store the columns of LANES rows of LANES numbers as rows."""
    vector = vector_of(source)

    def generate(context, builder, signature, args):
        source, stride, target, target_stride = args
        rows = []
        for _ in range(vector.lanes):
            rows.append(emit_load(builder, source, vector))
            source = emit_at(builder, source, stride)
        apart = 1
        while apart < vector.lanes:
            for place in range(vector.lanes):
                if not place & apart:
                    pair = rows[place], rows[place + apart]
                    rows[place], rows[place + apart] = _exchange(builder, vector, *pair, apart)
            apart *= 2
        for row in rows:
            emit_store(builder, row, target, vector)
            target = emit_at(builder, target, target_stride)
        return context.get_dummy_value()

    return types.void(source, types.intp, target, types.intp), generate
