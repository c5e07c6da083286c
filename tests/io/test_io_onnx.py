"""LSTM nodes of ONNX files: the operator's own call, stacks of layers, refusals, and damage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import general_oracle, onnx_files
from support.onnx_files import helper, onnx

from numba_lstm.io import onnx as ours

pytestmark = pytest.mark.usefixtures("threads")

STEPS, ROWS, SIZES = 7, 4, (3, 5)


def reordered(array: np.ndarray) -> np.ndarray:
    """Gates i, o, f, c to i, f, g, o."""
    i, o, f, c = np.split(array, 4)
    return np.concatenate([i, f, c, o])


def parameters(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return a node's weights by torch's names."""
    named = {}
    for direction, suffix in zip(range(len(arrays["W"])), ("_l0", "_l0_reverse"), strict=False):
        named["weight_ih" + suffix] = reordered(arrays["W"][direction])
        named["weight_hh" + suffix] = reordered(arrays["R"][direction])
        bias = arrays.get("B", np.zeros((2, 8 * arrays["R"].shape[2])))[direction]
        named["bias_ih" + suffix], named["bias_hh" + suffix] = map(reordered, np.split(bias, 2))
    return named


def one(arrays: dict[str, np.ndarray], folder: Path, **attributes: Any) -> ours.Node:
    """Return the node of a model that has no other."""
    made = onnx_files.model([onnx_files.node(["X", *arrays], **attributes)], arrays)
    return ours.load(onnx_files.save(made, folder))["lstm"]


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(1)
    return {name: array for name, array in onnx_files.random_arrays(generator, SIZES, 1).items() if name != "P"}


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(2).standard_normal((STEPS, ROWS, SIZES[0])).astype(np.float32)


# --- the call ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("directions", [1, 2])
def test_a_node_beside_the_oracle(directions: int, dtype: type, tmp_path: Path) -> None:
    """float64 too, which ONNX Runtime does not have."""
    generator = np.random.default_rng(3)
    arrays = onnx_files.random_arrays(generator, SIZES, directions, dtype)
    x = generator.standard_normal((STEPS, ROWS, SIZES[0])).astype(dtype)
    names = ["HardSigmoid", "ScaledTanh", "Softsign"] * directions
    numbers = {"activation_alpha": [0.3, 1.5] * directions, "activation_beta": [0.5, 0.7] * directions}
    direction = "bidirectional" if directions == 2 else "forward"
    node = one(arrays, tmp_path, direction=direction, activations=names, clip=0.8, **numbers)
    assert node.dtype == dtype
    function = general_oracle.function
    numbers32 = np.float32([0.3, 0.5, 1.5, 0.7]).astype(float)
    rule = (function("HardSigmoid", *numbers32[:2]), function("ScaledTanh", *numbers32[2:]), function("Softsign"))
    look = [side.reshape(3, -1)[[0, 2, 1]] for side in arrays["P"]]
    clip = float(np.float32(0.8))
    y, h, c = general_oracle.lstm(parameters(arrays), x, [rule] * directions, clip, peepholes=look)
    got = node(x)
    atol = 1e-6 if dtype is np.float32 else 1e-14
    np.testing.assert_allclose(got.Y.transpose(0, 2, 1, 3).reshape(y.shape), y, rtol=0, atol=atol)
    np.testing.assert_allclose(got.Y_h, h, rtol=0, atol=atol)
    np.testing.assert_allclose(got.Y_c, c, rtol=0, atol=atol)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_layout_1_is_the_same_with_the_batch_first(direction: str, tmp_path: Path) -> None:
    generator = np.random.default_rng(4)
    directions = 2 if direction == "bidirectional" else 1
    arrays = onnx_files.random_arrays(generator, SIZES, directions)
    x = generator.standard_normal((STEPS, ROWS, SIZES[0])).astype(np.float32)
    states = generator.standard_normal((2, directions, ROWS, SIZES[1])).astype(np.float32)
    lengths = np.array([7, 3, 0, 5])
    first = one(arrays, tmp_path, direction=direction)(x, lengths, *states)
    node = one(arrays, tmp_path, direction=direction, layout=1)
    assert node.layout == 1
    second = node(x.transpose(1, 0, 2), lengths, *(state.transpose(1, 0, 2) for state in states))
    np.testing.assert_array_equal(second.Y, first.Y.transpose(2, 0, 1, 3))
    np.testing.assert_array_equal(second.Y_h, first.Y_h.transpose(1, 0, 2))
    np.testing.assert_array_equal(second.Y_c, first.Y_c.transpose(1, 0, 2))
    assert all(array.flags.c_contiguous for array in second)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_lengths_change_no_bit(direction: str, tmp_path: Path) -> None:
    """Every row is what it is alone and unpadded."""
    generator = np.random.default_rng(5)
    directions = 2 if direction == "bidirectional" else 1
    node = one(onnx_files.random_arrays(generator, (9, 17), directions), tmp_path, direction=direction)
    x = generator.standard_normal((STEPS, ROWS, 9)).astype(np.float32)
    h, c = generator.standard_normal((2, directions, ROWS, 17)).astype(np.float32)
    lengths = np.array([5, 0, 7, 1], np.int32)
    Y, Y_h, Y_c = node(x, lengths, h, c)
    for row, length in enumerate(lengths):
        assert not Y[length:, :, row].any()
        if not length:
            assert not Y_h[:, row].any()
            assert not Y_c[:, row].any()
            continue
        mine = slice(row, row + 1)
        alone = node(x[:length, mine], None, h[:, mine], c[:, mine])
        np.testing.assert_array_equal(alone.Y, Y[:length, :, mine])
        np.testing.assert_array_equal(alone.Y_h, Y_h[:, mine])
        np.testing.assert_array_equal(alone.Y_c, Y_c[:, mine])


