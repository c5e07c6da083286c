"""`numba_lstm.io.dask` on clusters: what travels, what is packed, and what becomes of workers that are killed."""

from __future__ import annotations

import gc
import os
import pickle
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.cases import assert_same_array, assert_same_bits
from support.clusters import local_cluster
from support.processes import HANG, posix, run
from support.workers import program

import numba_lstm as nl

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")
da = pytest.importorskip("dask.array")
db = pytest.importorskip("dask.bag")
nd = pytest.importorskip("numba_lstm.io.dask")
carried = pytest.importorskip("numba_lstm.io.dask.carried")
network = pytest.importorskip("numba_lstm.execution.network")


@pytest.fixture(scope="module")
def processes() -> Iterator[Any]:
    """A client of two workers, each a process of one thread."""
    with (
        local_cluster(n_workers=2, threads_per_worker=1) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture
def threads_of_this_process() -> Iterator[Any]:
    """A client of a worker in this process, with two threads."""
    with (
        local_cluster(n_workers=1, threads_per_worker=2, processes=False) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def new_lstm(seed: int, **options: Any) -> nl.LSTM:
    """Return a module whose weights no other test has: processes keep those that they were sent."""
    return nl.LSTM(3, 20, num_layers=2, seed=seed, **options).eval()


def random_sequences(seed: int, number: int = 40) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((int(rng.integers(1, 30)), 3)).astype(np.float32) for _ in range(number)]


def result_of(client: Any, lazy: Any) -> Any:
    """Compute something, not for ever."""
    return client.compute(lazy).result(timeout=HANG)


def check(results: list[np.ndarray], lstm: nl.LSTM, sequences: list[np.ndarray]) -> None:
    """Compare with calls for each alone, bit for bit."""
    for result, sequence in zip(results, sequences, strict=True):
        assert_same_array(result, lstm(sequence)[0])


def count_packings() -> None:
    """Have this process count from now on."""
    pack = network.pack
    network.counted = []
    network.pack = lambda *arguments: network.counted.append(1) or pack(*arguments)


def packings() -> int:
    return len(network.counted)


@pytest.mark.parametrize("form", [None, "int8"])
def test_bits(processes: Any, form: str | None) -> None:
    lstm = new_lstm(1)
    lstm = lstm.quantize(form) if form else lstm
    x = np.random.default_rng(0).standard_normal((12, 10, 3)).astype(np.float32)
    output, states = nd.map_batches(lstm, da.from_array(x, chunks=(5, 3, 3)))
    futures = processes.compute([output, *states])
    y, h, c = (future.result(timeout=HANG) for future in futures)
    assert_same_bits((y, (h, c)), lstm(x))
    sequences = random_sequences(1)
    check(result_of(processes, nd.map_sequences(lstm, sequences, batch_steps=50)), lstm, sequences)


def test_a_process_packs_once(processes: Any) -> None:
    """Whatever the number of tasks, and for a second computation not again."""
    lstm, sequences = new_lstm(2), random_sequences(2)
    processes.run(count_packings)
    check(result_of(processes, nd.map_sequences(lstm, sequences, batch_steps=20)), lstm, sequences)
    counted = processes.run(packings)
    assert sorted({0, *counted.values()}) == [0, 1]  # one that comes late may have had nothing to do
    output, _ = nd.map_batches(lstm, da.ones((6, 8, 3), dtype="f4", chunks=(2, 2, 3)))
    assert np.array_equal(result_of(processes, output), lstm(np.ones((6, 8, 3), np.float32))[0])
    assert max(processes.run(packings).values()) == 1


def test_two_threads_pack_once(threads_of_this_process: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lstm, sequences = new_lstm(3), random_sequences(3)
    expected = [lstm(sequence)[0] for sequence in sequences]
    monkeypatch.setattr(network, "pack", network.pack)
    monkeypatch.setattr(network, "counted", [], raising=False)
    count_packings()
    for _ in range(2):
        found = result_of(threads_of_this_process, nd.map_sequences(lstm, sequences, batch_steps=20))
        assert all(map(np.array_equal, found, expected))
    assert packings() == 1


def has(digest: str) -> bool:
    """Return whether this process has an LSTM, and keeps it."""
    from numba_lstm.io.dask.carried import _Here

    return digest in _Here.by_digest


def set_threads() -> int:
    from numba_lstm.host.threads import Setting

    return Setting.count


def test_plugin(processes: Any) -> None:
    """Weights go ahead: graphs have none, and the first task packs none."""
    lstm, sequences = new_lstm(4), random_sequences(4)
    plugin = nd.LSTMPlugin(lstm, num_threads=1)
    processes.register_plugin(plugin)
    digest = plugin.name.removeprefix("numba_lstm-")
    assert all(processes.run(has, digest).values())
    assert set(processes.run(set_threads).values()) == {1}
    processes.run(count_packings)
    bag = nd.map_sequences(plugin, sequences, batch_steps=50)
    (optimized,) = dask.optimize(nd.map_sequences(plugin, [np.zeros((1, 3), np.float32)] * 3))
    assert len(pickle.dumps(optimized.__dask_graph__())) < sum(array.nbytes for array in lstm.parameters()) / 2
    check(result_of(processes, bag), lstm, sequences)
    output, _ = nd.map_batches(plugin, da.ones((6, 8, 3), dtype="f4", chunks=(2, 2, 3)))
    assert np.array_equal(result_of(processes, output), lstm(np.ones((6, 8, 3), np.float32))[0])
    assert set(processes.run(packings).values()) == {0}
    call = plugin.call
    assert len(pickle.dumps(call)) < 1000
    check([future.result(timeout=HANG)[0] for future in processes.map(call, sequences)], lstm, sequences)
    states = processes.submit(call, sequences[0], hx=lstm(sequences[0])[1]).result(timeout=HANG)
    assert_same_bits(states, lstm(sequences[0], lstm(sequences[0])[1]))
    for worker in added(processes):  # asked by a task, before which the plugin has to be ready
        assert processes.submit(has, digest, workers=[worker], pure=False).result(timeout=HANG)
    processes.unregister_worker_plugin(plugin.name)


def added(client: Any) -> set[str]:
    """Have one more worker join; return its address."""
    before = {*client.run(os.getpid)}
    client.cluster.scale(3)
    client.wait_for_workers(3, timeout=HANG)
    return {*client.run(os.getpid)} - before


def test_without_the_plugin(processes: Any) -> None:
    plugin = nd.LSTMPlugin(new_lstm(5))
    with pytest.raises(RuntimeError, match=r"no LSTM of digest \w+ is in this worker: call client.register_plugin"):
        result_of(processes, nd.map_sequences(plugin, random_sequences(5, 1)))


def test_weights_count_as_memory() -> None:
    """Dask reckons with it when it moves results, and stores them on disk."""
    lstm = nl.LSTM(64, 256, seed=0)
    weights = sum(array.nbytes for array in lstm.parameters())
    sizeof = pytest.importorskip("dask.sizeof").sizeof
    assert weights <= sizeof(carried.CarriedLSTM(lstm)) < weights + 1000
    assert sizeof(nd.LSTMPlugin(lstm).call) < 1000


@posix
def test_a_fork_while_another_thread_packs() -> None:
    """The child can do so itself."""
    run(
        """
import os
import numba_lstm as nl
from numba_lstm.io.dask.carried import CarriedLSTM, _Here
carried = CarriedLSTM(nl.LSTM(3, 5))
with _Here.lock:
    child = os.fork()
    if not child:
        carried.ready()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""
    )


def test_few_are_kept() -> None:
    """A process lets go of all but the last ones that it was sent, and of none that it still has otherwise."""
    sent = [pickle.loads(pickle.dumps(carried.CarriedLSTM(nl.LSTM(3, 5, seed=900 + n)))) for n in range(6)]
    digests = [each.digest for each in sent]
    for each in sent:
        assert each.ready() is each.ready()
    held = sent[0]
    del each, sent
    gc.collect()
    assert [digest in carried._Here.by_digest for digest in digests] == [True, False, True, True, True, True]
    assert held.ready() is held.lstm


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((nl.LSTMCell(3, 5),), "got: numba_lstm.LSTMCell"),
        ((nl.LSTM(3, 5, 2, dropout=0.5),), "train mode and has dropout"),
        ((nl.LSTM(3, 5), 0), "num_threads must be at least 1, got 0"),
        ((nl.LSTM(3, 5), 1.0), "num_threads should be of type int, got: float"),
    ],
)
def test_errors_of_the_plugin(arguments: Any, error: str) -> None:
    with pytest.raises((TypeError, ValueError, RuntimeError), match=error):
        nd.LSTMPlugin(*arguments)


class KilledOnce:
    """Gives back what it is given; the first time that it is called with some, its process is killed."""

    def __init__(self, folder: Path, deadly: set[int]) -> None:
        self.folder, self.deadly = folder, deadly

    def __call__(self, index: int, sequence: np.ndarray) -> np.ndarray:
        if index in self.deadly:
            marker = self.folder / str(index)
            if not marker.exists():
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return sequence


@posix
@pytest.mark.parametrize("deadly", [{17}, pytest.param({3, 17, 30}, marks=pytest.mark.slow)])
def test_workers_that_are_killed(tmp_path: Path, deadly: set[int]) -> None:
    """What they were at is done again.  There is one worker more than are killed: Dask may fail to start others."""
    lstm, sequences = new_lstm(6), random_sequences(6)
    killed = KilledOnce(tmp_path, deadly)
    with (
        local_cluster(n_workers=1 + len(deadly), threads_per_worker=1) as cluster,
        distributed.Client(cluster) as client,
    ):
        bag = db.from_sequence(range(len(sequences)), partition_size=5)
        bag = bag.map(lambda index: killed(index, sequences[index]))
        results = result_of(client, nd.map_sequences(lstm, bag, batch_steps=50))
    assert {int(path.name) for path in tmp_path.iterdir()} == deadly
    check(results, lstm, sequences)


def fail_at(batch: list[np.ndarray]) -> list[int]:
    if any(len(sequence) == 7 for sequence in batch):
        raise ValueError("seven steps")
    return [len(sequence) for sequence in batch]


def test_errors_come_back_with_the_place(processes: Any) -> None:
    sequences = [np.zeros((length, 3), np.float32) for length in (3, 9, 7, 5)]
    with pytest.raises(nd.SequenceError, match=r"^sequence 2: ValueError: seven steps$") as caught:
        result_of(processes, nd.map_sequences(fail_at, sequences, npartitions=1))
    assert caught.value.index == 2


def test_threads_in_processes() -> None:
    """The nanny says OMP_NUM_THREADS=1, whatever the worker's own threads; a plugin sets what it is told to."""
    code = """
import distributed
import numba_lstm as nl
from support import workers
from support.clusters import local_cluster
if __name__ == "__main__":
    before = nl.get_num_threads()
    with local_cluster(n_workers=2, threads_per_worker=2) as cluster, distributed.Client(cluster) as client:
        for threads in (1, 2):
            workers.check(list(client.run(workers.answer).values()), threads)
            workers.check(client.gather(client.map(workers.answer, range(4), pure=False)), threads)
            client.register_plugin(nl.io.dask.LSTMPlugin(nl.LSTM(3, 5), num_threads=2))
    assert nl.get_num_threads() == before
"""
    run(program(code, {"NUMBA_NUM_THREADS": "2"}))


def test_threads_in_this_process() -> None:
    """They are those of the user's own process, in which nothing is set; calls at the same time share its threads."""
    code = """
import dask.array as da
import distributed
import numpy as np
import numba_lstm as nl
from numba_lstm.host.threads import Setting
from support.clusters import local_cluster
before = nl.get_num_threads()
lstm = nl.LSTM(20, 70, num_layers=2, seed=0).eval()
x = np.random.default_rng(0).standard_normal((9, 64, 20)).astype(np.float32)
output, _ = nl.io.dask.map_batches(lstm, da.from_array(x, chunks=(3, 4, 20)))
for scheduler in ("sync", "threads"):
    assert np.array_equal(output.compute(scheduler=scheduler), lstm(x)[0])
with (
    local_cluster(n_workers=2, threads_per_worker=2, processes=False) as cluster,
    distributed.Client(cluster) as client,
):
    client.register_plugin(nl.io.dask.LSTMPlugin(lstm))
    assert np.array_equal(output.compute(), lstm(x)[0])
assert (nl.get_num_threads(), Setting.count) == (before, 0)
"""
    run(program(code))


def test_dask_is_imported_by_who_asks_for_it() -> None:
    """And by nobody else."""
    run(
        """
import sys
import numba_lstm as nl
assert "dask" in dir(nl.io)
assert not {"dask", "distributed"} & {*sys.modules}
assert callable(nl.io.dask.map_batches) and "dask" in sys.modules
"""
    )
