"""The files in which tensors of a model lie."""

from __future__ import annotations

from pathlib import Path

from ...formats.kinds import opened
from .constants.tensors import locations, onnx


def files(path: Path) -> list[Path]:
    """Return a model and all files that its tensors name, whether they are there or not.

    Raises
    ------
    OSError
        If the model cannot be opened.
    ValueError
        If it is no model; the message begins with the path.
    """
    with opened(path) as (stream, _):
        content = stream.read()
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's own exceptions
        raise ValueError(f"{path}: not a complete ONNX model") from error
    return [path, *(path.parent / location for location in dict.fromkeys(locations(model)) if "\0" not in location)]
