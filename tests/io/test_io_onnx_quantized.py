"""DynamicQuantizeLSTM nodes, beside ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import onnx_files
from support.onnx_files import helper, numpy_helper, onnx
from support.onnx_int8 import (
    DOMAIN,
    ROLES,
    ROWS,
    SIZES,
    STEPS,
    check,
    exact,
    feed,
    lstm_with_bounds,
    model,
    node,
    numbers,
    our_errors,
    quantized,
    runtimes_errors,
    saturates,
)
from support.onnx_runtime import runtime, theirs

from numba_lstm.contract.weight_form import MOST_TERMS
from numba_lstm.io import onnx as ours

pytestmark = pytest.mark.usefixtures("threads")


# --- DynamicQuantizeLSTM ------------------------------------------------------------------------------------


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


def test_rows_that_are_too_long_for_int8_are_numbers(tmp_path: Path) -> None:
    """Such a node was loaded in int8, and every call of it was an error."""
    generator = np.random.default_rng(7)
    x = generator.standard_normal((STEPS, ROWS, MOST_TERMS + 1), np.float32)
    arrays = quantized(generator, 1, sizes=(MOST_TERMS + 1, 1))
    path = onnx_files.save(model(node(arrays, hidden_size=1), arrays, {"X": x}), tmp_path)
    loaded = ours.load(path)["lstm"]
    np.testing.assert_array_equal(loaded(x).Y, ours.load(path, weights="float32")["lstm"](x).Y)
    assert ours.load_lstm(path).form == "float32"
    for load in (ours.load, ours.load_lstm):
        with pytest.raises(ValueError, match=r"its W has rows of 133,145 numbers.*16 bits, or weights='float32'"):
            load(path, weights="int8")


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


# --- stacks -------------------------------------------------------------------------------------------------


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
