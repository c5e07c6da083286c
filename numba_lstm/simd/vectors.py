"""Vectors as Numba values.

A vector is an LLVM vector of LANES numbers.  All of it works on pointers (``pointer(array, i)``), so
that a kernel is compiled once per dtype and not once per kind of array that it meets.

Offsets and strides are in elements.  Loads and stores assume the alignment of one element only (LLVM would take the
vector's 64 bytes for granted and emit moves that fault).
"""
from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import extending, types
from numba.core import cgutils
from numba.core.datamodel.models import PrimitiveModel

from .blocksizes import block_sizes
from .target import host

# Numba's annotation of intrinsic has the callers pass the typing context, which they do not.
intrinsic: Any = extending.intrinsic

_INDEX = ir.IntType(64)
_LANE = ir.IntType(32)


def lane_count(dtype: Any) -> int:
    """Return the lanes of a vector of this Numba dtype; numbers of 16 bits are widened to 32 when they are loaded."""
    return block_sizes().lanes(np.dtype(str(dtype) if dtype.bitwidth > 16 else np.float32))


class Vector(types.Type):
    """The Numba type of a vector."""

    def __init__(self, dtype: Any, lanes: int) -> None:
        self.dtype, self.lanes = dtype, lanes
        self.bits = dtype.bitwidth
        super().__init__(name=f"Vector({dtype} x {lanes})")

    @property
    def llvm(self) -> ir.VectorType:
        if isinstance(self.dtype, types.Integer):
            return self.llvm_bits
        return ir.VectorType(ir.FloatType() if self.bits == 32 else ir.DoubleType(), self.lanes)

    @property
    def llvm_bits(self) -> ir.VectorType:
        return ir.VectorType(ir.IntType(self.bits), self.lanes)

    @property
    def suffix(self) -> str:
        return f"v{self.lanes}f{self.bits}"


@extending.register_model(Vector)
class _VectorModel(PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Vector) -> None:
        super().__init__(dmm, fe_type, fe_type.llvm)


def vector_of(pointer_type: types.CPointer) -> Vector:
    """Return the vector type that belongs to a pointer's dtype."""
    return Vector(pointer_type.dtype, lane_count(pointer_type.dtype))


# --- LLVM helpers -------------------------------------------------------------------------------------------


def emit_splat(builder: Any, scalar: Any, vector: Vector) -> Any:
    undefined = ir.Constant(vector.llvm, ir.Undefined)
    one = builder.insert_element(undefined, scalar, ir.Constant(_LANE, 0))
    return builder.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(_LANE, vector.lanes), None))


def emit_at(builder: Any, pointer: Any, index: Any) -> Any:
    return builder.gep(pointer, [index if isinstance(index, ir.Value) else ir.Constant(_INDEX, index)])


def emit_load(builder: Any, pointer: Any, vector: Vector) -> Any:
    value = builder.load(builder.bitcast(pointer, vector.llvm.as_pointer()))
    value.align = vector.bits // 8
    return value


def emit_store(builder: Any, value: Any, pointer: Any, vector: Vector) -> None:
    builder.store(value, builder.bitcast(pointer, vector.llvm.as_pointer())).align = vector.bits // 8


def _call(builder: Any, name: str, vector: Vector, *args: Any) -> Any:
    kind = ir.FunctionType(vector.llvm, [vector.llvm] * len(args))
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"{name}.{vector.suffix}"), args)


def emit_fma(builder: Any, vector: Vector, x: Any, y: Any, z: Any) -> Any:
    if host().fma:
        return _call(builder, "llvm.fma", vector, x, y, z)
    return builder.fadd(builder.fmul(x, y), z)  # llvm.fma would be a libm call per lane


# --- pointers -----------------------------------------------------------------------------------------------


@intrinsic
def pointer(tyctx, array, index):
    """Return a pointer to the element of an array's buffer that lies ``index`` elements behind its first."""

    def generate(context, builder, signature, args):
        return emit_at(builder, context.make_array(signature.args[0])(context, builder, args[0]).data, args[1])

    return types.CPointer(array.dtype)(array, types.intp), generate


@intrinsic
def at(tyctx, base, index):
    """Return the pointer ``index`` elements behind ``base``."""
    return base(base, types.intp), lambda context, builder, signature, args: emit_at(builder, *args)


