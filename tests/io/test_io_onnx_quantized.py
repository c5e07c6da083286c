"""Weights of 8 bits in ONNX files, beside ONNX Runtime: DynamicQuantizeLSTM nodes, and what DequantizeLinear makes."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import llvmlite.binding
import numpy as np
import pytest
from support import onnx_files
from support.onnx_files import helper, numpy_helper, onnx
from support.onnx_runtime import theirs

from numba_lstm import LSTM, cli
from numba_lstm.io import onnx as ours

runtime = pytest.importorskip("onnxruntime")

pytestmark = pytest.mark.usefixtures("threads")

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


# --- how far off results may be ---------------------------------------------------------------------------


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


# --- DynamicQuantizeLSTM ----------------------------------------------------------------------------------


@pytest.mark.parametrize("reduce_range", [False, True], ids=["8 bits", "7 bits"])
@pytest.mark.parametrize("per_channel", [False, True], ids=["tensor", "channel"])
@pytest.mark.parametrize("kind", ["QInt8", "QUInt8"])
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.filterwarnings("ignore")  # of the quantiser
def test_what_quantize_dynamic_makes(
    directions: int, kind: str, per_channel: bool, reduce_range: bool, tmp_path: Path
) -> None:
    if saturates() and not reduce_range:
        pytest.skip("ONNX Runtime needs reduce_range on this machine")
    quantization = pytest.importorskip("onnxruntime.quantization")
    generator = np.random.default_rng(1)
    arrays = onnx_files.random_arrays(generator, SIZES, directions)
    del arrays["P"]
    fed = feed(generator, directions)
    direction = "bidirectional" if directions == 2 else "forward"
    lstm = onnx_files.node(["X", *arrays], direction=direction, hidden_size=SIZES[1])
    path = onnx_files.save(model(lstm, arrays, fed), tmp_path, "float.onnx")
    small = tmp_path / "small.onnx"
    quantization.quantize_dynamic(
        path, small, ["LSTM"], per_channel, reduce_range, getattr(quantization.QuantType, kind)
    )
    made = onnx.load(small)
    (there,) = (each for each in made.graph.node if each.op_type == "DynamicQuantizeLSTM")
    (loaded,) = ours.load(small).values()
    assert loaded.form == "int8"
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in made.graph.initializer}
    inside = {role: stored[name] for role, name in zip(ROLES, there.input, strict=True) if name and role != "X"}
    for role in ("W", "R"):
        matrix, scale = getattr(loaded.weights, role), getattr(loaded.weights, f"{role}_scale")
        assert matrix.dtype == np.int8
        np.testing.assert_array_equal(matrix, inside[role].transpose(0, 2, 1))
        np.testing.assert_array_equal(scale - inside[f"{role}_scale"].reshape(directions, -1), 0 * scale)
    check(loaded, numbers(inside), theirs(made, fed), fed, direction=direction)


@pytest.mark.parametrize("seed", range(48))
def test_random_nodes(seed: int, tmp_path: Path) -> None:
    generator = np.random.default_rng(seed)
    direction = ["forward", "reverse", "bidirectional"][seed % 3]
    directions = 2 if direction == "bidirectional" else 1
    dtype, rows = [np.int8, np.uint8][seed // 3 % 2], bool(seed // 6 % 2)
    sizes = int(generator.integers(1, 8)), int(generator.integers(1, 20))
    arrays = quantized(generator, directions, dtype, rows, sizes)
    # Deep sums would be far off after some steps, whoever computes them.
    for role in ("W", "R"):
        arrays[f"{role}_scale"] *= np.float32(3 / (3 + arrays[role].shape[1]))
    if generator.random() < 0.3:
        del arrays["B"]
    fed = feed(generator, directions, sizes, whole=generator.random() < 0.3)
    made = model(node({**arrays, **fed}, direction=direction, hidden_size=sizes[1]), arrays, fed)
    path = onnx_files.save(made, tmp_path)
    meant = numbers(arrays) | {"B": arrays.get("B", np.zeros((directions, 8 * sizes[1]), np.float32))}
    loaded = ours.load(path)["lstm"]
    assert loaded.form == "int8"
    weights = loaded.weights
    kept = {"W": (weights.W, weights.W_scale), "R": (weights.R, weights.R_scale)}
    off = {}
    for role, (matrix, scale) in kept.items():
        assert matrix.min() >= -127
        whole = np.abs(meant[role].astype(float) / arrays[f"{role}_scale"].reshape(directions, -1, 1)).max(axis=2)
        same = whole < 127.5
        stands = matrix * scale[..., None]
        np.testing.assert_array_equal(stands[same], meant[role][same])
        off[role] = np.where(same, 0, scale * 0.5001)
        assert (np.abs(stands - meant[role]) <= off[role][..., None]).all()
    check(loaded, meant, theirs(made, fed), fed, off, direction)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_as_numbers_a_node_is_the_lstm_of_what_it_stands_for(dtype: Any, tmp_path: Path) -> None:
    """To the last bit; and so it is within rounding of what ONNX Runtime makes of those numbers."""
    generator = np.random.default_rng(3)
    arrays, fed = quantized(generator, 2, dtype, rows=False), feed(generator, 2, whole=False)
    both = {"direction": "bidirectional", "hidden_size": SIZES[1]}
    path = onnx_files.save(model(node({**arrays, **fed}, **both), arrays, fed), tmp_path)
    meant = numbers(arrays)
    plain = model(onnx_files.node([*meant, *fed], **both), meant, fed)
    loaded = ours.load(path, weights="float32")["lstm"]
    assert loaded.form == "float32"
    got, same = (each(*fed.values()) for each in (loaded, ours.load(onnx_files.save(plain, tmp_path, "f"))["lstm"]))
    for one, two, three in zip(got, same, theirs(plain, fed), strict=True):
        np.testing.assert_array_equal(one, two)
        np.testing.assert_allclose(one, three, rtol=0, atol=2e-6)


def test_cells_of_their_own_are_computed_with_numbers(tmp_path: Path) -> None:
    generator = np.random.default_rng(4)
    arrays, fed = quantized(generator, 1), feed(generator, 1)
    arrays["P"] = (0.3 * generator.standard_normal((1, 3 * SIZES[1]))).astype(np.float32)
    ways: list[tuple[dict[str, Any], set[str]]] = [
        ({}, {"P"}),
        ({"clip": 0.5}, set()),
        ({"input_forget": 1}, set()),
        ({"activations": ["HardSigmoid", "Tanh", "Tanh"]}, set()),
    ]
    for attributes, also in ways:
        given = {name: array for name, array in arrays.items() if name != "P" or also}
        path = onnx_files.save(model(node(given, **attributes), given, fed), tmp_path)
        loaded, meant = ours.load(path)["lstm"], numbers(given)
        assert loaded.form == "float32"
        plain = onnx_files.save(model(onnx_files.node(["X", *meant], **attributes), meant, fed), tmp_path, "plain")
        np.testing.assert_array_equal(loaded(fed["X"]).Y, ours.load(plain)["lstm"](fed["X"]).Y)
        with pytest.raises(ValueError, match="int8 is for the cells of torch"):
            ours.load(path, weights="int8")
        rounded = meant | {role: meant[role].astype(np.float16).astype(np.float32) for role in ("W", "R")}
        plain = onnx_files.save(model(onnx_files.node(["X", *meant], **attributes), rounded, fed), tmp_path, "plain")
        small = ours.load(path, weights="float16")["lstm"]
        assert small.form == "float16"
        np.testing.assert_array_equal(small(fed["X"]).Y, ours.load(plain)["lstm"](fed["X"]).Y)


def damaged(change: Mapping[str, Any], **attributes: Any) -> Any:
    """Return a model of a node with other inputs, None for those that are left out."""
    arrays = quantized(np.random.default_rng(5), 1) | change
    arrays = {name: array for name, array in arrays.items() if array is not None}
    return model(node(arrays, **attributes), arrays, {"X": np.zeros((STEPS, ROWS, SIZES[0]), np.float32)})


ROW = np.ones((1, 4 * SIZES[1]), np.float32)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"W": np.zeros((1, 24, 3), np.int8)}, r"its W has shape \(1, 24, 3\), not \(1, 24, 24\)"),
        ({"R": np.zeros((1, 6, 23), np.int8)}, r"its R has shape \(1, 6, 23\), not \(1, 6, 24\)"),
        ({"R": np.zeros((6, 24), np.int8)}, r"its R has shape \(6, 24\), not \(1, 6, 24\)"),
        ({"W": np.zeros((1, 3, 24), np.float32)}, r"does not take tensor\(float\) for its input 'W'"),
        ({"W": np.zeros((1, 3, 24), np.uint8)}, r"does not take tensor\(uint8\) and tensor\(int8\) together"),
        ({"W_scale": None}, "lacks its input 'W_scale'"),
        ({"R_zero_point": None}, "does not take 11 inputs|lacks its input 'R_zero_point'"),
        ({"W_scale": ROW[:, :23]}, r"its W_scale has shape \(1, 23\), not \(1,\) or \(1, 24\)"),
        ({"W_scale": np.float32(0.1)}, r"its W_scale has shape \(\), not \(1,\) or"),
        ({"W_scale": np.ones(1, np.float32)}, r"its W_scale has shape \(1,\), and its W_zero_point \(1, 24\)"),
        ({"R_scale": ROW.astype(np.float64)}, r"does not take tensor\(double\) for its input 'R_scale'"),
        ({"R_scale": np.where(ROW.cumsum() == 7, np.nan, ROW)}, "its R_scale has nan, and scales are finite"),
        ({"R_scale": ROW * np.float32(np.inf)}, "its R_scale has inf, and scales are finite"),
        ({"R_scale": -ROW}, "its R_scale has -1, and scales are finite numbers from 0 on"),
        ({"W_zero_point": ROW.astype(np.int8)}, "its W_zero_point is not 0 for all rows"),
        ({"W_zero_point": ROW.astype(np.int32) * 0}, "does not take tensor"),
        ({"B": np.zeros((1, 47), np.float32)}, "its B has shape"),
        ({"B": np.zeros((1, 48), np.float16)}, "does not take tensor"),
        ({"R_scale": ROW * np.float32(3e38)}, "its R has -?inf, of which int8 has nothing, or weights='float32'"),
    ],
    ids=str,
)
def test_damaged_nodes_are_refused(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = onnx_files.save(damaged(change), tmp_path)
    with pytest.raises(ValueError, match=words) as error:
        ours.load(path)
    assert str(error.value).startswith(f"{path}: ")
    (found,) = ours.describe(path)
    assert found.obstacle is not None


def test_zero_points_of_rows_are_those_that_onnx_runtime_takes(tmp_path: Path) -> None:
    generator = np.random.default_rng(6)
    arrays = quantized(generator, 1, np.uint8)
    zero = arrays["W_zero_point"].copy()
    zero[0, 3] += 1
    fed = feed(generator, 1)
    made = model(node(arrays, hidden_size=SIZES[1]), arrays | {"W_zero_point": zero}, fed)
    with pytest.raises(ValueError, match="its W_zero_point is not the same for all rows"):
        ours.load(onnx_files.save(made, tmp_path))
    with pytest.raises(Exception, match="Weight point must be constant"):
        theirs(made, fed)


def test_attributes_and_domains_are_by_the_letter(tmp_path: Path) -> None:
    for attributes, words in (
        ({"layout": 0}, "com.microsoft.DynamicQuantizeLSTM of opset 1 has no attribute 'layout'"),
        ({"hidden_size": 5}, "its hidden_size is 5, and its R is for 6"),
        ({"hidden_size": 6.0}, "should have an attribute 'hidden_size' that is int"),
        ({"direction": "bidirectional"}, "its W has shape"),
    ):
        with pytest.raises(ValueError, match=words):
            ours.load(onnx_files.save(damaged({}, **attributes), tmp_path))
    made = damaged({})
    unknown = "does not say which opset of com.microsoft it is of"
    for versions, words in (([2], "of opset 2 is not the one that is known"), ([], unknown), ([1, 2], unknown)):
        del made.opset_import[1:]
        made.opset_import.extend([helper.make_opsetid(DOMAIN, version) for version in versions])
        with pytest.raises(ValueError, match=words):
            ours.load(onnx_files.save(made, tmp_path))
    made = damaged({})
    body = [helper.make_node("Identity", ["X"], ["Y"])]
    function = helper.make_function(DOMAIN, "DynamicQuantizeLSTM", ["X"], ["Y"], body, [helper.make_opsetid("", 14)])
    made.functions.append(function)
    with pytest.raises(ValueError, match="is a function of the model: inline it"):
        ours.load(onnx_files.save(made, tmp_path))


def test_scales_of_no_size_are_zeros(tmp_path: Path) -> None:
    """Those that are 0, and those that kernels take for 0, though what they make is not."""
    generator = np.random.default_rng(7)
    arrays, fed = quantized(generator, 1), feed(generator, 1)
    arrays["W_scale"][0, :4] = 0
    arrays["R_scale"][0, :4] = np.float32(1e-39)
    loaded = ours.load(onnx_files.save(model(node(arrays), arrays, fed), tmp_path))["lstm"]
    assert loaded.weights.W_scale.min() >= np.finfo(np.float32).tiny
    assert not loaded.weights.W[0, :4].any()
    stands = loaded.weights.R * loaded.weights.R_scale[..., None]
    np.testing.assert_allclose(stands, numbers(arrays)["R"], rtol=0, atol=1e-38)
    assert np.isfinite(loaded(fed["X"]).Y).all()


def test_scales_beyond_those_of_int8(tmp_path: Path) -> None:
    """A row may be of float32 with a scale that 127 is not; it has another one then."""
    generator = np.random.default_rng(8)
    arrays = quantized(generator, 1)
    arrays["W"][..., 0] = np.sign(arrays["W"][..., 0])
    arrays["W"][:, 1:, 0] = 0
    arrays["W_scale"][0, 0] = np.float32(3e38)
    loaded = ours.load(onnx_files.save(model(node(arrays), arrays, feed(generator, 1)), tmp_path))["lstm"]
    assert loaded.weights.W_scale.max() < 2.7e36
    stands = loaded.weights.W.astype(np.float64) * loaded.weights.W_scale[..., None]
    np.testing.assert_allclose(stands, numbers(arrays)["W"], rtol=1e-6)


# --- DequantizeLinear -------------------------------------------------------------------------------------


class Dequantized(NamedTuple):
    """A model whose weights are dequantised in it."""

    model: Any
    fed: dict[str, np.ndarray]
    W: np.ndarray
    R: np.ndarray
    B: np.ndarray

    def node(self, folder: Path, **options: Any) -> ours.Node:
        return ours.load(onnx_files.save(self.model, folder), **options)["lstm"]


KINDS = {"int8": onnx.TensorProto.INT8, "uint8": onnx.TensorProto.UINT8, "int4": onnx.TensorProto.INT4}
KINDS |= {"int16": onnx.TensorProto.INT16}


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


@pytest.mark.parametrize("chain", ["", "moved"], ids=["at once", "moved"])
@pytest.mark.parametrize("way", ["tensor", "rows"])
@pytest.mark.parametrize("kind", ["int8", "uint8", "int4"])
def test_dequantised_weights_are_kept_in_int8(kind: str, way: str, chain: str, tmp_path: Path) -> None:
    made = dequantized(kind, way, chain)
    loaded, plain = made.node(tmp_path), made.node(tmp_path, weights="float32")
    assert (loaded.form, plain.form) == ("int8", "float32")
    off = {}
    for role, meant in (("W", made.W), ("R", made.R)):
        np.testing.assert_array_equal(getattr(plain.weights, role), meant)
        scale = getattr(loaded.weights, f"{role}_scale")
        stands = getattr(loaded.weights, role) * scale[..., None]
        off[role] = np.zeros(scale.shape)
        if kind == "uint8":  # 120 below zero and 135 above: some rows are quantised anew
            off[role] = np.where((stands == meant).all(axis=2), 0, scale * 0.5001)
            assert off[role].any()
            assert (np.abs(stands - meant) <= off[role][..., None]).all()
        else:
            np.testing.assert_array_equal(stands, meant)
    expected = theirs(made.model, made.fed)
    check(loaded, {"W": made.W, "R": made.R, "B": made.B}, expected, made.fed, off, activations=nothing)
    for mine, other in zip(plain(made.fed["X"]), expected, strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=2e-6)


def test_the_command_keeps_them(tmp_path: Path, capsys: Any) -> None:
    """Without a form as they are loaded, with one made of what the file has, and compared with its numbers."""
    path, input = onnx_files.save(dequantized().model, tmp_path), tmp_path / "x.npy"
    np.save(input, np.ones((5, 4), np.float32))
    kept = ours.load_lstm(path).state_dict()
    for options in ([], ["--weights", "int8"]):
        target = tmp_path / f"{len(options)}.safetensors"
        options = [*options, "--check", str(input)] if options else []
        assert cli.main(["convert", str(path), str(target), *options]) == 0
        loaded = LSTM.load(target)
        assert loaded.form == "int8"
        for name, array in loaded.state_dict().items():
            np.testing.assert_array_equal(array, kept[name])
    assert "error of int8 against float32: rms " in capsys.readouterr().out


OTHERS: dict[str, dict[str, Any]] = {
    "16 bits": {"kind": "int16"},
    "a scale for each column": {"way": "columns"},
    "a scale for each block": {"way": "blocks"},
    "computed with": {"chain": "Mul"},
    "cast": {"chain": "Cast"},
}


@pytest.mark.parametrize("options", OTHERS.values(), ids=OTHERS)
def test_other_dequantised_weights_are_numbers(options: dict[str, Any], tmp_path: Path) -> None:
    made = dequantized(**options)
    loaded = made.node(tmp_path)
    assert loaded.form == "float32"
    np.testing.assert_array_equal(loaded.weights.W, made.W)
    for mine, other in zip(loaded(made.fed["X"]), theirs(made.model, made.fed), strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=2e-6)
    assert made.node(tmp_path, weights="int8").form == "int8"


def test_half_precision_scales_are_numbers(tmp_path: Path) -> None:
    """What they make was rounded to half precision: products of whole numbers and scales would be others."""
    made = dequantized(scales=np.float16)
    loaded = made.node(tmp_path)
    assert loaded.form == "float32"
    np.testing.assert_array_equal(loaded.weights.R, made.R)


def test_one_matrix_of_8_bits_is_not_enough(tmp_path: Path) -> None:
    made = dequantized()
    (there,) = (each for each in made.model.graph.node if each.output[0] == "W")
    made.model.graph.node.remove(there)
    made.model.graph.initializer.append(numpy_helper.from_array(made.W, "W"))
    assert made.node(tmp_path).form == "float32"
    kept = made.node(tmp_path, weights="int8").weights
    np.testing.assert_array_equal(kept.R * kept.R_scale[..., None], made.R)


def test_what_is_joined_to_dequantised_weights_is_seen(tmp_path: Path) -> None:
    """Rows of plain numbers beside them: all are numbers then."""
    made = dequantized()
    for role, array in (("W", made.W), ("R", made.R)):
        (there,) = (each for each in made.model.graph.node if each.output[0] == role)
        there.output[0] = f"{role}a"
        half = array[:, :12] + np.float32(0.01)
        nodes = [
            helper.make_node("Slice", [f"{role}a", "twelve", "end", "axis"], [f"{role}b"]),
            helper.make_node("Concat", [f"{role}h", f"{role}b"], [role], axis=1),
        ]
        for each in nodes:
            made.model.graph.node.insert(len(made.model.graph.node) - 1, each)
        made.model.graph.initializer.append(numpy_helper.from_array(half, f"{role}h"))
    for name, number in {"twelve": 12, "end": 24, "axis": 1}.items():
        made.model.graph.initializer.append(numpy_helper.from_array(np.array([number]), name))
    loaded = made.node(tmp_path)
    assert loaded.form == "float32"
    np.testing.assert_array_equal(loaded.weights.W[:, 12:], made.W[:, 12:])
    np.testing.assert_array_equal(loaded.weights.W[:, :12], made.W[:, :12] + np.float32(0.01))


@pytest.mark.parametrize("number", [np.nan, np.inf, -0.5])
def test_scales_that_are_no_steps(number: float, tmp_path: Path) -> None:
    """ONNX multiplies by whatever it is."""
    made = dequantized()
    (there,) = (each for each in made.model.graph.initializer if each.name == "Rs")
    scale = numpy_helper.to_array(there).copy()
    scale[2] = number
    there.CopyFrom(numpy_helper.from_array(scale, "Rs"))
    plain = made.node(tmp_path, weights="float32")
    if number < 0:
        kept = made.node(tmp_path).weights
        np.testing.assert_allclose(kept.R * kept.R_scale[..., None], plain.weights.R, rtol=0, atol=0.5 / 254 * 127)
        np.testing.assert_array_equal(np.sign(kept.R[0, 2]), np.sign(plain.weights.R[0, 2]))
    else:
        with pytest.raises(ValueError, match=r"its R has -?(nan|inf), of which int8 has nothing"):
            made.node(tmp_path)


@pytest.mark.filterwarnings("ignore")  # of the quantiser
def test_weights_that_the_model_quantises_itself(tmp_path: Path) -> None:
    """As with the option AddQDQPairToWeight of ONNX Runtime's quantiser."""
    generator = np.random.default_rng(9)
    arrays = onnx_files.random_arrays(generator, SIZES, 1)
    nodes, constants = [], {"B": arrays["B"]}
    for role in ("W", "R"):
        scale = np.abs(arrays[role]).max(axis=(0, 2)) / np.float32(127)
        constants |= {f"{role}f": arrays[role], f"{role}s": scale, f"{role}z": np.zeros(24, np.int8)}
        for kind, source, made in (("QuantizeLinear", "f", f"{role}q"), ("DequantizeLinear", "q", role)):
            nodes.append(helper.make_node(kind, [role + source, f"{role}s", f"{role}z"], [made], axis=1))
    fed = feed(generator, 1)
    nodes.append(onnx_files.node(["X", "W", "R", "B"], hidden_size=6))
    made = onnx_files.model(
        nodes, constants, [onnx_files.value("X", fed["X"].shape)], [onnx_files.value(n, None) for n in OUTPUTS], 17
    )
    path = onnx_files.save(made, tmp_path)
    loaded, plain = ours.load(path)["lstm"], ours.load(path, weights="float32")["lstm"]
    assert loaded.form == "int8"
    meant = {"W": plain.weights.W, "R": plain.weights.R, "B": arrays["B"]}
    for role in ("W", "R"):
        kept, scale = getattr(loaded.weights, role), getattr(loaded.weights, f"{role}_scale")
        np.testing.assert_array_equal(kept * scale[..., None], meant[role])
    check(loaded, meant, theirs(made, fed), fed, activations=nothing)


