"""Weights of 16 bits as float32: how they are made, when they are taken, and that nothing else changes."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier

import numpy as np
import pytest
from support.cases import Shape, assert_same_bits, parameter_shapes, random_case
from support.general_cells import named
from support.weight_forms import SIXTEEN_BITS, small_module
from support.weight_forms import as_floats as assumed

from numba_lstm.contract.architecture import Architecture
from numba_lstm.contract.weight_form import dequantized, quantized
from numba_lstm.execution import network as networks
from numba_lstm.execution.network import Network
from numba_lstm.execution.packing import PackedWeights, as_floats, pack
from numba_lstm.execution.planning.costs import COSTS
from numba_lstm.execution.planning.estimate import faster_as_floats
from numba_lstm.execution.planning.machine import ASSUMED, this_machine
from numba_lstm.execution.planning.numerics import Numerics
from numba_lstm.execution.planning.schedule import Batch
from numba_lstm.kernels.cells.cell_rule import SIGMOID, CellRule
from numba_lstm.simd.blocksizes import block_sizes

SINGLE = np.dtype(np.float32)
in_16_bits = pytest.mark.parametrize("form", SIXTEEN_BITS)


OPTIONS = [(1, False, 0), (2, True, 0), (2, True, 1), (1, False, 40)]


def network_of(shape: Shape, form: str, rule: CellRule | None = None) -> Network:
    kept = quantized(random_case(shape, 1).state_dict, form)
    return Network(Architecture(**shape.options), kept, SINGLE, rule, form)


@in_16_bits
@pytest.mark.parametrize("hidden", [1, 3, 5, 9, 16, 17, 24, 33, 61, 64, 130])
@pytest.mark.parametrize(("layers", "bidirectional", "proj_size"), OPTIONS)
def test_floats_are_what_packing_makes_of_them(
    layers: int, bidirectional: bool, proj_size: int, hidden: int, form: str
) -> None:
    a = Architecture(7, hidden, layers, bidirectional, bidirectional, min(proj_size, hidden - 1))
    rng = np.random.default_rng(hidden)
    parameters = {name: rng.standard_normal(sizes, np.float32) for name, sizes in a.shapes().items()}
    kept = quantized(parameters, form)
    check_floats(a, kept, form, None)


def check_floats(a: Architecture, kept: dict[str, np.ndarray], form: str, rule: CellRule | None) -> None:
    with assumed(True):
        made = as_floats(a, pack(a, kept, SINGLE, rule, form))
    expected = pack(a, dequantized(kept, form), SINGLE, rule)
    np.testing.assert_array_equal(made.cells, expected.cells)
    assert made.data.tobytes() == expected.data.tobytes()
    assert made[2:] == expected[2:]


@in_16_bits
def test_rules_keep_their_numbers(form: str) -> None:
    shape = Shape(7, 37, 2, bidirectional=True)
    peepholes = tuple(np.full((3, 37), 0.1 * index) for index in range(4))
    functions = (SIGMOID, named("Softsign"), named("Elu")), (named("HardSigmoid"), named("Tanh"), named("Relu"))
    kept = quantized(random_case(shape, 2).state_dict, form)
    check_floats(Architecture(**shape.options), kept, form, CellRule(functions, clip=1.5, peepholes=peepholes))


@in_16_bits
def test_every_number(form: str) -> None:
    """Also those that are no normal ones, infinities, and a NaN."""
    bits = np.arange(1 << 16, dtype=np.uint16)
    every = bits.view(np.float16) if form == "float16" else (bits.astype(np.uint32) << 16).view(np.float32)
    kept = {name: np.zeros(sizes, every.dtype) for name, sizes in parameter_shapes(Shape(256, 64)).items()}
    kept["weight_ih_l0"] = np.where(np.isnan(every), np.nan, every).astype(every.dtype).reshape(256, 256)
    kept |= {name: array.astype(np.float32) for name, array in kept.items() if name.startswith("bias_")}
    check_floats(Architecture(256, 64), kept, form, None)


# --- when ---------------------------------------------------------------------------------------------------
def chosen(family: str, form: str, sizes: tuple[int, ...], steps: int, rows: int, threads: int = 1) -> bool:
    machine = this_machine()._replace(threads=threads, cpus=threads, l2_bytes=2 << 20, costs=COSTS[family])
    return faster_as_floats(Architecture(*sizes), Numerics(SINGLE, form), steps, rows, machine)


@in_16_bits
def test_where_units_of_their_own_widen_weights_stay_as_they_are(form: str) -> None:
    for family in ("zen4", "zen5"):
        for sizes in ((128, 128), (1024, 1024)):
            assert not any(chosen(family, form, sizes, 20, rows) for rows in (0, 1, 8, 64))


@pytest.mark.skipif(block_sizes().lanes(SINGLE) != 16, reason="costs are those of such vectors")
def test_what_takes_the_time_of_float32() -> None:
    """Weights that L2 keeps, and batches, on a CPU whose multiply-adds wait while it widens."""
    half, brain = (partial(chosen, "avx512", form) for form in SIXTEEN_BITS)
    assert [half((256, 256), 20, rows) for rows in (0, 1, 4, 8, 64)] == [False, True, True, True, True]
    assert [brain((256, 256), 20, rows) for rows in (1, 8, 64)] == [False, True, True]
    assert [half((1024, 1024), 20, rows) for rows in (1, 2, 4, 16)] == [False, False, False, True]
    # Each of two threads keeps nearly all of its half.
    assert [half((480, 480), 20, rows, 2) for rows in (1, 8)] == [False, True]
    assert [half((256, 256, layers), 1, 1) for layers in (1, 3)] == [False, False]
    assert half((128, 128), 1, 1)
    assert [half((64, 512, 1, True, False, proj), 20, 1) for proj in (0, 64)] == [False, True]
    for both in (False, True):
        assert all(half((64, 256, 1, True, both), 20, 1, threads) for threads in (1, 2))
    assert not chosen("avx512", "int8", (256, 256), 20, 64)


@pytest.mark.skipif(block_sizes().lanes(SINGLE) != 16, reason="costs are those of such vectors")
def test_rows_that_end_early_do_not_count() -> None:
    long, short = np.full(50, 16), np.array([16, *[1] * 49])
    machine = this_machine()._replace(threads=1, cpus=1, l2_bytes=2 << 20, costs=COSTS["avx512"])
    numerics = Numerics(SINGLE, "float16")
    found = [faster_as_floats(Architecture(1024, 1024), numerics, 50, 16, machine, sizes) for sizes in (long, short)]
    assert found == [True, False]


# --- a network that has both --------------------------------------------------------------------------------
@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[PackedWeights]:
    """Copies that networks make from now on."""
    copies: list[PackedWeights] = []

    def make(architecture: Architecture, packed: PackedWeights) -> PackedWeights:
        copy = as_floats(architecture, packed)
        time.sleep(0.05)  # for other threads to come in between
        copies.append(copy)
        return copy

    monkeypatch.setattr(networks, "as_floats", make)
    return copies


@in_16_bits
def test_threads_make_one_copy(form: str, made: list[PackedWeights], monkeypatch: pytest.MonkeyPatch) -> None:
    network = network_of(Shape(40, 70, 2), form)
    monkeypatch.setitem(ASSUMED, "as_floats", False)
    assert network.plan(Batch(5, 3)).data is network.weights.data
    monkeypatch.setitem(ASSUMED, "as_floats", True)
    barrier = Barrier(8)

    def planned(_: int) -> np.ndarray:
        barrier.wait()
        return network.plan(Batch(5, 3)).data

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(planned, range(8)))
    assert len(made) == 1
    assert all(data is made[0].data for data in found)


@in_16_bits
def test_a_stream_goes_on_in_floats(form: str, made: list[PackedWeights], monkeypatch: pytest.MonkeyPatch) -> None:
    case = random_case(Shape(40, 70, 2, steps=12, rows=3), 1)
    lstm = small_module(case, form)
    monkeypatch.setitem(ASSUMED, "as_floats", False)
    expected, _ = lstm(case.x)
    stream, parts = lstm.stream(batch_size=3), []
    for first, last, choice in ((0, 1, False), (1, 4, True), (4, 5, True), (5, 12, False)):
        monkeypatch.setitem(ASSUMED, "as_floats", choice)
        parts.append(stream.step(case.x[first:last]))
        assert len(made) == (first > 0)
    assert np.concatenate(parts).tobytes() == expected.tobytes()


@in_16_bits
def test_calls_go_on_without_memory_for_a_copy(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = random_case(Shape(40, 70, 2, steps=5, rows=3), 1)
    lstm = small_module(case, form)
    monkeypatch.setitem(ASSUMED, "as_floats", False)
    expected = lstm(case.x, case.hx)

    def fail(architecture: Architecture, packed: PackedWeights) -> PackedWeights:
        raise MemoryError

    monkeypatch.setattr(networks, "as_floats", fail)
    monkeypatch.setitem(ASSUMED, "as_floats", True)
    assert_same_bits(small_module(case, form)(case.x, case.hx), expected)
