"""``vjp``: gradients against the float64 oracle, what they depend on, and what is kept for them."""

from __future__ import annotations

import copy
import gc
import pickle
import re
import tracemalloc
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import gradient_oracle
from support.cases import (
    Case,
    Shape,
    assert_same_array,
    assert_same_bits,
    both_dtypes,
    drawn_shape,
    flat,
    module,
    random_case,
    tolerance,
)
from support.gradient_cases import (
    OF_ROWS,
    Given,
    assert_gradients_close,
    assert_same_gradients,
    named,
    random_given,
)
from support.gradient_routes import KEEP
from support.layouts import layouts
from support.routes import with_padding
from support.weight_forms import FORMS

import numba_lstm
from numba_lstm import LSTM
from numba_lstm.execution.gradients import backward as execution
from numba_lstm.execution.gradients import spare

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


# --- what is kept -------------------------------------------------------------------------------------------
@both_dtypes
@every_way_to_keep
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_what_happens_after_the_forward_pass_changes_nothing(
    lengths: list[int] | None, batch_first: bool, keep: str, dtype: type
) -> None:
    """The arrays that went in and came out are written to, parameters are assigned, other calls are made."""
    case = random_case(EVERYTHING, 3, dtype)
    given_, lstm = random_given(case), module(case, batch_first=batch_first)
    x, d_output = (np.ascontiguousarray(a.swapaxes(0, 1)) if batch_first else a for a in (case.x, given_.d_output))
    hx = tuple(state.copy() for state in case.hx)
    x = x.copy()
    result, backward = lstm.vjp(x, hx, lengths=lengths, keep=keep)
    first = backward(d_output, given_.d_states)
    expected = {name: array.copy() for name, array in named(first).items()}
    size = backward.nbytes
    for array in (x, *hx, *flat(result), *named(first).values()):
        array[...] = np.nan
    lstm(np.full_like(x, 7), lengths=lengths)
    lstm.vjp(np.full_like(x, 7), lengths=lengths, keep=keep)[1](d_output)
    for name, array in lstm.named_parameters():
        setattr(lstm, name, np.full(array.shape, np.nan, dtype))
    lstm.batch_first = not batch_first
    assert_same_gradients(named(backward(d_output, given_.d_states)), expected)
    del lstm
    gc.collect()
    assert_same_gradients(named(backward(d_output, given_.d_states)), expected)
    assert backward.nbytes == size


@pytest.mark.parametrize("kind", [LSTM, numba_lstm.LSTMCell])
def test_both_passes_have_the_same_parameters(kind: Any) -> None:
    """Whenever another thread assigns others: here whenever the call looks at them."""

    class Assigned(kind):  # type: ignore[misc]
        @property
        def _weights(self) -> Any:
            now = self.__dict__["_weights"]
            self.__dict__["_weights"] = now.changed({name: array / 2 for name, array in now.parameters.items()})
            return now

        @_weights.setter
        def _weights(self, weights: Any) -> None:
            self.__dict__["_weights"] = weights

    modules = [kind(3, 5, seed=0) for _ in range(9)]
    for times, one in enumerate(modules):
        one.load_state_dict({name: array / 2**times for name, array in one.state_dict().items()})
    assigned, x = kind(3, 5, seed=0), np.ones((2, 3), np.float32)
    assigned.__class__ = Assigned
    (output, _), backward = assigned.vjp(x)
    (same,) = (one for one in modules if np.array_equal(one(x)[0], output))
    assert_same_gradients(named(backward(output)), named(same.vjp(x)[1](output)))


@both_dtypes
def test_gradients_of_two_calls_share_no_memory(dtype: type) -> None:
    case = random_case(EVERYTHING, 3, dtype)
    _, backward = module(case).vjp(case.x, case.hx)
    arrays = [a for _ in range(2) for a in named(backward(*random_given(case))).values()]
    for place, one in enumerate(arrays):
        assert not any(np.shares_memory(one, other) for other in arrays[place + 1 :])
        assert not any(np.shares_memory(one, other) for other in (case.x, *case.hx, *random_given(case).flat[1:]))


SIZES = {
    "plain": Shape(16, 64, steps=50, rows=32),
    "odd": Shape(5, 13, 2, bidirectional=True, steps=33, rows=7),
    "projected": Shape(9, 51, 2, True, True, 20, 40, 9),
    "one row": Shape(3, 100, steps=300, rows=1),
}


