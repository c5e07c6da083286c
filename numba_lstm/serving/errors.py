"""What a service may refuse, and its callers tell apart."""

from __future__ import annotations


class FullError(RuntimeError):
    """As many sessions are open as a `Batcher` has places for."""


class ClosedError(RuntimeError):
    """A session or its `Batcher` has been closed."""
