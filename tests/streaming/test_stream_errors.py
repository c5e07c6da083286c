"""Streams: threads that meet, Ctrl-C, copies and bad input."""

from __future__ import annotations

import copy
import pickle
import random
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from support.cases import Shape, assert_same_bits, module, random_case
from support.layouts import claiming, unaligned
from support.streams import BAD_SIZES, C_ORDER, NO_DTYPE, NO_LIST, Slow, same_bits

import numba_lstm

# --- one thread at a time -----------------------------------------------------------------------------------

IN_USE = "this Stream is in use by another thread: make one for each, or take turns"


def test_another_thread_is_turned_away() -> None:
    case = random_case(Shape(3, 9, 2, steps=4, rows=2), 1)
    lstm = module(case)
    fed = lstm.stream(2)
    output = [fed.step(case.x[0])]
    slow = Slow(case.x[1])
    worker = threading.Thread(target=lambda: output.append(fed.step(slow)))
    worker.start()
    try:
        assert slow.asked.wait(60)
        for action in (
            lambda: fed.step(case.x[2]),
            lambda: fed.step(case.x[2], rows=[0, 1]),
            lambda: fed.step("nothing"),
            lambda: fed.reset(),
            lambda: fed.reset([1]),
            lambda: fed.state,
            lambda: setattr(fed, "state", case.hx),
        ):
            with pytest.raises(RuntimeError, match=re.escape(IN_USE)):
                action()
    finally:
        slow.let_go.set()
        worker.join()
    output += [fed.step(x) for x in case.x[2:]]
    assert_same_bits((np.stack(output), fed.state), lstm(case.x))


def test_a_step_within_a_step() -> None:
    """Also of the same thread: a signal handler, or an array that steps when it is asked for."""
    lstm = numba_lstm.LSTM(3, 5, seed=0)
    fed = lstm.stream(2)

    class Greedy:
        def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
            return fed.step(np.ones((2, 3), np.float32))

    with pytest.raises(RuntimeError, match=re.escape(IN_USE)):
        fed.step(Greedy())
    x = np.ones((2, 3), np.float32)
    same_bits(fed.step(x), lstm(x[None])[0][0])


def test_threads_with_a_stream_each() -> None:
    case = random_case(Shape(20, 40, 2, steps=200, rows=3), 1)
    lstm = module(case)
    expected = lstm(case.x)
    failures: list[str] = []

    def work() -> None:
        try:
            for _ in range(4):
                fed = lstm.stream(3)
                steps = np.stack([fed.step(x) for x in case.x[:100]])
                assert_same_bits((np.concatenate([steps, fed.step(case.x[100:])]), fed.state), expected)
        except BaseException as error:
            failures.append(repr(error))

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failures


class Interrupt(Exception):
    """What a signal handler raises, as Python's own does on Ctrl-C."""


@pytest.fixture
def alarm() -> Iterator[Callable[[float], None]]:
    """Return a function after whose call, so many seconds later, `Interrupt` comes from somewhere."""
    if not hasattr(signal, "setitimer"):
        pytest.skip("no timers")

    def handler(*_: Any) -> None:
        raise Interrupt

    before = signal.signal(signal.SIGALRM, handler)
    yield lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.skipif(sys.version_info[:2] == (3, 14), reason="python/cpython#148874: it may leave a lock taken there")
def test_ctrl_c_at_any_moment(alarm: Callable[[float], None]) -> None:
    """Whatever it interrupts, the stream can be used on."""
    fed = numba_lstm.LSTM(1, 40, seed=0).stream()
    x, out = np.ones((1, 1), np.float32), np.empty((1, 40), np.float32)
    moments = random.Random(0)
    for _ in range(2000):
        try:
            alarm(moments.uniform(2e-5, 8e-5))
            while True:
                fed.step(x, out=out)
        except Interrupt:
            fed.step(x, out=out)


def test_copies() -> None:
    fed = numba_lstm.LSTM(3, 5, seed=0).stream(2)
    words = re.escape("a Stream cannot be copied or pickled: make another one of the same module")
    with pytest.raises(TypeError, match=words):
        copy.deepcopy(fed)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match=words):
            pickle.dumps(fed, protocol)


@pytest.mark.parametrize("name", ["batch_size", "dtype"])
def test_sizes_cannot_be_assigned(name: str) -> None:
    """Kernels trust them."""
    stream = numba_lstm.LSTM(3, 5, seed=0).stream(2)
    with pytest.raises(AttributeError):
        setattr(stream, name, 20_000)