def test_constants_of_the_file_are_taken(arrays: dict[str, np.ndarray], x: np.ndarray, tmp_path: Path) -> None:
    generator = np.random.default_rng(6)
    plain = one(arrays, tmp_path)
    h, c = generator.standard_normal((2, 1, ROWS, SIZES[1])).astype(np.float32)
    lengths = np.array([7, 2, 3, 1], np.int32)
    node = one(arrays | {"initial_h": h, "initial_c": c, "sequence_lens": lengths}, tmp_path)
    expected = plain(x, lengths, h, c)
    for mine, other in zip(node(x), expected, strict=True):
        np.testing.assert_array_equal(mine, other)
    given = node(x, np.full(ROWS, STEPS), h + 1, c - 1)  # what the caller gives comes first
    for mine, other in zip(given, plain(x, None, h + 1, c - 1), strict=True):
        np.testing.assert_array_equal(mine, other)


def test_one_state_alone(arrays: dict[str, np.ndarray], x: np.ndarray, tmp_path: Path) -> None:
    node = one(arrays, tmp_path)
    h = np.ones((1, ROWS, SIZES[1]), np.float32)
    for mine, other in zip(node(x, initial_h=h), node(x, None, h, np.zeros_like(h)), strict=True):
        np.testing.assert_array_equal(mine, other)


def test_half_precision_is_widened(arrays: dict[str, np.ndarray], x: np.ndarray, tmp_path: Path) -> None:
    halves = {name: array.astype(np.float16) for name, array in arrays.items()}
    node = one(halves, tmp_path)
    assert node.dtype == np.float32
    wide = one({name: array.astype(np.float32) for name, array in halves.items()}, tmp_path)
    x = x.astype(np.float16)
    np.testing.assert_array_equal(node(x).Y, wide(x.astype(np.float32)).Y)


def test_masks_are_not_dropped(arrays: dict[str, np.ndarray], x: np.ndarray, tmp_path: Path) -> None:
    node, state = one(arrays, tmp_path), np.ones((1, ROWS, SIZES[1]), np.float32)
    with pytest.raises(TypeError, match="X is a masked array"):
        node(np.ma.masked_array(x))
    with pytest.raises(TypeError, match="initial_h is a masked array"):
        node(x, None, np.ma.masked_array(state), state)
    with pytest.raises(TypeError, match="sequence_lens is a masked array"):
        node(x, np.ma.masked_array(np.ones(ROWS, np.int32)))


def test_memory_of_any_kind(arrays: dict[str, np.ndarray], x: np.ndarray, tmp_path: Path) -> None:
    node = one(arrays, tmp_path)
    expected = node(x).Y
    for other in (np.asfortranarray(x), np.repeat(x, 2, axis=2)[..., ::2], x.astype(">f4")):
        np.testing.assert_array_equal(node(other).Y, expected)
    assert node(x[:, :0]).Y.shape == (STEPS, 1, 0, SIZES[1])


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"X": np.zeros((7, 4, 2), np.float32)}, ValueError, r"X should have shape \(any, any, 3\), got: \(7, 4, 2\)"),
        ({"X": np.zeros((4, 3), np.float32)}, ValueError, "X should have shape"),
        ({"X": np.zeros((7, 4, 3))}, TypeError, "X should be float32, got: float64"),
        ({"X": np.zeros((0, 4, 3), np.float32)}, ValueError, "X has no steps"),
        ({"sequence_lens": [1, 2, 3]}, ValueError, r"sequence_lens should have shape \(4,\), got: \(3,\)"),
        ({"sequence_lens": [1, 2, 3, 8]}, ValueError, "sequence_lens should be from 0 to 7, got: 1 to 8"),
        ({"sequence_lens": [1, -2, 3, 4]}, ValueError, "got: -2 to 4"),
        ({"sequence_lens": [1.0, 2, 3, 4]}, TypeError, "sequence_lens should be integers, got: float64"),
        ({"initial_h": np.zeros((4, 5), np.float32)}, ValueError, r"initial_h should have shape \(1, 4, 5\)"),
        ({"initial_c": np.zeros((1, 4, 5))}, TypeError, "initial_c should be float32"),
        ({"initial_c": "zeros"}, ValueError, "initial_c should have shape"),
    ],
)
def test_wrong_arguments(
    change: dict[str, Any],
    error: type[Exception],
    words: str,
    arrays: dict[str, np.ndarray],
    x: np.ndarray,
    tmp_path: Path,
) -> None:
    node = one(arrays, tmp_path)
    with pytest.raises(error, match=words):
        node(**({"X": x} | change))


# --- what is in a file ------------------------------------------------------------------------------------


