"""``vjp``: gradients against the float64 oracle, of all sizes, options and batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.cases import Shape, assert_same_array, assert_same_bits, both_dtypes, drawn_shape, module, random_case
from support.gradient_cases import OF_ROWS, Given, assert_gradients_close, assert_same_gradients, named, random_given
from support.gradient_checks import DTYPES, EVERYTHING, LENGTHS, check, every_way_to_keep, expected_of
from support.layouts import layouts
from support.routes import with_padding

import numba_lstm
from numba_lstm import LSTM
from numba_lstm.execution.gradients import backward as execution

# --- sizes and options --------------------------------------------------------------------------------------


@both_dtypes
@pytest.mark.parametrize("hidden_size", [*range(1, 21), 31, 33, 51, 64, 65, 100, 129, 130])
def test_every_hidden_size(hidden_size: int, dtype: type) -> None:
    rows, input_size = (1, 7, 9, 32)[hidden_size % 4], 1 + 2 * (hidden_size % 30)
    check(Shape(input_size, hidden_size, steps=3 + hidden_size % 7, rows=rows), hidden_size, dtype)
    # Two layers: the hidden size is the second one's input size.
    check(Shape(3, hidden_size, 2, bidirectional=bool(hidden_size % 2), rows=1), hidden_size, dtype)


@both_dtypes
@pytest.mark.parametrize("input_size", [*range(1, 20), 31, 33, 63, 65, 127, 129, 255, 257, 300])
def test_every_input_size(input_size: int, dtype: type) -> None:
    check(Shape(input_size, 1 + input_size % 37, steps=4, rows=1 + input_size % 9), input_size, dtype)


@both_dtypes
@pytest.mark.parametrize("rows", [*range(1, 20), 24, 31, 32, 33, 64, 100])
@pytest.mark.parametrize("hidden_size", [5, 16, 49])
def test_every_batch(rows: int, hidden_size: int, dtype: type) -> None:
    check(Shape(11, hidden_size, steps=4, rows=rows), rows, dtype)
    check(Shape(6, hidden_size, 2, bidirectional=True, steps=3, rows=rows), rows, dtype)


@both_dtypes
@pytest.mark.parametrize("proj_size", [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65, 129])
def test_every_projection_tail(proj_size: int, dtype: type) -> None:
    for hidden_size in (proj_size + 1, 2 * proj_size + 5):
        check(Shape(5, hidden_size, proj_size=proj_size, rows=1 + proj_size % 8), proj_size, dtype)
    check(Shape(5, proj_size + 3, 2, True, True, proj_size, rows=3), proj_size, dtype)


@both_dtypes
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("proj_size", [0, 6])
def test_every_combination_of_options(
    proj_size: int, bias: bool, num_layers: int, bidirectional: bool, dtype: type
) -> None:
    check(Shape(9, 19, num_layers, bias, bidirectional, proj_size, steps=6, rows=3), num_layers, dtype)


@both_dtypes
@pytest.mark.parametrize("steps", [1, 2, 3, 17, 40, 63, 64, 65, 130])
@pytest.mark.parametrize("rows", [1, 7])
def test_every_number_of_steps(rows: int, steps: int, dtype: type) -> None:
    check(Shape(13, 24, steps=steps, rows=rows), steps, dtype)
    check(Shape(3, 8, 2, bidirectional=True, steps=steps, rows=rows), steps, dtype)


@both_dtypes
@pytest.mark.parametrize(
    "shape",
    [
        Shape(300, 140, 2, steps=4, rows=6),  # sums of more than one block, in all products
        Shape(20, 520, steps=2, rows=13),
        Shape(260, 257, bidirectional=True, proj_size=131, steps=3, rows=2),
        Shape(16, 100, 2, steps=70, rows=33),  # more than two thousand terms in those of weights
    ],
    ids=str,
)
def test_large(shape: Shape, dtype: type) -> None:
    check(shape, 1, dtype)


@given(data=st.data())
def test_random_shapes(data: st.DataObject) -> None:
    draw = data.draw
    shape = drawn_shape(draw, 40, 33)
    check(shape, draw(st.integers(0, 2**32 - 1), label="seed"), draw(st.sampled_from(DTYPES), label="dtype"))


@both_dtypes
@pytest.mark.parametrize("scale", [0.0, 1e-3, 30.0])
def test_magnitudes(scale: float, dtype: type) -> None:
    """Gates far inside saturation, and beyond, where slopes are differences of numbers near 1; all weights zero."""
    check(Shape(12, 21, bidirectional=True, steps=1, rows=20), 3, dtype, scale)


@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("shape", [EVERYTHING, Shape(40, 64, 2, steps=30, rows=6)], ids=["everything", "plain"])
def test_against_torch(shape: Shape, lengths: list[int] | None) -> None:
    """In float64, and again 1e-11 of the largest."""
    accuracy = pytest.importorskip("accuracy_gradients")  # imports torch
    case = random_case(shape, 10, np.float64)
    given_ = random_given(case)
    ours = named(module(case).vjp(case.x, case.hx, lengths=lengths)[1](*given_))
    theirs = accuracy.torch_gradients(case, given_, lengths)
    assert list(ours) == list(theirs)
    for name, right in theirs.items():
        np.testing.assert_allclose(ours[name], right, rtol=0, atol=1e-11 * np.abs(right).max(), err_msg=name)


# --- what is given ------------------------------------------------------------------------------------------


@both_dtypes
@pytest.mark.parametrize("states", [False, True])
def test_what_is_not_given_counts_as_zeros(states: bool, dtype: type) -> None:
    case = random_case(EVERYTHING, 1, dtype)
    d_output, (d_h_n, d_c_n) = random_given(case)
    _, backward = module(case).vjp(case.x, case.hx if states else None)
    no_output, no_h, no_c = (np.zeros_like(d) for d in (d_output, d_h_n, d_c_n))
    for some, filled in (
        (Given(None, (d_h_n, d_c_n)), Given(no_output, (d_h_n, d_c_n))),
        (Given(d_output, None), Given(d_output, (no_h, no_c))),
        (Given(d_output, (None, d_c_n)), Given(d_output, (no_h, d_c_n))),
        (Given(d_output, (d_h_n, None)), Given(d_output, (d_h_n, no_c))),
        (Given(None, (None, None)), Given(no_output, None)),
    ):
        found = backward(*some)
        assert_gradients_close(found, *expected_of(case, some, states=states))
        assert_same_gradients(named(found), named(backward(*filled)))
    assert_same_gradients(named(backward(d_output)), named(backward(d_output, (None, None))))
    for name, array in named(backward(None)).items():
        assert not array.any(), name


@both_dtypes
def test_no_states_are_zero_states(dtype: type) -> None:
    case = random_case(EVERYTHING, 1, dtype)
    given_, lstm = random_given(case), module(case)
    zeros = tuple(np.zeros_like(state) for state in case.hx)
    found, expected = (named(lstm.vjp(case.x, hx)[1](*given_)) for hx in (None, zeros))
    assert_same_gradients(found, expected)


@both_dtypes
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("kind", list(layouts(np.zeros((1, 1, 1)))))
def test_layouts(kind: str, batch_first: bool, dtype: type) -> None:
    case = random_case(EVERYTHING, 1, dtype)
    lstm = module(case, batch_first=batch_first)
    arrays = case.x, *case.hx, *random_given(case).flat
    swapped = [a.swapaxes(0, 1).copy() if batch_first and k in (0, 3) else a for k, a in enumerate(arrays)]
    laid = [layouts(a)[kind] for a in swapped]
    plain = [np.array(a, dtype, order="C", copy=True, subok=False) for a in laid]
    before = [a.tobytes() for a in laid]

    def gradients(x: Any, h_0: Any, c_0: Any, d_output: Any, d_h_n: Any, d_c_n: Any) -> dict[str, np.ndarray]:
        return named(lstm.vjp(x, (h_0, c_0))[1](d_output, (d_h_n, d_c_n)))

    assert_same_gradients(gradients(*laid), gradients(*plain))
    assert [a.tobytes() for a in laid] == before, "something was written to"


# --- what is wanted -----------------------------------------------------------------------------------------


@both_dtypes
@every_way_to_keep
def test_what_is_wanted_has_the_bits_it_has_among_all(keep: str, dtype: type) -> None:
    case = random_case(EVERYTHING, 2, dtype)
    given_ = random_given(case)
    _, backward = module(case).vjp(case.x, case.hx, keep=keep)
    whole = named(backward(*given_))
    first, last, weights = "bias_hh_l0", "weight_hr_l2_reverse", [n for n in whole if n.startswith("weight_ih")]
    for wrt in (
        ["input"], ["h_0"], ["c_0"], [first], [last], ["input", first], [last, "c_0"], ["weight_hh_l1"], weights,
        tuple(case.state_dict), [], tuple(reversed(whole)), list(whole), {"h_0", "weight_ih_l0_reverse"},
    ):  # fmt: skip
        found = backward(*given_, wrt=wrt)
        assert list(found.parameters) == [name for name in case.state_dict if name in wrt]
        missing = [name for name in OF_ROWS if name not in wrt]
        assert all(getattr(found, name) is None for name in missing)
        some = {name: array for name, array in named(found).items() if name not in missing}
        assert_same_gradients(some, {name: array for name, array in whole.items() if name in wrt}, f"{wrt}")
    assert_same_gradients(named(backward(*given_)), whole)


@pytest.mark.parametrize(
    ("wrt", "layers"),
    [
        (["weight_ih_l2"], [2, 2]), (["bias_hh_l1_reverse"], [2, 2, 1, 1]), (["weight_hr_l0"], [2, 2, 1, 1, 0, 0]),
        ([], []), (["h_0"], [2, 2, 1, 1, 0, 0]), (["c_0"], [2, 2, 1, 1, 0, 0]), (["input"], [2, 2, 1, 1, 0, 0]),
    ],
)  # fmt: skip
def test_layers_below_what_is_wanted_are_left_out(
    wrt: list[str], layers: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As frozen ones are, below those that are fine-tuned."""
    done, one = [], execution._cell

    def noted(kept: Any, panels: Any, index: int, *others: Any) -> Any:
        done.append(index)
        return one(kept, panels, index, *others)

    monkeypatch.setattr(execution, "_cell", noted)
    case = random_case(EVERYTHING, 2)
    _, backward = module(case).vjp(case.x, case.hx)
    backward(*random_given(case), wrt=wrt)
    assert done == layers


