"""Weights in 16 and 8 bits, bit for bit: those of 16 as float32 weights that were rounded, those of 8 as themselves
in other company.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from support.cases import Case, Shape, assert_same_bits, module, random_case
from support.general_cells import named
from support.weight_forms import FORMS, SIXTEEN_BITS, as_floats, rounded, rounded_case, small_module

import numba_lstm
from numba_lstm.contract.architecture import Architecture
from numba_lstm.contract.weight_form import quantized
from numba_lstm.execution.network import Network
from numba_lstm.kernels.cells.cell_rule import SIGMOID, CellRule

each_form = pytest.mark.parametrize("form", FORMS)
in_16_bits = pytest.mark.parametrize("form", SIXTEEN_BITS)


@pytest.fixture(autouse=True)
def kernels_that_widen() -> Iterator[None]:
    """Nothing here may be a test of float32's kernels only."""
    with as_floats(False):
        yield


def row_by_row(lstm: Any, case: Case) -> Any:
    """Return what each row gives alone, step by step where there is one direction."""
    output, h_n, c_n = [], [], []
    for row in range(case.shape.rows):
        x, h, c = (np.ascontiguousarray(array[:, row : row + 1]) for array in case[2:])
        parts = []
        for part in [x] if case.shape.bidirectional else np.split(x, len(x)):
            y, (h, c) = lstm(part, (h, c))
            parts.append(y)
        output.append(np.concatenate(parts))
        h_n.append(h)
        c_n.append(c)
    return np.concatenate(output, 1), (np.concatenate(h_n, 1), np.concatenate(c_n, 1))


def check(case: Case, form: str) -> None:
    """Compare a batch with what it should have the bits of."""
    lstm = small_module(case, form)
    expected = module(rounded_case(case, form))(case.x, case.hx) if form in SIXTEEN_BITS else row_by_row(lstm, case)
    assert_same_bits(lstm(case.x, case.hx), expected, f"{case.shape} {form}")


# --- sizes and options --------------------------------------------------------------------------------------
@each_form
@pytest.mark.parametrize("hidden_size", range(1, 131))
def test_every_hidden_size(hidden_size: int, form: str) -> None:
    rows, input_size = 1 + hidden_size % 20, 1 + hidden_size % 70
    check(random_case(Shape(input_size, hidden_size, steps=3, rows=rows), hidden_size), form)
    check(random_case(Shape(3, hidden_size, 2, bidirectional=bool(hidden_size % 2), rows=1), hidden_size), form)


@each_form
@pytest.mark.parametrize("input_size", [*range(1, 131), 255, 256, 257, 300])
def test_every_input_size(input_size: int, form: str) -> None:
    shape = Shape(input_size, 1 + input_size % 37, steps=2, rows=1 + input_size % 9)
    check(random_case(shape, input_size), form)


@each_form
@pytest.mark.parametrize("rows", [*range(1, 21), 24, 31, 32, 64, 100])
def test_every_batch(rows: int, form: str) -> None:
    for hidden_size in (5, 16, 49):
        check(random_case(Shape(11, hidden_size, steps=3, rows=rows), rows), form)
        check(random_case(Shape(6, hidden_size, 2, bidirectional=True, steps=3, rows=rows), rows), form)


@each_form
@pytest.mark.parametrize("proj_size", [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 66, 127, 128, 129, 130])
def test_every_projection_tail(proj_size: int, form: str) -> None:
    for hidden_size in (proj_size + 1, 2 * proj_size + 5, 140):
        shape = Shape(5, hidden_size, proj_size=proj_size, rows=1 + proj_size % 8)
        check(random_case(shape, proj_size), form)
    check(random_case(Shape(5, proj_size + 3, 2, True, True, proj_size, rows=3), proj_size), form)


@each_form
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("proj_size", [0, 6])
def test_every_combination_of_options(
    proj_size: int, bias: bool, num_layers: int, bidirectional: bool, form: str
) -> None:
    check(random_case(Shape(9, 19, num_layers, bias, bidirectional, proj_size, steps=6, rows=3), num_layers), form)


