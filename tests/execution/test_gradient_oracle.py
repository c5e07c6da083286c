"""The oracle of gradients: against finite differences, against the oracle of values, and against torch's autograd."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from support import gradient_oracle, oracle
from support.cases import Case, Shape, random_case
from support.gradient_cases import named, random_given

SHAPES = {
    "plain": Shape(2, 3, steps=3, rows=2),
    "biasless": Shape(3, 2, 2, bias=False, steps=3, rows=2),
    "projected": Shape(2, 4, 2, proj_size=2, steps=3, rows=3),
    "bidirectional": Shape(2, 3, 2, bidirectional=True, steps=4, rows=2),
    "everything": Shape(1, 3, 3, True, True, 2, 3, 3),
}
RAGGED = {2: [2, 4], 3: [1, 3, 2]}
"""Lengths by the number of rows."""

every_kind = pytest.mark.parametrize(
    ("name", "ragged", "dropped"), list(product(SHAPES, (False, True), (False, True)))
)


def arguments(name: str, ragged: bool, dropped: bool) -> tuple[Case, dict[str, Any]]:
    """Return a case in float64, and its lengths and masks, if it has any."""
    shape = SHAPES[name]
    case = random_case(shape, 20, np.float64)
    lengths = [min(n, shape.steps) for n in RAGGED[shape.rows]] if ragged else None
    rng = np.random.default_rng(3)
    size = (shape.steps, shape.rows, (1 + shape.bidirectional) * shape.output_size)
    masks = [rng.integers(0, 2, size) * 2.0 for _ in range(shape.num_layers - 1)] if dropped else None
    return case, {"lengths": lengths, "masks": masks}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("ragged", [False, True])
def test_values_are_those_of_the_other_oracle(name: str, ragged: bool) -> None:
    case, options = arguments(name, ragged, False)
    for hx in ((None, None), case.hx):
        result = gradient_oracle.forward(case.state_dict, case.x, *hx, **options).result
        expected = oracle.lstm(case.state_dict, case.x, *hx, options["lengths"])
        for one, other in zip(result, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-14)


def test_what_is_kept_of_every_step_obeys_the_equations() -> None:
    case, options = arguments("everything", True, True)
    run = gradient_oracle.forward(case.state_dict, case.x, *case.hx, **options)
    assert len(run.cells) == 6
    for index, cell in enumerate(run.cells):
        np.testing.assert_allclose(cell.c, cell.f * cell.c_before + cell.i * cell.g, rtol=0, atol=1e-15)
        weight = case.state_dict[f"weight_hr_l{index // 2}" + "_reverse" * (index % 2)]
        np.testing.assert_allclose(cell.h, cell.o * np.tanh(cell.c) @ weight.T, rtol=0, atol=1e-15)
        for row, length in enumerate(options["lengths"]):
            first, last, step = (length - 1, 0, -1) if index % 2 else (0, length - 1, 1)
            np.testing.assert_array_equal(cell.h_before[first, row], case.h_0[index, row])
            np.testing.assert_array_equal(cell.h[last, row], run.result.h_n[index, row])
            steps = list(range(first, last + step, step))
            np.testing.assert_array_equal(cell.c_before[steps[1:], row], cell.c[steps[:-1], row])
            assert not any(whole[length:, row].any() for whole in cell)


@every_kind
def test_finite_differences(name: str, ragged: bool, dropped: bool) -> None:
    """Of every single number that goes in."""
    case, options = arguments(name, ragged, dropped)
    given = random_given(case).flat

    def scalar(values: dict[str, np.ndarray]) -> float:
        weights = {n: values[n] for n in case.state_dict}
        result = gradient_oracle.forward(weights, values["input"], values["h_0"], values["c_0"], **options).result
        return sum(float((d * r).sum()) for d, r in zip(given, result[:3], strict=True))

    values = {"input": case.x, "h_0": case.h_0, "c_0": case.c_0, **case.state_dict}
    run = gradient_oracle.forward(case.state_dict, case.x, *case.hx, **options)
    gradients = named(gradient_oracle.backward(run, *given))
    assert list(gradients) == list(values)
    step = 1e-5
    for each, value in values.items():
        for place in np.ndindex(value.shape):
            high, low = value.copy(), value.copy()
            high[place] += step
            low[place] -= step
            slope = (scalar({**values, each: high}) - scalar({**values, each: low})) / (2 * step)
            assert gradients[each][place] == pytest.approx(slope, rel=0, abs=1e-8), (each, place)


def test_gradients_that_are_not_given_are_zeros() -> None:
    case, options = arguments("everything", True, True)
    run = gradient_oracle.forward(case.state_dict, case.x, *case.hx, **options)
    given = random_given(case).flat
    parts = [
        named(gradient_oracle.backward(run, *(d if k == place else None for k, d in enumerate(given))))
        for place in range(3)
    ]
    for name, whole in named(gradient_oracle.backward(run, *given)).items():
        np.testing.assert_allclose(sum(part[name] for part in parts), whole, rtol=0, atol=1e-13)


def test_masses_are_of_the_terms() -> None:
    """By hand: one unit, one step, no recurrence but by given states."""
    weights = {"weight_ih_l0": np.zeros((4, 1)), "weight_hh_l0": np.zeros((4, 1))}
    run = gradient_oracle.forward(weights, np.array([[[3.0], [-2.0]]]), None, np.full((1, 2, 1), 4.0))
    found = gradient_oracle.backward(run, None, None, np.array([[[1.0], [1.0]]]))
    # All gates are 1/2 and g is 0: of the sums' gradients only those of f, c_0 / 4, and g, 1/2, are not zero.
    np.testing.assert_array_equal(found.parameters["weight_ih_l0"], [[0], [1], [0.5], [0]])
    assert found.masses["weight_ih_l0"] == 5
    assert found.masses["weight_hh_l0"] == 0
    np.testing.assert_array_equal(found.c_0, [[[0.5], [0.5]]])
    assert found.masses["input"] == found.masses["c_0"] == 0.5


@every_kind
def test_autograd(name: str, ragged: bool, dropped: bool) -> None:
    """torch's own, in float64."""
    accuracy = pytest.importorskip("accuracy_gradients")  # imports torch
    case, options = arguments(name, ragged, dropped)
    given = random_given(case)
    run = gradient_oracle.forward(case.state_dict, case.x, *case.hx, **options)
    ours = named(gradient_oracle.backward(run, *given.flat))
    theirs = accuracy.torch_gradients(case, given, **options)
    assert list(ours) == list(theirs)
    for each, value in ours.items():
        np.testing.assert_allclose(value, theirs[each], rtol=0, atol=1e-12, err_msg=each)
