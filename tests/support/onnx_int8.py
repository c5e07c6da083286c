"""ONNX models with weights of 8 bits, and how far off ONNX Runtime and we may be."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import llvmlite.binding
import numpy as np

from numba_lstm.io import onnx as ours
from support import onnx_files
from support.onnx_files import helper, onnx

DOMAIN = "com.microsoft"
STEPS, ROWS, SIZES = 4, 3, (3, 6)
OUTPUTS = onnx_files.OUTPUTS
ROLES = [*onnx_files.INPUTS, "W_scale", "W_zero_point", "R_scale", "R_zero_point"]


def saturates() -> bool:
    """Whether ONNX Runtime's sums of products of 8 bits may overflow here: it has then the wrong numbers."""
    features = llvmlite.binding.get_host_cpu_features()
    return bool(features.get("avx2")) and not (features.get("avx512vnni") or features.get("avxvnni"))


def model(node: Any, constants: Mapping[str, np.ndarray], inputs: Mapping[str, np.ndarray], opset: int = 14) -> Any:
    """Return a model of one node, with ONNX Runtime's domain."""
    declared = [onnx_files.value(name, array.shape, array.dtype) for name, array in inputs.items()]
    outputs = [onnx_files.value(name, None) for name in OUTPUTS]
    made = onnx_files.model([node], constants, declared, outputs, opset)
    made.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    return made


def node(given: Mapping[str, Any], name: str = "lstm", **attributes: Any) -> Any:
    """Return a DynamicQuantizeLSTM node; what is not among the inputs is left out."""
    inputs = [each if each in given or each == "X" else "" for each in ROLES]
    return helper.make_node("DynamicQuantizeLSTM", inputs, list(OUTPUTS), name=name, domain=DOMAIN, **attributes)


def quantized(
    generator: np.random.Generator, directions: int, dtype: Any = np.int8, rows: bool = True, sizes: Any = SIZES
) -> dict[str, np.ndarray]:
    """Return the inputs of such a node, with zero points as it may have them."""
    width, hidden = sizes
    most = 64 if saturates() else 127
    arrays: dict[str, np.ndarray] = {}
    for role, depth in (("W", width), ("R", hidden)):
        shape = (directions, 4 * hidden) if rows else (directions,)
        zero = np.zeros(shape, dtype)
        if dtype == np.uint8:
            zero += generator.integers(100, 150, 1 if rows else directions).astype(dtype)
        elif not rows:
            zero += generator.integers(-9, 10, directions).astype(dtype)
        whole = generator.integers(-most, most + 1, (directions, depth, 4 * hidden))
        lowest = np.iinfo(dtype).min + (dtype == np.int8)
        whole = np.clip(whole + zero.reshape(directions, 1, -1), lowest, np.iinfo(dtype).max)
        arrays |= {role: whole.astype(dtype), f"{role}_zero_point": zero}
        arrays[f"{role}_scale"] = (generator.uniform(0.5, 1, shape) / 250).astype(np.float32)
    arrays["B"] = (0.3 * generator.standard_normal((directions, 8 * hidden))).astype(np.float32)
    return arrays


