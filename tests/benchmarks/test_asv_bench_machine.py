"""What is measured of a machine: its bounds, and the costs that plans are made with."""

from __future__ import annotations

import dataclasses

import numba
import numpy as np
import pytest
from support.benchmarks import LIMITS

from asv_bench import costs, machine, shapes


def test_bound_is_the_slower_of_reading_and_arithmetic() -> None:
    # weight_hh has 65,536 bytes, read in every step at the speed of the next smaller array; weight_ih is read once, for
    # ten rows, whose arithmetic takes longer.
    few, many = shapes.Shape(32, 64, steps=10), shapes.Shape(32, 64, steps=10, batch=100)
    assert LIMITS.bound(few) == pytest.approx(10 * 2 * 8192 / 1e11 + 10 * 65_536 / 1e11)
    assert LIMITS.bound(many) == pytest.approx(many.flop() / 1e11)
    two = machine.Machine(*LIMITS[:3], threads=2)
    assert two.bound(many) == pytest.approx(many.flop() / 2e11)


@pytest.mark.parametrize("threads", [1, 2])
def test_machine_is_measured(threads: int) -> None:
    if threads > numba.config.NUMBA_NUM_THREADS:
        pytest.skip("one core")
    before = numba.get_num_threads()
    limits = machine.measure(threads=threads)
    assert numba.get_num_threads() == before
    assert limits.threads == threads
    assert limits.flop_per_second > 1e8
    assert all(speed > 1e7 for speed in limits.bytes_per_second.values())


def test_costs_are_measured(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """On one CPU what crews cost stays as it is; every number is one that plans can be made with."""
    monkeypatch.setattr(costs, "pin", lambda threads: [])
    monkeypatch.setitem(costs.ASSUMED, "cpus", 1)
    made = costs.measure()
    assert not {"way", "as_floats"} & costs.ASSUMED.keys()
    assert made.meet_ns == costs.costs().meet_ns
    assert made != costs.costs()
    assert all(np.isfinite(number) for number in dataclasses.asdict(made).values())
    costs.main([], lambda: made)
    assert f"    fma_ns={made.fma_ns!r},  # the table has {costs.costs().fma_ns!r}" in capsys.readouterr().out