@both_dtypes
@every_way_to_keep
@pytest.mark.parametrize("shape", SIZES.values(), ids=SIZES)
def test_what_is_kept_is_bounded_and_says_its_size(shape: Shape, keep: str, dtype: type) -> None:
    """At most 5 H_cell + H_out numbers a step, row, layer and direction; of states H_cell + H_out.

    The last units of a cell are at most as many as a vector has, and take a quarter, half or whole one for a gate.
    """
    case = random_case(shape, 4, dtype)
    lstm = module(case)
    for _ in range(2):  # compiles, packs weights, and makes workspaces
        lstm.vjp(case.x, case.hx, keep=keep)
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        result, backward = lstm.vjp(case.x, case.hx, keep=keep)
        kept = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    last = (shape.hidden_size - 1) % 16 + 1
    held = shape.hidden_size - last + next(size for size in (4, 8, 16) if last <= size)
    numbers = (5 if keep == "gates" else 1) * held + shape.output_size
    limit = numbers * shape.steps * shape.rows * shape.cells * case.x.itemsize
    # Beside the results there may be the input, the output and the first states, which nobody else can write to.
    copies = sum(array.nbytes for array in (*flat(result), case.x, result[0], *case.hx))
    assert kept <= backward.nbytes + copies + (1 << 15)
    assert 0 < backward.nbytes <= limit + sum(state.nbytes for state in case.hx)
    _, backward = lstm.vjp(case.x, keep=keep)
    assert 0 < backward.nbytes <= limit


def test_an_input_that_is_packed_is_not_kept_twice() -> None:
    data = np.ones((8, 3), np.float32)
    lstm, alive = LSTM(3, 5, seed=0), weakref.ref(data)
    _, backward = lstm.vjp(numba_lstm.PackedSequence(data, [3, 3, 2]))
    del data
    gc.collect()
    assert alive() is None
    assert backward(np.ones((8, 5), np.float32)).input.data.shape == (8, 3)


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


# --- copies --------------------------------------------------------------------------------------------------
def test_copies_are_the_same_and_there_are_no_pickles() -> None:
    x = np.ones((5, 2, 3), np.float32)
    for backward in (LSTM(3, 4, seed=0).vjp(x)[1], numba_lstm.LSTMCell(3, 4, seed=0).vjp(x[0])[1]):
        assert copy.copy(backward) is copy.deepcopy(backward) is backward
        with pytest.raises(TypeError, match=f"a {type(backward).__name__} cannot be pickled: .*vjp"):
            pickle.dumps(backward)


# --- a look inside ------------------------------------------------------------------------------------------
@both_dtypes
@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("batch_first", [False, True])
def test_trace(batch_first: bool, lengths: list[int] | None, dtype: type) -> None:
    """Gates and states of every step, h and c with the bits of a call."""
    case = random_case(EVERYTHING, 5, dtype)
    x = np.ascontiguousarray(case.x.swapaxes(0, 1)) if batch_first else case.x
    lstm = module(case, batch_first=batch_first)
    run = gradient_oracle.forward(case.state_dict, case.x, *case.hx, lengths)
    output, (h_n, c_n) = lstm(x, case.hx, lengths=lengths)
    trace = lstm.trace(x, case.hx, lengths=lengths)
    assert len(trace) == len(run.cells) == EVERYTHING.cells
    limit = tolerance(run.result, dtype)
    ends = np.array(lengths or [EVERYTHING.steps] * EVERYTHING.rows)
    for index, (cell, expected) in enumerate(zip(trace, run.cells, strict=True)):
        assert cell._fields == ("i", "f", "g", "o", "c", "h")
        arrays = [array.swapaxes(0, 1) if batch_first else array for array in cell]
        for name, array, right in zip(cell._fields, arrays, expected, strict=False):
            assert array.dtype == dtype
            np.testing.assert_allclose(array, right, rtol=0, atol=limit, err_msg=f"{name} of {index}")
        last = np.zeros_like(ends) if index % 2 else ends - 1
        for kept, state in zip(arrays[4:], (c_n, h_n), strict=True):
            assert_same_array(kept[last, np.arange(EVERYTHING.rows)], state[index])
    assert_same_array(np.concatenate([cell.h for cell in trace[-2:]], axis=-1), output)


def test_trace_of_other_batches() -> None:
    """A single sequence, a packed batch, and layers with dropout in between."""
    case = random_case(EVERYTHING, 5)
    lstm = module(case)
    whole = lstm.trace(case.x, case.hx, lengths=LENGTHS)
    packed = lstm.trace(numba_lstm.pack_padded_sequence(case.x, LENGTHS, enforce_sorted=False), case.hx)
    row, hx = 3, tuple(state[:, 3] for state in case.hx)
    for one, batch, other in zip(lstm.trace(case.x[:, row], hx), packed, whole, strict=True):
        for name, alone, together, padded in zip(one._fields, one, batch, other, strict=True):
            assert_same_array(alone, np.ascontiguousarray(padded[:, row]), name)
            assert_same_array(numba_lstm.pad_packed_sequence(together)[0], padded, name)
    training, twin = (module(case, dropout=0.5, seed=1).train() for _ in range(2))
    output, _ = twin(case.x, case.hx)
    trace = training.trace(case.x, case.hx)
    assert_same_array(np.concatenate([cell.h for cell in trace[-2:]], axis=-1), output)
    for cell, other in zip(trace[:2], lstm.trace(case.x, case.hx)[:2], strict=True):
        assert_same_array(cell.h, other.h, "before dropout")


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


