"""Archives of ``torch.export`` (``.pt2``): where their weights lie, by name.

Since version 2.9 of torch an archive has a member for the numbers of each storage and an index of all tensors in JSON;
in version 2.8 a checkpoint of torch lies in it, and before that one in a zip of another layout.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from ..contents import WholeModule
from ..json import parse
from ..zip_archive import Archive
from . import exported_program
from .objects import MOST_AXES, Tensor

_FORMAT, _WEIGHTS, _COMPILED = "archive_format", "data/weights/", "data/aotinductor/"
_INDEX, _CHECKPOINT = "_weights_config.json", ".pt"
_OLDER = ("serialized_state_dict.pt", "serialized_state_dict.json")  # a checkpoint, both
_PROGRAM, _OLDER_PROGRAM = "models/{}.json", "serialized_exported_program.json"

_INDEX_SIZE, _INDEX_SHARE = 1 << 21, 1 / 16
"""Bytes that all indices may have: this much, and a share of the file, as a header of safetensors."""

_DTYPES = {
    1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float32", 8: "float64",
    9: "complex32", 10: "complex64", 11: "complex128", 12: "bool", 13: "bfloat16", 28: "uint16", 29: "float8_e4m3fn",
    30: "float8_e5m2", 31: "float8_e4m3fnuz", 32: "float8_e5m2fnuz", 33: "float8_e8m0fnu", 34: "uint32", 35: "uint64",
}  # fmt: skip
"""Numbers of torch's dtypes in an index."""

_STRIDED = 7


class Exported(NamedTuple):
    """The weights of an archive."""

    tensors: dict[str, Tensor]
    """By name; a key is that of a member."""
    modules: dict[str, WholeModule]
    """What the programs tell of modules, by prefix."""
    root: str
    """The folder of all members."""


class Checkpoint(NamedTuple):
    """A member that is a checkpoint of torch with all weights of an archive."""

    member: str
    modules: dict[str, WholeModule]


def find(archive: Archive, size: int) -> Exported | Checkpoint | None:
    """Return the weights of an archive in a file of so many bytes; None if it is none of ``torch.export``.

    Raises
    ------
    ValueError
        If it has a compiled program only, or is damaged.
    """
    older = [name for name in _OLDER if name in archive.members]
    if older:
        return Checkpoint(older[0], _modules(archive, _OLDER_PROGRAM, size))
    roots = [name.removesuffix(_FORMAT) for name in archive.members if name.partition("/")[2] == _FORMAT]
    if not roots:
        return None
    start = roots[0] + _WEIGHTS
    inside = [name for name in archive.members if name.startswith(start)]
    indices = {name[len(start) :].removesuffix(_INDEX): name for name in inside if name.endswith(_INDEX)}
    checkpoints = [name for name in inside if name.endswith(_CHECKPOINT)]
    if len(checkpoints) == 1 and not indices:
        model = checkpoints[0][len(start) :].removesuffix(_CHECKPOINT)
        return Checkpoint(checkpoints[0], _modules(archive, roots[0] + _PROGRAM.format(model), size))
    if not indices:
        compiled = any(name.startswith(roots[0] + _COMPILED) for name in archive.members)
        what = "a program that AOTInductor has compiled" if compiled else "an archive of torch.export without weights"
        raise ValueError(f"{what}: save the model with torch.export.save, or its state_dict with torch.save")
    tensors: dict[str, Tensor] = {}
    modules: dict[str, WholeModule] = {}
    room, room_of_programs = int(_INDEX_SIZE + _INDEX_SHARE * size), size
    for model, index in indices.items():
        # Each of several models has names of its own.
        prefix = f"{model}." if len(indices) > 1 else ""
        content = archive.read(index, room)
        room -= len(content)
        tensors.update((prefix + name, tensor) for name, tensor in _tensors(content, start))
        program = roots[0] + _PROGRAM.format(model)
        found = _modules(archive, program, room_of_programs)
        room_of_programs -= archive.members[program].size if program in archive.members else 0
        modules.update((prefix + name, module) for name, module in found.items())
    missing = [name for name, tensor in tensors.items() if tensor.key not in archive.members]
    if missing:
        raise ValueError(f"the numbers of {missing[0]} are missing")
    return Exported(tensors, modules, roots[0].removesuffix("/"))


def _modules(archive: Archive, program: str, size: int) -> dict[str, WholeModule]:
    """Return what a program tells of modules; nothing if it is not there."""
    return exported_program.modules(archive.read(program, size)) if program in archive.members else {}


def _tensors(content: bytes, folder: str) -> Iterator[tuple[str, Tensor]]:
    """Yield what an index describes, by name; its numbers are in members of a folder."""
    config = parse(content)
    entries = config.get("config") if isinstance(config, dict) else None
    if not isinstance(entries, dict):
        raise ValueError("its index of weights has no config")
    for name, entry in entries.items():
        try:
            yield name, _tensor(entry, folder)
        except (AttributeError, KeyError, TypeError, ValueError):
            raise ValueError(f"its index of weights describes {name!r} in a way that is not known") from None


def _tensor(entry: Any, folder: str) -> Tensor:
    place, meta = entry["path_name"], entry["tensor_meta"]
    shape, strides = ([number["as_int"] for number in meta[key]] for key in ("sizes", "strides"))
    offset = meta["storage_offset"]["as_int"]
    if any(type(number) is not int or number < 0 for number in (offset, *shape, *strides)):
        raise ValueError
    if not isinstance(place, str) or len(shape) != len(strides) or len(shape) > MOST_AXES:
        raise ValueError
    dtype = _DTYPES.get(meta["dtype"], f"dtype {meta['dtype']!r}")
    if entry["use_pickle"] is not False:
        dtype = f"a subclass of tensors of {dtype}, as quantizers make them"
    elif meta["layout"] != _STRIDED:
        dtype = f"sparse {dtype}"
    return Tensor(folder + place, dtype, offset, tuple(shape), tuple(strides))
