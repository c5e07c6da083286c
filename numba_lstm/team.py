"""Numba's threads: who may launch on them, and what becomes of locks when a process forks."""
from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

from numba.core.compiler_lock import global_compiler_lock
from numba.np.ufunc import parallel as threading_layer

from .frame import CREW, SLICES
from .threads import config

compile_lock = threading.RLock()
"""Held by the thread that compiles kernels."""


class _Team:
    """Numba's threads, which one launch has at a time.

    With workqueue, two Python threads that launch together abort the process; with OpenMP, two spinning teams stall
    each other.  A child that was forked after a launch has no such threads, and OpenMP kills it when it launches.
    """

    lost = False
    locks: tuple[threading.Lock, ...]
    """The first one's holder launches.  Each of the others is held by a thread that works by itself for want of it, so
    that the number of such threads is known; there are enough of them for the question that ``_shared`` asks."""

    @classmethod
    def new_locks(cls) -> None:
        """Nobody holds one."""
        cls.locks = tuple(threading.Lock() for _ in range(1 + max(1, config.NUMBA_NUM_THREADS // 2)))

    @classmethod
    def after_fork(cls) -> None:
        """In a child: locks may be held by threads that are not there."""
        cls.new_locks()
        cls.lost = cls.lost or bool(threading_layer._is_initialized)


_Team.new_locks()


_held: list[Any] = []
"""Locks that a fork has taken, in order."""


def _before_fork() -> None:
    """Wait until no other thread compiles: in the child nobody would ever finish it and give the locks back."""
    for lock in (compile_lock, global_compiler_lock):
        lock.acquire()
        _held.append(lock)


def _after_fork() -> None:
    global _held
    held, _held = _held, []
    for lock in reversed(held):
        lock.release()


def _after_fork_in_child() -> None:
    _after_fork()
    _Team.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)


def _wise(frame: Any, taken: list[bool]) -> bool:
    """Return whether a launch should take the team, beside other calls that run."""
    return not taken[0] and 2 * (1 + sum(taken)) <= frame[CREW] * frame[SLICES]


def with_team(parallel: Callable[..., None], serial: Callable[..., None]) -> Callable[..., None]:
    """Return a function that launches in parallel, or does the same on this thread if that is not possible or not wise.

    It is not wise where other Python threads keep the cores busy: members of a crew that wait for one without a core
    would take the time of those that could use it.  So a call takes the team as long as calls that each have a thread
    would leave half of the team's cores idle.
    """

    def launch_or_run(frame: Any, *arrays: Any) -> None:
        locks = _Team.locks
        taken = [lock.locked() for lock in locks]
        # All locks are taken by ``with`` itself: released whatever Ctrl-C interrupts.
        if not _Team.lost and (True not in taken or _wise(frame, taken)):
            with locks[0]:
                parallel(frame, *arrays)
        elif all(taken[1:]):
            serial(frame, *arrays)
        else:
            with locks[taken.index(False, 1)]:
                serial(frame, *arrays)

    return launch_or_run