def test_shallow_copies() -> None:
    with pytest.raises(TypeError):
        copy.copy(numba_lstm.LSTM(3, 5, seed=0).stream(2))


# --- errors -------------------------------------------------------------------------------------------------

X = np.random.default_rng(0).standard_normal((4, 2, 3), np.float32)
OUT = np.zeros((2, 5), np.float32)
OUTS = np.zeros((4, 2, 5), np.float32)
NO_ROWS = "rows should be a sequence of integers, got: {}"
RANGE = "rows should be from 0 to 1, the last of the batch, got: {}"
# x, options of a step of a stream of two rows, type, message
STEPS: list[tuple[Any, dict[str, Any], type, str]] = [
    ([[1.0] * 3] * 2, {}, TypeError, NO_LIST),
    (None, {}, TypeError, "x should be a NumPy array, got: NoneType"),
    (np.ndarray, {}, TypeError, "x should be a NumPy array, got: type"),
    (1.0, {}, TypeError, "x should be a NumPy array, got: float"),
    (X[0].astype(float), {}, ValueError, NO_DTYPE.format("float64") + ", or build the model with dtype=np.float64"),
    (X[0].astype(int), {}, ValueError, NO_DTYPE.format("int64")),
    (X[0].astype(object), {}, ValueError, NO_DTYPE.format("object")),
    (X[0].astype(np.complex64), {}, ValueError, NO_DTYPE.format("complex64")),
    (X[0, 0], {}, ValueError, "LSTM: Expected x to be 2D or 3D, got 1D instead"),
    (X[None], {}, ValueError, "LSTM: Expected x to be 2D or 3D, got 4D instead"),
    (X[0, 0, 0], {}, ValueError, "LSTM: Expected x to be 2D or 3D, got 0D instead"),
    (X[0, :, :2], {}, RuntimeError, "x.size(-1) must be equal to input_size. Expected 3, got 2"),
    (X[..., :2], {}, RuntimeError, "x.size(-1) must be equal to input_size. Expected 3, got 2"),
    (X[0, :1], {}, RuntimeError, "Expected x to have 2 rows, got 1"),
    (X[:, :0], {}, RuntimeError, "Expected x to have 2 rows, got 0"),
    (X.swapaxes(0, 1), {}, RuntimeError, "Expected x to have 2 rows, got 4"),
    (X[:2, :1], {}, RuntimeError, "Expected x to have 2 rows, got 1"),
    (X[:2], {"out": np.zeros((2, 4, 5), np.float32)}, ValueError, "out should have shape (2, 2, 5), got: (2, 4, 5)"),
    (X[:0], {}, RuntimeError, "Expected sequence length to be larger than 0 in RNN"),
    (X[:0, :0], {"rows": []}, RuntimeError, "Expected sequence length to be larger than 0 in RNN"),
    (X[0], {"rows": [1]}, RuntimeError, "Expected x to have 1 rows, got 2"),
    (X[0], {"rows": []}, RuntimeError, "Expected x to have 0 rows, got 2"),
    (X[0], {"rows": [1, 1]}, ValueError, "rows should differ, but 1 comes 2 times"),
    (X[0], {"rows": [0, 2]}, ValueError, RANGE.format(2)),
    (X[0], {"rows": [-1, 0]}, ValueError, RANGE.format(-1)),
    (X[0], {"rows": np.array([0, 2**63], np.uint64)}, ValueError, RANGE.format(2**63)),
    (X[0], {"rows": [0.0, 1.0]}, TypeError, NO_ROWS.format("[0.0, 1.0]")),
    (X[0], {"rows": [True, False]}, TypeError, NO_ROWS.format("[True, False]")),
    (X[0], {"rows": [[0, 1]]}, TypeError, NO_ROWS.format("[[0, 1]]")),
    (X[0], {"rows": 1}, TypeError, NO_ROWS.format("1")),
    (X[0], {"rows": "01"}, TypeError, NO_ROWS.format("'01'")),
    (X[0], {"rows": {0, 1}}, TypeError, NO_ROWS.format("{0, 1}")),
    (X[0], {"rows": [0, None]}, TypeError, NO_ROWS.format("[0, None]")),
    (X[0], {"rows": slice(2)}, TypeError, NO_ROWS.format("slice(None, 2, None)")),
    (X[0], {"out": [[0.0] * 5] * 2}, TypeError, "out should be a NumPy array, got: list"),
    (X[0], {"out": OUT[:, :4]}, ValueError, "out should have shape (2, 5), got: (2, 4)"),
    (X[0], {"out": OUT[None]}, ValueError, "out should have shape (2, 5), got: (1, 2, 5)"),
    (X, {"out": np.zeros((2, 4, 5), np.float32)}, ValueError, "out should have shape (4, 2, 5), got: (2, 4, 5)"),
    (X[0, :1], {"out": OUT, "rows": [1]}, ValueError, "out should have shape (1, 5), got: (2, 5)"),
    (X[0], {"out": OUT.astype(float)}, ValueError, "out should have dtype float32, got: float64"),
    (X[0], {"out": OUT.astype(">f4")}, ValueError, "out should have dtype float32, got: >f4"),
    (X[0], {"out": np.broadcast_to(np.float32(0), (2, 5))}, ValueError, C_ORDER),
    (X[0], {"out": np.zeros((5, 2), np.float32).T}, ValueError, C_ORDER),
    (X[0], {"out": np.zeros((2, 10), np.float32)[:, ::2]}, ValueError, C_ORDER),
    (X[0], {"out": np.zeros((2, 6), np.float32)[:, :5]}, ValueError, C_ORDER),
    (X[0], {"out": unaligned(np.zeros((2, 5), np.float32))}, ValueError, C_ORDER),
    (X[0], {"out": claiming(OUT[:1], OUT)}, ValueError, "out should have shape (2, 5), got: (1, 5)"),
    (X[0], {"out": claiming(OUT[:1], OUT), "rows": [1, 0]}, ValueError, "out should have shape (2, 5), got: (1, 5)"),
    (X, {"out": claiming(OUTS[:1], OUTS)}, ValueError, "out should have shape (4, 2, 5), got: (1, 2, 5)"),
    (X, {"out": claiming(OUTS.astype(np.int8), OUTS)}, ValueError, "out should have dtype float32, got: int8"),
    (X[0], {"out": claiming(np.broadcast_to(np.float32(0), (2, 5)), OUT)}, ValueError, C_ORDER),
]


