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

from . import OTHER_FORMATS, names


def format_of(path: Path) -> Any:
    """Return the module for a file, by the file's suffix.

    Raises
    ------
    ModuleNotFoundError
        If the format needs a package that is not installed; the message says which extra brings it.
    """
    suffix = path.suffix.lower()
    return importlib.import_module(f".{OTHER_FORMATS[suffix]}", __package__) if suffix in OTHER_FORMATS else names
