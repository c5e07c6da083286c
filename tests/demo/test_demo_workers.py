"""Workers of Dask compute what this process would, whatever becomes of them."""

from __future__ import annotations

import concurrent.futures
import os
import signal
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from numba_lstm import demo
from numba_lstm.demo import scoring, workers
from numba_lstm.demo.fasta import Record
from numba_lstm.demo.scoring import score_records
from numba_lstm.demo.workers import Workers

distributed = pytest.importorskip("distributed")

# Of sockets and processes that Dask ends in its own time.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.usefixtures("threads"),
]

RECORDS = [Record(number, *protein, None) for number, protein in enumerate(demo.bundled_proteins()[:40], start=1)]


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """The address of a cluster that runs, with workers that are threads of this process."""
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, protocol="tcp://", dashboard_address="127.0.0.1:0"
    )
    with cluster:
        yield cluster.scheduler_address


@pytest.fixture(autouse=True)
def small_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "TASK_RESIDUES", 1000)
    monkeypatch.setattr(scoring, "WINDOW_RESIDUES", 5000)


def check(found: Iterator[tuple[Record, np.ndarray | None]], records: list[Record]) -> None:
    """What workers found has to be what this process finds."""
    for (record, scores), (other, right) in zip(found, score_records(records), strict=True):
        assert record == other
        assert scores is not None
        assert right is not None
        np.testing.assert_array_equal(scores, right)


