"""Print the AArch64 assembly of the serial kernel: ``python aarch64_code.py float32``, or ``float32 int8``.

The package is told that it runs on AArch64; Numba makes and optimises LLVM code on this machine; LLVM then writes the
assembly of the other one.  Here that can only be looked at; `tests/on_aarch64` runs the kernels, in an emulator.

It fails if a word that threads share is read or written without the order that `numba_lstm.kernels.crew` relies on: an
emulator on x86 has the order of x86, and would not show it.
"""

from __future__ import annotations

import re
import sys
import tempfile
from unittest import mock

import llvmlite.binding as llvm
from numba import config
from numba.core import codegen
from numba.core.codegen import JITCodeLibrary
from numba.core.registry import cpu_target

TRIPLE = "aarch64-unknown-linux-gnu"
FEATURES = "+neon,+dotprod"


class _CaughtError(BaseException):
    """Carries the code of the kernel out, before this machine tries to make its own of it."""


def kernel_code(dtype: str, form: str | None = None) -> str:
    """Return the LLVM code of what every launch calls."""
    cpu_target.target_context.codegen()  # Numba's own compiler stays on this machine
    with (
        mock.patch.object(llvm, "get_process_triple", return_value=TRIPLE),
        mock.patch.object(codegen, "get_host_cpu_features", return_value=FEATURES),
    ):
        import numba_lstm
        from numba_lstm.simd import jit, target

        assert (target.host().isa, target.host().dot) == ("neon", "dotprod")

    def catch(library: JITCodeLibrary) -> None:
        """Stand in for the step that makes machine code."""
        if isinstance(library, jit._WholeLibrary):
            raise _CaughtError(library.get_llvm_str())

    numba_lstm.set_num_threads(1)
    with mock.patch.object(JITCodeLibrary, "_finalize_specific", catch):
        try:
            numba_lstm.warmup(dtype, weights=form)
        except _CaughtError as caught:
            return str(caught)
    raise AssertionError("run_share is not compiled")


def assembly(code: str) -> str:
    """Return AArch64 assembly of LLVM code that was made for this machine."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple(TRIPLE).create_target_machine(features=FEATURES, opt=3)
    code = re.sub(
        r"^target datalayout = .*$", f'target datalayout = "{machine.target_data}"', code, flags=re.M
    )
    code = re.sub(r"^target triple = .*$", f'target triple = "{TRIPLE}"', code, flags=re.M)
    # Numba's reference counting is machine code of this machine already: a call to elsewhere stands in for it.
    code = re.sub(r"^declare .*@llvm\.x86\..*$", lambda line: line[0].replace("immarg", ""), code, flags=re.M)
    code = code.replace("@llvm.x86.", "@x86.")
    module = llvm.parse_assembly(code)
    module.verify()
    return str(machine.emit_assembly(module))


ORDERED = {
    "reads": (r"load atomic .* acquire", r"ldar|ldapr"),
    "writes": (r"store atomic .* release", r"stlr"),
    "both": (r"atomicrmw .* seq_cst|cmpxchg .* acq_rel acquire", r"stlxr|(?:swp|ldadd|cas)al"),
}
"""Operations on words that threads share: as LLVM writes them, and instructions of AArch64 that keep their order."""

ATOMIC = r"(?:load|store) atomic|atomicrmw|cmpxchg"
UNORDERED = r"ldxr|stxr|(?:swp|ldadd|cas)[al]?"
"""Instructions for such words that keep less of it."""


def check_order(code: str, made: str) -> None:
    """Raise AssertionError unless each operation of LLVM code on shared words is an ordered one in the assembly."""
    found = {}
    for name, (operation, instruction) in ORDERED.items():
        found[name] = len(re.findall(operation, code))
        emitted = len(re.findall(rf"^\s+(?:{instruction})\s", made, flags=re.M))
        assert found[name] == emitted > 0, f"{name}: {found[name]} in LLVM's code, {emitted} in the assembly"
    assert len(re.findall(ATOMIC, code)) == sum(found.values()), "an operation has another order"
    assert not re.findall(rf"^\s+(?:{UNORDERED})\s", made, flags=re.M)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:  # a cached kernel would be this machine's
        config.CACHE_DIR = folder
        code = kernel_code(*sys.argv[1:])
        made = assembly(code)
        check_order(code, made)
        print(made)
