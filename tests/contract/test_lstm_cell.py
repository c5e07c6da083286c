"""``LSTMCell``: values, shapes, memory, parameters and errors, alone and next to torch where it is installed."""

from __future__ import annotations

import ast
import copy
import inspect
import json
import pickle
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from support import oracle
from support.cases import Case, Shape, both_dtypes, module, random_case, tolerance
from support.layouts import KINDS
from support.places import SHARED

import numba_lstm
from numba_lstm import LSTM, LSTMCell

F32 = np.float32
NAMES = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]

@pytest.fixture(scope="module")
def torch() -> Any:
    """Return torch; tests that ask for it are skipped where it is not installed."""
    return pytest.importorskip("torch")


def weights(case: Case) -> dict[str, np.ndarray]:
    """Return a case's weights by the names of a cell."""
    return {name.removesuffix("_l0"): array for name, array in case.state_dict.items()}


def cell_of(case: Case) -> LSTMCell:
    """Return a cell with a case's weights."""
    cell = LSTMCell(case.shape.input_size, case.shape.hidden_size, case.shape.bias, dtype=case.x.dtype)
    cell.load_state_dict(weights(case))
    return cell


def assert_same(actual: Any, expected: Any) -> None:
    """Compare two pairs of states bit for bit."""
    for name, a, b in zip(("h", "c"), actual, expected, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype), name
        assert a.tobytes() == b.tobytes(), name


@st.composite
def cases(draw: Any, steps: int = 1) -> Case:
    """Draw sizes, options and random numbers of a cell and its calls."""
    shape = Shape(
        draw(st.integers(1, 140), label="input"),
        draw(st.integers(1, 90), label="hidden"),
        bias=draw(st.booleans(), label="bias"),
        steps=steps,
        rows=draw(st.integers(1, 20), label="rows"),
    )
    dtype = draw(st.sampled_from([np.float32, np.float64]), label="dtype")
    return random_case(shape, draw(st.integers(0, 2**32 - 1), label="seed"), dtype)


# --- values -------------------------------------------------------------------------------------------------
@given(case=cases(), states=st.booleans())
def test_values(case: Case, states: bool) -> None:
    hx = (case.h_0[0], case.c_0[0]) if states else None
    got = cell_of(case)(case.x[0], hx)
    expected = oracle.lstm(case.state_dict, case.x, *(case.hx if states else (None, None)))
    for name, array, value in zip(("h", "c"), got, (expected.h_n[0], expected.c_n[0]), strict=True):
        assert array.dtype == case.x.dtype
        np.testing.assert_allclose(array, value, rtol=0, atol=tolerance(expected, array.dtype), err_msg=name)


@given(case=cases(steps=4), states=st.booleans(), batched=st.booleans())
def test_a_loop_gives_the_bits_of_an_lstm(case: Case, states: bool, batched: bool) -> None:
    rows = slice(None) if batched else 0
    x, h_0, c_0 = case.x[:, rows], case.h_0[:, rows], case.c_0[:, rows]
    cell, lstm = cell_of(case), module(case)
    output, (h_n, c_n) = lstm(x, (h_0, c_0) if states else None)
    hx = (h_0[0], c_0[0]) if states else None
    for t, step in enumerate(x):
        hx = cell(step, hx)
        assert hx[0].tobytes() == output[t].tobytes(), t
    assert hx is not None
    assert_same(hx, (h_n[0], c_n[0]))
    one = lstm(x[:1], (h_0, c_0))[1]
    assert_same(cell(x[0], (h_0[0], c_0[0])), (one[0][0], one[1][0]))


@both_dtypes
@pytest.mark.parametrize("states", [True, False])
@pytest.mark.parametrize("rows", [5, 1, 0, None])  # None: without the batch axis
def test_shapes_and_memory(rows: int | None, states: bool, dtype: Any) -> None:
    case = random_case(Shape(3, 4, steps=1, rows=5), 0, dtype)
    part = 0 if rows is None else slice(rows)
    x, hx = case.x[0, part], (case.h_0[0, part], case.c_0[0, part])
    kept = [array.copy() for array in (x, *hx)]
    result = cell_of(case)(x, hx if states else None)
    assert type(result) is tuple
    for array in result:
        assert type(array) is np.ndarray
        assert array.shape == ((4,) if rows is None else (rows, 4))
        assert array.dtype == dtype
        assert array.base is None
        assert array.flags.owndata
        assert array.flags.c_contiguous
        assert array.flags.writeable
        assert not any(np.shares_memory(array, array_in) for array_in in (x, *hx))
    assert not np.shares_memory(*result)
    for array, was in zip((x, *hx), kept, strict=True):
        np.testing.assert_array_equal(array, was)


