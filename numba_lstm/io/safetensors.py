"""The safetensors format: a length, a JSON header, and the arrays' bytes, little-endian."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

from ._contents import Contents

_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip


def read(path: Path, wanted: Callable[[str], bool]) -> Contents:
    """Read some arrays; bfloat16 becomes float32."""
    with safe_open(path, framework="numpy") as checked:  # header, shapes, offsets and the file's size fit together
        names = list(checked.keys())
        metadata = dict(checked.metadata() or {})
    arrays = {}
    with path.open("rb") as file:
        # The library's own reader stops at bfloat16, of which NumPy has no type.
        header_size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(header_size))
        for name in names:
            if wanted(name):
                entry = header[name]
                if entry["dtype"] not in _DTYPES:
                    raise ValueError(f"{name} holds {entry['dtype']}")
                file.seek(8 + header_size + entry["data_offsets"][0])
                count = int(np.prod(entry["shape"], dtype=np.int64))
                array = np.fromfile(file, _DTYPES[entry["dtype"]], count).reshape(entry["shape"])
                arrays[name] = _from_bfloat16(array) if entry["dtype"] == "BF16" else array
    return Contents(arrays, names, metadata)


def write(file: BinaryIO, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write arrays and metadata."""
    file.write(save({name: np.array(array, order="C") for name, array in arrays.items()}, dict(metadata) or None))


def _from_bfloat16(bits: np.ndarray) -> np.ndarray:
    """Return float32 for the upper halves of its bits."""
    return (bits.astype(np.uint32) << 16).view(np.float32)