@pytest.mark.usefixtures("threads")
@each_form
@pytest.mark.parametrize(
    "shape",
    [
        Shape(300, 140, 2, steps=4, rows=6),
        Shape(40, 64, 2, True, True, steps=20, rows=13),
        Shape(260, 257, bidirectional=True, proj_size=131, steps=3, rows=2),
        Shape(16, 200, 3, steps=30, rows=33),
        Shape(200, 600, steps=3, rows=1),
    ],
    ids=str,
)
def test_large_on_one_thread_and_two(shape: Shape, form: str) -> None:
    case = random_case(shape, 1)
    for count in (1, 2):
        numba_lstm.set_num_threads(count)
        check(case, form)


@each_form
def test_no_states_equal_zero_states(form: str) -> None:
    case = random_case(Shape(9, 21, 2, True, True, 5, 12, 4), 1)
    lstm = small_module(case, form)
    assert_same_bits(lstm(case.x), lstm(case.x, (np.zeros_like(case.h_0), np.zeros_like(case.c_0))))


@each_form
def test_what_was_called_before_changes_nothing(form: str) -> None:
    case = random_case(Shape(30, 50, 2, True, True, 0, 20, 6), 1)
    lstm = small_module(case, form)
    first = lstm(case.x, case.hx)
    lstm(random_case(Shape(30, 50, 2, steps=90, rows=19), 2).x)  # leaves other numbers in the workspace
    lstm(np.full((3, 6, 30), np.nan, np.float32))
    assert_same_bits(lstm(case.x, case.hx), first)
    assert_same_bits(small_module(case, form)(case.x, case.hx), first)


@each_form
def test_zeros_that_are_appended_change_nothing(form: str) -> None:
    """Neither to what is read of weights and inputs, nor to the scale of a row of either."""
    case = random_case(Shape(20, 30, steps=6, rows=5), 3)
    wide = {n: (np.pad(v, ((0, 0), (0, 11))) if n == "weight_ih_l0" else v) for n, v in case.state_dict.items()}
    x = np.pad(case.x, ((0, 0), (0, 0), (0, 11)))
    wider = Case(Shape(31, 30, steps=6, rows=5), wide, x, *case.hx)
    if form in SIXTEEN_BITS:  # int8 inputs would share a scale
        x[..., 20:] = np.random.default_rng(1).standard_normal((6, 5, 11))
    assert_same_bits(small_module(wider, form)(x, case.hx), small_module(case, form)(case.x, case.hx))


# --- numbers ------------------------------------------------------------------------------------------------
def test_rounding_by_hand() -> None:
    """Ties go to even, numbers below the normal ones have fewer bits, signs stay."""
    halves = [1 + 2**-11, 1 + 3 * 2**-11, 1 + 2**-11 + 2**-20, 2**-25, 3 * 2**-25, -(2**-14) - 2**-25, -0.0, 65504]
    expected = [1, 1 + 2**-9, 1 + 2**-10, 0, 2**-23, -(2**-14), 0, 65504]
    np.testing.assert_array_equal(rounded(np.float32(halves), "float16"), np.float32(expected))
    halves = [1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, 2**-134, 3 * 2**-134, -0.0, 3.38e38]
    expected = [1, 1 + 2**-6, 1 + 2**-7, 0, 2**-132, 0, 255 * 2.0**120 - 2.0**120]
    np.testing.assert_array_equal(rounded(np.float32(halves), "bfloat16"), np.float32(expected))


@in_16_bits
@pytest.mark.parametrize("special", [[], [np.nan], [-np.inf, 65519]], ids=["finite", "nan", "inf"])
def test_what_is_kept_are_the_nearest_numbers(form: str, special: list[float]) -> None:
    rng = np.random.default_rng(3)
    weight = (rng.standard_normal((400, 300)) * np.exp2(rng.integers(-40, 13, (400, 300)))).astype(np.float32)
    weight[7, : len(special)] = special
    kept = quantized({"weight_hh_l0": weight}, form)["weight_hh_l0"]
    assert kept.astype(np.float32).tobytes() == rounded(weight, form).tobytes()