# --- errors -------------------------------------------------------------------------------------------------
F32 = np.float32
OUTPUT, STATES = np.zeros((5, 2, 4), F32), np.zeros((2, 2, 4), F32)


def mismatch(name: str, given_: tuple[int, ...], right: tuple[int, ...]) -> str:
    """Return torch's words, with the names and shapes of NumPy."""
    return re.escape(f"Mismatch in shape: d_{name} has a shape of {given_} and {name} has a shape of {right}.")


@pytest.mark.parametrize(
    ("given_", "error", "words"),
    [
        ((OUTPUT[:4], None), RuntimeError, mismatch("output", (4, 2, 4), (5, 2, 4))),
        ((OUTPUT[:, :1], None), RuntimeError, mismatch("output", (5, 1, 4), (5, 2, 4))),
        ((OUTPUT[:, 0], None), RuntimeError, mismatch("output", (5, 4), (5, 2, 4))),
        ((OUTPUT.reshape(2, 5, 4), None), RuntimeError, mismatch("output", (2, 5, 4), (5, 2, 4))),
        ((F32(1), None), (RuntimeError, TypeError), "d_output"),
        ((OUTPUT.astype(float), None), ValueError, "d_output.*float64"),
        ((OUTPUT.astype(int), None), ValueError, "d_output.*int"),
        (([[1.0]], None), TypeError, "d_output"),
        ((OUTPUT, STATES), TypeError, r"d_states should be a tuple \(d_h_n, d_c_n\)"),
        ((OUTPUT, (STATES,)), ValueError, r"d_states should be a tuple \(d_h_n, d_c_n\).* got 1"),
        ((OUTPUT, (STATES[:1], None)), RuntimeError, mismatch("h_n", (1, 2, 4), (2, 2, 4))),
        ((OUTPUT, (None, STATES[:, :1])), RuntimeError, mismatch("c_n", (2, 1, 4), (2, 2, 4))),
        ((OUTPUT, (STATES[:, 0], None)), RuntimeError, mismatch("h_n", (2, 4), (2, 2, 4))),
        ((OUTPUT, (STATES.astype(float), None)), ValueError, "d_h_n.*float64"),
        ((OUTPUT, (None, STATES.astype(float))), ValueError, "d_c_n.*float64"),
        ((numba_lstm.pack_sequence([OUTPUT[:, 0]]), None), (TypeError, ValueError, RuntimeError), "d_output"),
    ],
)
def test_gradients_that_do_not_fit(given_: Any, error: Any, words: str) -> None:
    _, backward = LSTM(3, 4, 2, seed=0).vjp(np.zeros((5, 2, 3), F32))
    with pytest.raises(error, match=words):
        backward(*given_)
    assert not backward(OUTPUT).input.any()  # it is as good as before


def test_a_packed_gradient_of_a_single_sequence() -> None:
    """Its data has the shape of the output, but nothing says that it is of the same sequence."""
    _, backward = LSTM(3, 4, 2, seed=0).vjp(np.zeros((5, 3), F32))
    with pytest.raises((TypeError, ValueError), match="d_output"):
        backward(numba_lstm.pack_sequence([OUTPUT[:4, 0], OUTPUT[:1, 0]]))


def test_gradients_of_another_packed_batch() -> None:
    lstm = LSTM(3, 4, seed=0)

    def packed(*lengths: int, size: int = 3, dtype: Any = F32) -> numba_lstm.PackedSequence:
        return numba_lstm.pack_sequence([np.zeros((n, size), dtype) for n in lengths], enforce_sorted=False)

    _, backward = lstm.vjp(packed(3, 5, 5))
    right = packed(3, 5, 5, size=4)
    backward(right)
    for wrong, error in (
        (packed(5, 3, 5, size=4), ValueError),  # as many rows, of other sequences
        (packed(4, 4, 5, size=4), ValueError),
        (packed(3, 5, size=4), ValueError),
        (packed(3, 5, 5), RuntimeError),
        (packed(3, 5, 5, size=4, dtype=float), ValueError),
        (right.data[1:], RuntimeError),
        (np.zeros((5, 3, 4), F32), RuntimeError),
    ):
        with pytest.raises(error, match="d_output"):
            backward(wrong)


