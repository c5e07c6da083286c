"""Words that threads share, atomic operations on them (pointers to int64), and what a thread does while it waits."""
from __future__ import annotations

import sys

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils

from .target import host
from .vectors import intrinsic

_WORD = ir.IntType(64)
_YIELD = "SwitchToThread" if sys.platform == "win32" else "sched_yield"
_CLOCKS = {"linux": (1, 3), "darwin": (6, 16)}.get(sys.platform)
"""Where they are known, the numbers of POSIX's clocks that never go back: of the system, and of one thread."""

_TIME = ir.LiteralStructType([_WORD, _WORD])
"""Seconds and nanoseconds: the ``timespec`` of systems with 64 bits."""

_FUTEX = {"x86": 202, "aarch64": 98}.get(host().architecture) if sys.platform == "linux" else None
_FUTEX_WAIT, _FUTEX_WAKE = 128, 129
"""The number of Linux's call, and what it does, for threads of one process."""

_LONGEST_SLEEP_NS, _NAP_NS = 1_000_000, 200_000


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
        return builder.atomic_rmw("add", args[0], args[1], "seq_cst")

    return types.int64(word, types.int64), generate


@intrinsic
def exchange(tyctx, word, number):
    """Set a word and return what it was."""

    def generate(context, builder, signature, args):
        return builder.atomic_rmw("xchg", args[0], args[1], "seq_cst")

    return types.int64(word, types.int64), generate


@intrinsic
def set_first(tyctx, word, number):
    """Set a word that is zero; leave one that another thread has set before."""

    def generate(context, builder, signature, args):
        builder.cmpxchg(args[0], ir.Constant(_WORD, 0), args[1], "acq_rel", "acquire")
        return context.get_dummy_value()

    return types.void(word, types.int64), generate


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


@intrinsic
def sleep_while(tyctx, word, number):
    """Leave the core until ``wake`` is called for a word, for a millisecond at most; not if it is another number.

    Only the lower halves of the numbers are compared.  Where the system has no such call, sleep for a shorter time, and
    not at all where there is no clock: nobody comes here then.
    """

    def generate(context, builder, signature, args):
        if _FUTEX is not None:
            limit = _time(builder, _LONGEST_SLEEP_NS)
            _futex(builder, args[0], _FUTEX_WAIT, builder.and_(args[1], ir.Constant(_WORD, (1 << 32) - 1)), limit)
        elif _CLOCKS is not None:
            limit = _time(builder, _NAP_NS)
            kind = ir.FunctionType(ir.IntType(32), [limit.type, limit.type])
            function = cgutils.get_or_insert_function(builder.module, kind, "nanosleep")
            builder.call(function, [limit, ir.Constant(limit.type, None)])
        return context.get_dummy_value()

    return types.void(word, types.int64), generate


@intrinsic
def wake(tyctx, word):
    """Have all threads go on that sleep for the sake of a word."""

    def generate(context, builder, signature, args):
        if _FUTEX is not None:
            everybody, no_time = ir.Constant(_WORD, (1 << 31) - 1), ir.Constant(_TIME.as_pointer(), None)
            _futex(builder, args[0], _FUTEX_WAKE, everybody, no_time)
        return context.get_dummy_value()

    return types.void(word), generate


def _futex(builder, word, operation, number, limit):
    """Make Linux's call of this name."""
    kind = ir.FunctionType(_WORD, [_WORD, word.type, _WORD, _WORD, limit.type])
    function = cgutils.get_or_insert_function(builder.module, kind, "syscall")
    call, operation = ir.Constant(_WORD, _FUTEX), ir.Constant(_WORD, operation)
    builder.call(function, [call, word, operation, number, limit])


@intrinsic
def clock(tyctx):
    """Return nanoseconds since some moment in the past, always 0 where the system has no clock that is known here."""

    def generate(context, builder, signature, args):
        return ir.Constant(_WORD, 0) if _CLOCKS is None else _read_clock(builder, _CLOCKS[0])

    return types.int64(), generate


@intrinsic
def core_clock(tyctx):
    """Return for how many nanoseconds this thread has had a core so far, -1 where no clock is known that tells it."""

    def generate(context, builder, signature, args):
        return ir.Constant(_WORD, -1) if _CLOCKS is None else _read_clock(builder, _CLOCKS[1])

    return types.int64(), generate


def _read_clock(builder, number):
    """Return the nanoseconds of a clock of POSIX."""
    time = _time(builder, 0)
    kind = ir.FunctionType(ir.IntType(32), [ir.IntType(32), time.type])
    function = cgutils.get_or_insert_function(builder.module, kind, "clock_gettime")
    builder.call(function, [ir.Constant(ir.IntType(32), number), time])
    seconds, nanoseconds = (builder.extract_value(builder.load(time), n) for n in range(2))
    return builder.add(builder.mul(seconds, ir.Constant(_WORD, 10**9)), nanoseconds)


def _time(builder, nanoseconds):
    """Return a pointer to a time of less than a second."""
    time = cgutils.alloca_once(builder, _TIME)
    builder.store(ir.Constant(_TIME, [0, nanoseconds]), time)
    return time
