"""Checkpoints in several files: an index in JSON tells in which of the files beside it each array is.

One of the files is not the model, and nothing in it says so: a stack of four layers of which a file has the first two
looks like one of two.  So such files are only read through their index.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from .contents import Contents, Declared, WholeModule
from .json import parse
from .kinds import opened

SUFFIX = ".index.json"

_ONE_OF = re.compile(r"(?<!\d)\d+[-_. ]?of[-_. ]?0*(\d+)(?!\d)", re.IGNORECASE)
"""``model-00001-of-00002.safetensors``, ``pytorch_model_00001-of-00003.bin``, ``model.fp16-00001-of-00002...``."""

_SHARD = re.compile(r"(?<![a-z])shard[-_.]?\d+", re.IGNORECASE)
"""``checkpoint-shard0.pt``."""

_NUMBERED = re.compile(r"(?<![a-z])(?:part|rank|layer|fsdp|consolidated)[-_.]?(\d+)(?!\d)", re.IGNORECASE)
"""``mp_rank_00_model_states.pt``, ``layer_01-model_states.pt``, ``pytorch_model_fsdp_0.bin``, ``consolidated.00.pth``:
one of several where a file beside it differs in this number only.  ``model_00.pt`` may be an epoch."""

_DISTRIBUTED = ".distcp"

_SIZE, _SHARE = 1 << 21, 1 / 16
"""Bytes that an index may have: this much, and a share of the files beside it.  Python's objects take 25 bytes for each
of its own at most."""

_LONGEST_NAME = 255
"""Bytes that names of files have at most, on nearly all file systems."""

_SHOWN = 3


class Index:
    """An open index of so many bytes, whose files are in a folder.

    Raises
    ------
    ValueError
        If it is something else, damaged, or names files elsewhere.
    """

    def __init__(self, folder: Path, stream: BinaryIO, size: int) -> None:
        self._folder = folder
        self._places = _parse(stream, size, folder)
        self.names = list(self._places)

    @property
    def shards(self) -> set[str]:
        """Names of the files."""
        return set(self._places.values())

    def files(self, wanted: Callable[[str], bool]) -> Iterator[Path]:
        """Yield the files in which wanted arrays are, in the order of the index."""
        for shard in dict.fromkeys(shard for name, shard in self._places.items() if wanted(name)):
            if not (self._folder / shard).is_file():
                missing = [each for each in self.shards if not (self._folder / each).is_file()]
                raise ValueError(f"{shard} is missing beside it, with {len(missing)} of {len(self.shards)} files")
            yield self._folder / shard

    def check(self, file: Path, names: Iterable[str], wanted: Callable[[str], bool]) -> None:
        """Raise ValueError if a file has other arrays than the index says, of those that are wanted."""
        there = set(names)
        for name in filter(wanted, self.names):
            if self._places[name] == file.name and name not in there:
                raise ValueError(f"{name!r} should be in {file.name}, and is not")
        for name in filter(wanted, there):
            place = self._places.get(name)
            if place != file.name:
                instead = "the index does not have it" if place is None else f"should be in {place}"
                raise ValueError(f"{name!r} is in {file.name}, and {instead}")


def read(
    index: Index, wanted: Callable[[str], bool], read_one: Callable[[Path, Callable[[str], bool]], Contents]
) -> Contents:
    """Read some arrays of the files of an index, each with a function.

    Raises
    ------
    OSError, ValueError, MemoryError
        If a file is missing, or has other arrays than the index says, or another module under a prefix than the
        file before; or as the function does.
    """
    arrays: dict[str, np.ndarray] = {}
    beside: dict[str, Mapping[str, str]] = {}
    modules: dict[str, WholeModule] = {}
    places: dict[str, Path] = {}
    for file in index.files(wanted):
        contents = read_one(file, wanted)
        index.check(file, contents.names, wanted)
        arrays.update(contents.arrays)
        beside.update(dict.fromkeys(contents.names, contents.metadata))
        for prefix, module in contents.modules.items():
            if modules.setdefault(prefix, module) != module:
                raise ValueError(
                    f"{places[prefix].name} and {file.name} have different modules under prefix {prefix!r}"
                )
            places.setdefault(prefix, file)
    ordered = {name: arrays[name] for name in index.names if name in arrays}
    return Contents(ordered, index.names, {}, modules=modules, beside=beside)


def describe(index: Index, describe_one: Callable[[Path], dict[str, Declared]]) -> dict[str, Declared]:
    """Return what the files of an index say of their arrays; raise as `read` does."""
    declared: dict[str, Declared] = {}
    for file in index.files(every):
        part = describe_one(file)
        index.check(file, part, every)
        declared.update(part)
    return {name: declared[name] for name in index.names}


def every(name: str) -> bool:
    """Say of every name that its array is wanted."""
    return True


def _parse(stream: BinaryIO, size: int, folder: Path) -> dict[str, str]:
    """Return the name of a file for the name of each array."""
    files = [folder / name for name in _beside(folder)]
    longest = _SIZE + int(_SHARE * sum(file.stat().st_size for file in files if file.is_file()))
    if size > longest:
        raise ValueError(f"an index of {size:,} bytes, which is too long for the files beside it")
    stream.seek(0)
    try:
        index = parse(stream.read(longest))
    except ValueError as error:
        raise ValueError(f"JSON that is damaged: {error}") from None
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict) or not places:
        raise ValueError("JSON without weights, and without a weight_map, which an index of shards has")
    for name, shard in places.items():
        if not isinstance(shard, str) or not _is_plain(shard):
            raise ValueError(f"it has {name!r} in {shard!r}, which is no name of a file beside it")
    return places


def why_incomplete(path: Path) -> str | None:
    """Return what tells that a file is one of several, by its name or an index beside it; None if nothing does."""
    # A link may have another name than the file; both tell.
    for each in dict.fromkeys((path, Path(os.path.realpath(path)))):
        others = _others(each)
        if others is not None:
            return f"one of the files of a sharded checkpoint, not the whole model{others}: {_instead(each)}"
    return None


def _others(path: Path) -> str | None:
    """Return what tells that a file is one of several, for a message; None if nothing does."""
    count = _ONE_OF.search(path.name)
    if count and int(count[1]) > 1:
        return f" (one of {int(count[1])} by its name; rename it if it is whole)"
    if _SHARD.search(path.name):
        return " (a shard by its name; rename it if it is whole)"
    if path.suffix == _DISTRIBUTED:
        return " (of torch.distributed.checkpoint; its dcp_to_torch_save joins them)"
    for index in _indices(path.parent):
        shards = _named_with(index, path.name)
        if len(shards) > 1:
            return f" ({index.name} beside it names {len(shards)} files)"
    siblings = _siblings(path)
    if siblings:
        return f" ({', '.join(siblings[:_SHOWN])} beside it)"
    return None


def _instead(path: Path) -> str:
    indices = [index.name for index in _indices(path.parent)]
    if not indices:
        return f"load the *{SUFFIX} that belongs to them, or have what wrote them save one state dict"
    return f"load the {indices[0] if len(indices) == 1 else f'*{SUFFIX}'} beside them, which reads all"


def _indices(folder: Path) -> list[Path]:
    return [folder / name for name in _beside(folder) if name.endswith(SUFFIX)]


def _beside(folder: Path) -> list[str]:
    """Return what is in a folder, which is nothing if it is not for us to see."""
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _named_with(path: Path, name: str) -> set[str]:
    """Return the files of an index that names one; nothing if it does not."""
    try:
        with opened(path) as (stream, size):
            shards = Index(path.parent, stream, size).shards
    except (OSError, ValueError):  # which is for whoever loads it
        return set()
    return shards if name in shards else set()


def _siblings(path: Path) -> list[str]:
    """Return the names beside a file that differ from its own in the number of a part."""
    found = _NUMBERED.search(path.name)
    if not found:
        return []
    before, after = path.name[: found.start(1)], path.name[found.end(1) :]
    pattern = re.compile(rf"{re.escape(before)}\d+{re.escape(after)}")
    return [name for name in _beside(path.parent) if pattern.fullmatch(name) and name != path.name]


def _is_plain(name: str) -> bool:
    """Return whether a file in a folder may have a name."""
    if name in ("", ".", "..") or any(letter in name for letter in "/\\:\0"):
        return False
    return len(name.encode(errors="surrogatepass")) <= _LONGEST_NAME
