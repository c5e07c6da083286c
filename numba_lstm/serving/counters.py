"""What a batcher has done so far, for whatever collects figures of a service."""

from __future__ import annotations

from typing import Any


class Counters:
    """Numbers that only grow; a batcher's lock is held by whoever changes or reads them."""

    def __init__(self) -> None:
        self.opened = self.refused = self.steps = self.cancelled = self.failed = self.batches = 0
        self.waiting = self.computing = 0.0
        self._sizes: dict[int, int] = {}

    def count_batch(self, size: int) -> None:
        """Count a batch of so many sessions, under the next power of two."""
        self.batches += 1
        limit = 1 << (size - 1).bit_length()
        self._sizes[limit] = self._sizes.get(limit, 0) + 1

    def as_dict(self) -> dict[str, Any]:
        """Return what `Batcher.counters` describes, but for the sessions that are open."""
        return {
            "opened": self.opened,
            "refused": self.refused,
            "steps": self.steps,
            "cancelled": self.cancelled,
            "failed": self.failed,
            "batches": self.batches,
            "batch_sizes": dict(sorted(self._sizes.items())),
            "waiting_seconds": self.waiting,
            "computing_seconds": self.computing,
        }
