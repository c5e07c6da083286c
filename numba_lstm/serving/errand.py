"""What is done between two batches."""

from __future__ import annotations

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
