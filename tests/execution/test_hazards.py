"""Threads and processes around a parallel launch: nothing of it may kill, abort or hang a user's program."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.cases import Shape, random_case
from support.processes import HANG, by_layer, posix, run

from numba_lstm.contract.architecture import Architecture
from numba_lstm.execution import launch_lock
from numba_lstm.execution.network import Network
from numba_lstm.execution.planning.machine import ASSUMED
from numba_lstm.execution.planning.schedule import Batch
from numba_lstm.kernels.frame import FRAME_SIZE, PLACES

SETUP = """
import os, sys, threading, time
import numpy as np
import numba_lstm
from support.cases import Shape, assert_same_bits, module, random_case
from numba_lstm.execution.planning.machine import ASSUMED

numba_lstm.set_num_threads(2)
ASSUMED["cpus"] = 2  # where there is one, as well
# The last is too small for two threads.
cases = [random_case(Shape(40, 150, 2, steps=60, rows=rows), 1) for rows in (1, 3, 20)]
cases.append(random_case(Shape(3, 5, steps=4, rows=2), 1))
lstms = [module(case) for case in cases]
expected = [lstm(case.x, case.hx) for lstm, case in zip(lstms, cases)]
"""

MANY_THREADS = SETUP + """
failures = []
enough = time.monotonic() + 90  # an emulator would need ten minutes for all repeats

def work(number):
    stream = lstms[0].stream()
    for repeat in range(30):
        if repeat > 3 and time.monotonic() > enough:
            break  # each thread has called every module
        index = (number + repeat) % len(cases)
        x, hx = cases[index].x, cases[index].hx
        try:
            if number % 4 == 3:
                numba_lstm.set_num_threads(1 + repeat % 2)
            assert_same_bits(lstms[index](x, hx), expected[index])
            lengths = [len(x)] * x.shape[1]
            assert_same_bits(lstms[index](x, hx, lengths=lengths), expected[index])
            stream.state = cases[0].hx
            output = stream.step(cases[0].x)
            assert_same_bits((output, stream.state), expected[0])
        except BaseException as error:
            failures.append(repr(error))

workers = [threading.Thread(target=work, args=(number,)) for number in range(8)]
for worker in workers:
    worker.start()
"""

JOIN = """
for worker in workers:
    worker.join()
sys.exit(failures[0] if failures else 0)
"""

FORKS = """
import multiprocessing

def answer(number):
    assert_same_bits(lstms[number % 4](cases[number % 4].x, cases[number % 4].hx), expected[number % 4])
    return os.getpid()

context = multiprocessing.get_context("fork")
for _ in range(5):
    with context.Pool(3) as pool:
        assert os.getpid() not in pool.map(answer, range(12))
"""


@by_layer
def test_eight_python_threads(layer: str) -> None:
    run(MANY_THREADS + JOIN, NUMBA_THREADING_LAYER=layer)


@posix
@by_layer
def test_forks_while_threads_call(layer: str) -> None:
    """A pool of forked processes, while this one's threads have the locks: every child computes."""
    run(MANY_THREADS + FORKS + JOIN, NUMBA_THREADING_LAYER=layer)


FORK = """
child = os.fork()
if child == 0:
    try:
        assert_same_bits(lstms[2](cases[2].x, cases[2].hx), expected[2])
    except BaseException:
        os._exit(1)
    os._exit(0)
_, status = os.waitpid(child, 0)
sys.exit(f"the child ended with {os.waitstatus_to_exitcode(status)}" if status else 0)
"""


@posix
@by_layer
def test_a_fork_after_a_parallel_call(layer: str) -> None:
    """OpenMP kills a child that launches."""
    run(SETUP + FORK, NUMBA_THREADING_LAYER=layer)