@pytest.mark.parametrize("pair", [False, True], ids=["stored", "quantised in the model"])
@pytest.mark.parametrize("kind", ["QInt8", "QUInt8"])
@pytest.mark.filterwarnings("ignore")  # of the quantiser
def test_what_quantize_static_makes(kind: str, pair: bool, tmp_path: Path) -> None:
    """It quantises what goes in and comes out too: the node is compared with what is between."""
    quantization = pytest.importorskip("onnxruntime.quantization")
    generator = np.random.default_rng(16)
    arrays, fed = onnx_files.random_arrays(generator, SIZES, 1), feed(generator, 1)
    del arrays["P"]
    made = model(onnx_files.node(["X", *arrays], hidden_size=SIZES[1]), arrays, fed, 17)
    path, small = onnx_files.save(made, tmp_path, "float.onnx"), tmp_path / "small.onnx"

    class Once(quantization.CalibrationDataReader):
        left = [fed]  # noqa: RUF012 - taken once

        def get_next(self) -> Any:
            return self.left.pop() if self.left else None

    of = getattr(quantization.QuantType, kind)
    quantization.quantize_static(
        path, small, Once(), op_types_to_quantize=["LSTM"], activation_type=of, weight_type=of,
        extra_options={"AddQDQPairToWeight": pair},
    )  # fmt: skip
    made = onnx.load(small)
    (lstm,) = (each for each in made.graph.node if each.op_type == "LSTM")
    del made.graph.output[:]
    made.graph.output.extend([onnx_files.value(name, None) for name in (lstm.input[0], *lstm.output)])
    x, *expected = theirs(made, fed)
    (loaded,), (plain,) = ours.load(small).values(), ours.load(small, weights="float32").values()
    assert loaded.form == "int8"
    meant = plain.weights._asdict()
    off = {}
    for role in ("W", "R"):
        scale = getattr(loaded.weights, f"{role}_scale")
        stands = getattr(loaded.weights, role) * scale[..., None]
        off[role] = np.where((stands == meant[role]).all(axis=2), 0, scale * 0.5001)
        assert (np.abs(stands - meant[role]) <= off[role][..., None]).all()
        if kind == "QInt8":  # the row with the largest weight of all, if that has become -128
            assert np.count_nonzero(off[role]) <= 1
    check(loaded, meant, expected, {"X": x}, off, activations=nothing)
    for mine, other in zip(plain(x), expected, strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=2e-6)


