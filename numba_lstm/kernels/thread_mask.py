"""How many of Numba's threads the parallel loops of a thread wake, which Numba calls a mask.

It is all of them by default, one for each CPU, however few are to share the work.  OpenMP's spin for a while when they
find none: in a container whose quota is a part of the CPUs, they would use it up.  TBB's are not woken either; those of
workqueue are, all of them, and sleep again at once.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils

from ..simd.vectors import intrinsic

_COUNT, _WORD = ir.IntType(32), ir.IntType(64)


@intrinsic
def thread_mask(tyctx):
    """Return how many threads they wake."""

    def generate(context, builder, signature, args):
        # Numba makes the names known to LLVM where there is a parallel loop.  That declares this one as of a word,
        # though it is of half of one, and there can be no other declaration beside it.
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(_WORD, []), "get_num_threads")
        return builder.sext(builder.trunc(builder.call(function, []), _COUNT), _WORD)

    return types.int64(), generate


@intrinsic
def set_thread_mask(tyctx, count):
    """Have them wake so many, from 1 to ``NUMBA_NUM_THREADS``."""

    def generate(context, builder, signature, args):
        kind = ir.FunctionType(ir.VoidType(), [_COUNT])
        function = cgutils.get_or_insert_function(builder.module, kind, "set_num_threads")
        builder.call(function, [builder.trunc(args[0], _COUNT)])
        return context.get_dummy_value()

    return types.void(types.int64), generate
