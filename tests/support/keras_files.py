"""Files of Keras, written without it: with h5py, in the layouts of Keras 1 to 3."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

h5py = pytest.importorskip("h5py")

Arrays = Mapping[str, Sequence[np.ndarray] | Mapping[str, np.ndarray]]


def layer(kind: str, name: str, **options: Any) -> dict[str, Any]:
    """Describe a layer."""
    return {"class_name": kind, "config": {"name": name, **options}}


def sequential(*layers: dict[str, Any], name: str = "sequential") -> dict[str, Any]:
    """Describe a model."""
    return {"class_name": "Sequential", "config": {"name": name, "layers": list(layers)}}


def grouped(arrays: Arrays, root: str = "") -> bytes:
    """Return an HDF5 file that has lists of arrays as Keras 3 has them: ``group/0``, ``group/1``."""
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for group, values in arrays.items():
            for index, array in enumerate(values):
                file[f"{root}{group}/vars/{index}"] = array
    return content.getvalue()


def keras(path: Path, model: Mapping[str, Any], weights: bytes, version: str | None = "3.5.0") -> Path:
    """Write a ``.keras`` file."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(model))
        if version is not None:
            archive.writestr("metadata.json", json.dumps({"keras_version": version}))
        archive.writestr("model.weights.h5", weights)
    return path


def legacy(
    path: Path,
    model: Mapping[str, Any] | None,
    arrays: Mapping[str, Mapping[str, np.ndarray]],
    version: str | None = "2.2.4",
) -> Path:
    """Write an ``.h5`` file of Keras 1 or 2: arrays by layer and name; without a model, one of weights."""
    with h5py.File(path, "w") as file:
        group = file
        if model is not None:
            file.attrs["model_config"] = json.dumps(model).encode()
            group = file.create_group("model_weights")
        for owner in {file, group} if version else ():
            owner.attrs["keras_version"] = version.encode()
        group.attrs["layer_names"] = [name.encode() for name in arrays]
        for name, values in arrays.items():
            own = group.create_group(name)
            own.attrs["weight_names"] = [inner.encode() for inner in values]
            for inner, array in values.items():
                own[inner] = array
    return path
