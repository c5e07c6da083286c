"""Compiled functions: for each dtype what does the work, and the entries that Python calls."""
from __future__ import annotations

import contextlib
import gc
import importlib
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numba import from_dtype, int64, types
from numba.core import event

from ..contract.checks.arrays import float_dtype
from ..contract.checks.constructor import boolean
from ..contract.weight_form import FORMS
from ..host.threads import get_num_threads
from ..kernels import launch, linear
from ..kernels.share import share_of
from ..simd.array_objects import ArrayObject
from ..simd.jit import by_address, parallel_entry, serial_entry, short_entry
from .compile_notice import CompileNotice
from .launch_lock import compile_lock, with_team
from .packing import HALVES

_log = logging.getLogger("numba_lstm")

_ready: dict[tuple[str, Any], Any] = {}
_dispatchers: dict[tuple[str, Any], Any] = {}


_KINDS: dict[str, tuple[Any, Any]] = {
    "serial": (serial_entry, launch.run_serial),
    "parallel": (parallel_entry, launch.run_parallel),
    "pool": (serial_entry, launch.run_pool),
    "pool parallel": (parallel_entry, launch.run_pool_parallel),
    "short": (short_entry, launch.run_short),
    "linear": (serial_entry, linear.run_linear),
}


def _entry_signature(name: str, dtype: np.dtype[Any]) -> Any:
    scalar = from_dtype(dtype)
    if name == "linear":
        weights = types.Array(scalar, 1, "C", readonly=True)
        source, target = types.Array(scalar, 3, "A", readonly=True), types.Array(scalar, 3, "A")
        return types.void(source, weights, weights, target)
    numbers, array = ArrayObject(int64), ArrayObject(scalar)
    if name in ("short", "pool", "pool parallel"):
        return int64(numbers, array, array)
    return (int64 if name == "parallel" else types.void)(numbers, *[array] * 6)


def _share_signature(dtype: np.dtype[Any]) -> Any:
    pointer: Any = types.CPointer
    array = pointer(from_dtype(dtype))
    rows = (array, int64, int64)
    return types.void(pointer(int64), array, array, array, array, *rows, *rows, int64)


@contextlib.contextmanager
def _collector_off() -> Iterator[None]:
    """Leave garbage for later: compilation makes millions of objects, and to look at them takes a tenth of its time."""
    enabled = gc.isenabled()
    try:
        gc.disable()  # in here, since Ctrl-C may come just after it
        yield
    finally:
        if enabled:
            gc.enable()


def _compiled(key: tuple[str, Any], make: Callable[[], Any]) -> Any:
    """Return what was compiled under a key; the first thread that asks for it makes it."""
    if key not in _ready:
        with compile_lock:
            if key not in _ready:
                start = time.perf_counter()
                with _collector_off():
                    made = make()
                _log.info("%s %s kernels ready after %.2f s", *key, time.perf_counter() - start)
                _ready[key] = made
    return _ready[key]


_ASKED_FOR = {"general": "cells='all'", "kept": "gradients=True", "backward": "gradients=True"}
"""What `warmup` is to be told of kinds of cells, and of the backward pass."""


def _address(kind: str, dtype: np.dtype[Any], form: str | None, find: Callable[[], Callable[..., Any]]) -> int:
    """Return the address of a function that launches call, compiled for a dtype; say so if that takes long."""

    def make() -> Any:
        single = dtype == np.float32  # which is the default
        options = ["" if single else repr(dtype.name), f"weights={form!r}" if form else "", _ASKED_FOR.get(kind, "")]
        call = f"warmup({', '.join(filter(None, options))})"
        text = f"compiling kernels, once on this machine; numba_lstm.{call} does it ahead of time"
        notice = CompileNotice(lambda: _log.warning(text))
        with event.install_listener("numba:compile", notice):
            return by_address(find(), _share_signature(dtype))

    address: int = _compiled((" ".join(filter(None, (kind, form))), dtype), make).address
    return address


