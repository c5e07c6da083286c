"""Functions of a batcher's caller, before and after its network."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from support.serving import NETWORK, X, called, run
from support.streams import same_bits

from numba_lstm import LSTM, MaskedArrayError
from numba_lstm.serving import Batcher
from numba_lstm.serving.network import CHUNK_STEPS, ServedNetwork
from numba_lstm.serving.step import Step


def test_before_and_after() -> None:
    lstm = LSTM(3, 5, seed=0).eval()

    async def caller(batcher: Batcher, n: int) -> None:
        x = np.repeat(X[n], 2, axis=1)
        expected = lstm(X[n] * 2)[0].astype(np.float64)[:, :2]
        async with await batcher.open() as session:
            outputs = np.concatenate([await session.step(x[:30]), [await session.step(each) for each in x[30:]]])
        assert outputs.dtype == np.float64
        same_bits(outputs, expected)

    async def main() -> None:
        before: Any = lambda x: x[:, ::2] * 2  # noqa: E731
        after: Any = lambda y: y.astype(np.float64)[:, :2]  # noqa: E731
        async with Batcher(lstm, before=before, after=after, input_size=6) as batcher:
            await asyncio.gather(*(caller(batcher, n) for n in range(8)))

    run(main)


def test_before_may_take_another_dtype() -> None:
    """As of a microphone's samples."""
    samples = np.random.default_rng(0).integers(-(2**15), 2**15, (9, 3)).astype(np.int16)

    def before(x: np.ndarray) -> np.ndarray:
        assert x.dtype == np.int16
        return x.astype(np.float32) / 2**15

    with Batcher(NETWORK, before=before, input_size=3, input_dtype=np.int16) as batcher, batcher.open_sync() as session:
        outputs = np.concatenate([[session.step_sync(samples[0])], session.step_sync(samples[1:].astype(">i2"))])
        with pytest.raises(ValueError, match="x should have dtype int16, got: float32"):
            session.step_sync(X[0, 0])
    same_bits(outputs, NETWORK(before(samples))[0])


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("steps", [1, 3, 2 * CHUNK_STEPS + 3])
def test_a_function_that_fails_changes_nothing(where: str, steps: int) -> None:
    """In the last turn of a chunk, with another session in the same batch."""
    left = [1000]

    def function(array: np.ndarray) -> np.ndarray:
        left[0] -= 1
        if left[0] < 0:
            raise ArithmeticError("no")
        return array

    async def main() -> None:
        options: dict[str, Any] = {where: function, **({"input_size": 3} if where == "before" else {})}
        async with Batcher(NETWORK, **options) as batcher:
            sessions = [await batcher.open() for _ in range(2)]
            left[0] = (steps - 1) // CHUNK_STEPS
            failing = [session.step(X[n, :steps]) for n, session in enumerate(sessions)]
            errors = await asyncio.gather(*failing, return_exceptions=True)
            assert [str(error) for error in errors] == ["no", "no"]
            left[0] = 1000
            assert batcher.counters()["failed"] == 2
            for n, session in enumerate(sessions):
                assert session.steps == 0
                same_bits(await session.step(X[n]), called(n))
                await session.close()

    run(main)


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("steps", [1, 3, 2 * CHUNK_STEPS + 3])
def test_who_fails_does_not_hurt_who_is_in_the_batch(where: str, steps: int) -> None:
    """Two of five have a number, in their last step, for which the function raises an error."""
    bad = np.float32(1000)

    def before(array: np.ndarray) -> np.ndarray:
        if (array == bad).any():
            raise ArithmeticError("no")
        return array

    def after(array: np.ndarray) -> np.ndarray:
        if np.isnan(array).any():
            raise ArithmeticError("no")
        return array

    async def main() -> None:
        options: dict[str, Any] = {"before": before, "input_size": 3} if where == "before" else {"after": after}
        async with Batcher(NETWORK, **options) as batcher:
            sessions = [await batcher.open() for _ in range(5)]
            inputs = [X[n, :steps].copy() for n in range(5)]
            for n in (1, 3):
                inputs[n][-1] = bad if where == "before" else np.nan
            stepping = [session.step(x) for session, x in zip(sessions, inputs, strict=True)]
            found = await asyncio.gather(*stepping, return_exceptions=True)
            assert batcher.counters()["failed"] == 2
            for n, (session, output) in enumerate(zip(sessions, found, strict=True)):
                if n in (1, 3):
                    assert (str(output), session.steps) == ("no", 0)
                    assert output.__context__ is None  # which would be the error of somebody else
                    output = await session.step(X[n, :steps])
                same_bits(output, called(n)[:steps])
                assert session.steps == steps
                await session.close()

    run(main)