# --- forms ------------------------------------------------------------------------------------------------


def float_model(folder: Path, dtype: Any = np.float32, **attributes: Any) -> tuple[Path, dict[str, np.ndarray]]:
    arrays = onnx_files.random_arrays(np.random.default_rng(10), SIZES, 1, dtype)
    if attributes.pop("plain", True):
        del arrays["P"]
    return onnx_files.save(onnx_files.model([onnx_files.node(["X", *arrays])], arrays), folder), arrays


@pytest.mark.parametrize("form", ["float16", "bfloat16", "int8"])
def test_weights_of_numbers_in_a_form(form: str, tmp_path: Path) -> None:
    """The same as of an LSTM."""
    path, _ = float_model(tmp_path)
    x = feed(np.random.default_rng(11), 1)["X"]
    loaded = ours.load(path, weights=form)["lstm"]
    again = pickle.loads(pickle.dumps(loaded))
    assert loaded.form == again.form == form
    assert f"form='{form}'" in repr(loaded)
    lstm = ours.load_lstm(path, weights=form)
    assert lstm.form == form
    same = ours.load_lstm(path).quantize(form)
    for name, array in same.state_dict().items():
        np.testing.assert_array_equal(lstm.state_dict()[name], array)
    np.testing.assert_array_equal(lstm(x)[0], same(x)[0])
    np.testing.assert_array_equal(loaded(x).Y[:, 0], same(x)[0])
    np.testing.assert_array_equal(again(x).Y, loaded(x).Y)
    assert ours.load(path, weights="float32")["lstm"].form == ours.load(path)["lstm"].form == "float32"


