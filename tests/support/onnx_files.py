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


def layers_and_a_general_node() -> bytes:
    """Return a model with two layers in a row, and a node that does all that torch's LSTM does not."""
    generator = np.random.default_rng(4)
    arrays = random_arrays(generator, (3, 5), 2)
    upper = random_arrays(generator, (10, 5), 2)
    constants = arrays | {f"{name}1": array for name, array in upper.items()} | {"shape": np.array([0, 0, -1])}
    both = {"direction": "bidirectional"}
    general = {"activations": ["HardSigmoid", "Elu", "Tanh"] * 2, "activation_alpha": [0.3, 0.7] * 2, "clip": 3.0}
    nodes = [
        node(["X", "W", "R", "B"], "first", ["Y"], **both),
        helper.make_node("Transpose", ["Y"], ["T"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["T", "shape"], ["X1"]),
        helper.make_node("LSTM", ["X1", "W1", "R1", "B1"], ["Y1"], "second", **both),
        node(["X", "W", "R", "B", "P"], "general", ["Y2"], **both, **general),
    ]
    return bytes(model(nodes, constants).SerializeToString())
