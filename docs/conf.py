"""Sphinx: pip install '.[docs]' && sphinx-build -W docs docs/_build"""
from __future__ import annotations

import numba_lstm

project = "numba-lstm"
author = "The numba_lstm developers"
release = numba_lstm.__version__
extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
numpydoc_show_class_members = False
html_theme = "alabaster"