def share_address(dtype: np.dtype[Any], form: str | None = None, cells: str = "plain") -> int:
    """Return the address of what launches of all kinds call, compiled for a dtype and what ``share_of`` takes."""
    return _address(cells, dtype, form, lambda: share_of(form, cells))


def backward_address(dtype: np.dtype[Any]) -> int:
    """Return the address of what launches of the backward pass call, compiled for a dtype."""
    # Imported by those who ask for gradients, of which `import numba_lstm` knows nothing.
    module = "..kernels.gradients.share"
    return _address("backward", dtype, None, lambda: importlib.import_module(module, __package__).run_gradients)


def entry_for(name: str, dtype: np.dtype[Any]) -> Any:
    """Return an entry, compiled for a dtype.

    Those of calls take arrays as ``launch`` says, and look at nothing; those of pools refuse what they cannot use.

    Parameters
    ----------
    name : {"serial", "parallel", "pool", "pool parallel", "short", "linear"}
        One of the functions ``run_...`` in ``launch``, or that in ``linear``.
    dtype : float32 or float64
        Of all arrays but the first.
    """

    def make() -> Any:
        policy, function = _KINDS[name]
        dispatcher = policy(function)
        dispatcher.compile(_entry_signature(name, dtype))
        (compiled,) = dispatcher.overloads.values()
        _dispatchers[name, dtype] = dispatcher
        # What the dispatcher would call when it has looked at the types of all arguments: 0.1 us less.
        entry = compiled.entry_point
        serial = {"parallel": "serial", "pool parallel": "pool"}.get(name)
        return with_team(entry, entry_for(serial, dtype)) if serial else entry

    return _compiled((name, dtype), make)


def cache_folder(dtype: np.dtype[Any]) -> str | None:
    """Return where the kernels of a dtype are kept, or None if nowhere."""
    entry_for("serial", dtype)
    path: str | None = _dispatchers["serial", dtype].stats.cache_path
    return path


def warmup(
    dtype: Any = np.float32, *, cells: str = "torch", weights: str | None = None, gradients: bool = False
) -> None:
    """Compile, or load from the cache, the kernels of calls and streams of this dtype.

    Parameters
    ----------
    dtype : float32 or float64
        The dtype of the modules to come, in any spelling that these take.
    cells : {"torch", "all"}
        Whether cells that torch does not have, which files of ONNX and Keras may ask for, are to come as well: other
        activations, peepholes, coupled gates, clipping.  They take seconds more to compile.
    weights : {"float16", "bfloat16", "int8"}, optional
        The form of quantized modules to come, see `LSTM.form`; by default, and with the dtype's own name, none are.
        With ``"int8"`` only its kernels are compiled: `warmup()` does it for float32.
    gradients : bool
        Whether `LSTM.vjp` and `LSTM.trace` are to come as well.

    Raises
    ------
    TypeError
        If it is another dtype, or gradients is no bool.
    ValueError
        If cells or weights are something else.

    Notes
    -----
    Where calls may use one thread only, what several need is left out; the command ``numba-lstm warmup`` compiles it
    in any case.  The kernel of `serving.Linear` is compiled when the first such layer is made.

    Examples
    --------
    >>> import numba_lstm
    >>> numba_lstm.warmup()
    """
    kind = float_dtype(dtype)
    boolean("gradients", gradients)
    if cells not in ("torch", "all"):
        raise ValueError(f"cells should be 'torch' or 'all', got: {cells!r}")
    form = None if weights == kind.name else weights
    if form is not None and (form not in FORMS or kind != np.float32):
        raise ValueError(f"weights should be one of {', '.join(FORMS)} and dtype float32, got: {weights!r} and {kind}")
    for packed in (form, None) if form in HALVES else (form,):  # small weights of these are widened when packed
        share_address(kind, packed)
        if cells == "all" and packed != "int8":  # which is for torch's cells
            share_address(kind, packed, cells="general")
    if gradients:
        share_address(kind, cells="kept")
        backward_address(kind)
    several = get_num_threads() > 1
    for name in ("serial", "pool", "short", *(("parallel", "pool parallel") if several else ())):
        entry_for(name, kind)
