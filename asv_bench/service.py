"""A small service, in a process of its own: imports a library and runs one step of 128 units.

usage: python service.py 'numba_lstm'|'numba_lstm int8'|'torch'

Prints, as JSON, the seconds of the import and of the first step, and the memory that is then resident.  ``startup``
runs this file as it stands, with whatever interpreter has the library.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

SIZE = 128


def resident_bytes() -> int:
    """Return the memory that this process has now, or where that is not known, the most that it ever had."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) * 1024
    except (OSError, StopIteration):
        import resource  # not on Windows

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def import_numba_lstm() -> Callable[[], object]:
    """Return a first step."""
    import numpy as np

    import numba_lstm

    numba_lstm.set_num_threads(1)
    return lambda: numba_lstm.LSTM(SIZE, SIZE)(np.zeros((1, 1, SIZE), np.float32))


def import_numba_lstm_int8() -> Callable[[], object]:
    """Return a first step with weights in int8."""
    import numpy as np

    import numba_lstm

    numba_lstm.set_num_threads(1)
    return lambda: numba_lstm.LSTM(SIZE, SIZE).quantize("int8")(np.zeros((1, 1, SIZE), np.float32))


def import_torch() -> Callable[[], object]:
    """Return a first step."""
    import torch

    torch.set_num_threads(1)

    def step() -> object:
        with torch.inference_mode():
            return torch.nn.LSTM(SIZE, SIZE)(torch.zeros(1, 1, SIZE))

    return step


SERVICES = {"numba_lstm": import_numba_lstm, "numba_lstm int8": import_numba_lstm_int8, "torch": import_torch}


def main(name: str) -> None:
    """Serve once."""
    start = time.perf_counter()
    step = SERVICES[name]()
    imported = time.perf_counter()
    step()
    done = time.perf_counter()
    print(json.dumps({"import": imported - start, "first": done - imported, "resident": resident_bytes()}))


if __name__ == "__main__":
    main(sys.argv[1])
