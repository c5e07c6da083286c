"""torch's errors, word for word, without torch.  ``test_torch.py`` asks torch itself where it is installed."""

from __future__ import annotations

import ast
import json
import re
import sys
import warnings
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from support.places import SHARED

from numba_lstm import LSTM, LSTMCell

DROPOUT = "dropout should be a number in range [0, 1] representing the probability of an element being zeroed"

NUMPYS_BOOL = type(np.True_).__name__
"""bool, and bool_ before NumPy 2."""

# arguments, options, type, the whole message as torch 2.13 has it
CONSTRUCTIONS: list[tuple[tuple[Any, ...], dict[str, Any], type, str]] = [
    ((10, 0), {}, ValueError, "hidden_size must be greater than zero"),
    ((-1, 5), {}, ValueError, "input_size must be greater than zero"),
    ((3, 5, 0), {}, ValueError, "num_layers must be greater than zero"),
    ((3.0, 5), {}, TypeError, "input_size should be of type int, got: float"),
    (("10", 5), {}, TypeError, "input_size should be of type int, got: str"),
    ((np.int64(3), 5), {}, TypeError, "input_size should be of type int, got: int64"),
    ((3, None), {}, TypeError, "hidden_size should be of type int, got: NoneType"),
    ((3, 5), {"bias": 1}, TypeError, "bias should be of type bool, got: int"),
    ((3, 5), {"bias": "True"}, TypeError, "bias should be of type bool, got: str"),
    ((3, 5), {"batch_first": 0}, TypeError, "batch_first should be of type bool, got: int"),
    ((3, 5), {"batch_first": np.True_}, TypeError, f"batch_first should be of type bool, got: {NUMPYS_BOOL}"),
    ((3, 5), {"dropout": -0.1}, ValueError, DROPOUT),
    ((3, 5), {"dropout": 1.1}, ValueError, DROPOUT),
    ((3, 5), {"dropout": float("nan")}, ValueError, DROPOUT),
    ((3, 5), {"dropout": True}, ValueError, DROPOUT),
    ((3, 5), {"dropout": "0.5"}, ValueError, DROPOUT),
    ((3, 5), {"proj_size": -1}, ValueError, "proj_size should be a positive integer or zero to disable projections"),
    ((3, 5), {"proj_size": 5}, ValueError, "proj_size has to be smaller than hidden_size"),
    # several mistakes: the one that torch names
    ((0, 0), {"dropout": 2, "bias": 1}, ValueError, DROPOUT),
    ((0.0, 0), {"bias": 1, "batch_first": 1}, TypeError, "bias should be of type bool, got: int"),
    ((0, 5.0), {}, ValueError, "input_size must be greater than zero"),
    # where torch's words name nothing of the caller's, or there are none
    ((3, 5, 1.5), {}, TypeError, "num_layers should be of type int, got: float"),
    ((3, 5), {"proj_size": 1.5}, TypeError, "proj_size should be of type int, got: float"),
    ((3, 5), {"bidirectional": "no"}, TypeError, "bidirectional should be of type bool, got: str"),
    ((3, 5), {"bidirectional": 1}, TypeError, "bidirectional should be of type bool, got: int"),
    ((3, 5), {"dropout": "half"}, ValueError, DROPOUT),
    ((3, 5), {"dropout": None}, TypeError, DROPOUT + ", got: NoneType"),
    ((3, 5), {"dtype": np.float16}, TypeError, "dtype should be float32 or float64, got: <class 'numpy.float16'>"),
    ((3, 5), {"dtype": "half precision"}, TypeError, "dtype should be float32 or float64, got: 'half precision'"),
    ((3, 5), {"dtype": object()}, TypeError, None),
    ((3, 5), {"seed": -1}, ValueError, None),
    ((3, 5), {"seed": "x"}, TypeError, None),
]


@pytest.mark.parametrize(("arguments", "options", "kind", "message"), CONSTRUCTIONS, ids=str)
def test_constructions(arguments: Any, options: dict[str, Any], kind: type, message: str | None) -> None:
    with pytest.raises(kind) as caught:
        LSTM(*arguments, **options)
    assert type(caught.value) is kind
    if message is None:
        assert str(caught.value).startswith(f"{next(iter(options))} should be ")
    elif "np.True_" not in str(options):
        assert str(caught.value) == message


HUGE = 10**400
"""Beyond what floats and indices of arrays can be."""

