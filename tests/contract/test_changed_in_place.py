"""Arrays whose shape, dtype or strides somebody changes: no kernel reads beyond them, and no wrong weights are used."""

from __future__ import annotations

import copy
import pickle
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.cases import assert_same_bits

from numba_lstm import LSTM, LSTMCell, PackedSequence, pad_packed_sequence, unpack_sequence
from numba_lstm.contract.parameter import Parameter, cast

pytestmark = pytest.mark.usefixtures("threads")

X = np.linspace(-1, 1, 4 * 2 * 3, dtype=np.float32).reshape(4, 2, 3)
IN_PLACE = "somebody has changed it in place"


def change(array: np.ndarray, name: str, value: Any) -> None:
    """Assign to what NumPy has in an array, whatever a subclass forbids and newer versions warn of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        getattr(np.ndarray, name).__set__(array, value)


CHANGES: dict[str, tuple[str, Any]] = {
    "shape": ("shape", (100, 1)),
    "flat": ("shape", (100,)),
    "halves": ("dtype", np.float16),
    "other numbers": ("dtype", np.int32),
    "byte order": ("dtype", np.dtype(np.float32).newbyteorder()),
    "strides": ("strides", (0, 4)),
}
"""What is done to a float32 array of shape (20, 5)."""


@pytest.fixture(params=CHANGES.values(), ids=CHANGES)
def changes(request: pytest.FixtureRequest) -> Any:
    return request.param


# --- parameters that refuse it --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"), [("shape", (6,)), ("dtype", np.float16), ("dtype", np.int32), ("strides", (0, 4))]
)
def test_a_parameter_refuses_another_layout(name: str, value: Any) -> None:
    parameter = cast(np.arange(6).reshape(2, 3), np.dtype(np.float32))
    with pytest.raises(AttributeError, match=f"^{name} of a parameter cannot be assigned to: .*assign a new array"):
        setattr(parameter, name, value)
    assert (parameter.shape, parameter.dtype, parameter.strides) == ((2, 3), np.float32, (12, 4))


def test_a_parameter_refuses_what_a_pickle_would_put_into_it() -> None:
    parameter = cast([1, 2], np.dtype(np.float32))
    with pytest.raises(ValueError, match="read-only"):
        parameter.__setstate__(np.zeros(1, np.float32).__reduce__()[2])
    assert list(parameter) == [1, 2]


@pytest.mark.parametrize("module", [LSTM(3, 5, seed=0), LSTMCell(3, 5, seed=0)], ids=("LSTM", "LSTMCell"))
@pytest.mark.parametrize("form", [None, "int8", "float16", "bfloat16"])
def test_all_parameters_of_all_modules_refuse_it(module: Any, form: str | None) -> None:
    module = module.quantize(form) if form else module
    for made in (module, copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        for parameter in made.parameters():
            with pytest.raises(AttributeError, match="shape of a parameter"):
                parameter.shape = parameter.shape
    assigned = LSTM(3, 5)
    assigned.load_state_dict(LSTM(3, 5).state_dict())
    assigned.bias_hh_l0 = np.zeros(20)
    for parameter in assigned.parameters():
        with pytest.raises(AttributeError, match="dtype of a parameter"):
            parameter.dtype = parameter.dtype


@pytest.mark.parametrize(
    ("make", "shape", "dtype"),
    [
        (lambda p: p.view(np.float16), (2, 6), np.float16),
        (lambda p: p.view(dtype=np.int32, type=Parameter), (2, 3), np.int32),
        (lambda p: p.view(), (2, 3), np.float32),
        (lambda p: p.astype(np.float64), (2, 3), np.float64),
        (lambda p: p.reshape(-1), (6,), np.float32),
        (lambda p: p.T, (3, 2), np.float32),
        (lambda p: p[:1], (1, 3), np.float32),
        (lambda p: p.copy(), (2, 3), np.float32),
        (lambda p: np.array(p, subok=True), (2, 3), np.float32),
    ],
)
def test_what_is_made_of_a_parameter_may_have_another(make: Any, shape: tuple[int, ...], dtype: Any) -> None:
    """NumPy 1.26 sets the dtype of a view by an assignment to an array of the same class."""
    parameter = cast(np.arange(6).reshape(2, 3), np.dtype(np.float32))
    made = make(parameter)
    assert (made.shape, made.dtype) == (shape, dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        made.dtype = np.dtype(made.dtype).newbyteorder()
        if made.flags.c_contiguous:
            made.shape = (made.size,)
    assert (parameter.shape, parameter.dtype, parameter.strides) == ((2, 3), np.float32, (12, 4))


# --- modules that look at them once more ----------------------------------------------------------------------

USES: dict[str, Callable[[Any, Path], Any]] = {
    "call": lambda lstm, _: lstm(X),
    "lengths": lambda lstm, _: lstm(X, lengths=[4, 1]),
    "packed": lambda lstm, _: lstm(PackedSequence(X[0], [2])),
    "vjp": lambda lstm, _: lstm.vjp(X),
    "trace": lambda lstm, _: lstm.trace(X),
    "stream": lambda lstm, _: lstm.stream(),
    "window": lambda lstm, _: lstm.sliding_window(2),
    "quantize": lambda lstm, _: lstm.quantize("int8"),
    "save": lambda lstm, folder: lstm.save(folder / "lstm.safetensors"),
    "state_dict": lambda lstm, _: lstm.state_dict(),
    "parameters": lambda lstm, _: lstm.parameters(),
    "named_parameters": lambda lstm, _: lstm.named_parameters(),
    "all_weights": lambda lstm, _: lstm.all_weights,
    "pickle": lambda lstm, _: pickle.dumps(lstm),
    "deepcopy": lambda lstm, _: copy.deepcopy(lstm),
}


@pytest.mark.parametrize("use", USES)
def test_a_module_raises_and_can_be_used_once_that_is_undone(
    changes: tuple[str, Any], use: str, tmp_path: Path
) -> None:
    lstm, name = LSTM(3, 5, seed=0).eval(), changes[0]
    right, before = LSTM(3, 5, seed=0)(X), getattr(lstm.weight_hh_l0, name)
    change(lstm.weight_hh_l0, *changes)
    for _ in range(2):
        with pytest.raises(RuntimeError, match=rf"^weight_hh_l0 should be a float32 array of .*\(20, 5\).*{IN_PLACE}"):
            USES[use](lstm, tmp_path)
    assert not list(tmp_path.iterdir())
    change(lstm.weight_hh_l0, name, before)
    USES[use](lstm, tmp_path)
    assert_same_bits(lstm(X), right)


def test_a_module_of_float64_raises() -> None:
    lstm = LSTM(3, 5, dtype=np.float64)
    change(lstm.bias_ih_l0, "dtype", np.float32)
    with pytest.raises(RuntimeError, match=rf"^bias_ih_l0 should be a float64 .*{IN_PLACE}.*dtype float32"):
        lstm(X.astype(np.float64))


@pytest.mark.parametrize(
    "use",
    [
        lambda cell, _: cell(X[0]),
        lambda cell, _: cell.vjp(X[0]),
        lambda cell, _: cell.quantize("float16"),
        lambda cell, folder: cell.save(folder / "cell.npz"),
        lambda cell, _: cell.state_dict(),
    ],
)
def test_a_cell_raises(changes: tuple[str, Any], use: Any, tmp_path: Path) -> None:
    cell = LSTMCell(3, 5)
    change(cell.weight_hh, *changes)
    with pytest.raises(RuntimeError, match=rf"^weight_hh should be a float32 array of .*{IN_PLACE}"):
        use(cell, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("form", "parameter", "name", "value"),
    [
        ("int8", "weight_hh_l0", "shape", (100, 1)),
        ("int8", "weight_hh_l0", "dtype", np.uint8),
        ("int8", "weight_hh_l0_scale", "dtype", np.float64),
        ("int8", "bias_hh_l0", "shape", (4, 5)),
        ("float16", "weight_hh_l0", "dtype", np.uint16),
        ("bfloat16", "weight_hh_l0", "shape", (5, 20)),
    ],
)
@pytest.mark.parametrize(
    "use",
    [
        lambda small, _: small(X),
        lambda small, _: small.stream(),
        lambda small, _: small.dequantize(),
        lambda small, folder: small.save(folder / "small.safetensors"),
        lambda small, _: pickle.dumps(small),
    ],
)
def test_a_quantized_module_raises(
    form: str, parameter: str, name: str, value: Any, use: Any, tmp_path: Path
) -> None:
    small = LSTM(3, 5, seed=0).quantize(form)
    change(getattr(small, parameter), name, value)
    with pytest.raises(RuntimeError, match=rf"^{parameter} should be a .*{IN_PLACE}"):
        use(small, tmp_path)
    assert not list(tmp_path.iterdir())


def test_assigning_helps_and_takes_no_other_shape() -> None:
    lstm, weight = LSTM(3, 5, seed=0), np.ones((20, 5), np.float32)
    change(lstm.weight_hh_l0, "shape", (100, 1))
    with pytest.raises(ValueError, match=re.escape("weight_hh_l0 should have shape (20, 5), got: (100, 1)")):
        lstm.weight_hh_l0 = np.ones((100, 1))
    lstm.weight_hh_l0 = weight
    other = LSTM(3, 5, seed=0)
    other.weight_hh_l0 = weight
    assert_same_bits(lstm(X), other(X))
    change(lstm.weight_hh_l0, "shape", (100, 1))
    lstm.load_state_dict(other.state_dict())
    assert_same_bits(lstm(X), other(X))


def test_weights_that_were_packed_are_those_of_later_calls(changes: tuple[str, Any]) -> None:
    """Other packings that come later, as that of the first backward pass, are made of what was there then."""
    lstm, other = LSTM(3, 5, seed=0), LSTM(3, 5, seed=0)
    result, backward = lstm.vjp(X)
    change(lstm.weight_hh_l0, *changes)
    expected, backward_of_other = other.vjp(X)
    assert_same_bits(result, expected)
    assert_same_bits(lstm(X), other(X))
    assert_same_bits(lstm.vjp(X)[0], expected)
    found, wanted = backward(np.ones_like(result[0])), backward_of_other(np.ones_like(result[0]))
    np.testing.assert_array_equal(found.input, wanted.input)
    for name, gradient in wanted.parameters.items():
        np.testing.assert_array_equal(found.parameters[name], gradient)
    assert_same_bits(lstm.quantize("int8")(X), other.quantize("int8")(X))


# --- packed sequences -----------------------------------------------------------------------------------------

FIELDS = [
    (1, "dtype", np.int32),
    (1, "dtype", np.float64),
    (1, "dtype", np.dtype(np.int64).newbyteorder()),
    (1, "shape", (2, 2)),
    (1, "strides", (0,)),
    (2, "dtype", np.int32),
    (2, "shape", (1, 4)),
    (2, "strides", (0,)),
    (3, "dtype", np.int16),
    (3, "shape", (2, 2)),
    (3, "strides", (0,)),
]
NAMES = PackedSequence._fields


def batch() -> PackedSequence:
    """Return four sequences of one to four steps."""
    return PackedSequence(np.ones((10, 3), np.float32), [4, 3, 2, 1], [2, 0, 3, 1])


@pytest.mark.parametrize(("field", "name", "value"), FIELDS)
@pytest.mark.parametrize(
    "use",
    [
        LSTM(3, 5),
        LSTM(3, 5).vjp,
        LSTM(3, 5).trace,
        LSTM(3, 5, bidirectional=True),
        lambda packed: LSTM(3, 5)(packed, (np.zeros((1, 4, 5), np.float32),) * 2),
        pad_packed_sequence,
        unpack_sequence,
    ],
    ids=("call", "vjp", "trace", "bidirectional", "states", "pad", "unpack"),
)
def test_a_packed_batch_is_refused(field: int, name: str, value: Any, use: Any) -> None:
    packed = batch()
    use(packed)
    change(packed[field], name, value)
    with pytest.raises(ValueError, match=f"^{NAMES[field]} should be a 1-D int64 array in C order, and {IN_PLACE}"):
        use(packed)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ([4, 3, 1, 2], "batch_sizes must be at least 1 and never increase"),
        ([6, 3, 1], "batch_sizes begin with 6 rows, and there are 4 indices"),
        ([4, 4, 4, 4], "data should have as many rows as batch_sizes add up to, 16, got 10"),
        ([10, 0], "batch_sizes must be at least 1 and never increase"),
    ],
)
def test_batch_sizes_with_other_numbers_are_refused(sizes: list[int], message: str) -> None:
    """Arrays take what a pickle brings, also where they are read-only."""
    packed = batch()
    packed.batch_sizes.__setstate__(np.array(sizes).__reduce__()[2])
    for use in (LSTM(3, 5), LSTM(3, 5).vjp, LSTM(3, 5).trace):
        with pytest.raises(ValueError, match=f"^{message}$"):
            use(packed)


def test_batch_sizes_whose_sum_would_wrap_are_refused() -> None:
    """In 64 bits they add up to the rows that are there."""
    packed = PackedSequence(np.ones((10, 3), np.float32), [4, 3, 2, 1])
    packed.batch_sizes.__setstate__(np.array([2**62] * 4 + [6, 4]).__reduce__()[2])
    for use in (LSTM(3, 5), LSTM(3, 5).vjp, LSTM(3, 5).trace):
        with pytest.raises(ValueError, match=f"^data should have as many rows as .* {2**64 + 10}, got 10$"):
            use(packed)


@pytest.mark.parametrize(("field", "name", "value"), FIELDS)
def test_a_backward_pass_has_arrays_of_its_own(field: int, name: str, value: Any) -> None:
    lstm, packed = LSTM(3, 5, seed=0), batch()
    (output, states), backward = lstm.vjp(packed)
    expected = backward(output.data, states)
    change(packed[field], name, value)
    found = backward(output.data, states)
    for ours, theirs in zip((found.input.data, *found[1:3]), (expected.input.data, *expected[1:3]), strict=True):
        np.testing.assert_array_equal(ours, theirs)
