"""Results against the float64 oracle and against golden files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import oracle
from support.cases import (
    Case,
    Shape,
    assert_close,
    assert_same_bits,
    both_dtypes,
    drawn_shape,
    flat,
    module,
    random_case,
)
from support.places import GOLDEN

import numba_lstm

DTYPES = (np.float32, np.float64)
def check(shape: Shape, seed: int, dtype: type, scale: float = 1.0) -> None:
    """Compare a random case with the oracle, from zero states and from given ones."""
    case = random_case(shape, seed, dtype, scale)
    lstm = module(case)
    assert_close(lstm(case.x), oracle.lstm(case.state_dict, case.x), f"{shape}")
    assert_close(
        lstm(case.x, case.hx), oracle.lstm(case.state_dict, case.x, *case.hx), f"{shape} with states"
    )


@both_dtypes
@pytest.mark.parametrize("hidden_size", range(1, 131))
def test_every_hidden_size(hidden_size: int, dtype: type) -> None:
    rows, input_size = 1 + hidden_size % 20, 1 + hidden_size % 70
    check(Shape(input_size, hidden_size, steps=3, rows=rows), hidden_size, dtype)
    # Two layers: the hidden size is the second one's input size.
    check(Shape(3, hidden_size, 2, bidirectional=bool(hidden_size % 2), rows=1), hidden_size, dtype)


@both_dtypes
@pytest.mark.parametrize("input_size", [*range(1, 71), 127, 128, 129, 255, 256, 257, 300])
def test_every_input_size(input_size: int, dtype: type) -> None:
    check(Shape(input_size, 1 + input_size % 37, steps=2, rows=1 + input_size % 9), input_size, dtype)


@both_dtypes
@pytest.mark.parametrize("rows", [*range(1, 21), 24, 31, 32, 64, 100])
@pytest.mark.parametrize("hidden_size", [5, 16, 49])
def test_every_batch(rows: int, hidden_size: int, dtype: type) -> None:
    check(Shape(11, hidden_size, steps=4, rows=rows), rows, dtype)
    check(Shape(6, hidden_size, 2, bidirectional=True, steps=3, rows=rows), rows, dtype)


@both_dtypes
@pytest.mark.parametrize(
    "proj_size", [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 66, 127, 128, 129, 130]
)
def test_every_projection_tail(proj_size: int, dtype: type) -> None:
    for hidden_size in (proj_size + 1, 2 * proj_size + 5, 140):
        check(Shape(5, hidden_size, proj_size=proj_size, rows=1 + proj_size % 8), proj_size, dtype)
    check(Shape(5, proj_size + 3, 2, True, True, proj_size, rows=3), proj_size, dtype)


@both_dtypes
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("num_layers", [1, 2, 3, 4])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("proj_size", [0, 6])
def test_every_combination_of_options(
    proj_size: int, bias: bool, num_layers: int, bidirectional: bool, dtype: type
) -> None:
    check(Shape(9, 19, num_layers, bias, bidirectional, proj_size, steps=6, rows=3), num_layers, dtype)


@both_dtypes
@pytest.mark.parametrize("steps", [1, 2, 3, 17, 63, 64, 65, 128, 300])
@pytest.mark.parametrize("rows", [1, 7])
def test_lengths(rows: int, steps: int, dtype: type) -> None:
    check(Shape(13, 24, steps=steps, rows=rows), steps, dtype)
    check(Shape(3, 8, 2, bidirectional=True, steps=steps, rows=rows), steps, dtype)


@both_dtypes
@pytest.mark.parametrize(
    "shape",
    [
        Shape(300, 140, 2, steps=4, rows=6),  # sums of more than one block, in both parts
        Shape(20, 520, steps=2, rows=13),
        Shape(260, 257, bidirectional=True, proj_size=131, steps=3, rows=2),
        Shape(16, 200, 3, steps=70, rows=33),
    ],
    ids=str,
)
def test_large(shape: Shape, dtype: type) -> None:
    check(shape, 1, dtype)


@given(data=st.data())
def test_random_shapes(data: st.DataObject) -> None:
    draw = data.draw
    shape = drawn_shape(draw, 12, 20)
    check(shape, draw(st.integers(0, 2**32 - 1), label="seed"), draw(st.sampled_from(DTYPES), label="dtype"))


@both_dtypes
@pytest.mark.parametrize("scale", [0.0, 1e-3, 30.0, 3000.0])
def test_magnitudes(scale: float, dtype: type) -> None:
    """Gates far inside and far beyond saturation; all weights zero.

    One step and no projection: large weights make a network multiply its own rounding errors.
    """
    check(Shape(12, 21, bidirectional=True, steps=1, rows=20), 3, dtype, scale)


@both_dtypes
def test_saturated_gates_count(dtype: type) -> None:
    """Open gates and g = 1 make the cell count the steps; a closed output gate hides it."""
    size = 5
    bias = np.repeat(np.array([200.0, 200.0, 200.0, 200.0], dtype), size)
    lstm = numba_lstm.LSTM(1, size, dtype=dtype)
    state = {n: np.zeros_like(v) for n, v in lstm.state_dict().items()}
    lstm.load_state_dict({**state, "bias_ih_l0": bias})
    output, (h_n, c_n) = lstm(np.zeros((40, 3, 1), dtype))
    np.testing.assert_array_equal(c_n, 40)
    np.testing.assert_array_equal(h_n, 1)
    bias[3 * size :] = -800
    lstm.load_state_dict({**state, "bias_ih_l0": bias})
    output, (h_n, c_n) = lstm(np.zeros((40, 3, 1), dtype))
    np.testing.assert_array_equal(c_n, 40)
    np.testing.assert_array_equal(output, 0)


@both_dtypes
@pytest.mark.parametrize("proj_size", [0, 4])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("where", ["x", "h_0", "c_0"])
def test_inf_and_nan_stay_in_their_row(
    where: str, value: float, bidirectional: bool, proj_size: int, dtype: type
) -> None:
    shape = Shape(7, 18, 2, True, bidirectional, proj_size, steps=5, rows=9)
    case = random_case(shape, 5, dtype)
    lstm = module(case)
    clean = lstm(case.x, case.hx)
    for row in (0, 4, 8):
        x, h_0, c_0 = (a.copy() for a in (case.x, *case.hx))
        target = {"x": x, "h_0": h_0, "c_0": c_0}[where]
        target[min(2, len(target) - 1), row, 1] = value
        spoilt = lstm(x, (h_0, c_0))
        assert_close(spoilt, oracle.lstm(case.state_dict, x, h_0, c_0), f"{where}[{row}] = {value}")
        others = np.arange(9) != row
        without = tuple(a[:, others] for a in flat(clean))
        with_it = tuple(a[:, others] for a in flat(spoilt))
        assert_same_bits(_pair(with_it), _pair(without), f"beside {where}[{row}] = {value}")


def _pair(arrays: tuple[np.ndarray, ...]) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    return arrays[0], (arrays[1], arrays[2])


@both_dtypes
def test_all_inputs_infinite(dtype: type) -> None:
    """One infinite term saturates its gates; the result is finite."""
    case = random_case(Shape(1, 6, steps=4, rows=3), 2, dtype)
    x = np.tile(np.array([np.inf, -np.inf, np.nan], dtype)[:, None], (4, 1, 1))
    assert_close(module(case)(x), oracle.lstm(case.state_dict, x))


@both_dtypes
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize(
    "name", ["weight_ih_l0", "weight_hh_l0", "bias_hh_l0", "weight_hh_l1_reverse", "weight_hr_l1"]
)
def test_weights_that_are_not_finite(name: str, value: float, dtype: type) -> None:
    """0 * inf is NaN: no product may be left out because a state is zero."""
    case = random_case(Shape(3, 10, 2, True, True, 4, steps=3, rows=2), 8, dtype)
    case.state_dict[name].flat[5] = value
    lstm = module(case)
    assert_close(lstm(case.x), oracle.lstm(case.state_dict, case.x), name)
    assert_close(lstm(case.x[:1]), oracle.lstm(case.state_dict, case.x[:1]), name)


@both_dtypes
@pytest.mark.parametrize("proj_size", [0, 4])
@pytest.mark.parametrize("rows", [1, 7])
def test_denormals_count_as_zeros(rows: int, proj_size: int, dtype: type) -> None:
    """Denormals times huge numbers are not small; here they are nothing at all."""
    shape = Shape(5, 18, bias=False, proj_size=proj_size, steps=1, rows=rows)
    tiny, huge = np.finfo(dtype).smallest_normal / dtype(7), np.finfo(dtype).max / dtype(100)
    assert float(tiny) * float(huge) > 0.001
    zeros = random_case(shape, 4, dtype, scale=0.0)
    case = Case(shape, *(np.zeros_like(a) if isinstance(a, np.ndarray) else a for a in zeros[1:]))
    nothing = module(case)(case.x, case.hx)
    for array in flat(nothing):
        np.testing.assert_array_equal(array, 0)

    def lstm(**values: float) -> Any:
        return module(
            case._replace(state_dict={n: np.full_like(v, values.get(n, 0)) for n, v in zeros[1].items()})
        )

    x, h_0, c_0 = (np.full_like(a, tiny) for a in case[2:])
    assert_same_bits(lstm(weight_ih_l0=huge)(x, case.hx), nothing, "x")
    assert_same_bits(lstm(weight_hh_l0=huge)(case.x, (h_0, case.c_0)), nothing, "h_0")
    assert_same_bits(module(case)(case.x, (case.h_0, c_0)), nothing, "c_0")
    x, h_0, _ = (np.full_like(a, huge) for a in case[2:])
    assert_same_bits(lstm(weight_ih_l0=tiny)(x, case.hx), nothing, "weight_ih")
    assert_same_bits(lstm(weight_hh_l0=tiny)(case.x, (h_0, case.c_0)), nothing, "weight_hh")


@both_dtypes
def test_denormals_among_numbers(dtype: type) -> None:
    case = random_case(Shape(9, 20, 2, steps=6, rows=4), 4, dtype)
    lstm = module(case)
    tiny = np.finfo(dtype).smallest_normal / dtype(7)
    mask = np.random.default_rng(0).random(case.x.shape) < 0.5
    assert_same_bits(lstm(np.where(mask, case.x, tiny)), lstm(np.where(mask, case.x, dtype(0))))


def test_zero_input_and_no_bias_give_zero() -> None:
    case = random_case(Shape(4, 17, 2, False, True, steps=5, rows=3), 6)
    for array in flat(module(case)(np.zeros_like(case.x))):
        np.testing.assert_array_equal(array, 0)


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.npz")), ids=lambda p: p.stem)
def test_golden(path: Path) -> None:
    """Figures of torch, without torch."""
    with np.load(path, allow_pickle=False) as file:
        data = dict(file)
    options = json.loads(str(data["about"]))["options"]
    state_dict = {n[2:]: v for n, v in data.items() if n.startswith("p.")}
    expected = oracle.lstm(state_dict, data["x"], data["h_0"], data["c_0"])
    for name, value in zip(("output", "h_n", "c_n"), expected[:3], strict=True):
        np.testing.assert_allclose(value, data[name], rtol=0, atol=1e-12)  # the oracle itself
    for dtype in DTYPES:
        lstm = numba_lstm.LSTM(**options, dtype=dtype)
        lstm.load_state_dict(state_dict)
        hx = data["h_0"].astype(dtype), data["c_0"].astype(dtype)
        got = lstm(data["x"].astype(dtype), hx)
        assert_close(got, oracle.Result(data["output"], data["h_n"], data["c_n"], *expected[3:]), path.stem)


def test_golden_files_are_there() -> None:
    assert len(list(GOLDEN.glob("*.npz"))) >= 7
