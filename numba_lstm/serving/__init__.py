"""Many callers of one network: steps that wait together are computed together.

`Batcher` takes steps from tasks of asyncio or from threads, each of a session with a state of its own, and takes those
that wait through the network as one batch.  Nobody's result depends on who else was there.
"""

from __future__ import annotations

from .. import public
from .batcher import Batcher
from .errors import ClosedError, FullError
from .linear import Linear
from .session import Session

__all__ = ["Batcher", "ClosedError", "FullError", "Linear", "Session"]

public.publish(globals())
