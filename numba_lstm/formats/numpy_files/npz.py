"""NumPy's npz format: a zip archive of npy files.  Objects, which would need pickle, are refused."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import numpy as np

from .. import bfloat16
from ..contents import METADATA, Contents, Declared, writable
from ..json import parse
from . import npy

_HALVES = "numba_lstm.bfloat16"
"""Among the metadata: a JSON list of the arrays that are bfloat16, which are integers of 16 bits in the file."""

_LONGEST_NAME = 0xFFFF
"""Bytes of the name of a member."""

_RATIOS = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: 1032}
"""The most bytes that one becomes, by the two ways in which NumPy writes archives: deflate's shortest code, of two
bits, stands for 258 bytes."""


def read(file: BinaryIO, size: int, wanted: Callable[[str], bool]) -> Contents:
    """Read some arrays of a file of so many bytes; those that were bfloat16 when they were written become float32."""
    with zipfile.ZipFile(file) as archive:
        members = _members(archive, size)
        metadata, halves = _recorded(archive, members)
        names = [name for name in members if name != METADATA]
        arrays = {name: _array(archive, members, name) for name in filter(wanted, names)}
    return Contents({name: _number(name, arrays[name], halves) for name in arrays}, names, metadata)


def describe(file: BinaryIO, size: int) -> dict[str, Declared]:
    """Return what a file of so many bytes says of its arrays."""
    declared = {}
    with zipfile.ZipFile(file) as archive:
        members = _members(archive, size)
        _, halves = _recorded(archive, members)
        for name, member in members.items():
            if name != METADATA:
                with archive.open(member) as stream:
                    shape, dtype = npy.describe(stream, member.file_size, name)  # type: ignore[arg-type]
                declared[name] = Declared(shape, "bfloat16" if name in halves else str(dtype))
    return declared


def _array(archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo], name: str) -> np.ndarray:
    with archive.open(members[name]) as stream:
        return npy.read(stream, members[name].file_size, name)  # type: ignore[arg-type]


def _recorded(archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo]) -> tuple[dict[str, str], set[str]]:
    """Return what was recorded beside the arrays, and the names of those that are bfloat16."""
    if METADATA not in members:
        return {}, set()
    recorded = parse(str(_array(archive, members, METADATA)).encode())
    if not isinstance(recorded, dict):
        raise ValueError(f"{METADATA} is not a mapping")
    metadata = {str(key): str(value) for key, value in recorded.items()}
    return metadata, _listed(metadata.pop(_HALVES, "[]"))


def _listed(text: str) -> set[str]:
    """Return the names in a JSON list."""
    names = parse(text.encode())
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"its {_HALVES} is no list of names")
    return set(names)


def _number(name: str, array: np.ndarray, halves: set[str]) -> np.ndarray:
    """Return an array as the numbers that it stands for."""
    if name not in halves:
        return array
    if array.dtype != np.dtype("<u2"):
        raise ValueError(f"{name} is {array.dtype}, and said to be bfloat16 in integers of 16 bits")
    return bfloat16.widened(array)


def _members(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """Return the members of a file of so many bytes by the names of their arrays, if they can be there."""
    members: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        name = member.orig_filename.removesuffix(".npy")  # whatever the system's separator of folders is
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
    plain = writable(arrays, metadata)
    for name in plain:
        if "\0" in name or len(_member(name).encode()) > _LONGEST_NAME:
            raise ValueError(f"no array of an npz file can have the name {name[:100]!r}: it has a NUL, or is too long")
    if _HALVES in metadata:
        raise ValueError(f"{_HALVES} cannot be recorded: it says which arrays are bfloat16")
    halves = {name for name, array in plain.items() if array.dtype == bfloat16.DTYPE}
    entries: dict[str, Any] = {name: array.view("<u2") if name in halves else array for name, array in plain.items()}
    recorded = {**metadata, **({_HALVES: json.dumps(sorted(halves))} if halves else {})}
    if recorded:
        entries[METADATA] = np.array(json.dumps(recorded))
    # np.savez has arguments of its own, which arrays may be named like, and would pickle objects.
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in entries.items():
            member = zipfile.ZipInfo()
            member.filename = _member(name)  # its constructor would take a backslash for a folder on Windows
            with archive.open(member, "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, array, allow_pickle=False)


def _member(name: str) -> str:
    return name + ".npy"
