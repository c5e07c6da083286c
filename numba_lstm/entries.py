"""Compiled functions: for each dtype what does the work, and the entries that Python calls."""
from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import from_dtype, int64, types
from numba.core import event
from numba.np.ufunc import parallel as threading_layer

from . import launch, layer
from ._jit import by_address, parallel_entry, serial_entry, short_entry
from .threads import get_num_threads

_log = logging.getLogger("numba_lstm")

_compile_lock = threading.Lock()
_ready: dict[tuple[str, Any], Any] = {}
_dispatchers: dict[tuple[str, Any], Any] = {}


class _Team:
    """Numba's threads, which one launch has at a time.

    With workqueue, two Python threads that launch together abort the process; with OpenMP, two spinning teams stall
    each other.  A child that was forked after a launch has no such threads, and OpenMP kills it when it launches.
    """

    lock = threading.Lock()
    lost = False

    @classmethod
    def after_fork(cls) -> None:
        """In a child: the lock may be held by a thread that is not there."""
        global _compile_lock
        cls.lock, _compile_lock = threading.Lock(), threading.Lock()
        cls.lost = cls.lost or bool(threading_layer._is_initialized)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_Team.after_fork)


class _Notice(event.Listener):
    """Says, once, why a first call takes seconds; loading compiled kernels is quick and does not come here."""

    def __init__(self) -> None:
        self.heard = False

    def on_start(self, event: event.Event) -> None:
        """Called by Numba when it starts to compile a function."""
        if not self.heard:
            self.heard = True
            _log.warning("compiling kernels, once on this machine; numba_lstm.warmup() does it ahead of time")

    def on_end(self, event: event.Event) -> None:
        """Called by Numba when it is done with a function."""


def _with_team(parallel: Any, dtype: np.dtype[Any]) -> Any:
    """Return a function that launches in parallel, or does the same on this thread if the team is not to be had."""

    def launch_or_run(*arguments: Any) -> None:
        lock = _Team.lock
        if _Team.lost or lock.locked():
            entry_for("serial", dtype)(*arguments)
            return
        with lock:  # the statement itself takes it: released whatever Ctrl-C interrupts
            parallel(*arguments)

    return launch_or_run


_KINDS: dict[str, tuple[Any, Any]] = {
    "serial": (serial_entry, launch.run_serial),
    "parallel": (parallel_entry, launch.run_parallel),
    "stream": (short_entry, launch.run_stream),
}


def _entry_signature(name: str, dtype: np.dtype[Any]) -> Any:
    scalar = from_dtype(dtype)
    if name == "stream":
        frame = types.Array(int64, 1, "C")
        return types.void(frame, types.Array(scalar, 2, "C", readonly=True), types.Array(scalar, 2, "C"))
    frame = types.Array(int64, 1, "C", readonly=True)
    flat, state = types.Array(scalar, 1, "C"), types.Array(scalar, 3, "C")
    source, target = types.Array(scalar, 3, "A", readonly=True), types.Array(scalar, 3, "A")
    return types.void(frame, flat, flat, source, target, state, state)


def _share_signature(dtype: np.dtype[Any]) -> Any:
    pointer: Any = types.CPointer
    array = pointer(from_dtype(dtype))
    rows = (array, int64, int64)
    return types.void(pointer(int64), array, array, array, array, *rows, *rows, int64)


def _compiled(key: tuple[str, Any], make: Callable[[], Any]) -> Any:
    """Return what was compiled under a key; the first thread that asks for it makes it."""
    if key not in _ready:
        with _compile_lock:
            if key not in _ready:
                start = time.perf_counter()
                made = make()
                _log.info("%s %s kernels ready after %.2f s", *key, time.perf_counter() - start)
                _ready[key] = made
    return _ready[key]


def share_address(dtype: np.dtype[Any]) -> int:
    """Return the address of ``layer.run_share``, compiled for a dtype: what launches of all kinds call."""

    def make() -> Any:
        with event.install_listener("numba:compile", _Notice()):
            return by_address(layer.run_share, _share_signature(dtype))

    address: int = _compiled(("all", dtype), make).address
    return address


def entry_for(name: str, dtype: np.dtype[Any]) -> Any:
    """Return an entry, compiled for a dtype.

    It takes arrays of the dtypes, axes and layouts of its signature, which the callers see to: it does not check.

    Parameters
    ----------
    name : {"serial", "parallel", "stream"}
        One of the functions ``run_...`` in ``launch``.
    dtype : float32 or float64
        Of all arrays but the frame.
    """

    def make() -> Any:
        policy, function = _KINDS[name]
        dispatcher = policy(function)
        dispatcher.compile(_entry_signature(name, dtype))
        (compiled,) = dispatcher.overloads.values()
        _dispatchers[name, dtype] = dispatcher
        # What the dispatcher would call when it has looked at the types of all arguments: 0.1 us less.
        return _with_team(compiled.entry_point, dtype) if name == "parallel" else compiled.entry_point

    return _compiled((name, dtype), make)


def cache_folder(dtype: np.dtype[Any]) -> str | None:
    """Return where the kernels of a dtype are kept, or None if nowhere."""
    entry_for("serial", dtype)
    path: str | None = _dispatchers["serial", dtype].stats.cache_path
    return path


def warmup(dtype: Any = np.float32) -> None:
    """Compile, or load from the cache, every kernel that calls of this dtype can need.

    Parameters
    ----------
    dtype : float32 or float64
        The dtype of the modules to come.

    Raises
    ------
    TypeError
        If it is another dtype.

    Examples
    --------
    >>> import numba_lstm
    >>> numba_lstm.warmup()
    """
    kind = np.dtype(dtype)
    if kind not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise TypeError(f"dtype should be float32 or float64, got: {kind}")
    share_address(kind)
    entry_for("serial", kind)
    entry_for("stream", kind)
    if get_num_threads() > 1:
        entry_for("parallel", kind)
