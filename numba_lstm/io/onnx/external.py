"""The files in which tensors of a model lie."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .constants.tensors import onnx


def files(path: Path) -> list[Path]:
    """Return a model and all files that its tensors name, whether they are there or not.

    Raises
    ------
    OSError
        If the model cannot be opened.
    ValueError
        If it is no model; the message begins with the path.
    """
    content = path.read_bytes()
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's own exceptions
        raise ValueError(f"{path}: not a complete ONNX model") from error
    return [path, *(path.parent / location for location in dict.fromkeys(_locations(model)) if "\0" not in location)]


def _locations(message: Any) -> Iterator[str]:
    """Yield the names of files in a message of protobuf, which lies no deeper than protobuf reads."""
    if isinstance(message, onnx.TensorProto):
        yield from (entry.value for entry in message.external_data if entry.key == "location")
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in [value] if hasattr(value, "ListFields") else value:
                yield from _locations(inner)
