"""NumPy's npz format: a zip archive of npy files.  Objects, which would need pickle, are refused."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import numpy as np

from .. import bfloat16
from ..contents import Contents, Declared
from . import npy

_METADATA = "__metadata__"  # what safetensors calls it in its header

_RATIOS = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: 1032}
"""The most bytes that one becomes, by the two ways in which NumPy writes archives: deflate's shortest code, of two
bits, stands for 258 bytes."""


def read(file: BinaryIO, size: int, wanted: Callable[[str], bool]) -> Contents:
    """Read some arrays of a file of so many bytes."""
    with zipfile.ZipFile(file) as archive:
        members = _members(archive, size)

        def array(name: str) -> np.ndarray:
            with archive.open(members[name]) as stream:
                return npy.read(stream, members[name].file_size, name)  # type: ignore[arg-type]

        metadata = {}
        if _METADATA in members:
            recorded = json.loads(str(array(_METADATA)))
            if not isinstance(recorded, dict):
                raise ValueError(f"{_METADATA} is not a mapping")
            metadata = {str(key): str(value) for key, value in recorded.items()}
        names = [name for name in members if name != _METADATA]
        return Contents({name: array(name) for name in filter(wanted, names)}, names, metadata)


def describe(file: BinaryIO, size: int) -> dict[str, Declared]:
    """Return what a file of so many bytes says of its arrays."""
    declared = {}
    with zipfile.ZipFile(file) as archive:
        for name, member in _members(archive, size).items():
            if name != _METADATA:
                with archive.open(member) as stream:
                    shape, dtype = npy.describe(stream, member.file_size, name)  # type: ignore[arg-type]
                declared[name] = Declared(shape, str(dtype))
    return declared


def _members(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """Return the members of a file of so many bytes by the names of their arrays, if they can be there."""
    members: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        name = member.filename.removesuffix(".npy")
        if name in members:
            raise ValueError(f"{name} is there twice")
        if member.file_size > member.compress_size * _RATIOS.get(member.compress_type, 0):
            raise ValueError(f"{name} cannot be {member.file_size:,} bytes")
        members[name] = member
    if sum(member.compress_size for member in members.values()) > size:
        raise ValueError("its members are longer than the file")
    return members


def write(file: BinaryIO, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write arrays and metadata; those of bfloat16, which NumPy lacks, as unsigned integers of 16 bits."""
    entries: dict[str, Any] = {
        name: array.view("<u2") if array.dtype == bfloat16.DTYPE else np.asarray(array)
        for name, array in arrays.items()
    }
    if metadata:
        entries[_METADATA] = np.array(json.dumps(dict(metadata)))
    np.savez(file, **entries)
