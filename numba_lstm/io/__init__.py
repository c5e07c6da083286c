"""Weight files <-> mappings from names to arrays.  One module for a format, chosen by the file's suffix.

`numba_lstm.io.torch` and `numba_lstm.io.onnx` need the packages of these names.  They and `numba_lstm.io.keras` are
imported when somebody first reaches for them.
"""

from __future__ import annotations

import importlib
import io
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, BinaryIO, TypeVar

import numpy as np

from ..printable import printable
from . import _npy, npz, safetensors, torch_archive
from ._contents import Contents, Declared
from ._writing import write_whole

__all__ = [
    "WRITTEN",
    "Contents",
    "Declared",
    "describe",
    "known_suffixes",
    "read",
    "read_array",
    "read_contents",
    "write",
    "write_whole",
]

WRITTEN = {".safetensors": safetensors, ".npz": npz}
"""Suffixes of files that are written, and the modules that do it: ``write(file, arrays, metadata)``."""

_TORCHS = dict.fromkeys((".pt", ".pth", ".ckpt", ".bin", ".jit", ".torchscript"), torch_archive)
_READ = WRITTEN | _TORCHS

OTHER_FORMATS = {".onnx": "onnx", ".keras": "keras", ".h5": "keras", ".hdf5": "keras"}
"""Suffixes of files in which weights have other names than torch's, and the modules here that read them."""

_LATER = ("keras", "onnx", "torch")

if not TYPE_CHECKING:

    def __getattr__(name: str) -> ModuleType:
        """Import what only some need, when they first reach for it."""
        if name in _LATER:
            return importlib.import_module(f".{name}", __name__)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})


StrPath = str | os.PathLike[str]
T = TypeVar("T")


def read(path: StrPath) -> dict[str, np.ndarray]:
    """Read all arrays of a file.

    Parameters
    ----------
    path : path
        ``.safetensors``, ``.npz``, or what torch writes: ``.pt``, ``.pth``, ``.ckpt``, ``.bin``, ``.jit``,
        ``.torchscript``.  Nothing in it is executed.

    Returns
    -------
    dict of str to ndarray
        bfloat16, which NumPy lacks, becomes float32.

    Raises
    ------
    OSError
        If the file cannot be opened.
    ValueError
        If its suffix is another, it is damaged, or it was changed meanwhile; the message begins with the path.
    MemoryError
        If there is no room for its arrays.

    Examples
    --------
    >>> write("bias.npz", {"bias": np.zeros(3, np.float32)})
    >>> read("bias.npz")
    {'bias': array([0., 0., 0.], dtype=float32)}
    """
    return read_contents(path).arrays


def read_contents(path: StrPath, wanted: Callable[[str], bool] = lambda name: True) -> Contents:
    """Read some arrays of a file, all names, and what was recorded with them.

    Parameters
    ----------
    path : path
        As for `read`.
    wanted : callable
        Says of a name whether its array is to be read.

    Returns
    -------
    Contents

    Raises
    ------
    OSError, ValueError, MemoryError
        As `read` does.
    """
    file = Path(path)
    module = _format(file, _READ)
    contents: Contents = _parsed(file, lambda stream, size: module.read(stream, size, wanted))
    return contents


def describe(path: StrPath) -> dict[str, Declared]:
    """Read what a file says of its arrays, and none of them.

    Parameters
    ----------
    path : path
        As for `read`.

    Returns
    -------
    dict of str to Declared
        Shape and dtype by name.

    Raises
    ------
    OSError, ValueError
        As `read` does.
    """
    file = Path(path)
    declared: dict[str, Declared] = _parsed(file, _format(file, _READ).describe)
    return declared


def _parsed(file: Path, parse: Callable[[BinaryIO, int], T]) -> T:
    """Return what a function makes of an open file and its size."""
    # Opened once: another file that takes its name meanwhile is not seen.
    with file.open("rb") as stream:
        size, changed = _stamp(stream)
        try:
            made = parse(stream, size)
        except MemoryError:
            raise
        except Exception as error:  # parsers raise whatever the bytes of a damaged file happen to mean
            reason = printable(str(error))
            raise ValueError(f"{file}: not a complete {file.suffix} file of numbers: {reason}") from error
        if _stamp(stream) != (size, changed):
            raise ValueError(f"{file}: was changed while it was read")
    return made


def read_array(source: StrPath | BinaryIO) -> np.ndarray:
    """Read the array of a ``.npy`` file; nothing in it is executed.

    Parameters
    ----------
    source : path or open binary file
        A pipe, too, which has to end with the array.

    Raises
    ------
    OSError
        If the file cannot be opened.
    ValueError
        If it is something else, or damaged, or holds objects.
    MemoryError
        If there is no room for the array.
    """
    if isinstance(source, str | os.PathLike):
        with Path(source).open("rb") as stream:
            return read_array(stream)
    if stat.S_ISREG(os.fstat(source.fileno()).st_mode):
        return _npy.read(source, _stamp(source)[0] - source.tell())
    received = _npy.receive(source)
    return _npy.read(io.BytesIO(received), len(received))


def write(path: StrPath, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> None:
    """Write arrays to a file that appears complete or not at all.

    Parameters
    ----------
    path : path
        ``.safetensors`` or ``.npz``.  What was there is replaced, with links followed and its mode kept; a device or
        a pipe of such a name is written to.
    arrays : mapping of str to ndarray
        By name.
    metadata : mapping of str to str, optional
        What else to record.

    Raises
    ------
    OSError
        If the file cannot be written.
    ValueError
        If its suffix is another.

    Examples
    --------
    >>> write("lstm.safetensors", {"weight": np.eye(2)}, {"trained": "on Monday"})
    >>> read_contents("lstm.safetensors").metadata
    {'trained': 'on Monday'}
    """
    file = Path(path)
    module = _format(file, WRITTEN)
    write_whole(file, lambda target: module.write(target, arrays, metadata or {}))


def known_suffixes() -> set[str]:
    """Return the suffixes of all formats of numbers that are known here, for what to be read or written."""
    return {*_READ, *OTHER_FORMATS, ".npy"}


def _stamp(file: BinaryIO) -> tuple[int, int]:
    """Return the size of an open file, and when it was last written to."""
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns


def _format(path: Path, formats: Mapping[str, ModuleType]) -> ModuleType:
    suffix = path.suffix.lower()
    if suffix in formats:
        return formats[suffix]
    if suffix in OTHER_FORMATS:
        raise ValueError(f"{path}: has no names of torch's: numba_lstm.io.{OTHER_FORMATS[suffix]} reads such files")
    *others, last = formats
    raise ValueError(f"{path}: the name should end in {', '.join(others)} or {last}")
