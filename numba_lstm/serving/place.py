"""Rows that sessions have, and what is done for them between two batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any


class Errand:
    """Something to be done between two batches."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self.future: Future[Any] = Future()
        self.future.set_running_or_notify_cancel()  # a task that waits for it may be cancelled, and others wait as well

    def do(self) -> None:
        try:
            result = self._function()
        except BaseException as error:  # whoever waits decides what it means
            self.future.set_exception(error)
        else:
            self.future.set_result(result)


class Place:
    """A row that a session has; at first none.

    Ctrl-C, or want of memory, may come in the middle of giving it back, which can then be asked for again: only a place
    that is taken is given back.
    """

    __slots__ = ("is_taken", "row")

    def __init__(self) -> None:
        self.row = -1
        self.is_taken = False

    def take(self, free: deque[int]) -> None:
        """Take the first row that is free."""
        self.row = free[0]
        # Ctrl-C comes when a function has returned: before this, or when all is done.
        self.is_taken = True
        free.popleft()
