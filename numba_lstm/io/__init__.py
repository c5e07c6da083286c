"""Other libraries: their modules and models as ours, and files of arrays, which `numba_lstm.formats` reads.

`numba_lstm.io.torch`, `numba_lstm.io.onnx` and `numba_lstm.io.dask` need the packages of these names.  They and
`numba_lstm.io.keras` are imported when somebody first reaches for them.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from .. import public
from ..formats.contents import Contents, Declared
from ..formats.files import WRITTEN, describe, files, known_suffixes, read, read_array, read_contents, write
from ..formats.writing import write_whole
from ._found import Found as Found
from ._found import Runner as Runner
from ._taken import Taken as Taken

__all__ = [
    "WRITTEN",
    "Contents",
    "Declared",
    "describe",
    "files",
    "known_suffixes",
    "read",
    "read_array",
    "read_contents",
    "write",
    "write_whole",
]

_LATER = ("dask", "keras", "onnx", "torch")

public.publish(globals(), Found, Runner, Taken, later=_LATER)

if not TYPE_CHECKING:

    def __getattr__(name: str) -> ModuleType:
        """Import what only some need, when they first reach for it."""
        if name in _LATER:
            return importlib.import_module(f".{name}", __name__)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
