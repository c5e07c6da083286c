"""Says, once, why a first call takes seconds."""

from __future__ import annotations

from collections.abc import Callable

from numba.core import event


class CompileNotice(event.Listener):
    """Hears when Numba compiles; loading compiled kernels is quick and does not come here.

    Parameters
    ----------
    tell : callable
        Is called the first time.

    Attributes
    ----------
    heard : bool
        Whether anything was compiled.
    """

    def __init__(self, tell: Callable[[], None]) -> None:
        self.heard = False
        self._tell = tell

    def on_start(self, event: event.Event) -> None:
        """Called by Numba when it starts to compile a function."""
        if not self.heard:
            self.heard = True
            self._tell()

    def on_end(self, event: event.Event) -> None:
        """Called by Numba when it is done with a function."""
