"""What ONNX nodes read beside X: states, lengths and weights that constants and sizes of the input make, or the caller.

ONNX Runtime says what is right.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import onnx_files
from support.allocations import at_most
from support.onnx_files import helper, onnx
from support.onnx_runtime import theirs

from numba_lstm import cli
from numba_lstm.io import onnx as ours
from numba_lstm.io.onnx.constants import operations

pytestmark = pytest.mark.usefixtures("threads")

STEPS, ROWS, WIDTH, HIDDEN = 5, 3, 2, 4
SOURCES = {"h": "initial_h", "c": "initial_c", "lengths": "sequence_lens"}
"""Inputs of a node, by the names of the tensors that the nodes before it make for them."""


def weights(generator: np.random.Generator, directions: int = 1) -> dict[str, np.ndarray]:
    return onnx_files.random_arrays(generator, (WIDTH, HIDDEN), directions)


def batch(generator: np.random.Generator, rows: int = ROWS, steps: int = STEPS) -> np.ndarray:
    return generator.standard_normal((steps, rows, WIDTH)).astype(np.float32)


class Built:
    """A model of one node, with nodes before it that make its states, lengths or weights."""

    def __init__(
        self,
        nodes: list[Any],
        constants: Mapping[str, Any],
        folder: Path,
        *,
        sources: Mapping[str, str] = SOURCES,
        shape: list[Any] | None = None,
        opset: int = 17,
        inputs: Mapping[str, np.ndarray] | None = None,
        arrays: dict[str, np.ndarray] | None = None,
        x: str = "X",
        **attributes: Any,
    ) -> None:
        arrays = weights(np.random.default_rng(1)) if arrays is None else arrays
        made = {name for node in nodes for name in node.output} | {*constants, *(inputs or {})}
        wires = {role: name for name, role in sources.items() if name in made}
        roles = [role for role in onnx_files.INPUTS if role in {"X", "W", "R", "B"} | {*wires}]
        lstm = onnx_files.node(roles, hidden_size=HIDDEN, **attributes)
        for place, role in enumerate(onnx_files.INPUTS[: len(lstm.input)]):
            if lstm.input[place]:
                lstm.input[place] = x if role == "X" else wires.get(role, role)
        given = [onnx_files.value("X", ["steps", "rows", WIDTH] if shape is None else shape)]
        given += [onnx_files.value(name, array.shape, array.dtype) for name, array in (inputs or {}).items()]
        outputs = [onnx_files.value(name, None) for name in onnx_files.OUTPUTS]
        self.attributes = attributes
        self.inputs = dict(inputs or {})
        own = {name: array for name, array in arrays.items() if name in {"W", "R", "B"} - made}
        values = {name: np.asarray(value) for name, value in constants.items()} | own
        self.model = onnx_files.model([*nodes, lstm], values, given, outputs, opset)
        self.path = onnx_files.save(self.model, folder)

    def check(self, x: np.ndarray, **given: Any) -> None:
        """Compare a call of the node with ONNX Runtime."""
        expected = theirs(self.model, {"X": x} | self.inputs)
        for one, other in zip(ours.load(self.path)["lstm"](x, **given), expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=2e-6)

    def refuses_a_call(self, words: str, x: np.ndarray) -> None:
        with pytest.raises(ValueError, match=words):
            ours.load(self.path)["lstm"](x)

    def refuses_to_load(self, words: str) -> None:
        """The same, however it is asked for."""
        with pytest.raises(ValueError, match=words):
            ours.load(self.path)
        with pytest.raises(ValueError, match=words):
            ours.load_lstm(self.path)
        (found,) = ours.describe(self.path)
        assert found.obstacle is not None
        with pytest.raises(ValueError, match=words):
            ours.runner(self.path, "lstm")


def op(kind: str, inputs: str, output: str, **attributes: Any) -> Any:
    return helper.make_node(kind, inputs.split(" ") if inputs else [], output.split(" "), **attributes)


def constant_of(value: Any) -> Any:
    return onnx.numpy_helper.from_array(np.array([value]))


# --- learned states, whatever the batch -------------------------------------------------------------------

LEARNED = np.linspace(-1, 1, HIDDEN, dtype=np.float32).reshape(1, 1, HIDDEN)

ROWS_OF_X = [op("Shape", "X", "shape"), op("Gather", "shape one", "rows", axis=0)]
STATE_SHAPE = [*ROWS_OF_X, op("Concat", "one rows four", "target", axis=0)]
FIXED = {"one": np.array([1]), "four": np.array([HIDDEN]), "learned": LEARNED}

MANY_WAYS: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "Expand": ([*STATE_SHAPE, op("Expand", "learned target", "h")], FIXED),
    "Tile": ([*ROWS_OF_X, op("Concat", "one rows one", "times", axis=0), op("Tile", "learned times", "h")], FIXED),
    "ConstantOfShape": (
        [*STATE_SHAPE, op("ConstantOfShape", "target", "h", value=constant_of(np.float32(0.5)))],
        FIXED,
    ),
    "arithmetic": (
        [
            *STATE_SHAPE,
            op("ConstantOfShape", "target", "zeros"),
            op("Add", "zeros learned", "a"),
            op("Neg", "a", "b"),
            op("Div", "b two", "d"),
            op("Pow", "d three", "h"),
        ],
        FIXED | {"two": np.float32(2), "three": np.float32(3)},
    ),
    "Range": (
        [
            *ROWS_OF_X,
            op("Squeeze", "rows", "count"),
            op("Range", "zero count step", "places"),
            op("Cast", "places", "numbers", to=1),
            op("Unsqueeze", "numbers axes", "columns"),
            op("Mul", "columns learned", "h"),
        ],
        FIXED | {"zero": np.array(0), "step": np.array(1), "axes": np.array([0, 2])},
    ),
    "Where": (
        [
            *STATE_SHAPE,
            op("Equal", "target minus", "open"),
            op("Where", "open ones target", "sizes"),
            op("Expand", "learned sizes", "h"),
        ],
        FIXED | {"minus": np.array([-1]), "ones": np.array([1])},
    ),
    "Gather": (
        [
            *ROWS_OF_X,
            op("ConstantOfShape", "rows", "places", value=constant_of(-1)),
            op("Gather", "table places", "h", axis=1),
        ],
        FIXED | {"table": np.concatenate([LEARNED + 1, LEARNED], axis=1)},
    ),
    "Pad and Slice": (
        [
            *STATE_SHAPE,
            op("Expand", "learned target", "a"),
            op("Pad", "a pads fill", "b"),
            op("Slice", "b from until axis", "h"),
        ],
        FIXED
        | {
            "pads": np.array([0, 0, 1, 0, 0, 0]),
            "fill": np.float32(7),
            "from": np.array([0]),
            "until": np.array([4]),
            "axis": np.array([2]),
        },
    ),
    "Reduce": (
        [
            *STATE_SHAPE,
            op("Expand", "learned target", "a"),
            op("Concat", "a a", "both", axis=0),
            op("ReduceMean", "both", "h", axes=[0], keepdims=1),
        ],
        FIXED,
    ),
    "EyeLike": (
        [
            *STATE_SHAPE,
            op("EyeLike", "square", "eye"),
            op("ReduceSum", "eye first", "a", keepdims=1),
            op("Expand", "a target", "h"),
        ],
        FIXED | {"square": np.zeros((4, 4), np.float32), "first": np.array([0])},
    ),
    "sizes of X as numbers": (
        [
            *STATE_SHAPE,
            op("Cast", "shape", "float", to=1),
            op("ReduceSum", "float", "a", keepdims=0),
            op("Expand", "a target", "h"),
        ],
        FIXED,
    ),
}


@pytest.mark.parametrize("way", MANY_WAYS)
def test_learned_states_are_used_with_every_batch(way: str, tmp_path: Path) -> None:
    nodes, constants = MANY_WAYS[way]
    built = Built(nodes, constants, tmp_path)
    for rows, steps in ((3, 5), (1, 4), (6, 1), (3, 5)):
        built.check(batch(np.random.default_rng(rows), rows, steps))
    with pytest.raises(ValueError, match=r"'lstm' has an initial_h of its own: onnx\.load gives a node that does it"):
        ours.load_lstm(built.path)
    (found,) = ours.describe(built.path)
    assert found.obstacle is None
    assert str(found.sizes["initial_h"]).startswith("from the file")
    result = ours.runner(built.path, "lstm").run(batch(np.random.default_rng(3)), None)
    np.testing.assert_allclose(result["Y"], theirs(built.model, {"X": batch(np.random.default_rng(3))})[0], atol=2e-6)


def test_what_the_caller_gives_comes_first(tmp_path: Path) -> None:
    nodes, constants = MANY_WAYS["Expand"]
    node = ours.load(Built(nodes, constants, tmp_path).path)["lstm"]
    x = batch(np.random.default_rng(2))
    plain = ours.load(Built([], {}, tmp_path).path)["lstm"]
    h = np.full((1, ROWS, HIDDEN), 0.25, np.float32)
    np.testing.assert_array_equal(node(x, initial_h=h).Y, plain(x, initial_h=h).Y)
    with pytest.raises(AssertionError):
        np.testing.assert_array_equal(node(x).Y, plain(x).Y)


@pytest.mark.parametrize("layout", ["batch first", "relu", "embedding", "conv"])
def test_the_batch_is_known_behind_what_comes_before_the_node(layout: str, tmp_path: Path) -> None:
    """Also behind what has no rule here: the operator takes states of no other size."""
    before = {
        "batch first": [op("Transpose", "X", "inner", perm=[1, 0, 2])],
        "relu": [op("Relu", "X", "a"), op("Transpose", "a", "inner", perm=[1, 0, 2])],
        "embedding": [
            op("ArgMax", "X", "tokens", axis=2, keepdims=0),
            op("Gather", "words tokens", "a"),
            op("Transpose", "a", "inner", perm=[1, 0, 2]),
        ],
        "conv": [
            op("Transpose", "X", "a", perm=[0, 2, 1]),
            op("Conv", "a kernel", "b"),
            op("Einsum", "b", "inner", equation="bct->tbc"),
        ],
    }[layout]
    nodes = [*before, op("Shape", "X", "shape"), op("Gather", "shape zero", "rows", axis=0), *STATE_SHAPE[2:]]
    generator = np.random.default_rng(4)
    more = {
        "zero": np.array([0]),
        "words": generator.standard_normal((WIDTH, WIDTH)).astype(np.float32),
        "kernel": generator.standard_normal((WIDTH, WIDTH, 3)).astype(np.float32),
    }
    nodes.append(op("Expand", "learned target", "h"))
    shape = ["rows", "steps", WIDTH]
    built = Built(nodes, FIXED | more, tmp_path, shape=shape, x="inner")
    node = ours.load(built.path)["lstm"]
    built.model.graph.output.append(onnx_files.value("inner", None))
    for rows, steps in ((3, 5), (2, 7)):
        x = generator.standard_normal((rows, steps, WIDTH)).astype(np.float32)
        y, _, _, inner = theirs(built.model, {"X": x})
        np.testing.assert_allclose(node(inner).Y, y, rtol=0, atol=2e-6)


def test_both_directions_with_the_batch_first(tmp_path: Path) -> None:
    """Layout 1, which ONNX Runtime lacks: (B, D, H)."""
    generator = np.random.default_rng(5)
    arrays = weights(generator, 2)
    learned = generator.standard_normal((1, 2, HIDDEN)).astype(np.float32)
    nodes = [op("Shape", "X", "shape"), op("Gather", "shape zero", "rows", axis=0)]
    nodes += [op("Concat", "rows two four", "target", axis=0), op("Expand", "learned target", "h")]
    constants = FIXED | {"zero": np.array([0]), "two": np.array([2]), "learned": learned}
    both: dict[str, Any] = {"arrays": arrays, "layout": 1, "direction": "bidirectional"}
    node = ours.load(Built(nodes, constants, tmp_path, **both).path)["lstm"]
    other = ours.load(Built([], {}, tmp_path, **both).path)["lstm"]
    for rows in (1, 4):
        x = generator.standard_normal((rows, STEPS, WIDTH)).astype(np.float32)
        h = np.ascontiguousarray(np.broadcast_to(learned, (rows, 2, HIDDEN)))
        np.testing.assert_array_equal(node(x).Y, other(x, None, h).Y)


ZEROS: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "ConstantOfShape": ([*STATE_SHAPE, op("ConstantOfShape", "target", "h")], FIXED),
    "Expand": ([*STATE_SHAPE, op("Expand", "zero target", "h")], FIXED | {"zero": np.float32(0)}),
    "all layers": (
        [
            *ROWS_OF_X,
            op("Concat", "two rows four", "target", axis=0),
            op("ConstantOfShape", "target", "all"),
            op("Slice", "all one two first", "h"),
        ],
        FIXED | {"two": np.array([2]), "first": np.array([0])},
    ),
    "arithmetic": (
        [*STATE_SHAPE, op("ConstantOfShape", "target", "a"), op("Sub", "half half", "b"), op("Mul", "a half", "d")]
        + [op("Max", "b d", "h")],
        FIXED | {"half": np.float32(0.5)},
    ),
    "fixed": ([], {"h": np.zeros((1, ROWS, HIDDEN), np.float32)}),
}


@pytest.mark.parametrize("way", ZEROS)
def test_zeros_of_any_size_are_a_plain_lstm(way: str, tmp_path: Path) -> None:
    nodes, constants = ZEROS[way]
    built = Built(nodes, constants, tmp_path)
    x = batch(np.random.default_rng(6))
    built.check(x)
    output, _ = ours.load_lstm(built.path)(x)
    np.testing.assert_allclose(output, theirs(built.model, {"X": x})[0][:, 0], rtol=0, atol=2e-6)


def test_zeros_of_some_sizes_are_none(tmp_path: Path) -> None:
    """Zeros for few rows, and ones for many: tries would not show it."""
    nodes = [
        *STATE_SHAPE,
        op("Less", "rows many", "few"),
        op("Where", "few zero learned", "a"),
        op("Expand", "a target", "h"),
    ]
    built = Built(nodes, FIXED | {"many": np.array([50]), "zero": np.float32(0)}, tmp_path)
    for rows in (49, 50):
        built.check(batch(np.random.default_rng(7), rows))
    with pytest.raises(ValueError, match="has an initial_h of its own"):
        ours.load_lstm(built.path)


def test_the_mask_of_a_dropout_is_not_what_it_drops(tmp_path: Path) -> None:
    """Ones, of zeros that are made for the batch at hand."""
    nodes = [
        *STATE_SHAPE,
        op("ConstantOfShape", "target", "zeros"),
        op("Dropout", "zeros", "kept mask"),
        op("Cast", "mask", "h", to=onnx.TensorProto.FLOAT),
    ]
    built = Built(nodes, FIXED, tmp_path)
    built.check(batch(np.random.default_rng(7)))
    with pytest.raises(ValueError, match="has an initial_h of its own"):
        ours.load_lstm(built.path)


# --- lengths ----------------------------------------------------------------------------------------------

LENGTHS: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "Expand": ([*ROWS_OF_X, op("Expand", "two rows", "lengths")], FIXED | {"two": np.array([2], np.int32)}),
    "of X": (
        [*ROWS_OF_X, op("Gather", "shape first", "steps"), op("Sub", "steps one", "less")]
        + [op("Tile", "less rows", "a"), op("Cast", "a", "lengths", to=onnx.TensorProto.INT32)],
        FIXED | {"first": np.array([0])},
    ),
    "Range": (
        [*ROWS_OF_X, op("Squeeze", "rows", "n"), op("Range", "zero n step", "a"), op("Min", "a three", "b")]
        + [op("Cast", "b", "lengths", to=onnx.TensorProto.INT32)],
        FIXED | {"zero": np.array(0), "step": np.array(1), "three": np.array(3)},
    ),
}


@pytest.mark.parametrize("way", LENGTHS)
def test_lengths_are_used_with_every_batch(way: str, tmp_path: Path) -> None:
    nodes, constants = LENGTHS[way]
    built = Built(nodes, constants, tmp_path)
    for rows in (2, 4):
        built.check(batch(np.random.default_rng(rows), rows))
    with pytest.raises(ValueError, match="has fixed lengths of sequences"):
        ours.load_lstm(built.path)


def test_the_full_length_is_a_plain_lstm(tmp_path: Path) -> None:
    """As tf2onnx writes it: the shape as fractions, its first entry so many times, as integers."""
    nodes = [
        op("Shape", "X", "shape"),
        op("Cast", "shape", "float", to=onnx.TensorProto.FLOAT),
        op("Slice", "float zero one", "steps"),
        op("Slice", "shape one two", "rows"),
        op("Tile", "steps rows", "all"),
        op("Cast", "all", "lengths", to=onnx.TensorProto.INT32),
    ]
    constants = {"zero": np.array([0]), "one": np.array([1]), "two": np.array([2])}
    built = Built(nodes, constants, tmp_path)
    x = batch(np.random.default_rng(8))
    built.check(x)
    output, _ = ours.load_lstm(built.path)(x)
    np.testing.assert_allclose(output, theirs(built.model, {"X": x})[0][:, 0], rtol=0, atol=2e-6)
    nodes[1] = op("Cast", "shape", "float", to=onnx.TensorProto.INT8)  # which has no 300
    built = Built(nodes, constants, tmp_path)
    with pytest.raises(ValueError, match="has fixed lengths of sequences"):
        ours.load_lstm(built.path)
    built.check(batch(np.random.default_rng(8), steps=300))
    nodes[1] = op("Cast", "shape", "float", to=onnx.TensorProto.FLOAT)
    nodes[2] = op("Slice", "float one two", "steps")  # as many as rows
    with pytest.raises(ValueError, match="has fixed lengths of sequences"):
        ours.load_lstm(Built(nodes, constants, tmp_path).path)


# --- what only the caller can know ------------------------------------------------------------------------


def test_states_that_the_model_is_given_have_to_be_given(tmp_path: Path, capsys: Any) -> None:
    generator = np.random.default_rng(9)
    x, h = batch(generator), generator.standard_normal((1, ROWS, HIDDEN)).astype(np.float32)
    built = Built([], {}, tmp_path, inputs={"h": h})
    built.check(x, initial_h=h)
    built.refuses_a_call("initial_h has to be given: 'h' is given when the model runs", x)
    assert ours.describe(built.path)[0].sizes["initial_h"] == "to be given: 'h' is given when the model runs"
    output, _ = ours.load_lstm(built.path)(x, (h, np.zeros_like(h)))  # an LSTM has a place for it
    np.testing.assert_allclose(output, theirs(built.model, {"X": x, "h": h})[0][:, 0], rtol=0, atol=2e-6)
    files = {name: str(tmp_path / f"{name}.npy") for name in ("x", "h", "c")}
    for name, array in {"x": x, "h": h, "c": np.zeros_like(h)}.items():
        np.save(files[name], array)
    assert cli.main(["run", str(built.path), files["x"]]) == 2
    assert "initial_h has to be given: 'h' is given when the model runs" in capsys.readouterr().err
    assert cli.main(["run", str(built.path), files["x"], "--h0", files["h"], "--c0", files["c"]]) == 0


def test_lengths_that_the_model_is_given_have_to_be_given(tmp_path: Path) -> None:
    x, lengths = batch(np.random.default_rng(9)), np.array([5, 2, 3], np.int32)
    built = Built([], {}, tmp_path, inputs={"lengths": lengths})
    built.check(x, sequence_lens=lengths)
    built.refuses_a_call("sequence_lens has to be given: 'lengths' is given when the model runs", x)
    output, _ = ours.load_lstm(built.path)(x, lengths=lengths)
    expected = theirs(built.model, {"X": x, "lengths": lengths})[0][:, 0]
    np.testing.assert_allclose(output, expected, rtol=0, atol=2e-6)
    with pytest.raises(ValueError, match=r"'lstm' needs its sequence_lens .*: call the node that onnx.load gives"):
        ours.runner(built.path, "lstm")


COMPUTED: dict[str, tuple[list[Any], str]] = {
    "arithmetic": ([op("Add", "given given", "h")], "'given' is given when the model runs"),
    "unknown": ([op("Erf", "given", "h")], "Erf computes it"),
    "another node": (
        [helper.make_node("LSTM", ["X", "W", "R"], ["", "h"], hidden_size=HIDDEN, name="encoder")],
        "LSTM computes it",
    ),
    "condition": (
        [
            op("Cast", "given", "b", to=onnx.TensorProto.BOOL),
            op("Where", "b given given", "h"),
        ],
        "'given' is given when the model runs",
    ),
}


@pytest.mark.parametrize("way", COMPUTED)
def test_states_that_the_model_computes_have_to_be_given(way: str, tmp_path: Path, capsys: Any) -> None:
    nodes, words = COMPUTED[way]
    generator = np.random.default_rng(10)
    given = generator.standard_normal((1, ROWS, HIDDEN)).astype(np.float32)
    built = Built(nodes, {}, tmp_path, inputs={"given": given})
    x = batch(generator)
    built.refuses_a_call(f"initial_h has to be given: {words}", x)
    built.model.graph.output.append(onnx_files.value("h", None))
    y, _, _, h = theirs(built.model, {"X": x, "given": given})
    np.testing.assert_allclose(ours.load(built.path)["lstm"](x, initial_h=h).Y, y, rtol=0, atol=2e-6)
    with pytest.raises(ValueError, match=r"'lstm' has an initial_h that the model computes"):
        ours.load_lstm(built.path, "lstm")
    assert cli.main(["convert", str(built.path), str(tmp_path / "out.npz"), "--node", "lstm"]) == 2
    assert "initial_h that the model computes" in capsys.readouterr().err
    assert not (tmp_path / "out.npz").exists()


def test_sizes_that_cannot_be_told_have_to_be_given(tmp_path: Path) -> None:
    """The size of another input says nothing of X; nor does one of two that are open."""
    other = np.zeros((2, 9), np.float32)
    nodes = [*STATE_SHAPE, op("Shape", "other", "s"), op("Cast", "s", "f", to=1), op("ReduceSum", "f", "a", keepdims=0)]
    nodes.append(op("Expand", "a target", "h"))
    built = Built(nodes, FIXED, tmp_path, inputs={"other": other})
    for value in built.model.graph.input[1].type.tensor_type.shape.dim:
        value.dim_param = "n"
    onnx_files.save(built.model, tmp_path)
    built.refuses_a_call(
        "initial_h has to be given: it depends on the size of axis 0 of 'other'", batch(np.random.default_rng(0))
    )
    with pytest.raises(ValueError, match="has an initial_h of its own"):
        ours.load_lstm(built.path)


# --- what the operator does not take ----------------------------------------------------------------------

H32 = np.zeros((1, ROWS, HIDDEN), np.float32)


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        ("c", np.zeros((1, ROWS, 5), np.float32), r"its initial_c has shape \(1, 3, 5\), not \(1, batch, 4\)"),
        ("h", np.zeros((2, ROWS, HIDDEN), np.float32), r"its initial_h has shape \(2, 3, 4\), not \(1, batch, 4\)"),
        ("h", np.zeros((ROWS, HIDDEN), np.float32), r"its initial_h has shape \(3, 4\), not"),
        ("h", np.float32(0), r"its initial_h has shape \(\), not"),
        ("h", H32.astype(np.float64), "its initial_h holds float64, not float32"),
        ("h", H32.astype(np.float16), "its initial_h holds float16, not float32"),
        ("h", H32.astype(np.int32), "its initial_h holds int32, not float32"),
        ("lengths", np.full(ROWS, 2), "its sequence_lens holds int64, not int32"),
        ("lengths", np.full(ROWS, 2, np.float32), "its sequence_lens holds float32, not int32"),
        ("lengths", np.full((ROWS, 1), 2, np.int32), r"its sequence_lens has shape \(3, 1\), not \(batch,\)"),
        ("lengths", np.int32(2), r"its sequence_lens has shape \(\), not \(batch,\)"),
        ("lengths", np.array([1, -1, 2], np.int32), "its sequence_lens is -1 for a sequence"),
    ],
)
@pytest.mark.parametrize("made", [False, True], ids=["constant", "computed"])
def test_states_and_lengths_that_the_operator_does_not_take(
    name: str, array: np.ndarray, words: str, made: bool, tmp_path: Path
) -> None:
    nodes = [op("Identity", "source", name)] if made else []
    built = Built(nodes, {"source" if made else name: array}, tmp_path)
    built.refuses_to_load(words)
    with pytest.raises(Exception, match="ONNXRuntimeError"):
        theirs(built.model, {"X": batch(np.random.default_rng(0))})


def test_states_for_another_batch_have_to_be_given(tmp_path: Path) -> None:
    built = Built([], {"h": H32 + 1, "lengths": np.array([1, 6, 2], np.int32)}, tmp_path)
    built.refuses_a_call(
        r"sequence_lens has to be given: that of the file has shape \(3,\), not \(2,\)",
        batch(np.random.default_rng(0), 2),
    )
    built.refuses_a_call("sequence_lens should be from 0 to 5, got: 1 to 6", batch(np.random.default_rng(0)))
    built.check(batch(np.random.default_rng(0), steps=6))


@pytest.mark.parametrize("name", ["B", "R"])
def test_weights_of_other_types_are_refused(name: str, tmp_path: Path) -> None:
    arrays = weights(np.random.default_rng(1))
    arrays[name] = arrays[name].astype(np.float64)
    built = Built([], {}, tmp_path, arrays=arrays)
    built.refuses_to_load(
        r"LSTM of opset 17 does not take tensor\((float|double)\) and tensor\((float|double)\) together"
    )


def test_the_operator_by_the_letter_of_its_opset(tmp_path: Path) -> None:
    Built([], {}, tmp_path, opset=7, layout=1).refuses_to_load("LSTM of opset 7 has no attribute 'layout'")
    Built([], {}, tmp_path, opset=17, output_sequence=1).refuses_to_load("has no attribute 'output_sequence'")
    Built([], {}, tmp_path, opset=1000).refuses_to_load("is of opset 1000, and the installed onnx knows")
    built = Built([], {}, tmp_path)
    del built.model.opset_import[:]
    onnx_files.save(built.model, tmp_path)
    built.refuses_to_load("does not say which opset")


def test_functions_that_hide_operators_are_refused(tmp_path: Path) -> None:
    """A model may define an operator of ONNX's own anew."""
    built = Built([op("Neg", "h0", "h")], {"h0": H32 + 1}, tmp_path)
    body = [op("Abs", "a", "b")]
    built.model.functions.append(helper.make_function("", "Neg", ["a"], ["b"], body, [helper.make_opsetid("", 17)]))
    onnx_files.save(built.model, tmp_path)
    built.refuses_a_call("initial_h has to be given: ai.onnx.Neg computes it", batch(np.random.default_rng(0)))


