"""What a user waits for, in one table: ``python asv_bench/figures.py [--torch PYTHON] [--sweep]``.

Prints import and first call (cold and from the cache), the memory of a long call, and the published proteins
through the LSTM, with torch's time beside ours where an interpreter that has torch is named.  ``--sweep`` adds how
time grows with the hidden size and the batch: no size may fall off a cliff.

Pin it (``taskset -c 1``) and let nothing else run.
"""
from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import numba_lstm as nl
from numba_lstm.demo.disorder import BATCH, DisorderNetwork, one_hot
from numba_lstm.demo.fasta import read_fasta

PROTEINS = Path(__file__).resolve().parents[2] / "shared" / "data" / "metapredict"
FIRST_CALL = "import numba_lstm as nl, numpy as np; nl.LSTM(8, 8)(np.zeros((2, 1, 8), np.float32))"


def seconds(code: str, **environment: str) -> float:
    """Return how long a fresh interpreter takes to run a line, its own start left out."""
    timed = f"import time; start = time.perf_counter(); {code}; print(time.perf_counter() - start)"
    run = subprocess.run(
        [sys.executable, "-c", timed], env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    return float(run.stdout.splitlines()[-1])


def median_time(function: Callable[[], object], repeats: int = 5) -> float:
    """Return the median time of a call, after one that does not count."""
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def print_start() -> None:
    """Print what a process pays before its first result."""
    with tempfile.TemporaryDirectory() as cache:
        cold = seconds(FIRST_CALL, NUMBA_CACHE_DIR=cache)
        cached = min(seconds(FIRST_CALL, NUMBA_CACHE_DIR=cache) for _ in range(3))
        alone = min(seconds("import numba_lstm", NUMBA_CACHE_DIR=cache) for _ in range(3))
    print(f"import                               {alone:8.2f} s")
    print(f"import and first call, cold          {cold:8.2f} s")
    print(f"import and first call, from cache    {cached:8.2f} s")


def print_memory() -> None:
    """Print how much the memory of a process grows in one long call, input and output left out."""
    lstm = nl.LSTM(64, 64, seed=0).eval()
    x = np.ones((200_000, 1, 64), np.float32)
    lstm(x[:10])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    output, _ = lstm(x)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 - output.nbytes
    print(f"workspace at T = 200,000, I = H = 64 {grown / 2**20:8.1f} MiB")


def read_proteins() -> list[np.ndarray]:
    """Return the published proteins, one-hot, longest first."""
    return sorted((one_hot(p.sequence) for p in read_fasta(PROTEINS / "proteins.fasta")), key=len, reverse=True)


def print_proteins(torch_python: str | None) -> None:
    """Print the LSTM's time for all proteins, in batches of like lengths and one by one."""
    lstm = DisorderNetwork().lstm
    inputs = read_proteins()
    batches = [nl.pack_sequence(inputs[i : i + BATCH]) for i in range(0, len(inputs), BATCH)]
    print(f"500 proteins, packed by {BATCH}           {median_time(lambda: [lstm(b) for b in batches]):8.2f} s")
    print(f"500 proteins, one by one             {median_time(lambda: [lstm(x) for x in inputs]):8.2f} s")
    if torch_python:
        print(f"the same in torch, packed by 32      {torch_seconds(torch_python):8.2f} s")


TORCH = """
import sys, time, statistics
import numpy as np, torch
from torch.nn.utils.rnn import pack_sequence
torch.set_num_threads(1)
file = np.load(sys.argv[1])
lengths = file["lengths"]
inputs = [torch.from_numpy(x) for x in np.split(file["rows"], np.cumsum(lengths)[:-1])]
lstm = torch.nn.LSTM(20, 52, 2, bidirectional=True).eval()
batches = [pack_sequence(inputs[i : i + 32]) for i in range(0, len(inputs), 32)]
times = []
with torch.inference_mode():
    for _ in range(4):
        start = time.perf_counter()
        for batch in batches:
            lstm(batch)
        times.append(time.perf_counter() - start)
print(statistics.median(times[1:]))
"""


def torch_seconds(python: str) -> float:
    """Return torch's time for the same proteins in length-sorted packed batches of 32."""
    inputs = read_proteins()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "proteins.npz"
        np.savez(path, rows=np.concatenate(inputs), lengths=[len(x) for x in inputs])
        run = subprocess.run([python, "-c", TORCH, path], capture_output=True, text=True, check=True)
    return float(run.stdout)


def print_sweep() -> None:
    """Print the worst ratios of neighbouring sizes: t(H, B) over t(next multiple of 16, B) and over t(H, B + 1)."""
    rng = np.random.default_rng(0)

    def rate(hidden: int, batch: int) -> float:
        lstm = nl.LSTM(hidden, hidden, seed=0).eval()
        x = rng.standard_normal((32, batch, hidden), np.float32)
        repeats = max(1, int(3e7 / (16 * 32 * hidden * hidden * batch)))
        lstm(x)
        best = np.inf
        for _ in range(7):
            start = time.perf_counter()
            for _ in range(repeats):
                lstm(x)
            best = min(best, (time.perf_counter() - start) / repeats)
        return best

    sizes, batches = range(1, 131), (1, 2, 3, 5, 6, 8, 13)
    times = {(h, b): rate(h, b) for h in [*sizes, 144] for n in batches for b in (n, n + 1)}
    worst_hidden = max((times[h, b] / times[-(-h // 16) * 16, b], h, b) for h in sizes for b in batches)
    worst_batch = max((times[h, b] / times[h, b + 1], h, b) for h in sizes for b in batches)
    print("largest t(H, B) / t(next multiple of 16, B): {:.2f} at H = {}, B = {}".format(*worst_hidden))
    print("largest t(H, B) / t(H, B + 1):               {:.2f} at H = {}, B = {}".format(*worst_batch))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch", metavar="PYTHON", help="an interpreter that has torch")
    parser.add_argument("--sweep", action="store_true", help="time hidden sizes 1 to 130 too (minutes)")
    options = parser.parse_args()
    nl.set_num_threads(1)
    print_start()
    print_memory()
    if PROTEINS.is_dir():
        print_proteins(options.torch)
    if options.sweep:
        print_sweep()


if __name__ == "__main__":
    main()
