"""What a process pays before its first result, each in a fresh interpreter."""
from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time

FIRST_CALL = "import numba_lstm as nl, numpy as np; nl.LSTM(8, 8)(np.zeros((2, 1, 8), np.float32))"


class Start:
    """Import and first call."""

    timeout = 300

    def setup_cache(self) -> str:
        """Compile once, into a folder that the benchmarks share."""
        folder = os.path.abspath(tempfile.mkdtemp(dir="."))  # asv removes the current folder at the end
        _seconds(FIRST_CALL, folder)
        return folder

    def timeraw_import(self, folder: str) -> str:
        """Time the import alone."""
        return "import numba_lstm"

    def track_first_call_from_cache(self, folder: str) -> float:
        """Return the time of a process that imports, loads the kernels and calls."""
        return min(_seconds(FIRST_CALL, folder) for _ in range(3))

    def track_first_call_cold(self, folder: str) -> float:
        """Return the same without a compiled kernel at hand."""
        with tempfile.TemporaryDirectory() as empty:
            return _seconds(FIRST_CALL, empty)

    track_first_call_from_cache.unit = "s"  # type: ignore[attr-defined]
    track_first_call_cold.unit = "s"  # type: ignore[attr-defined]


def _seconds(code: str, cache: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "NUMBA_CACHE_DIR": cache})
    return time.perf_counter() - start
