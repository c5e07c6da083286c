"""The command ``numba-lstm demo``."""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time

import numpy as np
from tqdm import tqdm

from ..demo import DisorderNetwork, bundled_proteins, format_table, most_disordered, published_scores, read_fasta
from ._console import InputError, check_shows, prepare_kernels, set_threads, show, shown
from ._output import Output

TABLE_ROWS = 10
PLOT_ROWS = 5
PLOT_SUFFIX = ".png"
"""Of a picture whose name does not say it: one for a device, or for standard output."""


def demo(options: argparse.Namespace) -> None:
    """Score proteins."""
    check_shows()
    picture = None if options.plot is None else _picture(options)
    set_threads(options.threads)
    proteins = bundled_proteins() if options.fasta is None else read_fasta(options.fasta)
    proteins = proteins[: options.limit]
    residues = sum(len(protein.sequence) for protein in proteins)

    network = DisorderNetwork()
    prepared = prepare_kernels(np.float32)
    start = time.perf_counter()
    hidden = sys.stderr is None
    with tqdm(total=residues, unit=" residues", unit_scale=True, desc="scoring", leave=False, disable=hidden) as bar:
        scores = network.score_many((protein.sequence for protein in proteins), bar.update)
    seconds = time.perf_counter() - start

    rows = most_disordered(proteins, scores, TABLE_ROWS)
    show(f"The most disordered of {len(proteins)} proteins (metapredict V3):\n")
    show(format_table([row._replace(name=shown(row.name)) for row in rows]))
    show(f"\n{residues:,} residues in {seconds:.2f} s: {residues / seconds:,.0f} residues per second")
    show(f"{prepared}, not counted above")
    if options.fasta is None:
        pairs = zip(scores, published_scores(), strict=False)  # --limit leaves some published ones over
        largest = max(float(np.abs(ours - theirs).max()) for ours, theirs in pairs)
        show(f"largest difference from the published scores: {largest:.1e}")
    if picture is not None:
        from ..demo.plot import draw_profiles  # matplotlib is optional

        ending = (picture.suffix or PLOT_SUFFIX)[1:]
        picture.write(lambda file: draw_profiles(rows[:PLOT_ROWS], file, ending))
        picture.note("the most disordered profiles")


def _picture(options: argparse.Namespace) -> Output:
    """Return where the picture goes; refuse one that could not be drawn, before the proteins are scored."""
    if importlib.util.find_spec("matplotlib") is None:
        raise InputError("--plot needs matplotlib: pip install 'numba-lstm[plot]'")
    from ..demo.plot import supported_formats

    endings = [f".{name}" for name in supported_formats()]
    picture = Output(options.plot, endings, lambda: [] if options.fasta is None else [options.fasta], options.force)
    if picture.is_standard:
        raise InputError("the table goes to standard output: --plot needs another place")
    return picture
