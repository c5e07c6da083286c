"""What comes at a bad moment: nobody waits for ever, no place is given twice, and nobody gets another's numbers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from support.streams import same_bits

from numba_lstm import LSTM
from numba_lstm.serving import Batcher
from numba_lstm.serving.network import CHUNK_STEPS

HANG = 60
"""Seconds after which a test is stuck."""

NETWORK = LSTM(3, 5, num_layers=2, seed=0).eval()
X = np.random.default_rng(0).standard_normal((60, 3), np.float32)
OUTPUT = NETWORK(X)[0]


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    return asyncio.run(asyncio.wait_for(main(), HANG))


# --- who waits is answered ------------------------------------------------------------------------------------
def test_an_iterator_that_ends_in_a_step() -> None:
    left = iter([None, None])

    def before(x: np.ndarray) -> np.ndarray:
        next(left)
        return x

    async def main() -> None:
        async with Batcher(NETWORK, before=before, input_size=3) as batcher, await batcher.open() as session:
            await session.step(X[0])
            for _ in range(2):
                with pytest.raises(RuntimeError, match="before raised StopIteration"):
                    await session.step(X[1])

    run(main)


# --- places and states ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("turns", [1, 2])
def test_a_last_turn_of_one_step_that_fails(turns: int) -> None:
    """The turns before it have not been taken either."""
    left = [1000]

    def before(x: np.ndarray) -> np.ndarray:
        left[0] -= 1
        if left[0] < 0:
            raise ArithmeticError("no")
        return x

    with Batcher(NETWORK, before=before, input_size=3) as batcher, batcher.open_sync() as session:
        session.step_sync(X[:3])
        left[0] = turns
        with pytest.raises(ArithmeticError):
            session.step_sync(X[3 : 4 + turns * CHUNK_STEPS])
        left[0] = 1000
        assert session.steps == 3
        same_bits(session.step_sync(X[3:]), OUTPUT[3:])


# --- what callers hand over -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"before": lambda x: x.reshape(1, -1)}, r"before should make .*, got \(1, 6\) for n = 2"),
        ({"after": lambda y: y[:1]}, r"after should make .*, got \(1, 5\) for n = 2"),
        ({"after": lambda y: y.mean(1, keepdims=True) if len(y) > 1 else y}, "after should make 5 features of float32"),
        ({"after": lambda y: y.astype(np.float64) if len(y) > 1 else y}, "after should make 5 features of float32"),
        ({"after": lambda y: y.tolist() if len(y) > 1 else y}, "after should make .*, got list for n = 2"),
    ],
)
def test_functions_that_are_right_for_one_row_only(options: dict[str, Any], message: str | None) -> None:
    if "before" in options:
        options = {**options, "input_size": 3}
    with Batcher(NETWORK, **options) as batcher, batcher.open_sync() as session:
        if message is None:
            session.step_sync(X[:2])
        else:
            with pytest.raises(ValueError, match=message):
                session.step_sync(X[:2])
            assert not np.any(session.state[0])
