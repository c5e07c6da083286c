"""Random chains of operations before an LSTM node, beside ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.onnx_files import helper, onnx
from support.onnx_states import HIDDEN, SOURCES, STEPS, Built, batch, constant_of, weights

pytestmark = pytest.mark.usefixtures("threads")


class Chain:
    """Operations on constants at random, in the forms of an opset; shapes are (a, b, HIDDEN) all along."""

    def __init__(self, generator: np.random.Generator, opset: int) -> None:
        self.generator, self.opset = generator, opset
        self.nodes: list[Any] = []
        self.constants: dict[str, np.ndarray] = {}
        self.given: dict[str, np.ndarray] = {}

    def constant(self, value: Any) -> str:
        name = f"k{len(self.constants)}"
        self.constants[name] = np.asarray(value)
        return name

    def add(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> list[str]:
        names = [f"t{len(self.nodes)}_{n}" for n in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, **attributes))
        return names

    def on_axes(self, kind: str, x: str, axes: list[int], since: int = 13, **attributes: Any) -> str:
        if self.opset >= since:
            return self.add(kind, x, self.constant(np.array(axes)), **attributes)[0]
        return self.add(kind, x, axes=axes, **attributes)[0]

    def integers(self, low: int, high: int) -> int:
        return int(self.generator.integers(low, high))

    def numbers(self, *shape: int) -> np.ndarray:
        return self.generator.uniform(0.2, 1.5, shape).astype(np.float32)

    def small(self, x: str) -> str:
        return self.add("Min", self.add("Abs", x)[0], self.constant(np.float32(3)))[0]

    def start(self) -> tuple[str, tuple[int, int]]:
        shape = self.integers(1, 4), self.integers(1, 4)
        way = self.integers(0, 4)
        if way == 0 and self.opset >= 13:
            dtype = [np.int8, np.uint8][self.integers(0, 2)]
            whole = self.generator.integers(0, 100, (*shape, HIDDEN)).astype(dtype)
            axis = [0, 1, 2, -1][self.integers(0, 4)]
            count = whole.shape[axis]
            scale, zero = self.numbers(count) / 100, self.generator.integers(0, 9, count).astype(dtype)
            made = self.add("DequantizeLinear", *map(self.constant, (whole, scale, zero)), axis=axis)[0]
            return self.small(made), shape
        if way == 1:
            fill = constant_of(np.float32(self.generator.uniform()))
            return self.add("ConstantOfShape", self.constant(np.array([*shape, HIDDEN])), value=fill)[0], shape
        if way == 2:
            ends = np.float32(0.1), np.float32(0.05 + shape[0] / 10), np.float32(0.1)
            steps = self.add("Range", *map(self.constant, ends))[0]
            column = self.on_axes("Unsqueeze", steps, [1, 2])
            return self.add("Mul", column, self.constant(self.numbers(1, shape[1], HIDDEN)))[0], shape
        return self.constant(self.numbers(*shape, HIDDEN)), shape

    def step(self, x: str, shape: tuple[int, int]) -> tuple[str, tuple[int, int]]:
        a, b = shape
        way = self.integers(0, 16)
        if way == 0:
            kind = ["Add", "Sub", "Mul", "Div", "Pow", "Max", "Min"][self.integers(0, 7)]
            other = [(1, b, 1), (a, 1, HIDDEN), (HIDDEN,), ()][self.integers(0, 4)]
            return self.small(self.add(kind, x, self.constant(self.numbers(*other)))[0]), shape
        if way == 1:
            kind = ["Neg", "Tanh", "Sigmoid", "Exp", "Floor", "Abs", "Sqrt", "Round", "Relu"][self.integers(0, 9)]
            return self.small(self.add(kind, x)[0]), shape
        if way == 2:
            return self.add("Transpose", x, perm=[1, 0, 2])[0], (b, a)
        if way == 3:
            step = [1, -1][self.integers(0, 2)]
            ends = (0, 2**62) if step == 1 else (-1, -(2**62))
            limits = [self.constant(np.array([end, end])) for end in ends]
            axes, steps = self.constant(np.array([0, -1])), self.constant(np.array([step, step]))
            return self.add("Slice", x, *limits, axes, steps)[0], shape
        if way == 4:
            indices = self.generator.integers(-a, a, self.integers(1, 4))
            return self.add("Gather", x, self.constant(indices), axis=0)[0], (len(indices), b)
        if way == 5:
            times = [self.integers(1, 3), self.integers(1, 3), 1]
            return self.add("Tile", x, self.constant(np.array(times)))[0], (a * times[0], b * times[1])
        if way == 6:
            pads = [0, self.integers(0, 2), 0, 0, self.integers(0, 2), 0]
            fill = self.constant(np.float32(0.25))
            return self.add("Pad", x, self.constant(np.array(pads)), fill)[0], (a, b + pads[1] + pads[4])
        if way == 7:
            flat = self.add("Reshape", x, self.constant(np.array([-1, HIDDEN])))[0]
            return self.add("Reshape", flat, self.constant(np.array([b, -1, HIDDEN])))[0], (b, a)
        if way == 8:
            kind = ["ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum"][self.integers(0, 4)]
            since = 13 if kind == "ReduceSum" else 18
            return self.on_axes(kind, x, [-3], since, keepdims=1), (1, b)
        if way == 9:
            # Parts of which the last may be smaller came with opset 18.
            parts = 2 if self.opset >= 18 and a > 1 else a
            more = {"num_outputs": parts} if self.opset >= 18 else {}
            outputs = self.add("Split", x, outputs=parts, axis=0, **more)
            return self.add("Concat", *outputs[::-1], axis=0)[0], shape
        if way == 10:
            above = self.add("Greater", x, self.constant(np.float32(0.7)))[0]
            return self.add("Where", above, x, self.constant(self.numbers(a, 1, 1)))[0], shape
        if way == 11:
            wide = self.add("Cast", x, to=onnx.TensorProto.DOUBLE)[0]
            return self.add("Cast", wide, to=onnx.TensorProto.FLOAT)[0], shape
        if way == 12:
            low, high = self.constant(np.float32(0.3)), self.constant(np.float32(0.9))
            return self.add("Clip", x, low, high)[0], shape
        if way == 13:
            one = self.add("Slice", x, *(self.constant(np.array([n])) for n in (0, 1, 0)))[0]
            flat = self.on_axes("Squeeze", one, [0])
            return self.on_axes("Unsqueeze", flat, [-3]), (1, b)
        if way == 14:
            return self.add("CumSum", x, self.constant(np.array(self.integers(0, 2))), reverse=1)[0], shape
        sizes = self.add("Shape", x)[0]
        eye = self.constant(np.float32(self.generator.uniform()))
        return self.add("Add", x, self.add("Expand", eye, sizes)[0])[0], shape

    def state(self, rows: int) -> str:
        x, shape = self.start()
        for _ in range(self.integers(1, 9)):
            x, shape = self.step(x, shape)
        x = self.on_axes("ReduceMean", x, [0, 1], 18, keepdims=1)
        x = self.add("Clip", x, self.constant(np.float32(-2)), self.constant(np.float32(2)))[0]
        if self.integers(0, 2):
            target = self.constant(np.array([1, rows, 1]))
        else:
            count = self.add("Slice", self.add("Shape", "X")[0], *(self.constant(np.array([n])) for n in (1, 2)))[0]
            one = self.constant(np.array([1]))
            target = self.add("Concat", one, count, one, axis=0)[0]
        return self.add("Expand", x, target)[0]

    def lengths(self, rows: int) -> str:
        x = self.constant(self.generator.integers(1, STEPS + 1, rows))
        way = self.integers(0, 3)
        if way == 0 and self.opset > 11:
            x = self.add("Min", x, self.constant(np.array(3)))[0]
        elif way == 1:
            x = self.add("Gather", x, self.constant(self.generator.integers(-rows, rows, rows)))[0]
        return self.add("Cast", x, to=onnx.TensorProto.INT32)[0]

    def weight(self, array: np.ndarray) -> str:
        x = self.constant(np.ascontiguousarray(array.transpose(0, 2, 1)))
        x = self.add("Transpose", x, perm=[0, 2, 1])[0]
        for _ in range(self.integers(0, 4)):
            way = self.integers(0, 3)
            if way == 0:
                x = self.add("Mul", x, self.constant(self.numbers(1, 4 * HIDDEN, 1)))[0]
            elif way == 1:
                gates = self.add("Split", x, outputs=4, axis=1, **({"num_outputs": 4} if self.opset >= 18 else {}))
                x = self.add("Concat", *(gates[n] for n in self.generator.permutation(4)), axis=1)[0]
            else:
                x = self.add("Identity", self.add("Cast", x, to=onnx.TensorProto.DOUBLE)[0])[0]
                x = self.add("Cast", x, to=onnx.TensorProto.FLOAT)[0]
        return x


@pytest.mark.parametrize("seed", range(120))
def test_chains_of_operations(seed: int, tmp_path: Path) -> None:
    """Every one is what ONNX Runtime makes of it; none is refused, for all that they do is known."""
    generator = np.random.default_rng([15, seed])
    opset = int(generator.choice([11, 13, 17, 18, 21]))
    chain, rows = Chain(generator, opset), int(generator.integers(1, 5))
    roles: dict[str, str] = {}
    for role, make in {"h": chain.state, "c": chain.state, "lengths": chain.lengths}.items():
        if generator.random() < 0.7:
            roles[make(rows)] = SOURCES[role]
    arrays = weights(generator)
    for name in ("W", "R"):
        if generator.random() < 0.5:
            roles[chain.weight(arrays.pop(name))] = name
    built = Built(chain.nodes, chain.constants, tmp_path, sources=roles, opset=opset, arrays=arrays)
    built.check(batch(generator, rows))