def test_results_are_not_reused() -> None:
    case = random_case(Shape(3, 4), 0)
    cell = cell_of(case)
    first = cell(case.x[0])
    kept = tuple(array.copy() for array in first)
    second = cell(case.x[1], first)
    assert_same(first, kept)
    assert not any(np.shares_memory(a, b) for a in first for b in second)


def test_a_row_does_not_depend_on_the_others() -> None:
    case = random_case(Shape(20, 40, steps=1, rows=13), 0)
    cell = cell_of(case)
    h, c = cell(case.x[0], (case.h_0[0], case.c_0[0]))
    for row in range(13):
        assert_same(cell(case.x[0, row], (case.h_0[0, row], case.c_0[0, row])), (h[row], c[row]))


@pytest.mark.parametrize("kind", KINDS)
@both_dtypes
def test_every_kind_of_array(kind: str, dtype: Any) -> None:
    case = random_case(Shape(3, 5, steps=1, rows=6), 2, dtype)
    cell, x, hx = cell_of(case), case.x[0], (case.h_0[0], case.c_0[0])
    expected, alone = cell(x, hx), cell(x[0], (hx[0][0], hx[1][0]))
    arrays = [KINDS[kind](array) for array in (x, *hx)]
    before = [np.array(array) for array in arrays]
    assert_same(cell(arrays[0], (arrays[1], arrays[2])), expected)
    assert_same(cell(arrays[0], hx), expected)
    assert_same(cell(x, [arrays[1], hx[1]]), expected)  # type: ignore[arg-type]
    assert_same(cell(arrays[0]), cell(x))
    for array, was in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(np.array(array), was)
    if kind != "swapped":  # swaps two axes
        single = [KINDS[kind](array) for array in (x[0], hx[0][0], hx[1][0])]
        assert_same(cell(single[0], (single[1], single[2])), alone)


def test_what_kernels_can_read_is_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    case = random_case(Shape(3, 5, rows=4), 0)
    cell, wide = cell_of(case), np.zeros((4, 8), F32)
    seen: list[np.ndarray] = []
    call = numba_lstm.execution.network.Network.__call__

    def spy(self: Any, x: np.ndarray, *rest: Any, **options: Any) -> Any:
        seen.append(x)
        return call(self, x, *rest, **options)

    monkeypatch.setattr(numba_lstm.execution.network.Network, "__call__", spy)
    inputs = [case.x[0], case.x[0, 1], case.x[0, ::2], wide[:, :3]]
    for x in inputs:
        cell(x)
    cell(case.x[0], (case.h_0[0], case.c_0[0]))
    for x, passed in zip([*inputs, case.x], seen, strict=True):
        assert np.shares_memory(x, passed)


def test_forward_is_call_and_a_subclass_may_override_it() -> None:
    class Doubled(LSTMCell):
        def forward(self, input: np.ndarray, hx: Any = None) -> Any:
            h, c = super().forward(input, hx)
            return 2 * h, c

    case = random_case(Shape(3, 5), 0)
    cell, doubled = cell_of(case), Doubled(3, 5)
    doubled.load_state_dict(weights(case))
    hx = case.h_0[0], case.c_0[0]
    h, c = cell(case.x[0], hx)
    assert_same(cell.forward(case.x[0], hx), (h, c))
    assert_same(cell(input=case.x[0], hx=hx), (h, c))
    assert_same(doubled(case.x[0], hx), (2 * h, c))
    assert repr(doubled) == "Doubled(3, 5)"


