"""Dot products of int8: for every lane, four products of two words' bytes are added to a 32-bit sum.

=========  ==================================  ========================================================================
dot        what there is                       how it is used
=========  ==================================  ========================================================================
vnni       vpdpbusd, of AVX-512 VNNI or of     unsigned by signed: numbers of rows are kept with 128 added, and sums
           AVX-VNNI                            begin at -128 times the weights of their unit
maddubs    vpmaddubsw, of AVX2 and AVX-512BW,  rows' magnitudes by weights with rows' signs.  It saturates sums of two
           unsigned by signed, sums of two     products beyond 32,767; with 127 as the largest on both sides none is
dotprod    sdot, of ARMv8.2                    as it is
plain      whatever LLVM makes of it           four products of bytes that are shifted out
=========  ==================================  ========================================================================

All of them are exact, so that CPUs, and orders of summation, give the same integers.
"""
from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils

from ..target import host
from ..vectors import Vector

LARGEST = 127
"""The largest int8 of weights and rows and, with the other sign, the smallest: ``maddubs`` is exact up to it."""

LEFT_OFFSETS = {"vnni": 128, "maddubs": 0, "dotprod": 0, "plain": 0}
"""What is added to numbers of rows, by the kind of dot product."""

_I8, _I16 = ir.IntType(8), ir.IntType(16)


def left_offset() -> int:
    """Return what is added to the int8 numbers of rows before they are kept as bytes."""
    return LEFT_OFFSETS[host().dot]


def emit_dot(builder: Any, vector: Vector, left: Any, weights: Any, sums: Any) -> Any:
    """Return ``sums`` with the dot products of words ``left`` and ``weights`` added, all vectors of int32."""
    return _EMIT[host().dot](builder, vector, left, weights, sums)


def _call(builder: Any, name: str, result: ir.Type, *args: Any) -> Any:
    kind = ir.FunctionType(result, [arg.type for arg in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)


def _vnni(builder: Any, vector: Vector, left: Any, weights: Any, sums: Any) -> Any:
    name = f"llvm.x86.avx512.vpdpbusd.{vector.lanes * 32}"
    return _call(builder, name, vector.llvm, sums, left, weights)


_MADDUBS = {
    256: ("llvm.x86.avx2.pmadd.ub.sw", "llvm.x86.avx2.pmadd.wd"),
    512: ("llvm.x86.avx512.pmaddubs.w.512", "llvm.x86.avx512.pmaddw.d.512"),
}
"""Two products in 16 bits, and two of these sums in 32, by the bits of a vector."""


def _maddubs(builder: Any, vector: Vector, left: Any, weights: Any, sums: Any) -> Any:
    bits = vector.lanes * 32
    nbytes, pairs = ir.VectorType(_I8, bits // 8), ir.VectorType(_I16, bits // 16)
    two, four = _MADDUBS[bits]
    left, weights = builder.bitcast(left, nbytes), builder.bitcast(weights, nbytes)
    magnitude = _call(builder, f"llvm.abs.v{nbytes.count}i8", nbytes, left, ir.Constant(ir.IntType(1), 0))
    if bits == 256:
        signed = _call(builder, "llvm.x86.avx2.psign.b", nbytes, weights, left)
    else:
        zeros = ir.Constant(nbytes, None)
        signed = builder.select(builder.icmp_signed("<", left, zeros), builder.sub(zeros, weights), weights)
    twos = _call(builder, two, pairs, magnitude, signed)
    return builder.add(sums, _call(builder, four, vector.llvm, twos, ir.Constant(pairs, [1] * pairs.count)))


def _dotprod(builder: Any, vector: Vector, left: Any, weights: Any, sums: Any) -> Any:
    nbytes = ir.VectorType(_I8, vector.lanes * 4)
    left, weights = builder.bitcast(left, nbytes), builder.bitcast(weights, nbytes)
    return _call(builder, "llvm.aarch64.neon.sdot.v4i32.v16i8", vector.llvm, sums, weights, left)


def _plain(builder: Any, vector: Vector, left: Any, weights: Any, sums: Any) -> Any:
    def byte(words: Any, index: int) -> Any:
        up, down = (ir.Constant(vector.llvm, [bits] * vector.lanes) for bits in (24 - 8 * index, 24))
        return builder.ashr(builder.shl(words, up) if index < 3 else words, down)

    for index in range(4):
        sums = builder.add(sums, builder.mul(byte(left, index), byte(weights, index)))
    return sums


_EMIT = {"vnni": _vnni, "maddubs": _maddubs, "dotprod": _dotprod, "plain": _plain}