def test_forms_that_cannot_be(tmp_path: Path) -> None:
    path, _ = float_model(tmp_path)
    for wrong in ("int4", "", 8, "float64"):
        with pytest.raises(ValueError, match="weights should be 'float32', 'float16', 'bfloat16', 'int8' or None"):
            ours.load(path, weights=wrong)
        with pytest.raises(ValueError, match="weights should be"):
            ours.load_lstm(path, weights=wrong)
    path, _ = float_model(tmp_path, np.float64)
    for form in ("float32", "float16", "int8"):
        with pytest.raises(ValueError, match=f"its weights are float64, and weights='{form}' is for those of fewer"):
            ours.load(path, weights=form)
    path, _ = float_model(tmp_path, plain=False)
    with pytest.raises(ValueError, match="int8 is for the cells of torch"):
        ours.load(path, weights="int8")
    path, arrays = float_model(tmp_path)
    arrays["R"][0, 3, 2] = 1e5
    made = onnx_files.save(onnx_files.model([onnx_files.node(["X", *arrays])], arrays), tmp_path)
    with pytest.raises(ValueError, match="its R has 100000, and float16 ends at 65504"):
        ours.load(made, weights="float16")


def test_float64_is_computed_with_numbers(tmp_path: Path) -> None:
    """As the command line is asked for."""
    generator = np.random.default_rng(12)
    arrays, fed = quantized(generator, 1), feed(generator, 1)
    path = onnx_files.save(model(node(arrays), arrays, fed), tmp_path)
    x = fed["X"].astype(np.float64)
    y = ours.runner(path, "lstm", np.dtype(np.float64)).run(x, None)["Y"]
    zeros = np.zeros((1, ROWS, SIZES[1]))
    meant = numbers(arrays)
    values, _ = lstm_with_bounds(
        meant, x, our_errors(x, 1, exact(meant)), "forward", zeros, zeros, np.full(ROWS, STEPS)
    )
    np.testing.assert_allclose(y, values[0], rtol=0, atol=1e-14)
    (found,) = ours.describe(path)
    assert (found.kind, found.sizes["form"]) == ("com.microsoft.DynamicQuantizeLSTM", "int8")
    assert found.parameters["W"] == ((1, 3, 24), "int8")
    assert {"W_scale", "W_zero_point", "R_scale", "R_zero_point"} <= {*found.parameters}
    path64, _ = float_model(tmp_path, np.float64)
    assert ours.runner(path64, "lstm", np.dtype(np.float64)).dtype == np.float64


