"""Weights of ONNX nodes in the forms that `weights=` asks for."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import onnx_files
from support.onnx_files import helper
from support.onnx_int8 import (
    ROWS,
    SIZES,
    STEPS,
    dequantized,
    exact,
    feed,
    lstm_with_bounds,
    model,
    node,
    numbers,
    our_errors,
    quantized,
)

from numba_lstm.io import onnx as ours

pytestmark = pytest.mark.usefixtures("threads")


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
