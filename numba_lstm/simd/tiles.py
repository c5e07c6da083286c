"""Register tiles as Numba values.

A tile is an LLVM array of ``rows * vectors`` vectors, which LLVM keeps in registers as long as only the operations
below touch it.  Its sums are of what the rows have that are multiplied: floats, or integers if these are words of int8.
"""
from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import extending, types
from numba.core.datamodel.models import PrimitiveModel

from .vectors import Vector, emit_at, emit_fma, emit_load, emit_splat, emit_store, intrinsic, vector_of
from .weights.dot_products import emit_dot
from .weights.forms import emit_weights


class Tile(types.Type):
    """The Numba type of a tile of ``rows`` x ``vectors`` vectors."""

    def __init__(self, vector: Vector, rows: int, vectors: int) -> None:
        self.vector, self.rows, self.vectors = vector, rows, vectors
        super().__init__(name=f"Tile({vector.name}, {rows}, {vectors})")

    @property
    def llvm(self) -> ir.ArrayType:
        return ir.ArrayType(self.vector.llvm, self.rows * self.vectors)


@extending.register_model(Tile)
class _TileModel(PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Tile) -> None:
        super().__init__(dmm, fe_type, fe_type.llvm)


@intrinsic(prefer_literal=True)
def tile_zero(tyctx, base, rows, vectors):
    """Return a tile of zeros; ``rows`` and ``vectors`` must be constants."""
    tile = Tile(vector_of(base), rows.literal_value, vectors.literal_value)

    def generate(context, builder, signature, args):
        return ir.Constant(tile.llvm, None)

    return tile(base, rows, vectors), generate


@intrinsic(prefer_literal=True)
def tile_fma(tyctx, tile, left, stride, panel, pitch, steps):
    """Return ``tile[m, v] + left[m * stride + k] * panel[k, v]`` for k = 0 .. ``steps`` - 1, in order.

    One fused multiply-add for every term, or one dot product of four int8.  ``panel`` is (steps, pitch, LANES), C
    order, or has its vectors in pairs, see ``forms``; it has as many vectors as the tile or more, in pairs one only if
    the tile has one.  ``pitch`` and ``steps`` must be constants.
    """
    vector, count = tile.vector, tile.vectors
    add = emit_dot if isinstance(vector.dtype, types.Integer) else emit_fma

    panel_type = panel

    def generate(context, builder, signature, args):
        value, left, stride, panel, _, _ = args
        sums = [builder.extract_value(value, n) for n in range(tile.rows * count)]
        rows = [left]
        for _ in range(1, tile.rows):
            rows.append(emit_at(builder, rows[-1], stride))
        for k in range(steps.literal_value):
            line = emit_at(builder, panel, k * pitch.literal_value * vector.lanes)
            weights = emit_weights(builder, line, panel_type, vector, count)
            for m, row in enumerate(rows):
                x = emit_splat(builder, builder.load(emit_at(builder, row, k)), vector)
                for v in range(count):
                    sums[m * count + v] = add(builder, vector, x, weights[v], sums[m * count + v])
        for n, total in enumerate(sums):
            value = builder.insert_value(value, total, n)
        return value

    return tile(tile, left, types.intp, panel, pitch, steps), generate


@intrinsic(prefer_literal=True)
def tile_add(tyctx, tile, left, stride, behind, pitch, source, source_stride, target, target_stride):
    """Store ``source[m, v] + tile[m, v]`` to ``target[m, v]``; rows lie ``stride`` elements apart.

    ``source`` and ``target`` may be the same.  Integers become floats before: a line ``behind`` the weights of the
    panel has what is to be added to them, another one the scale of each unit, and the element before each row of
    ``left`` has the row's.  ``pitch``, the vectors of such a line, must be a constant.
    """
    vector, count = tile.vector, tile.vectors
    integers = isinstance(vector.dtype, types.Integer)
    floats = vector_of(source)

    def generate(context, builder, signature, args):
        value, left, stride, behind, _, source, source_stride, target, target_stride = args
        if integers:
            lines = [emit_at(builder, behind, v * vector.lanes) for v in range(count)]
            offsets = [emit_load(builder, line, vector) for line in lines]
            scales = [_as_floats(builder, emit_at(builder, line, pitch.literal_value * vector.lanes)) for line in lines]
            scales = [emit_load(builder, scale, floats) for scale in scales]
            number = emit_at(builder, left, -1)
        for m in range(tile.rows):
            if integers:
                row_scale = emit_splat(builder, builder.load(_as_floats(builder, number)), floats)
                number = emit_at(builder, number, stride)
            for v in range(count):
                total = builder.extract_value(value, m * count + v)
                before = emit_load(builder, emit_at(builder, source, v * vector.lanes), floats)
                if integers:
                    total = builder.sitofp(builder.add(total, offsets[v]), floats.llvm)
                    total = emit_fma(builder, floats, total, builder.fmul(scales[v], row_scale), before)
                else:
                    total = builder.fadd(before, total)
                emit_store(builder, total, emit_at(builder, target, v * vector.lanes), floats)
            source, target = emit_at(builder, source, source_stride), emit_at(builder, target, target_stride)
        return context.get_dummy_value()

    signature = types.void(tile, left, types.intp, behind, pitch, source, types.intp, target, types.intp)
    return signature, generate


def _as_floats(builder: Any, pointer: Any) -> Any:
    return builder.bitcast(pointer, ir.FloatType().as_pointer())
