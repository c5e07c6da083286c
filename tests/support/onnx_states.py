"""ONNX models of one LSTM node, whose states, lengths or weights other nodes make."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from numba_lstm.io import onnx as ours
from support import onnx_files
from support.onnx_files import helper, onnx
from support.onnx_runtime import theirs

STEPS, ROWS, WIDTH, HIDDEN = 5, 3, 2, 4
SOURCES = {"h": "initial_h", "c": "initial_c", "lengths": "sequence_lens"}
"""Inputs of a node, by the names of the tensors that the nodes before it make for them."""


def weights(generator: np.random.Generator, directions: int = 1) -> dict[str, np.ndarray]:
    """Return W, R, B and P of the node."""
    return onnx_files.random_arrays(generator, (WIDTH, HIDDEN), directions)


def batch(generator: np.random.Generator, rows: int = ROWS, steps: int = STEPS) -> np.ndarray:
    """Return an X."""
    return generator.standard_normal((steps, rows, WIDTH)).astype(np.float32)


class Built:
    """A model of one node, with nodes before it that make its states, lengths or weights."""

    def __init__(
        self,
        nodes: list[Any],
        constants: Mapping[str, Any],
        folder: Path,
        *,
        sources: Mapping[str, str] = SOURCES,
        shape: list[Any] | None = None,
        opset: int = 17,
        inputs: Mapping[str, np.ndarray] | None = None,
        arrays: dict[str, np.ndarray] | None = None,
        x: str = "X",
        **attributes: Any,
    ) -> None:
        arrays = weights(np.random.default_rng(1)) if arrays is None else arrays
        made = {name for node in nodes for name in node.output} | {*constants, *(inputs or {})}
        wires = {role: name for name, role in sources.items() if name in made}
        roles = [role for role in onnx_files.INPUTS if role in {"X", "W", "R", "B"} | {*wires}]
        lstm = onnx_files.node(roles, hidden_size=HIDDEN, **attributes)
        for place, role in enumerate(onnx_files.INPUTS[: len(lstm.input)]):
            if lstm.input[place]:
                lstm.input[place] = x if role == "X" else wires.get(role, role)
        given = [onnx_files.value("X", ["steps", "rows", WIDTH] if shape is None else shape)]
        given += [onnx_files.value(name, array.shape, array.dtype) for name, array in (inputs or {}).items()]
        outputs = [onnx_files.value(name, None) for name in onnx_files.OUTPUTS]
        self.attributes = attributes
        self.inputs = dict(inputs or {})
        own = {name: array for name, array in arrays.items() if name in {"W", "R", "B"} - made}
        values = {name: np.asarray(value) for name, value in constants.items()} | own
        self.model = onnx_files.model([*nodes, lstm], values, given, outputs, opset)
        self.path = onnx_files.save(self.model, folder)

    def check(self, x: np.ndarray, **given: Any) -> None:
        """Compare a call of the node with ONNX Runtime."""
        expected = theirs(self.model, {"X": x} | self.inputs)
        for one, other in zip(ours.load(self.path)["lstm"](x, **given), expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=2e-6)

    def refuses_a_call(self, words: str, x: np.ndarray) -> None:
        with pytest.raises(ValueError, match=words):
            ours.load(self.path)["lstm"](x)

    def refuses_to_load(self, words: str) -> None:
        """The same, however it is asked for."""
        with pytest.raises(ValueError, match=words):
            ours.load(self.path)
        with pytest.raises(ValueError, match=words):
            ours.load_lstm(self.path)
        (found,) = ours.describe(self.path)
        assert found.obstacle is not None
        with pytest.raises(ValueError, match=words):
            ours.runner(self.path, "lstm")


def op(kind: str, inputs: str, output: str, **attributes: Any) -> Any:
    """Return a node; the names of its inputs and outputs are separated by spaces."""
    return helper.make_node(kind, inputs.split(" ") if inputs else [], output.split(" "), **attributes)


def constant_of(value: Any) -> Any:
    """Return what ConstantOfShape fills with."""
    return onnx.numpy_helper.from_array(np.array([value]))


LEARNED = np.linspace(-1, 1, HIDDEN, dtype=np.float32).reshape(1, 1, HIDDEN)

ROWS_OF_X = [op("Shape", "X", "shape"), op("Gather", "shape one", "rows", axis=0)]
STATE_SHAPE = [*ROWS_OF_X, op("Concat", "one rows four", "target", axis=0)]
FIXED = {"one": np.array([1]), "four": np.array([HIDDEN]), "learned": LEARNED}

ZEROS: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "ConstantOfShape": ([*STATE_SHAPE, op("ConstantOfShape", "target", "h")], FIXED),
    "Expand": ([*STATE_SHAPE, op("Expand", "zero target", "h")], FIXED | {"zero": np.float32(0)}),
    "all layers": (
        [
            *ROWS_OF_X,
            op("Concat", "two rows four", "target", axis=0),
            op("ConstantOfShape", "target", "all"),
            op("Slice", "all one two first", "h"),
        ],
        FIXED | {"two": np.array([2]), "first": np.array([0])},
    ),
    "arithmetic": (
        [*STATE_SHAPE, op("ConstantOfShape", "target", "a"), op("Sub", "half half", "b"), op("Mul", "a half", "d")]
        + [op("Max", "b d", "h")],
        FIXED | {"half": np.float32(0.5)},
    ),
    "fixed": ([], {"h": np.zeros((1, ROWS, HIDDEN), np.float32)}),
}

ZERO_STATE = np.zeros((1, ROWS, HIDDEN), np.float32)