def test_names(arrays: dict[str, np.ndarray], tmp_path: Path) -> None:
    """A node's own; its output's; its surroundings' and its own where that is not the only one."""
    inner = [onnx_files.node(["X", *arrays], name, [output]) for name, output in (("", "a"), ("cell", "b"))]
    branches = [helper.make_graph(inner, "inner", [], [onnx_files.value("a", None)]) for _ in range(2)]
    choice = helper.make_node("If", ["flag"], ["Z"], "choice", then_branch=branches[0], else_branch=branches[1])
    outer = [onnx_files.node(["X", *arrays], name, [name or "c"]) for name in ("", "encoder")]
    nodes = ours.load(onnx_files.save(onnx_files.model([*outer, choice], arrays), tmp_path))
    inside = [f"choice/{branch}/{name}" for branch in ("then_branch", "else_branch") for name in ("a", "cell")]
    assert set(nodes) == {"c", "encoder", *inside}
    with pytest.raises(KeyError, match="no recurrent node 'decoder'; found: 'c', 'encoder'"):
        nodes["decoder"]


def refused(made: Any, folder: Path) -> str:
    """Return the reason why the only recurrent node of a model cannot be taken; as three ways of asking give it."""
    path = onnx_files.save(made, folder)
    with pytest.raises(ValueError, match="no LSTM node that can be taken") as error:
        ours.load(path)
    (found,) = ours.describe(path)
    assert found.obstacle is not None
    assert found.obstacle in str(error.value)
    with pytest.raises(ValueError) as again:  # noqa: PT011
        ours.load_lstm(path)
    assert str(again.value) == f"{path}: {found.obstacle}"
    return found.obstacle


@pytest.mark.parametrize("kind", ["GRU", "RNN"])
def test_other_operators_are_refused_by_name(kind: str, arrays: dict[str, np.ndarray], tmp_path: Path) -> None:
    made = onnx_files.model([helper.make_node(kind, ["X", "W", "R"], ["Y"], name="other")], arrays)
    words = refused(made, tmp_path)
    assert words.startswith(f"{kind} is not the operator LSTM")
    assert words.endswith("run this node with ONNX Runtime")


def test_quantised_and_custom_nodes_are_refused_by_name(arrays: dict[str, np.ndarray], tmp_path: Path) -> None:
    inputs = ["X", "W", "R", "B"]
    quantised = helper.make_node("QLinearLSTM", inputs, ["Y"], name="q", domain="com.microsoft")
    assert "before it was quantised" in refused(onnx_files.model([quantised], arrays), tmp_path)
    custom = helper.make_node("LSTM", inputs, ["Y"], name="q", domain="my.company")
    assert refused(onnx_files.model([custom], arrays), tmp_path).startswith("my.company.LSTM is not the operator LSTM")


def test_a_function_with_a_node_in_it_is_refused(arrays: dict[str, np.ndarray], tmp_path: Path) -> None:
    opsets = [helper.make_opsetid("", 14)]
    body = [onnx_files.node(["X", "W", "R"], outputs=["Y"])]
    function = helper.make_function("mine", "Encoder", ["X", "W", "R"], ["Y"], body, opsets)
    call = helper.make_node("Encoder", ["X", "W", "R"], ["Y"], name="call", domain="mine")
    made = onnx_files.model([call], arrays)
    made.functions.append(function)
    assert "inline it with onnx.inliner" in refused(made, tmp_path)


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"direction": "sideways"}, "its direction is 'sideways'"),
        ({"hidden_size": 6}, "its hidden_size is 6, and its R is for 5"),
        ({"clip": -1.0}, "its clip is -1.0"),
        ({"layout": 2}, "its layout is 2"),
        ({"activations": ["Sigmoid"]}, "it has 1 activations, and 1 directions need 3"),
        ({"activations": ["Sigmoid", "Mish", "Tanh"]}, "its activation 'Mish' is not known here"),
        ({"activations": ["Sigmoid", "Affine", "Tanh"]}, "its activation Affine comes without alpha or beta"),
        ({"direction": "bidirectional"}, r"its W has shape \(1, 20, 3\), not \(2, 20, 3\)"),
    ],
)
def test_attributes_that_fit_nothing(
    attributes: dict[str, Any], words: str, arrays: dict[str, np.ndarray], tmp_path: Path
) -> None:
    made = onnx_files.model([onnx_files.node(["X", *arrays], **attributes)], arrays)
    with pytest.raises(ValueError, match=words):
        ours.load(onnx_files.save(made, tmp_path))
    refused(made, tmp_path)


def test_weights_that_the_model_computes_are_refused(arrays: dict[str, np.ndarray], tmp_path: Path) -> None:
    lstm = onnx_files.node(["X", *arrays])
    given = {name: array for name, array in arrays.items() if name != "R"}
    words = refused(onnx_files.model([lstm], given, [onnx_files.value("R", [1, 20, 5])]), tmp_path)
    assert "its R is not in the file: 'R' is given when the model runs" in words
    product = helper.make_node("MatMul", ["a", "R0"], ["R"])
    words = refused(onnx_files.model([product, lstm], given | {"R0": arrays["R"]}), tmp_path)
    assert "its R is not in the file: MatMul computes it" in words


