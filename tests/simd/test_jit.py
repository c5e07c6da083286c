"""The jit policy: inner functions are compiled once, whatever they are called with, and linked where they are used."""

from __future__ import annotations

import ctypes
import gc
import sys
from pathlib import Path
from typing import Any

import pytest
from numba import int64, types
from support.processes import CALL, run

from numba_lstm.execution import entries
from numba_lstm.simd.jit import by_address, inlined, inner

TWICE_COMPILED = """
import gc
import numpy as np
import numba_lstm
from numba.core.dispatcher import Dispatcher

numba_lstm.LSTM(3, 5)(np.zeros((2, 1, 3), np.float32))
ours = [d for d in gc.get_objects() if isinstance(d, Dispatcher) and d.py_func.__module__.startswith("numba_lstm")]
print(sum(len(d.overloads) for d in ours))
made = [(d.py_func.__code__, args) for d in ours for args in d.overloads]  # one function may have several dispatchers
alike = {code.co_qualname for code, args in made if code.co_name == "<lambda>" and made.count((code, args)) > 1}
print([f"{d.py_func.__qualname__}{list(d.overloads)}" for d in ours if len(d.overloads) > 1] + sorted(alike))
"""


@pytest.mark.parametrize("policy", [inner, inlined])
def test_a_literal_compiles_nothing_more(policy: Any) -> None:
    @policy
    def increment(number: Any) -> Any:
        return number + 1

    def add_five(number: Any) -> Any:
        return increment(number) + increment(1) + increment(2) - 1

    share = by_address(add_five, types.int64(int64))
    assert ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(share.address)(4) == 9
    assert list(increment.overloads) == [(int64,)]


def test_functions_that_share_others() -> None:
    """Three ways to the same function, one of them direct."""

    @inner
    def bottom(number: Any) -> Any:
        return 3 * number

    @inner
    def left(number: Any) -> Any:
        return bottom(number) + min(number, 2)

    @inner
    def right(number: Any) -> Any:
        return bottom(number + 1) + left(number)

    def top(number: Any) -> Any:
        return left(number) + 10 * right(number) + 100 * bottom(number)

    for _ in range(2):  # linked once more
        share = by_address(top, types.int64(int64))
        assert ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(share.address)(5) == 17 + 10 * (18 + 17) + 1500


INTERRUPTED_LINKING = """
import ctypes
from numba import int64, types
from numba_lstm.simd import jit

@jit.inner
def bottom(number):
    return 3 * number

@jit.inner
def middle(number):
    return bottom(number) + 1

def top(number):
    return middle(number) + 1

asked, own = [], jit._InnerLibrary._own

def interrupted(library):
    asked.append(library)
    if len(asked) == 2:  # by a function that is to be linked with what it calls
        raise KeyboardInterrupt
    return own(library)

jit._InnerLibrary._own = interrupted
try:
    jit.by_address(top, types.int64(int64))
except KeyboardInterrupt:
    print("interrupted")
jit._InnerLibrary._own = own
print(ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(jit.by_address(top, types.int64(int64)).address)(5))
"""


def test_linking_that_was_interrupted() -> None:
    """LLVM ends a process that runs half of what was linked."""
    assert run(INTERRUPTED_LINKING).stdout.split() == ["interrupted", "17"]


def test_a_function_that_was_linked_as_a_part_of_another() -> None:
    """Its own code is kept then, and what it calls itself has to come along with it the next time."""

    @inner
    def bottom(number: Any) -> Any:
        return 3 * number

    @inner
    def middle(number: Any) -> Any:
        return bottom(number) + 1

    @inner
    def upper(number: Any) -> Any:
        return middle(number) + 1

    for function, result in ((lambda number: upper(number), 17), (lambda number: middle(number), 16)):
        share = by_address(function, types.int64(int64))
        assert ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(share.address)(5) == result


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_is_left_while_compiling_only(enabled: bool) -> None:
    def fail() -> None:
        seen.append(gc.isenabled())
        raise MemoryError

    seen: list[bool] = []
    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        with pytest.raises(MemoryError):
            entries._compiled(("nothing", None), fail)
        assert seen == [False]
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if before else gc.disable)()


def test_ctrl_c_before_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Garbage is collected afterwards, also if it came when that had just been switched off."""
    disable = gc.disable

    def interrupted() -> None:
        disable()
        raise KeyboardInterrupt

    before = gc.isenabled()
    try:
        gc.enable()
        monkeypatch.setattr(gc, "disable", interrupted)
        with pytest.raises(KeyboardInterrupt):
            entries._compiled(("nothing", None), lambda: None)
        assert gc.isenabled()
    finally:
        (gc.enable if before else disable)()


def test_no_kernel_is_compiled_twice(tmp_path: Path) -> None:
    count, twice = run(TWICE_COMPILED, NUMBA_CACHE_DIR=str(tmp_path)).stdout.splitlines()
    assert int(count) > 50
    assert twice == "[]"


def test_functions_made_within_others_have_names_of_their_own() -> None:
    """Else kernels that different processes have cached share symbols, and run each other's code."""
    inside: dict[tuple[str, str], set[int]] = {}
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").startswith("numba_lstm."):
            pending = [value for value in vars(module).values() if hasattr(value, "py_func")]
            while pending:
                function = pending.pop().py_func
                cells = [cell.cell_contents for cell in function.__closure__ or ()]
                pending += [value for value in cells if hasattr(value, "py_func")]
                inside.setdefault((function.__module__, function.__qualname__), set()).add(id(function))
    assert any("exactly" in name for _, name in inside)
    assert [name for name, functions in inside.items() if len(functions) > 1] == []


def test_a_compiler_that_is_switched_off() -> None:
    """Kernels are nothing that Python could run: an error says what to do, at once, or at the first call."""
    catch = "try:\n    import numba_lstm\nexcept ImportError as error:\n    print(error)"
    said = run(catch, NUMBA_DISABLE_JIT="1").stdout
    assert "NUMBA_DISABLE_JIT (numba.config.DISABLE_JIT) switches off: unset it" in said
    late = """
import numba, numba_lstm
numba.config.DISABLE_JIT = 1
try:
    numba_lstm.warmup()
except RuntimeError as error:
    assert "NUMBA_DISABLE_JIT" in str(error)
numba.config.DISABLE_JIT = 0
numba_lstm.warmup()
numba.config.DISABLE_JIT = 1
"""
    assert run(late + CALL).stdout == run(CALL).stdout