# --- conditions, and graphs in graphs ---------------------------------------------------------------------


@pytest.mark.parametrize("condition", [True, False])
def test_a_branch_whose_condition_is_known_is_taken(condition: bool, tmp_path: Path) -> None:
    values = {"then_branch": op("Expand", "learned target", "a"), "else_branch": op("Expand", "half target", "b")}
    branches = {
        name: helper.make_graph([node], name, [], [onnx_files.value(node.output[0], None)])
        for name, node in values.items()
    }
    nodes = [*STATE_SHAPE, op("Not", "no", "yes"), op("If", "yes", "h", **branches)]
    constants = FIXED | {"half": np.float32(0.5), "no": np.array(not condition)}
    built = Built(nodes, constants, tmp_path)
    for rows in (2, 3):
        built.check(batch(np.random.default_rng(rows), rows))


def test_a_branch_whose_condition_depends_on_the_input_is_not(tmp_path: Path) -> None:
    branch = [helper.make_graph([op("Identity", "learned", n)], n, [], [onnx_files.value(n, None)]) for n in "ab"]
    choice = op("If", "given", "h", then_branch=branch[0], else_branch=branch[1])
    built = Built([choice], FIXED, tmp_path, inputs={"given": np.array(True)})
    built.refuses_a_call(
        "initial_h has to be given: 'given' is given when the model runs", batch(np.random.default_rng(0))
    )


