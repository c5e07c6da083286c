"""Sliding windows: what comes out is what a call gives on the last inputs, bit for bit, whatever else happens."""

from __future__ import annotations

import copy
import gc
import pickle
import re
import sys
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.allocations import traced
from support.cases import Shape, both_dtypes, module, random_case
from support.interrupts import interrupted_after
from support.layouts import claiming, layouts, unaligned
from support.streams import BAD_SIZES, C_ORDER, CREW_OF_THREE, NO_DTYPE, NO_LIST, THREE_SLICES, Slow, same_bits

import numba_lstm
from numba_lstm.execution.planning.estimate import step_flop
from numba_lstm.execution.planning.machine import ASSUMED, this_machine
from numba_lstm.streaming import state_pool


def recomputed(lstm: Any, x: np.ndarray, t: int, length: int) -> np.ndarray:
    """Return what the window that ends with input t should give."""
    return lstm(np.ascontiguousarray(x[t - length + 1 : t + 1]))[0][-1]


def check(lstm: Any, window: Any, x: np.ndarray, length: int, advance: str = "sometimes") -> None:
    """Push every input into an empty window and compare with recomputation."""
    for t in range(len(x)):
        y = window.push(x[t])
        if t + 1 < length:
            assert y is None
        else:
            same_bits(y, recomputed(lstm, x, t, length), f"push {t}")
        if advance == "always" or (advance == "sometimes" and t % 3 != 1):
            window.advance()
        if advance == "sometimes" and t % 5 == 0:
            window.advance()  # has nothing to do


@pytest.mark.parametrize("advance", ["always", "never", "sometimes"])
@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("length", [1, 2, 5, 50])
def test_push_equals_recomputation(length: int, rows: int, advance: str) -> None:
    dtype = np.float64 if rows == 2 else np.float32
    case = random_case(Shape(6, 21, 2, steps=2 * length + 13, rows=rows), length, dtype)
    lstm = module(case)
    check(lstm, lstm.sliding_window(length, rows), case.x, length, advance)


@given(
    hidden=st.integers(1, 70),
    sizes=st.tuples(st.integers(1, 40), st.integers(1, 3), st.integers(0, 69)),
    bias=st.booleans(),
    dtype=st.sampled_from([np.float32, np.float64]),
    length=st.integers(1, 20),
    rows=st.integers(1, 4),
    advance=st.sampled_from(["always", "never", "sometimes"]),
)
def test_sizes(
    hidden: int, sizes: tuple[int, int, int], bias: bool, dtype: type, length: int, rows: int, advance: str
) -> None:
    features, layers, projection = sizes
    proj_size = projection if projection < hidden else 0
    shape = Shape(features, hidden, layers, bias, proj_size=proj_size, steps=length + 8, rows=rows)
    case = random_case(shape, length, dtype)
    lstm = module(case)
    window = lstm.sliding_window(length, rows)
    check(lstm, window, case.x, length, advance)
    window.reset()
    check(lstm, window, case.x[::-1], length, advance)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("way", [None, THREE_SLICES, CREW_OF_THREE])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("block", [None, 5])
