"""Sphinx extension: the gallery's pictures are drawn twice, for light pages and for dark ones, as all others are.

Sphinx-Gallery draws each once, and has no word for the other. Examples draw with matplotlib's own colours, "C0" and so
on, and with texts and axes as they come; on a dark page these are lighter, and everything else is as it is.
"""
from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # pictures of the benchmarks have the same colours

from asv_bench.pictures import STYLES, TEXT, beside

LIGHT, DARK = STYLES["light"], STYLES["dark"]
PAIRS = dict(zip([LIGHT.text, *LIGHT.drawn], [DARK.text, *DARK.drawn], strict=True))
KINDS = ("color", "facecolor", "edgecolor", "markerfacecolor", "markeredgecolor")
"""What artists of matplotlib call their colours."""

IMAGE = ".. image:: /{path}\n    :alt: {alt}\n    :class: {kind} only-{style}\n\n"
THUMBNAIL = re.compile(r"^  \.\. image:: /(gallery/images)/thumb/(\w+)_thumb\.png\n +:alt:\n", re.MULTILINE)


def style(gallery_conf: dict[str, Any], file: str) -> None:
    """Set the colours of a light page before an example is run: called by Sphinx-Gallery."""
    import matplotlib

    settings = dict.fromkeys(TEXT, LIGHT.text) | {"grid.color": "gray", "legend.frameon": False}
    matplotlib.rcParams.update(settings | {"axes.prop_cycle": matplotlib.cycler(color=LIGHT.drawn)})


def darken(figure: Any) -> None:
    """Give a figure the colours of a dark page."""
    from matplotlib.colors import to_hex, to_rgba_array

    for artist in figure.findobj():
        for kind in KINDS:
            if not (hasattr(artist, f"get_{kind}") and hasattr(artist, f"set_{kind}")):
                continue
            colours = to_rgba_array(getattr(artist, f"get_{kind}")())
            new = [PAIRS.get(to_hex(colour), to_hex(colour)) for colour in colours]
            if new != [to_hex(colour) for colour in colours]:
                opaque = to_rgba_array(new)
                opaque[:, 3] = colours[:, 3]
                getattr(artist, f"set_{kind}")(opaque if len(opaque) > 1 else opaque[0])


def scrape(block: Any, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """Write the figures of a part of an example and return what shows them: called by Sphinx-Gallery."""
    import matplotlib.pyplot as plt

    shown, alt = "", Path(block_vars["src_file"]).stem.replace("_", " ")
    for number, light in zip(plt.get_fignums(), block_vars["image_path_iterator"]):  # noqa: B905 - it has no end
        figure = plt.figure(number)
        for name in STYLES:
            if name == "dark":
                darken(figure)
            path = beside(Path(light), name)
            figure.savefig(path, transparent=True)
            place = path.relative_to(gallery_conf["src_dir"]).as_posix()
            shown += IMAGE.format(path=place, alt=alt, kind="sphx-glr-single-img", style=name)
    plt.close("all")
    return shown


def both_thumbnails(app: Any, name: str, source: list[str]) -> None:
    """Show, in the gallery, the first picture of each example in either mode instead of the one of a light page."""

    def both(found: re.Match[str]) -> str:
        folder, example = found.groups()
        shown = ""
        for each in STYLES:
            path = beside(Path(folder, f"{example}_001.png"), each).as_posix()
            shown += IMAGE.format(path=path, alt="", kind="sphx-glr-thumbnail", style=each)
        return textwrap.indent(shown, "  ")  # below the line that says what is for HTML

    if name == "gallery/index":
        source[0] = THUMBNAIL.sub(both, source[0])


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", both_thumbnails)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
