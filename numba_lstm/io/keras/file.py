"""Files of Keras: what they hold, before it is looked for in them.

=================  ===================================================================================
``.keras``         zip archive of ``config.json``, ``metadata.json`` and ``model.weights.h5``
``.weights.h5``    arrays in groups named after classes; no options of layers
``.h5``            Keras 1 and 2, and 3 when asked: arrays by layers' names, all options in an attribute
=================  ===================================================================================
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from ...formats import hdf5
from ...formats.files import unchanged
from ...formats.kinds import opened
from . import versions

_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"

_CONFIG_SIZE, _CONFIG_SHARE = 1 << 21, 1 / 16
"""Bytes that a configuration may have: this much, and a share of the file.  Python's objects take 25 bytes for each
of its own at most, and a file should not take much more memory than its arrays."""

_RATIO, _FLOOR = 16, 32 << 20
"""Keras does not compress; an archive that was compressed again may say that much more than it has bytes."""


class Saved(NamedTuple):
    """A file's content."""

    config: Mapping[str, Any] | None
    """The model's class and options, if they are there."""
    version: str | None
    """The version of the Keras that wrote it."""
    root: hdf5.Node
    """The folder of the arrays."""
    size: int
    """Bytes of arrays and of all that tells where they are."""
    by_name: bool
    """Whether these lie under layers' names, as in Keras 1 and 2, or under those of classes."""


def read(path: Path) -> Saved:
    """Read a file; its arrays are views of its bytes.

    Raises
    ------
    OSError
        If it cannot be opened.
    ValueError
        If it is none of Keras, or damaged, or a pipe; the message begins with the path.
    MemoryError
        If there is no room for it.
    """
    if path.is_dir():
        raise ValueError(f"{path}: a folder, such as TensorFlow's SavedModel: use model.save('name.keras') instead")
    with opened(path) as (stream, size):
        return unchanged(path, stream, "file of Keras", lambda: _read(stream, size))


def _read(stream: BinaryIO, size: int) -> Saved:
    start = stream.read(len(hdf5.SIGNATURE))
    stream.seek(0)
    if start == hdf5.SIGNATURE:
        return _from_hdf5(stream.read(size), size)
    if start[:2] != b"PK":
        raise ValueError("it is neither HDF5 nor a zip archive")
    with zipfile.ZipFile(stream) as archive:
        names = archive.namelist()
        for name, least in ((_CONFIG, 1), (_METADATA, 0), (_WEIGHTS, 1)):
            if not least <= names.count(name) <= 1:
                raise ValueError(f"{name} should be in it once")
        longest = _CONFIG_SIZE + int(_CONFIG_SHARE * size)
        config = parse(_member(archive, _CONFIG, longest))
        metadata = parse(_member(archive, _METADATA, 1 << 16)) if _METADATA in names else {}
        weights = archive.getinfo(_WEIGHTS)
        content = _member(archive, _WEIGHTS, _FLOOR + _RATIO * weights.compress_size)
    version = versions.known(metadata.get("keras_version"))
    return Saved(config, version, hdf5.File(content).root, len(content), False)


def _member(archive: zipfile.ZipFile, name: str, longest: int) -> bytes:
    member = archive.getinfo(name)
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} is packed in a way that Keras does not use")
    if member.file_size > longest:
        raise ValueError(f"{name} is too long: {member.file_size:,} bytes")
    if member.compress_type == zipfile.ZIP_STORED and member.file_size != member.compress_size:
        raise ValueError(f"{name} has two sizes")
    with archive.open(member) as stream:
        content = stream.read(member.file_size + 1)
    if len(content) != member.file_size:
        raise ValueError(f"{name} has another size than it declares")
    return content


def _from_hdf5(content: bytes, size: int) -> Saved:
    root = hdf5.File(content).root
    config, version = root.attribute("model_config"), root.attribute("keras_version")
    arrays = root.find("model_weights") if root.attribute("layer_names") is None else root
    by_name = arrays is not None
    if arrays is not None and version is None:
        version = arrays.attribute("keras_version")
        version = "1" if version is None else version
    if version is None and "_layer_checkpoint_dependencies" in root.names():
        version = "2.12"
    if version is not None and versions.known(version) is None:
        raise ValueError("its keras_version is no version")
    if config is not None and not isinstance(config, str):
        raise ValueError("model_config is not a text")
    if config is not None and len(config) > _CONFIG_SIZE + _CONFIG_SHARE * size:
        raise ValueError(f"its model_config is too long: {len(config):,} characters")
    return Saved(
        None if config is None else parse(config.encode()),
        version,
        arrays or root,
        size,
        by_name,
    )


def parse(text: bytes | str) -> dict[str, Any]:
    """Return the mapping that a JSON text describes."""
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("a description is not a mapping")
    return value
