"""Weight files <-> mappings from names to arrays: opened, read by the module of their format, and written whole."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, TypeVar

import numpy as np

from . import safetensors, shards
from .contents import Contents, Declared
from .kinds import SUFFIXES, Unreadable, kind_by_name, kind_of, label, opened
from .numpy_files import npy, npz
from .printable import printable
from .torch import archive
from .writing import write_whole

WRITTEN = {".safetensors": safetensors, ".npz": npz}
"""Suffixes of files that are written, and the modules that do it: ``write(file, arrays, metadata)``."""

_READ: dict[str, ModuleType] = {"safetensors": safetensors, "npz": npz, "torch": archive}
_INDEX = "index"

StrPath = str | os.PathLike[str]
T = TypeVar("T")


def read(path: StrPath) -> dict[str, np.ndarray]:
    """Read all arrays of a file.

    Parameters
    ----------
    path : path
        A file of safetensors, NumPy's npz, or what torch writes: checkpoints, TorchScript, archives of
        ``torch.export``.  The content tells which, whatever the name.  Of a checkpoint in several files the index, such
        as ``model.safetensors.index.json``.  Nothing in it is executed.

    Returns
    -------
    dict of str to ndarray
        bfloat16, which NumPy lacks, becomes float32.

    Raises
    ------
    OSError
        If the file cannot be opened.
    ValueError
        If it is something else, one of several files of a checkpoint, damaged, or was changed meanwhile; the message
        begins with the path.
    MemoryError
        If there is no room for its arrays.

    Examples
    --------
    >>> import numpy as np
    >>> from numba_lstm.io import read, write
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
    return _read_one(Path(path), wanted, lambda index: shards.read(index, wanted, _read_one))


def read_all_but_arrays(path: StrPath) -> Contents:
    """Read what `read_contents` does, and none of the arrays: of an index, from all of its files.

    Raises
    ------
    OSError, ValueError
        As `read` does.
    """

    def read_one(file: Path, wanted: Callable[[str], bool]) -> Contents:
        return _read_one(file, lambda name: False)

    return _read_one(Path(path), lambda name: False, lambda index: shards.read(index, shards.every, read_one))


def _read_one(
    file: Path, wanted: Callable[[str], bool], join: Callable[[shards.Index], Contents] | None = None
) -> Contents:
    contents: Contents = _parsed(file, lambda module, stream, size: module.read(stream, size, wanted), join)
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

    def describe_one(file: Path, join: Any = None) -> dict[str, Declared]:
        declared: dict[str, Declared] = _parsed(file, lambda module, *stream: module.describe(*stream), join)
        return declared

    return describe_one(Path(path), lambda index: shards.describe(index, describe_one))


def files(path: StrPath) -> list[Path]:
    """Return a file and the others that it consists of, if it is an index.

    Raises
    ------
    OSError, ValueError
        As `read` does.
    """
    file = Path(path)
    with opened(file) as (stream, size):
        if _kind(file, stream, size) != _INDEX:
            return [file]
        shards = _joined(file, stream, size, lambda index: sorted(index.shards))
    return [file, *(file.parent / shard for shard in shards)]


def kind_in(path: StrPath) -> str:
    """Return what a file is, a key of `numba_lstm.formats.kinds.SUFFIXES`.

    Raises
    ------
    OSError
        If the file cannot be opened.
    ValueError
        If it is nothing that is read; the message begins with the path, and says what it is.
    """
    file = Path(path)
    with opened(file) as (stream, size):
        return _kind(file, stream, size)


def _parsed(
    file: Path, parse: Callable[[Any, BinaryIO, int], T], join: Callable[[shards.Index], T] | None
) -> T:
    """Return what a function makes of a format's module, an open file and its size; or another one of an index.

    Without the latter the file is one that an index has named.
    """
    # Opened once: another file that takes its name meanwhile is not seen.
    with opened(file) as (stream, size):
        kind = _kind(file, stream, size)
        if kind == _INDEX and join is not None:
            return _joined(file, stream, size, join)
        if kind not in _READ:
            reader = "LSTM.load and io.read read" if kind == _INDEX else f"numba_lstm.io.{kind} reads"
            raise ValueError(f"{file}: has no names of torch's: {reader} such files")
        if join is not None:
            problem = shards.why_incomplete(file)
            if problem is not None:
                raise ValueError(f"{file}: {problem}")
        stream.seek(0)
        what = f"{label(file.name, kind)} file of numbers"
        return unchanged(file, stream, what, lambda: parse(_READ[kind], stream, size))


def unchanged(file: Path, stream: BinaryIO, what: str, parse: Callable[[], T]) -> T:
    """Return what a function makes of an open file, which stays as it is meanwhile.

    Raises
    ------
    ValueError
        If it is not a complete one of ``what``, or is written to; the message begins with the path.
    """
    before = _stamp(stream)
    try:
        made = parse()
    except MemoryError:
        raise
    except Exception as error:  # parsers raise whatever the bytes of a damaged file happen to mean
        raise ValueError(f"{file}: not a complete {what}: {printable(str(error))}") from error
    if _stamp(stream) != before:
        raise ValueError(f"{file}: was changed while it was read")
    return made


def _joined(file: Path, stream: BinaryIO, size: int, join: Callable[[shards.Index], T]) -> T:
    """Return what a function makes of an index of shards."""
    try:
        return join(shards.Index(file.parent, stream, size))
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def _kind(file: Path, stream: BinaryIO, size: int) -> str:
    try:
        return kind_of(stream, size, file.name)
    except Unreadable as error:
        promised = kind_by_name(file.name)
        what = "not a file of weights" if promised is None else f"not a complete {label(file.name, promised)} file"
        raise ValueError(f"{file}: {what}: it is {error}") from None


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
        return npy.read(source, _stamp(source)[0] - source.tell())
    received = npy.receive(source)
    return npy.read(io.BytesIO(received), len(received))


def write(path: StrPath, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> None:
    """Write arrays to a file that appears complete or not at all.

    Parameters
    ----------
    path : path
        ``.safetensors`` or ``.npz``.  What was there is replaced, with links followed and its mode kept; a device or
        a pipe of such a name is written to.
    arrays : mapping of str to ndarray
        By name.  bfloat16 of the package ml_dtypes is read back as float32.
    metadata : mapping of str to str, optional
        What else to record.

    Raises
    ------
    OSError
        If the file cannot be written.
    TypeError
        If one is a masked array, whose mask would be dropped, has objects, which would be pickled, or is no array; if
        a name or metadata are no texts.
    ValueError
        If its suffix is another, or the format cannot hold a name or a dtype.

    Examples
    --------
    >>> import numpy as np
    >>> from numba_lstm.io import read, write
    >>> write("lstm.safetensors", {"weight": np.eye(2)}, {"trained": "on Monday"})
    >>> read("lstm.safetensors")["weight"].shape
    (2, 2)
    """
    file = Path(path)
    module = _format(file, WRITTEN)
    write_whole(file, lambda target: module.write(target, arrays, metadata or {}))


def known_suffixes() -> set[str]:
    """Return the suffixes of all formats of numbers that are known here, for what to be read or written."""
    return {suffix for suffixes in SUFFIXES.values() for suffix in suffixes} | {".npy"}


def _stamp(file: BinaryIO) -> tuple[int, int]:
    """Return the size of an open file, and when it was last written to."""
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns


def _format(path: Path, formats: Mapping[str, ModuleType]) -> ModuleType:
    suffix = path.suffix.lower()
    if suffix in formats:
        return formats[suffix]
    *others, last = formats
    raise ValueError(f"{path}: the name should end in {', '.join(others)} or {last}")
