"""Pictures for pages: each twice, for light and for dark ones, with the Markdown that shows the one that fits."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple


class Colours(NamedTuple):
    """What a picture has on a light page, or on a dark one."""

    text: str
    """And axes."""
    drawn: list[str]
    """What is drawn first, second and so on."""


TEXT = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")

STYLES = {
    "light": Colours("#222832", ["#0a7d91", "#c65d00", "#5b5fc7", "#2e8540", "#8a2be2"]),
    "dark": Colours("#ced6dd", ["#3fb1c5", "#ff9e4a", "#a5a8ff", "#7ccf8e", "#d6a3ff"]),
}
"""The background is the page's."""


def figure_class() -> Any:
    """Return matplotlib's class of figures; says what to install where it is missing."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise SystemExit("plots need matplotlib: pip install '.[plot]'") from None
    return Figure


def beside(plot: Path, style: str) -> Path:
    """Return the file of a picture in a style: that of the light one has the picture's own name."""
    return plot if style == "light" else plot.with_name(f"{plot.stem}_{style}{plot.suffix}")


def draw(plot: Path, width: float, height: float, paint: Callable[[Any], None]) -> None:
    """Write a picture, in the format that its name says, once in each style."""
    kind = figure_class()
    import matplotlib

    plot.parent.mkdir(parents=True, exist_ok=True)
    for style, chosen in STYLES.items():
        settings = dict.fromkeys(TEXT, chosen.text)
        settings |= {"axes.prop_cycle": matplotlib.cycler(color=chosen.drawn), "font.size": 11}
        with matplotlib.rc_context(settings):
            figure = kind(figsize=(width, height), layout="constrained")
            paint(figure)
            metadata = {"Software": None} if plot.suffix == ".png" else None
            figure.savefig(beside(plot, style), dpi=120, transparent=True, metadata=metadata)


def show(title: str, plot: Path, page: Path) -> str:
    """Return the Markdown that shows a picture on a page, in the style of the reader's choice."""
    parts = []
    for style in STYLES:
        path = Path(os.path.relpath(beside(plot, style), page.parent)).as_posix()
        parts.append(f"```{{image}} {path}\n:alt: {title}\n:class: only-{style}\n```")
    return "\n\n".join(parts)
