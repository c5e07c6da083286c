"""What ONNX nodes read beside X: states and lengths that constants and sizes of the input make, or the caller.

ONNX Runtime says what is right.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import onnx_files
from support.onnx_files import helper, onnx
from support.onnx_runtime import theirs
from support.onnx_states import (
    FIXED,
    HIDDEN,
    LEARNED,
    ROWS,
    ROWS_OF_X,
    STATE_SHAPE,
    STEPS,
    WIDTH,
    ZEROS,
    Built,
    batch,
    constant_of,
    op,
    weights,
)

from numba_lstm import cli
from numba_lstm.io import onnx as ours

pytestmark = pytest.mark.usefixtures("threads")


# --- learned states, whatever the batch ---------------------------------------------------------------------

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


# --- lengths ------------------------------------------------------------------------------------------------

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


# --- what only the caller can know --------------------------------------------------------------------------


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