def test_nodes_that_share_weights(tmp_path: Path) -> None:
    """They are made once, so that they may be as many as there are."""
    generator = np.random.default_rng(13)
    arrays = quantized(generator, 1, sizes=(64, 64))
    nodes = []
    for n in range(40):
        each = node(arrays, f"n{n}")
        del each.output[:]
        each.output.append(f"Y{n}")
        nodes.append(each)
    made = model(nodes[0], arrays, {"X": np.zeros((2, 1, 64), np.float32)})
    made.graph.node.extend(nodes[1:])
    found = ours.load(onnx_files.save(made, tmp_path))
    assert len(found) == 40
    assert found["n0"].weights.W is found["n39"].weights.W
    whole = dequantized()
    last = whole.model.graph.node[-1]
    for n in range(40):
        other = copy.deepcopy(last)
        other.name = f"n{n}"
        other.output[:] = [f"Y{n}"]
        whole.model.graph.node.append(other)
    found = ours.load(onnx_files.save(whole.model, tmp_path))
    assert {each.form for each in found.values()} == {"int8"}
    assert found["n0"].weights.R is found["n39"].weights.R


def test_small_files_stay_small(tmp_path: Path) -> None:
    """Thousands of weights that are all cut out of the same whole numbers."""
    constants = {"q": np.zeros((1, 1024, 256), np.int8), "s": np.float32(0.1), "z": np.int8(0)}
    nodes = [helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"])]
    for n in range(200):
        nodes.append(helper.make_node("Identity", ["d"], [f"w{n}"]))
        nodes.append(helper.make_node("LSTM", ["X", f"w{n}", f"w{n}"], [f"y{n}"], name=str(n)))
    found = ours.load(onnx_files.save(onnx_files.model(nodes, constants), tmp_path))
    forms = [each.form for each in found.values()]
    assert len(forms) == 200
    assert forms[0] == "int8"
    assert 0 < forms.count("int8") < 10
    wide = [helper.make_node("Concat", [f"d{n}" for n in range(300)], ["w"], axis=1)]
    for n in range(300):
        wide.append(helper.make_node("DequantizeLinear", [f"q{n}", "s", "z"], [f"d{n}"]))
    constants |= {f"q{n}": np.ones((1, 4, 300), np.int8) for n in range(300)}
    wide.append(helper.make_node("LSTM", ["X", "w", "w"], ["y"], name="wide"))
    wide.sort(key=lambda each: ["DequantizeLinear", "Concat", "LSTM"].index(each.op_type))
    found = ours.load(onnx_files.save(onnx_files.model(wide, constants), tmp_path))
    assert found["wide"].form == "float32"


# --- stacks -----------------------------------------------------------------------------------------------


def chain_with_bounds(
    layers: list[ours.Node], x: np.ndarray, errors_of: Any, direction: str
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return output, h_n and c_n of layers on each other, and how far off each number may be."""
    before, states = np.zeros(x.shape[:2]), []
    for layer in layers:
        arrays = layer.weights._asdict()
        errors = errors_of(x, 1.0, exact(arrays))
        zeros = np.zeros((layer.directions, ROWS, layer.hidden_size))
        full = np.full(ROWS, STEPS)
        # What is rounded is off by what the layer below is off, and steps are larger by at most a 127th of twice that.
        errors = errors._replace(x=errors.x + before + 2 * before.max() / 127)
        (y, *own), (bound, *off) = lstm_with_bounds(arrays, x, errors, direction, zeros, zeros, full)
        states.append([*zip(own, off, strict=True)])
        x = y.transpose(0, 2, 1, 3).reshape(STEPS, ROWS, -1)
        before = bound.max(axis=(1, 3))
        both = x, bound.transpose(0, 2, 1, 3).reshape(x.shape)
    joined = [tuple(map(np.concatenate, zip(*state, strict=True))) for state in zip(*states, strict=True)]
    return [both, *joined]


@pytest.mark.parametrize("per_channel", [False, True], ids=["tensor", "channel"])
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.filterwarnings("ignore")  # of the exporter and the quantiser
def test_an_export_of_torch_after_quantize_dynamic(directions: int, per_channel: bool, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    quantization = pytest.importorskip("onnxruntime.quantization")
    torch.manual_seed(0)
    trained = torch.nn.LSTM(*SIZES, num_layers=2, bidirectional=directions == 2).eval()
    path, small = tmp_path / "float.onnx", tmp_path / "small.onnx"
    axes = {"dynamic_axes": {"x": {0: "steps", 1: "rows"}}, "input_names": ["x"]}
    torch.onnx.export(trained, (torch.zeros(STEPS, 2, SIZES[0]),), path, dynamo=False, **axes)
    quantization.quantize_dynamic(path, small, ["LSTM"], per_channel, reduce_range=True)
    x = feed(np.random.default_rng(14), 1)["X"]
    lstm = ours.load_lstm(small)
    assert (lstm.form, lstm.num_layers, lstm.num_layers * directions) == ("int8", 2, 2 * directions)
    y = x
    for each in ours.load(small).values():
        y = each(y).Y.transpose(0, 2, 1, 3).reshape(STEPS, ROWS, -1)
    output, (h, c) = lstm(x)
    np.testing.assert_array_equal(output, y)
    wide = ours.load_lstm(small, weights="float32")
    assert wide.form == "float32"
    for name, array in lstm.dequantize().state_dict().items():
        np.testing.assert_array_equal(array, wide.state_dict()[name])
    session = runtime.InferenceSession(small, providers=["CPUExecutionProvider"])
    expected = session.run(None, {session.get_inputs()[0].name: x})
    direction = "bidirectional" if directions == 2 else "forward"
    values = chain_with_bounds([*ours.load(small, weights="float32").values()], x, our_errors, direction)
    others = chain_with_bounds([*ours.load(small, weights="float32").values()], x, runtimes_errors, direction)
    for one, two, (value, here), (_, there) in zip((output, h, c), expected, values, others, strict=True):
        assert (np.abs(two - value) <= there).all()
        assert (np.abs(one - value) <= here).all()


def test_layers_in_different_forms(tmp_path: Path) -> None:
    generator = np.random.default_rng(15)
    lower = quantized(generator, 1, sizes=(3, 6))
    upper = onnx_files.random_arrays(generator, (6, 6), 1)
    del upper["P"]
    nodes = [
        node(lower, "lower"),
        helper.make_node("Squeeze", ["Y", "one"], ["X1"]),
        helper.make_node("LSTM", ["X1", "W1", "R1", "B1"], ["Y1"], name="upper", hidden_size=6),
    ]
    constants = lower | {f"{name}1": array for name, array in upper.items()} | {"one": np.array([1])}
    made = onnx_files.model(nodes, constants, [onnx_files.value("X", ["steps", "rows", 3])])
    made.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    path = onnx_files.save(made, tmp_path)
    words = "'upper' has form float32, 'lower' int8: weights= says which one all should have"
    with pytest.raises(ValueError, match=words):
        ours.load_lstm(path)
    for form in ("int8", "float32", "float16"):
        assert ours.load_lstm(path, weights=form).form == form
