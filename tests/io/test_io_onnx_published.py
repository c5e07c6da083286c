"""Numbers that others published for ONNX's operator LSTM."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import onnx_files
from support.onnx_files import onnx
from support.places import SHARED

from numba_lstm.io import onnx as ours

pytestmark = pytest.mark.usefixtures("threads")


def _array(entry: dict[str, Any]) -> np.ndarray:
    return np.array(entry["data"], entry["dtype"]).reshape(entry["shape"])


def _ort() -> dict[str, Any]:
    path = SHARED / "conformance" / "ort_lstm_cases.json"
    return json.loads(path.read_text()) if path.is_file() else {"cases": [], "known_bad_literals": []}


ORT = _ort()


def test_all_of_onnx_runtimes_cases_are_there(shared: Path) -> None:
    assert (shared / "conformance").is_dir()
    assert len(ORT["cases"]) == 68


@pytest.mark.parametrize("case", ORT["cases"], ids=lambda case: case["name"])
def test_onnx_runtimes_own_cases(case: dict[str, Any], tmp_path: Path) -> None:
    arrays = {name: _array(entry) for name, entry in case["inputs"].items() if entry is not None}
    fixed = {name: arrays[name] for name in ("W", "R", "B", "P") if name in arrays}
    made = onnx_files.model([onnx_files.node(list(arrays), **case["attributes"])], fixed)
    node = ours.load(onnx_files.save(made, tmp_path))["lstm"]
    got = node(*(arrays.get(name) for name in ("X", "sequence_lens", "initial_h", "initial_c")))._asdict()
    assert case["expected"]
    for name, entry in case["expected"].items():
        expected = _array(entry)
        for bad in ORT["known_bad_literals"]:
            if case["name"] in bad["tests"] and name == bad["output"]:
                assert expected[tuple(bad["index"])] == np.float32(bad["literal"])
                expected[tuple(bad["index"])] = bad["ort_and_numpy"]
        assert got[name].shape == expected.shape
        np.testing.assert_allclose(got[name], expected, rtol=0, atol=1e-5)


def _proto(path: Path) -> np.ndarray:
    tensor = onnx.TensorProto()
    tensor.ParseFromString(path.read_bytes())
    return onnx.numpy_helper.to_array(tensor)


def test_cntk(shared: Path) -> None:
    """Two nodes over the same input, the one that runs backward first."""
    folder = shared / "conformance" / "cntk"
    nodes = ours.load(folder / "model.onnx")
    assert list(nodes) == ["Block1237", "Block1326"]
    x, expected = (_proto(folder / "test_data_set_0" / name) for name in ("input_0.pb", "output_0.pb"))
    got = np.concatenate([node(x).Y[:, 0] for node in nodes.values()], axis=2)
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)


def test_tract(shared: Path) -> None:
    """Two stacked bidirectional LSTMs between an embedding and a linear layer."""
    folder = shared / "conformance" / "tract" / "byte_sb_bidi_lstm"
    nodes = ours.load(folder / "model.onnx")
    graph = onnx.load(folder / "model.onnx").graph
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    with np.load(folder / "io.npz") as file:
        text, expected = file["input"], file["Add_26"]
    x = constants["embedding.weight"][text.T]
    for node in nodes.values():
        y = node(x).Y
        x = y.transpose(0, 2, 1, 3).reshape(*y.shape[::2], -1)
    got = x.transpose(1, 0, 2) @ constants["238"] + constants["out.bias"]
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=0, atol=2e-5)
    with pytest.raises(ValueError, match="'LSTM_20' has hidden_size 64, 'LSTM_9' 128"):
        ours.load_lstm(folder / "model.onnx")


def _cases() -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other operators' examples
        from onnx.backend.test.case.node import collect_testcases

        return [case for case in collect_testcases("LSTM") if "expanded" not in case.name]


def test_cases_of_the_onnx_package(tmp_path: Path) -> None:
    cases = _cases()
    assert len(cases) == 6
    assert sum(any(a.name == "layout" and a.i for a in case.model.graph.node[0].attribute) for case in cases) == 1
    for case in cases:
        graph = onnx.GraphProto()
        graph.CopyFrom(case.model.graph)
        (inputs, expected), *_ = case.data_sets
        arrays = dict(zip((each.name for each in graph.input), map(np.asarray, inputs), strict=True))
        for name in ("W", "R", "B", "P"):
            if name in arrays:
                graph.initializer.append(onnx.numpy_helper.from_array(arrays[name], name))
        path = onnx_files.save(onnx.helper.make_model(graph), tmp_path)
        (node,) = ours.load(path).values()
        got = node(*(arrays.get(name) for name in ("X", "sequence_lens", "initial_h", "initial_c")))._asdict()
        wanted = [name for name in graph.node[0].output if name]
        assert len(wanted) == len(expected)
        for name, array in zip(wanted, expected, strict=True):
            np.testing.assert_allclose(got[name], array, rtol=0, atol=1e-5)