# --- batches ------------------------------------------------------------------------------------------------


@both_dtypes
@every_way_to_keep
def test_batch_first_is_the_transpose(keep: str, dtype: type) -> None:
    case = random_case(EVERYTHING, 5, dtype)
    d_output, d_states = random_given(case)
    expected = named(module(case).vjp(case.x, case.hx)[1](d_output, d_states))
    result, backward = module(case, batch_first=True).vjp(case.x.swapaxes(0, 1), case.hx, keep=keep)
    assert result[0].shape == (6, 9, 10)
    found = named(backward(np.ascontiguousarray(d_output.swapaxes(0, 1)), d_states))
    assert found["input"].flags.c_contiguous
    found["input"] = np.ascontiguousarray(found["input"].swapaxes(0, 1))
    assert_same_gradients(found, expected)


@both_dtypes
@pytest.mark.parametrize("batch_first", [False, True])
def test_unbatched_is_batch_one(batch_first: bool, dtype: type) -> None:
    case = random_case(Shape(7, 18, 2, True, True, 5, 10, 1), 5, dtype)
    given_ = random_given(case)
    expected = named(module(case).vjp(case.x, case.hx)[1](*given_))
    x, h_0, c_0, d_output, d_h_n, d_c_n = (a[:, 0] for a in (case.x, *case.hx, *given_.flat))
    lstm = module(case, batch_first=batch_first)
    result, backward = lstm.vjp(x, (h_0, c_0))
    assert_same_bits(result, lstm(x, (h_0, c_0)))
    found = named(backward(d_output, (d_h_n, d_c_n)))
    assert found["input"].shape == (10, 7)
    assert found["h_0"].shape == (4, 5)
    assert_same_gradients({n: a[:, None] if n in OF_ROWS else a for n, a in found.items()}, expected)
    assert named(lstm.vjp(x)[1](d_output))["c_0"].shape == (4, 18)