FORK_WHILE_COMPILING = """
import os, sys, threading
import numpy as np
from support import oracle
from support.cases import Shape, assert_close, module, random_case
from numba.core import event
import numba_lstm

case = random_case(Shape(3, 5, steps=4, rows=2), 1)
expected = oracle.lstm(case.state_dict, *case[2:])

class Begin(event.Listener):
    def __init__(self):
        self.begun = threading.Event()
    def on_start(self, event):
        self.begun.set()
    def on_end(self, event):
        pass

begin = Begin()
event.register("numba:compile", begin)
compiling = threading.Thread(target=numba_lstm.warmup)
compiling.start()
assert begin.begun.wait(60)
child = os.fork()
assert_close(module(case)(case.x, case.hx), expected)
if child == 0:
    os._exit(0)
compiling.join()
_, status = os.waitpid(child, 0)
sys.exit(status)
"""


@posix
def test_a_fork_while_another_thread_compiles(tmp_path: Path) -> None:
    """The thread is not in the child, and what it has locked would stay so."""
    run(FORK_WHILE_COMPILING, NUMBA_CACHE_DIR=str(tmp_path))


INTERRUPTED_COMPILATION = """
import signal
from support import oracle
from support.cases import Shape, assert_close, module, random_case

def interrupt(number, frame):
    raise KeyboardInterrupt

signal.signal(signal.SIGALRM, interrupt)
case = random_case(Shape(3, 5, steps=4, rows=2), 1)
expected, came = oracle.lstm(case.state_dict, *case[2:]), 0
for delay in (0.2, 0.9, 1.7, 2.6, 3.4, 4.5, 5.3):
    lstm = module(case)
    signal.setitimer(signal.ITIMER_REAL, delay)
    try:
        lstm(case.x, case.hx)
        signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        came += 1
assert_close(module(case)(case.x, case.hx), expected)
print(came)
"""


@posix
@pytest.mark.slow
def test_a_compilation_that_is_interrupted_again_and_again(tmp_path: Path) -> None:
    """Wherever that was, what is compiled in the end is whole."""
    assert int(run(INTERRUPTED_COMPILATION, NUMBA_CACHE_DIR=str(tmp_path)).stdout) > 0


FORK_THAT_IS_INTERRUPTED = """
import os, signal, sys, threading, time
from numba.core.compiler_lock import global_compiler_lock
from numba_lstm.execution.launch_lock import compile_lock

signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background has it ignored
lock = {"ours": compile_lock, "Numba's": global_compiler_lock}[sys.argv[1]]
taken = threading.Event()

def hold():
    with lock:
        taken.set()
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.5)

def try_to_have(made):
    with lock:
        made.append(True)

threading.Thread(target=hold, daemon=True).start()
taken.wait()
child = os.fork()
made = []
other = threading.Thread(target=try_to_have, args=(made,), daemon=True)
other.start()
other.join(60)
with lock:
    pass
if child == 0:
    os._exit(0 if made else 1)
_, status = os.waitpid(child, 0)
sys.exit(f"the child ended with {status}, here: {made}" if status or not made else 0)
"""


@posix
@pytest.mark.parametrize("lock", ["ours", "Numba's"])
def test_a_fork_that_is_interrupted_while_it_waits_for_a_compilation(lock: str) -> None:
    """Python prints the exception and forks all the same: in the child nobody would give the lock back."""
    done = run(FORK_THAT_IS_INTERRUPTED, lock)
    assert "KeyboardInterrupt" in done.stderr


# --- who takes the team -------------------------------------------------------------------------------------


def frame_of(threads: int, crew: int = 0) -> np.ndarray:
    """Return that of a crew, by default of all threads that may be used."""
    numbers = np.zeros(FRAME_SIZE, np.int64)
    numbers[PLACES.crew], numbers[PLACES.slices], numbers[PLACES.woken] = crew or threads, 1, threads
    return numbers


