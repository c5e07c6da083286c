"""The batcher: whoever is there, each caller gets the bits of a call."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cases import Case, Shape, assert_same_bits, module, random_case
from support.serving import HANG, NETWORK, Gate, X, called, ready, run
from support.streams import same_bits

from numba_lstm import LSTM
from numba_lstm.serving import Batcher
from numba_lstm.serving.network import CHUNK_STEPS

# --- bits ---------------------------------------------------------------------------------------------------


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


# --- batches ------------------------------------------------------------------------------------------------


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