def test_threads_and_blocks(block: int | None, threads: int, way: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    case = random_case(Shape(40, 100, 2, proj_size=30, steps=60, rows=2), 1)
    lstm = module(case)
    numba_lstm.set_num_threads(1)
    expected = [recomputed(lstm, case.x, t, 48) for t in range(47, 60)]
    if block is not None:
        monkeypatch.setitem(ASSUMED, "block_rows", block)
    if way is not None:
        monkeypatch.setitem(ASSUMED, "way", way)
    numba_lstm.set_num_threads(threads)
    window = lstm.sliding_window(48, 2)
    outputs = [window.push(x) for x in case.x]
    assert outputs[:47] == [None] * 47
    for y, right in zip(outputs[47:], expected, strict=True):
        same_bits(y, right)


def test_a_large_network_takes_the_long_way() -> None:
    """Also the step that push waits for is above the limit of small ones."""
    case = random_case(Shape(64, 256, 2, steps=14, rows=3), 1)
    assert step_flop(numba_lstm.LSTM(64, 256, 2)._architecture) * 3 > this_machine().short_flop
    lstm = module(case)
    check(lstm, lstm.sliding_window(5, 3), case.x, 5)


def test_number_of_threads_changes_between_pushes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The step that push waits for is planned anew, once."""
    case = random_case(Shape(6, 21, 2, steps=12, rows=2), 1)
    lstm = module(case)
    window = lstm.sliding_window(1, 2)
    advanced: list[int] = []
    monkeypatch.setattr(state_pool.Pool, "advance", lambda *arguments: advanced.append(1))
    for t, x in enumerate(case.x):
        numba_lstm.set_num_threads(1 + t // 6 % 2)
        same_bits(window.push(x), recomputed(lstm, case.x, t, 1))
    assert not advanced, "push went the long way"


@pytest.mark.parametrize("length", [1, 4])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_leaves_with_its_windows(value: float, length: int) -> None:
    case = random_case(Shape(6, 21, 2, steps=20, rows=2), 1)
    case.x[7, 0] = value
    case.x[8, 0, 2] = value
    case.x[12, 1, 3] = value
    lstm = module(case)
    window = lstm.sliding_window(length, 2)
    seen = 0
    for t, x in enumerate(case.x):
        y = window.push(x)
        if t + 1 < length:
            continue
        same_bits(y, recomputed(lstm, case.x, t, length), f"push {t}")
        for row in range(2):
            holds = not np.isfinite(case.x[t - length + 1 : t + 1, row]).all()
            assert holds or np.isfinite(y[row]).all(), f"push {t}, row {row}"
            seen += holds
    assert seen >= 3


def test_weights_that_are_not_finite() -> None:
    case = random_case(Shape(6, 21, 2, steps=9, rows=2), 1)
    case.state_dict["weight_hh_l1"][3, 2] = np.inf
    lstm = module(case)
    check(lstm, lstm.sliding_window(3, 2), case.x, 3)
    assert np.isnan(recomputed(lstm, case.x, 5, 3)).any()


@both_dtypes
@pytest.mark.parametrize("kind", list(layouts(np.zeros((1, 1, 1)))))
def test_layouts(kind: str, dtype: type) -> None:
    case = random_case(Shape(7, 18, steps=8, rows=3), 1, dtype)
    lstm = module(case)
    x = layouts(case.x)[kind]
    window = lstm.sliding_window(3, 3)
    for t in range(8):
        y = window.push(x[t])
        if t >= 2:
            same_bits(y, lstm(np.array(x[t - 2 : t + 1], dtype, order="C"))[0][-1], kind)


def test_x_may_be_used_again() -> None:
    case = random_case(Shape(6, 21, 2, steps=20, rows=2), 1)
    lstm = module(case)
    window = lstm.sliding_window(4, 2)
    x = np.empty((2, 6), np.float32)
    for t in range(20):
        x[...] = case.x[t]
        y = window.push(x)
        same_bits(x, case.x[t])
        x[...] = np.nan  # before the windows in flight have advanced
        if t % 2:
            window.advance()
        if t >= 3:
            same_bits(y, recomputed(lstm, case.x, t, 4))


@pytest.mark.parametrize("hidden", [18, 300])
@pytest.mark.parametrize("length", [1, 4])
def test_out(length: int, hidden: int) -> None:
    case = random_case(Shape(18, hidden, 2, steps=12, rows=2), 1)
    lstm = module(case)
    window = lstm.sliding_window(length, 2)
    buffer = np.full(2 * hidden + 40, 7, np.float32)
    out = buffer[20:-20].reshape(2, hidden)
    for t, x in enumerate(case.x):
        out[...] = 7
        y = window.push(x, out)
        if t + 1 < length:
            assert y is None
            assert (buffer == 7).all()
            continue
        assert y is out
        same_bits(out, recomputed(lstm, case.x, t, length))
        assert (buffer[:20] == 7).all()
        assert (buffer[-20:] == 7).all()


def test_an_out_that_claims_another_layout() -> None:
    """What it is counts, and comes back as it was given."""
    window = numba_lstm.LSTM(3, 5, seed=0).sliding_window(2, 2)
    out = np.zeros((2, 5), np.float32)
    given = claiming(out, np.zeros((200, 5)))
    assert window.push(X[0], given) is None
    assert not out.any()
    assert window.push(X[1], given) is given
    window.reset()
    window.push(X[0])
    same_bits(window.push(X[1]), out)


def test_out_is_x() -> None:
    case = random_case(Shape(18, 18, 2, steps=12, rows=2), 1)
    lstm = module(case)
    window = lstm.sliding_window(4, 2)
    for t in range(12):
        x = case.x[t].copy()
        y = window.push(x, out=x)
        if t < 3:
            assert y is None
            same_bits(x, case.x[t])
        else:
            assert y is x
            same_bits(x, recomputed(lstm, case.x, t, 4))


def test_fresh_outputs_do_not_share_memory() -> None:
    case = random_case(Shape(3, 5, steps=9), 1)
    window = module(case).sliding_window(2, 2)
    outputs = [window.push(x) for x in case.x][1:]
    kept = [y.copy() for y in outputs]
    for y in outputs:
        assert y.flags.owndata
    window.push(case.x[0])
    for y, before in zip(outputs, kept, strict=True):
        same_bits(y, before)


def test_reset() -> None:
    case = random_case(Shape(6, 21, 2, steps=30, rows=2), 1)
    lstm = module(case)
    window = lstm.sliding_window(5, 2)
    window.reset()
    for pushes in (0, 1, 4, 5, 6, 13):
        for advance in (False, True):
            for x in case.x[:pushes]:
                window.push(x)
            if advance:
                window.advance()
            window.reset()
            window.advance()
            check(lstm, window, case.x[pushes:], 5)
            window.reset()


def test_later_changes_of_the_module() -> None:
    case = random_case(Shape(3, 9, 2, steps=10, rows=2), 1)
    lstm = module(case)
    window = lstm.sliding_window(4, 2)
    same = module(case)
    for x in case.x[:6]:
        window.push(x)
    lstm.load_state_dict({n: np.full(v.shape, np.nan) for n, v in lstm.state_dict().items()})
    del lstm
    gc.collect()
    for t in range(6, 10):
        same_bits(window.push(case.x[t]), recomputed(same, case.x, t, 4))


def test_two_windows_of_a_module_are_apart() -> None:
    case = random_case(Shape(6, 21, 2, steps=20, rows=1), 1)
    lstm = module(case)
    short, long = lstm.sliding_window(2), lstm.sliding_window(7)
    for t, x in enumerate(case.x):
        one, other = short.push(x), long.push(x)
        assert t < 1 or np.array_equal(one, recomputed(lstm, case.x, t, 2))
        assert t < 6 or np.array_equal(other, recomputed(lstm, case.x, t, 7))


def test_out_saves_the_allocations_of_outputs() -> None:
    """No memory grows; what is allocated on the way is small: some views and indices."""
    case = random_case(Shape(100, 100, 1, steps=1, rows=20), 1)
    window = module(case).sliding_window(6, 20)
    x, out = case.x[0], np.empty((20, 100), np.float32)

    def step() -> None:
        window.push(x, out)
        window.advance()

    growth, peak = traced(step, 300)
    assert growth < 8 * 300, "the smallest object for every step would be more"
    assert peak < out.nbytes
    _, peak = traced(lambda: window.push(x), 5)
    assert peak >= out.nbytes


# --- one thread at a time -----------------------------------------------------------------------------------
IN_USE = "this SlidingWindow is in use by another thread: make one for each, or take turns"


def test_another_thread_is_turned_away() -> None:
    case = random_case(Shape(3, 9, 2, steps=8, rows=2), 1)
    lstm = module(case)
    window = lstm.sliding_window(3, 2)
    for x in case.x[:4]:
        window.push(x)
    slow, output = Slow(case.x[4]), []
    worker = threading.Thread(target=lambda: output.append(window.push(slow)))
    worker.start()
    try:
        assert slow.asked.wait(60)
        for action in (lambda: window.push(case.x[0]), window.advance, window.reset):
            with pytest.raises(RuntimeError, match=re.escape(IN_USE)):
                action()
    finally:
        slow.let_go.set()
        worker.join()
    output += [window.push(x) for x in case.x[5:]]
    for t, y in enumerate(output, 4):
        same_bits(y, recomputed(lstm, case.x, t, 3))


def test_threads_with_a_window_each() -> None:
    case = random_case(Shape(20, 40, 2, steps=40, rows=2), 1)
    lstm = module(case)
    failures: list[str] = []

    def work(length: int) -> None:
        try:
            check(lstm, lstm.sliding_window(length, 2), case.x, length)
        except BaseException as error:
            failures.append(repr(error))

    workers = [threading.Thread(target=work, args=(length,)) for length in (3, 9, 20)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failures


def check_later(lstm: Any, window: Any, x: np.ndarray) -> None:
    """After nine inputs and an interrupt, what is said of five is right, or the windows fill up anew."""
    for t in range(9, len(x)):
        y = window.push(x[t])
        assert y is not None or t < 13
        if y is not None:
            same_bits(y, recomputed(lstm, x, t, 5), f"push {t}")


@pytest.mark.parametrize("after_launch", [False, True])
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("method", ["advance", "push"])
def test_ctrl_c_while_advancing(method: str, rows: int, after_launch: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal comes before or after a launch; most come during one, which is after it for Python."""
    case = random_case(Shape(6, 21, 2, steps=40, rows=rows), 1)
    lstm = module(case)
    launch = state_pool.Pool.advance
    for number in range(1, rows + 1):
        window = lstm.sliding_window(5, rows)
        for x in case.x[:9]:
            window.push(x)
        calls = 0

        def interrupted(*arguments: Any, last: int = number) -> None:
            nonlocal calls
            calls += 1
            if calls == last and not after_launch:
                raise KeyboardInterrupt
            launch(*arguments)
            if calls == last and after_launch:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(state_pool.Pool, "advance", interrupted)
            with pytest.raises(KeyboardInterrupt):
                window.advance() if method == "advance" else window.push(case.x[9])
        check_later(lstm, window, case.x)  # begins with the push that was interrupted


def test_ctrl_c_in_the_step_of_a_push() -> None:
    case = random_case(Shape(6, 21, 2, steps=40, rows=2), 1)
    lstm = module(case)
    window = lstm.sliding_window(5, 2)
    for x in case.x[:9]:
        window.push(x)
        window.advance()
    last = window._last

    def interrupted(*arguments: Any) -> None:
        last.entry(*arguments)
        raise KeyboardInterrupt

    window._last = last._replace(entry=interrupted)
    with pytest.raises(KeyboardInterrupt):
        window.push(case.x[9])
    window._last = last
    check_later(lstm, window, case.x)


@pytest.mark.parametrize("method", ["push", "push of another byte order", "advance"])
def test_ctrl_c_anywhere(method: str) -> None:
    """Also before there is anything to forget, and when all is done but the lock is just given back."""
    lstm = numba_lstm.LSTM(3, 5, 2, seed=0)
    x = np.random.default_rng(0).standard_normal((9, 1, 3), np.float32)
    window, calls, interrupts = lstm.sliding_window(3), 0, True
    ways = {
        "push": lambda: window.push(x[4]),
        "push of another byte order": lambda: window.push(x[4].astype(">f4")),
        "advance": window.advance,
    }
    while interrupts:
        for t in range(4):
            window.push(x[t])
        calls += 1
        interrupts = interrupted_after(calls, "streaming", ways[method])
        if interrupts:
            assert window.push(x[5]) is None, f"after {calls} calls"
            assert window.push(x[6]) is None, f"after {calls} calls"
            same_bits(window.push(x[7]), recomputed(lstm, x, 7, 3))
            window.reset()
    assert calls > 5


FIRST_CALLS = 3 if sys.version_info >= (3, 14) else 2
"""After so many the lock has been taken and nothing been forgotten: Python 3.14 calls what enters a ``with``."""


def test_ctrl_c_in_a_reset() -> None:
    lstm = numba_lstm.LSTM(3, 5, 2, seed=0)
    x = np.random.default_rng(0).standard_normal((9, 1, 3), np.float32)
    window, calls = lstm.sliding_window(3), 0
    while True:
        for t in range(4):
            window.push(x[t])
        calls += 1
        if not interrupted_after(calls, "streaming", window.reset):
            break
        outputs = [window.push(x[t]) for t in range(5, 9)]
        # Nothing has been forgotten, or all.
        if outputs[0] is None:
            assert outputs[1] is None
            same_bits(outputs[2], recomputed(lstm, x, 7, 3))
        else:
            assert calls <= FIRST_CALLS
        window = lstm.sliding_window(3)
    assert calls > 2


def test_copies() -> None:
    window = numba_lstm.LSTM(3, 5, seed=0).sliding_window(3)
    words = re.escape("a SlidingWindow cannot be copied or pickled: make another one of the same module")
    with pytest.raises(TypeError, match=words):
        copy.deepcopy(window)
    with pytest.raises(TypeError, match=words):
        pickle.dumps(window)


def test_shallow_copies() -> None:
    with pytest.raises(TypeError):
        copy.copy(numba_lstm.LSTM(3, 5, seed=0).sliding_window(3))


# --- errors -------------------------------------------------------------------------------------------------
X = np.random.default_rng(0).standard_normal((12, 2, 3), np.float32)
OUT = np.zeros((2, 5), np.float32)

PUSHES: list[tuple[Any, Any, type, str]] = [
    ([[1.0] * 3] * 2, None, TypeError, NO_LIST),
    (None, None, TypeError, "x should be a NumPy array, got: NoneType"),
    (X[0].astype(float), None, ValueError, NO_DTYPE.format("float64") + ", or build the model with dtype=np.float64"),
    (X[0].astype(int), None, ValueError, NO_DTYPE.format("int64")),
    (X[0, 0], None, ValueError, "LSTM: Expected x to be 2D, got 1D instead"),
    (X[:1], None, ValueError, "LSTM: Expected x to be 2D, got 3D instead"),
    (X[0, :, :2], None, RuntimeError, "x.size(-1) must be equal to input_size. Expected 3, got 2"),
    (X[0, :1], None, RuntimeError, "Expected x to have 2 rows, got 1"),
    (X[0, :0], None, RuntimeError, "Expected x to have 2 rows, got 0"),
    (X[0], [[0.0] * 5] * 2, TypeError, "out should be a NumPy array, got: list"),
    (X[0], OUT[:1], ValueError, "out should have shape (2, 5), got: (1, 5)"),
    (X[0], OUT.astype(float), ValueError, "out should have dtype float32, got: float64"),
    (X[0], OUT.astype(">f4"), ValueError, "out should have dtype float32, got: >f4"),
    (X[0], np.broadcast_to(np.float32(0), (2, 5)), ValueError, C_ORDER),
    (X[0], np.zeros((5, 2), np.float32).T, ValueError, C_ORDER),
    (X[0], unaligned(np.zeros((2, 5), np.float32)), ValueError, C_ORDER),
    (X[0], claiming(OUT[:1], OUT), ValueError, "out should have shape (2, 5), got: (1, 5)"),
    (X[0], claiming(OUT.astype(np.int8), OUT), ValueError, "out should have dtype float32, got: int8"),
    (X[0], claiming(np.broadcast_to(np.float32(0), (2, 5)), OUT), ValueError, C_ORDER),
]


@pytest.mark.parametrize("pushed", [0, 2, 7])
@pytest.mark.parametrize(("x", "out", "kind", "message"), PUSHES)
def test_push_errors(x: Any, out: Any, kind: type, message: str, pushed: int) -> None:
    """A push that fails has not been: also when the windows are not full, and the output would not come yet."""
    lstm = numba_lstm.LSTM(3, 5, 2, seed=0)
    window = lstm.sliding_window(3, 2)
    for t in range(pushed):
        window.push(X[t])
    with pytest.raises(kind) as caught:
        window.push(x, out)
    assert type(caught.value) is kind
    assert str(caught.value) == message
    for t in range(pushed, 12):
        y = window.push(X[t])
        if t < 2:
            assert y is None
        else:
            same_bits(y, recomputed(lstm, X, t, 3))


@pytest.mark.parametrize(("size", "kind", "message"), BAD_SIZES)
def test_making_errors(size: Any, kind: type, message: str) -> None:
    lstm = numba_lstm.LSTM(3, 5, seed=0)
    for name, arguments in (("length", {"length": size}), ("batch_size", {"length": 2, "batch_size": size})):
        with pytest.raises(kind) as caught:
            lstm.sliding_window(**arguments)
        assert type(caught.value) is kind
        assert str(caught.value) == message.format(name)


def test_what_cannot_have_a_window() -> None:
    with pytest.raises((TypeError, ValueError), match="length"):
        numba_lstm.LSTM(3, 5, seed=0).sliding_window(True)
    with pytest.raises(ValueError, match="a bidirectional LSTM has no sliding window: its reverse direction"):
        numba_lstm.LSTM(3, 5, bidirectional=True, seed=0).sliding_window(4)
    lstm = numba_lstm.LSTM(3, 5, 2, dropout=0.5, seed=0)
    with pytest.raises(RuntimeError, match=re.escape("a sliding window has no dropout: call eval() first")):
        lstm.sliding_window(4)
    assert lstm.eval().sliding_window(1).push(X[0, :1]).shape == (1, 5)