def ways_of_calls(threads: int, calls: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return how calls are made that begin one after the other, each in a thread of its own, and end together."""
    monkeypatch.setattr(launch_lock.config, "NUMBA_NUM_THREADS", threads)
    monkeypatch.setattr(launch_lock.Team, "locks", ())
    launch_lock.Team.new_locks()
    ways: list[str] = []
    begun, end = threading.Semaphore(0), threading.Event()

    def record(way: str) -> Callable[..., int]:
        def call(frame: Any) -> int:
            ways.append(way)
            begun.release()
            assert end.wait(HANG)
            return 0

        return call

    launch = launch_lock.with_team(record("team"), record("alone"))
    workers = [threading.Thread(target=launch, args=(frame_of(threads),)) for _ in range(calls)]
    for worker in workers:
        worker.start()
        assert begun.acquire(timeout=HANG)
    end.set()
    for worker in workers:
        worker.join()
    assert not any(lock.locked() for lock in launch_lock.Team.locks)
    return ways


@pytest.mark.usefixtures("rested_team")
@pytest.mark.parametrize("threads", [2, 3, 8])
def test_one_call_has_the_team(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ways_of_calls(threads, 20, monkeypatch) == ["team"] + 19 * ["alone"]


@pytest.mark.usefixtures("rested_team")
@pytest.mark.parametrize(("threads", "others", "taken"), [(2, 0, True), (2, 1, False), (8, 3, True), (8, 4, False)])
def test_calls_that_keep_the_cores_busy_leave_the_team_alone(
    threads: int, others: int, taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once more cores are busy than idle, a launch on all of them would wait for its members."""
    monkeypatch.setattr(launch_lock.Team, "locks", tuple(threading.Lock() for _ in range(5)))
    for lock in launch_lock.Team.locks[1 : 1 + others]:
        lock.acquire()
    ways: list[str] = []
    launch = launch_lock.with_team(lambda frame: ways.append("team") or 0, lambda frame: ways.append("alone"))
    launch(frame_of(threads))
    launch(frame_of(threads, crew=2))  # what is idle does not depend on who asks
    assert ways == 2 * ["team" if taken else "alone"]
    assert sum(lock.locked() for lock in launch_lock.Team.locks) == others


def test_what_a_call_raises_gives_its_place_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(frame: Any) -> None:
        raise KeyboardInterrupt

    for taken in (0, 1):
        monkeypatch.setattr(launch_lock.Team, "locks", tuple(threading.Lock() for _ in range(3)))
        if taken:
            launch_lock.Team.locks[0].acquire()
        with pytest.raises(KeyboardInterrupt):
            launch_lock.with_team(interrupted, interrupted)(frame_of(2))
        assert [lock.locked() for lock in launch_lock.Team.locks] == [bool(taken), False, False]


def test_plans_have_no_more_threads_than_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads that take turns on one core would wait for each other."""
    sizes = Architecture(64, 128)
    network = Network(sizes, random_case(Shape(64, 128), 1).state_dict, np.dtype(np.float32))
    monkeypatch.setitem(ASSUMED, "threads", 4)
    taken = []
    for cpus in (1, 2, 9):
        monkeypatch.setitem(ASSUMED, "cpus", cpus)
        numbers = network.plan(Batch(50, 64)).numbers
        taken.append(numbers[PLACES.slices] * numbers[PLACES.crew])
    assert taken == [1, 2, 4]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity")
def test_cpus_that_a_process_may_use() -> None:
    code = """
import os
from numba_lstm.host.threads import usable_cpus
assert usable_cpus() == len(os.sched_getaffinity(0))
os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:1])
assert usable_cpus() == 1
"""
    run(code)


WOKEN = """
import os
import numba
from support.cases import Shape, module, random_case
import numba_lstm
from numba_lstm.execution.planning.machine import ASSUMED

def threads_after_a_call(set_):
    numba_lstm.set_num_threads(set_)
    lstm(case.x)
    return len(os.listdir("/proc/self/task"))

ASSUMED["cpus"] = 8
numba.set_num_threads(7)
case = random_case(Shape(40, 150, 2, steps=60, rows=20), 1)
lstm = module(case)
two, five = threads_after_a_call(2), threads_after_a_call(5)
assert five - two == 3, (two, five)
assert numba.get_num_threads() == 7
lstm.vjp(case.x)[1](0 * case.x[..., :1] + lstm(case.x)[0])
assert numba.get_num_threads() == 7
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="no list of threads")
def test_launches_wake_no_more_threads_than_were_set() -> None:
    """All others would spin: in a container with a quota they would use it up."""
    run(WOKEN, NUMBA_NUM_THREADS="8", NUMBA_THREADING_LAYER="omp")
