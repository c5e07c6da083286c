"""What ``torch.save``, ``torch.jit.save`` and ``torch.export.save`` write, read without torch and without running it.

A checkpoint is a zip archive: a pickle that describes the objects, and a member for the numbers of each storage.  So
is a TorchScript file, with its program beside them, of which only options of modules are read.  Before version 1.6
torch wrote the same things one after the other: five pickles, and then the storages.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from ..contents import Contents, Declared
from ..zip_archive import Archive
from .exported import Checkpoint, find
from .objects import NUMBERS, SOUGHT, Tensor, Tree, call, item_size, read_tensor, read_tree, refer
from .pickle_machine import Machine
from .pickled_arrays import PickledArray
from .pickled_objects import value_of
from .torchscript import Program

_PICKLE_MEMORY = 32 << 20
"""Bytes that a pickle and its objects may take, beside what is as large as the arrays of the file."""

_PICKLE = "/data.pkl"
_ORDERS = {b"little": "<", b"big": ">"}

_ZIP_START = b"PK"
_OLD_MAGIC, _OLD_VERSION, _LENGTH_SIZE = 0x1950A86A20F9469CFC6C, 1001, 8
_TAR_PLACE, _LONGEST_START = 257, 262

_SMALL = 16 << 20
"""Bytes that tensors may have that share their memory, and be more than the file then."""

_Place = tuple[int, int]


class _Read(NamedTuple):
    """A file whose pickle was read."""

    tree: Tree
    place: Callable[[str], _Place]
    """Where in the file the storage of a key begins, and its bytes."""
    order: str


def read(file: BinaryIO, size: int, wanted: Callable[[str], bool]) -> Contents:
    """Read some arrays of a file of so many bytes.

    A name is wanted whole, or without the keys of the dicts in which a state dict lies.
    """
    (tensors, inner, modules, _), place, order = _open(file, size)
    names = [name for name in tensors if wanted(name) or (name in inner and wanted(inner[name]))]
    total = sum(_bytes_of(tensors[name]) for name in names)
    if total > max(size, _SMALL):
        raise ValueError(f"its arrays share their memory, and would be {total:,} bytes without")
    arrays: dict[Tensor, np.ndarray] = {}  # tied ones are read once

    def array(tensor: Tensor | PickledArray) -> np.ndarray:
        if isinstance(tensor, PickledArray):
            return tensor.read()
        if tensor not in arrays:
            arrays[tensor] = read_tensor(file, tensor, *place(tensor.key), order)
        return arrays[tensor]

    read = {}
    for name in names:
        try:
            read[name] = array(tensors[name])
        except ValueError as error:
            raise ValueError(f"{name} {error}") from None
    return Contents(read, list(tensors), {}, inner, modules)


def describe(file: BinaryIO, size: int) -> dict[str, Declared]:
    """Return what a file of so many bytes says of its arrays."""
    return {name: Declared(tensor.shape, tensor.dtype) for name, tensor in _open(file, size).tree.tensors.items()}


def _bytes_of(tensor: Tensor | PickledArray) -> int:
    return math.prod(tensor.shape) * np.dtype(NUMBERS.get(tensor.dtype, "u1")).itemsize


def _open(file: BinaryIO, size: int) -> _Read:
    start = file.read(_LONGEST_START)
    if start.startswith(_ZIP_START):
        return _open_zip(file, size)
    if _is_old(start):
        return _open_old(file, size)
    if start[_TAR_PLACE:] == b"ustar":
        raise ValueError("torch's tar format from before version 0.4: load it with torch, and save it again")
    if start.startswith(b"\x80"):
        raise ValueError("a pickle, which is not read: save it with torch.save, or as .npz or .safetensors")
    raise ValueError("neither torch's zip archive nor what torch wrote before")


def _is_old(start: bytes) -> bool:
    """Return whether a file begins as torch did before version 1.6: with a number, in any protocol of pickle."""
    machine = Machine(start, _PICKLE_MEMORY, call, refer, SOUGHT)
    try:
        return bool(machine.run() == _OLD_MAGIC)
    except ValueError:
        return False


def _open_zip(file: BinaryIO, size: int, begin: int = 0) -> _Read:
    archive = Archive(file, size, begin)
    exported = find(archive, size) if begin == 0 else None  # there is no such archive within one
    if isinstance(exported, Checkpoint):
        begin, size = archive.place(exported.member)
        inner = _open_zip(file, size, begin)
        return inner._replace(tree=inner.tree._replace(modules=exported.modules))
    if exported is not None:
        tree = Tree({**exported.tensors}, {}, exported.modules, {})
        return _Read(tree, archive.place, _order(archive, exported.root))
    roots = [name.removesuffix(_PICKLE) for name in archive.members if name.endswith(_PICKLE) and name.count("/") == 1]
    if len(roots) != 1:
        raise ValueError("a zip archive, but not of torch.save or torch.jit.save: it has no data.pkl")
    (root,) = roots
    data = f"{root}/data/"
    stored = sum(member.size for name, member in archive.members.items() if name.startswith(data))
    # What lies in the pickle itself is there again in what is made of it.
    memory = _PICKLE_MEMORY + min(stored, size) + 4 * min(archive.members[root + _PICKLE].packed, size)
    content = archive.read(root + _PICKLE, memory // 4)
    program = Program(archive, root, memory // 4)
    tree, _ = read_tree(content, memory - len(content), known=program.module)
    frozen = sum(name.startswith(f"{root}/constants/") for name in archive.members)
    if frozen and not tree.tensors:
        raise ValueError(
            f"TorchScript that was frozen: {frozen} arrays are constants of its program and have no names any more; "
            "save the module from before torch.jit.freeze or torch.jit.optimize_for_inference"
        )
    missing = [key for key in tree.storages if data + key not in archive.members]
    if missing:
        raise ValueError(f"its storage {missing[0]} is missing")
    return _Read(tree, lambda key: archive.place(data + key), _order(archive, root))


def _order(archive: Archive, root: str) -> str:
    """Return the byte order of numbers, as NumPy writes it."""
    name = f"{root}/byteorder"
    return _ORDERS[archive.read(name, _LONGEST_START)] if name in archive.members else "<"


def _open_old(file: BinaryIO, size: int) -> _Read:
    """Read what torch wrote before version 1.6: five pickles, then for each storage its length and its numbers."""
    memory = _PICKLE_MEMORY + size
    file.seek(0)
    content = file.read(memory // 4)
    memory -= len(content)

    def unpickled(position: int) -> tuple[Any, int]:
        machine = Machine(content, memory, call, refer, SOUGHT, position)
        return machine.run(), machine.position

    _, position = unpickled(0)
    version, position = unpickled(position)
    if version != _OLD_VERSION:
        raise ValueError(f"version {version} of what torch wrote before zip archives; {_OLD_VERSION} is known")
    system, position = unpickled(position)
    order = "<" if value_of(system, "little_endian") is not False else ">"
    tree, position = read_tree(content, memory, position)
    keys, position = unpickled(position)
    places = {}
    for key in keys:
        kind = tree.storages[key]
        size_of_item = item_size(kind)
        if size_of_item is None:
            raise ValueError(f"its storage {key} holds {kind}")
        file.seek(position)
        length = int.from_bytes(file.read(_LENGTH_SIZE), "little" if order == "<" else "big")
        length *= size_of_item
        position += _LENGTH_SIZE
        places[key] = position, length
        position += length
    if position > size:
        raise ValueError("its storages are longer than the file")
    return _Read(tree, places.__getitem__, order)
