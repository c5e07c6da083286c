"""What workers of other libraries are asked, in a module that they can import."""

from __future__ import annotations

import os
import sys
from typing import Any

UNSET = """
import os
for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.pop(name, None)
os.environ |= {environment!r}
"""
"""Begins a program, before anything is imported: threads are what they are on this machine, but for an environment."""


def program(code: str, environment: dict[str, str] | None = None) -> str:
    """Return a program for `support.processes.run` whose processes have the default numbers of threads."""
    return UNSET.format(environment=environment or {}) + code


def answer(seed: Any = 0) -> tuple[int, bytes, int]:
    """Return how many threads a call here may use, the bits of one, and which process this is."""
    import numpy as np

    import numba_lstm as nl

    lstm = nl.LSTM(20, 70, num_layers=2, bidirectional=True, seed=0).eval()
    x = np.random.default_rng(0).standard_normal((9, 16, 20)).astype(np.float32)
    output, (h_n, c_n) = lstm(x)
    return nl.get_num_threads(), output.tobytes() + h_n.tobytes() + c_n.tobytes(), os.getpid()


def check(answers: list[tuple[int, bytes, int]], threads: int) -> None:
    """Check what workers have answered: they had so many threads, the bits of here, and were not this process."""
    _, bits, here = answer()
    found = [(own, own_bits == bits, process != here) for own, own_bits, process in answers]
    if found != [(threads, True, True)] * len(answers) or not answers:
        sys.exit(f"expected {threads} threads, the same bits, another process, got {found}")
