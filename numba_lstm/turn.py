"""One thread at a time, and an error for the others."""

from __future__ import annotations

import threading
from typing import NoReturn


class Turn:
    """A lock around an object that changes with every use; a second thread gets an error, not a wrong result.

    Parameters
    ----------
    owner : str
        What the error calls the object.

    Attributes
    ----------
    acquire, release : callable
        ``acquire(False)`` says whether it is this thread's turn; ``with`` does both.
    """

    def __init__(self, owner: str) -> None:
        lock = threading.Lock()
        self._owner = owner
        self.acquire, self.release = lock.acquire, lock.release

    def taken(self) -> RuntimeError:
        """Return the error for a thread that comes while another one is in."""
        return RuntimeError(f"this {self._owner} is in use by another thread: make one for each, or take turns")

    def __enter__(self) -> None:
        if not self.acquire(False):
            raise self.taken()

    def __exit__(self, *exception: object) -> None:
        self.release()

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"a {self._owner} cannot be copied or pickled: make another one of the same module")