NO_PROBABILITIES = {
    "huge": HUGE,
    "huge and negative": -HUGE,
    "too long to be printed": 10**5000,
    "a huge fraction": Fraction(HUGE, 3),
    "a fraction": Fraction(3, 2),
    "a huge decimal": Decimal("1e400"),
    "a decimal": Decimal("-0.5"),
    "no number": Decimal("sNaN"),
    "infinity": Decimal("-Infinity"),
    "a longer float": np.longdouble(1.5),
}


@pytest.mark.parametrize("value", NO_PROBABILITIES.values(), ids=NO_PROBABILITIES)
def test_numbers_that_are_no_probabilities(value: Any) -> None:
    lstm = LSTM(3, 5, 2, dropout=0.5)
    for use in (lambda: LSTM(3, 5, 2, dropout=value), lambda: setattr(lstm, "dropout", value)):
        with pytest.raises(ValueError, match=f"^{re.escape(DROPOUT)}$") as caught:
            use()
        assert type(caught.value) is ValueError
    assert lstm.dropout == 0.5


@pytest.mark.parametrize(
    ("value", "expected"),
    [(Fraction(1, 2), 0.5), (Fraction(1, HUGE), 0.0), (Fraction(HUGE, HUGE + 1), 1.0), (Decimal("0.25"), 0.25)],
    ids=["fraction", "tiny", "nearly 1", "decimal"],
)
def test_numbers_that_are_probabilities(value: Any, expected: float) -> None:
    dropout = LSTM(3, 5, 2, dropout=value).dropout
    assert (type(dropout), dropout) == (float, expected)


TOO_LONG = f" must be at most {sys.maxsize}, which is all that an array can have"
NO_ADDRESSES = "input_size={}, hidden_size={} and num_layers={} make more parameters than memory has addresses"

# what is made, options, the whole message
SIZES: list[tuple[type, dict[str, int], str]] = [
    *((kind, {name: size}, name + TOO_LONG)
      for kind in (LSTM, LSTMCell)
      for name in ("input_size", "hidden_size")
      for size in (HUGE, 10**5000, sys.maxsize + 1)),
    *((kind, {"input_size": 1 << 60}, NO_ADDRESSES.format(1 << 60, 5, 1)) for kind in (LSTM, LSTMCell)),
    *((kind, {"hidden_size": sys.maxsize}, NO_ADDRESSES.format(3, sys.maxsize, 1)) for kind in (LSTM, LSTMCell)),
    (LSTM, {"hidden_size": 1 << 27, "num_layers": 20}, NO_ADDRESSES.format(3, 1 << 27, 20)),
    *((LSTM, {"num_layers": size}, "num_layers must be at most 1000000") for size in (HUGE, 10**5000, 1_000_001)),
    (LSTM, {"proj_size": HUGE}, "proj_size has to be smaller than hidden_size"),
    (LSTM, {"proj_size": HUGE, "hidden_size": HUGE + 1}, "hidden_size" + TOO_LONG),
    (LSTM, {"proj_size": -HUGE}, "proj_size should be a positive integer or zero to disable projections"),
    *((kind, {"hidden_size": -HUGE}, "hidden_size must be greater than zero") for kind in (LSTM, LSTMCell)),
    (LSTM, {"num_layers": -HUGE}, "num_layers must be greater than zero"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "options", "message"), SIZES, ids=range(len(SIZES)))
def test_sizes_that_are_too_large(kind: type, options: dict[str, int], message: str) -> None:
    """At once: nobody waits for a million layers, or until memory is full."""
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$") as caught:
        kind(**{"input_size": 3, "hidden_size": 5, **options})
    assert type(caught.value) is ValueError


def test_sizes_that_memory_might_have() -> None:
    """Addresses for them there are, and what is missing is said by NumPy."""
    for kind in (LSTM, LSTMCell):
        with pytest.raises(MemoryError):
            kind(input_size=1 << 50, hidden_size=5)


def test_dropout_of_one_layer_warns_where_the_module_is_made() -> None:
    text = (
        "dropout option adds dropout after all but last recurrent layer, so non-zero dropout expects num_layers "
        "greater than 1, but got dropout=0.5 and num_layers=1"
    )
    with pytest.warns(UserWarning, match=re.escape(text)) as record:
        LSTM(3, 5, dropout=0.5)
    assert [w.filename for w in record] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LSTM(3, 5, 2, dropout=0.5)
        LSTM(3, 5, dropout=0)