def numbers(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the weights that such inputs stand for, in the shapes of the operator LSTM."""
    found = {name: arrays[name] for name in ("B", "P") if name in arrays}
    for role in ("W", "R"):
        directions = len(arrays[role])
        zero, scale = (arrays[f"{role}_{part}"].reshape(directions, 1, -1) for part in ("zero_point", "scale"))
        found[role] = ((arrays[role].astype(np.float32) - zero.astype(np.float32)) * scale).transpose(0, 2, 1)
    return found


class Errors(NamedTuple):
    """How much what a product is made of may be off."""

    x: np.ndarray
    """Each number of a row of X: (T, B)."""
    h: float
    """Each number of h."""
    weights: Mapping[str, np.ndarray]
    """Each number of a row of W and R: (D, 4 * H)."""


def runtimes_errors(x: np.ndarray, largest_h: float, weights: Mapping[str, np.ndarray]) -> Errors:
    """ONNX Runtime has one scale and one zero point for all of X, and for all of h; each costs half a step."""
    step = float(max(x.max(), 0) - min(x.min(), 0)) / 255
    return Errors(np.full(x.shape[:2], step), 2 * largest_h / 255, weights)


def our_errors(x: np.ndarray, largest_h: float, weights: Mapping[str, np.ndarray]) -> Errors:
    """Half a step of 127, with a scale for each row of X."""
    return Errors(np.abs(x).max(axis=2) / 254, largest_h / 254, weights)


def exact(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Weights that are kept as they are."""
    return {role: np.zeros(arrays[role].shape[:2]) for role in ("W", "R")}


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def lstm_with_bounds(
    arrays: Mapping[str, np.ndarray], x: np.ndarray, errors: Errors, direction: str, h_0: Any, c_0: Any, lengths: Any
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return Y, Y_h and Y_c in float64, and how far off each number may be, step by step from what goes in."""
    directions, hidden = len(arrays["R"]), arrays["R"].shape[2]
    steps, rows, _ = x.shape
    values = [np.zeros((steps, directions, rows, hidden)), *np.zeros((2, directions, rows, hidden))]
    bounds = copy.deepcopy(values)
    W, R, B = (arrays[name].astype(np.float64) for name in ("W", "R", "B"))
    for d in range(directions):
        back = direction == "reverse" or d == 1
        bias = B[d, : 4 * hidden] + B[d, 4 * hidden :]
        dW, dR = (errors.weights[role][d] for role in ("W", "R"))
        for row in range(rows):
            h, c, eh, ec = h_0[d, row].astype(float), c_0[d, row].astype(float), np.zeros(hidden), np.zeros(hidden)
            order = range(lengths[row])
            for t in reversed(order) if back else order:
                v, ex, eall = x[t, row].astype(float), errors.x[t, row], eh + errors.h
                ea = ex * np.abs(W[d]).sum(axis=1) + dW * (np.abs(v) + ex).sum()
                ea += np.abs(R[d]) @ eall + dR * (np.abs(h) + eall).sum() + 2e-6
                i, o, f, g = np.split(W[d] @ v + R[d] @ h + bias, 4)
                i, o, f, g = sigmoid(i), sigmoid(o), sigmoid(f), np.tanh(g)
                ei, eo, ef = (np.minimum(each / 4, 1) for each in np.split(ea, 4)[:3])
                eg = np.minimum(np.split(ea, 4)[3], 2)
                ec = np.minimum(f + ef, 1) * ec + np.abs(c) * ef + np.minimum(i + ei, 1) * eg + np.abs(g) * ei + 1e-6
                c = f * c + i * g
                eh = np.minimum(o + eo, 1) * np.minimum(ec, 2) + np.abs(np.tanh(c)) * eo + 1e-6
                h = o * np.tanh(c)
                values[0][t, d, row], bounds[0][t, d, row] = h, eh
            for place, (value, bound) in enumerate(((h, eh), (c, ec)), 1):
                values[place][d, row], bounds[place][d, row] = value, bound
    return values, bounds


def check(
    loaded: ours.Node,
    arrays: Mapping[str, np.ndarray],
    expected: list[np.ndarray],
    fed: Mapping[str, np.ndarray],
    weights: Mapping[str, np.ndarray] | None = None,
    direction: str = "forward",
    activations: Any = runtimes_errors,
) -> None:
    """Compare a node and ONNX Runtime with float64, and with each other: each is as near as its steps allow."""
    x, directions, hidden = fed["X"], len(arrays["R"]), arrays["R"].shape[2]
    zeros = np.zeros((directions, x.shape[1], hidden), np.float32)
    h_0, c_0 = fed.get("initial_h", zeros), fed.get("initial_c", zeros)
    lengths = fed.get("sequence_lens", np.full(x.shape[1], len(x)))
    largest = max(1.0, float(np.abs(h_0).max()))
    kept = exact(arrays)
    got = loaded(*(fed.get(name) for name in ("X", "sequence_lens", "initial_h", "initial_c")))
    mine = our_errors(x, largest, weights or kept)
    other = activations(x, largest, kept)
    values, far = lstm_with_bounds(arrays, x, mine, direction, h_0, c_0, lengths)
    _, farther = lstm_with_bounds(arrays, x, other, direction, h_0, c_0, lengths)
    for name, one, two, value, here, there in zip(OUTPUTS, got, expected, values, far, farther, strict=True):
        assert one.shape == two.shape == value.shape, name
        assert one.dtype == np.float32
        assert (np.abs(two - value) <= there).all(), name
        assert (np.abs(one - value) <= here).all(), name
        assert (np.abs(one - two) <= here + there).all(), name


def feed(generator: np.random.Generator, directions: int, sizes: Any = SIZES, whole: bool = True) -> dict[str, Any]:
    """Return inputs of a call."""
    fed = {"X": generator.standard_normal((STEPS, ROWS, sizes[0])).astype(np.float32)}
    if not whole:
        fed["sequence_lens"] = generator.integers(1, STEPS + 1, ROWS).astype(np.int32)
        for name in ("initial_h", "initial_c"):
            fed[name] = generator.uniform(-1, 1, (directions, ROWS, sizes[1])).astype(np.float32)
    return fed


class Dequantized(NamedTuple):
    """A model whose weights are dequantised in it."""

    model: Any
    fed: dict[str, np.ndarray]
    W: np.ndarray
    R: np.ndarray
    B: np.ndarray

    def node(self, folder: Path, **options: Any) -> ours.Node:
        return ours.load(onnx_files.save(self.model, folder), **options)["lstm"]


KINDS = {kind: getattr(onnx.TensorProto, kind.upper()) for kind in ("int8", "uint8", "int4", "int16")}


def dequantized(kind: str = "int8", way: str = "rows", chain: str = "", scales: Any = np.float32) -> Dequantized:
    """Return a model with weights of some type and scales for the tensor, rows, columns or blocks, moved afterwards."""
    generator = np.random.default_rng(8)
    nodes, constants, meant, proto = [], {}, {}, []
    for role, depth in (("W", 4), ("R", 6)):
        low, high = {"uint8": (0, 255), "int4": (-8, 8), "int16": (-999, 999)}.get(kind, (-127, 128))
        whole = generator.integers(low, high, (1, 24, depth))
        axis, count, more = {
            "tensor": (1, (), {}), "rows": (1, (24,), {}), "columns": (2, (depth,), {}),
            "blocks": (2, (1, 24, depth // 2), {"block_size": 2}),
        }[way]  # fmt: skip
        scale = (generator.uniform(0.5, 1, count) / high).astype(scales)
        zero = np.full(count, 120 if kind == "uint8" else 0)
        wide, offset = scale, zero
        if way == "rows":
            wide, offset = scale[:, None], zero[:, None]
        elif way == "blocks":
            wide, offset = np.repeat(scale, 2, axis=2), np.repeat(zero, 2, axis=2)
        meant[role] = ((whole - offset).astype(np.float32) * wide.astype(np.float32)).astype(scales)
        order = np.arange(3)
        if chain:  # as exporters of torch leave it: gates in another order, one axis less
            i, o, f, c = np.split(whole, 4, axis=1)
            whole, order = np.concatenate([i, f, c, o], axis=1)[0], order[1:]
            axis -= 1
            if way == "rows":
                i, o, f, c = np.split(scale, 4)
                scale = np.concatenate([i, f, c, o])
        proto.append(helper.make_tensor(f"{role}q", KINDS[kind], whole.shape, whole.ravel().tolist()))
        proto.append(helper.make_tensor(f"{role}z", KINDS[kind], zero.shape, zero.ravel().tolist()))
        constants[f"{role}s"] = scale
        made = f"{role}d" if chain else role
        nodes.append(
            helper.make_node("DequantizeLinear", [f"{role}q", f"{role}s", f"{role}z"], [made], axis=axis, **more)
        )
        if chain:
            parts = [f"{role}{gate}" for gate in "ifco"]
            nodes.append(helper.make_node("Split", [made], parts, axis=0, num_outputs=4))
            nodes.append(helper.make_node("Concat", [f"{role}{gate}" for gate in "iofc"], [f"{role}j"], axis=0))
            nodes.append(helper.make_node("Unsqueeze", [f"{role}j", "first"], [f"{role}u"]))
            last, also, attributes = {"Cast": ("Cast", [], {"to": 1}), "Mul": ("Mul", ["one"], {})}.get(
                chain, ("Identity", [], {})
            )
            nodes.append(helper.make_node(last, [f"{role}u", *also], [role], **attributes))
    constants |= {"B": (0.3 * generator.standard_normal((1, 48))).astype(scales), "first": np.array([0])}
    constants["one"] = np.ones(1, np.float32)
    nodes.append(onnx_files.node(["X", "W", "R", "B"], hidden_size=6))
    fed = {"X": generator.standard_normal((STEPS, ROWS, 4)).astype(np.float32)}
    inputs = [onnx_files.value("X", fed["X"].shape)]
    made = onnx_files.model(nodes, constants, inputs, [onnx_files.value(name, None) for name in OUTPUTS], 21)
    made.ir_version = 10
    made.graph.initializer.extend(proto)
    return Dequantized(made, fed, meant["W"], meant["R"], constants["B"])


def nothing(x: np.ndarray, largest_h: float, weights: Mapping[str, np.ndarray]) -> Errors:
    """What ONNX Runtime rounds where the model dequantises weights."""
    return Errors(np.zeros(x.shape[:2]), 0, weights)