@both_dtypes
@every_way_to_keep
@pytest.mark.parametrize("lengths", [LENGTHS, [9, 7, 4, 4, 2, 1], [9] * 6, [5] * 6], ids=str)
@pytest.mark.parametrize("shape", [EVERYTHING, Shape(5, 20, steps=9, rows=6)], ids=["everything", "plain"])
def test_sequences_of_different_lengths(shape: Shape, lengths: list[int], keep: str, dtype: type) -> None:
    """Padding is not read, neither of the input nor of the output's gradient, and has none; packed it is the same."""
    case = random_case(shape, 6, dtype)
    d_output, d_states = random_given(case)
    lstm = module(case)
    expected, run = expected_of(case, Given(d_output, d_states), lengths)
    x, d_padded = with_padding(case.x, lengths), with_padding(d_output, lengths)
    result, backward = lstm.vjp(x, case.hx, lengths=lengths, keep=keep)
    assert_same_bits(result, lstm(x, case.hx, lengths=lengths))
    padded = backward(d_padded, d_states)
    assert_gradients_close(padded, expected, run)
    for row, length in enumerate(lengths):
        assert not padded.input[length:, row].any()

    batch, d_batch = (
        numba_lstm.pack_padded_sequence(a, lengths, enforce_sorted=False) for a in (case.x, d_output)
    )
    (output, states), backward = lstm.vjp(batch, case.hx, keep=keep)
    called, called_states = lstm(batch, case.hx)
    assert isinstance(output, numba_lstm.PackedSequence)
    assert_same_bits((output.data, states), (called.data, called_states))
    for given_ in (d_batch, d_batch.data):
        packed = backward(given_, d_states)
        assert isinstance(packed.input, numba_lstm.PackedSequence)
        assert packed.input == packed.input._replace(data=packed.input.data)
        for one, other in zip(packed.input[1:], batch[1:], strict=True):
            np.testing.assert_array_equal(one, other)
        found = named(packed)
        found["input"] = numba_lstm.pad_packed_sequence(packed.input, total_length=shape.steps)[0]
        assert_same_gradients(found, named(padded))