@intrinsic
def elements_between(tyctx, first, second):
    """Return how many elements the second of two pointers lies behind the first."""

    def generate(context, builder, signature, args):
        begin, end = (builder.ptrtoint(pointer, _INDEX) for pointer in args)
        return builder.sdiv(builder.sub(end, begin), ir.Constant(_INDEX, first.dtype.bitwidth // 8))

    return types.intp(first, first), generate


@intrinsic
def lanes(tyctx, base):
    """Return the number of lanes of a vector of the pointer's dtype, a constant."""
    count = lane_count(base.dtype)
    return types.intp(base), lambda context, builder, signature, args: ir.Constant(_INDEX, count)


@intrinsic(prefer_literal=True)
def prefetch(tyctx, base, index, count, level):
    """Ask for ``count`` vectors from element ``index`` on, into the cache of a ``level``: 1 or 2; constants both."""
    vector_bytes = lane_count(base.dtype) * base.dtype.bitwidth // 8  # what is widened takes less than a register
    step = block_sizes().vector_bytes

    def generate(context, builder, signature, args):
        byte = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte, _LANE, _LANE, _LANE])
        locality = {1: 3, 2: 2}[level.literal_value]
        read, into, data = ir.Constant(_LANE, 0), ir.Constant(_LANE, locality), ir.Constant(_LANE, 1)
        first = builder.bitcast(emit_at(builder, *args[:2]), byte)
        for place in range(0, count.literal_value * vector_bytes, step):
            target = emit_at(builder, first, place)
            function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
            builder.call(function, [target, read, into, data])
        return context.get_dummy_value()

    return types.void(base, types.intp, count, level), generate


# --- vectors ------------------------------------------------------------------------------------------------


@intrinsic
def load(tyctx, base, index):
    """Load a vector that starts at element ``index``."""
    vector = vector_of(base)
    generate = lambda context, builder, signature, args: emit_load(builder, emit_at(builder, *args), vector)  # noqa: E731
    return vector(base, types.intp), generate


@intrinsic
def store(tyctx, base, index, value):
    """Store a vector from element ``index`` on."""

    def generate(context, builder, signature, args):
        emit_store(builder, args[2], emit_at(builder, *args[:2]), value)
        return context.get_dummy_value()

    return types.void(base, types.intp, value), generate


def _first_lanes(builder: Any, vector: Vector, count: Any) -> Any:
    """Return the mask of the first ``count`` lanes."""
    integers = ir.VectorType(_LANE, vector.lanes)
    undefined = ir.Constant(integers, ir.Undefined)
    number = builder.insert_element(undefined, builder.trunc(count, _LANE), ir.Constant(_LANE, 0))
    number = builder.shuffle_vector(number, undefined, ir.Constant(integers, None))
    return builder.icmp_signed("<", ir.Constant(integers, list(range(vector.lanes))), number)


