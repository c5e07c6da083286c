"""The batcher: whoever is there, each caller gets the bits of a call, and nobody is hurt by what others do."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cases import Case, Shape, assert_same_bits, both_dtypes, module, random_case
from support.streams import BAD_SIZES, NO_DTYPE, NO_LIST, same_bits

from numba_lstm import LSTM, MaskedArrayError
from numba_lstm.serving import Batcher, ClosedError, FullError, Session
from numba_lstm.serving.network import CHUNK_STEPS, ServedNetwork
from numba_lstm.serving.step import Step

HANG = 60
"""Seconds after which a test is stuck."""

X = np.random.default_rng(0).standard_normal((8, 60, 3), np.float32)
"""Inputs (N, L, H_in) of `NETWORK`."""

NETWORK = LSTM(3, 5, num_layers=2, seed=0).eval()


def called(n: int, steps: int | None = None, lstm: LSTM = NETWORK) -> np.ndarray:
    """Return the output of a call for the first steps of one sequence."""
    output: np.ndarray = lstm(X[n, :steps])[0]
    return output


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    """Run a coroutine; a hang is an error."""
    return asyncio.run(asyncio.wait_for(main(), HANG))


class Gate:
    """What batches go through one by one, when they are let: a ``before`` that changes nothing."""

    def __init__(self) -> None:
        self.arrived, self._let = threading.Semaphore(0), threading.Semaphore(1)  # one for what the batcher prepares
        self.sizes: list[int] = []

    def __call__(self, x: np.ndarray) -> np.ndarray:
        self.sizes.append(len(x))
        self.arrived.release()
        assert self._let.acquire(timeout=HANG)
        return x

    async def wait(self) -> None:
        """Wait until the next batch has come to the gate."""
        arrived = await asyncio.get_running_loop().run_in_executor(None, self.arrived.acquire, True, HANG)
        assert arrived

    def open(self, batches: int = 1000) -> None:
        """Let so many through."""
        self._let.release(batches)

    def batcher(self, **options: Any) -> Batcher:
        return Batcher(NETWORK, before=self, input_size=3, **{"max_sessions": 8, "max_wait": 0.0, **options})


async def ready(gate: Gate) -> None:
    """Wait until what the batcher prepares has gone through."""
    await gate.wait()


# --- bits -----------------------------------------------------------------------------------------------------
@st.composite
def served(draw: st.DrawFn) -> tuple[Case, list[list[int]], int]:
    """Return a network with inputs, how each sequence is cut, and a seed for what happens when."""
    hidden = draw(st.integers(1, 40))
    shape = Shape(
        draw(st.integers(1, 20)),
        hidden,
        draw(st.integers(1, 3)),
        draw(st.booleans()),
        proj_size=draw(st.just(0) | st.integers(0, hidden - 1)),
        steps=draw(st.integers(1, 50)),
        rows=draw(st.integers(1, 7)),
    )
    case = random_case(shape, draw(st.integers(0, 2**32 - 1)), draw(st.sampled_from([np.float32, np.float64])))
    size = st.one_of(st.just(1), st.integers(1, 2 * CHUNK_STEPS + 2))
    cuts = [draw(st.lists(size, min_size=shape.steps, max_size=shape.steps)) for _ in range(shape.rows)]
    return case, cuts, draw(st.integers(0, 2**32 - 1))


def chunks(x: np.ndarray, cuts: list[int]) -> Iterator[np.ndarray]:
    """Cut a sequence; chunks of one step have the axis of steps or not."""
    begin = 0
    for size in cuts:
        if begin < len(x):
            part = x[begin : begin + size]
            yield part[0] if size == 1 and begin % 2 else part
            begin += size


@given(served())
@settings(max_examples=settings.default.max_examples // 2)
def test_any_timing_gives_the_bits_of_a_call(drawn: tuple[Case, list[list[int]], int]) -> None:
    case, cuts, seed = drawn
    lstm, rows = module(case).eval(), case.shape.rows
    expected, (h_n, c_n) = lstm(case.x, case.hx)
    rng = np.random.default_rng(seed)
    pauses = rng.choice([0.0, 0.0, 0.0001, 0.001], (rows, case.shape.steps + 1))

    async def caller(batcher: Batcher, n: int) -> None:
        await asyncio.sleep(pauses[n, -1])
        async with await batcher.open((case.hx[0][:, n], case.hx[1][:, n])) as session:
            outputs = []
            for index, chunk in enumerate(chunks(case.x[:, n], cuts[n])):
                outputs.append(np.atleast_2d(await session.step(chunk)))
                await asyncio.sleep(pauses[n, index])
            same_bits(np.concatenate(outputs), expected[:, n])
            assert_same_bits((outputs[0], session.state), (outputs[0], (h_n[:, n], c_n[:, n])))
            assert session.steps == case.shape.steps

    async def main() -> None:
        async with Batcher(lstm, max_sessions=rows, max_wait=float(rng.choice([0, 0.001]))) as batcher:
            await asyncio.gather(*(caller(batcher, n) for n in range(rows)))
            counters = batcher.counters()
            assert (counters["sessions"], counters["steps"]) == (0, rows * case.shape.steps)

    run(main)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_threads(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cuts = rng.choice([1, 1, 2, 20, 40], (8, 60))

    def caller(n: int) -> None:
        with batcher.open_sync() as session:
            outputs = [np.atleast_2d(session.step_sync(chunk)) for chunk in chunks(X[n], list(cuts[n]))]
        same_bits(np.concatenate(outputs), called(n))

    with Batcher(NETWORK, max_sessions=8) as batcher, ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(caller, n) for n in range(8)]:
            done.result(HANG)


@pytest.mark.parametrize("form", ["int8", "float16"])
def test_small_weights_and_batch_first(form: str) -> None:
    lstm = LSTM(3, 5, num_layers=2, batch_first=True, seed=0).eval().quantize(form)

    async def caller(batcher: Batcher, n: int) -> None:
        async with await batcher.open() as session:
            outputs = [await session.step(part) for part in (X[n, :25], X[n, 25:])]
        same_bits(np.concatenate(outputs), called(n, lstm=lstm))

    async def main() -> None:
        async with Batcher(lstm) as batcher:
            await asyncio.gather(*(caller(batcher, n) for n in range(8)))

    run(main)


def test_one_batcher_for_several_event_loops() -> None:
    async def caller(batcher: Batcher, n: int) -> np.ndarray:
        async with await batcher.open() as session:
            return np.stack([await session.step(x) for x in X[n]])

    with Batcher(NETWORK) as batcher, ThreadPoolExecutor(4) as pool:
        outputs = list(pool.map(lambda n: asyncio.run(caller(batcher, n)), range(4), timeout=HANG))
    for n, output in enumerate(outputs):
        same_bits(output, called(n))


def test_an_input_is_copied_and_outputs_are_ones_own() -> None:
    async def main() -> None:
        async with gate.batcher() as batcher:
            await ready(gate)
            one, two = [await batcher.open() for _ in range(2)]
            buffer = X[0, 0].copy()
            first = asyncio.ensure_future(one.step(buffer))
            await gate.wait()
            second = asyncio.ensure_future(two.step(buffer))
            await asyncio.sleep(0)
            buffer[...] = np.nan
            gate.open()
            a, b = await first, await second
            a[...] = np.nan
            same_bits(b, called(0, 1)[0])
            same_bits(np.atleast_2d(await one.step(X[0, 1]))[0], called(0, 2)[1])
            for session in (one, two):
                await session.close()

    gate = Gate()
    run(main)


def test_bytes_are_taken_as_they_are() -> None:
    """As they come from a network, in chunks and step by step."""
    with Batcher(NETWORK) as batcher, batcher.open_sync() as session:
        first = [session.step_sync(np.frombuffer(x.tobytes(), np.float32)) for x in X[0, :3]]
        rest = session.step_sync(np.frombuffer(X[0, 3:].tobytes(), np.float32).reshape(-1, 3))
        swapped = np.frombuffer(X[1].astype(">f4").tobytes(), ">f4").reshape(-1, 3)
        session.state = np.zeros((2, 5), np.float32), np.zeros((2, 5), np.float32)
        same_bits(session.step_sync(swapped), called(1))
    same_bits(np.concatenate([first, rest]), called(0))


def test_the_state_moves_to_another_process() -> None:
    async def main(queue: Any) -> None:
        async with Batcher(NETWORK) as batcher, await batcher.open() as session:
            await session.step(X[0, :7])
            queue.append(session.state)

    states: list[Any] = []
    run(lambda: main(states))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        rest = pool.apply_async(_go_on, (states[0],)).get(HANG)
    same_bits(rest, called(0)[7:])


def _go_on(state: Any) -> np.ndarray:
    with Batcher(NETWORK) as batcher, batcher.open_sync(state) as session:
        return session.step_sync(X[0, 7:])


# --- batches --------------------------------------------------------------------------------------------------
def test_what_waits_is_computed_together() -> None:
    async def main() -> None:
        async with gate.batcher() as batcher:
            await ready(gate)
            sessions = [await batcher.open() for _ in range(6)]
            steps = [asyncio.ensure_future(sessions[0].step(X[0, 0]))]
            await gate.wait()
            steps += [asyncio.ensure_future(session.step(X[n, 0])) for n, session in enumerate(sessions) if n]
            await asyncio.sleep(0)
            gate.open()
            for n, step in enumerate(steps):
                same_bits(await step, called(n, 1)[0])
            counters = batcher.counters()
            assert gate.sizes == [1, 1, 5]
            assert counters["batch_sizes"] == {1: 1, 8: 1}
            assert (counters["sessions"], counters["opened"], counters["batches"]) == (6, 6, 2)
            assert counters["waiting_seconds"] > 0
            assert counters["computing_seconds"] > 0
            for session in sessions:
                await session.close()

    gate = Gate()
    run(main)


def test_who_comes_in_step_is_waited_for() -> None:
    """And who is alone is not: nobody would ever wait for so long as this."""

    async def main() -> None:
        async with Batcher(NETWORK, max_wait=1e6) as batcher:
            async with await batcher.open() as alone:
                for x in X[0, :5]:
                    await alone.step(x)
            sessions = [await batcher.open() for _ in range(8)]
            for t in range(20):
                # In step from the first one on: who came late for that would be held up for those who have answers.
                with batcher._engine.locked():
                    steps = [asyncio.ensure_future(session.step(X[n, t])) for n, session in enumerate(sessions)]
                    await asyncio.sleep(0)
                await asyncio.gather(*steps)
            for session in sessions:
                await session.close()
            assert batcher.counters()["batch_sizes"] == {1: 5, 8: 20}

    run(main)


def test_a_long_chunk_lets_others_in() -> None:
    async def main() -> None:
        async with gate.batcher() as batcher:
            await ready(gate)
            long, short = [await batcher.open() for _ in range(2)]
            chunk = asyncio.ensure_future(long.step(X[0]))
            await gate.wait()
            step = asyncio.ensure_future(short.step(X[1, 0]))
            await asyncio.sleep(0)
            gate.open(3)  # the first turn; then one step of both, and the rest of the second turn
            same_bits(await step, called(1, 1)[0])
            assert not chunk.done()
            gate.open()
            same_bits(await chunk, called(0))
            for session in (long, short):
                await session.close()

    gate = Gate()
    run(main)


# --- before and after ---------------------------------------------------------------------------------------
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


# --- who goes away ------------------------------------------------------------------------------------------
def test_a_step_that_is_cancelled_while_it_waits_is_not_taken() -> None:
    async def main() -> None:
        async with gate.batcher() as batcher:
            await ready(gate)
            other, session = [await batcher.open() for _ in range(2)]
            going = asyncio.ensure_future(other.step(X[1, 0]))
            await gate.wait()
            waiting = asyncio.ensure_future(session.step(X[0, 5]))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            gate.open()
            same_bits(await going, called(1, 1)[0])
            assert session.steps == 0
            same_bits(await session.step(X[0]), called(0))
            assert batcher.counters()["cancelled"] == 1
            assert batcher.counters()["steps"] == 61
            for each in (other, session):
                await each.close()

    gate = Gate()
    run(main)


def test_a_step_that_is_cancelled_while_it_is_computed_is_taken() -> None:
    async def main() -> None:
        async with gate.batcher() as batcher:
            await ready(gate)
            session = await batcher.open()
            going = asyncio.ensure_future(session.step(X[0, 0]))
            await gate.wait()
            going.cancel()
            with pytest.raises(asyncio.CancelledError):
                await going
            next_one = asyncio.ensure_future(session.step(X[0, 1]))  # it has to wait for its own
            await asyncio.sleep(0)
            gate.open()
            same_bits(await next_one, called(0, 2)[1])
            assert session.steps == 2
            await session.close()

    gate = Gate()
    run(main)


@pytest.mark.parametrize("count", [1, CHUNK_STEPS + 1])
def test_who_goes_on_after_a_timeout_takes_no_step_twice(count: int) -> None:
    """However long the batch takes that is being computed."""
    slow, let = threading.Event(), threading.Event()

    def before(x: np.ndarray) -> np.ndarray:
        if slow.is_set():
            let.wait(0.2)  # nobody lets it: a batch that takes its time
        return x

    async def main() -> None:
        async with Batcher(NETWORK, before=before, input_size=3) as batcher, await batcher.open() as session:
            same_bits(await session.step(X[0, :2]), called(0, 2))
            slow.set()
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(session.step(X[0, 2 : 2 + count]), 0.02)
            taken = session.steps
            slow.clear()
            assert taken in (2, 2 + count)
            same_bits(await session.step(X[0, taken:]), called(0)[taken:])

    run(main)


def test_a_chunk_that_is_cancelled_between_its_turns_is_not_taken() -> None:
    async def main() -> None:
        async with gate.batcher() as batcher:
            await ready(gate)
            session = await batcher.open()
            same_bits(await asyncio.wait_for(_through(gate, session.step(X[0, :2])), HANG), called(0, 2))
            chunk = asyncio.ensure_future(session.step(X[0, 2:]))
            await gate.wait()
            gate.open(1)
            await gate.wait()
            chunk.cancel()
            with pytest.raises(asyncio.CancelledError):
                await chunk
            gate.open()
            h, _ = session.state
            same_bits(h[-1], called(0, 2)[1])
            assert session.steps == 2
            same_bits(await session.step(X[0, 2:]), called(0)[2:])
            await session.close()

    gate = Gate()
    run(main)


async def _through(gate: Gate, step: Awaitable[np.ndarray]) -> np.ndarray:
    gate.open(1)
    result = await step
    await gate.wait()
    return result


def test_closing_wakes_who_waits() -> None:
    async def main() -> None:
        async with gate.batcher(max_sessions=2) as batcher:
            await ready(gate)
            other, session = [await batcher.open() for _ in range(2)]
            going = asyncio.ensure_future(other.step(X[1, 0]))
            await gate.wait()
            waiting = asyncio.ensure_future(session.step(X[0, 0]))
            await asyncio.sleep(0)
            closing = [asyncio.ensure_future(each.close()) for each in (session, other)]
            for step in (waiting, going):
                with pytest.raises(ClosedError, match="this Session has been closed"):
                    await step
            gate.open()
            await asyncio.gather(*closing)
            again = await batcher.open()  # the place of one whose step was being computed is as good as new
            last = await batcher.open()
            for each in (again, last):
                same_bits(await each.step(X[0]), called(0))
                await each.close()

    gate = Gate()
    run(main)


def test_a_full_house() -> None:
    async def main() -> None:
        async with Batcher(NETWORK, max_sessions=2) as batcher:
            sessions = [await batcher.open() for _ in range(2)]
            await sessions[1].step(X[0, :5])
            for opened in (batcher.open(), batcher.open()):
                with pytest.raises(FullError, match="all 2 sessions are open"):
                    await opened
            with pytest.raises(FullError):
                batcher.open_sync()
            await sessions[1].close()
            with pytest.raises(ClosedError, match="this Session has been closed"):
                await sessions[1].step(X[0, 0])
            with pytest.raises(ClosedError):
                _ = sessions[1].state
            await sessions[1].close()  # once more does nothing
            new = await batcher.open()
            same_bits(await new.step(X[1]), called(1))
            same_bits(await sessions[0].step(X[0]), called(0))
            assert batcher.counters()["refused"] == 3
            for session in (new, sessions[0]):
                await session.close()

    run(main)


def test_a_closed_batcher() -> None:
    async def main() -> None:
        async with gate.batcher() as batcher:
            await ready(gate)
            session, other = [await batcher.open() for _ in range(2)]
            steps = [asyncio.ensure_future(each.step(X[0, 0])) for each in (session, other)]
            await gate.wait()
            closing = asyncio.ensure_future(batcher.close())
            await asyncio.sleep(0)
            with pytest.raises(ClosedError, match="the Batcher has been closed"):
                await batcher.open()
            gate.open()
            for step in steps:  # what waited is answered
                same_bits(await step, called(0, 1)[0])
            await closing
        with pytest.raises(ClosedError, match="the Batcher has been closed"):
            await session.step(X[0, 1])
        h, c = session.state  # to be taken elsewhere
        same_bits(h[-1], called(0, 1)[0])
        await session.close()
        await other.close()
        await batcher.close()
        async with Batcher(NETWORK) as next_one, await next_one.open((h, c)) as moved:
            same_bits(await moved.step(X[0, 1:]), called(0)[1:])

    gate = Gate()
    run(main)


def test_who_is_lost_keeps_no_place() -> None:
    async def main() -> None:
        async with Batcher(NETWORK, max_sessions=1) as batcher:
            for _ in range(3):
                lost = [await batcher.open()]
                await lost[0].step(X[0, :3])
                with pytest.warns(ResourceWarning, match="unclosed <Session 0>"):
                    lost.clear()
                while batcher.counters()["sessions"]:
                    await asyncio.sleep(0.001)
            async with await batcher.open() as session:
                same_bits(await session.step(X[0]), called(0))

    run(main)


def test_an_event_loop_that_is_gone() -> None:
    """Its callers wait no more; the others' steps are in the same batch."""
    gate = Gate()
    with gate.batcher() as batcher:
        assert gate.arrived.acquire(timeout=HANG)
        sessions = [batcher.open_sync() for _ in range(3)]

        async def ask(session: Session) -> None:
            step = asyncio.ensure_future(session.step(X[0, 0]))
            await asyncio.sleep(0)
            step.cancel()

        async def keep(session: Session) -> None:
            kept.append(session.step(X[0, 0]))
            kept[0].send(None)

        kept: list[Any] = []
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(sessions[0].step_sync, X[1, 0])
            assert gate.arrived.acquire(timeout=HANG)
            asyncio.run(ask(sessions[1]))
            asyncio.run(keep(sessions[2]))  # as a program that is stopped leaves it
            second = pool.submit(lambda: (first.result(HANG), sessions[0].step_sync(X[1, 1]))[1])
            gate.open()
            same_bits(second.result(HANG), called(1, 2)[1])
        kept[0].close()
        for session in sessions:
            session.close_sync()