def test_weights_are_found_behind_what_exporters_leave(
    arrays: dict[str, np.ndarray], x: np.ndarray, tmp_path: Path
) -> None:
    """Constants, slices that reorder gates, casts of halves, and initializers that are inputs as well."""
    gates = "i", "o", "f", "c"
    torchs = {name: arrays[name][0] for name in ("W", "R")}
    nodes, constants = [], {}
    for name, array in torchs.items():
        i, o, f, c = np.split(array, 4)
        constants[f"{name}_torch"] = np.concatenate([i, f, c, o]).astype(np.float16)
        nodes.append(helper.make_node("Cast", [f"{name}_torch"], [f"{name}_wide"], to=onnx.TensorProto.FLOAT))
        for gate, start in zip(gates, (0, 15, 5, 10), strict=True):
            ends = [np.array([start]), np.array([start + 5]), np.array([0])]
            for part, value in zip(("start", "end", "axis"), ends, strict=True):
                tensor = onnx.numpy_helper.from_array(value)
                nodes.append(helper.make_node("Constant", [], [f"{name}{gate}{part}"], value=tensor))
            cut = [f"{name}_wide", *(f"{name}{gate}{part}" for part in ("start", "end", "axis"))]
            nodes.append(helper.make_node("Slice", cut, [f"{name}{gate}"]))
        nodes.append(helper.make_node("Concat", [f"{name}{gate}" for gate in gates], [f"{name}2"], axis=0))
        nodes.append(helper.make_node("Unsqueeze", [f"{name}2", "first"], [name]))
    constants |= {"first": np.array([0]), "B": arrays["B"]}
    nodes.append(onnx_files.node(["X", "W", "R", "B"]))
    made = onnx_files.model(nodes, constants, [onnx_files.value("B", [1, 40])])
    node = ours.load(onnx_files.save(made, tmp_path))["lstm"]
    expected = one(arrays | {n: arrays[n].astype(np.float16).astype(np.float32) for n in torchs}, tmp_path)
    np.testing.assert_array_equal(node(x).Y, expected(x).Y)


