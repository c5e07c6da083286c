"""What a process pays before its first result, each in a fresh interpreter."""

from __future__ import annotations

import os
import sys
import tempfile

from .. import startup


def _warm(folder: str) -> startup.Start:
    """Return the lowest figures of starts whose kernels were compiled before."""
    return startup.fastest(startup.start("numba_lstm", sys.executable, folder) for _ in range(startup.REPEATS))


class Start:
    """Import, first call, and the memory of a small service."""

    def setup_cache(self) -> str:
        """Compile once, into a folder that the benchmarks share."""
        folder = os.path.abspath(tempfile.mkdtemp(dir="."))  # asv removes the current folder at the end
        startup.start("numba_lstm", sys.executable, folder)
        return folder

    def track_import(self, folder: str) -> float:
        """Return the time of the import alone."""
        return _warm(folder).import_seconds

    def track_first_call_from_cache(self, folder: str) -> float:
        """Return the time of a first call whose kernels were compiled before."""
        return _warm(folder).first_seconds

    def track_first_call_cold(self, folder: str) -> float:
        """Return the same without a compiled kernel at hand."""
        with tempfile.TemporaryDirectory() as empty:
            return startup.start("numba_lstm", sys.executable, empty).first_seconds

    def track_resident_memory(self, folder: str) -> float:
        """Return what a service has after its first step."""
        return _warm(folder).resident

    track_import.unit = "s"  # type: ignore[attr-defined]
    track_first_call_from_cache.unit = "s"  # type: ignore[attr-defined]
    track_first_call_cold.unit = "s"  # type: ignore[attr-defined]
    track_resident_memory.unit = "bytes"  # type: ignore[attr-defined]
