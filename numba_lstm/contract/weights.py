"""The parameters that a module has at a time."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from .parameter import Layouts, Parameter, plain_arrays


class Weights:
    """Parameters, and once they are needed, the same in the kernels' order.

    A change makes a new object, so that a call never sees half of it, and a network that another thread was
    packing meanwhile ends up with the parameters that it was made of.
    """

    __slots__ = ("_plain", "network", "parameters")

    def __init__(self, parameters: dict[str, Parameter]) -> None:
        self.parameters = parameters
        self.network: Any = None  # what a front end makes of them; the contract does not look inside
        self._plain: dict[str, np.ndarray] | None = None

    def changed(self, new: Mapping[str, Parameter]) -> Weights:
        return Weights({**self.parameters, **new})

    def plain(self, layouts: Callable[[], Layouts]) -> dict[str, np.ndarray]:
        """Return the parameters as plain arrays, which `plain_arrays` has once compared with their layouts."""
        if self._plain is None:
            self._plain = plain_arrays(self.parameters, layouts())
        return self._plain


class _Lock:
    """Held by the thread that replaces what it has just read."""

    lock = threading.RLock()

    @classmethod
    def after_fork(cls) -> None:
        """In a child: it may be held by a thread that is not there."""
        cls.lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_Lock.after_fork)


def changing() -> AbstractContextManager[Any]:
    """Return a lock for a change of any module, so that of two threads that change one, neither undoes the other."""
    return _Lock.lock