def test_what_is_kept_in_int8_are_the_nearest_steps() -> None:
    """The largest of a row is 127 or -127; no other step is nearer, but for what float32 takes for a tie."""
    rng = np.random.default_rng(4)
    weight = (rng.standard_normal((600, 77)) * np.exp2(rng.integers(-100, 100, (600, 1)))).astype(np.float32)
    kept = quantized({"weight_hh_l0": weight}, "int8")
    steps, scales = kept["weight_hh_l0"].astype(np.float64), kept["weight_hh_l0_scale"].astype(np.float64)
    np.testing.assert_allclose(scales, np.abs(weight).max(axis=1) / 127.0, rtol=2.0**-24)
    rows, largest = np.arange(600), np.abs(weight).argmax(axis=1)
    np.testing.assert_array_equal(steps[rows, largest], 127 * np.sign(weight[rows, largest]))
    assert np.abs(steps).max() == 127
    ladder = np.arange(-127, 128) * scales[:, None]
    nearest = np.abs(weight[:, :, None] - ladder[:, None]).min(axis=2)
    error = np.abs(weight - steps * scales[:, None])
    assert (error <= nearest + 127 * 2.0**-24 * scales[:, None]).all()


@in_16_bits
def test_every_number_of_16_bits(form: str) -> None:
    """Also those below the normal ones of float16, which are normal in float32."""
    patterns = np.arange(1 << 16, dtype=np.uint16)
    if form == "float16":
        with np.errstate(invalid="ignore"):  # Arm says so of a NaN that signals
            every = patterns.view(np.float16).astype(np.float32)
    else:
        every = (patterns.astype(np.uint32) << 16).view(np.float32)
    every[~np.isfinite(every)] = 0
    case = random_case(Shape(1, 1 << 14, bias=False, proj_size=1, steps=1, rows=4), 1)
    x, h_0 = np.zeros_like(case.x), np.zeros_like(case.h_0)
    x[0, :2, 0], h_0[0, 2:, 0] = (2.0**-12, 2.0**8), (2.0**-12, 2.0**8)
    for name in ("weight_ih_l0", "weight_hh_l0"):
        for turn in (0, 1 << 14):  # the output gate is seen only through the projection
            weights = {**case.state_dict, "weight_ih_l0": np.zeros((1 << 16, 1), np.float32)}
            weights["weight_hh_l0"] = weights["weight_ih_l0"]
            weights[name] = np.roll(every, turn)[:, None]
            check(Case(case.shape, weights, x, h_0, case.c_0), form)


@in_16_bits
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("name", ["weight_ih_l0", "weight_hh_l0", "weight_hh_l1_reverse", "weight_hr_l1"])
def test_weights_that_are_not_finite(name: str, value: float, form: str) -> None:
    """0 * inf is NaN: no product may be left out because a state is zero."""
    case = random_case(Shape(3, 10, 2, True, True, 4, steps=3, rows=2), 8)
    case.state_dict[name].flat[5] = value
    check(case, form)
    lstm, plain = small_module(case, form), module(rounded_case(case, form))
    assert_same_bits(lstm(case.x), plain(case.x), f"{name} {value}")


@in_16_bits
@pytest.mark.parametrize("scale", [0.0, 1e-6, 1e-3, 30.0, 3000.0])
def test_magnitudes(scale: float, form: str) -> None:
    check(random_case(Shape(12, 21, bidirectional=True, steps=3, rows=20), 3, scale=scale), form)


@in_16_bits
def test_cells_with_a_rule_of_their_own(form: str) -> None:
    sizes = Architecture(7, 37, 2, True, True, 0)
    rule = CellRule(
        ((SIGMOID, named("Softsign"), named("Elu")), (named("HardSigmoid"), named("Tanh"), named("Relu"))),
        clip=1.5,
        peepholes=tuple(np.full((3, 37), 0.1 * index) for index in range(4)),
    )
    case = random_case(Shape(7, 37, 2, True, True, 0, steps=5, rows=6), 2)
    single = np.dtype(np.float32)
    small = Network(sizes, quantized(case.state_dict, form), single, rule, form)
    plain = Network(sizes, rounded_case(case, form).state_dict, single, rule)
    for ours, expected in zip(
        small(case.x, *case.hx, batch_first=False), plain(case.x, *case.hx, batch_first=False), strict=True
    ):
        assert ours.tobytes() == expected.tobytes()