# options, input, states, type, message; the modules are LSTM(3, 4, **options)
Shape = tuple[int, ...]
CALLS: list[tuple[dict[str, Any], Shape, tuple[Shape, Shape] | None, type, str]] = [
    ({}, (5,), None, ValueError, "LSTM: Expected input to be 2D or 3D, got 1D instead"),
    ({}, (), None, ValueError, "LSTM: Expected input to be 2D or 3D, got 0D instead"),
    ({}, (2, 2, 2, 3), None, ValueError, "LSTM: Expected input to be 2D or 3D, got 4D instead"),
    ({}, (5, 2, 4), None, RuntimeError, "input.size(-1) must be equal to input_size. Expected 3, got 4"),
    ({}, (5, 4), None, RuntimeError, "input.size(-1) must be equal to input_size. Expected 3, got 4"),
    ({}, (0, 2, 3), None, RuntimeError, "Expected sequence length to be larger than 0 in RNN"),
    ({}, (0, 3), None, RuntimeError, "Expected sequence length to be larger than 0 in RNN"),
    ({}, (0, 0, 3), None, RuntimeError, "Expected sequence length to be larger than 0 in RNN"),
    ({"batch_first": True}, (2, 0, 3), None, RuntimeError, "Expected sequence length to be larger than 0 in RNN"),
    (
        {},
        (5, 2, 3),
        ((1, 4), (1, 2, 4)),
        RuntimeError,
        "For batched 3-D input, hx and cx should also be 3-D but got (2-D, 3-D) tensors",
    ),
    (
        {},
        (5, 3),
        ((1, 4), (1, 1, 4)),
        RuntimeError,
        "For unbatched 2-D input, hx and cx should also be 2-D but got (2-D, 3-D) tensors",
    ),
    ({}, (5, 2, 3), ((1, 3, 4), (1, 2, 4)), RuntimeError, "Expected hidden[0] size (1, 2, 4), got [1, 3, 4]"),
    ({}, (5, 2, 3), ((1, 2, 4), (2, 2, 4)), RuntimeError, "Expected hidden[1] size (1, 2, 4), got [2, 2, 4]"),
    ({}, (5, 3), ((1, 5), (1, 4)), RuntimeError, "Expected hidden[0] size (1, 1, 4), got [1, 1, 5]"),
    (
        {"proj_size": 2},
        (5, 2, 3),
        ((1, 2, 4), (1, 2, 4)),
        RuntimeError,
        "Expected hidden[0] size (1, 2, 2), got [1, 2, 4]",
    ),
    (
        {"proj_size": 2, "num_layers": 2, "bidirectional": True},
        (5, 2, 3),
        ((4, 2, 2), (4, 2, 2)),
        RuntimeError,
        "Expected hidden[1] size (4, 2, 4), got [4, 2, 2]",
    ),
    (
        {"batch_first": True},
        (2, 5, 3),
        ((2, 1, 4), (2, 1, 4)),
        RuntimeError,
        "Expected hidden[0] size (1, 2, 4), got [2, 1, 4]",
    ),
    # several mistakes: the one that torch names
    ({}, (5, 2, 4), ((1, 2), (1, 2)), RuntimeError, "For batched 3-D input, hx and cx should also be 3-D"),
    ({}, (5, 2, 4), ((1, 2, 5), (1, 2, 4)), RuntimeError, "input.size(-1) must be equal to input_size."),
    ({}, (0, 2, 3), ((1, 3, 4), (1, 2, 4)), RuntimeError, "Expected hidden[0] size (1, 2, 4), got [1, 3, 4]"),
]


@pytest.mark.parametrize(("options", "shape", "states", "kind", "message"), CALLS, ids=str)
def test_calls(options: dict[str, Any], shape: Shape, states: Any, kind: type, message: str) -> None:
    lstm = LSTM(3, 4, **options)
    hx = states and tuple(np.zeros(s, np.float32) for s in states)
    for call in (lstm, lstm.forward):
        with pytest.raises(kind, match=f"^{re.escape(message)}") as caught:
            call(np.zeros(shape, np.float32), hx)
        assert type(caught.value) is kind


