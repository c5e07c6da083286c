"""``vjp``: dropout, numbers that are not finite, gradients that vanish, and denormal ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from support.cases import Case, Shape, assert_same_array, assert_same_bits, both_dtypes, module, random_case
from support.gradient_cases import OF_ROWS, Given, assert_gradients_close, assert_same_gradients, named, random_given
from support.gradient_checks import EVERYTHING, LENGTHS, every_way_to_keep, expected_of
from support.gradient_routes import KEEP

import numba_lstm
from numba_lstm import LSTM

# --- dropout ------------------------------------------------------------------------------------------------


@both_dtypes
@every_way_to_keep
@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("rate", [0.4, 1.0])
def test_dropout(rate: float, lengths: list[int] | None, keep: str, dtype: type) -> None:
    """The masks of that forward pass, which are those that a call would draw."""
    case = random_case(EVERYTHING, 7, dtype)
    given_ = random_given(case)
    lstm, twin, third = (module(case, dropout=rate, seed=11).train() for _ in range(3))
    result, backward = lstm.vjp(case.x, case.hx, lengths=lengths, keep=keep)
    assert_same_bits(result, twin(case.x, case.hx, lengths=lengths))
    found = backward(*given_)
    assert_gradients_close(found, *expected_of(case, given_, lengths, _masks(third, case, lengths)))
    assert_same_gradients(named(backward(*given_)), named(found))
    # Going back draws nothing.
    assert_same_bits(lstm(case.x, case.hx), twin(case.x, case.hx))
    lstm.eval()
    assert_gradients_close(
        lstm.vjp(case.x, case.hx, lengths=lengths, keep=keep)[1](*given_), *expected_of(case, given_, lengths)
    )


def _masks(lstm: Any, case: Case, lengths: Sequence[int] | None) -> list[np.ndarray]:
    """Return what a module's next call multiplies the outputs of layers by, time-first."""
    shape, drop = case.shape, lstm._dropout()
    masks = []
    for _ in range(shape.num_layers - 1):
        ones = np.ones((shape.steps, shape.rows, (1 + shape.bidirectional) * shape.output_size), case.x.dtype)
        if lengths is None:
            drop(ones)
        else:
            packed = numba_lstm.pack_padded_sequence(ones, lengths, enforce_sorted=False)
            drop(packed.data)
            ones, _ = numba_lstm.pad_packed_sequence(packed, total_length=shape.steps)
        masks.append(ones)
    return masks


def test_dropout_of_packed_sequences() -> None:
    case = random_case(EVERYTHING, 7)
    given_ = random_given(case)
    lstm, twin = (module(case, dropout=0.5, seed=11).train() for _ in range(2))
    batch, d_batch = (
        numba_lstm.pack_padded_sequence(a, LENGTHS, enforce_sorted=False) for a in (case.x, given_.d_output)
    )
    found = named(lstm.vjp(batch, case.hx)[1](d_batch, given_.d_states))
    found["input"] = numba_lstm.pad_packed_sequence(found["input"])[0]
    assert_same_gradients(found, named(twin.vjp(case.x, case.hx, lengths=LENGTHS)[1](*given_)))


class _Dropping(LSTM):
    """A module that takes masks from elsewhere."""

    def _dropout(self) -> Any:
        masks = iter(self.masks)

        def drop(output: np.ndarray) -> None:
            output *= next(masks)

        return drop


def test_masks_from_elsewhere() -> None:
    """Any numbers, also negative ones."""
    case = random_case(EVERYTHING, 8)
    given_ = random_given(case)
    lstm = _Dropping(**case.shape.options)
    lstm.load_state_dict(case.state_dict)
    rng = np.random.default_rng(1)
    lstm.masks = [rng.standard_normal((9, 6, 10), np.float32) for _ in range(2)]
    result, backward = lstm.vjp(case.x, case.hx)
    assert_same_bits(result, lstm(case.x, case.hx))
    assert_gradients_close(backward(*given_), *expected_of(case, given_, masks=lstm.masks))
    # In eval mode a call asks for none, and so does everything else.
    lstm.eval()
    result, backward = lstm.vjp(case.x, case.hx)
    assert_same_bits(result, lstm(case.x, case.hx))
    assert_same_array(np.concatenate([cell.h for cell in lstm.trace(case.x, case.hx)[-2:]], axis=-1), result[0])
    assert_gradients_close(backward(*given_), *expected_of(case, given_))


# --- numbers that are none, and small ones ------------------------------------------------------------------


