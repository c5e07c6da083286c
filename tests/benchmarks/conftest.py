"""The tests of the benchmarks: how these are found, and what each test leaves as it was."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest
from support.places import ROOT

if (ROOT / "asv_bench").is_dir():
    sys.path.append(str(ROOT))  # at the end: an installed numba_lstm goes before the sources
else:
    collect_ignore_glob = ["test_*.py"]  # no benchmarks beside the tests


@pytest.fixture(autouse=True)
def _torch_as_it_was() -> Iterator[None]:
    """Put back what an engine, which has a process of its own elsewhere, sets for all of torch."""
    try:
        import torch
    except ImportError:
        yield
        return
    before = torch.backends.mkldnn.enabled, torch.get_num_threads()
    yield
    torch.backends.mkldnn.enabled = before[0]
    torch.set_num_threads(before[1])


@pytest.fixture(autouse=True)
def _tiny(threads: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Time for as short as can be, and put back the threads and the CPUs that commands choose."""
    from asv_bench import timing

    monkeypatch.setattr(timing, "BUDGET", 1e-4)
    affinity = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    yield
    if affinity:
        os.sched_setaffinity(0, affinity)
