"""What comes at a bad moment: nobody waits for ever, no place is given twice, and nobody gets another's numbers."""

from __future__ import annotations

import asyncio
import copy
import os
import pickle
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest
from support.interrupts import interrupted_after
from support.serving import HANG, NETWORK, run
from support.streams import same_bits

from numba_lstm.serving import Batcher, ClosedError, FullError, Session
from numba_lstm.serving import engine as engine_module
from numba_lstm.serving import session as session_module
from numba_lstm.serving.engine import Engine
from numba_lstm.serving.network import CHUNK_STEPS, ServedNetwork
from numba_lstm.serving.step import Step, answer

X = np.random.default_rng(0).standard_normal((60, 3), np.float32)
OUTPUT = NETWORK(X)[0]
ZEROS = np.zeros((2, 5), np.float32), np.zeros((2, 5), np.float32)


class Door:
    """A ``before`` that changes nothing, and lets nobody through while it is shut."""

    def __init__(self) -> None:
        self.open, self.arrived = threading.Event(), threading.Semaphore(0)
        self.open.set()

    def __call__(self, x: np.ndarray) -> np.ndarray:
        self.arrived.release()
        assert self.open.wait(HANG)
        return x

    def batcher(self, **options: Any) -> Batcher:
        return Batcher(NETWORK, before=self, input_size=3, **{"max_sessions": 2, "max_wait": 0.0, **options})

    def shut(self) -> None:
        self.open.clear()
        while self.arrived.acquire(blocking=False):
            pass

    async def wait(self) -> None:
        """Wait until a batch has come to the door."""
        assert await asyncio.to_thread(self.arrived.acquire, True, HANG)


def step_of(session: Session, x: np.ndarray, kind: type[Step] = Step) -> Step:
    """Return a step for which no thread waits yet."""
    return kind(session._row, x, np.empty((len(x), 5), np.float32), None)


# --- who waits is answered ------------------------------------------------------------------------------------
def test_who_was_held_up_for_others_goes_away() -> None:
    """And nobody else waits: the thread goes on."""

    async def main() -> None:
        async with Batcher(NETWORK, max_wait=0.2) as batcher:
            sessions = [await batcher.open() for _ in range(2)]
            await asyncio.gather(*(session.step(X[0]) for session in sessions))
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(sessions[0].step(X[1]), 0.05)
            await asyncio.sleep(0.4)
            for session in sessions:
                same_bits(await session.step(X[1]), OUTPUT[1])
                await session.close()

    run(main)


