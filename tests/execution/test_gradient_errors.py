"""``vjp``: gradients and arguments that do not fit."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from support.cases import assert_same_array
from support.gradient_cases import assert_same_gradients
from support.weight_forms import FORMS

import numba_lstm
from numba_lstm import LSTM
from numba_lstm.execution.gradients import spare

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
