"""What panels hold, as Numba values: the numbers that are computed with, the same in 16 bits, or words of four int8.

==========  =================  ===============================================================================
form        Numba's dtype      one element
==========  =================  ===============================================================================
None        float32, float64   a weight
float16     int16              a weight, widened when it is loaded; Numba has no float16 on CPUs
bfloat16    uint16             the same, of the other kind; vectors are in pairs, see ``panels``
int8        int32              four weights of one unit, for four k that follow each other: what the dot products of
                               CPUs take.  Rows that are multiplied by them are words of four numbers as well
==========  =================  ===============================================================================

A pointer's dtype tells the form, so that what kernels do with it is decided where they are compiled.
"""
from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from ..target import host
from ..vectors import Vector, emit_at, emit_load, intrinsic, vector_of

FLOAT16, BFLOAT16, WORDS = types.int16, types.uint16, types.int32

DTYPES: dict[str, types.Integer] = {"float16": FLOAT16, "bfloat16": BFLOAT16, "int8": WORDS}
"""Of pointers to panels, by form."""

_I16 = ir.IntType(16)


def _pointer_as(dtype: Any) -> Any:
    @intrinsic
    def view(tyctx, base):
        def generate(context, builder, signature, args):
            return builder.bitcast(args[0], context.get_value_type(signature.return_type))

        return types.CPointer(dtype)(base), generate

    return view


AS_PANELS = {form: _pointer_as(dtype) for form, dtype in DTYPES.items()}
"""By form, what makes of a pointer to floats one to panels of this form at the same place."""


@intrinsic
def same_form(tyctx, base, like):
    """Return a pointer to the same place, of the type of another one."""
    generate = lambda context, builder, signature, args: builder.bitcast(args[0], context.get_value_type(like))  # noqa: E731
    return like(base, like), generate


@intrinsic
def depth_of(tyctx, panels, count):
    """Return how many elements of a panel, for each unit, so many k are."""

    def generate(context, builder, signature, args):
        if panels.dtype != WORDS:
            return args[1]
        return builder.ashr(builder.add(args[1], ir.Constant(args[1].type, 3)), ir.Constant(args[1].type, 2))

    return types.intp(panels, types.intp), generate


@intrinsic
def unless_words(tyctx, pointer, numbers, words):
    """Return one of two numbers, the second if the pointer, to rows or into panels, is one to words of int8."""
    chosen = 2 if pointer.dtype == WORDS else 1
    return types.intp(pointer, types.intp, types.intp), lambda context, builder, signature, args: args[chosen]


@intrinsic
def lines_behind(tyctx, panels):
    """Return how many lines of a panel follow its weights, see ``tiles.tile_add``; a constant."""
    count = LINES_BEHIND if panels.dtype == WORDS else 0
    return types.intp(panels), lambda context, builder, signature, args: ir.Constant(ir.IntType(64), count)


LINES_BEHIND = 2
"""Lines behind the weights of a panel of words."""


def emit_weights(builder: Any, pointer: Any, panel: types.CPointer, vector: Vector, count: int) -> list[Any]:
    """Load some vectors of weights from a pointer into a panel on, as what they are multiplied as."""
    places = [emit_at(builder, pointer, v * vector.lanes) for v in range(count)]
    if panel.dtype == FLOAT16:
        return [_widened_float16(builder, _halves(builder, place, vector), vector) for place in places]
    if panel.dtype == BFLOAT16:
        if count == 1:
            wide = builder.zext(_halves(builder, pointer, vector), vector.llvm_bits)
            return [builder.bitcast(builder.shl(wide, _splat(vector, 16)), vector.llvm)]
        return [weights for place in places[::2] for weights in _pair_of_bfloat16(builder, place, vector)]
    return [emit_load(builder, place, vector_of(panel)) for place in places]


def _pair_of_bfloat16(builder: Any, pointer: Any, vector: Vector) -> list[Any]:
    """Return two vectors of which each lane has the numbers in the halves of 32 bits, see ``panels``.

    To widen the halves of one vector would take as many instructions for each of the two, one of which moves numbers
    between lanes: a Zen 4 core reads 59 GB of such weights a second, and 93 of pairs, which is what L3 gives.
    """
    words = builder.load(builder.bitcast(pointer, vector.llvm_bits.as_pointer()))
    words.align = 2
    bits = builder.shl(words, _splat(vector, 16)), builder.and_(words, _splat(vector, 0xFFFF0000))
    return [builder.bitcast(each, vector.llvm) for each in bits]


def _halves(builder: Any, pointer: Any, vector: Vector) -> Any:
    kind = ir.VectorType(_I16, vector.lanes)
    value = builder.load(builder.bitcast(pointer, kind.as_pointer()))
    value.align = 2
    return value


def _splat(vector: Vector, number: int) -> Any:
    return ir.Constant(vector.llvm_bits, [number] * vector.lanes)


def _widened_float16(builder: Any, halves: Any, vector: Vector) -> Any:
    """Return float32 numbers for the bits of float16: exactly, whatever the mode says of denormal numbers."""
    if host().half:
        kind = ir.VectorType(ir.HalfType(), vector.lanes)
        return builder.fpext(builder.bitcast(halves, kind), vector.llvm)
    wide = builder.zext(halves, vector.llvm_bits)
    magnitude = builder.and_(wide, _splat(vector, 0x7FFF))
    sign = builder.shl(builder.xor(wide, magnitude), _splat(vector, 16))
    exponent = builder.and_(wide, _splat(vector, 0x7C00))
    normal = builder.add(builder.shl(magnitude, _splat(vector, 13)), _splat(vector, (127 - 15) << 23))
    special = builder.add(normal, _splat(vector, (127 - 15) << 23))  # inf and nan keep the largest exponent
    # Denormal numbers of float16 are integers times 2**-24, and normal in float32.
    step = ir.Constant(vector.llvm, [ir.Constant(vector.llvm.element, 2.0**-24)] * vector.lanes)
    small = builder.bitcast(builder.fmul(builder.sitofp(magnitude, vector.llvm), step), vector.llvm_bits)
    is_small = builder.icmp_signed("==", exponent, _splat(vector, 0))
    is_special = builder.icmp_signed("==", exponent, _splat(vector, 0x7C00))
    bits = builder.select(is_small, small, builder.select(is_special, special, normal))
    return builder.bitcast(builder.or_(bits, sign), vector.llvm)
