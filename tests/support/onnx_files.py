"""ONNX models of LSTM nodes, written with the onnx package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
helper, numpy_helper = onnx.helper, onnx.numpy_helper

INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
OUTPUTS = ("Y", "Y_h", "Y_c")


def node(given: Sequence[str], name: str = "lstm", outputs: Sequence[str] = OUTPUTS, **attributes: Any) -> Any:
    """Return an LSTM node; what is not among the inputs is left out."""
    inputs = [each if each in given else "" for each in INPUTS]
    while not inputs[-1]:
        inputs.pop()
    return helper.make_node("LSTM", inputs, list(outputs), name=name, **attributes)


def value(name: str, shape: Sequence[Any] | None, dtype: Any = np.float32) -> Any:
    """Declare a tensor."""
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)


def model(
    nodes: Sequence[Any],
    constants: Mapping[str, np.ndarray],
    inputs: Sequence[Any] = (),
    outputs: Sequence[Any] = (),
    opset: int = 14,
    **more: Any,
) -> Any:
    """Return a model."""
    initializers = [numpy_helper.from_array(np.asarray(array, order="C"), name) for name, array in constants.items()]
    graph = helper.make_graph(list(nodes), "graph", list(inputs), list(outputs), initializers, **more)
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def save(made: Any, folder: Path, name: str = "model.onnx") -> Path:
    """Write a model."""
    path = folder / name
    path.write_bytes(made.SerializeToString())
    return path


def random_arrays(
    generator: np.random.Generator, sizes: tuple[int, int], directions: int, dtype: Any = np.float32, size: float = 0.5
) -> dict[str, np.ndarray]:
    """Return W, R, B and P of some sizes (I, H)."""
    width, hidden = sizes
    shapes = {
        "W": (directions, 4 * hidden, width),
        "R": (directions, 4 * hidden, hidden),
        "B": (directions, 8 * hidden),
        "P": (directions, 3 * hidden),
    }
    return {name: (size * generator.standard_normal(shape)).astype(dtype) for name, shape in shapes.items()}
