"""Which weights are taken to stay in L2, and what a plan makes of it."""

from __future__ import annotations

import numpy as np
import pytest

from numba_lstm.contract.architecture import Architecture
from numba_lstm.execution.packing import pack
from numba_lstm.execution.planning import plan, residency
from numba_lstm.execution.planning.machine import ASSUMED, Way, this_machine
from numba_lstm.execution.planning.numerics import Numerics
from numba_lstm.execution.planning.schedule import Batch
from numba_lstm.kernels.frame import PLACES
from numba_lstm.simd import blocksizes

FLOAT = Numerics(np.dtype(np.float32))


def architecture(inputs: int, hidden: int, layers: int = 1, bidirectional: bool = False, proj: int = 0) -> Architecture:
    return Architecture(inputs, hidden, layers, True, bidirectional, proj)


@pytest.fixture(autouse=True)
def two_mebibytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ASSUMED, "l2_bytes", 2 << 20)
    monkeypatch.setitem(ASSUMED, "way", Way(1, 1, 0))


@pytest.mark.parametrize(
    ("sizes", "crew", "kept"),
    [
        ((128, 128), 1, (True, True, True, True)),  # 256 + 256 KiB
        ((128, 256), 1, (True, True, True, True)),  # 0.5 + 1 MiB
        ((128, 256, 2), 1, (True, False, False, True)),
        ((128, 256, 2), 2, (True, True, False, True)),  # each its half
        ((128, 256, 1, True), 1, (True, True, False, True)),
        ((128, 256, 1, True), 2, (True, True, True, True)),  # each its direction
        ((400, 1150), 1, (False, False, False, True)),
        ((1024, 1024, 2), 1, (False, False, False, False)),  # 64 MiB
        ((512, 512, 1, False, 64), 1, (True, False, False, True)),  # 0.5 MiB and the projection
    ],
    ids=str,
)
def test_what_stays(sizes: tuple[int, ...], crew: int, kept: tuple[bool, ...]) -> None:
    assert residency.kept_weights(architecture(*sizes), FLOAT, crew, this_machine())[:4] == kept


@pytest.mark.parametrize(
    ("hidden", "dtype", "share"),
    [
        (256, np.float32, (1, 1)),  # 1 MiB for a direction
        (400, np.float32, (2, 2)),  # 2.4 MiB: half of them stay
        (256, np.float64, (2, 2)),
        (1024, np.float32, (1, 1)),  # 16 MiB: no way keeps them
    ],
)
def test_directions_take_turns_where_half_of_one_stays(hidden: int, dtype: type, share: tuple[int, int]) -> None:
    numerics = Numerics(np.dtype(dtype))
    assert residency.core_share(architecture(40, hidden, 1, True), numerics, 2, this_machine()) == share


def planned(sizes: Architecture, steps: int, rows: int) -> dict[str, int]:
    parameters = {name: np.zeros(shape, FLOAT.dtype) for name, shape in sizes.shapes().items()}
    made = plan.make_plan(sizes, pack(sizes, parameters, FLOAT.dtype), Batch(steps, rows), this_machine())
    return {name: int(made.numbers[place]) for name, place in PLACES._asdict().items()}


def test_small_networks_stream_nothing() -> None:
    made = planned(architecture(40, 64, 2), 60, 4)
    assert made["streamed_ih"] == made["streamed_steps"] == 0
    assert made["span"] == made["chunk"]


def test_layers_that_push_each_other_out_stream_once_a_chunk() -> None:
    made = planned(architecture(40, 256, 3), 60, 32)
    assert made["chunk"] > 1
    assert (made["streamed_ih"], made["streamed_steps"]) == (1, 1)
    assert made["span"] == made["chunk"]


def test_what_exceeds_the_cache_streams_in_every_step() -> None:
    made = planned(architecture(16, 700), 30, 8)
    assert made["chunk"] > 1
    assert made["streamed_steps"] == made["chunk"]


def test_large_networks_go_layer_by_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ASSUMED, "l3_room", 1 << 20)
    made = planned(architecture(40, 256, 2), 30, 32)
    assert made["span"] == 30
    assert made["chunk"] < 30


@pytest.mark.parametrize(
    ("family", "sizes", "steps", "pairs"),
    [
        ("", (128, 128), 1, 1),
        ("zen4", (128, 128), 1, 1),
        ("zen5", (1, 40), 1, 1),  # in L1
        ("zen5", (128, 128), 1, 0),
        ("zen5", (480, 480, 3), 1, 1),  # 22 MB
        ("zen5", (480, 480, 3), 50, 0),  # 3.7 MB again and again
        ("zen5", (40, 1024), 50, 1),
    ],
)
def test_one_row_takes_panels_in_turn(
    family: str, sizes: tuple[int, ...], steps: int, pairs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ASSUMED, "panels_in_turn", blocksizes.FETCHING[family].in_turn)
    assert planned(architecture(*sizes), steps, 1)["pairs"] == pairs