def test_a_sequence_of_a_batch_has_the_gradients_it_has_alone() -> None:
    case = random_case(EVERYTHING, 6)
    given_, lstm = random_given(case), module(case)
    whole = lstm.vjp(case.x, case.hx, lengths=LENGTHS)[1](*given_)
    for row, length in enumerate(LENGTHS):
        h_0, c_0, d_h_n, d_c_n = (a[:, row] for a in (*case.hx, *given_.d_states))
        alone = lstm.vjp(case.x[:length, row], (h_0, c_0))[1](given_.d_output[:length, row], (d_h_n, d_c_n))
        assert_same_array(np.ascontiguousarray(whole.input[:length, row]), alone.input)
        assert_same_array(np.ascontiguousarray(whole.h_0[:, row]), alone.h_0)
        assert_same_array(np.ascontiguousarray(whole.c_0[:, row]), alone.c_0)


@both_dtypes
@every_way_to_keep
@pytest.mark.parametrize("lengths", [None, np.zeros(0, int)], ids=["whole", "lengths"])
@pytest.mark.parametrize("batch_first", [False, True])
def test_an_empty_batch(batch_first: bool, lengths: np.ndarray | None, keep: str, dtype: type) -> None:
    lstm = LSTM(3, 4, 2, bidirectional=True, batch_first=batch_first, dtype=dtype, seed=0)
    x = np.zeros((0, 5, 3) if batch_first else (5, 0, 3), dtype)
    (output, _), backward = lstm.vjp(x, lengths=lengths, keep=keep)
    gradients = backward(np.zeros_like(output), (np.zeros((4, 0, 4), dtype), None))
    assert gradients.input.shape == x.shape
    assert gradients.h_0.shape == gradients.c_0.shape == (4, 0, 4)
    assert {name: array.shape for name, array in gradients.parameters.items()} == {
        name: array.shape for name, array in lstm.named_parameters()
    }
    assert not any(array.any() for array in gradients.parameters.values())
    assert backward.nbytes == 0
    assert backward(None, wrt=["h_0"]).input is None
    for cell in lstm.trace(x, lengths=lengths):
        assert {array.shape for array in cell} == {(*x.shape[:2], 4)}


# --- cells --------------------------------------------------------------------------------------------------


@both_dtypes
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("states", [False, True])
@pytest.mark.parametrize("rows", [None, 0, 1, 7, 32])
def test_a_cell_is_one_step(rows: int | None, states: bool, bias: bool, dtype: type) -> None:
    case = random_case(Shape(5, 18, bias=bias, steps=1, rows=1 if rows is None else rows), 1, dtype)
    _, (d_h, d_c) = random_given(case)
    lstm, cell = module(case), numba_lstm.LSTMCell(5, 18, bias, dtype=dtype)
    cell.load_state_dict({name.removesuffix("_l0"): array for name, array in case.state_dict.items()})
    hx = case.hx if states else None
    ((_, expected), whole) = lstm.vjp(case.x, hx)
    place = (0, 0) if rows is None else (0,)  # of what a cell is given, among the arrays of a batch of one step

    def of_cell(pair: Any) -> Any:
        return None if pair is None else tuple(None if a is None else a[place] for a in pair)

    found, backward = cell.vjp(case.x[place], of_cell(hx))
    for one, other, called in zip(found, expected, cell(case.x[place], of_cell(hx)), strict=True):
        assert_same_array(one, other[place])
        assert_same_array(one, called)
    for given_ in ((d_h, d_c), (d_h, None), (None, d_c)):
        gradients = {n.removesuffix("_l0"): a for n, a in named(whole(None, given_)).items()}
        right = {n: a[place] if n in OF_ROWS else a for n, a in gradients.items()}
        assert_same_gradients(named(backward(*of_cell(given_))), right)
    assert [*backward(of_cell((d_h, d_c))[0], wrt=["weight_hh"]).parameters] == ["weight_hh"]
