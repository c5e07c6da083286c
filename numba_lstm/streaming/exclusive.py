"""One thread at a time, and an error for the others."""

from __future__ import annotations

import threading
from typing import NoReturn


class Exclusive:
    """What changes with every use: a second thread gets an error, not a wrong result."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def _free_lock(self) -> threading.Lock:
        """Return the lock, for a ``with`` block, or raise RuntimeError if it is taken.

        Entered by the ``with`` statement itself, it is released whatever Ctrl-C interrupts.
        """
        if self._lock.locked():
            name = type(self).__name__
            raise RuntimeError(f"this {name} is in use by another thread: make one for each, or take turns")
        return self._lock

    def __reduce__(self) -> NoReturn:
        name = type(self).__name__
        raise TypeError(f"a {name} cannot be copied or pickled: make another one of the same module")
