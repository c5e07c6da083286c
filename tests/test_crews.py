"""Crews: threads that share the rows of a call give the bits of one thread, however many of them come."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cases import Shape, assert_same_bits, module, random_case

import numba_lstm
from numba_lstm import cost, plan
from numba_lstm.parameters import Architecture

SHAPES = {
    "one row": Shape(13, 100, 2, steps=9, rows=1),
    "one unit": Shape(3, 1, steps=5, rows=1),
    "two layers, one step": Shape(40, 64, 2, steps=1, rows=1),
    "some rows": Shape(24, 51, 3, steps=14, rows=7),
    "bidirectional": Shape(20, 52, 2, bidirectional=True, steps=30, rows=1),
    "bidirectional, some rows": Shape(20, 45, 2, bidirectional=True, steps=8, rows=9),
    "projected": Shape(12, 300, 2, proj_size=130, steps=6, rows=2),
    "projected, bidirectional": Shape(9, 40, 3, True, True, 21, 17, 3),
    "many steps": Shape(4, 33, 2, steps=700, rows=1),
}


def use_crew(monkeypatch: pytest.MonkeyPatch, size: int, patience: int = 20_000) -> None:
    """Have every plan from now on ask for a crew of this size."""
    monkeypatch.setattr(plan, "choose", lambda *sizes: cost.Way(1, size, patience))


@pytest.mark.parametrize("size", [2, 3, 4, 7])
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=("float32", "float64"))
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_same_bits(shape: Shape, dtype: type, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    case = random_case(shape, 3, dtype)
    use_crew(monkeypatch, 1)
    expected = module(case)(case.x, case.hx)
    expected_from_zero = module(case)(case.x)
    use_crew(monkeypatch, size)
    lstm = module(case)
    for _ in range(3):  # a crew may have another size each time
        assert_same_bits(lstm(case.x, case.hx), expected)
        assert_same_bits(lstm(case.x), expected_from_zero)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_same_bits_packed(bidirectional: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = Shape(11, 37, 3, bidirectional=bidirectional, steps=23, rows=6)
    case = random_case(shape, 5, np.float32)
    lengths = [3, 23, 1, 17, 17, 8]
    use_crew(monkeypatch, 1)
    expected = module(case)(case.x, case.hx, lengths=lengths)
    use_crew(monkeypatch, 2)
    assert_same_bits(module(case)(case.x, case.hx, lengths=lengths), expected)


@pytest.mark.parametrize("patience", [0, 1, 20_000])
def test_threads_that_come_late_leave(patience: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """More places than threads: some find the crew closed, after any time."""
    case = random_case(SHAPES["bidirectional"], 7, np.float32)
    use_crew(monkeypatch, 1)
    expected = module(case)(case.x, case.hx)
    use_crew(monkeypatch, 9, patience)
    lstm = module(case)
    for _ in range(200):
        assert_same_bits(lstm(case.x, case.hx), expected)


@pytest.mark.parametrize("way", [cost.Way(1, 1, 0), cost.Way(1, 2, 20_000), cost.Way(2, 1, 0), cost.Way(3, 1, 0)])
@pytest.mark.parametrize("steps_per_launch", [1, 4, 5])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_launches_that_end_between_steps(
    bidirectional: bool, steps_per_launch: int, way: cost.Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    """States go from launch to launch in the workspace, at even and odd steps."""
    case = random_case(Shape(9, 40, 2, bidirectional=bidirectional, steps=23, rows=6), 9, np.float32)
    use_crew(monkeypatch, 1)
    expected = module(case)(case.x, case.hx)
    monkeypatch.setattr(plan, "choose", lambda *sizes: way)
    lstm = module(case)
    monkeypatch.setattr(plan, "launch_steps", lambda *sizes: steps_per_launch)
    assert_same_bits(lstm(case.x, case.hx), expected)


ONE_CORE = """
import os, sys
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:1])
from cases import Shape, assert_same_bits, module, random_case
from numba_lstm import cost, plan

case = random_case(Shape(20, 52, 2, bidirectional=True, steps=30, rows=1), 1)
plan.choose = lambda *sizes: cost.Way(1, 1, 0)
expected = module(case)(case.x, case.hx)
plan.choose = lambda *sizes: cost.Way(1, 2, 1000)
lstm = module(case)
for _ in range(50):
    assert_same_bits(lstm(case.x, case.hx), expected)
"""


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("layer", ["omp", "workqueue"])
def test_one_core(layer: str, threads: int) -> None:
    """A worker that never starts, and two that take turns on a core: it takes longer, and does not hang."""
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "NUMBA_NUM_THREADS": str(threads),
        "NUMBA_THREADING_LAYER": layer,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }
    done = subprocess.run(
        [sys.executable, "-c", ONE_CORE], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    if "No threading layer could be loaded" in done.stderr:
        pytest.skip(f"no {layer} here")
    assert done.returncode == 0, done.stderr


def test_choices() -> None:
    """What is far from where two ways are equally fast."""
    float32 = np.dtype(np.float32)
    small, large = Architecture(1, 40), Architecture(1024, 1024, 2)
    assert cost.choose(small, float32, 1, 1, 2)[:2] == (1, 1)
    assert cost.choose(large, float32, 50, 1, 2)[:2] == (1, 2)
    assert cost.choose(Architecture(128, 256), float32, 64, 256, 2)[:2] == (2, 1)
    assert cost.choose(large, float32, 50, 256, 1)[:2] == (1, 1)
    assert cost.choose(large, float32, 50, 3, 8)[:2] == (1, 8)
    # Slices would each read all weights, from the L3 cache that they share.
    assert cost.choose(large, float32, 50, 8, 2)[:2] == (1, 2)


def test_default_is_a_crew_for_a_large_network() -> None:
    """The launch that users get, not one that this module asked for."""
    case = random_case(Shape(256, 256, 2, steps=20, rows=1), 11, np.float32)
    before = numba_lstm.get_num_threads()
    try:
        numba_lstm.set_num_threads(1)
        expected = module(case)(case.x, case.hx)
        numba_lstm.set_num_threads(2)
        assert_same_bits(module(case)(case.x, case.hx), expected)
    finally:
        numba_lstm.set_num_threads(before)