def test_a_node_in_a_branch_reads_what_is_around_it(tmp_path: Path) -> None:
    arrays = weights(np.random.default_rng(1))
    inner = onnx_files.node(["X", "W", "R", "B", "initial_h"], hidden_size=HIDDEN)
    inner.input[5] = "h"
    graphs = [
        helper.make_graph([node], "inner", [], [onnx_files.value("Y", None)]) for node in (inner, op("Relu", "X", "Y"))
    ]
    choice = op("If", "flag", "out", then_branch=graphs[0], else_branch=graphs[1])
    nodes = [*STATE_SHAPE, op("Expand", "learned target", "h"), choice]
    inputs = [onnx_files.value("X", ["steps", "rows", WIDTH]), onnx_files.value("flag", [], np.bool_)]
    made = onnx_files.model(
        nodes, FIXED | {name: arrays[name] for name in "WRB"}, inputs, [onnx_files.value("out", None)]
    )
    node = ours.load(onnx_files.save(made, tmp_path))["lstm"]
    for rows in (2, 3):
        x = batch(np.random.default_rng(rows), rows)
        (y,) = theirs(made, {"X": x, "flag": np.array(True)})
        np.testing.assert_allclose(node(x).Y, y, rtol=0, atol=2e-6)


# --- stacks -----------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")  # of the exporters
@pytest.mark.parametrize("dynamo", [False, True], ids=["TorchScript", "dynamo"])
def test_torchs_states_that_are_given(dynamo: bool, tmp_path: Path) -> None:
    """Each layer has a slice of what the model is given."""
    torch = pytest.importorskip("torch")
    if dynamo:
        pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    trained = torch.nn.LSTM(WIDTH, HIDDEN, 2, bidirectional=True).eval()
    x, h, c = torch.randn(STEPS, ROWS, WIDTH), *torch.randn(2, 4, ROWS, HIDDEN)
    torch.onnx.export(trained, (x, (h, c)), tmp_path / "m.onnx", dynamo=dynamo, verbose=False)
    expected = trained(x, (h, c))[0].detach().numpy()
    output, _ = ours.load_lstm(tmp_path / "m.onnx")(x.numpy(), (h.numpy(), c.numpy()))
    np.testing.assert_allclose(output, expected, rtol=0, atol=1e-6)
    for node in ours.load(tmp_path / "m.onnx").values():
        with pytest.raises(ValueError, match="initial_h has to be given"):
            node(np.zeros((STEPS, ROWS, node.input_size), np.float32))