# --- parameters ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("bias", [True, False])
def test_parameters_under_all_of_their_names(bias: bool) -> None:
    cell = LSTMCell(3, 5, bias, seed=0)
    shapes = dict(zip(NAMES[: 4 if bias else 2], [(20, 3), (20, 5), (20,), (20,)], strict=False))
    assert {name: array.shape for name, array in cell.state_dict().items()} == shapes
    assert list(cell.state_dict()) == list(shapes)
    assert list(cell.state_dict(prefix="a.")) == ["a." + name for name in shapes]
    assert [name for name, _ in cell.named_parameters("a")] == ["a." + name for name in shapes]
    for array, (name, other) in zip(cell.parameters(), cell.named_parameters(), strict=True):
        assert getattr(cell, name) is cell.state_dict()[name] is array is other
    for name in NAMES:
        assert dir(cell).count(name) == 1
    assert (cell.input_size, cell.hidden_size, cell.bias, cell.training) == (3, 5, bias, True)
    assert not hasattr(cell, "weight_ih_l0")
    assert not hasattr(cell, "num_layers")
    assert (cell.bias_ih is None, cell.bias_hh is None) == (not bias, not bias)


def test_initial_weights_are_those_of_an_lstm() -> None:
    for dtype in (np.float32, np.float64):
        cell, lstm = LSTMCell(3, 16, dtype=dtype, seed=7), LSTM(3, 16, dtype=dtype, seed=7)
        for name, array in cell.named_parameters():
            np.testing.assert_array_equal(array, getattr(lstm, name + "_l0"))
            assert np.abs(array).max() <= 0.25
    before = cell.weight_ih
    cell.reset_parameters()
    assert not np.array_equal(cell.weight_ih, before)


def test_parameters_are_assigned_and_not_written_into() -> None:
    case, other = (random_case(Shape(3, 5), seed) for seed in (0, 1))
    cell, x = cell_of(case), case.x[0]
    for name, array in weights(other).items():
        cell(x)
        with pytest.raises(ValueError, match="read-only: assign"):
            getattr(cell, name)[...] = 1
        setattr(cell, name, array.astype(np.float64) if "ih" in name else array.tolist())
    assert_same(cell(x), cell_of(other)(x))
    with pytest.raises(ValueError, match=re.escape("weight_ih should have shape (20, 3), got: (3, 20)")):
        cell.weight_ih = np.zeros((3, 20))
    with pytest.raises(TypeError, match="bias_ih should hold real numbers, got: complex128"):
        cell.bias_ih = np.zeros(20, complex)
    with pytest.raises(AttributeError):
        del cell.bias_ih
    assert_same(cell(x), cell_of(other)(x))


@pytest.mark.parametrize("name", ["bias_ih", "bias_hh"])
def test_a_bias_that_would_be_ignored_cannot_be_assigned(name: str) -> None:
    cell = LSTMCell(3, 5, bias=False)
    with pytest.raises(AttributeError, match=f"{name} cannot be assigned: the cell was made with bias=False"):
        setattr(cell, name, np.zeros(20))
    assert getattr(cell, name) is None


@pytest.mark.parametrize("name", ["input_size", "hidden_size", "bias"])
def test_sizes_cannot_be_changed(name: str) -> None:
    with pytest.raises(AttributeError, match=f"^{name} cannot be changed: make a new LSTMCell and load"):
        setattr(LSTMCell(3, 5), name, 2)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda cell: pickle.loads(pickle.dumps(cell))])
def test_copies(duplicate: Any, bias: bool) -> None:
    cell, x = LSTMCell(3, 5, bias, dtype=np.float64, seed=3), np.ones((2, 3))
    cell.note = ["mine"]
    expected = cell(x)
    other = duplicate(cell.eval())
    assert type(other) is LSTMCell
    assert (repr(other), other.training, other.note, other.dtype) == (repr(cell), False, ["mine"], np.float64)
    for name, array in cell.named_parameters():
        np.testing.assert_array_equal(getattr(other, name), array)
        assert not np.shares_memory(getattr(other, name), array)
    assert_same(other(x), expected)
    cell.reset_parameters()
    other.reset_parameters()
    assert_same(other(x), cell(x))  # the generator's state as well


def test_repr() -> None:
    assert repr(LSTMCell(3, 5)) == "LSTMCell(3, 5)"
    assert repr(LSTMCell(3, 5, False, dtype=np.float64)) == "LSTMCell(3, 5, bias=False)"


