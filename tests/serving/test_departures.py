"""Who goes away, in whichever way, hurts nobody, and keeps no place."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from support.serving import HANG, NETWORK, Gate, X, called, ready, run
from support.streams import same_bits

from numba_lstm.serving import Batcher, ClosedError, FullError, Session
from numba_lstm.serving.network import CHUNK_STEPS


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


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")  # as here, where threads wait
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