def test_tensors_in_other_files(arrays: dict[str, np.ndarray], x: np.ndarray, tmp_path: Path) -> None:
    made = onnx_files.model([onnx_files.node(["X", *arrays])], arrays)
    expected = ours.load(onnx_files.save(made, tmp_path))["lstm"](x).Y
    folder = tmp_path / "external"
    folder.mkdir()
    path = folder / "model.onnx"
    onnx.save_model(made, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert not made.graph.initializer[0].raw_data
    np.testing.assert_array_equal(ours.load(path)["lstm"](x).Y, expected)
    content = (folder / "weights.bin").read_bytes()
    (folder / "weights.bin").write_bytes(content[:-4])
    with pytest.raises(ValueError, match=r"weights\.bin ends before it"):
        ours.load(path)
    (folder / "weights.bin").unlink()
    with pytest.raises(ValueError, match="no such file is beside the model"):
        ours.load(path)


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/hosts", "", "link.bin", "sub/../../secret.bin", "9" * 300])
def test_tensors_elsewhere_are_not_read(location: str, arrays: dict[str, np.ndarray], tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(10_000))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    made = onnx_files.model([onnx_files.node(["X", *arrays])], arrays)
    onnx.external_data_helper.set_external_data(made.graph.initializer[0], location or "x")
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    if not location:
        del tensor.external_data[:]
    with pytest.raises(ValueError, match="no such file is beside the model"):
        ours.load(onnx_files.save(made, folder))


def test_traps_are_refused(arrays: dict[str, np.ndarray], tmp_path: Path) -> None:
    """Small files that would become large: constants that grow, weights for thousands of nodes."""
    nodes = [helper.make_node("Concat", [f"W{n}"] * 50, [f"W{n + 1}"], axis=0) for n in range(8)]
    grow = {"W0": np.zeros((10, 3), np.float32), "R": arrays["R"]}
    made = onnx_files.model([*nodes, helper.make_node("LSTM", ["X", "W8", "R"], ["Y"])], grow)
    with pytest.raises(ValueError, match="makes more of it than the file has"):
        ours.load(onnx_files.save(made, tmp_path))
    column = np.zeros((30_000, 1), np.float32)
    product = helper.make_node("Mul", ["a", "b"], ["W"])
    made = onnx_files.model([product, onnx_files.node(["X", "W", "R"])], {"a": column, "b": column.T, "R": arrays["R"]})
    with pytest.raises(ValueError, match="Mul makes more of it than the file has"):
        ours.load(onnx_files.save(made, tmp_path))
    halves = {name: np.zeros((1, 4 * 256, 256), np.float16) for name in ("W0", "R0")}
    nodes = []
    for n in range(50):
        nodes += [helper.make_node("Cast", [f"{a}0"], [f"{a}{n}w"], to=1) for a in "WR"]
        nodes.append(helper.make_node("LSTM", ["X", f"W{n}w", f"R{n}w"], [f"Y{n}"], name=str(n)))
    found = ours.load(onnx_files.save(onnx_files.model(nodes, halves), tmp_path))
    assert 1 <= len(found) < 20
    assert "far larger than its file" in found.obstacles["49"]
    loop = [helper.make_node("Identity", [a], [b]) for a, b in (("W", "V"), ("V", "W"))]
    made = onnx_files.model([*loop, onnx_files.node(["X", "W", "R"])], {"R": arrays["R"]})
    with pytest.raises(ValueError, match="its computation is too long"):
        ours.load(onnx_files.save(made, tmp_path))


TWICE: dict[str, tuple[list[Any], list[str]]] = {
    "two nodes": ([helper.make_node("Neg", ["W0"], ["W"]), helper.make_node("Identity", ["W0"], ["W"])], ["W0"]),
    "one node": ([helper.make_node("Split", ["W0"], ["W", "W"], axis=2)], ["W0"]),
    "a node and an initializer": ([helper.make_node("Neg", ["W0"], ["W"])], ["W0", "W"]),
    "a node and an input": ([helper.make_node("Neg", ["W0"], ["W"])], ["W0"]),
    "two initializers": ([], ["W", "W"]),
    "a sparse initializer and another": ([], ["W"]),
    "a sparse initializer and a node": ([helper.make_node("Neg", ["W0"], ["W"])], ["W0"]),
    "two inputs": ([], ["W"]),
}


@pytest.mark.parametrize("inner", [False, True], ids=["graph", "branch"])
@pytest.mark.parametrize("way", TWICE)
def test_tensors_that_are_defined_twice_are_refused(
    way: str, inner: bool, arrays: dict[str, np.ndarray], tmp_path: Path
) -> None:
    """Which of them is meant nobody can tell.  An initializer may be an input as well, which has it as its default."""
    nodes, names = TWICE[way]
    lstm = onnx_files.node(["X", "W", "R", "B"])
    graph = helper.make_graph([*nodes, lstm], "graph", [], [onnx_files.value("Y", None)])
    for number, name in enumerate(names):
        graph.initializer.append(onnx.numpy_helper.from_array(arrays["W"] + number, name))
    if way.startswith("a sparse"):
        one = onnx.numpy_helper.from_array(np.ones(1, np.float32), "W"), onnx.numpy_helper.from_array(np.zeros(1, int))
        graph.sparse_initializer.append(helper.make_sparse_tensor(*one, arrays["W"].shape))
    for _ in range({"a node and an input": 1, "two inputs": 2}.get(way, 0)):
        graph.input.append(onnx_files.value("W", arrays["W"].shape))
    outer = [helper.make_node("If", ["yes"], ["Z"], then_branch=graph, else_branch=graph)] if inner else []
    made = onnx_files.model(outer, {name: arrays[name] for name in "RB"} | {"yes": np.array(True)})
    if not inner:
        graph.initializer.extend(made.graph.initializer)
        made.graph.CopyFrom(graph)
    path = onnx_files.save(made, tmp_path)
    for load in (ours.load, ours.load_lstm, ours.describe):
        with pytest.raises(ValueError, match=f"^{path}: more than one tensor is named 'W'"):
            load(path)


@pytest.mark.parametrize("content", [b"", b"\x00", b"PK\x03\x04", b"\x08\x08\x3a\xff", bytes(1000)])
def test_what_is_no_model(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^{path}: no"):
        ours.load(path)
    with pytest.raises(FileNotFoundError):
        ours.load(tmp_path / "none.onnx")


# --- joining ----------------------------------------------------------------------------------------------


def stack(kind: str, directions: int, generator: np.random.Generator, layers: int = 3) -> tuple[Any, list[str]]:
    """Return a model of stacked nodes, with what ``kind`` of exporter puts between them."""
    width, hidden = SIZES
    nodes: list[Any] = []
    constants: dict[str, np.ndarray] = {"axis": np.array([1]), "shape": np.array([0, 0, -1])}
    names = [f"layer{n}" for n in range(layers)]
    source, layout = "X", int(kind == "layout")
    for n, name in enumerate(names):
        weights = onnx_files.random_arrays(generator, (width if not n else directions * hidden, hidden), directions)
        constants |= {f"{a}{n}": weights[a] for a in "WRB"}
        direction = "bidirectional" if directions == 2 else "forward"
        inputs = [source, *(f"{a}{n}" for a in "WRB")]
        nodes.append(helper.make_node("LSTM", inputs, [f"Y{n}"], name=name, direction=direction, layout=layout))
        source = f"X{n}"
        if kind == "split":
            parts = [f"P{n}{d}" for d in range(directions)]
            nodes.append(helper.make_node("Split", [f"Y{n}"], parts, axis=1))
            nodes += [helper.make_node("Squeeze", [part, "axis"], [part + "s"]) for part in parts]
            nodes.append(helper.make_node("Concat", [part + "s" for part in parts], [source], axis=2))
        elif kind == "layout":
            nodes.append(helper.make_node("Reshape", [f"Y{n}", "shape"], [source]))
        else:
            perm = [0, 2, 1, 3] if kind == "transpose" else [0, 2, 3, 1]
            nodes.append(helper.make_node("Transpose", [f"Y{n}"], [f"T{n}"], perm=perm))
            nodes.append(helper.make_node("Dropout", [f"T{n}"], [f"D{n}"]))
            nodes.append(helper.make_node("Reshape", [f"D{n}", "shape"], [source]))
    return onnx_files.model(nodes, constants), names


def one_by_one(nodes: ours.Nodes, names: list[str], x: np.ndarray) -> np.ndarray:
    for name in names:
        y = nodes[name](x).Y
        y = y if nodes[name].layout else y.transpose(0, 2, 1, 3)
        x = np.ascontiguousarray(y.reshape(*y.shape[:2], -1))
    return x


@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("kind", ["transpose", "split", "layout"])
def test_a_stack_is_one_lstm(kind: str, directions: int, x: np.ndarray, tmp_path: Path) -> None:
    made, names = stack(kind, directions, np.random.default_rng(7))
    path = onnx_files.save(made, tmp_path)
    lstm = ours.load_lstm(path)
    assert (lstm.num_layers, lstm.bidirectional, lstm.batch_first) == (3, directions == 2, kind == "layout")
    assert not lstm.training
    expected = one_by_one(ours.load(path), names, x)
    np.testing.assert_array_equal(lstm(x)[0], expected)
    upper = ours.load_lstm(path, names[1:])
    assert upper.num_layers == 2
    single = ours.load_lstm(path, "layer0")
    np.testing.assert_array_equal(upper(single(x)[0])[0], expected)


def test_what_is_no_stack(tmp_path: Path) -> None:
    made, _ = stack("wrong order of axes", 2, np.random.default_rng(8))
    path = onnx_files.save(made, tmp_path)
    with pytest.raises(ValueError, match="'layer1' does not read the output of 'layer0', as far as can be seen"):
        ours.load_lstm(path)
    made, _ = stack("transpose", 1, np.random.default_rng(8))
    path = onnx_files.save(made, tmp_path)
    with pytest.raises(ValueError, match="'layer1' does not read the output of 'layer2'"):
        ours.load_lstm(path, ["layer2", "layer1"])
    with pytest.raises(ValueError, match="'layer2' does not read the output of 'layer0'"):
        ours.load_lstm(path, ["layer0", "layer2"])
    with pytest.raises(ValueError, match="no recurrent node 'layer9'; found: 'layer0', 'layer1', 'layer2'"):
        ours.load_lstm(path, "layer9")
    for wrong in ([], ["layer0", "layer0"]):
        with pytest.raises(ValueError, match="nodes should be names, each once"):
            ours.load_lstm(path, wrong)


@pytest.mark.parametrize(
    ("wrong", "what"),
    [(5, "int"), (b"layer0", "bytes"), (True, "bool"), (["layer0", 1], "int"), ([None], "NoneType"), ([[]], "list")],
    ids=str,
)
def test_names_that_are_none(wrong: Any, what: str, tmp_path: Path) -> None:
    """The argument is named, whatever the file is."""
    made, _ = stack("transpose", 1, np.random.default_rng(8))
    for path in (onnx_files.save(made, tmp_path), tmp_path / "missing.onnx"):
        with pytest.raises(TypeError, match=f"^nodes should be a name, or names in a sequence, .*, got: {what}$"):
            ours.load_lstm(path, wrong)


def test_something_between_layers_is_seen(tmp_path: Path) -> None:
    """A scale; a residual; a layer of its own."""
    for kind, inputs in (("Mul", ["X0", "two"]), ("Relu", ["X0"]), ("Add", ["X0", "X0"])):
        made, _ = stack("transpose", 1, np.random.default_rng(8), layers=2)
        made.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(2), "two"))
        between = helper.make_node(kind, inputs, ["changed"])
        made.graph.node[-4].input[0] = "changed"
        assert made.graph.node[-4].op_type == "LSTM"
        made.graph.node.insert(len(made.graph.node) - 4, between)
        with pytest.raises(ValueError, match="does not read the output of 'layer0'"):
            ours.load_lstm(onnx_files.save(made, tmp_path))


