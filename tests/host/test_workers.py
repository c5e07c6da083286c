"""Workers and threads do not multiply: how many threads calls take in a process that is one of several."""

from __future__ import annotations

import functools
import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from types import ModuleType

import numpy as np
import pytest
from support.streams import same_bits

import numba_lstm as nl
from numba_lstm.host import threads

STARTS = [method for method in ("fork", "forkserver", "spawn") if method in multiprocessing.get_all_start_methods()]
LSTM = nl.LSTM(3, 64, num_layers=2, seed=0).eval()
X = np.random.default_rng(0).standard_normal((40, 32, 3), np.float32)


@pytest.fixture(autouse=True)
def untold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has said how many threads, and there are eight CPUs."""
    monkeypatch.setattr(threads.Setting, "count", 0)
    monkeypatch.setattr(threads, "_default_threads", functools.cache(threads._default_threads.__wrapped__))
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads.config, "NUMBA_NUM_THREADS", 8)
    monkeypatch.setattr(threads, "usable_cpus", lambda: 8)
    monkeypatch.setattr(threads, "cpu_quota", lambda: None)


def default(worker: bool = False) -> int:
    threads._default_threads.cache_clear()
    return threads._default_threads(worker)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("1", 1), ("3", 3), (" 5 ", 5), ("2,4", 2), ("64", 8), ("", 8), ("0", 8), ("-1", 8), ("many", 8), (",2", 8)],
)
def test_what_openmp_is_told(monkeypatch: pytest.MonkeyPatch, value: str, expected: int) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert default() == expected
    # Words that say nothing leave a worker its one thread.
    assert default(worker=True) == (1 if value in ("", "0", "-1", "many", ",2") else expected)


def test_a_worker_has_one_thread_unless_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (default(), default(worker=True)) == (8, 1)
    monkeypatch.setenv("NUMBA_NUM_THREADS", "8")
    assert default(worker=True) == 8
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert default(worker=True) == 2
    monkeypatch.setattr(threads, "cpu_quota", lambda: 1.0)
    assert default(worker=True) == 1


def work(rows: slice) -> tuple[int, np.ndarray]:
    return nl.get_num_threads(), LSTM(X[:, rows])[0]


def test_while_another_thread_imports_multiprocessing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "multiprocessing", ModuleType("multiprocessing"))
    assert nl.get_num_threads() == 8


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("start", STARTS)
def test_pools_of_multiprocessing(start: str) -> None:
    """After calls with threads in the parent, too."""
    expected = LSTM(X)[0]
    context = multiprocessing.get_context(start)
    with context.Pool(2) as pool:
        results = pool.map(work, [slice(0, 16), slice(16, 32)])
    with ProcessPoolExecutor(2, context) as executor:
        results += executor.map(work, [slice(0, 16), slice(16, 32)])
    assert [count for count, _ in results] == [1] * 4
    for first in (0, 2):
        same_bits(np.concatenate([output for _, output in results[first : first + 2]], axis=1), expected)


def test_a_pool_that_is_told() -> None:
    """By the environment, or by who starts it."""
    context = multiprocessing.get_context("spawn")
    os.environ["NUMBA_NUM_THREADS"] = "4"
    try:
        with context.Pool(1, nl.set_num_threads, (3,)) as pool:
            assert pool.apply(work, (slice(0, 1),))[0] == 3
    finally:
        del os.environ["NUMBA_NUM_THREADS"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_of_fork_alone_is_no_worker() -> None:
    """As of gunicorn: it has the number of its parent."""
    code = """
import os
from numba_lstm.host import threads
threads.usable_cpus, threads.config.NUMBA_NUM_THREADS = lambda: 8, 8
threads.cpu_quota = lambda: None
import numba_lstm
if os.fork():
    raise SystemExit(os.waitstatus_to_exitcode(os.wait()[1]))
os._exit(numba_lstm.get_num_threads())
"""
    environment = {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS",)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (8, b"")


def test_joblib() -> None:
    joblib = pytest.importorskip("joblib")
    expected = LSTM(X)[0]
    share = max(1, joblib.cpu_count() // 2)  # what joblib leaves each of two
    for inner, count in ((None, share), (1, 1)):
        with joblib.parallel_config("loky", n_jobs=2, inner_max_num_threads=inner):
            results = joblib.Parallel()(joblib.delayed(work)(rows) for rows in (slice(0, 16), slice(16, 32)))
        assert [found for found, _ in results] == [count] * 2
        same_bits(np.concatenate([output for _, output in results], axis=1), expected)
