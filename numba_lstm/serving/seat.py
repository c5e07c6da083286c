"""The rows that sessions have."""

from __future__ import annotations

from collections import deque


class Seat:
    """A row that a session has; at first none.

    Ctrl-C, or want of memory, may come in the middle of giving it back, which can then be asked for again: only a seat
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
