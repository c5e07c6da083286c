"""Other systems than Linux, as far as Linux can play them: names that Python lacks there are taken away."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from support.processes import run

from numba_lstm.host import cpu_quota, idle_cores, threads
from numba_lstm.simd import kernel_cache

LACKING = """
import asyncio, multiprocessing, os, signal, sys
import numba, safetensors.numpy, tqdm  # they need more of the system than we do

for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None  # an import of it fails
for name in (
    "sched_getaffinity", "sched_setaffinity", "sched_yield", "register_at_fork", "fork", "fchown", "fchmod", "chown",
    "getuid", "geteuid", "getgid", "sysconf", "uname", "getloadavg", "mkfifo", "pread", "posix_fadvise",
):
    if hasattr(os, name):
        delattr(os, name)
os.process_cpu_count = os.cpu_count  # as Python has it there since 3.13; here it asks what is taken away
for name in ("SIGHUP", "SIGQUIT", "SIGKILL", "SIGALRM", "SIGPIPE", "SIGUSR1", "setitimer", "pthread_sigmask"):
    if hasattr(signal, name):
        delattr(signal, name)
"""

USE = """
import numpy as np
import numba_lstm as nl
from numba_lstm import cli
from numba_lstm.host import cpu_quota, idle_cores
from pathlib import Path

nowhere = Path("there/is/none")
idle_cores._STAT = str(nowhere)
assert cpu_quota.cpu_quota(nowhere) is None
assert idle_cores.IdleCores().since_last_look() is None
assert 1 <= nl.get_num_threads() <= os.cpu_count()
folder = Path(sys.argv[1])
lstm = nl.LSTM(3, 5, num_layers=2, batch_first=True, seed=0).eval()
x = np.random.default_rng(0).standard_normal((4, 6, 3), np.float32)
for threads in (1, 2):
    nl.set_num_threads(threads)
    output, (h_n, c_n) = lstm(x)
assert np.array_equal(lstm.stream(4).step(x), output)
for name in ("lstm.npz", "lstm.safetensors"):
    for _ in range(2):  # new, and in the place of one
        lstm.save(folder / name)
    assert np.array_equal(nl.LSTM.load(folder / name)(x)[0], output)
np.save(folder / "x.npy", x)
paths = [str(folder / name) for name in ("lstm.npz", "x.npy", "out.npz")]
for _ in range(2):
    assert cli.main(["run", paths[0], paths[1], "-o", paths[2], "--force"]) == 0
with np.load(paths[2]) as written:
    assert np.array_equal(written["output"], output)
async def step():
    async with nl.serving.Batcher(nl.LSTM.load(folder / "lstm.npz", batch_first=False)) as batcher:
        async with await batcher.open() as session:
            return await session.step(x[0, :1])
assert asyncio.run(step()).shape == (1, 5)
print("done")
"""


def test_names_that_other_systems_lack(tmp_path: Path) -> None:
    """What runs on Linux runs without them, with the same bits in every way of computing."""
    assert run(LACKING + USE, str(tmp_path)).stdout.endswith("done\n")


@pytest.mark.slow
def test_kernels_without_clock_and_futex(tmp_path: Path) -> None:
    """As on Windows, whose clocks the kernels do not know: threads wait without sleeping.  Compiled anew for that."""
    code = LACKING + "sys.platform = 'win32'\nimport numba_lstm\nsys.platform = 'linux'\n" + USE
    cached = tmp_path / "kernels"
    assert run(code, str(tmp_path), NUMBA_CACHE_DIR=str(cached)).stdout.endswith("done\n")


def test_cpus_without_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert threads.usable_cpus() == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert threads.usable_cpus() == 1
    assert idle_cores.IdleCores().since_last_look() is None
    assert idle_cores._times() == {}


def test_no_proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle_cores, "_STAT", str(tmp_path / "stat"))
    assert idle_cores._times() == {}
    assert cpu_quota.cpu_quota(tmp_path) is None


def test_a_kernel_that_another_process_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows lets nobody replace an open file.  One that is there has the same kernel."""

    def refuse(source: Any, target: Any) -> None:
        raise PermissionError(13, "The process cannot access the file", os.fspath(target))

    path = tmp_path / "a.kernel"
    path.write_bytes(b"read by another process")
    monkeypatch.setattr(kernel_cache.os, "replace", refuse)
    with pytest.raises(PermissionError):  # elsewhere it means that the file is somebody else's, and may be damaged
        kernel_cache._write_whole(path, b"the same, new")
    monkeypatch.setattr(kernel_cache.sys, "platform", "win32")
    kernel_cache._write_whole(path, b"the same, new")
    assert [each.name for each in tmp_path.iterdir()] == ["a.kernel"]
    with pytest.raises(PermissionError):
        kernel_cache._write_whole(tmp_path / "b.kernel", b"new")
    assert [each.name for each in tmp_path.iterdir()] == ["a.kernel"]