# --- errors -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arguments", "options", "kind", "message"),
    [
        ((0, 5), {}, ValueError, "input_size must be greater than zero"),
        ((-1, 5), {}, ValueError, "input_size must be greater than zero"),
        ((3, 0), {}, ValueError, "hidden_size must be greater than zero"),
        ((3.0, 5), {}, TypeError, "input_size should be of type int, got: float"),
        ((3, None), {}, TypeError, "hidden_size should be of type int, got: NoneType"),
        ((3, "5"), {}, TypeError, "hidden_size should be of type int, got: str"),
        ((3, 5, 1), {}, TypeError, "bias should be of type bool, got: int"),
        ((3, 5), {"bias": None}, TypeError, "bias should be of type bool, got: NoneType"),
        ((3, 5), {"dtype": np.float16}, TypeError, "dtype should be float32 or float64, got: <class 'numpy.float16'>"),
        ((3, 5, True, np.float64), {}, TypeError, None),
        ((3, 5), {"num_layers": 2}, TypeError, None),
        ((3,), {}, TypeError, None),
    ],
    ids=str,
)
def test_constructions(arguments: Any, options: dict[str, Any], kind: type, message: str | None) -> None:
    with pytest.raises(kind) as caught:
        LSTMCell(*arguments, **options)
    assert type(caught.value) is kind
    assert message is None or str(caught.value) == message


# input, states, type, the whole message as torch 2.13 has it; the cells are LSTMCell(3, 4)
CALLS: list[tuple[tuple[int, ...], tuple[tuple[int, ...], ...] | None, type, str]] = [
    ((), None, ValueError, "LSTMCell: Expected input to be 1D or 2D, got 0D instead"),
    ((2, 2, 3), None, ValueError, "LSTMCell: Expected input to be 1D or 2D, got 3D instead"),
    ((2, 4), None, RuntimeError, "input has inconsistent input_size: got 4 expected 3"),
    ((4,), None, RuntimeError, "input has inconsistent input_size: got 4 expected 3"),
    ((0, 4), None, RuntimeError, "input has inconsistent input_size: got 4 expected 3"),
    ((2, 0), None, RuntimeError, "input has inconsistent input_size: got 0 expected 3"),
    ((2, 3), ((), (2, 4)), ValueError, "LSTMCell: Expected hx[0] to be 1D or 2D, got 0D instead"),
    ((2, 3), ((1, 2, 4), (1, 2, 4)), ValueError, "LSTMCell: Expected hx[0] to be 1D or 2D, got 3D instead"),
    ((2, 3), ((2, 4), (2, 4, 1)), ValueError, "LSTMCell: Expected hx[1] to be 1D or 2D, got 3D instead"),
    ((3,), ((4,), ()), ValueError, "LSTMCell: Expected hx[1] to be 1D or 2D, got 0D instead"),
    ((2, 3), (), RuntimeError, "lstm_cell expects two hidden states"),
    ((2, 3), ((2, 4),), RuntimeError, "lstm_cell expects two hidden states"),
    ((2, 3), ((2, 4), (2, 4), (2, 4)), RuntimeError, "lstm_cell expects two hidden states"),
    ((2, 3), ((5, 4), (2, 4)), RuntimeError, "Input batch size 2 doesn't match hidden0 batch size 5"),
    ((2, 3), ((2, 4), (1, 4)), RuntimeError, "Input batch size 2 doesn't match hidden1 batch size 1"),
    ((0, 3), ((1, 4), (1, 4)), RuntimeError, "Input batch size 0 doesn't match hidden0 batch size 1"),
    ((2, 3), ((4,), (4,)), RuntimeError, "Input batch size 2 doesn't match hidden0 batch size 4"),
    ((2, 3), ((2, 4), (4,)), RuntimeError, "Input batch size 2 doesn't match hidden1 batch size 4"),
    ((2, 3), ((2, 5), (2, 4)), RuntimeError, "hidden0 has inconsistent hidden_size: got 5, expected 4"),
    ((2, 3), ((2, 4), (2, 1)), RuntimeError, "hidden1 has inconsistent hidden_size: got 1, expected 4"),
    ((3,), ((5,), (4,)), RuntimeError, "hidden0 has inconsistent hidden_size: got 5, expected 4"),
    ((3,), ((4,), (0,)), RuntimeError, "hidden1 has inconsistent hidden_size: got 0, expected 4"),
    ((3,), ((1, 4), (1, 4)), RuntimeError, "hidden0 has inconsistent hidden_size: got 1, expected 4"),
    ((3,), ((4,), (1, 4)), RuntimeError, "hidden1 has inconsistent hidden_size: got 1, expected 4"),
    # several mistakes: the one that torch names
    ((2, 2, 4), ((), ()), ValueError, "LSTMCell: Expected input to be 1D or 2D, got 3D instead"),
    ((2, 4), ((2, 4, 4),), ValueError, "LSTMCell: Expected hx[0] to be 1D or 2D, got 3D instead"),
    ((2, 4), ((2, 4), (2, 4), ()), ValueError, "LSTMCell: Expected hx[2] to be 1D or 2D, got 0D instead"),
    ((2, 4), ((2, 4),), RuntimeError, "lstm_cell expects two hidden states"),
    ((2, 4), ((3, 5), (2, 4)), RuntimeError, "input has inconsistent input_size: got 4 expected 3"),
    ((2, 3), ((3, 5), (2, 4)), RuntimeError, "Input batch size 2 doesn't match hidden0 batch size 3"),
    ((2, 3), ((2, 5), (3, 4)), RuntimeError, "hidden0 has inconsistent hidden_size: got 5, expected 4"),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "sizes come before dtypes"])
