"""Sphinx: pip install '.[docs]' && sphinx-build -W -n docs docs/_build"""
from __future__ import annotations

import inspect
import logging
import re
import sys
from pathlib import Path
from typing import Any

import numba_lstm

sys.path.insert(0, str(Path(__file__).parent))  # extensions of our own

logging.getLogger("numba_lstm").setLevel(logging.ERROR)  # that kernels are compiled is no output of an example

project = "numba-lstm"
author = "The numba_lstm developers"
project_copyright = author
release = version = numba_lstm.__version__
extensions = [
    "mathml",
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "two_modes",
]
# The folder of examples is read by the gallery.
exclude_patterns = ["_build", "examples/plot_*", "examples/GALLERY_HEADER.rst"]
nitpicky = True
myst_enable_extensions = ["colon_fence", "dollarmath", "substitution"]
myst_substitutions = {"version": version}
myst_heading_anchors = 3

autodoc_typehints = "none"  # numpydoc's sections say them with shapes
# Functions that need these are described where they are not installed too.
autodoc_mock_imports = ["torch", "onnx", "dask", "distributed"]
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True  # np.float32, not the class
numpydoc_show_class_members = False
autosummary_generate = False  # tables of what the pages describe, and no pages of its own
python_maximum_signature_line_length = 80  # longer ones have a line for each parameter
copybutton_exclude = ".linenos, .gp, .go"  # prompts and outputs are not copied

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"/plot_",
    "ignore_pattern": re.escape("silero_vad.py"),
    "abort_on_example_error": True,
    "run_stale_examples": True,  # the library may have changed where an example has not
    "image_scrapers": "two_modes.scrape",
    "reset_modules": ("matplotlib", "two_modes.style"),
    "download_all_examples": False,
    "show_signature": False,
    # The first figure of an example is shown in the gallery too: 4 by 2.8 inches at 150 dots an inch keep its text
    # readable. two_modes.py shows the figure itself, and what this makes of it is not seen.
    "thumbnail_size": (600, 420),
    "within_subsection_order": "FileNameSortKey",
    "remove_config_comments": True,
    "write_computation_times": False,  # a page that loads scripts from servers of others
}

html_theme = "pydata_sphinx_theme"
html_title = "numba-lstm"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_favicon = "_static/icon.svg"
html_show_sourcelink = False
# Pages without others below them, and those whose tables need the width.
WIDE = ["start", "dashboard", "bring_your_model", "keras", "performance", "performance/*"]
html_sidebars = {name: [] for name in WIDE}
html_context = {"default_mode": "auto"}  # light or dark as the reader's system is
html_theme_options = {
    "navbar_align": "left",
    "header_links_before_dropdown": 7,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
}


def written_in(app: Any, module: str, name: str) -> str | None:
    """Say in which file of ours a public class or function is written, for the links to sources."""
    name = name.partition(".")[0]
    public, beginning = getattr(sys.modules[module], name), re.compile(rf"^(?:class|def) {name}\b", re.MULTILINE)
    having = (place for place, each in sys.modules.items() if vars(each).get(name) is public)
    return next((place for place in having if beginning.search(inspect.getsource(sys.modules[place]))), None)


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("viewcode-follow-imported", written_in)