def test_input_of_another_dtype() -> None:
    for lstm, dtype, message in (
        (LSTM(3, 4), np.float64, "(float64) does not match weight dtype (float32). Convert input: input.astype("
         "np.float32), or build the model with dtype=np.float64"),
        (LSTM(3, 4, dtype=np.float64), np.float32, "(float32) does not match weight dtype (float64). Convert input: "
         "input.astype(np.float64), or build the model with dtype=np.float32"),
        (LSTM(3, 4), ">f8", "(float64) does not match weight dtype (float32). Convert input: "
         "input.astype(np.float32), or build the model with dtype=np.float64"),
        (LSTM(3, 4), np.int64, "(int64) does not match weight dtype (float32). Convert input: "
         "input.astype(np.float32)"),
        (LSTM(3, 4), object, "(object) does not match weight dtype (float32). Convert input: "
         "input.astype(np.float32)"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"^RNN input dtype") as caught:
            lstm(np.zeros((5, 2, 3), dtype))
        assert str(caught.value) == f"RNN input dtype {message}"


def test_states_of_another_dtype() -> None:
    lstm, x, right = LSTM(3, 4), np.zeros((5, 2, 3), np.float32), np.zeros((1, 2, 4), np.float32)
    wrong = right.astype(np.float64)
    for hx, start, advice in (
        ((wrong, right), "hx[0] dtype (float64)", "h_0.astype(np.float32)"),
        ((right, wrong), "hx[1] dtype (float64)", "c_0.astype(np.float32)"),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(start)}.*{re.escape(advice)}"):
            lstm(x, hx)


@pytest.mark.parametrize(
    ("hx", "kind", "message"),
    [
        (np.zeros((1, 2, 4), np.float32), TypeError, "hx should be a tuple (h_0, c_0) of two arrays, got: ndarray"),
        ((np.zeros((1, 2, 4), np.float32),), ValueError, "hx should be a tuple (h_0, c_0) of two arrays, got 1"),
        ((np.zeros((1, 2, 4), np.float32),) * 3, ValueError, "hx should be a tuple (h_0, c_0) of two arrays, got 3"),
        ((np.zeros((1, 2, 4), np.float32), None), TypeError, "hx[1] should be a NumPy array, got: NoneType"),
        (([0.0], np.zeros((1, 2, 4))), TypeError, "hx[0] should be a NumPy array, got: list. Convert it: np.asarray"),
        ("no", TypeError, "hx should be a tuple (h_0, c_0) of two arrays, got: str"),
    ],
)
def test_states_that_are_no_pair(hx: Any, kind: type, message: str) -> None:
    with pytest.raises(kind, match=f"^{re.escape(message)}"):
        LSTM(3, 4)(np.zeros((5, 2, 3), np.float32), hx)


def test_input_that_is_no_array() -> None:
    lstm = LSTM(3, 4)
    with pytest.raises(TypeError, match=re.escape("np.asarray(input, dtype=np.float32)")):
        lstm([[[1.0, 2.0, 3.0]]])  # type: ignore[arg-type]
    for bad in (None, "x", 1.0, np.ndarray):
        with pytest.raises(TypeError, match=r"^input should be a NumPy array, got: "):
            lstm(bad)  # type: ignore[arg-type]


# --- published cases ----------------------------------------------------------------------------------------

_CASES = SHARED / "conformance" / "torch_module_errors.json"
PUBLISHED = json.loads(_CASES.read_text())["LSTM"]["errors"] if _CASES.is_file() else []


@pytest.mark.skipif(not PUBLISHED, reason="no ../shared")
def test_the_published_cases_are_there() -> None:
    assert len(PUBLISHED) == 14


@pytest.mark.parametrize("case", PUBLISHED, ids=lambda c: c["torch_says"])
def test_published(case: dict[str, Any]) -> None:
    kind = {"ValueError": ValueError, "TypeError": TypeError, "RuntimeError": RuntimeError}[case["type"]]
    # What is about devices is not for us, and NumPy's way to convert is .astype.
    options = {
        name: text.replace("torch.", "") if name == "dtype" else ast.literal_eval(text)
        for name, text in case["kwargs"].items()
        if name != "device"
    }
    expected = case["regex"].split(" Convert input:")[0]
    arguments = ast.literal_eval(case["args"])
    if case["on"] == "CONSTRUCTION_ERROR":
        with pytest.raises(kind, match=expected):
            LSTM(*arguments, **options)
        return
    assert case["forward_dtypes"] == "[torch.float32]"
    lstm = LSTM(*arguments, **options)
    with pytest.raises(kind, match=expected):
        lstm(np.zeros(case["forward_shapes"][0], np.float32))