@pytest.mark.parametrize("count", [1, 3])
def test_an_error_after_all_are_through_is_nobodys(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """As when there is no memory left for a list."""
    network = ServedNetwork(NETWORK, count, None, None, 3, np.dtype(np.float32))
    advance = network._advance

    def short(steps: list[Step], number: int) -> None:
        advance(steps, number)
        raise MemoryError

    monkeypatch.setattr(network, "_advance", short)
    steps = [Step(n, X[n, :1], np.empty((1, 5), np.float32), None) for n in range(count)]
    assert network.take(steps) == []
    for n, step in enumerate(steps):
        same_bits(step.y, called(n, 1))


@pytest.mark.parametrize("steps", [1, CHUNK_STEPS + 1])
def test_outputs_are_plain_arrays(steps: int) -> None:
    class Kind(np.ndarray):
        pass

    with Batcher(NETWORK, after=lambda y: y.view(Kind)) as batcher, batcher.open_sync() as session:
        output = session.step_sync(X[0, :steps])
        assert type(output) is np.ndarray
        same_bits(output, called(0, steps))
    with pytest.raises(MaskedArrayError, match="what after makes is a masked array"):
        Batcher(NETWORK, after=lambda y: np.ma.masked_less(y, 0))


@pytest.mark.parametrize("ask", ["step", "steps", "state", "open", "close", "aclose", "close all", "aclose all"])
def test_a_function_cannot_wait_for_who_calls_it(ask: str) -> None:
    asked: list[Any] = []

    def before(array: np.ndarray) -> np.ndarray:
        if asked:
            asked[0]()
        return array

    with Batcher(NETWORK, before=before, input_size=3) as batcher:
        first, second = batcher.open_sync(), batcher.open_sync()
        questions = {
            "step": lambda: second.step_sync(X[1, 0]),
            "steps": lambda: second.steps,
            "state": lambda: second.state,
            "open": batcher.open_sync,
            "close": second.close_sync,
            "aclose": lambda: asyncio.run(second.close()),
            "close all": batcher.close_sync,
            "aclose all": lambda: asyncio.run(batcher.close()),
        }
        asked.append(questions[ask])
        with pytest.raises(RuntimeError, match="before and after cannot ask the Batcher that calls them"):
            first.step_sync(X[0, 0])
        asked.clear()
        same_bits(first.step_sync(X[0, 0]), called(0, 1)[0])
        same_bits(second.step_sync(X[1, 0]), called(1, 1)[0])
        first.close_sync()
        second.close_sync()


def test_what_is_no_function_of_rows() -> None:
    with pytest.raises(ValueError, match=r"after should make an \(n, features\) array .* got \(5,\) for n = 1"):
        Batcher(NETWORK, after=lambda y: y[0])
    with pytest.raises(ValueError, match="got float for n = 1"):
        Batcher(NETWORK, after=lambda y: 0.5)
    with pytest.raises(ValueError, match="before and input_size go together"):
        Batcher(NETWORK, before=lambda x: x)
    with pytest.raises(ValueError, match="before and input_size go together"):
        Batcher(NETWORK, input_size=4)
    with pytest.raises(ValueError, match="before and input_size go together"):
        Batcher(NETWORK, input_dtype=np.int16)
    with pytest.raises(TypeError, match="input_dtype should be a dtype of numbers, got: object"):
        Batcher(NETWORK, before=lambda x: x, input_size=3, input_dtype=object)
    with pytest.raises(TypeError, match="before should be a function, got: int"):
        Batcher(NETWORK, before=3, input_size=3)  # type: ignore[arg-type]

    async def main() -> None:
        with pytest.raises(RuntimeError, match="Expected 3, got 4"):
            async with Batcher(NETWORK, before=lambda x: x, input_size=4):
                pass
        # What goes wrong is said to everybody.
        batcher = Batcher(NETWORK, before=lambda x: x, input_size=4)
        for _ in range(2):
            with pytest.raises(RuntimeError, match="Expected 3, got 4"):
                await batcher.open()
        await batcher.close()

    run(main)
