"""From vectors of float32 to bytes: the largest magnitude of a row, and its numbers as int8."""
from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from ..vectors import Vector, emit_at, emit_splat, intrinsic, lane_count, vector_of
from .dot_products import left_offset

_I8, _I32 = ir.IntType(8), ir.IntType(32)

_ROUNDING = 1.5 * 2.0**23
"""A float32 that has no room for digits behind the point: what is added to it is rounded, to even, and stands in its
lowest bits, a negative number as in int32."""


def _bits_of(base: types.CPointer) -> Vector:
    return Vector(types.int32, lane_count(base.dtype))


@intrinsic
def no_magnitudes(tyctx, base):
    """Return a vector of zeros, for ``magnitudes`` of what a pointer's vectors have."""
    bits = _bits_of(base)
    return bits(base), lambda context, builder, signature, args: ir.Constant(bits.llvm, None)


@intrinsic
def magnitudes(tyctx, top, x):
    """Return, for each lane, the larger one of the bits in ``top`` and those of \\|x\\|.

    As integers the bits of magnitudes are in the order of the numbers, inf after them and nan last.
    """

    def generate(context, builder, signature, args):
        mask = ir.Constant(top.llvm, [0x7FFFFFFF] * top.lanes)
        bits = builder.and_(builder.bitcast(args[1], top.llvm), mask)
        return builder.select(builder.icmp_signed(">", bits, args[0]), bits, args[0])

    return top(top, x), generate


@intrinsic
def most_of(tyctx, top):
    """Return the largest lane."""

    def generate(context, builder, signature, args):
        kind = ir.FunctionType(_I32, [top.llvm])
        name = f"llvm.vector.reduce.smax.v{top.lanes}i32"
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)

    return types.int32(top), generate


@intrinsic
def float_of(tyctx, bits):
    """Return the float32 that has some bits."""
    generate = lambda context, builder, signature, args: builder.bitcast(args[0], ir.FloatType())  # noqa: E731
    return types.float32(types.int32), generate


@intrinsic
def store_bytes(tyctx, base, index, x, factor):
    """Store x * factor as int8 of rows, see ``dot_products``, LANES bytes from byte ``index`` behind a pointer on.

    The product is rounded to a float32, and then to an integer, to even where two are equally near.
    """
    vector = vector_of(base)

    def generate(context, builder, signature, args):
        base_value, index_value, x_value, factor_value = args
        product = builder.fmul(x_value, emit_splat(builder, factor_value, vector))
        magic = ir.Constant(vector.llvm, [ir.Constant(vector.llvm.element, _ROUNDING)] * vector.lanes)
        whole = builder.bitcast(builder.fadd(product, magic), vector.llvm_bits)
        small = ir.VectorType(_I8, vector.lanes)
        value: Any = builder.trunc(whole, small)
        if left_offset():
            value = builder.xor(value, ir.Constant(small, [left_offset()] * vector.lanes))
        place = emit_at(builder, builder.bitcast(base_value, _I8.as_pointer()), index_value)
        builder.store(value, builder.bitcast(place, small.as_pointer())).align = 1
        return context.get_dummy_value()

    return types.void(base, types.intp, x, types.float32), generate