def branch(nodes: list[Any], output: str, constants: dict[str, np.ndarray] | None = None) -> Any:
    tensors = [onnx.numpy_helper.from_array(array, name) for name, array in (constants or {}).items()]
    return helper.make_graph(nodes, "branch", [], [onnx_files.value(output, None)], tensors)


def choice(condition: str, output: str, then: Any, other: Any = None) -> Any:
    """Return an If; without another branch both are alike."""
    return helper.make_node("If", [condition], [output], then_branch=then, else_branch=then if other is None else other)


SQUEEZE = branch([helper.make_node("Squeeze", ["Y0", "one"], ["s"])], "s")
AS_IT_IS = branch([helper.make_node("Identity", ["Y0"], ["i"])], "i")
ONE_DIRECTION = [
    helper.make_node("Shape", ["Y0"], ["sizes"]),
    helper.make_node("Gather", ["sizes", "one"], ["count"]),
    helper.make_node("Equal", ["count", "one"], ["single"]),
]
"""What PyTorch's exporter writes before the If that it makes of a squeeze."""
FIRST_STEPS = {"from": np.array([0]), "until": np.array([100])}
RELU = helper.make_node("Relu", ["S0"], ["r"])
CUT = helper.make_node("Slice", ["S0", "from", "until", "from"], ["cut"])
AS_A_TRUTH = [
    helper.make_node("Slice", ["S0", "zeros", "ones", "axes"], ["number"]),
    helper.make_node("Cast", ["number"], ["truth"], to=onnx.TensorProto.BOOL),
]
CONDITIONS: dict[str, tuple[list[Any], str | None]] = {
    "squeezed if there is one direction": ([*ONE_DIRECTION, choice("single", "X0", SQUEEZE, AS_IT_IS)], None),
    "squeezed in an inner If": (
        [choice("yes", "X0", branch([choice("yes", "inner", SQUEEZE, AS_IT_IS)], "inner"))],
        None,
    ),
    "Relu after it": (
        [*ONE_DIRECTION, choice("single", "s0", SQUEEZE, AS_IT_IS), helper.make_node("Relu", ["s0"], ["X0"])],
        "Relu is done to it",
    ),
    "Relu in it": (
        [choice("yes", "X0", branch([SQUEEZE.node[0], helper.make_node("Relu", ["s"], ["r"])], "r"))],
        "Relu is done to it",
    ),
    "Relu in an inner If": (
        [choice("yes", "X0", branch([choice("yes", "a", branch([RELU], "r"))], "a"))],
        "Relu is done to it",
    ),
    "Relu after a branch that gives what is around it": (
        [choice("yes", "s0", branch([], "S0")), helper.make_node("Relu", ["s0"], ["X0"])],
        "Relu is done to it",
    ),
    "the first steps": ([choice("yes", "X0", branch([CUT], "cut", FIRST_STEPS))], "something is done to it"),
    "the first steps of an inner If": (
        [choice("yes", "X0", branch([choice("yes", "c", branch([CUT], "cut", FIRST_STEPS))], "c"))],
        "something is done to it",
    ),
    "by what is computed": (
        [*AS_A_TRUTH, choice("truth", "X0", branch([], "S0"), branch([RELU], "r"))],
        "If depends on it",
    ),
    "what it says is the place of": (
        [
            helper.make_node("Cast", ["S0"], ["places"], to=onnx.TensorProto.INT64),
            helper.make_node("Gather", ["ones", "places"], ["X0"]),
        ],
        "Gather depends on it",
    ),
}


