"""Locks that a fork takes: in the child nobody would ever give back those that other threads have."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

_awaited: list[tuple[Any, Callable[[], bool]]] = []
"""Locks, each with what says whether this thread has it, in the order in which a fork takes them."""

_held: list[Any] = []
"""Those that a fork has taken, in order."""


def wait_for(lock: Any, is_owned: Callable[[], bool] | None = None) -> None:
    """Have every fork from now on wait until no other thread has a lock.

    Parameters
    ----------
    lock : RLock, or what can be taken again by the thread that has it
        Those of earlier calls are taken before this one.
    is_owned : callable, optional
        Whether this thread has it; an RLock says so itself.
    """
    _awaited.append((lock, is_owned or lock._is_owned))


def _before_fork() -> None:
    """Take them all; what this thread has already, it goes on with in the child as well."""
    global _held
    missing = [(lock, is_owned) for lock, is_owned in _awaited if not is_owned()]
    raised: BaseException | None = None
    while not all(is_owned() for _, is_owned in missing):
        try:
            for lock, is_owned in missing:
                if not is_owned():
                    lock.acquire()
        except BaseException as error:  # of a signal's handler, as of Ctrl-C: Python would fork nevertheless
            raised = error
    _held = [lock for lock, _ in missing]
    if raised is not None:
        raise raised  # which Python prints


def _after_fork() -> None:
    global _held
    held, _held = _held, []
    for lock in reversed(held):
        lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
