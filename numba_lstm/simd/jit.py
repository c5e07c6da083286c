"""The one jit policy: how every kernel of the package is compiled and cached.

``inner``
    A function that only other kernels call.  No Python wrapper is made for it and it is not cached on its own:
    its code becomes part of the entry that uses it.
``inlined``
    The same, for a function of a few instructions or with one caller: the call would cost more than it saves.
``chosen_by_types``
    What is compiled in the place of a function, by the types of its arguments.
``by_address``
    A function that other compiled functions call by its address: its code does not become part of theirs.
``serial_entry``, ``parallel_entry``, ``short_entry``
    A function that Python calls.  The first two release the GIL.

Machine code of the last four is kept on disk, see ``kernel_cache``.
"""
from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

import numba
from numba import types
from numba.core.ccallback import CFunc
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.core.typed_passes import NopythonRewrites
from numba.core.untyped_passes import InlineClosureLikes
from numba.extending import overload

from .kernel_cache import kernel_cache

# Without Numba's annotations, which leave out options that it takes, and this module.
njit: Any = numba.njit
dynfunc: Any = importlib.import_module("numba._dynfunc")

config: Any = numba.config

F = TypeVar("F", bound=Callable[..., Any])

# "numpy": a division by zero gives inf instead of a Python exception, so no kernel has an error path.
# No fastmath anywhere: it would let LLVM reorder sums, and results would depend on the batch and the target.
_OPTIONS: dict[str, Any] = {"error_model": "numpy", "boundscheck": False}


def _need_compiler(error: type[Exception]) -> None:
    """Say what is wrong where Numba is told not to compile: kernels are nothing that Python could run."""
    if config.DISABLE_JIT:
        raise error(
            "numba_lstm cannot work without Numba's compiler, which NUMBA_DISABLE_JIT (numba.config.DISABLE_JIT) "
            "switches off: unset it, or set it to 0 until numba_lstm.warmup() is done"
        )


_need_compiler(ImportError)


class _InnerLibrary(JITCodeLibrary):
    """The code of one inner function, to be linked into that of an entry and optimised there.

    Numba would link what each calls into it, optimise it on its own, and make machine code of it, which nobody calls.
    """

    _whole: Any = None

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout

    def finalize(self) -> None:
        self._raise_if_finalized()
        self._finalize_dynamic_globals()
        self._finalized = True

    def _get_module_for_linking(self) -> Any:
        """Return this function's code with all that it needs, each once."""
        if self._whole is None:
            whole = self._own().clone()
            for library in self._needed({self}):
                module = library._own() if isinstance(library, _InnerLibrary) else library._get_module_for_linking()
                whole.link_in(module, preserve=True)
            self._whole = whole  # now that it is: whatever Ctrl-C interrupts, the next call may ask for it
        return self._whole

    def _own(self) -> Any:
        """Return this function's code alone, which others may have been linked with before."""
        return super()._get_module_for_linking()

    def _needed(self, seen: set[Any]) -> Iterator[Any]:
        """Return the libraries that this one needs, and those that they need, but for what was seen."""
        for library in self._linking_libraries:
            if library not in seen:
                seen.add(library)
                yield library
                if isinstance(library, _InnerLibrary):
                    yield from library._needed(seen)


class _WholeLibrary(JITCodeLibrary):
    """The code of a function with all that it calls, optimised once.

    Numba would do so twice, with a search for reference counts in between: kernels have none.
    """

    def _optimize_final_module(self) -> None:
        self._optimize_functions(self._final_module)
        passes, builder = self._codegen._module_pass_manager()
        passes.run(self._final_module, builder)


_NEEDLESS = (InlineClosureLikes, NopythonRewrites)
"""Passes that look for closures to inline and for array expressions: kernels have none, and it takes 7 % of a first
call to find that out."""

_SIZES: dict[str, int] = {}
"""Bytes of LLVM's types, by their names."""


_SIGNATURES: dict[tuple[types.Function, tuple[types.Type, ...]], Any] = {}
"""What a call of an operator, of another function of Numba's or of an intrinsic was found to be, by the types of its
arguments, on which alone it depends."""


class _TypingContext:
    """Numba's typing context, with a memory.

    Numba tries all that an operator may mean, lists, sets and strings too, wherever it stands in the code, and kernels
    mean the same few things by it: half of the time that types take, and 8 % of a first call.
    """

    def __init__(self, context: Any) -> None:
        self._context = context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def resolve_function_type(self, function: Any, args: Any, kws: Any) -> Any:
        """Return the signature of a call.  Another of our kernels has a memory of its own, its dispatcher."""
        if type(function) is not types.Function or kws:
            return self._context.resolve_function_type(function, args, kws)
        known = _SIGNATURES.get((function, args))
        if known is None:
            known = _SIGNATURES[function, args] = self._context.resolve_function_type(function, args, kws)
        return known


