"""What the commands read: files of weights, and arrays."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from .. import io
from ..contract.state_dict import nothing_under
from ..formats.printable import listed
from ..io import keras, names
from ..io._by_content import format_of
from ..io._found import Found
from ._console import InputError, standard_buffer
from ._output import STANDARD

_SHOWN = 10
"""Reasons in one message."""


def weights_of(options: argparse.Namespace) -> tuple[Path, Any, dict[str, Any]]:
    """Return the file of weights, the module that reads it, and what the user says of the file."""
    path: Path = options.weights
    if path == STANDARD:
        raise InputError("weights come from a file, not from standard input: parts of it are read, and its name counts")
    module = format_of(path)
    more: dict[str, Any] = {}
    if options.config is not None:
        try:
            more["config"] = options.config.read_text(encoding="utf-8")
            json.loads(more["config"])
        except (ValueError, RecursionError) as error:
            raise InputError(f"{options.config} is no JSON: {error}") from None
    if options.keras_version is not None:
        more["keras_version"] = options.keras_version
    if more and module is not keras:
        raise InputError(f"--config and --keras-version are for files of Keras, and {path} is none")
    return path, module, more


def files_of(options: argparse.Namespace, module: Any) -> list[Path]:
    """Return what is read of the network: the file of weights, all that belong to it, and a configuration."""
    files = module.files(options.weights) if hasattr(module, "files") else [options.weights]
    return [*files, *([] if options.config is None else [options.config])]


def found_in(path: Path, module: Any, more: dict[str, Any]) -> list[Found]:
    """Return what is recurrent in a file, which has to be something."""
    found: list[Found] = module.describe(path, **more)
    if not found:
        what = f": {nothing_under('', io.describe(path))}" if module is names else ""
        raise InputError(f"{path} holds no LSTM{what}")
    return found


def found_under(found: list[Found], name: str) -> list[Found]:
    """Return what has a name, whose last dot may be left out."""
    return [each for each in found if each.name in (name, f"{name}.")]


def name_of_one(path: Path, name: str | None, found: list[Found]) -> str:
    """Return the name of what is to be run: what was given, or the only one that can be."""
    about = found if name is None else found_under(found, name)
    able = [each.name for each in about if each.obstacle is None]
    if about and not able:
        raise InputError(f"{path}: {obstacles(about)}")
    if name is not None:
        return name
    if len(able) > 1 and "" not in able:
        raise InputError(f"{path} holds {listed(able)}: choose one with --node")
    return able[0] if len(able) == 1 else ""


def obstacles(found: list[Found]) -> str:
    """Return what stands in the way of all of these."""
    reasons = [f"{each.kind} {each.name!r} cannot be run: {each.obstacle}" for each in found[:_SHOWN]]
    return "; ".join(reasons + [f"and {len(found) - _SHOWN} more"] * (len(found) > _SHOWN))


def read_array(path: Path, role: str) -> np.ndarray:
    """Read one numeric array from an .npy file, or standard input."""
    try:
        array = io.read_array(standard_buffer("stdin", "input") if path == STANDARD else path)
    except ValueError as error:
        raise InputError(f"{role} {path} is not a complete .npy file of numbers: {error}") from None
    if array.dtype.kind not in "fiub":
        raise InputError(f"{role} {path} holds {array.dtype}, not real numbers")
    return array