def test_an_out_that_claims_another_layout_in_the_next_step() -> None:
    """After a step of this shape, compiled code looks at it first."""
    fed = numba_lstm.LSTM(3, 5, 2, seed=0).stream(2)
    fed.step(X[0])
    state, before = fed.state, OUT.copy()
    with pytest.raises(ValueError, match=re.escape("out should have shape (2, 5), got: (1, 5)")):
        fed.step(X[0], claiming(OUT[:1], OUT))
    assert_same_bits((OUT, fed.state), (before, state))


@pytest.mark.parametrize(("x", "options", "kind", "message"), STEPS)
def test_step_errors(x: Any, options: dict[str, Any], kind: type, message: str) -> None:
    lstm = numba_lstm.LSTM(3, 5, 2, seed=0)
    fed = lstm.stream(2)
    first = fed.step(X[:2])
    state = fed.state
    out = options.get("out")
    before = np.array(out) if isinstance(out, np.ndarray) else None
    with pytest.raises(kind) as caught:
        fed.step(x, **options)
    assert type(caught.value) is kind
    assert str(caught.value) == message
    assert_same_bits((first, fed.state), (first, state))
    if before is not None:
        np.testing.assert_array_equal(np.asarray(out), before)
    same_bits(np.concatenate([first, fed.step(X[2:])]), lstm(X)[0])


@pytest.mark.parametrize("rows", [None, [1, 0]])
def test_an_out_that_claims_another_layout(rows: Any) -> None:
    """What it is counts."""
    lstm = numba_lstm.LSTM(3, 5, 2, seed=0)
    out = np.zeros((2, 5), np.float32)
    given = claiming(out, np.zeros((200, 5)))
    assert lstm.stream(2).step(X[0], given, rows=rows) is given
    same_bits(out, lstm.stream(2).step(X[0]))


def test_a_read_only_out_of_the_right_layout() -> None:
    fed = numba_lstm.LSTM(3, 5, seed=0).stream(2)
    out = np.zeros((2, 5), np.float32)
    out.flags.writeable = False
    with pytest.raises(ValueError, match=C_ORDER):
        fed.step(X[0], out=out)
    assert not out.any()
    assert not fed.state[0].any()