class _WholeCompiler(Compiler):
    """Numba's compiler, with a library of this module and without what kernels do not need."""

    library: type[JITCodeLibrary] = _WholeLibrary

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        state = self.state
        state.typingctx = _TypingContext(state.typingctx)
        state.library = self.library(state.targetctx.codegen(), "numba_lstm")
        state.library.enable_object_caching()
        measure = state.targetctx.get_abi_sizeof  # of this compilation's own copy of the target context

        def get_abi_sizeof(llvm_type: Any) -> int:
            """llvmlite has LLVM parse a module for each answer, and Numba asks for every variable."""
            name = str(llvm_type)
            if name not in _SIZES:
                _SIZES[name] = measure(llvm_type)
            return _SIZES[name]

        state.targetctx.get_abi_sizeof = get_abi_sizeof

    def define_pipelines(self) -> Any:
        pipelines = super().define_pipelines()
        for pipeline in pipelines:
            pipeline.passes = [each for each in pipeline.passes if each[0] not in _NEEDLESS]
            pipeline.finalize()
        return pipelines


class _InnerCompiler(_WholeCompiler):
    """The compiler of inner functions, which stops where a function could be called from Python."""

    library = _InnerLibrary

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.state.targetctx.get_executable = self._not_executable

    @staticmethod
    def _not_executable(library: Any, fndesc: Any, env: Any) -> Any:
        """Return what stands for the function in the dispatcher; its address is 0."""
        return dynfunc.make_function(fndesc.lookup_module(), fndesc.qualname, "", 0, env, (library,))


_INNER: dict[str, Any] = {
    **_OPTIONS,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
    "pipeline_class": _InnerCompiler,
}


def _name_by_constants(function: Callable[..., Any]) -> None:
    """Make the constants of a function that was made within another a part of its name.

    Numba tells functions of one name apart by a number that it counts anew in every process.  Kernels of different
    processes, loaded from the cache into one, would have the same symbol for tiles of different sizes, and the code
    that comes first would serve both.
    """
    values = [cell.cell_contents for cell in function.__closure__ or ()]
    parts = [getattr(value, "__name__", value) for value in values]
    function.__name__ = "_".join(map(str, [function.__name__, *parts]))
    function.__qualname__ = "_".join(map(str, [function.__qualname__, *parts]))


def _inner(function: F, forceinline: bool) -> F:
    _name_by_constants(function)
    # forceinline is given because a function otherwise inherits it from the first caller that compiles it.
    compiled: Any = njit(forceinline=forceinline, **_INNER)(function)
    find = compiled.get_call_template

    def get_call_template(args: Any, kws: Any) -> Any:
        """Numba would compile the function, and all that it calls, once more for each literal number among args."""
        return find(tuple(map(types.unliteral, args)), kws)

    compiled.get_call_template = get_call_template
    return cast(F, compiled)


def inner(function: F) -> F:
    """Compile a function that only kernels call."""
    return _inner(function, forceinline=False)


def inlined(function: F) -> F:
    """Compile a function that only kernels call, into its callers."""
    return _inner(function, forceinline=True)


def chosen_by_types(function: Callable[..., Any]) -> Callable[[F], F]:
    """Return what decorates a function of types that returns what is to be compiled into the callers of ``function``.

    Numba's own ``inline="always"`` makes machine code of it beside that, with all that it calls, for nothing.
    """
    options: Any = {"forceinline": True, **_INNER}
    return cast(Callable[[F], F], overload(function, jit_options=options))


def _cached(compiled: Any, function: Callable[..., Any]) -> Any:
    _need_compiler(RuntimeError)  # it may be switched off later, too
    compiled._cache = kernel_cache(function)
    return compiled


def by_address(function: Callable[..., Any], signature: Any) -> Any:
    """Compile a function that compiled functions call; its attribute ``address`` is good as long as it is kept."""
    whole = signature.args, signature.return_type
    compiled = _cached(CFunc(function, whole, {}, _OPTIONS, pipeline_class=_WholeCompiler), function)
    compiled.compile()
    return compiled


def serial_entry(function: Callable[..., Any]) -> Any:
    """Compile a function that Python calls; serial."""
    return _cached(njit(nogil=True, no_cfunc_wrapper=True, **_OPTIONS)(function), function)


def short_entry(function: Callable[..., Any]) -> Any:
    """Compile a function that takes microseconds and keeps the GIL: who waits for it would keep it for longer."""
    return _cached(njit(no_cfunc_wrapper=True, **_OPTIONS)(function), function)


def parallel_entry(function: Callable[..., Any]) -> Any:
    """Compile a function that Python calls and that has ``prange`` loops."""
    return _cached(njit(nogil=True, parallel=True, no_cfunc_wrapper=True, **_OPTIONS)(function), function)