@pytest.mark.parametrize("way", CONDITIONS)
def test_conditions_between_layers_hide_nothing(way: str, x: np.ndarray, tmp_path: Path) -> None:
    nodes, reason = CONDITIONS[way]
    made, names = stack("split", 1, np.random.default_rng(8), layers=2)
    lower, *_, upper = (place for place, node in enumerate(made.graph.node) if node.op_type == "LSTM")
    del made.graph.node[lower + 1 : upper]
    made.graph.node.insert(lower + 1, helper.make_node("Squeeze", ["Y0", "one"], ["S0"]))
    for place, node in enumerate(nodes):
        made.graph.node.insert(lower + 2 + place, node)
    constants = {"one": np.array([1]), "yes": np.array(True), "axes": np.arange(3)}
    constants |= {"zeros": np.zeros(3, np.int64), "ones": np.ones(3, np.int64)}
    made.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in constants.items())
    path = onnx_files.save(made, tmp_path)
    if reason is None:
        np.testing.assert_array_equal(ours.load_lstm(path)(x)[0], one_by_one(ours.load(path), names, x))
    else:
        with pytest.raises(ValueError, match=f"'layer1' does not read the output of 'layer0', .*: {reason} on the way"):
            ours.load_lstm(path)


@pytest.mark.parametrize("rows", [2**32, 2**40], ids=str)
def test_sizes_that_are_too_large_to_try(rows: int, tmp_path: Path) -> None:
    """Their product is 0 in 64 bits."""
    made, _ = stack("transpose", 1, np.random.default_rng(8), layers=2)
    made.graph.input.append(onnx_files.value("X", [rows, rows, SIZES[0]]))
    path = onnx_files.save(made, tmp_path)
    with pytest.raises(ValueError, match=f"^{path}: .* steps of {rows} rows are too many to see what is done to them"):
        ours.load_lstm(path)


def test_damage_between_layers_is_an_error_of_the_file(tmp_path: Path) -> None:
    made, _ = stack("transpose", 1, np.random.default_rng(8), layers=2)
    shape = next(tensor for tensor in made.graph.initializer if tensor.name == "shape")
    shape.raw_data = shape.raw_data[:-3]
    path = onnx_files.save(made, tmp_path)
    with pytest.raises(ValueError, match=f"^{path}: .*tensor 'shape' of shape \\(3,\\) has 2.625 numbers"):
        ours.load_lstm(path)


@pytest.mark.parametrize(
    ("attributes", "extra", "words"),
    [
        ({"clip": 2.0}, {}, "clips what gates add up to 2"),
        ({"input_forget": 1}, {}, "has activations or coupled gates of its own"),
        ({"activations": ["Sigmoid", "Relu", "Tanh"]}, {}, "has activations or coupled gates of its own"),
        ({}, {"P": np.ones((1, 15), np.float32)}, "has peepholes"),
        ({"direction": "reverse"}, {}, "runs from the end to the start"),
        ({}, {"sequence_lens": np.array([1, 2, 3, 4], np.int32)}, "has fixed lengths of sequences"),
        ({}, {"initial_c": np.ones((1, 4, 5), np.float32)}, "has an initial_c of its own"),
    ],
)
def test_nodes_that_are_no_lstm_of_torch(
    attributes: dict[str, Any], extra: dict[str, Any], words: str, arrays: dict[str, np.ndarray], tmp_path: Path
) -> None:
    made = onnx_files.model([onnx_files.node(["X", *arrays, *extra], **attributes)], arrays | extra)
    path = onnx_files.save(made, tmp_path)
    assert "lstm" in ours.load(path)
    with pytest.raises(ValueError, match=f"'lstm' {words}: onnx.load gives a node that does it"):
        ours.load_lstm(path)


