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


def old_text(text: str) -> Raw:
    """Return the operations for a text as Python 2 writes it."""
    return Raw(b"U" + bytes([len(text)]) + text.encode())


class Python2:
    """A file in the layout from before version 1.6, as Python 2 writes it: five pickles, then the storages."""

    def __init__(self) -> None:
        self.storages: list[np.ndarray] = []

    def tensor(self, array: np.ndarray, view: tuple[int, int] | None = None) -> Raw:
        """Store an array; ``view`` has it as a part of a larger storage, from some element on."""
        key = old_text(str(94000000 + len(self.storages)))
        self.storages.append(np.concatenate([np.zeros(view[0], array.dtype), array.ravel()]) if view else array)
        kind = named("torch", STORAGES[str(array.dtype)])
        part = None if view is None else (old_text("1"), view[0], array.size)
        whole = (old_text("storage"), kind, key, old_text("cuda:0"), array.size, part)
        strides = tuple(stride // array.itemsize for stride in array.strides)
        return called(
            named("torch._utils", "_rebuild_tensor"), Raw(pickled(whole) + b"Q"), 0, array.shape, strides
        )

    def finish(self, value: Any) -> bytes:
        system = {
            old_text("protocol_version"): 1001,
            old_text("type_sizes"): {old_text("int"): 4},
            old_text("little_endian"): True,
        }
        keys = [old_text(str(94000000 + index)) for index in range(len(self.storages))]
        magic = Raw(b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19")
        pickles = [b"\x80\x02" + pickled(each) + b"." for each in (magic, 1001, system, value, keys)]
        stored = [struct.pack("<q", each.size) + each.tobytes() for each in self.storages]
        return b"".join(pickles + stored)


def state_of_python2(tensors: dict[str, Raw]) -> Raw:
    """Return an OrderedDict that is called with its pairs, and has attributes."""
    ordered = called(named("collections", "OrderedDict"), [[old_text(name), each] for name, each in tensors.items()])
    return Raw(ordered + pickled({old_text("_metadata"): {}}) + b"b")


def numpy_dtype(dtype: Any) -> Raw:
    """Return the operations for a dtype of NumPy."""
    order = {"=": "<"}.get(dtype.byteorder, dtype.byteorder)
    made = called(named("numpy", "dtype"), dtype.str[1:], False, True)
    return Raw(made + pickled((3, order, None, None, None, -1, -1, 0)) + b"b")


def numpy_array(array: np.ndarray, content: Any = None, shape: Any = None, package: str = "numpy.core") -> Raw:
    """Return the operations for an array of NumPy, whose bytes are a text as up to protocol 2."""
    if content is None:
        content = called(named("_codecs", "encode"), array.tobytes(order="A").decode("latin-1"), "latin1")
    fortran = not array.flags.c_contiguous
    made = called(named(f"{package}.multiarray", "_reconstruct"), named("numpy", "ndarray"), (0,), "b")
    state = (1, array.shape if shape is None else shape, numpy_dtype(array.dtype), fortran, content)
    return Raw(made + pickled(state) + b"b")


def checkpoint(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return what ``torch.save`` would write of a dict with a state dict in it."""
    archive = Archive()
    tensors = {name: archive.tensor(array) for name, array in arrays.items()}
    return archive.finish({"epoch": 3, "state_dict": tensors, "lr": [1, None, True]}, version=b"3\n")


def old_checkpoint(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return what Python 2 would write of a state dict."""
    file = Python2()
    return file.finish(state_of_python2({name: file.tensor(array) for name, array in arrays.items()}))