@intrinsic
def load_first(tyctx, base, index, count):
    """Load ``count`` elements from ``index`` on, and zeros for the lanes behind them; reads nothing else."""
    vector = vector_of(base)

    def generate(context, builder, signature, args):
        mask = _first_lanes(builder, vector, args[2])
        source = builder.bitcast(emit_at(builder, *args[:2]), vector.llvm.as_pointer())
        kind = ir.FunctionType(vector.llvm, [source.type, _LANE, mask.type, vector.llvm])
        name = f"llvm.masked.load.{vector.suffix}.p0"
        function = cgutils.get_or_insert_function(builder.module, kind, name)
        align, zeros = ir.Constant(_LANE, vector.bits // 8), ir.Constant(vector.llvm, None)
        return builder.call(function, [source, align, mask, zeros])

    return vector(base, types.intp, types.intp), generate


@intrinsic
def store_first(tyctx, base, index, value, count):
    """Store the first ``count`` lanes of a vector; the elements behind them are not touched."""

    def generate(context, builder, signature, args):
        mask = _first_lanes(builder, value, args[3])
        target = builder.bitcast(emit_at(builder, *args[:2]), value.llvm.as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [value.llvm, target.type, _LANE, mask.type])
        name = f"llvm.masked.store.{value.suffix}.p0"
        function = cgutils.get_or_insert_function(builder.module, kind, name)
        builder.call(function, [args[2], target, ir.Constant(_LANE, value.bits // 8), mask])
        return context.get_dummy_value()

    return types.void(base, types.intp, value, types.intp), generate


@intrinsic
def fill(tyctx, like, number):
    """Return a vector of ``like``'s type with ``number`` in every lane."""

    def generate(context, builder, signature, args):
        return emit_splat(builder, context.cast(builder, args[1], signature.args[1], like.dtype), like)

    return like(like, number), generate


@intrinsic
def fma(tyctx, x, y, z):
    """Return x * y + z, rounded once (twice where the target has no fused multiply-add)."""
    return x(x, x, x), lambda context, builder, signature, args: emit_fma(builder, x, *args)


def _binary(name: str, doc: str) -> Any:
    @intrinsic
    def operation(tyctx, x, y):
        return x(x, x), lambda context, builder, signature, args: getattr(builder, name)(*args)

    operation.__doc__ = doc
    return operation


add = _binary("fadd", "Return x + y.")
sub = _binary("fsub", "Return x - y.")
mul = _binary("fmul", "Return x * y.")
div = _binary("fdiv", "Return x / y.")


@intrinsic
def absolute(tyctx, x):
    """Return |x|, NaN included."""
    return x(x), lambda context, builder, signature, args: _call(builder, "llvm.fabs", x, *args)


@intrinsic
def negate(tyctx, x):
    """Return -x."""
    return x(x), lambda context, builder, signature, args: builder.fneg(*args)


@intrinsic
def copysign(tyctx, magnitude, sign):
    """Return the magnitude of the first with the sign of the second."""
    generate = lambda context, builder, signature, args: _call(builder, "llvm.copysign", magnitude, *args)  # noqa: E731
    return magnitude(magnitude, magnitude), generate


@intrinsic
def where_greater(tyctx, x, y, then, otherwise):
    """Return ``then`` in the lanes where x > y, ``otherwise`` in the rest, which includes those with a NaN."""

    def generate(context, builder, signature, args):
        return builder.select(builder.fcmp_ordered(">", args[0], args[1]), args[2], args[3])

    return x(x, x, x, x), generate


@intrinsic
def add_exponent(tyctx, x, counter):
    """Return x * 2**n for the n in the low bits of ``counter`` = n + 1.5 * 2**(mantissa bits).

    Adds n to the exponent field: x and the result must be normal numbers.
    """
    mantissa = 23 if x.bits == 32 else 52

    def generate(context, builder, signature, args):
        bits, number = (builder.bitcast(a, x.llvm_bits) for a in args)
        shift = ir.Constant(x.llvm_bits, [mantissa] * x.lanes)
        return builder.bitcast(builder.add(bits, builder.shl(number, shift)), x.llvm)

    return x(x, x), generate


@intrinsic
def power_of_two(tyctx, counter):
    """Return 2**n for ``counter`` = n + bias + 1.5 * 2**(mantissa bits), bias 127 or 1023.

    Shifts the low bits into the exponent field: 2**n must be a normal number.
    """
    mantissa = 23 if counter.bits == 32 else 52

    def generate(context, builder, signature, args):
        shift = ir.Constant(counter.llvm_bits, [mantissa] * counter.lanes)
        return builder.bitcast(builder.shl(builder.bitcast(args[0], counter.llvm_bits), shift), counter.llvm)

    return counter(counter), generate


def polynomial(coefficients: dict[int, tuple[float, ...]]) -> Any:
    """Return a function that evaluates a polynomial at a vector by Horner's rule.

    Parameters
    ----------
    coefficients : dict
        The coefficients, highest power first, for numbers of 32 and of 64 bits.
    """

    @intrinsic
    def evaluate(tyctx, x):
        def generate(context, builder, signature, args):
            scalar = x.llvm.element
            first, *rest = (ir.Constant(x.llvm, [ir.Constant(scalar, c)] * x.lanes) for c in coefficients[x.bits])
            value = first
            for c in rest:
                value = emit_fma(builder, x, value, args[0], c)
            return value

        return x(x), generate

    return evaluate
