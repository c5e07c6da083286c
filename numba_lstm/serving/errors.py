"""What a service may refuse, and its callers tell apart."""

from __future__ import annotations


class FullError(RuntimeError):
    """Raised when ``max_sessions`` sessions are open."""


class ClosedError(RuntimeError):
    """Raised when a session or its `Batcher` has been closed."""