@both_dtypes
@every_way_to_keep
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("value", [np.inf, np.nan])
@pytest.mark.parametrize("where", ["x", "h_0", "c_0", "d_output", "d_h_n", "d_c_n"])
def test_inf_and_nan_stay_in_their_row(
    where: str, value: float, bidirectional: bool, keep: str, dtype: type
) -> None:
    case = random_case(Shape(7, 18, 2, True, bidirectional, 4, steps=5, rows=9), 5, dtype)
    lstm, arrays = module(case), (case.x, *case.hx, *random_given(case).flat)

    def gradients(x: Any, h_0: Any, c_0: Any, d_output: Any, d_h_n: Any, d_c_n: Any) -> dict[str, np.ndarray]:
        _, backward = lstm.vjp(x, (h_0, c_0), keep=keep)
        return named(backward(d_output, (d_h_n, d_c_n)))

    clean = gradients(*arrays)
    place = ("x", "h_0", "c_0", "d_output", "d_h_n", "d_c_n").index(where)
    for row in (0, 4, 8):
        spoilt = [a.copy() for a in arrays]
        spoilt[place][-1, row, 1] = value
        found, others = gradients(*spoilt), np.arange(9) != row
        for name in OF_ROWS:
            assert_same_array(found[name][:, others], clean[name][:, others], f"{name} beside {where}[{row}]")
        if np.isnan(value):
            assert np.isnan(found["input"][:, row]).any()
        shape = case.shape
        spoilt_case, given_ = Case(shape, case.state_dict, *spoilt[:3]), Given(spoilt[3], tuple(spoilt[4:]))
        right = named(expected_of(spoilt_case, given_)[0])
        for name, array in found.items():
            np.testing.assert_array_equal(np.isnan(array), np.isnan(right[name]), f"{name}, {where}[{row}]")


@both_dtypes
@pytest.mark.parametrize("lengths", [None, [3, 1, 2]])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("states", [False, True])
def test_weights_that_are_infinite(
    states: bool, bidirectional: bool, lengths: list[int] | None, dtype: type
) -> None:
    """Those of the state times zero are nan, so that gates that are made again have it where the others had it."""
    lstm = LSTM(2, 18, bidirectional=bidirectional, dtype=dtype, seed=0)
    weights = np.array(lstm.weight_hh_l0)
    weights[-3:, 5] = np.inf
    lstm.weight_hh_l0 = weights
    x = np.ones((3, 3, 2), dtype)
    hx = (np.zeros((1 + bidirectional, 3, 18), dtype),) * 2 if states else None
    found = []
    for keep in KEEP:
        result, backward = lstm.vjp(x, hx, lengths=lengths, keep=keep)
        assert_same_bits(result, lstm(x, hx, lengths=lengths))
        found.append(named(backward(np.ones_like(result[0]))))
    assert np.isnan(found[0]["bias_hh_l0"]).any()
    assert_same_gradients(*found)


def test_dropout_of_inf() -> None:
    """Warns of nothing, as a call does not."""
    lstm = LSTM(3, 5, 2, proj_size=2, dropout=0.5, seed=0).train()
    lstm.weight_hr_l0 = np.full((2, 5), 3e38, np.float32)
    lstm.bias_ih_l0 = np.full(20, 5, np.float32)
    x = np.ones((7, 2, 3), np.float32)
    (output, _), _ = lstm.vjp(x)
    assert np.isnan(output).any()
    lstm = LSTM(3, 5, 2, dropout=0.5, seed=0).train()
    for name, array in lstm.state_dict().items():
        setattr(lstm, name, array * (1e10 if name == "weight_ih_l1" else 0))
    (output, _), backward = lstm.vjp(x)
    assert np.isnan(backward(np.full_like(output, 1e35), wrt=["input"]).input).any()


@both_dtypes
@every_way_to_keep
def test_gradients_that_vanish(keep: str, dtype: type) -> None:
    """They go through all magnitudes down to zero; denormals may be flushed, at nobody else's cost."""
    case = random_case(Shape(3, 20, 2, steps=2000, rows=7), 9, dtype)
    lstm, d_output = module(case), np.zeros((2000, 7, 20), dtype)
    d_output[-1] = np.random.default_rng(1).standard_normal((7, 20))
    found = lstm.vjp(case.x, case.hx, keep=keep)[1](d_output)
    expected, _ = expected_of(case, Given(d_output, None))
    tiny = float(np.finfo(dtype).smallest_normal)
    size, error = (np.abs(a).max(axis=(1, 2)) for a in (expected.input, found.input - expected.input))
    assert (size < tiny).sum() > 500  # steps
    assert ((size > 1e3 * tiny) & (size < 1e-3)).sum() > 50
    np.testing.assert_array_less(error, size * (2e-3 if dtype is np.float32 else 1e-11) + 100 * tiny)
    assert not found.input[0].any()
    assert not found.h_0.any()
    for name, array in found.parameters.items():
        limit = 1e-5 if dtype is np.float32 else 1e-11
        right = expected.parameters[name]
        np.testing.assert_allclose(array, right, rtol=0, atol=limit * np.abs(right).max(), err_msg=name)


@both_dtypes
def test_denormals_count_as_zeros(dtype: type) -> None:
    """In what is given, too, where they meet numbers that make them large."""
    tiny, huge = np.finfo(dtype).smallest_normal / dtype(7), dtype(1e30)
    case = random_case(Shape(5, 18, bias=False, steps=1, rows=3), 4, dtype)
    weights = {name: array * huge if name == "weight_ih_l0" else array for name, array in case.state_dict.items()}
    lstm = module(case._replace(state_dict=weights))
    _, backward = lstm.vjp(np.zeros_like(case.x))
    for given_ in (
        Given(np.full((1, 3, 18), tiny), None),
        Given(None, (np.full((1, 3, 18), tiny), None)),
        Given(None, (None, np.full((1, 3, 18), tiny))),
    ):
        for name, array in named(backward(*given_)).items():
            assert not array.any(), name
