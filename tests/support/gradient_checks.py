"""A case with all options, and comparisons of `vjp` with the float64 oracle."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from support import gradient_oracle
from support.cases import Case, Shape, assert_same_bits, module, random_case
from support.gradient_cases import Given, assert_gradients_close, assert_same_gradients, named, random_given
from support.gradient_routes import KEEP

DTYPES = (np.float32, np.float64)

EVERYTHING = Shape(7, 18, 3, True, True, 5, 9, 6)
"""All options."""

LENGTHS = [4, 9, 1, 9, 7, 2]
"""Of its rows."""

every_way_to_keep = pytest.mark.parametrize("keep", KEEP)


def expected_of(
    case: Case,
    given: Given,
    lengths: Sequence[int] | None = None,
    masks: Sequence[np.ndarray] | None = None,
    states: bool = True,
) -> tuple[gradient_oracle.Gradients, gradient_oracle.Forward]:
    """Return what the oracle says, and its forward pass."""
    hx = case.hx if states else (None, None)
    run = gradient_oracle.forward(case.state_dict, case.x, *hx, lengths, masks)
    return gradient_oracle.backward(run, *given.flat), run


def check(shape: Shape, seed: int, dtype: type, scale: float = 1.0) -> None:
    """Compare a random case with the oracle; both ways to keep what is needed give the same bits, as does a call."""
    case = random_case(shape, seed, dtype, scale)
    given_, lstm = random_given(case, seed), module(case)
    expected, run = expected_of(case, given_)
    result, backward = lstm.vjp(case.x, case.hx)
    assert_same_bits(result, lstm(case.x, case.hx), f"{shape}")
    found = backward(*given_)
    assert_gradients_close(found, expected, run, f"{shape}")
    assert {array.dtype for array in named(found).values()} == {np.dtype(dtype)}
    result, backward = lstm.vjp(case.x, case.hx, keep="states")
    assert_same_bits(result, lstm(case.x, case.hx), f"{shape}")
    assert_same_gradients(named(backward(*given_)), named(found), f"{shape} made again")
