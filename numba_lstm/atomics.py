"""Words that threads share: what atomic operations of LLVM do on a pointer to int64."""
from __future__ import annotations

import sys

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils

from ._target import host
from .simd import intrinsic

_WORD = ir.IntType(64)
_YIELD = "SwitchToThread" if sys.platform == "win32" else "sched_yield"


@intrinsic
def words(tyctx, base):
    """Return a pointer to float32 or float64 as one to int64."""

    def generate(context, builder, signature, args):
        return builder.bitcast(args[0], _WORD.as_pointer())

    return types.CPointer(types.int64)(base), generate


@intrinsic
def fetch_add(tyctx, word, number):
    """Add to a word and return what it was."""

    def generate(context, builder, signature, args):
        return builder.atomic_rmw("add", args[0], args[1], "acq_rel")

    return types.int64(word, types.int64), generate


@intrinsic
def exchange(tyctx, word, number):
    """Set a word and return what it was."""

    def generate(context, builder, signature, args):
        return builder.atomic_rmw("xchg", args[0], args[1], "acq_rel")

    return types.int64(word, types.int64), generate


@intrinsic
def read(tyctx, word):
    """Return a word that another thread may change."""

    def generate(context, builder, signature, args):
        return builder.load_atomic(args[0], "acquire", 8)

    return types.int64(word), generate


@intrinsic
def write(tyctx, word, number):
    """Set a word; what this thread has stored before is seen by whoever reads it."""

    def generate(context, builder, signature, args):
        builder.store_atomic(args[1], args[0], "release", 8)
        return context.get_dummy_value()

    return types.void(word, types.int64), generate


@intrinsic
def pause(tyctx):
    """Wait for some cycles, and leave the core's resources to others meanwhile."""

    def generate(context, builder, signature, args):
        nothing = ir.VoidType()
        if host().architecture == "x86":
            kind = ir.FunctionType(nothing, [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.sse2.pause"), [])
        elif host().architecture == "aarch64":
            kind = ir.FunctionType(nothing, [ir.IntType(32)])
            function = cgutils.get_or_insert_function(builder.module, kind, "llvm.aarch64.hint")
            builder.call(function, [ir.Constant(ir.IntType(32), 1)])
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def let_others_run(tyctx):
    """Offer the core to another thread that waits for one."""

    def generate(context, builder, signature, args):
        if binding.address_of_symbol(_YIELD):
            kind = ir.FunctionType(ir.IntType(32), [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, _YIELD), [])
        return context.get_dummy_value()

    return types.void(), generate


