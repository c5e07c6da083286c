"""Time the demo's network on proteins of all lengths, beside torch: ``python -m asv_bench.proteins --peers PYTHON``."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from . import report, timing

BATCH = 32
"""Sequences in a packed batch, in torch and, for the comparison, in ours."""

ROUNDS = 3
"""In which both take turns."""

INPUTS, HIDDEN, LAYERS = 20, 52, 2
"""Sizes of the demo's network, which is bidirectional."""


def read_proteins(path: Path) -> list[np.ndarray]:
    """Return the proteins of a file, one-hot, longest first."""
    from numba_lstm.demo.disorder import one_hot
    from numba_lstm.demo.fasta import read_fasta

    return sorted((one_hot(protein.sequence) for protein in read_fasta(path)), key=len, reverse=True)


def our_seconds(inputs: list[np.ndarray], budget: float) -> dict[str, float]:
    """Return our times, by lines of the table."""
    import numba_lstm as nl

    nl.set_num_threads(1)
    lstm = nl.LSTM(INPUTS, HIDDEN, LAYERS, bidirectional=True, seed=0).eval()
    batches = [nl.pack_sequence(inputs[i : i + BATCH]) for i in range(0, len(inputs), BATCH)]
    packed = timing.seconds_per_call(lambda: [lstm(batch) for batch in batches], budget, samples=3)
    single = timing.seconds_per_call(lambda: [lstm(x) for x in inputs], budget, samples=3)
    return {f"numba_lstm, packed by {BATCH}": packed.median, "numba_lstm, one by one": single.median}


def torch_seconds(saved: Path, budget: float) -> float:
    """Return torch's time for the same batches; this process has torch."""
    import torch
    from torch.nn.utils.rnn import pack_sequence

    torch.set_num_threads(1)
    with np.load(saved, allow_pickle=False) as file:
        rows, lengths = torch.from_numpy(file["rows"]), file["lengths"].tolist()
    inputs = torch.split(rows, lengths)
    lstm = torch.nn.LSTM(INPUTS, HIDDEN, LAYERS, bidirectional=True).eval()
    batches = [pack_sequence(inputs[i : i + BATCH]) for i in range(0, len(inputs), BATCH)]
    with torch.inference_mode():
        return timing.seconds_per_call(lambda: [lstm(batch) for batch in batches], budget, samples=3).median


def peer_seconds(python: str, inputs: list[np.ndarray], budget: float) -> dict[str, float]:
    """Return torch's time, from a process with another interpreter."""
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "proteins.npz"
        np.savez(saved, rows=np.concatenate(inputs), lengths=[len(x) for x in inputs])
        command = [python, "-m", "asv_bench.proteins", "--torch", str(saved), "--budget", str(budget)]
        environment = timing.environment(1)
        run = subprocess.run(command, cwd=report.ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return {f"torch, packed by {BATCH}": float(run.stdout)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(prog="python -m asv_bench.proteins", description=__doc__)
    parser.add_argument("--fasta", type=Path, help="proteins; by default those of the demo")
    parser.add_argument("--peers", metavar="PYTHON", help="an interpreter that has torch")
    parser.add_argument("--torch", type=Path, help=argparse.SUPPRESS)  # what peer_seconds asks of the other interpreter
    parser.add_argument("--budget", type=float, default=timing.BUDGET, help="seconds for a line, at least")
    report.add_page_option(parser, report.FOLDER / "engines.md")
    options = parser.parse_args(arguments)
    timing.pin(1)
    if options.torch:
        print(torch_seconds(options.torch, options.budget))
        return
    inputs = read_proteins(options.fasta or report.ROOT / "numba_lstm" / "demo" / "proteins.fasta")
    about = report.own_circumstances()
    rounds = []
    for _ in range(ROUNDS):
        rounds.append(our_seconds(inputs, options.budget))
        if options.peers:
            rounds[-1] |= peer_seconds(options.peers, inputs, options.budget)
    if options.peers:
        about["versions"] |= report.versions_of(options.peers, "torch")
    rows = [[line, f"{statistics.median(each[line] for each in rounds):.3f}"] for line in rounds[0]]
    text = report.markdown_table([f"{len(inputs)} proteins", "s"], rows)
    report.publish("proteins", text, about, options.page)


if __name__ == "__main__":
    main()