def test_a_packed_gradient_of_an_output_that_is_none() -> None:
    _, backward = LSTM(3, 4, 2, seed=0).vjp(np.zeros((5, 2, 3), F32))
    with pytest.raises(TypeError, match="d_output should be a NumPy array, as output is, got: PackedSequence"):
        backward(numba_lstm.PackedSequence(OUTPUT.reshape(10, 4), [2] * 5))


@pytest.mark.parametrize("keep", ["everything", "", None, True])
def test_other_things_to_keep(keep: Any) -> None:
    with pytest.raises(ValueError, match=r"keep.*gates.*states"):
        LSTM(3, 4).vjp(np.zeros((5, 2, 3), F32), keep=keep)


@pytest.mark.parametrize("wrt", [["weight_ih_l2"], ["input", "x"], ["weight_hr_l0"], ["output"], [""]])
def test_other_things_wanted(wrt: Any) -> None:
    _, backward = LSTM(3, 4, 2, seed=0).vjp(np.zeros((5, 2, 3), F32))
    with pytest.raises(ValueError, match=f"wrt.*'{wrt[-1]}'"):
        backward(OUTPUT, wrt=wrt)
    with pytest.raises(TypeError, match=r"wrt.*\['input'\]"):
        backward(OUTPUT, wrt="input")


@pytest.mark.parametrize("wrt", [3, b"input", True])
def test_what_names_nothing(wrt: Any) -> None:
    _, backward = LSTM(3, 4, 2, seed=0).vjp(np.zeros((5, 2, 3), F32))
    with pytest.raises(TypeError, match=r"wrt should be a collection of names, such as \['input'\]"):
        backward(OUTPUT, wrt=wrt)
    with pytest.raises(ValueError, match="wrt has"):
        backward(OUTPUT, wrt=[np.arange(2)])


def test_names_that_are_iterated_once() -> None:
    _, backward = LSTM(3, 4, 2, seed=0).vjp(np.zeros((5, 2, 3), F32))
    names = ["input", "weight_hh_l1"]
    found, right = backward(OUTPUT, wrt=iter(names)), backward(OUTPUT, wrt=names)
    assert_same_array(found.input, right.input)
    assert_same_gradients(found.parameters, right.parameters)
    assert [*found.parameters] == ["weight_hh_l1"]
    with pytest.raises(ValueError, match="'nothing'"):
        backward(OUTPUT, wrt=(name for name in ["input", "nothing"]))


def test_arguments_are_those_of_a_call() -> None:
    """With its errors."""
    lstm = LSTM(3, 4)
    for x, hx, lengths in (
        (np.zeros((5, 2, 4), F32), None, None),
        (np.zeros((0, 2, 3), F32), None, None),
        (np.zeros((5, 2, 3)), None, None),
        (np.zeros((5, 2, 3), F32), STATES, None),
        (np.zeros((5, 2, 3), F32), (STATES, STATES), None),
        (np.zeros((5, 2, 3), F32), None, [5, 6]),
        (np.zeros((5, 3), F32), None, [5]),
        ([[0.0]], None, None),
    ):
        with pytest.raises((TypeError, ValueError, RuntimeError)) as called:
            lstm(x, hx, lengths=lengths)
        with pytest.raises(type(called.value)) as caught:
            lstm.vjp(x, hx, lengths=lengths)
        assert str(caught.value) == str(called.value)


@pytest.mark.parametrize("form", FORMS)
def test_quantized_modules_have_no_gradients(form: str) -> None:
    small = LSTM(3, 4, seed=0).quantize(form)
    with pytest.raises(RuntimeError, match=form):
        small.vjp(np.zeros((5, 2, 3), F32))


def test_a_pair_in_the_place_of_an_array_is_told_its_place() -> None:
    lstm, cell = LSTM(3, 5, seed=0), numba_lstm.LSTMCell(3, 5, seed=0)
    (output, states), backward = lstm.vjp(np.ones((4, 2, 3), np.float32))
    with pytest.raises(TypeError, match=r"got: tuple of two. The call is backward\(d_output, \(d_h_n, d_c_n\)\)"):
        backward((output, states))
    states, step = cell.vjp(np.ones((2, 3), np.float32))
    with pytest.raises(TypeError, match=r"got: tuple of two. The call is backward\(d_h_1, d_c_1\)"):
        step(states)


def test_an_array_too_large_to_wait_leaves_the_others() -> None:
    small, large = np.empty(7, np.uint8), np.broadcast_to(np.uint8(0), spare.MOST_BYTES + 1)
    spare.Spare.give(small)
    spare.Spare.give(large)
    assert np.shares_memory(spare.Spare.take(7, np.dtype(np.uint8)), small)