def test_who_is_cancelled_while_it_is_prepared_harms_nobody() -> None:
    async def main() -> None:
        door = Door()
        door.shut()
        batcher = door.batcher()
        opening = [asyncio.ensure_future(batcher.open()) for _ in range(2)]
        await door.wait()
        opening[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening[0]
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(batcher.open(), 0.001)
        door.open.set()
        async with await opening[1] as session:
            same_bits(await session.step(X), OUTPUT)
        await batcher.close()

    run(main)


@pytest.mark.parametrize("error", [StopIteration(), SystemExit(3)])
def test_what_before_raises_at_first(error: BaseException) -> None:
    def before(x: np.ndarray) -> np.ndarray:
        raise error

    batcher = Batcher(NETWORK, before=before, input_size=3)
    expected = RuntimeError if isinstance(error, StopIteration) else SystemExit
    with pytest.raises(expected):
        batcher.open_sync()
    if expected is RuntimeError:
        with pytest.raises(RuntimeError, match="before raised StopIteration"):
            run(batcher.open)
    batcher.close_sync()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_error_while_a_batch_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for the thread that it ends is told: for a state or a step, or for the rest of a chunk."""

    def drop(network: ServedNetwork, step: Step) -> None:
        raise MemoryError("no memory for the states")

    monkeypatch.setattr(ServedNetwork, "drop", drop)

    door = Door()
    batcher = door.batcher(max_sessions=3)
    sessions = [batcher.open_sync() for _ in range(3)]
    long, lost, other = [step_of(session, X) for session in sessions]
    engine = batcher._engine
    door.shut()
    with engine.locked():
        engine.submit(long)
        engine.submit(lost)
    assert door.arrived.acquire(timeout=HANG)
    engine.withdraw(lost)
    with engine.locked():
        engine.submit(other)
    state = engine.state(sessions[1]._row)
    door.open.set()
    for future in (state, long.future, other.future):
        with pytest.raises(MemoryError, match="no memory for the states"):
            future.result(HANG)
    for session in sessions:
        session.close_sync()
    batcher.close_sync()


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


def test_no_thread_can_be_started_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    batcher = Batcher(NETWORK)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        for _ in range(2):
            with pytest.raises(RuntimeError, match="can't start new thread"):
                batcher.open_sync()
    with batcher.open_sync() as session:
        same_bits(session.step_sync(X), OUTPUT)
    batcher.close_sync()


@pytest.mark.parametrize("started", [False, True], ids=["before", "behind"])
def test_ctrl_c_while_the_thread_is_started(monkeypatch: pytest.MonkeyPatch, started: bool) -> None:
    """Just before there is one, or behind: the next who opens a session has a thread, and there are no two."""
    threads: list[threading.Thread] = []
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        if started:
            start(thread)
            threads.append(thread)
        raise KeyboardInterrupt

    batcher = Batcher(NETWORK)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                batcher.open_sync()
    assert not batcher.counters()["sessions"]
    with batcher.open_sync() as session:
        for thread in threads:
            thread.join(HANG)
            assert not thread.is_alive()
        same_bits(session.step_sync(X), OUTPUT)
    batcher.close_sync()


# The thread that begins runs the code of which every byte code is traced.
@pytest.mark.skipif(sys.version_info[:2] == (3, 12), reason="a tracer of byte codes and a new thread crash Python 3.12")
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of one that was opened, and interrupted just then
def test_ctrl_c_while_the_first_session_is_opened() -> None:
    """Whenever it comes, the next one can be opened."""
    calls, interrupts = 0, True
    while interrupts:
        calls, batcher = calls + 1, Batcher(NETWORK, max_sessions=1)  # which starts no thread by itself
        interrupts = interrupted_after(calls, "serving", batcher.open_sync)
        wait_until_empty(batcher)
        with batcher.open_sync() as session:
            same_bits(session.step_sync(X), OUTPUT)
        batcher.close_sync()
    assert calls > 10


def test_two_answers_to_a_thread() -> None:
    """Its session is closed just when its step is through."""

    class Late(Future):  # type: ignore[type-arg]
        def done(self) -> bool:
            return False

    step = Step(0, X[:1], np.empty((1, 5), np.float32), None)
    step.future = Late()
    answer([step])
    answer([step], ClosedError("this Session has been closed"))
    assert step.future.result(HANG) is None


# --- places and states ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("lost", [False, True])
def test_a_coroutine_that_is_gone_leaves_a_clean_place(lost: bool) -> None:
    """As when its event loop is: the step that it had asked for is not taken, least of all by who comes next."""

    async def main() -> None:
        door = Door()
        async with door.batcher() as batcher:
            other, session = [await batcher.open() for _ in range(2)]
            door.shut()
            going = asyncio.ensure_future(other.step(X[0]))
            await door.wait()
            coroutine = session.step(X[30])
            coroutine.send(None)
            coroutine.close()
            if lost:
                with pytest.warns(ResourceWarning, match="unclosed <Session 1>"):
                    del session, coroutine
            else:
                closing = asyncio.ensure_future(session.close())
                await asyncio.sleep(0)
            door.open.set()
            same_bits(await going, OUTPUT[0])
            if not lost:
                await closing
            async with await _opened(batcher) as new:
                assert new.steps == 0
                same_bits(await new.step(X), OUTPUT)
            await other.close()

    run(main)


async def _opened(batcher: Batcher) -> Any:
    while True:
        try:
            return await batcher.open()
        except FullError:
            await asyncio.sleep(0.001)


def test_a_place_is_given_back_once() -> None:
    """Whoever closes a session at the same time: two callers with one place would get each other's numbers."""

    def close(session: Session) -> None:
        def slow(frame: Any, event: str, argument: Any) -> Any:
            time.sleep(0.001)  # the other thread's turn
            return slow if frame.f_code.co_filename == session_module.__file__ else None

        start.wait(HANG)
        sys.settrace(slow)
        session.close_sync()

    with Batcher(NETWORK, max_sessions=2) as batcher:
        for _ in range(3):
            session, start = batcher.open_sync(), threading.Barrier(2)
            with ThreadPoolExecutor(2) as pool:
                for closed in [pool.submit(close, session) for _ in range(2)]:
                    closed.result(HANG)
            assert batcher.counters()["sessions"] == 0


def test_a_session_that_is_collected_by_the_thread_that_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Just before it waits."""
    with Batcher(NETWORK, max_sessions=1) as batcher:
        lost, collected = [batcher.open_sync()], threading.Event()

        class Bell(SimpleQueue):  # type: ignore[type-arg]
            def get(self, block: bool = True, timeout: float | None = None) -> None:
                lost.clear()
                collected.set()
                super().get(block, timeout)

        def drop() -> None:
            before = batcher._engine._bell
            monkeypatch.setattr(batcher._engine, "_bell", Bell())
            before.put(None)
            assert collected.wait(HANG)

        with pytest.warns(ResourceWarning, match="unclosed <Session 0>"):
            drop()
        session = run(lambda: _opened(batcher))
        same_bits(session.step_sync(X), OUTPUT)
        session.close_sync()


def test_a_step_that_is_withdrawn_while_a_batch_is_chosen() -> None:
    """By a finalizer that Python runs on the thread that chooses; whoever waits behind it is still answered."""

    class Lost(Step):
        """One whose owner is collected when it is looked at."""

        __slots__ = ("_withdrawn",)

        @property
        def withdrawn(self) -> bool:  # type: ignore[override]
            if not self._withdrawn:
                engine.withdraw(self)
            return self._withdrawn

        @withdrawn.setter
        def withdrawn(self, withdrawn: bool) -> None:
            self._withdrawn = withdrawn

    door = Door()
    with door.batcher(max_sessions=4) as batcher, ThreadPoolExecutor(1) as pool:
        engine = batcher._engine
        first, *others = [batcher.open_sync() for _ in range(4)]
        door.shut()
        begun = pool.submit(first.step_sync, X)
        assert door.arrived.acquire(timeout=HANG)
        steps = [step_of(session, X[:1], kind) for session, kind in zip(others, [Lost, Step, Step], strict=True)]
        with engine.locked():
            for step in steps:
                engine.submit(step)
        door.open.set()
        for step in steps[1:]:
            step.future.result(HANG)
            same_bits(step.y, OUTPUT[:1])
        assert not steps[0].done
        same_bits(begun.result(HANG), OUTPUT)
        for session in (first, *others):
            session.close_sync()


def test_the_only_step_is_withdrawn_while_the_thread_looks_whom_to_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a finalizer, when it has seen that somebody waits."""
    armed: list[Step] = []
    withdrawn = threading.Event()

    def clock() -> float:
        if armed and threading.current_thread() is engine._thread:
            engine.withdraw(armed.pop())
            withdrawn.set()
        return time.perf_counter()

    monkeypatch.setattr(engine_module, "perf_counter", clock)
    with Batcher(NETWORK, max_wait=HANG) as batcher, batcher.open_sync() as lost, batcher.open_sync() as session:
        engine = batcher._engine
        same_bits(session.step_sync(X[:1]), OUTPUT[:1])
        with engine.locked():
            armed.append(step_of(lost, X))
            engine.submit(armed[0])
        assert withdrawn.wait(HANG)
        same_bits(session.step_sync(X[1:]), OUTPUT[1:])


def test_ctrl_c_just_after_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its step has been taken, and the session can go on."""

    def interrupted(session: Session, step: Step) -> None:
        raise KeyboardInterrupt

    with Batcher(NETWORK) as batcher, batcher.open_sync() as session:
        with monkeypatch.context() as patch:
            patch.setattr(Session, "_end", interrupted)
            with pytest.raises(KeyboardInterrupt):
                session.step_sync(X[:1])
        assert session.steps == 1
        same_bits(session.step_sync(X[1:]), OUTPUT[1:])


def wait_until_empty(batcher: Batcher) -> None:
    end = time.monotonic() + HANG
    while batcher.counters()["sessions"]:
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of one that was opened, and interrupted just then
@pytest.mark.parametrize("state", [None, ZEROS])
def test_ctrl_c_while_a_session_is_opened(state: Any) -> None:
    """Whenever it comes, nobody has the place then."""
    calls = 1
    with Batcher(NETWORK, max_sessions=1) as batcher:
        while interrupted_after(calls, "serving", lambda: batcher.open_sync(state).close_sync()):
            wait_until_empty(batcher)
            calls += 1
    assert calls > 20


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of one that is forgotten, where it came before all else
@pytest.mark.parametrize("again", [True, False])
def test_ctrl_c_while_a_session_is_closed(again: bool) -> None:
    """The place comes back when it is closed again, or has been forgotten."""
    calls, interrupts = 0, True
    with Batcher(NETWORK, max_sessions=1) as batcher:
        while interrupts:
            session, calls = batcher.open_sync(), calls + 1
            interrupts = interrupted_after(calls, "serving", session.close_sync)
            if again:
                session.close_sync()
                assert not batcher.counters()["sessions"]
            del session
            wait_until_empty(batcher)
    assert calls > 5


def test_no_memory_while_a_session_is_opened_or_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it is for, the place comes back."""

    def fail(*arguments: Any) -> None:
        raise MemoryError

    with Batcher(NETWORK, max_sessions=1) as batcher:
        with monkeypatch.context() as patch:
            patch.setattr(Engine, "set_state", fail)
            with pytest.raises(MemoryError):
                batcher.open_sync(ZEROS)
        wait_until_empty(batcher)
        session = batcher.open_sync(ZEROS)
        for owner, name in ((ServedNetwork, "clear"), (Engine, "leave")):
            with monkeypatch.context() as patch:
                patch.setattr(owner, name, fail)
                with pytest.raises(MemoryError):
                    session.close_sync()
            assert batcher.counters()["sessions"] == 1
        session.close_sync()
        assert batcher.counters()["sessions"] == 0


def test_no_memory_for_the_states_of_a_new_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not go on from zeros."""

    def fail(*arguments: Any) -> None:
        raise MemoryError

    h, c = (state[:, 0] for state in NETWORK(X[:10, None])[1])

    async def main(batcher: Batcher) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(ServedNetwork, "set_state", fail)
            session = await batcher.open((h, c))
            for _ in range(2):
                with pytest.raises(MemoryError):
                    await session.step(X[10])
        with pytest.raises(MemoryError):
            _ = session.state
        session.state = h, c
        same_bits(await session.step(X[10:]), OUTPUT[10:])
        await session.close()

    with Batcher(NETWORK, max_sessions=1) as batcher:
        run(lambda: main(batcher))
        with monkeypatch.context() as patch:
            patch.setattr(ServedNetwork, "set_state", fail)
            session = batcher.open_sync((h, c))
            for _ in range(2):
                with pytest.raises(MemoryError):
                    session.step_sync(X[10])
        session.close_sync()


def test_a_session_that_is_closed_has_no_steps() -> None:
    """Its place has, which may be somebody else's by now."""
    with Batcher(NETWORK, max_sessions=1) as batcher:
        session = batcher.open_sync()
        session.close_sync()
        with batcher.open_sync() as other:
            other.step_sync(X)
            with pytest.raises(ClosedError, match="this Session has been closed"):
                _ = session.steps
            assert other.steps == len(X)


def test_the_arrays_of_a_state_are_ones_own() -> None:
    async def main() -> None:
        door = Door()
        async with door.batcher() as batcher:
            other = await batcher.open()
            door.shut()
            going = asyncio.ensure_future(other.step(X[0]))
            await door.wait()
            h, c = NETWORK(X[:10])[1]
            session = await batcher.open((h, c))
            h[...] = c[...] = np.nan
            door.open.set()
            await going
            same_bits(await session.step(X[10:]), OUTPUT[10:])
            await session.close()
            await other.close()

    run(main)


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


def test_states_of_a_closed_batcher_for_many_threads() -> None:
    interval = sys.getswitchinterval()
    batcher = Batcher(NETWORK, max_sessions=4)
    sessions = [batcher.open_sync() for _ in range(4)]
    for n, session in enumerate(sessions):
        session.step_sync(X[: n + 1])
    batcher.close_sync()
    errors: list[BaseException] = []

    def read(n: int) -> None:
        try:
            for _ in range(300):
                same_bits(sessions[n].state[0][-1], OUTPUT[n])
        except BaseException as error:
            errors.append(error)

    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=read, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(HANG)
    finally:
        sys.setswitchinterval(interval)
    assert not errors


def test_what_is_one_of_its_kind() -> None:
    """A copy would give the place back a second time, or close the batcher of the first."""
    with Batcher(NETWORK) as batcher, batcher.open_sync() as session:
        for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match="a Batcher cannot be copied or pickled: make another one"):
                duplicate(batcher)
            with pytest.raises(TypeError, match="a Session cannot be copied or pickled: open another with its state"):
                duplicate(session)
        same_bits(session.step_sync(X), OUTPUT)