def test_processes_end_whatever_was_forgotten() -> None:
    code = """
import numpy as np, asyncio, threading, os, warnings
from numba_lstm import LSTM, MaskedArrayError
from numba_lstm.serving import Batcher
warnings.simplefilter("ignore", ResourceWarning)
batcher = Batcher(LSTM(3, 5).eval())
session = batcher.open_sync()
session.step_sync(np.ones((5, 3), np.float32))
async def main():
    other = await batcher.open()
    steps = [asyncio.ensure_future(other.step(np.ones((100_000, 3), np.float32)))]
    await asyncio.sleep(0.001)
asyncio.run(main())
print("end")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=HANG, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")


def test_an_unclosed_batcher_ends_its_thread() -> None:
    lost = [Batcher(NETWORK)]
    lost[0].open_sync().close_sync()
    (thread,) = [each for each in threading.enumerate() if each.name == "numba_lstm.serving"]
    with pytest.warns(ResourceWarning, match=r"unclosed <Batcher of LSTM\(3, 5\), 0 of 1000 sessions open>"):
        lost.clear()
    thread.join(HANG)
    assert not thread.is_alive()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_that_was_forked_makes_its_own() -> None:
    with Batcher(NETWORK) as batcher, batcher.open_sync() as session:
        session.step_sync(X[0, 0])
        _inherited.append((batcher, session))
        with multiprocessing.get_context("fork").Pool(1) as pool:
            messages = pool.apply_async(_in_child).get(HANG)
        _inherited.clear()
        assert messages == ["this Batcher belongs to the process that made it: make one after the fork"] * 3
        same_bits(session.step_sync(X[0, 1]), called(0, 2)[1])


_inherited: list[tuple[Batcher, Session]] = []


def _in_child() -> list[str]:
    messages = []
    batcher, session = _inherited[0]
    for use in (batcher.open_sync, lambda: session.step_sync(X[0, 0]), lambda: session.state):
        try:
            use()
        except RuntimeError as error:
            messages.append(str(error))
    return messages


# --- bad input ----------------------------------------------------------------------------------------------
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
    for wait in (-1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="max_wait should be finite and not negative"):
            Batcher(NETWORK, max_wait=wait)
    for wait in (None, "1", True):
        with pytest.raises(TypeError, match="max_wait should be a number of seconds"):
            Batcher(NETWORK, max_wait=wait)  # type: ignore[arg-type]
