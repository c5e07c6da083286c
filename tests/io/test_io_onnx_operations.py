"""Operations on constants by the letter of their opset, beside ONNX Runtime and the reference of the onnx package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import onnx_files
from support.allocations import at_most
from support.onnx_files import helper, onnx

from numba_lstm.io import onnx as ours
from numba_lstm.io.onnx.constants import graph, values

runtime = pytest.importorskip("onnxruntime")

Case = tuple[str, list[Any], dict[str, Any]]
"""Kind, inputs (None where one is left out) and attributes; outputs are as many as ``outputs`` says, else one."""


def numbers(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    """Return numbers that are not symmetric in any way."""
    count = int(np.prod(shape))
    return (np.arange(count) * 7919 % 31 / 10 - 1.3).reshape(shape).astype(dtype)


def ints(*values: Any, dtype: Any = np.int64) -> np.ndarray:
    return np.array(values, dtype)


def model_of(case: Case, opset: int) -> tuple[Any, list[str]]:
    kind, inputs, attributes = case
    attributes = dict(attributes)
    outputs = [f"o{n}" for n in range(attributes.pop("outputs", 1))]
    names = ["" if each is None else f"i{n}" for n, each in enumerate(inputs)]
    node = helper.make_node(kind, names, outputs, **attributes)
    constants = {name: np.asarray(each) for name, each in zip(names, inputs, strict=True) if name}
    made = onnx_files.model([node], constants, [], [onnx.ValueInfoProto(name=name) for name in outputs], opset)
    return made, outputs


def lstms_of(path: Path) -> list[graph.Place]:
    return graph.read(path.read_bytes(), path.parent, {"LSTM"})


def computed(case: Case, opset: int, folder: Path) -> list[np.ndarray]:
    """Return what the loader makes of a case, in a model with a node that it could be for."""
    made, outputs = model_of(case, opset)
    made.graph.node.append(helper.make_node("LSTM", ["X", "W", "R"], ["Y"], name="lstm"))
    del made.graph.output[:]
    path = onnx_files.save(made, folder)
    (place,) = lstms_of(path)
    found = [values.Values.of(place.graph).value(name) for name in outputs]
    return [np.asarray(each) for each in found]


def expected(case: Case, opset: int) -> list[np.ndarray]:
    """Return what a case is to others."""
    return ran(model_of(case, opset)[0])


def ran(made: Any) -> list[np.ndarray]:
    """Return what ONNX Runtime computes, or the reference if it has no such operator."""
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return list(runtime.InferenceSession(made.SerializeToString(), options).run(None, {}))
    except Exception as error:
        if "NOT_IMPLEMENTED" not in str(error):
            raise
        from onnx.reference import ReferenceEvaluator

        return list(ReferenceEvaluator(made).run(None, {}))


X = numbers(3, 4, 5)
ONE = numbers(1, 4, 1)
BYTES = (np.arange(24) * 37 % 200 - 100).astype(np.int8).reshape(4, 6)
BLOCKS = np.abs(numbers(4, 3)) + 0.1

RIGHT: dict[str, list[tuple[int, Case]]] = {
    "axes": [
        *((v, ("Squeeze", [ONE], {"axes": [0, -1]})) for v in (7, 11)),
        *((v, ("Squeeze", [ONE, ints(0, -1)], {})) for v in (13, 21)),
        *((v, ("Squeeze", [ONE], {})) for v in (7, 13)),
        *((v, ("Unsqueeze", [X], {"axes": [0, 4]})) for v in (7, 11)),
        *((v, ("Unsqueeze", [X, ints(-1, 1)], {})) for v in (13, 21)),
    ],
    "reduce": [
        *(
            (v, (kind, [X], {"axes": [1, -1], "keepdims": keep}))
            for kind in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceL2")
            for v in (11,)
            for keep in (0, 1)
        ),
        *((v, ("ReduceSum", [X, ints(1)], {})) for v in (13, 18)),
        (13, ("ReduceMean", [X], {"axes": [0]})),
        (18, ("ReduceMean", [X, ints(0)], {"keepdims": 0})),
        (18, ("ReduceProd", [X, ints()], {"noop_with_empty_axes": 1})),
        (13, ("ReduceSum", [X], {"noop_with_empty_axes": 1})),
        (18, ("ReduceMin", [X], {})),
    ],
    "slice": [
        (7, ("Slice", [X], {"starts": [1, -9], "ends": [99, -1], "axes": [2, 0]})),
        (7, ("Slice", [X], {"starts": [1], "ends": [2]})),
        *(
            (v, ("Slice", [X, ints(s), ints(e), ints(-1), ints(step)], {}))
            for v in (10, 13)
            for step in (1, 2, -1, -3)
            for s, e in ((0, 99), (-99, 99), (99, -99), (-2, 0), (3, -6))
        ),
        (13, ("Slice", [X, ints(-99), ints(-100), ints(0), ints(-1)], {})),
        (13, ("Slice", [X, ints(1), ints(3), None, ints(2)], {})),
    ],
    "reshape": [
        *(
            (v, ("Reshape", [X, ints(*shape)], {}))
            for v in (7, 13, 21)
            for shape in ((0, -1), (3, 20), (-1,), (0, 0, 5, 1))
        ),
        (14, ("Reshape", [numbers(0, 4), ints(2, 0)], {"allowzero": 1})),
        *((v, ("Flatten", [X], {"axis": axis})) for v, axis in ((7, 0), (7, 3), (13, -1), (13, 2))),
    ],
    "split": [
        *((v, ("Split", [X], {"outputs": 5, "axis": 2})) for v in (7, 11, 13)),
        (11, ("Split", [X], {"outputs": 2, "axis": -2, "split": [1, 3]})),
        (13, ("Split", [X, ints(0, 3)], {"outputs": 2})),
        *(
            (18, ("Split", [numbers(size, 2)], {"outputs": parts, "num_outputs": parts}))
            for size, parts in ((10, 4), (4, 3), (6, 4), (5, 2), (1, 1))
        ),
        (18, ("Split", [X, ints(2, 2)], {"outputs": 2, "axis": 1})),
    ],
    "gather": [
        *(
            (v, ("Gather", [X, ints(*where)], {"axis": axis}))
            for v in (11, 13)
            for where, axis in (((0, -1), 0), (((2, -3), (0, 1)), 1), ((-5,), -1))
        ),
        (13, ("GatherElements", [X, (np.arange(24) % 6 - 3).reshape(2, 4, 3)], {"axis": 0})),
    ],
    "growth": [
        *((v, ("Expand", [ONE, ints(*shape)], {})) for v in (8, 13) for shape in ((3, 1, 5), (2, 1, 1, 1), (), (4, 2))),
        *((v, ("Tile", [X, ints(2, 1, 3)], {})) for v in (7, 13)),
        (13, ("Tile", [X, ints(0, 1, 1)], {})),
        (9, ("ConstantOfShape", [ints(2, 3)], {})),
        (13, ("ConstantOfShape", [ints()], {"value": onnx.numpy_helper.from_array(ints(7, dtype=np.int32))})),
        *(
            (11, ("Range", [np.array(a), np.array(b), np.array(c)], {}))
            for a, b, c in ((0, 7, 2), (7, 0, -3), (3, 3, 1))
        ),
        (11, ("Range", list(map(np.float32, (0.5, 2.7, 0.3))), {})),
        *((13, ("EyeLike", [numbers(3, 4)], {"k": k, "dtype": to})) for k, to in ((0, 1), (-1, 7), (9, 6))),
        *((13, ("Concat", [X, X[:, :1]], {"axis": axis})) for axis in (1, -2)),
    ],
    "pad": [
        *(
            (v, ("Pad", [numbers(3, 4)], {"pads": [0, 1, 2, -1], "value": 1.5, "mode": mode}))
            for v in (7,)
            for mode in ("constant", "edge", "reflect")
        ),
        *((v, ("Pad", [numbers(3, 4), ints(1, 0, 0, 2), np.float32(2)], {})) for v in (11, 13, 18)),
        (18, ("Pad", [numbers(3, 4), ints(1, 2), None, ints(-1)], {"mode": "edge"})),
        (18, ("Pad", [numbers(3, 1), ints(1, 2), None, ints(-1)], {"mode": "edge"})),
        (21, ("Pad", [numbers(3, 4), ints(0, -2, 1, 0)], {})),
    ],
    "cast": [
        *((13, ("Cast", [numbers(9)], {"to": to})) for to in (1, 5, 6, 7, 9, 10, 11)),
        *((9, ("Cast", [ints(300, -1, 0)], {"to": to})) for to in (1, 2, 3, 4, 5, 6, 9, 10, 12, 13)),
        (15, ("CastLike", [numbers(4), ints(1)], {})),
        *((v, ("Clip", [X], {"min": -0.5, "max": 0.7})) for v in (6, 7)),
        *((v, ("Clip", [X, np.float32(-0.5), None], {})) for v in (11, 13)),
        (12, ("Clip", [ints(-9, 4, 9), np.array(-3), np.array(5)], {})),
        *((v, ("Transpose", [X], {})) for v in (7, 13)),
        *((v, ("Dropout", [X], {})) for v in (7, 10, 12)),
        (13, ("Dropout", [X], {"outputs": 2})),
        (15, ("Shape", [X], {"start": 1, "end": -1})),
        (13, ("Shape", [X], {})),
        (13, ("Size", [X], {})),
    ],
    "numbers": [
        *((13, (kind, [X, numbers(4, 1)], {})) for kind in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean")),
        *((13, ("Div", [ints(7, -7, 7, -7), ints(2, 2, -2, -2)], {})) for _ in range(1)),
        *((13, ("Mod", [ints(7, -7, 7, -7), ints(3, 3, -3, -3)], {"fmod": fmod})) for fmod in (0, 1)),
        (13, ("Mod", [X, numbers(5) + 3], {"fmod": 1})),
        *((13, ("Pow", [np.abs(X), y], {})) for y in (np.float32(1.5), np.array(3))),
        (13, ("Pow", [ints(2, 3, dtype=np.int32), np.array([2.5, 0.5], np.float32)], {})),
        *(
            (13, (kind, [X], {}))
            for kind in ("Neg", "Abs", "Exp", "Tanh", "Sigmoid", "Floor", "Ceil", "Sign", "Cos", "Relu")
        ),
        (13, ("Round", [np.array([0.5, 1.5, -2.5, 2.4], np.float32)], {})),
        *((13, (kind, [ints(1, 2, 3), np.array(2)], {})) for kind in ("Equal", "Less", "GreaterOrEqual")),
        (13, ("Where", [np.array([True, False]), numbers(2, 1), numbers(2)], {})),
        *((14, ("CumSum", [X, np.array(-1)], {"exclusive": e, "reverse": r})) for e in (0, 1) for r in (0, 1)),
    ],
    "quantised": [
        *((v, ("DequantizeLinear", [BYTES, np.float32(0.1), np.int8(3)], {})) for v in (10, 13, 19, 21)),
        *(
            (v, ("DequantizeLinear", [BYTES, numbers(6), ints(*range(6), dtype=np.int8)], {"axis": -1}))
            for v in (13, 21)
        ),
        (13, ("DequantizeLinear", [BYTES.view(np.uint8), numbers(4)], {"axis": 0})),
        (13, ("DequantizeLinear", [BYTES.astype(np.int32) * 9999, np.float32(0.1)], {})),
        (19, ("DequantizeLinear", [BYTES, np.float16(0.1), np.int8(3)], {})),
        (21, ("DequantizeLinear", [BYTES, BLOCKS], {"axis": 1, "block_size": 2})),
        (21, ("DequantizeLinear", [BYTES, BLOCKS[:, :2], np.ones((4, 2), np.int8)], {"axis": 1, "block_size": 4})),
        (13, ("QuantizeLinear", [numbers(4, 6) * 50, numbers(6) + 2, ints(*range(6), dtype=np.int8)], {})),
        (10, ("QuantizeLinear", [numbers(4, 6) * 50, np.float32(0.3)], {})),
    ],
}


@pytest.mark.parametrize("group", RIGHT)
def test_operations_beside_onnx_runtime(group: str, tmp_path: Path) -> None:
    for opset, case in RIGHT[group]:
        wanted = expected(case, opset)
        for one, other in zip(computed(case, opset, tmp_path), wanted, strict=True):
            assert one.shape == other.shape, (opset, case)
            assert one.dtype == other.dtype, (opset, case)
            np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6, err_msg=f"{opset} {case}")


@pytest.mark.parametrize("kind", ["DequantizeLinear", "QuantizeLinear"])
def test_a_block_is_no_longer_than_its_axis(kind: str, tmp_path: Path) -> None:
    """Whatever a small file says of its size."""
    x = BYTES if kind == "DequantizeLinear" else numbers(4, 6) * 50
    inputs = [x, BLOCKS[:1].repeat(2, axis=1), ints([1, 2, 3, 4, 5, 6], dtype=np.int8)]
    (wanted,) = computed((kind, inputs, {"axis": 0, "block_size": 4}), 21, tmp_path)
    with at_most(16 << 20):
        (found,) = computed((kind, inputs, {"axis": 0, "block_size": 1 << 40}), 21, tmp_path)
    np.testing.assert_array_equal(found, wanted)


WRONG: list[tuple[int, Case, str]] = [
    (13, ("Squeeze", [ONE], {"axes": [0]}), "Squeeze of opset 13 has no attribute 'axes'"),
    (11, ("Squeeze", [ONE, ints(0)], {}), "Squeeze of opset 11 does not take 2 inputs"),
    (13, ("Squeeze", [X, ints(0)], {}), "Squeeze cannot be computed"),
    (13, ("Unsqueeze", [X, ints(0, 0)], {}), "Unsqueeze cannot be computed: an axis twice"),
    (13, ("ReduceMean", [X, ints(0)], {}), "does not take 2 inputs"),
    (18, ("ReduceMean", [X], {"axes": [0]}), "has no attribute 'axes'"),
    (9, ("Slice", [X, ints(0), ints(1)], {}), "Slice of opset 9"),
    (13, ("Slice", [X], {"starts": [0], "ends": [1]}), "has no attribute '(starts|ends)'"),
    (13, ("Slice", [X, ints(0), ints(1), ints(0), ints(0)], {}), "Slice cannot be computed"),
    (13, ("Reshape", [X, ints(1, 0)], {"allowzero": 1}), "has no attribute 'allowzero'"),
    (14, ("Reshape", [X, ints(0, -1)], {"allowzero": 1}), "0 and -1 together"),
    (13, ("Reshape", [X, ints(-2, 30)], {}), "Reshape cannot be computed"),
    (17, ("Split", [X], {"outputs": 2, "num_outputs": 2}), "has no attribute 'num_outputs'"),
    (18, ("Split", [X], {"outputs": 2}), "either sizes or num_outputs"),
    (18, ("Split", [X], {"outputs": 2, "num_outputs": 3}), "in parts of"),
    (18, ("Split", [numbers(5, 2)], {"outputs": 4, "num_outputs": 4}), "in parts of"),
    (13, ("Split", [X], {"outputs": 2}), "3 in 2 equal parts"),
    (13, ("Split", [X, ints(1, 1)], {"outputs": 2}), "in parts of"),
    (13, ("Split", [X], {"outputs": 2, "split": [1, 2]}), "has no attribute 'split'"),
    (13, ("Gather", [X, ints(3)], {}), "Gather cannot be computed"),
    (13, ("Concat", [X, X], {}), "has to have an attribute 'axis'"),
    (13, ("Concat", [X, X.astype(np.float64)], {"axis": 0}), "together"),
    (7, ("Expand", [ONE, ints(3, 4, 5)], {}), "Expand is no operator of opset 7"),
    (13, ("Expand", [X, ints(2, 4, 5)], {}), "Expand cannot be computed"),
    (13, ("Tile", [X, ints(2)], {}), "Tile cannot be computed"),
    (13, ("Range", [np.array(0), np.array(1), np.array(0)], {}), "Range cannot be computed"),
    (13, ("Clip", [X], {"min": 0.0}), "has no attribute 'min'"),
    (11, ("Clip", [ints(1, 2)], {}), "does not take tensor"),
    (13, ("Cast", [np.array([1e20, np.nan], np.float32)], {"to": 6}), "Cast cannot be computed"),
    (13, ("Cast", [X], {"to": onnx.TensorProto.STRING}), "a type that is not known here"),
    (13, ("Add", [X, ints(1)], {}), "together"),
    (13, ("Div", [ints(1), ints(0)], {}), "integers by zero"),
    (13, ("Dropout", [X, np.float32(0.5), np.array(True)], {}), "drops while the model runs"),
    (6, ("Dropout", [X], {}), "drops while the model runs"),
    (10, ("DequantizeLinear", [BYTES, numbers(6)], {}), "scales of shape"),
    (19, ("DequantizeLinear", [BYTES, BLOCKS], {"block_size": 2}), "has no attribute 'block_size'"),
    (21, ("DequantizeLinear", [BYTES, BLOCKS], {"block_size": 3}), "for blocks of 3"),
    (14, ("Shape", [X], {"start": 1}), "has no attribute 'start'"),
    (13, ("RandomNormalLike", [X], {}), "RandomNormalLike computes it"),
]


@pytest.mark.parametrize(("opset", "case", "words"), WRONG, ids=lambda value: None)
def test_what_no_opset_means_is_refused(opset: int, case: Case, words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        computed(case, opset, tmp_path)


LARGE = np.array([1, 1e20, 3, np.inf, 2], np.float32)


@pytest.mark.parametrize("reverse", [0, 1])
@pytest.mark.parametrize("x", [LARGE, LARGE[:1], LARGE[:0], np.stack([LARGE, -LARGE])], ids=lambda x: str(x.shape))
def test_sums_without_the_last_one_have_nothing_of_it(x: np.ndarray, reverse: int, tmp_path: Path) -> None:
    """A number that is added and taken off again leaves rounding errors, and infinity leaves NaN."""
    case = "CumSum", [x, np.array(-1)], {"exclusive": 1, "reverse": reverse}
    (found,) = computed(case, 14, tmp_path)
    (wanted,) = expected(case, 14)
    assert found.dtype == wanted.dtype
    np.testing.assert_array_equal(found, wanted)


OLD: list[tuple[int, Case, np.ndarray]] = [
    (6, ("Add", [X, numbers(4)], {"broadcast": 1, "axis": 1}), X + numbers(4)[:, None]),
    (6, ("Mul", [X, numbers(4, 5)], {"broadcast": 1}), X * numbers(4, 5)),
    (6, ("Sub", [X, X[::-1].copy()], {}), X - X[::-1]),
    (1, ("Concat", [X, X], {}), np.concatenate([X, X], 1)),
    (5, ("Cast", [X], {"to": "DOUBLE"}), X.astype(np.float64)),
    (1, ("Reshape", [X], {"shape": [0, -1]}), X.reshape(3, 20)),
    (1, ("Tile", [X, np.float32(2), np.float32(1)], {}), np.tile(X, (1, 2, 1))),
    (1, ("Split", [X], {"axis": 1, "split": [4]}), X),
    (1, ("Pad", [numbers(2, 2)], {"paddings": [0, 1, 1, 0]}), np.pad(numbers(2, 2), ((0, 1), (1, 0)))),
    (6, ("Dropout", [X], {"is_test": 1}), X),
    (5, ("Max", [X, -X], {}), np.abs(X)),
]


@pytest.mark.parametrize(("opset", "case", "value"), OLD, ids=lambda value: None)
def test_forms_from_before_opset_7(opset: int, case: Case, value: np.ndarray, tmp_path: Path) -> None:
    """ONNX Runtime has none of them any more; what they mean is in ONNX's list of changes."""
    (found,) = computed(case, opset, tmp_path)
    assert found.dtype == value.dtype
    np.testing.assert_array_equal(found, value)
    if opset == 6 and case[0] == "Mul":  # without the attribute nothing is stretched
        with pytest.raises(ValueError, match="without broadcast"):
            computed((case[0], case[1], {}), opset, tmp_path)


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ({"value_float": 1.5}, np.float32(1.5)),
        ({"value_floats": [1.5, 2]}, np.float32([1.5, 2])),
        ({"value_int": 3}, np.int64(3)),
        ({"value_ints": [3, 4]}, np.int64([3, 4])),
        ({"value": onnx.numpy_helper.from_array(X)}, X),
    ],
    ids=str,
)
def test_constants_of_every_kind(given: dict[str, Any], value: np.ndarray, tmp_path: Path) -> None:
    (found,) = computed(("Constant", [], given), 13, tmp_path)
    assert found.dtype == value.dtype
    np.testing.assert_array_equal(found, value)


