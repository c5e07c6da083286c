"""Files such as torch writes, made without it: pickles operation by operation, in zip archives."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

STORAGES = {"float32": "FloatStorage", "float64": "DoubleStorage", "float16": "HalfStorage", "int64": "LongStorage"}


class Raw(bytes):
    """Operations of a pickle, as they are."""


def named(module: str, name: str) -> Raw:
    """Return the operation that imports a name."""
    return Raw(f"c{module}\n{name}\n".encode())


def called(function: Raw, *arguments: Any) -> Raw:
    """Return the operations that call something."""
    return Raw(function + pickled(arguments) + b"R")


def pickled(value: Any) -> Raw:
    """Return the operations that make a value."""
    if isinstance(value, Raw):
        return value
    if value is None:
        return Raw(b"N")
    if isinstance(value, bool):
        return Raw(b"\x88" if value else b"\x89")
    if isinstance(value, int):
        return Raw(b"J" + struct.pack("<i", value))
    if isinstance(value, str):
        text = value.encode()
        return Raw(b"X" + struct.pack("<I", len(text)) + text)
    if isinstance(value, tuple):
        return Raw(b"(" + b"".join(map(pickled, value)) + b"t")
    if isinstance(value, list):
        return Raw(b"](" + b"".join(map(pickled, value)) + b"e")
    assert isinstance(value, Mapping)
    return Raw(b"}(" + b"".join(pickled(key) + pickled(each) for key, each in value.items()) + b"u")


class Archive:
    """A file of torch in the making."""

    def __init__(self) -> None:
        self.storages: list[bytes] = []

    def tensor(self, array: np.ndarray, **change: Any) -> Raw:
        """Store an array and return the operations that make its tensor; ``change`` damages it."""
        key = str(len(self.storages))
        self.storages.append(np.ascontiguousarray(array).tobytes())
        kind = named("torch", STORAGES[str(array.dtype)])
        storage = Raw(pickled(("storage", kind, change.get("key", key), "cpu", array.size)) + b"Q")
        strides = tuple(stride // array.itemsize for stride in np.ascontiguousarray(array).strides)
        return called(
            named("torch._utils", "_rebuild_tensor_v2"),
            storage,
            change.get("offset", 0),
            change.get("shape", array.shape),
            change.get("strides", strides),
            False,
            called(named("collections", "OrderedDict")),
        )

    def finish(self, value: Any, **members: bytes) -> bytes:
        """Return a file that holds a value."""
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("archive/data.pkl", b"\x80\x02" + pickled(value) + b".")
            for key, content in enumerate(self.storages):
                archive.writestr(f"archive/data/{key}", content)
            for name, content in members.items():
                archive.writestr(f"archive/{name.replace('__', '/')}", content)
        return file.getvalue()


def checkpoint(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return what ``torch.save`` would write of a dict with a state dict in it."""
    archive = Archive()
    tensors = {name: archive.tensor(array) for name, array in arrays.items()}
    return archive.finish({"epoch": 3, "state_dict": tensors, "lr": [1, None, True]}, version=b"3\n")
