"""LSTM nodes in functions and branches of ONNX models: they are refused by name, and never left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import onnx_files
from support.onnx_files import helper, onnx

from numba_lstm.io import onnx as ours


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    return onnx_files.random_arrays(np.random.default_rng(30), (3, 5), 1)


def _branch(*nodes: Any) -> Any:
    return helper.make_graph(list(nodes), "branch", [], [onnx_files.value("Y", None)])


def _function(name: str, nodes: list[Any], domain: str = "mine", defaults: Any = ()) -> Any:
    opsets = [helper.make_opsetid("", 14), helper.make_opsetid("mine", 1)]
    made = helper.make_function(domain, name, ["X", "W", "R"], ["Y"], nodes, opsets)
    made.attribute_proto.extend(defaults)
    return made


def _call(name: str, domain: str = "mine", **attributes: Any) -> Any:
    return helper.make_node(name, ["X", "W", "R"], ["Y"], domain=domain, **attributes)


def _within_if(node: Any) -> Any:
    return helper.make_node("If", ["Y"], ["Y"], then_branch=_branch(node), else_branch=_branch())


LSTM = onnx_files.node(["X", "W", "R"], outputs=["Y"])
FUNCTIONS = {
    "called by a function": [_function("Inner", [LSTM]), _function("Outer", [_call("Inner")])],
    "called by one before it": [_function("Outer", [_call("Inner")]), _function("Inner", [LSTM])],
    "far below": [_function("Outer", [_call("f0")]), *(_function(f"f{n}", [_call(f"f{n + 1}")]) for n in range(300)),
                  _function("f300", [LSTM])],
    "called around": [_function("Outer", [_call("Inner")]), _function("Inner", [_call("Outer"), LSTM])],
    "within an If": [_function("Outer", [_within_if(LSTM)])],
    "within Ifs": [_function("Outer", [_within_if(_within_if(_call("Inner")))]), _function("Inner", [LSTM])],
    "among many graphs": [_function("Outer", [_call("Any", graphs=[_branch(LSTM)])])],
    "within a default": [
        _function("Outer", [_call("Any")], defaults=[helper.make_attribute("body", _branch(LSTM))])
    ],
}  # fmt: skip


@pytest.mark.parametrize("way", FUNCTIONS)
def test_functions_hide_no_node_however_deep(way: str, arrays: dict[str, np.ndarray], tmp_path: Path) -> None:
    """One LSTM before the call would else be taken as all of them."""
    first = onnx_files.node(["X", "W", "R"], "first", ["Y0"])
    call = helper.make_node("Outer", ["Y0", "W", "R"], ["Y"], name="call", domain="mine")
    made = onnx_files.model([first, call], arrays)
    made.functions.extend(FUNCTIONS[way])
    path = onnx_files.save(made, tmp_path)
    with pytest.raises(ValueError, match=r"mine\.Outer is a function of the model: inline it with onnx\.inliner"):
        ours.load_lstm(path)
    nodes = ours.load(path)
    assert [*nodes] == ["first"]
    assert [*nodes.obstacles] == ["call"]


def test_functions_without_a_node_and_others_of_their_names(arrays: dict[str, np.ndarray], tmp_path: Path) -> None:
    """What is no call of a function with an LSTM stands in nobody's way."""
    nodes = [
        onnx_files.node(["X", "W", "R"], "first", ["Y0"]),
        helper.make_node("Outer", ["Y0", "W", "R"], ["Y1"], name="other", domain="yours"),
        helper.make_node("Plain", ["Y1", "W", "R"], ["Y"], name="plain", domain="mine"),
    ]
    made = onnx_files.model(nodes, arrays)
    made.functions.extend(FUNCTIONS["called by a function"])
    made.functions.append(_function("Plain", [_call("Outer", "yours"), _call("Plain")]))
    found = ours.load(onnx_files.save(made, tmp_path))
    assert [*found] == ["first"]
    assert not found.obstacles


def test_branches_of_files_without_types_of_attributes(arrays: dict[str, np.ndarray], tmp_path: Path) -> None:
    """As those of the first version of the format are."""
    made = onnx_files.model([_within_if(LSTM)], arrays)
    for attribute in made.graph.node[0].attribute:
        attribute.type = 0
    assert len(ours.load(onnx_files.save(made, tmp_path))) == 1


def _external(message: Any, folder: Path) -> None:
    """Put all tensors with numbers beside the model, as large models have them."""
    if isinstance(message, onnx.TensorProto) and len(message.raw_data) > 100:
        file = folder / "weights.bin"
        offset = file.stat().st_size if file.exists() else 0
        with file.open("ab") as stream:
            stream.write(message.raw_data)
        onnx.external_data_helper.set_external_data(message, file.name, offset, len(message.raw_data))
        message.ClearField("raw_data")
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in [value] if hasattr(value, "ListFields") else value:
                _external(inner, folder)


@pytest.mark.parametrize("where", ["branch", "branch of a branch", "attributes"])
def test_tensors_in_other_files_count_wherever_they_are_named(where: str, tmp_path: Path) -> None:
    """What is made of them may be as large as of tensors of the model itself."""
    parts = [np.full((1, 160, 160), part, np.float32) for part in range(4)]
    constants = {f"R{part}": array for part, array in enumerate(parts)} | {"W": np.ones((1, 640, 3), np.float32)}
    nodes = [
        helper.make_node("Concat", [f"R{part}" for part in range(4)], ["R"], axis=1),
        onnx_files.node(["X", "W", "R"], outputs=["Y"]),
    ]
    tensors = [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()]
    if where == "attributes":
        made = [helper.make_node("Constant", [], [tensor.name], value=tensor) for tensor in tensors]
        model = onnx_files.model([*made, *nodes], {})
    else:
        inner = helper.make_graph(nodes, "inner", [], [onnx_files.value("Y", None)], tensors)
        for _ in range(where.count("branch")):
            choice = helper.make_node("If", ["yes"], ["Y"], then_branch=inner, else_branch=_branch())
            inner = _branch(choice)
        model = onnx_files.model([choice], {"yes": np.array(True)})
    expected = ours.load(onnx_files.save(model, tmp_path))["lstm"].weights.R
    _external(model, tmp_path)
    path = onnx_files.save(model, tmp_path, "external.onnx")
    assert path.stat().st_size < 2000
    np.testing.assert_array_equal(ours.load(path)["lstm"].weights.R, expected)
    assert ours.files(path) == [path, tmp_path / "weights.bin"]