def test_a_cluster_that_runs(scheduler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    submitted: list[Any] = []
    monkeypatch.setattr(workers, "TASKS_PER_THREAD", 2)
    with Workers(scheduler=scheduler) as ours:
        assert ours.threads() == 2
        submit = ours._client.submit
        ours._client.submit = lambda *what, **how: submitted.append(submit(*what, **how)) or submitted[-1]

        def watched() -> Iterator[tuple[Record, np.ndarray | None]]:
            for number, row in enumerate(score_records(RECORDS, ours.scores)):
                assert number or len(submitted) <= 2 * 2 + 10  # a window and what may be under way
                yield row

        check(watched(), RECORDS)
    assert len(submitted) > 10


def test_workers_of_another_version_are_refused(scheduler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Workers(scheduler=scheduler) as ours:
        monkeypatch.setattr(workers, "__version__", "9.9")
        submit = ours._client.submit
        ours._client.submit = lambda function, letters, lengths, version, **how: submit(
            function, letters, lengths, "1.0", **how
        )
        with pytest.raises(RuntimeError, match=r"a worker has numba-lstm 9\.9, and this process 1\.0"):
            list(score_records(RECORDS, ours.scores))


def test_workers_that_lack_what_is_asked_for(scheduler: str) -> None:
    """As those with an older version do; the traceback is in the error's cause."""
    with Workers(scheduler=scheduler) as ours:
        submit = ours._client.submit
        ours._client.submit = lambda function, *what, **how: submit(getattr, np, "nothing_of_this_name", pure=False)
        with pytest.raises(RuntimeError, match=r"a worker failed, which needs numba-lstm .*nothing_of_this_name"):
            list(score_records(RECORDS, ours.scores))


@pytest.fixture
def deserted() -> Iterator[Any]:
    """A cluster without workers."""
    cluster = distributed.LocalCluster(
        n_workers=0, threads_per_worker=1, processes=False, protocol="tcp://", dashboard_address="127.0.0.1:0"
    )
    with cluster:
        yield cluster


def test_who_waits_for_workers_is_told(deserted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_LOOK", 0.05)
    told: list[None] = []

    def waiting() -> None:
        told.append(None)
        deserted.scale(1)

    with Workers(scheduler=deserted.scheduler_address, waiting=waiting) as ours:
        check(score_records(RECORDS[:4], ours.scores), RECORDS[:4])
    assert len(told) == 1


def test_a_scheduler_that_goes_away(deserted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_LOOK", 0.05)
    monkeypatch.setattr(workers, "_CONNECT", "1s")
    ours = Workers(scheduler=deserted.scheduler_address, waiting=deserted.close)
    with ours, pytest.raises(RuntimeError, match="the scheduler of the cluster is gone"):
        list(score_records(RECORDS[:4], ours.scores))


class Late(concurrent.futures.Future):
    """A result that comes when the time to wait for it has just passed."""

    def result(self, timeout: float | None = None) -> Any:
        if timeout is not None:
            raise concurrent.futures.TimeoutError
        return super().result()


@pytest.mark.parametrize("error", [None, TimeoutError("the task's own")])
def test_a_result_that_comes_when_the_time_is_over(error: Exception | None) -> None:
    result, scores = Late(), np.ones(3, np.float32)
    if error is None:
        result.set_result(scores)
    else:
        result.set_exception(error)
    ours = Workers(1)
    ours._results = SimpleNamespace(submit=lambda function: result)
    if error is None:
        assert ours._waited_for(result) is scores
    else:
        with pytest.raises(TimeoutError, match="the task's own"):
            ours._waited_for(result)


def test_what_cannot_be_a_scheduler() -> None:
    with pytest.raises(ValueError, match="Must include protocol"), Workers(scheduler="host:1"):
        raise AssertionError
    with pytest.raises(ValueError, match="either a count"):
        Workers()
    with pytest.raises(ValueError, match="either a count"):
        Workers(1, "tcp://127.0.0.1:1")


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_CONNECT", "1s")
    with pytest.raises(OSError, match=r"tcp://127\.0\.0\.1:1"), Workers(scheduler="tcp://127.0.0.1:1"):
        raise AssertionError


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_starts_workers_is_not_interrupted(number: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cluster is there, and ended, whenever a signal comes."""
    events: list[str] = []

    class Cluster:
        def __init__(self, **options: Any) -> None:
            signal.raise_signal(number)
            events.append("started")

        def __enter__(self) -> str:
            events.append("entered")
            return ""

        def __exit__(self, *error: object) -> None:
            events.append("ended")

    class HeardError(BaseException):
        pass

    def heard(*signals: object) -> None:
        raise HeardError

    before = signal.signal(number, heard)
    monkeypatch.setattr(distributed, "LocalCluster", Cluster)
    try:
        with pytest.raises(HeardError), Workers(1):
            raise AssertionError
        assert signal.getsignal(number) is heard
    finally:
        signal.signal(number, before)
    assert events == ["started", "entered", "ended"]


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
def test_ctrl_c_before_workers_are_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is heard from then on, also if it came when it had just been blocked."""
    mask = signal.pthread_sigmask
    before = mask(signal.SIG_BLOCK, ())

    def interrupted(how: int, signals: Any) -> Any:
        former = mask(how, signals)
        if how == signal.SIG_BLOCK and signals:
            raise KeyboardInterrupt
        return former

    monkeypatch.setattr(signal, "pthread_sigmask", interrupted)
    try:
        with pytest.raises(KeyboardInterrupt), Workers(1):
            raise AssertionError
        assert mask(signal.SIG_BLOCK, ()) == before
    finally:
        mask(signal.SIG_SETMASK, before)


def kill_one(ours: Workers) -> None:
    """Kill a process of a cluster, as the system does when memory is short; another takes its place."""
    _, process = ours._client.run(os.getpid).popitem()
    os.kill(process, signal.SIGKILL)


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
def test_a_worker_that_is_killed_loses_nothing() -> None:
    names = ("OMP_NUM_THREADS", "MALLOC_TRIM_THRESHOLD_", "PYTHONHASHSEED")
    before = [os.environ.get(name) for name in names]
    with Workers(2) as ours:
        assert ours._client.run(os.getenv, "OMP_NUM_THREADS").popitem()[1] == "1"

        def watched() -> Iterator[tuple[Record, np.ndarray | None]]:
            for number, row in enumerate(score_records(RECORDS, ours.scores)):
                if number == 5:
                    kill_one(ours)
                yield row

        check(watched(), RECORDS)
    assert [os.environ.get(name) for name in names] == before


def test_looking_for_workers_disturbs_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_LOOK", 0.002)
    with Workers(2) as ours:
        check(score_records(RECORDS * 20, ours.scores), RECORDS * 20)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
def test_three_workers_that_are_killed_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "TASK_RESIDUES", 1 << 15)
    records = [record._replace(number=number) for number, record in enumerate(RECORDS * 60, start=1)]
    with Workers(2) as ours:

        def watched() -> Iterator[tuple[Record, np.ndarray | None]]:
            for number, row in enumerate(score_records(records, ours.scores)):
                if number in (300, 900, 1500):
                    ours._client.wait_for_workers(2)
                    kill_one(ours)
                yield row

        check(watched(), records)
