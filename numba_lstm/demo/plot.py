"""Pictures of disorder profiles; needs matplotlib, the extra ``plot``."""
from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

import numpy as np
from matplotlib.figure import Figure

from ..formats.printable import printable
from .table import THRESHOLD, Row

_LONGEST = 42
"""Letters of a name in a picture: of the widest ones so many leave room for the length of the protein."""


def supported_formats() -> list[str]:
    """Return the file name endings that `draw_profiles` can write, such as ``png``."""
    return sorted(Figure().canvas.get_supported_filetypes())


def draw_profiles(rows: Sequence[Row], file: BinaryIO, format: str) -> None:
    """Draw the score along each protein, one panel each.

    Parameters
    ----------
    rows : sequence of Row
        What to draw, from top to bottom; at least one.
    file : binary file
        Where the picture goes.
    format : str
        One of `supported_formats`.
    """
    # A Figure of its own, not pyplot: no display is looked for, and no global state is touched.
    figure = Figure(figsize=(8, 1.0 + 1.5 * len(rows)), layout="constrained")
    for row, axes in zip(rows, figure.subplots(len(rows), squeeze=False)[:, 0], strict=True):
        position = np.arange(1, row.scores.size + 1)
        axes.plot(position, row.scores, linewidth=1, color="tab:blue")
        axes.fill_between(
            position, THRESHOLD, row.scores, where=row.scores > THRESHOLD, color="tab:blue", alpha=0.25
        )
        axes.axhline(THRESHOLD, linewidth=0.8, linestyle=":", color="0.4")
        axes.set(xlim=(1, max(2, row.scores.size)), ylim=(0, 1.02), ylabel="disorder")
        # A name may be of any letters: dollars do not set formulas, and nothing is left to TeX by a user's settings.
        title = f"{_shown(row.name)} ({row.scores.size} residues)"
        axes.set_title(title, fontsize=9, loc="left", parse_math=False, usetex=False)
    axes.set_xlabel("residue")
    figure.savefig(file, format=format, dpi=120)


def _shown(name: str) -> str:
    """Return a name as a picture has it: one line, no longer than a panel is wide."""
    text = printable(name)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
