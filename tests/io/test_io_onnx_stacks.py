"""Sizes between the layers of ONNX models: what fits only some of them is no stack, beside ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import onnx_files
from support.onnx_files import helper, onnx

from numba_lstm.io import onnx as ours

pytestmark = pytest.mark.usefixtures("threads")

HIDDEN, WIDTH = 4, 3
SWAP = helper.make_node("Transpose", ["I"], ["X"], perm=[1, 0, 2])
TWICE = [
    helper.make_node("Transpose", ["I"], ["It"], perm=[2, 0, 1]),
    helper.make_node("Relu", ["It"], ["Ir"]),
    helper.make_node("Transpose", ["Ir"], ["X"], perm=[2, 1, 0]),
]
BY_WINDOWS = [
    helper.make_node("Transpose", ["I"], ["It"], perm=[0, 2, 1]),
    helper.make_node("MaxPool", ["It"], ["Ip"], kernel_shape=[1]),
    helper.make_node("Transpose", ["Ip"], ["X"], perm=[2, 0, 1]),
]
"""Of what goes over the steps with a window, nobody follows how many there are."""
BEFORE = {"swap": [SWAP], "twice": TWICE, "windows": BY_WINDOWS}
CUT = [helper.make_node("Slice", ["Y", "zero", "hundred", "zero"], ["Yc"])]


def _model(
    before: list[Any], declared: Any, shape: list[int], cut: bool = False, said: Any = None, layout: int = 0
) -> Any:
    """Return a model of two layers with a reshape between them."""
    generator = np.random.default_rng(40)
    arrays = onnx_files.random_arrays(generator, (WIDTH, HIDDEN), 1)
    upper = onnx_files.random_arrays(generator, (HIDDEN, HIDDEN), 1)
    constants = {"W": arrays["W"], "R": arrays["R"], "W2": upper["W"], "R2": upper["R"], "shape": np.array(shape)}
    constants |= {"zero": np.array([0]), "hundred": np.array([100])} if cut else {}
    perm = [0, 1, 2, 3] if layout else [0, 2, 1, 3]
    nodes = [
        *before,
        onnx_files.node(["X", "W", "R"], "lower", ["Y"], hidden_size=HIDDEN, layout=layout),
        *(CUT if cut else []),
        helper.make_node("Transpose", ["Yc" if cut else "Y"], ["Yt"], perm=perm),
        helper.make_node("Reshape", ["Yt", "shape"], ["Z"]),
        helper.make_node("LSTM", ["Z", "W2", "R2"], ["Y2"], "upper", hidden_size=HIDDEN, layout=layout),
    ]
    inputs = [onnx_files.value("I" if before else "X", declared)]
    made = onnx_files.model(nodes, constants, inputs, [onnx_files.value("Y2", None)])
    if said:
        made.graph.value_info.append(onnx_files.value("X", said))
    return made


@pytest.mark.parametrize("layout", [0, 1])
@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize(
    ("shape", "cut"),
    [([0, 0, -1], True), ([0, 0, 4], True), ([-1, 1, 4], False), ([3, -1, 4], False), ([3, 2, 4], False)],
    ids=str,
)
def test_what_fits_only_some_sizes_is_no_stack(
    shape: list[int], cut: bool, before: str, layout: int, tmp_path: Path
) -> None:
    """Also where the sizes of X have to be followed back to what the model is given, whatever it says of X."""
    for said in (None, [None, None, WIDTH]):
        made = _model(BEFORE[before], ["n", "t", WIDTH], shape, cut, said, layout)
        with pytest.raises(ValueError, match="'upper' does not read the output of 'lower', as far as can be seen"):
            ours.load_lstm(onnx_files.save(made, tmp_path))


def test_the_sizes_of_an_example_decide_nothing(tmp_path: Path) -> None:
    """An exporter may leave them although the input of the model is open."""
    made = _model([SWAP], ["n", "t", WIDTH], [0, 0, -1], cut=True, said=[50, 2, WIDTH])
    with pytest.raises(ValueError, match="'upper' does not read the output of 'lower'"):
        ours.load_lstm(onnx_files.save(made, tmp_path))


@pytest.mark.parametrize("shape", [[-1, 1, 4], [-1, 2, 4], [3, -1, 4], [3, 0, 4]], ids=str)
def test_one_size_that_is_fixed_where_nothing_is_declared(shape: list[int], tmp_path: Path) -> None:
    """Other sizes would be divided anew."""
    with pytest.raises(ValueError, match="'upper' does not read the output of 'lower'"):
        ours.load_lstm(onnx_files.save(_model([], None, shape), tmp_path))


@pytest.mark.parametrize(
    ("declared", "shape"),
    [([2, 6, WIDTH], [6, 2, 4]), (["n", 6, WIDTH], [6, -1, 4]), ([1, 12, WIDTH], [1, -1, 4])],
    ids=str,
)
def test_a_reshape_does_not_tell_the_sizes_that_come_to_it(declared: Any, shape: list[int], tmp_path: Path) -> None:
    """It may be the one which divides the numbers anew."""
    with pytest.raises(ValueError, match="'upper' does not read the output of 'lower'"):
        ours.load_lstm(onnx_files.save(_model(BY_WINDOWS, declared, shape), tmp_path))


@pytest.mark.parametrize("said", [[50, None, WIDTH], [50, 2, WIDTH]], ids=str)
def test_sizes_that_are_said_where_more_are_open(said: list[Any], tmp_path: Path) -> None:
    made = _model(BY_WINDOWS, ["n", "t", WIDTH], [0, 0, -1], cut=True, said=said)
    with pytest.raises(ValueError, match="'upper' does not read the output of 'lower'"):
        ours.load_lstm(onnx_files.save(made, tmp_path))


@pytest.mark.parametrize("way", ["a share", "a limit", "whole thirds", "as many rows as steps", "repeated"])
def test_cuts_that_are_computed(way: str, tmp_path: Path) -> None:
    """Some sizes are left whole, whichever are tried."""
    runtime = pytest.importorskip("onnxruntime")
    node, made = helper.make_node, _model([], ["t", "n", WIDTH], [0, 0, -1])
    there = node("Cast", ["t"], ["f"], to=onnx.TensorProto.FLOAT)
    back = node("Cast", ["g"], ["end"], to=onnx.TensorProto.INT64)
    computed = {
        "a share": [there, node("Mul", ["f", "share"], ["p"]), node("Ceil", ["p"], ["g"]), back],
        "a limit": [there, node("Min", ["f", "most"], ["g"]), back],
        "whole thirds": [node("Div", ["t", "three"], ["d"]), node("Mul", ["d", "three"], ["end"])],
        "as many rows as steps": [node("Identity", ["t"], ["end"])],
        "repeated": [there, node("Mul", ["f", "little"], ["p"]), node("Ceil", ["p"], ["g"]), back],
    }[way]
    axis = "two" if way == "as many rows as steps" else "zero"
    sizes = [node("Shape", ["Y"], ["sizes"]), node("Gather", ["sizes", "zero"], ["t"])]
    cut = node("Slice", ["Y", "zero", "end", axis], ["Yc"])
    if way == "repeated":
        computed.append(node("Concat", ["one", "one", "end", "one"], ["times"], axis=0))
        cut = node("Tile", ["Y", "times"], ["Yc"])
    made.graph.node.insert(1, cut)
    for each in reversed([*sizes, *computed]):
        made.graph.node.insert(1, each)
    (transpose,) = (each for each in made.graph.node if each.op_type == "Transpose")
    transpose.input[0] = "Yc"
    constants: dict[str, Any] = {"zero": [0], "one": [1], "two": [2], "three": [3]}
    constants |= {"share": np.float32([0.95]), "most": np.float32([100]), "little": np.float32([0.01])}
    made.graph.initializer.extend(onnx.numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items())
    path = onnx_files.save(made, tmp_path)
    runtime.InferenceSession(path).run(None, {"X": np.ones((4, 5, WIDTH), np.float32)})
    with pytest.raises(ValueError, match=f"'lower', .*: {cut.op_type} '' on the way takes what a computation says"):
        ours.load_lstm(path)


@pytest.mark.parametrize("limit", [100, 100.5, np.float32(100), np.float64(1e3)], ids=repr)
def test_a_branch_that_is_taken_beyond_some_size(limit: Any, tmp_path: Path) -> None:
    """Steps are left whole up to a limit, which may be of any type."""
    node, made = helper.make_node, _model([], ["t", "n", WIDTH], [0, 0, -1], cut=True)
    limit = np.asarray(limit)
    kind = onnx.helper.np_dtype_to_tensor_dtype(limit.dtype)
    ways = {
        "then_branch": node("Slice", ["Y", "zero", "hundred", "zero"], ["c"]),
        "else_branch": node("Identity", ["Y"], ["d"]),
    }
    branches = {
        name: helper.make_graph([way], name, [], [onnx_files.value(way.output[0], None)]) for name, way in ways.items()
    }
    (old,) = (each for each in made.graph.node if each.op_type == "Slice")
    made.graph.node.remove(old)
    for each in reversed([
        node("Shape", ["Y"], ["sizes"]),
        node("Gather", ["sizes", "first"], ["t"]),
        node("Cast", ["t"], ["f"], to=kind),
        node("Greater", ["f", "limit"], ["more"]),
        node("If", ["more"], ["Yc"], **branches),
    ]):
        made.graph.node.insert(1, each)
    constants = {"first": np.array(0), "limit": limit}
    made.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in constants.items())
    with pytest.raises(ValueError, match="something is done to it on the way"):
        ours.load_lstm(onnx_files.save(made, tmp_path))


TAKEN: dict[str, tuple[str, Any, list[int], bool, Any]] = {
    "open": ("swap", ["n", "t", WIDTH], [0, 0, -1], False, None),
    "open, by a rule": ("twice", ["n", "t", WIDTH], [0, 0, 4], False, None),
    "open, not followed": ("windows", ["n", "t", WIDTH], [0, -1, 4], False, None),
    "fixed, cut behind all": ("swap", [2, 6, WIDTH], [0, 0, -1], True, None),
    "fixed and written out": ("swap", [2, 6, WIDTH], [6, 2, 4], False, None),
    "fixed in part": ("swap", [2, 6, WIDTH], [6, -1, 4], False, None),
    "rows are fixed": ("swap", [2, "t", WIDTH], [-1, 2, 4], False, None),
    "steps are fixed": ("swap", ["n", 6, WIDTH], [6, -1, 4], False, None),
    "rows are fixed, steps not followed": ("windows", [2, 6, WIDTH], [-1, 2, 4], False, None),
    "steps are said": ("windows", ["n", 6, WIDTH], [0, 0, 4], True, [6, None, WIDTH]),
    "nothing is declared": ("", None, [0, 0, 4], False, None),
    "nothing is declared, all is written out": ("", None, [6, 2, 4], False, None),
}  # fmt: skip


@pytest.mark.parametrize("way", TAKEN)
def test_what_fits_all_sizes_is_one_lstm(way: str, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    before, declared, shape, cut, said = TAKEN[way]
    made = _model(BEFORE.get(before, []), declared, shape, cut, said)
    path = onnx_files.save(made, tmp_path)
    lstm = ours.load_lstm(path)
    session = runtime.InferenceSession(path)
    x = np.random.default_rng(41).standard_normal((6, 2, WIDTH)).astype(np.float32)
    (expected,) = session.run(None, {"I": x.transpose(1, 0, 2)} if before else {"X": x})
    seen = np.maximum(x, 0) if before == "twice" else x
    np.testing.assert_allclose(lstm(seen)[0], expected[:, 0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("end", [2**31 - 1, 2**31, 2**63 - 1])
def test_slices_to_the_end_cut_nothing(end: int, tmp_path: Path) -> None:
    """Exporters write the largest integer of 32 or of 64 bits."""
    made = _model([SWAP], ["n", "t", WIDTH], [0, 0, -1], cut=True)
    (tensor,) = (each for each in made.graph.initializer if each.name == "hundred")
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.array([end]), "hundred"))
    assert ours.load_lstm(onnx_files.save(made, tmp_path)).num_layers == 2


def test_layers_in_a_branch_follow_what_is_around_it(tmp_path: Path) -> None:
    inner = _model([SWAP], ["n", "t", WIDTH], [0, 0, -1], cut=True).graph
    yes = {"yes": np.array(True)}
    given = [onnx_files.value("I", ["n", "t", WIDTH])]
    del inner.input[:]
    for swapped_inside in (True, False):
        outside = [] if swapped_inside else [SWAP]
        if not swapped_inside:
            del inner.node[0]
        choice = helper.make_node("If", ["yes"], ["out"], then_branch=inner, else_branch=inner)
        made = onnx_files.model([*outside, choice], yes, given, [onnx_files.value("out", None)])
        path = onnx_files.save(made, tmp_path)
        names = [name for name in ours.load(path) if "then_branch" in name]
        with pytest.raises(ValueError, match="does not read the output of"):
            ours.load_lstm(path, names)