@pytest.mark.parametrize("given", [{"value_string": "a"}, {}, {"value_int": 1, "value_float": 1.0}], ids=str)
def test_constants_that_hold_no_numbers(given: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Constant cannot be computed"):
        computed(("Constant", [], given), 13, tmp_path)
    with pytest.raises(ValueError, match="Constant of opset 11 has no attribute 'value_int'"):
        computed(("Constant", [], {"value_int": 1}), 11, tmp_path)


def test_bfloat16_is_rounded_and_widened(tmp_path: Path) -> None:
    """To the nearest, and to even ones: 1 + 2**-8 lies between two."""
    x = np.array([1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, -3.0, np.inf], np.float32)
    made, _ = model_of(("Cast", [x], {"to": onnx.TensorProto.BFLOAT16}), 13)
    made.graph.node.append(helper.make_node("Cast", ["o0"], ["wide"], to=onnx.TensorProto.FLOAT))
    made.graph.node.append(helper.make_node("LSTM", ["X", "W", "R"], ["Y"]))
    (place, *_) = lstms_of(onnx_files.save(made, tmp_path))
    found = values.Values.of(place.graph).value("wide")
    np.testing.assert_array_equal(found, np.float32([1, 1 + 2**-6, 1 + 2**-7, -3, np.inf]))
    with pytest.raises(ValueError, match="Cast of opset 9 does not make tensor"):
        computed(("Cast", [x], {"to": onnx.TensorProto.BFLOAT16}), 9, tmp_path)


FOUR_BITS: dict[str, tuple[list[tuple[str, str]], str | None]] = {
    "dequantised": ([("DequantizeLinear", "w scale z")], None),
    "moved and dequantised": ([("Reshape", "w shape"), ("Transpose", "v0"), ("DequantizeLinear", "v1 scale z")], None),
    "cast": ([("Cast", "w")], None),
    "of a type": ([("CastLike", "w scale")], None),
    "with themselves": ([("CastLike", "w z"), ("DequantizeLinear", "v0 scale")], None),
    "quantised": ([("QuantizeLinear", "x scale z"), ("DequantizeLinear", "v0 scale z")], "QuantizeLinear cannot be"),
    "quantised by a moved zero point": (
        [("Identity", "z"), ("QuantizeLinear", "x scale v0"), ("DequantizeLinear", "v1 scale z")],
        "QuantizeLinear cannot be",
    ),
    "others of their type": ([("CastLike", "x w"), ("DequantizeLinear", "v0 scale z")], "CastLike cannot be computed"),
    "added": ([("Add", "w w"), ("DequantizeLinear", "v0 scale z")], "Add of opset 21 does not take tensor.u?int4."),
    "beside a zero point of 8 bits": ([("DequantizeLinear", "w scale eight")], "does not take tensor.* together"),
}


@pytest.mark.parametrize("kind", ["INT4", "UINT4"])
@pytest.mark.parametrize("way", FOUR_BITS)
def test_integers_of_four_bits(way: str, kind: str, tmp_path: Path) -> None:
    """They are moved and widened as ONNX Runtime does, and nothing becomes one here: it would have to saturate."""
    steps, words = FOUR_BITS[way]
    constants = {"x": np.float32([[90, 20, 3, 4.5]]), "scale": np.float32(0.5), "shape": ints(4, 1)}
    constants["eight"] = np.array(1, np.int8 if kind == "INT4" else np.uint8)
    nodes = [
        helper.make_node(step, inputs.split(), [f"v{n}"], **({"to": 1} if step == "Cast" else {}))
        for n, (step, inputs) in enumerate(steps)
    ]
    last = nodes[-1].output[0]
    made = onnx_files.model(nodes, constants, [], [onnx.ValueInfoProto(name=last)], 21)
    for name, values_of in {"w": np.array([[7, 5, 0, 3]]) - 3 * (kind == "INT4"), "z": np.array(1)}.items():
        of_kind = getattr(onnx.TensorProto, kind)
        made.graph.initializer.append(helper.make_tensor(name, of_kind, values_of.shape, values_of.ravel().tolist()))
    made.ir_version = 10
    (wanted,) = ran(made) if words is None else [None]
    made.graph.node.append(helper.make_node("LSTM", ["X", "W", "R"], ["Y"], name="lstm"))
    (place,) = lstms_of(onnx_files.save(made, tmp_path))
    if wanted is not None:
        found = values.Values.of(place.graph).value(last)
        assert found.dtype == wanted.dtype
        np.testing.assert_array_equal(found, wanted)
    else:
        with pytest.raises(ValueError, match=words):
            values.Values.of(place.graph).value(last)


# --- weights ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["int8", "uint8", "INT4", "blocks"])
def test_quantised_weights_are_numbers(kind: str, tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    whole = generator.integers(-7, 8, (1, 16, 4))
    scale = (generator.uniform(0.5, 1, 16) / 10).astype(np.float32)
    zero = np.zeros(16, np.int64)
    attributes: dict[str, Any] = {"axis": 1}
    wanted = whole * scale[:, None]
    if kind == "blocks":
        scale = (generator.uniform(0.5, 1, (1, 16, 2)) / 10).astype(np.float32)
        wanted, zero = whole * np.repeat(scale, 2, axis=2), np.zeros((1, 16, 2), np.int64)
        attributes = {"axis": 2, "block_size": 2}
    if kind == "uint8":
        zero += 9
        whole += 9
    to = {"INT4": onnx.TensorProto.INT4, "uint8": onnx.TensorProto.UINT8}.get(kind, onnx.TensorProto.INT8)
    nodes = [helper.make_node("DequantizeLinear", ["q", "s", "z"], ["R"], **attributes)]
    nodes.append(helper.make_node("LSTM", ["X", "W", "R"], ["Y"], name="lstm", hidden_size=4))
    inputs, outputs = [onnx_files.value("X", [2, 1, 1])], [onnx_files.value("Y", None)]
    made = onnx_files.model(nodes, {"W": numbers(1, 16, 1), "s": scale}, inputs, outputs, 21)
    for name, array in {"q": whole, "z": zero}.items():
        made.graph.initializer.append(helper.make_tensor(name, to, array.shape, array.reshape(-1).tolist()))
    made.ir_version = 10
    node = ours.load(onnx_files.save(made, tmp_path))["lstm"]
    np.testing.assert_allclose(node.weights.R, wanted, rtol=1e-6)
    x = np.ones((2, 1, 1), np.float32)
    y = runtime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"X": x})[0]
    np.testing.assert_allclose(node(x).Y, y, rtol=0, atol=2e-6)
    assert ours.load_lstm(tmp_path / "model.onnx").hidden_size == 4
