"""Weight files <-> mappings from names to arrays.  One module for a format, chosen by the file's suffix."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

import numpy as np

from . import _npy, npz, safetensors
from ._contents import Contents

__all__ = ["Contents", "read", "read_array", "read_contents", "write", "write_whole"]

_FORMATS = {".safetensors": safetensors, ".npz": npz}

StrPath = str | os.PathLike[str]


def read(path: StrPath) -> dict[str, np.ndarray]:
    """Read all arrays of a file.

    Parameters
    ----------
    path : path
        ``.safetensors`` or ``.npz``.  Nothing in it is executed.

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
    """
    return read_contents(path).arrays


def read_contents(path: StrPath, wanted: Callable[[str], bool] = lambda name: True) -> Contents:
    """Read some arrays of a file, all names, and what was recorded with them.

    Parameters
    ----------
    path : path
        ``.safetensors`` or ``.npz``.
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
    module = _format(file)
    # Opened once: another file that takes its name meanwhile is not seen.
    with file.open("rb") as stream:
        size, changed = _stamp(stream)
        try:
            contents: Contents = module.read(stream, size, wanted)
        except MemoryError:
            raise
        except Exception as error:  # parsers raise whatever the bytes of a damaged file happen to mean
            raise ValueError(f"{file}: not a complete {file.suffix} file of numbers: {error}") from error
        if _stamp(stream) != (size, changed):
            raise ValueError(f"{file}: was changed while it was read")
    return contents


def read_array(path: StrPath) -> np.ndarray:
    """Read the array of a ``.npy`` file; nothing in it is executed.

    Raises
    ------
    OSError
        If the file cannot be opened.
    ValueError
        If it is something else, or damaged, or holds objects.
    MemoryError
        If there is no room for the array.
    """
    with Path(path).open("rb") as stream:
        return _npy.read(stream, _stamp(stream)[0])


def write(path: StrPath, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> None:
    """Write arrays to a file that appears complete or not at all.

    Parameters
    ----------
    path : path
        ``.safetensors`` or ``.npz``.  What was there is replaced.
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
    """
    file = Path(path)
    module = _format(file)
    write_whole(file, lambda target: module.write(target, arrays, metadata or {}))


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Have a function write a file that appears complete or not at all; what was there stays until then."""
    # Beside the target, since only within one file system is the replacement a single step.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        with temporary.open("wb") as file:
            write(file)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _stamp(file: BinaryIO) -> tuple[int, int]:
    """Return the size of an open file, and when it was last written to."""
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns


def _format(path: Path) -> ModuleType:
    try:
        return _FORMATS[path.suffix.lower()]
    except KeyError:
        raise ValueError(f"{path}: the name should end in {' or '.join(_FORMATS)}") from None