@pytest.mark.filterwarnings("ignore")  # of the exporters
@pytest.mark.parametrize("dynamo", [False, True], ids=["TorchScript", "dynamo"])
def test_torchs_learned_states(dynamo: bool, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    if dynamo:
        pytest.importorskip("onnxscript")

    class Learned(torch.nn.Module):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__()
            self.lstm = torch.nn.LSTM(WIDTH, HIDDEN, batch_first=True)
            self.h0, self.c0 = (torch.nn.Parameter(torch.randn(1, 1, HIDDEN)) for _ in range(2))

        def forward(self, x: Any) -> Any:
            rows = x.shape[0]
            return self.lstm(x, (self.h0.expand(-1, rows, -1).contiguous(), self.c0.repeat(1, rows, 1)))[0]

    torch.manual_seed(0)
    module, x = Learned().eval(), torch.randn(ROWS, STEPS, WIDTH)
    more: dict[str, Any] = {"input_names": ["x"], "dynamic_axes": {"x": {0: "rows", 1: "steps"}}}
    if dynamo:
        more = {"dynamic_shapes": ({0: torch.export.Dim("rows", min=2), 1: torch.export.Dim("steps", min=2)},)}
    torch.onnx.export(module, (x,), tmp_path / "m.onnx", dynamo=dynamo, verbose=False, **more)
    (node,) = ours.load(tmp_path / "m.onnx").values()
    for rows in (2, 6):
        x = torch.randn(rows, STEPS + 1, WIDTH)
        Y = node(x.numpy().transpose(1, 0, 2)).Y
        np.testing.assert_allclose(Y[:, 0].transpose(1, 0, 2), module(x).detach().numpy(), rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="has an initial_h of its own"):
        ours.load_lstm(tmp_path / "m.onnx")


def test_layers_that_are_given_other_lengths_are_no_lstm(tmp_path: Path) -> None:
    arrays = weights(np.random.default_rng(1)) | {"W1": np.ones((1, 16, HIDDEN), np.float32), "one": np.array([1])}
    nodes = [
        helper.make_node("LSTM", ["X", "W", "R", "", "n"], ["Y"], name="lower", hidden_size=HIDDEN),
        op("Squeeze", "Y one", "X1"),
        helper.make_node("LSTM", ["X1", "W1", "R"], ["Y1"], name="upper", hidden_size=HIDDEN),
    ]
    inputs = [onnx_files.value("X", ["t", "b", WIDTH]), onnx_files.value("n", ["b"], np.int32)]
    path = onnx_files.save(onnx_files.model(nodes, arrays, inputs), tmp_path)
    with pytest.raises(ValueError, match="'upper' is given others than 'lower'"):
        ours.load_lstm(path)
    nodes[2].input.extend(["", "n"])
    path = onnx_files.save(onnx_files.model(nodes, arrays, inputs), tmp_path)
    assert ours.load_lstm(path).num_layers == 2


# --- small files that ask for much ------------------------------------------------------------------------

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
    np.testing.assert_array_equal(node(x).Y, node(x, initial_h=H32).Y)


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
    constants = FIXED if rows else {"d0": H32}
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
    np.testing.assert_array_equal(found["n599"](x).Y, found["n599"](x, initial_h=H32).Y)


# --- chains of operations ---------------------------------------------------------------------------------


class Chain:
    """Operations on constants at random, in the forms of an opset; shapes are (a, b, HIDDEN) all along."""

    def __init__(self, generator: np.random.Generator, opset: int) -> None:
        self.generator, self.opset = generator, opset
        self.nodes: list[Any] = []
        self.constants: dict[str, np.ndarray] = {}
        self.given: dict[str, np.ndarray] = {}

    def constant(self, value: Any) -> str:
        name = f"k{len(self.constants)}"
        self.constants[name] = np.asarray(value)
        return name

    def add(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> list[str]:
        names = [f"t{len(self.nodes)}_{n}" for n in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, **attributes))
        return names

    def on_axes(self, kind: str, x: str, axes: list[int], since: int = 13, **attributes: Any) -> str:
        if self.opset >= since:
            return self.add(kind, x, self.constant(np.array(axes)), **attributes)[0]
        return self.add(kind, x, axes=axes, **attributes)[0]

    def integers(self, low: int, high: int) -> int:
        return int(self.generator.integers(low, high))

    def numbers(self, *shape: int) -> np.ndarray:
        return self.generator.uniform(0.2, 1.5, shape).astype(np.float32)

    def small(self, x: str) -> str:
        return self.add("Min", self.add("Abs", x)[0], self.constant(np.float32(3)))[0]

    def start(self) -> tuple[str, tuple[int, int]]:
        shape = self.integers(1, 4), self.integers(1, 4)
        way = self.integers(0, 4)
        if way == 0 and self.opset >= 13:
            dtype = [np.int8, np.uint8][self.integers(0, 2)]
            whole = self.generator.integers(0, 100, (*shape, HIDDEN)).astype(dtype)
            axis = [0, 1, 2, -1][self.integers(0, 4)]
            count = whole.shape[axis]
            scale, zero = self.numbers(count) / 100, self.generator.integers(0, 9, count).astype(dtype)
            made = self.add("DequantizeLinear", *map(self.constant, (whole, scale, zero)), axis=axis)[0]
            return self.small(made), shape
        if way == 1:
            fill = constant_of(np.float32(self.generator.uniform()))
            return self.add("ConstantOfShape", self.constant(np.array([*shape, HIDDEN])), value=fill)[0], shape
        if way == 2:
            ends = np.float32(0.1), np.float32(0.05 + shape[0] / 10), np.float32(0.1)
            steps = self.add("Range", *map(self.constant, ends))[0]
            column = self.on_axes("Unsqueeze", steps, [1, 2])
            return self.add("Mul", column, self.constant(self.numbers(1, shape[1], HIDDEN)))[0], shape
        return self.constant(self.numbers(*shape, HIDDEN)), shape

    def step(self, x: str, shape: tuple[int, int]) -> tuple[str, tuple[int, int]]:
        a, b = shape
        way = self.integers(0, 16)
        if way == 0:
            kind = ["Add", "Sub", "Mul", "Div", "Pow", "Max", "Min"][self.integers(0, 7)]
            other = [(1, b, 1), (a, 1, HIDDEN), (HIDDEN,), ()][self.integers(0, 4)]
            return self.small(self.add(kind, x, self.constant(self.numbers(*other)))[0]), shape
        if way == 1:
            kind = ["Neg", "Tanh", "Sigmoid", "Exp", "Floor", "Abs", "Sqrt", "Round", "Relu"][self.integers(0, 9)]
            return self.small(self.add(kind, x)[0]), shape
        if way == 2:
            return self.add("Transpose", x, perm=[1, 0, 2])[0], (b, a)
        if way == 3:
            step = [1, -1][self.integers(0, 2)]
            ends = (0, 2**62) if step == 1 else (-1, -(2**62))
            limits = [self.constant(np.array([end, end])) for end in ends]
            axes, steps = self.constant(np.array([0, -1])), self.constant(np.array([step, step]))
            return self.add("Slice", x, *limits, axes, steps)[0], shape
        if way == 4:
            indices = self.generator.integers(-a, a, self.integers(1, 4))
            return self.add("Gather", x, self.constant(indices), axis=0)[0], (len(indices), b)
        if way == 5:
            times = [self.integers(1, 3), self.integers(1, 3), 1]
            return self.add("Tile", x, self.constant(np.array(times)))[0], (a * times[0], b * times[1])
        if way == 6:
            pads = [0, self.integers(0, 2), 0, 0, self.integers(0, 2), 0]
            fill = self.constant(np.float32(0.25))
            return self.add("Pad", x, self.constant(np.array(pads)), fill)[0], (a, b + pads[1] + pads[4])
        if way == 7:
            flat = self.add("Reshape", x, self.constant(np.array([-1, HIDDEN])))[0]
            return self.add("Reshape", flat, self.constant(np.array([b, -1, HIDDEN])))[0], (b, a)
        if way == 8:
            kind = ["ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum"][self.integers(0, 4)]
            since = 13 if kind == "ReduceSum" else 18
            return self.on_axes(kind, x, [-3], since, keepdims=1), (1, b)
        if way == 9:
            # Parts of which the last may be smaller came with opset 18.
            parts = 2 if self.opset >= 18 and a > 1 else a
            more = {"num_outputs": parts} if self.opset >= 18 else {}
            outputs = self.add("Split", x, outputs=parts, axis=0, **more)
            return self.add("Concat", *outputs[::-1], axis=0)[0], shape
        if way == 10:
            above = self.add("Greater", x, self.constant(np.float32(0.7)))[0]
            return self.add("Where", above, x, self.constant(self.numbers(a, 1, 1)))[0], shape
        if way == 11:
            wide = self.add("Cast", x, to=onnx.TensorProto.DOUBLE)[0]
            return self.add("Cast", wide, to=onnx.TensorProto.FLOAT)[0], shape
        if way == 12:
            low, high = self.constant(np.float32(0.3)), self.constant(np.float32(0.9))
            return self.add("Clip", x, low, high)[0], shape
        if way == 13:
            one = self.add("Slice", x, *(self.constant(np.array([n])) for n in (0, 1, 0)))[0]
            flat = self.on_axes("Squeeze", one, [0])
            return self.on_axes("Unsqueeze", flat, [-3]), (1, b)
        if way == 14:
            return self.add("CumSum", x, self.constant(np.array(self.integers(0, 2))), reverse=1)[0], shape
        sizes = self.add("Shape", x)[0]
        eye = self.constant(np.float32(self.generator.uniform()))
        return self.add("Add", x, self.add("Expand", eye, sizes)[0])[0], shape

    def state(self, rows: int) -> str:
        x, shape = self.start()
        for _ in range(self.integers(1, 9)):
            x, shape = self.step(x, shape)
        x = self.on_axes("ReduceMean", x, [0, 1], 18, keepdims=1)
        x = self.add("Clip", x, self.constant(np.float32(-2)), self.constant(np.float32(2)))[0]
        if self.integers(0, 2):
            target = self.constant(np.array([1, rows, 1]))
        else:
            count = self.add("Slice", self.add("Shape", "X")[0], *(self.constant(np.array([n])) for n in (1, 2)))[0]
            one = self.constant(np.array([1]))
            target = self.add("Concat", one, count, one, axis=0)[0]
        return self.add("Expand", x, target)[0]

    def lengths(self, rows: int) -> str:
        x = self.constant(self.generator.integers(1, STEPS + 1, rows))
        way = self.integers(0, 3)
        if way == 0 and self.opset > 11:
            x = self.add("Min", x, self.constant(np.array(3)))[0]
        elif way == 1:
            x = self.add("Gather", x, self.constant(self.generator.integers(-rows, rows, rows)))[0]
        return self.add("Cast", x, to=onnx.TensorProto.INT32)[0]

    def weight(self, array: np.ndarray) -> str:
        x = self.constant(np.ascontiguousarray(array.transpose(0, 2, 1)))
        x = self.add("Transpose", x, perm=[0, 2, 1])[0]
        for _ in range(self.integers(0, 4)):
            way = self.integers(0, 3)
            if way == 0:
                x = self.add("Mul", x, self.constant(self.numbers(1, 4 * HIDDEN, 1)))[0]
            elif way == 1:
                gates = self.add("Split", x, outputs=4, axis=1, **({"num_outputs": 4} if self.opset >= 18 else {}))
                x = self.add("Concat", *(gates[n] for n in self.generator.permutation(4)), axis=1)[0]
            else:
                x = self.add("Identity", self.add("Cast", x, to=onnx.TensorProto.DOUBLE)[0])[0]
                x = self.add("Cast", x, to=onnx.TensorProto.FLOAT)[0]
        return x


@pytest.mark.parametrize("seed", range(120))
def test_chains_of_operations(seed: int, tmp_path: Path) -> None:
    """Every one is what ONNX Runtime makes of it; none is refused, for all that they do is known."""
    generator = np.random.default_rng([15, seed])
    opset = int(generator.choice([11, 13, 17, 18, 21]))
    chain, rows = Chain(generator, opset), int(generator.integers(1, 5))
    roles: dict[str, str] = {}
    for role, make in {"h": chain.state, "c": chain.state, "lengths": chain.lengths}.items():
        if generator.random() < 0.7:
            roles[make(rows)] = SOURCES[role]
    arrays = weights(generator)
    for name in ("W", "R"):
        if generator.random() < 0.5:
            roles[chain.weight(arrays.pop(name))] = name
    built = Built(chain.nodes, chain.constants, tmp_path, sources=roles, opset=opset, arrays=arrays)
    built.check(batch(generator, rows))
