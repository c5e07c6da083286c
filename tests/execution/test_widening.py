"""Weights of 16 bits as floats: how they are made, when they are taken, and that nothing else changes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support.cases import Shape, parameter_shapes, random_case
from support.general_cells import named
from support.weight_forms import SIXTEEN_BITS, small_module, widening

from numba_lstm.contract.architecture import Architecture
from numba_lstm.contract.weight_form import dequantized, quantized
from numba_lstm.execution.network import Network
from numba_lstm.execution.packing import pack, widened
from numba_lstm.execution.planning.costs import COSTS
from numba_lstm.execution.planning.estimate import widens
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
    with widening(True):
        made = widened(a, pack(a, kept, SINGLE, rule, form))
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
    kept = {name: np.zeros(sizes, every.dtype) for name, sizes in parameter_shapes(Shape(4, 1 << 12)).items()}
    kept["weight_ih_l0"] = np.where(np.isnan(every), np.nan, every).astype(every.dtype).reshape(1 << 14, 4)
    kept |= {name: array.astype(np.float32) for name, array in kept.items() if name.startswith("bias_")}
    check_floats(Architecture(4, 1 << 12), kept, form, None)


# --- when ---------------------------------------------------------------------------------------------------
def chosen(family: str, form: str, sizes: tuple[int, ...], steps: int, rows: int, threads: int = 1) -> bool:
    machine = this_machine()._replace(threads=threads, cpus=threads, l2_bytes=2 << 20, costs=COSTS[family])
    return widens(Architecture(*sizes), Numerics(SINGLE, form), steps, rows, machine)


@pytest.mark.parametrize("sizes", [(128, 128), (256, 256), (1024, 1024)])
def test_where_widening_takes_nothing_weights_stay_small(sizes: tuple[int, ...]) -> None:
    for family in ("zen4", "zen5"):
        for form in SIXTEEN_BITS:
            assert not any(chosen(family, form, sizes, 20, rows) for rows in (0, 1, 8, 64))


@pytest.mark.skipif(block_sizes().lanes(SINGLE) != 16, reason="costs are those of such vectors")
def test_what_takes_the_time_of_float32() -> None:
    """Weights that L2 keeps, and batches, on a CPU whose multiply-adds wait while it widens."""
    assert all(chosen("avx512", "float16", (256, 256), 20, rows) for rows in (1, 4, 8, 64))
    assert [chosen("avx512", "bfloat16", (256, 256), 20, rows) for rows in (1, 8, 64)] == [False, True, True]
    assert [chosen("avx512", "float16", (1024, 1024), 20, rows) for rows in (1, 2, 16)] == [False, False, True]
    assert [chosen("avx512", "float16", (480, 480), 20, rows, 2) for rows in (1, 8)] == [False, True]
    assert not chosen("avx512", "float16", (256, 256, 3), 1, 1)
    assert not chosen("avx512", "int8", (256, 256), 20, 64)
    sizes, machine = Architecture(1024, 1024), this_machine()._replace(threads=1, cpus=1, costs=COSTS["avx512"])
    long, short = np.full(50, 16), np.array([16, *[1] * 49])
    numerics = Numerics(SINGLE, "float16")
    assert [widens(sizes, numerics, 50, 16, machine, each) for each in (long, short)] == [True, False]


@in_16_bits
def test_a_network_has_both(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = network_of(Shape(40, 70, 2), form)
    plans = {}
    for choice in (False, True):
        monkeypatch.setitem(ASSUMED, "widens", choice)
        plans[choice] = network.plan(Batch(5, 3))
    assert plans[False].data is network.weights.data
    assert plans[True].data.size > 1.5 * plans[False].data.size
    with ThreadPoolExecutor(8) as pool:
        assert all(plan.data is plans[True].data for plan in pool.map(network.plan, [Batch(5, 3)] * 64))


@in_16_bits
def test_a_stream_goes_on_in_floats(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = random_case(Shape(40, 70, 2, steps=12, rows=3), 1)
    lstm = small_module(case, form)
    expected, _ = lstm(case.x)
    stream, parts = lstm.stream(batch_size=3), []
    for index, (first, last) in enumerate(((0, 1), (1, 4), (4, 5), (5, 12))):
        monkeypatch.setitem(ASSUMED, "widens", index % 2 == 1)
        parts.append(stream.step(case.x[first:last]))
    assert np.concatenate(parts).tobytes() == expected.tobytes()