H = np.zeros((2, 2, 5), np.float32)
STATES: list[tuple[Any, type, str]] = [
    (None, TypeError, "hx should be a tuple (h_0, c_0) of two arrays, got: NoneType"),
    (H, TypeError, "hx should be a tuple (h_0, c_0) of two arrays, got: ndarray"),
    ((H,), ValueError, "hx should be a tuple (h_0, c_0) of two arrays, got 1"),
    ((H, H, H), ValueError, "hx should be a tuple (h_0, c_0) of two arrays, got 3"),
    ((H, H[:1]), RuntimeError, "Expected hidden[1] size (2, 2, 5), got [1, 2, 5]"),
    ((H[:, :1], H), RuntimeError, "Expected hidden[0] size (2, 2, 5), got [2, 1, 5]"),
    ((H[..., :4], H), RuntimeError, "Expected hidden[0] size (2, 2, 5), got [2, 2, 4]"),
    (
        (H[0], H[0]),
        RuntimeError,
        "For batched 3-D input, hx and cx should also be 3-D but got (2-D, 2-D) tensors",
    ),
    (
        (H, H.astype(float)),
        ValueError,
        "hx[1] dtype (float64) does not match weight dtype (float32). Convert c_0: c_0.astype(np.float32), "
        "or build the model with dtype=np.float64",
    ),
    ((H, None), TypeError, "hx[1] should be a NumPy array, got: NoneType"),
]


@pytest.mark.parametrize(("hx", "kind", "message"), STATES)
def test_state_errors(hx: Any, kind: type, message: str) -> None:
    fed = numba_lstm.LSTM(3, 5, 2, seed=0).stream(2)
    fed.step(X)
    state = fed.state
    with pytest.raises(kind) as caught:
        fed.state = hx
    assert type(caught.value) is kind
    assert str(caught.value) == message
    assert_same_bits((X, fed.state), (X, state))


@pytest.mark.parametrize(
    ("rows", "kind", "message"),
    [
        ([2], ValueError, RANGE.format(2)),
        ([-1], ValueError, RANGE.format(-1)),
        ([0, 1, 0], ValueError, "rows should differ, but 0 comes 2 times"),
        ([1.0], TypeError, "rows should be a sequence of integers, got: [1.0]"),
        (0, TypeError, "rows should be a sequence of integers, got: 0"),
        ([True, True], TypeError, "rows should be a sequence of integers, got: [True, True]"),
    ],
)
def test_reset_errors(rows: Any, kind: type, message: str) -> None:
    fed = numba_lstm.LSTM(3, 5, 2, seed=0).stream(2)
    fed.step(X)
    state = fed.state
    with pytest.raises(kind) as caught:
        fed.reset(rows)
    assert str(caught.value) == message
    assert_same_bits((X, fed.state), (X, state))


@pytest.mark.parametrize(("size", "kind", "message"), BAD_SIZES)
def test_making_errors(size: Any, kind: type, message: str) -> None:
    with pytest.raises(kind) as caught:
        numba_lstm.LSTM(3, 5, seed=0).stream(size)
    assert type(caught.value) is kind
    assert str(caught.value) == message.format("batch_size")


def test_what_cannot_be_a_stream() -> None:
    with pytest.raises((TypeError, ValueError), match="batch_size"):
        numba_lstm.LSTM(3, 5, seed=0).stream(True)
    reverse = "its reverse direction starts at the last step, which is not there yet"
    with pytest.raises(ValueError, match=f"a bidirectional LSTM has no stream: {reverse}"):
        numba_lstm.LSTM(3, 5, bidirectional=True, seed=0).stream()
    lstm = numba_lstm.LSTM(3, 5, 2, dropout=0.5, seed=0)
    with pytest.raises(RuntimeError, match=re.escape("a stream has no dropout: call eval() first")):
        lstm.stream()
    assert lstm.eval().stream().step(X[:, :1]).shape == (4, 1, 5)
    with pytest.raises(RuntimeError, match="dropout"):
        _Dropping(3, 5, 2, seed=0).stream()
    assert _Dropping(3, 5, 2, seed=0).eval().stream().step(X[:, :1]).shape == (4, 1, 5)


class _Dropping(numba_lstm.LSTM):
    """A module with a dropout of its own, which like any is for train mode."""

    def _dropout(self) -> Any:
        return lambda output: None
