"""Weights of ONNX nodes that DequantizeLinear makes, beside ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import onnx_files
from support.onnx_files import helper, numpy_helper, onnx
from support.onnx_int8 import OUTPUTS, SIZES, check, dequantized, feed, model, nothing
from support.onnx_runtime import theirs

from numba_lstm import LSTM, cli
from numba_lstm.io import onnx as ours

pytestmark = pytest.mark.usefixtures("threads")


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
