"""Small ONNX files that ask for much memory or time, which they do not get."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import onnx_files
from support.allocations import at_most
from support.onnx_files import helper, onnx
from support.onnx_states import (
    FIXED,
    HIDDEN,
    ROWS,
    ROWS_OF_X,
    STATE_SHAPE,
    STEPS,
    WIDTH,
    ZERO_STATE,
    ZEROS,
    Built,
    batch,
    op,
    weights,
)

from numba_lstm.io import onnx as ours
from numba_lstm.io.onnx.constants import operations

pytestmark = pytest.mark.usefixtures("threads")

HUGE = 1 << 40

DOUBLED = [op("Concat", f"d{n} d{n}", f"d{n + 1}", axis=0) for n in range(60)]
ADDED = [op("Add", f"d{n} d{n}", f"d{n + 1}") for n in range(70)]

GREEDY: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "ConstantOfShape": ([op("ConstantOfShape", "huge", "h")], {"huge": np.array([1, HUGE, 4])}),
    "Expand": ([op("Expand", "one huge", "h")], {"one": np.float32(1), "huge": np.array([1, HUGE, 4])}),
    "Tile": ([op("Tile", "one huge", "h")], {"one": np.ones((1, 1, 4), np.float32), "huge": np.array([1, HUGE, 1])}),
    "Range": ([op("Range", "zero huge one", "h")], {"zero": np.array(0), "huge": np.array(HUGE), "one": np.array(1)}),
    "fractions": (
        [op("Range", "zero huge one", "h")],
        {"zero": np.float32(0), "huge": np.float32(1), "one": np.float32(1e-30)},
    ),
    "Pad": (
        [op("Pad", "one huge", "h")],
        {"one": np.ones((1, 1, 4), np.float32), "huge": np.array([0, HUGE, 0, 0, 0, 0])},
    ),
    "edges": (
        [op("Pad", "one huge", "h", mode="edge")],
        {"one": np.ones((1, 1, 4), np.float32), "huge": np.array([0, 0, 0, 0, HUGE, 0])},
    ),
    "Gather": (
        [op("Expand", "zero many", "places"), op("Gather", "table places", "h", axis=1)],
        {"zero": np.array([0]), "many": np.array([7000]), "table": np.ones((1, 1, 3000), np.float32)},
    ),
    "Concat": (DOUBLED, {"d0": np.ones((1, 1, 4), np.float32)}),
    "Mul": (
        [op("Mul", "a b", "ab"), op("Mul", "ab c", "h")],
        {name: np.ones(np.roll([2000, 1, 1], n), np.float32) for n, name in enumerate("abc")},
    ),
    "sizes": (
        [op("Expand", "one huge", "a"), op("ReduceSum", "a", "b"), op("Shape", "b", "h")],
        {"one": np.float32(1), "huge": np.array([1 << 30, 1 << 30])},
    ),
}


@pytest.mark.parametrize("way", GREEDY)
def test_small_files_stay_small(way: str, tmp_path: Path) -> None:
    nodes, constants = GREEDY[way]
    sources = {("d60" if way == "Concat" else "h"): "initial_h"}
    built = Built(nodes, constants, tmp_path, sources=sources)
    x = batch(np.random.default_rng(0))
    with at_most(16 << 20):
        with pytest.raises(ValueError, match="initial_h"):
            ours.load(built.path)["lstm"](x)
        with pytest.raises(ValueError, match="initial_h"):
            ours.load_lstm(built.path)


@pytest.mark.parametrize("shape", [["steps", 1 << 26, WIDTH], [1 << 40, 1 << 40, WIDTH]], ids=str)
def test_sizes_that_a_model_declares_are_not_made(shape: list[Any], tmp_path: Path) -> None:
    """They cost nothing to declare; a call has as many rows as its X."""
    nodes, constants = ZEROS["ConstantOfShape"]
    built = Built(nodes, constants, tmp_path, shape=shape)
    with at_most(16 << 20):
        node = ours.load(built.path)["lstm"]
        with pytest.raises(ValueError, match="has an initial_h that cannot be told: ConstantOfShape makes more of it"):
            ours.load_lstm(built.path)
    x = batch(np.random.default_rng(0))
    np.testing.assert_array_equal(node(x).Y, node(x, initial_h=ZERO_STATE).Y)


def many_of(kind: str, *inputs: str) -> list[Any]:
    """Return nodes in which an operation is given a trillion times as many as X has rows."""
    nodes = [*ROWS_OF_X, op("Mul", "rows huge", "many"), op("Concat", "one many one", "sizes", axis=0)]
    return [*nodes, op(kind, " ".join(inputs), "a"), op("Add", "a learned", "h")]


@pytest.mark.parametrize(
    "nodes",
    [
        many_of("ConstantOfShape", "sizes"),
        many_of("Expand", "learned", "sizes"),
        many_of("Tile", "learned", "sizes"),
        [
            *many_of("Concat", "sizes", "sizes")[:-2],
            op("Concat", "sizes zeros", "pads", axis=0),
            op("Pad", "learned pads", "h"),
        ],
        [*many_of("Concat", "sizes", "sizes")[:-2], op("Squeeze", "many", "n"), op("Range", "zero n n1", "h")],
        [*STATE_SHAPE, op("Expand", "learned target", "d0"), *DOUBLED, op("Identity", "d60", "h")],
    ],
    ids=["ConstantOfShape", "Expand", "Tile", "Pad", "Range", "Concat"],
)
def test_calls_stay_small(nodes: list[Any], tmp_path: Path) -> None:
    """The same where sizes of X are in it, so that it is made for each call."""
    constants = FIXED | {
        "huge": np.array([HUGE]),
        "zeros": np.zeros(3, np.int64),
        "zero": np.array(0),
        "n1": np.array(1),
    }
    built = Built(nodes, constants, tmp_path)
    x = batch(np.random.default_rng(0))
    with at_most(16 << 20):
        built.refuses_a_call("initial_h has to be given: .* makes more of it|initial_h has to be given: the model's", x)
        with pytest.raises(ValueError, match="initial_h"):
            ours.load_lstm(built.path)


@pytest.mark.parametrize("rows", [False, True], ids=["constant", "sizes"])
def test_what_is_made_of_itself_twice_is_made_once(rows: bool, tmp_path: Path) -> None:
    """Seventy steps, and 2**70 paths."""
    start = [*STATE_SHAPE, op("ConstantOfShape", "target", "d0")] if rows else []
    constants = FIXED if rows else {"d0": ZERO_STATE}
    built = Built([*start, *ADDED], constants, tmp_path, sources={"d70": "initial_h"})
    built.check(batch(np.random.default_rng(0)))
    assert not ours.load_lstm(built.path).bidirectional
    shapes = [op("Identity", "X", "e0"), *(op("Add", f"e{n} e{n}", f"e{n + 1}") for n in range(60))]
    shapes += [op("Shape", "e60", "shape"), *STATE_SHAPE[1:], op("Expand", "learned target", "h")]
    Built(shapes, FIXED, tmp_path).check(batch(np.random.default_rng(0), 2))


def test_weights_of_many_nodes_are_widened_once(tmp_path: Path) -> None:
    arrays = onnx_files.random_arrays(np.random.default_rng(0), (1 << 15, HIDDEN), 1)
    nodes = [onnx_files.node(["X", *arrays], f"n{n}", [f"y{n}"]) for n in range(50)]
    made = onnx_files.model(nodes, {}, opset=22)
    for name, array in arrays.items():
        halves = (array.view(np.uint32) >> 16).astype(np.uint16)
        made.graph.initializer.append(
            helper.make_tensor(name, onnx.TensorProto.BFLOAT16, array.shape, halves.tobytes(), raw=True)
        )
    path = onnx_files.save(made, tmp_path)
    with at_most(24 << 20):
        found = ours.load(path)
    first, *others = found.values()
    assert len(others) == 49
    assert first.weights.W.dtype == first.weights.B.dtype == np.float32
    for node in others:
        assert all(getattr(node.weights, name) is getattr(first.weights, name) for name in ("W", "R", "B", "P"))


@pytest.mark.parametrize("step", [0, 4], ids=["one place", "places that overlap"])
def test_tensors_in_another_file_are_read_once(step: int, tmp_path: Path) -> None:
    """Many may be at one place; together they are not larger than the file."""
    arrays = onnx_files.random_arrays(np.random.default_rng(0), (1 << 14, HIDDEN), 1)
    content = arrays["W"].tobytes()
    (tmp_path / "weights.bin").write_bytes(content + bytes(50 * step))
    made = onnx_files.model([], {"R": arrays["R"]})
    for n in range(50):
        shape = [(1, 16, 1 << 14), (1, 16, 1 << 14, 1)][n % 2]
        tensor = onnx.TensorProto(name=f"W{n}", dims=shape, data_type=onnx.TensorProto.FLOAT, raw_data=b"")
        onnx.external_data_helper.set_external_data(tensor, "weights.bin", n * step, len(content))
        tensor.ClearField("raw_data")
        made.graph.initializer.append(tensor)
        name = tensor.name
        if n % 2:
            name += "s"
            made.graph.node.append(helper.make_node("Squeeze", [tensor.name, "last"], [name]))
        made.graph.node.append(helper.make_node("LSTM", ["X", name, "R"], [f"y{n}"], f"n{n}"))
    made.graph.initializer.append(onnx.numpy_helper.from_array(np.array([3]), "last"))
    path = onnx_files.save(made, tmp_path)
    with at_most(8 << 20):
        found = ours.load(path)
    np.testing.assert_array_equal(found["n0"].weights.W, arrays["W"])
    assert len(found) == (1 if step else 50)
    for name, node in found.items():
        np.testing.assert_array_equal(node.weights.W, arrays["W"], err_msg=name)
    for obstacle in found.obstacles.values():
        assert "tensors in weights.bin would be larger than it" in obstacle


MANY = 600
OF_MANY: dict[str, list[Any]] = {
    "states": [
        *STATE_SHAPE,
        op("ConstantOfShape", "target", "zeros"),
        op("Max", " ".join(["zeros"] * MANY), "most"),
        *(op("Identity", "most", f"h{n}") for n in range(MANY)),
        *(op("LSTM", f"X W R   h{n}", f"y{n}", name=f"n{n}") for n in range(MANY)),
    ],
    "layers": [
        op("Max", " ".join(["one"] * MANY), "axis"),
        *(op("LSTM", f"x{n} W1 R", f"y{n}", name=f"n{n}") for n in range(MANY)),
        *(op("Squeeze", f"y{n} axis", f"x{n + 1}") for n in range(MANY)),
        op("MatMul", "X wider", "x0"),
    ],
}


@pytest.mark.parametrize("way", OF_MANY)
def test_many_nodes_are_not_tried_without_end(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is made of the same many tensors; a call of one of them computes what it reads, for the sizes at hand."""
    arrays = weights(np.random.default_rng(1))
    wider = {"wider": np.ones((WIDTH, HIDDEN), np.float32), "W1": np.ones((1, 4 * HIDDEN, HIDDEN), np.float32)}
    given = [onnx_files.value("X", ["steps", "rows", WIDTH])]
    path = onnx_files.save(onnx_files.model(OF_MANY[way], FIXED | wider | arrays, given, opset=17), tmp_path)
    counts, compute = [0], operations.compute

    def counted(operation: Any, inputs: Any, budget: Any) -> Any:
        counts[0] += 1 + len(inputs)
        return compute(operation, inputs, budget)

    monkeypatch.setattr(operations, "compute", counted)
    found = ours.load(path)
    assert len(found) == MANY
    with pytest.raises(ValueError, match=f"^{path}: .*the model has too many operations"):
        ours.load_lstm(path)
    assert counts[0] < MANY * MANY
    x = np.ones((STEPS, ROWS, found["n599"].input_size), np.float32)
    np.testing.assert_array_equal(found["n599"](x).Y, found["n599"](x, initial_h=ZERO_STATE).Y)
