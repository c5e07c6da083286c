"""Register tiles as Numba values.

A tile is an LLVM array of ``rows * vectors`` vectors, which LLVM keeps in registers as long as only the operations
below touch it.
"""
from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import extending, types
from numba.core.datamodel.models import PrimitiveModel

from .vectors import Vector, emit_at, emit_fma, emit_load, emit_splat, emit_store, intrinsic, vector_of


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

    One fused multiply-add for every term.  ``panel`` is (steps, pitch, LANES), C order, with as many vectors as the
    tile or more.  ``pitch`` and ``steps`` must be constants.
    """
    vector, count = tile.vector, tile.vectors

    def generate(context, builder, signature, args):
        value, left, stride, panel, _, _ = args
        sums = [builder.extract_value(value, n) for n in range(tile.rows * count)]
        rows = [left]
        for _ in range(1, tile.rows):
            rows.append(emit_at(builder, rows[-1], stride))
        for k in range(steps.literal_value):
            line = emit_at(builder, panel, k * pitch.literal_value * vector.lanes)
            weights = [emit_load(builder, emit_at(builder, line, v * vector.lanes), vector) for v in range(count)]
            for m, row in enumerate(rows):
                x = emit_splat(builder, builder.load(emit_at(builder, row, k)), vector)
                for v in range(count):
                    sums[m * count + v] = emit_fma(builder, vector, x, weights[v], sums[m * count + v])
        for n, total in enumerate(sums):
            value = builder.insert_value(value, total, n)
        return value

    return tile(tile, left, types.intp, panel, pitch, steps), generate


@intrinsic
def tile_add(tyctx, tile, source, source_stride, target, target_stride):
    """Store ``source[m, v] + tile[m, v]`` to ``target[m, v]``; rows lie ``stride`` elements apart.

    ``source`` and ``target`` may be the same.
    """
    vector, count = tile.vector, tile.vectors

    def generate(context, builder, signature, args):
        value, source, source_stride, target, target_stride = args
        for m in range(tile.rows):
            for v in range(count):
                before = emit_load(builder, emit_at(builder, source, v * vector.lanes), vector)
                total = builder.fadd(before, builder.extract_value(value, m * count + v))
                emit_store(builder, total, emit_at(builder, target, v * vector.lanes), vector)
            source, target = emit_at(builder, source, source_stride), emit_at(builder, target, target_stride)
        return context.get_dummy_value()

    return types.void(tile, source, types.intp, target, types.intp), generate