def test_places_come_back_where_warnings_are_errors() -> None:
    code = """
import threading, time, warnings
from numba_lstm import LSTM
from numba_lstm.serving import Batcher
batcher = Batcher(LSTM(3, 5).eval(), max_sessions=1)
session = batcher.open_sync()
warnings.simplefilter("error")
del session
while batcher.counters()["sessions"]:
    time.sleep(0.001)
(thread,) = [each for each in threading.enumerate() if each.name == "numba_lstm.serving"]
del batcher
thread.join()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=HANG, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("ResourceWarning: unclosed") == 2


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


def test_an_input_dtype_of_either_byte_order() -> None:
    samples = np.arange(12, dtype=np.int16).reshape(4, 3)

    def before(x: np.ndarray) -> np.ndarray:
        return x.astype(np.float32)

    for dtype in (">i2", "<i2"):
        batcher = Batcher(NETWORK, before=before, input_size=3, input_dtype=dtype)
        with batcher, batcher.open_sync() as session:
            for given in (samples, samples.astype(">i2"), samples.astype("<i2")):
                session.state = np.zeros((2, 5), np.float32), np.zeros((2, 5), np.float32)
                same_bits(session.step_sync(given), NETWORK(before(samples))[0])


def test_a_wait_longer_than_clocks_know() -> None:
    for wait in (1e10, 10**400):
        with pytest.raises(ValueError, match="max_wait should be finite and not negative"):
            Batcher(NETWORK, max_wait=wait)

    async def main() -> None:
        async with Batcher(NETWORK, max_wait=threading.TIMEOUT_MAX) as batcher:
            sessions = [await batcher.open() for _ in range(2)]
            for t in range(2):
                steps = [asyncio.ensure_future(session.step(X[t])) for session in sessions[:1]]
                await asyncio.sleep(0.05)
                steps += [asyncio.ensure_future(session.step(X[t])) for session in sessions[1:]]
                for step in steps:
                    same_bits(await step, OUTPUT[t])
            for session in sessions:
                await session.close()

    run(main)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_step_that_a_child_inherits_by_fork_is_the_parents() -> None:
    code = """
import asyncio, os, numpy as np
from numba_lstm import LSTM
from numba_lstm.serving import Batcher
async def main():
    async with Batcher(LSTM(3, 5).eval()) as batcher, await batcher.open() as session:
        step = session.step(np.ones((1000, 3), np.float32))
        step.send(None)
        if not os.fork():
            step.close()
            os._exit(0)
        assert os.wait()[1] == 0
        step.close()
asyncio.run(main())
"""
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG, check=False)
    assert (done.returncode, done.stderr) == (0, "")
