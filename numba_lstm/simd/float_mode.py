"""The floating-point mode of a thread: denormal numbers as zero.

A denormal operand costs some CPUs over a hundred cycles: without this mode, denormal inputs slow a call down 23 times.
"""
from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from .target import host
from .vectors import intrinsic

_WORD, _LONG = ir.IntType(32), ir.IntType(64)

# x86: flush-to-zero and denormals-are-zero.  AArch64: FZ does both.
_MXCSR_FLUSH, _FPCR_FLUSH = 0x8040, 1 << 24


@intrinsic
def flush_denormals(tyctx):
    """Make this thread count denormal numbers as zero; return its former mode, for ``restore_mode``."""

    def generate(context, builder, signature, args):
        architecture = host().architecture
        if architecture == "x86":
            slot = cgutils.alloca_once(builder, _WORD)
            _mxcsr(builder, "st", slot)
            before = builder.load(slot)
            builder.store(builder.or_(before, ir.Constant(_WORD, _MXCSR_FLUSH)), slot)
            _mxcsr(builder, "ld", slot)
            return builder.zext(before, _LONG)
        if architecture == "aarch64":
            kind = ir.FunctionType(_LONG, [])
            before = builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.aarch64.get.fpcr"), [])
            _set_fpcr(builder, builder.or_(before, ir.Constant(_LONG, _FPCR_FLUSH)))
            return before
        return ir.Constant(_LONG, 0)

    return types.int64(), generate


@intrinsic
def restore_mode(tyctx, mode):
    """Put back the floating-point mode that ``flush_denormals`` returned."""

    def generate(context, builder, signature, args):
        architecture = host().architecture
        if architecture == "x86":
            slot = cgutils.alloca_once_value(builder, builder.trunc(args[0], _WORD))
            _mxcsr(builder, "ld", slot)
        elif architecture == "aarch64":
            _set_fpcr(builder, args[0])
        return context.get_dummy_value()

    return types.void(types.int64), generate


def _mxcsr(builder: Any, direction: str, slot: Any) -> None:
    byte = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.sse.{direction}mxcsr")
    builder.call(function, [builder.bitcast(slot, byte)])


def _set_fpcr(builder: Any, value: Any) -> None:
    kind = ir.FunctionType(ir.VoidType(), [_LONG])
    builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.aarch64.set.fpcr"), [value])
