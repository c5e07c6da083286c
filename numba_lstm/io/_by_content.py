"""The module for a file: what ``numba-lstm info``, ``run`` and ``convert`` ask.

Each has these functions; ``path`` is a `pathlib.Path`.

``describe(path)``
    Everything recurrent in the file, as a list of `Found`, with what cannot be taken and why.
``runner(path, name, dtype=None)``
    One of those made ready to run, as a `Runner`.
``load_lstm(path, name=None)``
    The plain case, as an `LSTM`.  A module with ``JOINS = True`` makes one of all that is in the file without a name.
``files(path)``
    The file and those that belong to it, of formats in which there are such.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from ..formats.files import kind_in
from . import names

_OWN_NAMES = ("onnx", "keras")
"""Formats in which weights have other names than torch's, and the modules here that read them."""


def format_of(path: Path) -> Any:
    """Return the module for a file, by what is in it.

    Raises
    ------
    OSError, ValueError
        If the file cannot be opened, or is nothing that is read.
    ModuleNotFoundError
        If the format needs a package that is not installed; the message says which extra brings it.
    """
    kind = kind_in(path)
    return importlib.import_module(f".{kind}", __package__) if kind in _OWN_NAMES else names