@pytest.mark.parametrize(("shape", "states", "kind", "message"), CALLS, ids=str)
def test_calls(shape: Any, states: Any, kind: type, message: str, dtype: Any) -> None:
    cell = LSTMCell(3, 4)
    hx = None if states is None else tuple(np.zeros(s, dtype) for s in states)
    for call in (cell, cell.forward):
        with pytest.raises(kind) as caught:
            call(np.zeros(shape, dtype), hx)
        assert type(caught.value) is kind
        assert str(caught.value) == message


@pytest.mark.parametrize(
    ("shape", "states", "message"),
    [  # torch raises an IndexError or what a sum of tensors says, or takes it
        ((2, 3), ((2,), (2,)), "For batched 2-D input, hx[0] should also be 2-D, got 1-D"),
        ((2, 3), ((2, 4), (2,)), "For batched 2-D input, hx[1] should also be 2-D, got 1-D"),
        ((3,), ((4, 4), (4, 4)), "For unbatched 1-D input, hx[0] should also be 1-D, got 2-D"),
        ((3,), ((4,), (4, 1)), "For unbatched 1-D input, hx[1] should also be 1-D, got 2-D"),
    ],
    ids=str,
)
def test_states_with_another_number_of_axes(shape: Any, states: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        LSTMCell(3, 4)(np.zeros(shape, F32), tuple(np.zeros(s, F32) for s in states))  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_states_of_one_row_that_are_no_pair(count: int) -> None:
    """torch trips over too few here, and leaves a third out."""
    with pytest.raises(RuntimeError, match=r"^lstm_cell expects two hidden states$"):
        LSTMCell(3, 4)(np.zeros(3, F32), (np.zeros(4, F32),) * count)  # type: ignore[arg-type]


def test_arrays_of_another_dtype() -> None:
    x, right = np.zeros((2, 3), F32), np.zeros((2, 4), F32)
    wrong = right.astype(np.float64)
    for array, hx, message in (
        (x.astype(np.float64), None, "RNN input dtype (float64) does not match weight dtype (float32). "
         "Convert input: input.astype(np.float32), or build the model with dtype=np.float64"),
        (x.astype(np.int64), (right, right), "RNN input dtype (int64) does not match weight dtype (float32). "
         "Convert input: input.astype(np.float32)"),
        (x, (wrong, right), "hx[0] dtype (float64) does not match weight dtype (float32). "
         "Convert h_0: h_0.astype(np.float32), or build the model with dtype=np.float64"),
        (x, (right, wrong), "hx[1] dtype (float64) does not match weight dtype (float32). "
         "Convert c_0: c_0.astype(np.float32), or build the model with dtype=np.float64"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            LSTMCell(3, 4)(array, hx)


@pytest.mark.parametrize(
    ("hx", "message"),
    [
        (np.zeros((2, 2, 4), F32), "hx should be a tuple (h_0, c_0) of two arrays, got: ndarray"),
        ("no", "hx should be a tuple (h_0, c_0) of two arrays, got: str"),
        (iter(()), "hx should be a tuple (h_0, c_0) of two arrays, got: tuple_iterator"),
        ((np.zeros((2, 4), F32), None), "hx[1] should be a NumPy array, got: NoneType"),
        (([0.0], np.zeros((2, 4), F32)), "hx[0] should be a NumPy array, got: list. Convert it: np.asarray("),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_states_that_are_no_arrays(hx: Any, message: str) -> None:
    with pytest.raises(TypeError, match=f"^{re.escape(message)}"):
        LSTMCell(3, 4)(np.zeros((2, 3), F32), hx)


@pytest.mark.parametrize("bad", [None, "x", 1.0, [[1.0, 2.0, 3.0]], np.ndarray], ids=str)
def test_input_that_is_no_array(bad: Any) -> None:
    for hx in (None, (np.zeros((1, 4), F32), np.zeros((1, 4), F32))):
        with pytest.raises(TypeError, match=r"^input should be a NumPy array, got: "):
            LSTMCell(3, 4)(bad, hx)


def test_bad_state_dicts() -> None:
    cell = LSTMCell(3, 4)
    before = cell.state_dict()
    with pytest.raises(RuntimeError) as caught:
        cell.load_state_dict({"weight_ih": np.zeros((16, 2)), "weight_hh": np.zeros((16, 4)), "a": np.zeros(2)})
    assert str(caught.value) == (
        'Error(s) in loading state_dict for LSTMCell:\n\tMissing key(s) in state_dict: "bias_ih", "bias_hh". \n\t'
        'Unexpected key(s) in state_dict: "a". \n\tsize mismatch for weight_ih: copying a param with shape (16, 2) '
        "from checkpoint, the shape in current model is (16, 3)."
    )
    assert all(cell.state_dict()[name] is array for name, array in before.items())
    keys = cell.load_state_dict({"weight_ih": np.zeros((16, 3)), "a": np.zeros(2)}, strict=False)
    assert keys == (["weight_hh", "bias_ih", "bias_hh"], ["a"])
    assert not cell.weight_ih.any()


# --- published cases ----------------------------------------------------------------------------------------
_CASES = SHARED / "conformance" / "torch_module_errors.json"
PUBLISHED = json.loads(_CASES.read_text())["LSTMCell"]["errors"] if _CASES.is_file() else []


@pytest.mark.skipif(not PUBLISHED, reason="no ../shared")
def test_the_published_cases_are_there() -> None:
    assert len(PUBLISHED) == 4
    assert {case["on"] for case in PUBLISHED} == {"FORWARD_ERROR"}


@both_dtypes
@pytest.mark.parametrize("case", PUBLISHED, ids=lambda case: case["torch_says"])
def test_published(case: dict[str, Any], dtype: Any) -> None:
    kind = {"ValueError": ValueError, "RuntimeError": RuntimeError}[case["type"]]
    shape, states = case["forward_shapes"]
    assert case["forward_dtypes"] == "[torch.float64, 'tuple']"
    cell = LSTMCell(*ast.literal_eval(case["args"]), **case["kwargs"], dtype=dtype)
    with pytest.raises(kind, match=case["regex"]) as caught:
        cell(np.zeros(shape), tuple(np.zeros(s) for s in states))
    assert f"{type(caught.value).__name__}: {caught.value}" == case["torch_says"]


# --- torch --------------------------------------------------------------------------------------------------
@given(data=st.data())
def test_values_and_shapes_are_torchs(torch: Any, data: st.DataObject) -> None:
    case = data.draw(cases())
    part = data.draw(st.sampled_from([slice(None), slice(1), slice(0), 0]), label="rows")
    x, hx = case.x[0, part], (case.h_0[0, part], case.c_0[0, part])
    states = data.draw(st.booleans(), label="states")
    sizes = case.shape.input_size, case.shape.hidden_size, case.shape.bias
    theirs = torch.nn.LSTMCell(*sizes, dtype=torch.from_numpy(case.x).dtype)
    theirs.load_state_dict({name: torch.from_numpy(array) for name, array in weights(case).items()})
    with torch.no_grad():
        expected = theirs(torch.from_numpy(x), tuple(map(torch.from_numpy, hx)) if states else None)
    # Both are off from the exact result; twice the tolerance to the oracle is what may lie between them.
    limit = 2 * tolerance(oracle.lstm(case.state_dict, case.x, *(case.hx if states else (None, None))), x.dtype)
    for name, a, b in zip(("h", "c"), cell_of(case)(x, hx if states else None), expected, strict=True):
        assert (a.shape, a.dtype) == (tuple(b.shape), b.numpy().dtype), name
        np.testing.assert_allclose(a, b.numpy(), rtol=0, atol=limit, err_msg=name)


@pytest.mark.parametrize("bias", [True, False])
def test_parameters_and_repr_are_torchs(torch: Any, bias: bool) -> None:
    ours, theirs = LSTMCell(5, 7, bias=bias), torch.nn.LSTMCell(5, 7, bias=bias)
    assert repr(ours) == repr(theirs)
    assert ours.extra_repr() == theirs.extra_repr()
    for name in ("input_size", "hidden_size", "bias", "training"):
        assert getattr(ours, name) == getattr(theirs, name)
        assert type(getattr(ours, name)) is type(getattr(theirs, name))
    assert [(n, a.shape) for n, a in ours.state_dict().items()] == [
        (n, tuple(a.shape)) for n, a in theirs.state_dict().items()
    ]
    assert [n for n, _ in ours.named_parameters("cell")] == [n for n, _ in theirs.named_parameters("cell")]
    assert [getattr(ours, n) is None for n in NAMES] == [getattr(theirs, n) is None for n in NAMES]
    keys = ours.load_state_dict(theirs.state_dict())
    assert keys == theirs.load_state_dict({n: torch.from_numpy(np.array(a)) for n, a in ours.state_dict().items()})
    for name, value in theirs.state_dict().items():
        np.testing.assert_array_equal(getattr(ours, name), value.numpy())


def test_signatures_are_torchs(torch: Any) -> None:
    def parameters(function: Any, *others: str) -> list[tuple[str, Any, Any]]:
        found = inspect.signature(function).parameters.items()
        return [(name, p.default, p.kind) for name, p in found if name not in others]

    assert parameters(LSTMCell.forward) == parameters(torch.nn.LSTMCell.forward)
    assert parameters(LSTMCell, "dtype", "seed") == parameters(torch.nn.LSTMCell, "device", "dtype")


@pytest.mark.parametrize(("shape", "states", "kind", "message"), CALLS, ids=str)
def test_the_words_above_are_torchs(torch: Any, shape: Any, states: Any, kind: type, message: str) -> None:
    with pytest.raises(kind) as caught:
        torch.nn.LSTMCell(3, 4)(torch.zeros(shape), None if states is None else tuple(map(torch.zeros, states)))
    assert type(caught.value) is kind
    assert str(caught.value) == message


AXES = st.lists(st.integers(0, 3), max_size=3).map(tuple)


@given(shape=AXES, states=st.none() | st.lists(AXES, max_size=3))
def test_errors_of_any_shapes_are_torchs(torch: Any, shape: Any, states: Any) -> None:
    # Without a batch axis torch takes a third state, and may crash at states with an axis too many.
    if len(shape) == 1 and states is not None:
        assume(len(states) == 2 and not any(len(s) == 2 and s[0] == 2 for s in states))

    def call(library: Any, zeros: Any) -> Any:
        try:
            result = library.LSTMCell(3, 2)(zeros(shape), None if states is None else tuple(map(zeros, states)))
        except (RuntimeError, ValueError, IndexError) as error:
            return type(error), str(error)
        return [tuple(array.shape) for array in result]

    ours, theirs = call(numba_lstm, lambda s: np.zeros(s, F32)), call(torch.nn, torch.zeros)
    if theirs[0] is IndexError:  # names nothing of the caller's
        assert ours[0] is ValueError
        assert "should also be 2-D, got 1-D" in ours[1]
    else:
        assert ours == theirs
