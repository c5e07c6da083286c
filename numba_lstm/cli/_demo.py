"""The command ``numba-lstm demo``."""

from __future__ import annotations

import argparse
import importlib.util
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

from .. import io
from ..demo import (
    DisorderNetwork,
    bundled_proteins,
    format_table,
    most_disordered,
    published_scores,
    read_fasta,
)
from ._console import InputError, check_target, prepare_kernels, set_threads

TABLE_ROWS = 10
PLOT_ROWS = 5


def demo(options: argparse.Namespace) -> None:
    """Score proteins."""
    if options.plot is not None:
        _check_plot(options.plot)
    set_threads(options.threads)
    proteins = bundled_proteins() if options.fasta is None else read_fasta(options.fasta)
    proteins = proteins[: options.limit]
    residues = sum(len(protein.sequence) for protein in proteins)

    network = DisorderNetwork()
    prepared = prepare_kernels(np.float32)
    start = time.perf_counter()
    with tqdm(total=residues, unit=" residues", unit_scale=True, desc="scoring", leave=False) as bar:
        scores = network.score_many((protein.sequence for protein in proteins), bar.update)
    seconds = time.perf_counter() - start

    rows = most_disordered(proteins, scores, TABLE_ROWS)
    print(f"The most disordered of {len(proteins)} proteins (metapredict V3):\n")
    print(format_table(rows))
    print(f"\n{residues:,} residues in {seconds:.2f} s: {residues / seconds:,.0f} residues per second")
    print(f"{prepared}, not counted above")
    if options.fasta is None:
        pairs = zip(scores, published_scores(), strict=False)  # --limit leaves some published ones over
        largest = max(float(np.abs(ours - theirs).max()) for ours, theirs in pairs)
        print(f"largest difference from the published scores: {largest:.1e}")
    if options.plot is not None:
        from ..demo.plot import draw_profiles  # matplotlib is optional

        ending = options.plot.suffix[1:].lower()
        io.write_whole(options.plot, lambda file: draw_profiles(rows[:PLOT_ROWS], file, ending))
        print(f"wrote {options.plot}")


def _check_plot(path: Path) -> None:
    """Refuse a picture that could not be drawn, before the proteins are scored."""
    if importlib.util.find_spec("matplotlib") is None:
        raise InputError("--plot needs matplotlib: pip install 'numba-lstm[plot]'")
    from ..demo.plot import supported_formats

    if path.suffix[1:].lower() not in supported_formats():
        endings = ", ".join(supported_formats())
        raise InputError(f"cannot write {path}: the name must end in one of {endings}")
    check_target(path)