def test_layers_with_and_without_bias(x: np.ndarray, tmp_path: Path) -> None:
    made, names = stack("transpose", 1, np.random.default_rng(9), layers=2)
    del made.graph.node[0].input[3]
    path = onnx_files.save(made, tmp_path)
    lstm = ours.load_lstm(path)
    assert lstm.bias
    assert not lstm.state_dict()["bias_ih_l0"].any()
    np.testing.assert_array_equal(lstm(x)[0], one_by_one(ours.load(path), names, x))


@pytest.mark.parametrize(
    ("through", "exact"),
    [
        ("DOUBLE", True), ("FLOAT", True), ("FLOAT16", False), ("BFLOAT16", False), ("INT64", False), ("BOOL", False),
    ],
)  # fmt: skip
def test_casts_between_layers(through: str, exact: bool, x: np.ndarray, tmp_path: Path) -> None:
    """What another type has not is lost on the way."""
    made, names = stack("transpose", 1, np.random.default_rng(9), layers=2)
    upper = next(node for node in made.graph.node if node.name == names[1])
    read = upper.input[0]
    there = helper.make_node("Cast", [read], ["there"], to=getattr(onnx.TensorProto, through))
    back = helper.make_node("Cast", ["there"], ["back"], to=onnx.TensorProto.FLOAT)
    upper.input[0] = "back"
    place = list(made.graph.node).index(upper)
    for node in (back, there):
        made.graph.node.insert(place, node)
    path = onnx_files.save(made, tmp_path)
    if exact:
        np.testing.assert_array_equal(ours.load_lstm(path)(x)[0], one_by_one(ours.load(path), names, x))
    else:
        with pytest.raises(ValueError, match="something is done to it on the way; take them one by one"):
            ours.load_lstm(path)


# --- PyTorch's exports ------------------------------------------------------------------------------------


EXPORTED: list[dict[str, Any]] = [{}, {"num_layers": 2, "bidirectional": True}, {"num_layers": 3, "bias": False}]


@pytest.mark.filterwarnings("ignore")  # of the exporters
@pytest.mark.parametrize("dynamic", [False, True], ids=["fixed", "dynamic"])
@pytest.mark.parametrize("dynamo", [False, True], ids=["TorchScript", "dynamo"])
@pytest.mark.parametrize("options", EXPORTED, ids=str)
def test_exports_of_torch(options: dict[str, Any], dynamo: bool, dynamic: bool, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    if dynamo:
        pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    trained = torch.nn.LSTM(3, 5, **options).eval()
    x = torch.randn(7, 2, 3)
    path = tmp_path / "exported.onnx"
    more: dict[str, Any] = {}
    if dynamic and dynamo:
        sizes = torch.export.Dim("steps", min=2, max=99), torch.export.Dim("rows", min=2, max=99)
        more["dynamic_shapes"] = (dict(enumerate(sizes)),)
    elif dynamic:
        more |= {"input_names": ["x"], "dynamic_axes": {"x": {0: "steps", 1: "rows"}}}
    torch.onnx.export(trained, (x,), path, dynamo=dynamo, verbose=False, **more)
    lstm = ours.load_lstm(path)
    assert lstm.num_layers == trained.num_layers
    with torch.no_grad():
        expected, (h, c) = trained(x)
    output, (h_n, c_n) = lstm(x.numpy())
    for mine, theirs in ((output, expected), (h_n, h), (c_n, c)):
        np.testing.assert_allclose(mine, theirs.numpy(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("declared", [("steps", "rows", 3), (200, 4, 3), None], ids=str)
@pytest.mark.parametrize(
    ("axis", "kept"), [(0, slice(0, 3)), (0, slice(0, 100)), (0, slice(-100, None)), (1, slice(0, 2)), (1, slice(0, 3))]
)
def test_layers_between_which_something_is_cut_are_no_stack(
    tmp_path: Path, declared: tuple[Any, ...] | None, axis: int, kept: slice
) -> None:
    """A cut that leaves some sizes whole and others not."""
    rng = np.random.default_rng(0)
    weights = {f"{name}{n}": rng.standard_normal((1, 16, width)).astype("f4") for name, n, width in
               (("w", 0, 3), ("r", 0, 4), ("w", 1, 4), ("r", 1, 4))}  # fmt: skip
    places = {"first": kept.start or 0, "end": 2**62 if kept.stop is None else kept.stop, "axes": axis, "one": 1}
    constants = weights | {name: np.array([number]) for name, number in places.items()}
    nodes = [
        helper.make_node("Identity", ["input"], ["x"]),
        helper.make_node("LSTM", ["x", "w0", "r0"], ["y0"], hidden_size=4, name="lower"),
        helper.make_node("Squeeze", ["y0", "one"], ["flat"]),
        helper.make_node("Slice", ["flat", "first", "end", "axes"], ["cut"]),
        helper.make_node("LSTM", ["cut", "w1", "r1"], ["y1"], hidden_size=4, name="upper"),
    ]
    given = helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, declared or ("a", "b", "c"))
    described = [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, declared)] if declared else []
    graph = helper.make_graph(
        nodes, "cut", [given], [helper.make_tensor_value_info("y1", onnx.TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()], value_info=described,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "cut.onnx")
    with pytest.raises(ValueError, match="does not read the output of 'lower'"):
        ours.load_lstm(tmp_path / "cut.onnx")
