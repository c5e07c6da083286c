"""Sequences of different lengths in one batch: each gives what it gives alone, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import oracle

import numba_lstm
from numba_lstm.contract import padding
from numba_lstm.execution.planning.machine import ASSUMED

OPTIONS = [
    {},
    {"bidirectional": True},
    {"num_layers": 3},
    {"num_layers": 3, "bidirectional": True, "proj_size": 3},
    {"num_layers": 2, "proj_size": 2, "bias": False},
]


def make(options: dict[str, Any], lengths: list[int], steps: int, dtype: Any) -> Any:
    """Return a module, an (N, L, 5) batch with NaN for padding, and states."""
    rng = np.random.default_rng([*lengths, steps])
    lstm = numba_lstm.LSTM(5, 9, **options, dtype=dtype, seed=0).eval()
    x = rng.standard_normal((len(lengths), steps, 5)).astype(dtype)
    for row, length in enumerate(lengths):
        x[row, length:] = np.nan
    cells = lstm.num_layers * (1 + lstm.bidirectional)
    h_0 = rng.standard_normal((cells, len(lengths), lstm.proj_size or 9)).astype(dtype)
    c_0 = rng.standard_normal((cells, len(lengths), 9)).astype(dtype)
    return lstm, x, h_0, c_0


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@given(data=st.data(), dtype=st.sampled_from([np.float32, np.float64]), given_states=st.booleans())
def test_each_sequence_is_as_alone(
    options: dict[str, Any], threads: int, data: Any, dtype: Any, given_states: bool
) -> None:
    lengths = data.draw(st.lists(st.integers(1, 40), min_size=1, max_size=14))
    steps = max(lengths) + data.draw(st.integers(0, 3))
    lstm, x, h_0, c_0 = make(options, lengths, steps, dtype)
    before = numba_lstm.get_num_threads()
    numba_lstm.set_num_threads(threads)
    try:
        states = (h_0, c_0) if given_states else None
        time_first = np.ascontiguousarray(x.swapaxes(0, 1))
        output, (h_n, c_n) = lstm(time_first, states, lengths=lengths)
        packed = numba_lstm.pack_padded_sequence(time_first, lengths, enforce_sorted=False)
        packed_output, packed_states = lstm(packed, states)
        lstm.batch_first = True
        swapped, swapped_states = lstm(x, states, lengths=np.array(lengths))
        lstm.batch_first = False
    finally:
        numba_lstm.set_num_threads(before)
    np.testing.assert_array_equal(swapped, output.swapaxes(0, 1))
    np.testing.assert_array_equal(numba_lstm.pad_packed_sequence(packed_output, total_length=steps)[0], output)
    for one, other in ((packed_states, (h_n, c_n)), (swapped_states, (h_n, c_n))):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])
    for row, length in enumerate(lengths):
        alone, (h, c) = lstm(x[row, :length], (h_0[:, row], c_0[:, row]) if given_states else None)
        np.testing.assert_array_equal(output[:length, row], alone)
        assert not output[length:, row].any()
        np.testing.assert_array_equal(h_n[:, row], h)
        np.testing.assert_array_equal(c_n[:, row], c)


def test_values_against_the_oracle() -> None:
    lstm, x, h_0, c_0 = make({"num_layers": 2, "bidirectional": True}, [7, 2, 5, 7], 7, np.float64)
    output, (h_n, c_n) = lstm(x.swapaxes(0, 1), (h_0, c_0), lengths=[7, 2, 5, 7])
    for row, length in enumerate([7, 2, 5, 7]):
        expected = oracle.lstm(
            lstm.state_dict(), x[row, :length, None].copy(), h_0[:, row : row + 1], c_0[:, row : row + 1]
        )
        np.testing.assert_allclose(output[:length, row], expected.output[:, 0], rtol=0, atol=1e-13)
        np.testing.assert_allclose(c_n[:, row], expected.c_n[:, 0], rtol=0, atol=1e-13)
        np.testing.assert_allclose(h_n[:, row], expected.h_n[:, 0], rtol=0, atol=1e-13)


def test_an_empty_batch() -> None:
    lstm = numba_lstm.LSTM(3, 4)
    output, (h_n, c_n) = lstm(np.zeros((5, 0, 3), np.float32), lengths=np.zeros(0, int))
    assert output.shape == (5, 0, 4)
    assert h_n.shape == c_n.shape == (1, 0, 4)


def test_a_batch_in_many_launches(monkeypatch: pytest.MonkeyPatch) -> None:
    for options in OPTIONS:
        lengths = [90, 1, 57, 90, 33]
        lstm, x, *states = make(options, lengths, 90, np.float32)
        output, (h_n, c_n) = lstm(x.swapaxes(0, 1), states, lengths=lengths)
        with monkeypatch.context() as patched:
            patched.setitem(ASSUMED, "launch_ns", 3e2)
            again = numba_lstm.LSTM(5, 9, **options).eval()
            again.load_state_dict(lstm.state_dict())
            cut, (h_cut, c_cut) = again(x.swapaxes(0, 1), states, lengths=lengths)
        np.testing.assert_array_equal(cut, output)
        np.testing.assert_array_equal(h_cut, h_n)
        np.testing.assert_array_equal(c_cut, c_n)


@pytest.mark.parametrize(
    ("lengths", "error", "words"),
    [
        ([3, 0], RuntimeError, "greater than 0"),
        ([3, 6], ValueError, "lengths must be at most T = 5"),
        ([3], RuntimeError, "equal to batch_size"),
        ([3, 1.5], ValueError, "lengths must be integers"),
        (3, TypeError, "^lengths must be a 1-D array or a list of integers, but got int$"),
        (np.int64(3), TypeError, "^lengths must be a 1-D array or a list of integers, but got int64$"),
        ({3, 4}, TypeError, "^lengths must be a 1-D array or a list of integers, but got set$"),
        ("34", TypeError, "^lengths must be a 1-D array or a list of integers, but got str$"),
        (iter([3, 4]), TypeError, "^lengths must be a 1-D array or a list of integers, but got list_iterator$"),
        ([[3, 4]], ValueError, r"^lengths must be a 1-D array or a list of integers, but got list of shape \(1, 2\)$"),
        (np.ones((2, 1), int), ValueError, r"but got ndarray of shape \(2, 1\)$"),
        (["3", "4"], ValueError, "lengths must be integers, but got list of dtype <U1"),
    ],
    ids=str,
)
def test_bad_lengths(lengths: Any, error: type[Exception], words: str) -> None:
    """In every call that takes them; words are about arrays, and not about tensors."""
    lstm, x = numba_lstm.LSTM(3, 4), np.zeros((5, 2, 3), np.float32)
    for call in (lstm, lstm.vjp, lstm.trace):
        with pytest.raises(error, match=words) as caught:
            call(x, lengths=lengths)  # type: ignore[operator]
        assert "tensor" not in str(caught.value)


def test_other_mistakes() -> None:
    lstm = numba_lstm.LSTM(3, 4)
    packed = numba_lstm.pack_sequence([np.zeros((2, 3), np.float32)])
    with pytest.raises(ValueError, match="lengths is for batches"):
        lstm(np.zeros((5, 3), np.float32), lengths=[5])
    with pytest.raises(ValueError, match="PackedSequence has its own"):
        lstm(packed, lengths=[2])
    with pytest.raises(RuntimeError, match=r"Expected 4, got 3"):
        numba_lstm.LSTM(4, 4)(packed)
    with pytest.raises(ValueError, match="RNN input dtype"):
        numba_lstm.LSTM(3, 4, dtype=np.float64)(packed)
    with pytest.raises(RuntimeError, match=r"Expected hidden\[0\] size \(1, 1, 4\)"):
        lstm(packed, (np.zeros((1, 2, 4), np.float32), np.zeros((1, 2, 4), np.float32)))
    flat = packed._replace(data=np.zeros(2, np.float32))
    with pytest.raises(RuntimeError, match="input must have 2 dimensions, got 1"):
        lstm(flat)


def test_against_torch() -> None:
    torch = pytest.importorskip("torch")
    for options in OPTIONS:
        lengths = [4, 11, 1, 11, 7]
        lstm, x, h_0, c_0 = make(options, lengths, 11, np.float64)
        theirs = torch.nn.LSTM(5, 9, **options, dtype=torch.float64)
        theirs.load_state_dict({n: torch.from_numpy(np.array(v)) for n, v in lstm.state_dict().items()})
        padded = np.nan_to_num(x).swapaxes(0, 1).copy()
        packed = torch.nn.utils.rnn.pack_padded_sequence(torch.from_numpy(padded), lengths, enforce_sorted=False)
        with torch.no_grad():
            expected, (h, c) = theirs(packed, (torch.from_numpy(h_0), torch.from_numpy(c_0)))
        ours = numba_lstm.pack_padded_sequence(padded, lengths, enforce_sorted=False)
        output, (h_n, c_n) = lstm(ours, (h_0, c_0))
        np.testing.assert_allclose(output.data, expected.data.numpy(), rtol=0, atol=1e-13)
        np.testing.assert_allclose(h_n, h.numpy(), rtol=0, atol=1e-13)
        np.testing.assert_allclose(c_n, c.numpy(), rtol=0, atol=1e-13)


def test_data_reshaped_after_packing() -> None:
    """The caller's own array, which must not be read beyond its end."""
    data = np.zeros((20, 8), np.float32)
    packed = numba_lstm.PackedSequence(data, np.array([10, 10]))
    data.resize((10, 16), refcheck=False)
    with pytest.raises(ValueError, match="20"):
        numba_lstm.LSTM(16, 4, seed=0)(packed)


