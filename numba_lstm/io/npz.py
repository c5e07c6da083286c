"""NumPy's npz format: a zip archive of npy files.  Objects, which would need pickle, are refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ._contents import Contents

_METADATA = "__metadata__"  # what safetensors calls it in its header


def read(path: Path, wanted: Callable[[str], bool]) -> Contents:
    """Read some arrays."""
    # numpy.load would leave the file open when it is no archive.
    with path.open("rb") as stream, np.lib.npyio.NpzFile(stream, allow_pickle=False) as file:
        names = [name for name in file.files if name != _METADATA]
        metadata = {}
        if _METADATA in file.files:
            recorded = json.loads(str(file[_METADATA]))
            if not isinstance(recorded, dict):
                raise ValueError(f"{_METADATA} is not a mapping")
            metadata = {str(key): str(value) for key, value in recorded.items()}
        arrays = {}
        for name in filter(wanted, names):
            array = file[name]
            if not isinstance(array, np.ndarray):
                raise ValueError(f"{name} is no array")
            arrays[name] = array
    return Contents(arrays, names, metadata)


def write(file: BinaryIO, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write arrays and metadata."""
    entries: dict[str, Any] = {name: np.asarray(array) for name, array in arrays.items()}
    if metadata:
        entries[_METADATA] = np.array(json.dumps(dict(metadata)))
    np.savez(file, **entries)
