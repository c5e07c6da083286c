"""Steps, states and networks that a batcher refuses."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from support.cases import both_dtypes
from support.serving import NETWORK, Gate, X, called, ready, run
from support.streams import BAD_SIZES, NO_DTYPE, NO_LIST, same_bits

from numba_lstm import LSTM
from numba_lstm.serving import Batcher


@pytest.mark.parametrize(
    ("x", "kind", "message"),
    [
        ([0.0] * 3, TypeError, NO_LIST),
        (np.zeros(3), ValueError, NO_DTYPE.format("float64")),
        (np.zeros(3, np.int32), ValueError, NO_DTYPE.format("int32")),
        (np.zeros(4, np.float32), RuntimeError, "x.size(-1) must be equal to input_size. Expected 3, got 4"),
        (np.zeros((2, 4), np.float32), RuntimeError, "x.size(-1) must be equal to input_size. Expected 3, got 4"),
        (np.zeros((0, 3), np.float32), RuntimeError, "Expected sequence length to be larger than 0 in RNN"),
        (np.zeros((), np.float32), ValueError, "LSTM: Expected x to be 1D or 2D, got 0D instead"),
        (np.zeros((1, 1, 3), np.float32), ValueError, "LSTM: Expected x to be 1D or 2D, got 3D instead"),
        (None, TypeError, "x should be a NumPy array, got: NoneType"),
    ],
)
def test_bad_steps(x: Any, kind: type, message: str) -> None:
    async def main() -> None:
        async with Batcher(NETWORK) as batcher, await batcher.open() as session:
            await session.step(X[0, :4])
            with pytest.raises(kind) as caught:
                await session.step(x)
            assert str(caught.value).startswith(message)
            with pytest.raises(kind) as caught:
                await asyncio.to_thread(session.step_sync, x)
            assert str(caught.value).startswith(message)
            same_bits(await session.step(X[0, 4:]), called(0)[4:])

    run(main)


def test_two_steps_at_once() -> None:
    async def main() -> None:
        async with gate.batcher() as batcher:
            await ready(gate)
            session = await batcher.open()
            going = asyncio.ensure_future(session.step(X[0, 0]))
            await gate.wait()
            message = "this Session has a step under way: await it first, or open another session"
            with pytest.raises(RuntimeError, match=message):
                await session.step(X[0, 1])
            with pytest.raises(RuntimeError, match=message):
                _ = session.state
            with pytest.raises(RuntimeError, match=message):
                session.state = NETWORK(X[0])[1]
            gate.open()
            same_bits(await going, called(0, 1)[0])
            same_bits(await session.step(X[0, 1]), called(0, 2)[1])
            await session.close()

    gate = Gate()
    run(main)


@both_dtypes
def test_bad_states(dtype: type) -> None:
    lstm = LSTM(3, 5, num_layers=2, dtype=dtype, seed=0).eval()
    good = np.zeros((2, 5), dtype), np.zeros((2, 5), dtype)
    other = np.float64 if dtype is np.float32 else np.float32
    bad = [
        (good[0], np.zeros((2, 4), dtype)),
        (good[0][:1], good[1]),
        (good[0][None], good[1][None]),
        tuple(each.astype(other) for each in good),
        good[:1],
        3,
    ]
    with Batcher(lstm, max_sessions=1) as batcher:
        for state in bad:
            with pytest.raises((RuntimeError, ValueError, TypeError)):
                batcher.open_sync(state)  # type: ignore[arg-type]
        with batcher.open_sync(good) as session:
            before = session.state
            for state in bad:
                with pytest.raises((RuntimeError, ValueError, TypeError)):
                    session.state = state  # type: ignore[assignment]
            for one, two in zip(before, session.state, strict=True):
                same_bits(one, two)


def test_what_cannot_be_served() -> None:
    with pytest.raises(ValueError, match="a bidirectional LSTM has no stream"):
        Batcher(LSTM(3, 5, bidirectional=True))
    with pytest.raises(RuntimeError, match="call eval"):
        Batcher(LSTM(3, 5, num_layers=2, dropout=0.5))
    with pytest.raises(TypeError, match="lstm should be an LSTM, got: str"):
        Batcher("lstm.npz")  # type: ignore[arg-type]
    for size, kind, message in BAD_SIZES:
        with pytest.raises(kind) as caught:
            Batcher(NETWORK, max_sessions=size)
        assert str(caught.value) == message.format("max_sessions")
        if size is not None:  # which is that of the network
            with pytest.raises(kind) as caught:
                Batcher(NETWORK, before=lambda rows: rows, input_size=size)
            assert str(caught.value) == message.format("input_size")
    for wait in (-1, float("nan"), float("inf"), 10**400, -(10**400)):
        with pytest.raises(ValueError, match="max_wait should be finite and not negative"):
            Batcher(NETWORK, max_wait=wait)
    for wait in (None, "1", True, Fraction(1, 2), Decimal("0.1")):
        with pytest.raises(TypeError, match="max_wait should be a number of seconds"):
            Batcher(NETWORK, max_wait=wait)  # type: ignore[arg-type]