@pytest.mark.parametrize("copied", [1, 200, padding.COPIED_BYTES])
@pytest.mark.parametrize("batch_first", [False, True])
def test_rows_are_copied_in_parts(batch_first: bool, copied: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However few at a time, and from arrays that cannot be read as one list of rows."""
    lengths = [4, 9, 1, 9, 3]
    lstm, x, h_0, c_0 = make({}, lengths, 9, np.float32)
    lstm.batch_first = batch_first
    x = x if batch_first else np.ascontiguousarray(x.swapaxes(0, 1))
    expected, _ = lstm(x, (h_0, c_0), lengths=lengths)
    monkeypatch.setattr(padding, "COPIED_BYTES", copied)
    for given_x in (x, np.asfortranarray(x), np.repeat(x, 2, axis=1)[:, ::2]):
        output, _ = lstm(given_x, (h_0, c_0), lengths=lengths)
        np.testing.assert_array_equal(output, expected)


@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True, "proj_size": 2, "dropout": 0.5}])
@pytest.mark.parametrize("enforce_sorted", [True, False])
def test_packed_sequences_of_one_length(options: dict[str, Any], enforce_sorted: bool) -> None:
    """They are a batch like any other: the same bits, and the same masks of dropout."""
    x = np.random.default_rng(1).standard_normal((7, 4, 3), np.float32)
    first, second = (numba_lstm.LSTM(3, 5, **options, seed=2) for _ in range(2))
    states = first(x)[1]
    second(x)  # as many random numbers drawn
    packed = numba_lstm.pack_padded_sequence(x, [7] * 4, enforce_sorted=enforce_sorted)
    output, (h_n, c_n) = first(packed, states)
    expected, (h, c) = second(x, states)
    assert output.batch_sizes is packed.batch_sizes
    assert output.data.flags.owndata
    for one, other in ((numba_lstm.pad_packed_sequence(output)[0], expected), (h_n, h), (c_n, c)):
        np.testing.assert_array_equal(one, other)
