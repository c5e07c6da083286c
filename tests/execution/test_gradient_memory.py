"""``vjp``: what is kept for gradients, what shares no memory, and a look inside."""

from __future__ import annotations

import copy
import gc
import pickle
import tracemalloc
import weakref
from typing import Any

import numpy as np
import pytest
from support import gradient_oracle
from support.cases import Shape, assert_same_array, both_dtypes, flat, module, random_case, tolerance
from support.gradient_cases import assert_same_gradients, named, random_given
from support.gradient_checks import EVERYTHING, LENGTHS, every_way_to_keep

import numba_lstm
from numba_lstm import LSTM

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


# --- copies -------------------------------------------------------------------------------------------------


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
