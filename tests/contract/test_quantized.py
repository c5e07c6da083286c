"""Modules whose weights are kept in 16 or 8 bits: what is kept, what results are, and what is refused."""

from __future__ import annotations

import copy
import itertools
import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support.allocations import at_most
from support.cases import Case, Shape, assert_same_bits, module, random_case
from support.quantized import same_module

import numba_lstm
from numba_lstm import LSTM, LSTMCell
from numba_lstm.contract import weight_form
from numba_lstm.contract.weight_form import FORMS

F32 = np.float32
HALVES = ("float16", "bfloat16")
PLAIN = Shape(3, 5, 2, steps=7, rows=4)
SHAPES = [
    PLAIN,
    Shape(3, 5, bias=False, steps=4, rows=2),
    Shape(17, 40, 2, bidirectional=True, steps=5, rows=3),
    Shape(9, 33, 2, proj_size=7, steps=5, rows=3),
]

forms = pytest.mark.parametrize("form", FORMS)


def half(array: np.ndarray, form: str) -> np.ndarray:
    """Return float32 numbers rounded to the nearest of a form, to even where two are: 11 digits or 8, in float64."""
    digits = {"float16": 11, "bfloat16": 8}[form]
    mantissa, exponent = np.frexp(array.astype(np.float64))
    if form == "float16":  # smaller numbers have fewer digits
        digits = digits - np.maximum(0, -13 - exponent)
    return np.ldexp(np.rint(np.ldexp(mantissa, digits)), exponent - digits).astype(F32)


def rounded(case: Case, form: str) -> Case:
    """Return a case whose weights are rounded."""
    weights = {n: half(a, form) if n.startswith("weight_") else a for n, a in case.state_dict.items()}
    return case._replace(state_dict=weights)


def ways(lstm: Any, case: Case) -> dict[str, Any]:
    """Return what calls of all kinds give."""
    lengths = np.random.default_rng(0).integers(1, len(case.x) + 1, case.x.shape[1])
    sequences = [case.x[:length, row] for row, length in enumerate(lengths)]
    packed, states = lstm(numba_lstm.pack_sequence(sequences, enforce_sorted=False))
    found = {
        "whole": lstm(case.x, case.hx),
        "from zeros": lstm(case.x),
        "one row": lstm(case.x[:, 0]),
        "lengths": lstm(case.x, case.hx, lengths=lengths),
        "packed": (packed.data, states),
    }
    if not case.shape.bidirectional:
        stream = lstm.stream(case.x.shape[1])
        outputs = np.stack([stream.step(x) for x in case.x])
        found["stream"] = outputs, stream.state
        window = lstm.sliding_window(3, case.x.shape[1])
        last = [window.push(x) for x in case.x][-1]
        found["window"] = last, (last, last)
    return found


# --- 16 bits ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("form", HALVES)
def test_halves_have_the_bits_of_rounded_weights(form: str, shape: Shape) -> None:
    case = random_case(shape, 1)
    small = module(case).quantize(form)
    expected = module(rounded(case, form))
    for name, array in expected.named_parameters():
        np.testing.assert_array_equal(getattr(small, name), array)
    wanted = ways(expected, case)
    for name, result in ways(small, case).items():
        assert_same_bits(result, wanted[name], name)


@pytest.mark.parametrize("form", HALVES)
def test_what_is_kept_of_halves(form: str) -> None:
    lstm = LSTM(3, 5, proj_size=2, seed=0)
    small = lstm.quantize(form)
    dtype = np.float16 if form == "float16" else np.float32
    assert {name: array.dtype for name, array in small.named_parameters()} == {
        name: np.dtype(dtype if name.startswith("weight_") else F32) for name, _ in lstm.named_parameters()
    }


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("form", HALVES)
def test_halves_have_what_is_not_finite(form: str, value: float) -> None:
    case = random_case(PLAIN, 2)
    case.state_dict["weight_hh_l0"][3, 2] = value
    assert_same_bits(module(case).quantize(form)(case.x, case.hx), module(rounded(case, form))(case.x, case.hx))


# --- 8 bits -----------------------------------------------------------------------------------------------


def test_what_is_kept_of_int8() -> None:
    """Each row is divided by the 127th part of its largest weight, and rounded to even."""
    cell = LSTMCell(3, 1, bias=False)
    cell.weight_ih = [[127, 63.5, -1.5], [-254, 254, 1], [0, 0, 0], [1e-3, -1e-3, 1e-6]]
    small = cell.quantize("int8")
    assert list(small.state_dict()) == ["weight_ih", "weight_ih_scale", "weight_hh", "weight_hh_scale"]
    assert small.weight_ih.dtype == np.int8
    assert small.weight_ih.tolist() == [[127, 64, -2], [-127, 127, 0], [0, 0, 0], [127, -127, 0]]
    assert small.weight_ih_scale.dtype == F32
    scales = small.weight_ih_scale.tolist()
    assert scales == [1, 2, float(np.finfo(F32).tiny), float(F32(1e-3) / F32(127))]
    assert abs(small.weight_hh.ravel()).tolist() == [127] * 4


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_int8_is_near_float32_and_the_same_on_all_ways(shape: Shape) -> None:
    case = random_case(shape, 3)
    lstm = module(case)
    small = lstm.quantize("int8")
    assert list(small.state_dict()) == [
        each
        for name in case.state_dict
        for each in (name, f"{name}_scale")
        if each == name or name.startswith("weight_")
    ]
    found, wanted = ways(small, case), ways(lstm, case)
    for name in found:
        error = found[name][0] - wanted[name][0]
        assert 0 < np.abs(error).max() < 0.05, name
    output, _ = found["from zeros"]
    alone = [small(case.x[:, row : row + 1]) for row in range(case.x.shape[1])]
    np.testing.assert_array_equal(output, np.concatenate([each[0] for each in alone], axis=1))
    if "stream" in found:
        assert_same_bits(found["stream"], found["from zeros"])
        np.testing.assert_array_equal(found["window"][0], small(case.x[-3:])[0][-1])


@pytest.mark.parametrize("bias", [True, False])
@forms
def test_cells_have_the_bits_of_layers(form: str, bias: bool) -> None:
    cell = LSTMCell(3, 5, bias, seed=0)
    x = np.random.default_rng(1).standard_normal((7, 2, 3), F32)
    lstm = LSTM(3, 5, bias=bias)
    lstm.load_state_dict({name + "_l0": array for name, array in cell.named_parameters()})
    output, states = lstm.quantize(form)(x)
    small, hx, outputs = cell.quantize(form), None, []
    for step in x:
        h, _ = hx = small(step, hx)
        outputs.append(h[None])
    assert_same_bits((np.concatenate(outputs), tuple(state[None] for state in hx)), (output, states))
    assert (small.bias_ih is None) == (not bias)


# --- what stays as it was ---------------------------------------------------------------------------------


@forms
def test_the_module_stays_as_it_is(form: str) -> None:
    lstm = LSTM(3, 5, 2, batch_first=True, dropout=0.5, bidirectional=True, proj_size=2, seed=0)
    before = {name: array.copy() for name, array in lstm.named_parameters()}
    small = lstm.quantize(form)
    assert (lstm.training, small.training, lstm.form, small.form) == (True, False, "float32", form)
    assert repr(small) == repr(lstm)[:-1] + f", form={form!r})"
    for name, array in before.items():
        np.testing.assert_array_equal(getattr(lstm, name), array)
    for name in ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "dtype"):
        assert getattr(small, name) == getattr(lstm, name)
    assert np.shares_memory(small.bias_ih_l0, lstm.bias_ih_l0)
    small.batch_first = False
    assert lstm.batch_first
    assert small.eval() is small.train(False) is small
    assert [len(arrays) for arrays in small.all_weights] == [8 if form == "int8" else 5] * 4
    assert set(small.state_dict()) < set(dir(small))


def test_forms_that_are_dtypes() -> None:
    assert [LSTM(3, 5, dtype=dtype).form for dtype in (np.float32, np.float64)] == ["float32", "float64"]
    with pytest.raises(AttributeError):
        LSTM(3, 5).form = "int8"  # type: ignore[misc]


class Headed(LSTM):
    """A subclass with something of its own."""

    def __init__(self, width: int) -> None:
        super().__init__(3, width, seed=1)
        self.head = np.arange(float(width), dtype=F32)

    def forward(self, input: Any, hx: Any = None) -> Any:
        return super().forward(input, hx)[0] @ self.head


@forms
def test_a_subclass_stays_one(form: str) -> None:
    lstm = Headed(5)
    small = lstm.quantize(form)
    x = np.ones((4, 3), F32)
    assert type(small) is Headed
    assert repr(small) == f"Headed(3, 5, form={form!r})"
    inner = LSTM(3, 5)
    inner.load_state_dict(lstm.state_dict())
    np.testing.assert_array_equal(small(x), inner.quantize(form)(x)[0] @ small.head)
    same_module(pickle.loads(pickle.dumps(small)), small)


@pytest.mark.parametrize("called", [False, True])
@pytest.mark.parametrize("kind", [LSTM, LSTMCell])
@forms
def test_copies_and_pickles(form: str, kind: Any, called: bool) -> None:
    small = kind(3, 5, seed=0).quantize(form)
    x = np.random.default_rng(0).standard_normal((4, 3), F32)
    expected = small(x) if called else None
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        same_module(pickle.loads(pickle.dumps(small, protocol)), small)
    for copied in (copy.copy(small), copy.deepcopy(small), pickle.loads(pickle.dumps(small))):
        same_module(copied, small)
        for one, other in zip(copied(x), expected or small(x), strict=True):
            np.testing.assert_array_equal(one, other)
        with pytest.raises(RuntimeError, match="cannot go into train mode"):
            copied.train()


def test_a_pickle_is_small() -> None:
    lstm = LSTM(64, 128)
    size = len(pickle.dumps(lstm))
    assert len(pickle.dumps(lstm.quantize("int8"))) < 0.3 * size
    assert len(pickle.dumps(lstm.quantize("float16"))) < 0.55 * size


def test_no_random_number_is_drawn() -> None:
    generator = np.random.default_rng(0)
    lstm = LSTM(3, 5, 2, dropout=0.5, seed=generator)
    state, x = generator.bit_generator.state, np.ones((4, 3), F32)
    small = lstm.quantize("bfloat16")
    small(x)
    wide = small.dequantize().train()
    assert generator.bit_generator.state == state
    lstm.load_state_dict(wide.state_dict())
    assert_same_bits(wide(x), lstm(x))  # masks are those that would have come


@pytest.mark.parametrize(("form", "share"), [("int8", 1), ("float16", 2), ("bfloat16", 4)])
def test_nothing_beside_what_is_kept_takes_memory(form: str, share: int) -> None:
    lstm = LSTM(1000, 1000)
    count = sum(array.size for array in lstm.parameters())
    with at_most(share * count + (8 << 20)):
        lstm.quantize(form)


# --- and back ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [LSTM, LSTMCell])
@forms
def test_dequantized(form: str, kind: Any) -> None:
    small = kind(3, 5, seed=0).quantize(form)
    wide = small.dequantize()
    assert (type(wide), wide.form, wide.training) == (kind, "float32", False)
    assert repr(wide) == f"{kind.__name__}(3, 5)"
    for name, array in wide.named_parameters():
        kept = getattr(small, name)
        expected = kept * getattr(small, f"{name}_scale")[:, None] if kept.dtype == np.int8 else kept
        assert array.dtype == F32
        np.testing.assert_array_equal(array, expected)
    wide.train().reset_parameters()
    again = wide.quantize(form)
    assert again.form == form
    with pytest.raises(RuntimeError, match=f"this {kind.__name__} is not quantized: its weights are float32"):
        wide.dequantize()


# --- what is refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["float32", "int4", "INT8", None, 8, np.int8, np.array(["int8"])])
def test_forms_that_there_are_not(form: Any) -> None:
    with pytest.raises(ValueError, match=r"weights should be kept in float16, bfloat16 or int8, got: "):
        LSTM(3, 5).quantize(form)


@pytest.mark.parametrize("kind", [LSTM, LSTMCell])
@forms
def test_modules_that_cannot_be_quantized(form: str, kind: Any) -> None:
    with pytest.raises(ValueError, match=rf"this {kind.__name__} is float64, and what is quantized is float32"):
        kind(3, 5, dtype=np.float64).quantize(form)
    for other in FORMS:
        with pytest.raises(RuntimeError, match=f"is quantized to {form} already"):
            kind(3, 5).quantize(form).quantize(other)


BEYOND = [("float16", 65520.0), ("bfloat16", 3.4e38), ("int8", np.inf), ("int8", np.nan)]


@pytest.mark.parametrize(("form", "value"), BEYOND)
def test_weights_beyond_a_form_are_named(form: str, value: float) -> None:
    lstm = LSTM(3, 5, 2, seed=0)
    weight = lstm.weight_hh_l1.copy()
    weight[3, 1] = value
    lstm.weight_hh_l1 = weight
    with pytest.raises(ValueError, match=f"weight_hh_l1 has {re.escape(f'{F32(value):g}')}, "):
        lstm.quantize(form)


def test_rows_too_long_for_sums_of_integers_are_refused_at_once() -> None:
    """127 * 127 * 133,144 is the last sum of so many products that 32 bits hold."""
    assert LSTM(133_144, 1).quantize("int8").form == "int8"
    longer = LSTM(133_145, 1)
    with pytest.raises(ValueError, match=r"has rows of 133,145 numbers, .*: keep these weights in 16 bits"):
        longer.quantize("int8")
    assert longer.quantize("float16").form == "float16"


def test_the_largest_float32_stays_finite() -> None:
    """127 times the nearest float32 to a 127th of it would be infinite."""
    lstm = LSTM(3, 5, seed=0)
    weight = lstm.weight_ih_l0.copy()
    weight[:, 0] = np.finfo(F32).max
    weight[::2] *= -1
    lstm.weight_ih_l0 = weight
    small = lstm.quantize("int8")
    np.testing.assert_array_equal(small.weight_ih_l0[:, 0], np.where(np.arange(20) % 2, 127, -127))
    np.testing.assert_allclose(small.dequantize().weight_ih_l0[:, 0], weight[:, 0], rtol=1e-6)
    same_module(LSTM._of_form(small._architecture, small.state_dict(), "int8"), small)


@forms
def test_floating_point_errors_of_numpy_are_no_concern(form: str) -> None:
    """Weights that round to zero or to denormal numbers do so whatever NumPy was told to raise."""
    lstm = LSTM(3, 5, seed=0)
    lstm.weight_ih_l0 = np.resize(F32([1000, 1e-9, 1e-38, 1e-40, 3e-5]), (20, 3))
    expected = lstm.quantize(form)
    with np.errstate(all="raise"):
        small = lstm.quantize(form)
        wide = small.dequantize()
    same_module(small, expected)
    same_module(wide, expected.dequantize())


class QuantizedMeanwhile(dict[str, np.ndarray]):
    """Parameters during whose quantization others are quantized, as another thread may do."""

    def items(self) -> Any:
        for item in super().items():
            weight_form.dequantized(weight_form.quantized(dict([item]), "int8"), "int8")
            yield item


def test_what_numpy_does_about_errors_is_the_callers_own() -> None:
    """What one call has set for its own time, another does not find or leave."""
    with np.errstate(divide="raise", over="raise", under="raise", invalid="raise"):
        before = np.geterr()
        weight_form.quantized(QuantizedMeanwhile(LSTM(3, 5).state_dict()), "int8")
        assert np.geterr() == before


CHANGES: list[tuple[str, Callable[[Any], Any]]] = [
    ("be given another weight_ih_l0", lambda m: setattr(m, "weight_ih_l0", np.zeros((20, 3)))),
    ("be given another bias_hh_l0", lambda m: setattr(m, "bias_hh_l0", np.zeros(20))),
    ("load a state dict", lambda m: m.load_state_dict(m.state_dict())),
    ("load a state dict", lambda m: m.load_state_dict(LSTM(3, 5).state_dict(), strict=False)),
    ("draw parameters", lambda m: m.reset_parameters()),
    ("go into train mode", lambda m: m.train()),
    ("go into train mode", lambda m: setattr(m, "training", True)),
]


@pytest.mark.parametrize(("words", "change"), CHANGES)
@forms
def test_changes_say_what_to_do(form: str, words: str, change: Callable[[Any], Any]) -> None:
    small = LSTM(3, 5, seed=0).quantize(form)
    before = dict(small.named_parameters())
    message = (
        f"this LSTM is quantized to {form}, and cannot {words}: do that with the float32 module, and quantize it again"
    )
    with pytest.raises(RuntimeError, match=f"^{re.escape(message)}$"):
        change(small)
    assert all(small.state_dict()[name] is array for name, array in before.items())
    assert not small.training


def test_scales_cannot_be_assigned() -> None:
    kinds: list[tuple[Any, str]] = [(LSTM(3, 5), "weight_ih_l0_scale"), (LSTMCell(3, 5), "weight_hh_scale")]
    for module_, name in kinds:
        small = module_.quantize("int8")
        with pytest.raises(RuntimeError, match=f"cannot be given another {name}"):
            setattr(small, name, getattr(small, name))
    with pytest.raises(ValueError, match="training mode is expected to be boolean"):
        small.train(1)


@pytest.mark.parametrize("strict", [True, False])
def test_int8_without_its_scales_is_no_weight(strict: bool) -> None:
    """It would be loaded as numbers up to 127."""
    small, lstm = LSTM(3, 5, seed=0).quantize("int8"), LSTM(3, 5, seed=1)
    before = lstm.state_dict()
    for state in (small.state_dict(), pickle.loads(pickle.dumps(small.state_dict()))):
        with pytest.raises(RuntimeError, match=r"weight_ih_l0 is quantized, as weight_ih_l0_scale tells: take "):
            lstm.load_state_dict(state, strict=strict)
    partly = {name: array for name, array in small.named_parameters() if not name.endswith("_scale")}
    with pytest.raises(RuntimeError, match=r"holds int8 weights, which are nothing without their scales"):
        lstm.load_state_dict(partly, strict=strict)
    plain = {name: np.array(array) for name, array in partly.items()}  # as a file gives them
    with pytest.raises(RuntimeError, match="weight_hh_l0 holds int8, as of quantized weights, which are nothing"):
        lstm.load_state_dict(plain, strict=strict)
    with pytest.raises(TypeError, match="weight_ih_l0 holds int8 weights"):
        lstm.weight_ih_l0 = small.weight_ih_l0
    assert all(lstm.state_dict()[name] is array for name, array in before.items())
    lstm.load_state_dict(small.dequantize().state_dict(), strict=strict)
    lstm.weight_ih_l0 = small.weight_ih_l0.copy()  # integers that somebody has made are numbers like others


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, ">u2"])
@pytest.mark.parametrize("name", ["weight_ih", "weight_hh"])
def test_integers_of_few_bits_in_a_state_dict_are_no_weights(name: str, dtype: Any) -> None:
    """They stand for others: codes with a scale, or halves of bfloat16.  Biases and wider integers are as in torch."""
    cell = LSTMCell(3, 5, seed=0)
    state = {**cell.state_dict(), "bias_ih": np.ones(20, np.int8), "bias_hh": np.ones(20, np.int64)}
    with pytest.raises(RuntimeError, match=f"{name} holds {np.dtype(dtype)}, as of quantized weights"):
        cell.load_state_dict({**state, name: np.ones(getattr(cell, name).shape, dtype)})
    cell.load_state_dict({**state, name: np.ones(getattr(cell, name).shape, np.int32)})
    assert getattr(cell, name).dtype == np.float32


def test_tensors_of_few_bits_in_a_state_dict_are_no_weights() -> None:
    torch = pytest.importorskip("torch")
    cell = LSTMCell(3, 5, seed=0)
    with pytest.raises(RuntimeError, match="weight_ih holds int8, as of quantized weights"):
        cell.load_state_dict({**cell.state_dict(), "weight_ih": torch.ones(20, 3, dtype=torch.int8)})


# --- made of what others have kept ------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@forms
def test_of_kept_arrays(form: str, shape: Shape) -> None:
    case = random_case(shape, 4)
    small = module(case, batch_first=True).quantize(form)
    kept = {name: np.array(array, order="F") for name, array in reversed(small.state_dict().items())}
    a = small._architecture
    made = LSTM._of_form(a, kept, form, batch_first=True)
    same_module(made, small)
    for array in kept.values():
        array[:] = 1  # they were copied
    same_module(made, small)
    x = np.ascontiguousarray(case.x.swapaxes(0, 1))
    assert_same_bits(made(x), small(x))
    assert LSTM._of_form(a, small.state_dict(), form, dropout=0.0).dropout == 0


@forms
def test_a_cell_of_kept_arrays(form: str) -> None:
    small = LSTMCell(3, 5, seed=0).quantize(form)
    same_module(LSTMCell._of_form(small._architecture, small.state_dict(), form), small)


def test_bytes_in_the_other_order() -> None:
    small = LSTM(3, 5, seed=0).quantize("int8")
    kept = {name: array.astype(array.dtype.newbyteorder(">")) for name, array in small.named_parameters()}
    same_module(LSTM._of_form(small._architecture, kept, "int8"), small)


def changed(name: str, change: Callable[[np.ndarray], Any]) -> Callable[[dict[str, np.ndarray]], None]:
    def put(kept: dict[str, np.ndarray]) -> None:
        array = kept[name].copy()
        other = change(array)
        kept[name] = array if other is None else other

    return put


def first(value: float) -> Callable[[np.ndarray], None]:
    return lambda array: array.reshape(-1).__setitem__(0, value)


WRONG: list[tuple[str, str, Callable[[dict[str, np.ndarray]], Any]]] = [
    ("int8", "weight_ih_l0_scale is missing", lambda k: k.pop("weight_ih_l0_scale")),
    ("int8", "weight_hh_l0 is missing", lambda k: k.pop("weight_hh_l0")),
    ("int8", "bias_ih_l0_scale is none of the arrays", lambda k: k.update(bias_ih_l0_scale=np.ones(20, F32))),
    ("float16", "weight_ih_l0_scale is none of the arrays", lambda k: k.update(weight_ih_l0_scale=np.ones(20, F32))),
    ("int8", r"weight_ih_l0_scale is a float32 array of shape \(19,\)", changed("weight_ih_l0_scale", lambda a: a[1:])),
    ("int8", r"weight_ih_l0_scale is a float64 array", changed("weight_ih_l0_scale", np.float64)),
    ("int8", r"weight_ih_l0 is a float32 array of shape \(20, 3\), and weights in int8", changed("weight_ih_l0", F32)),
    ("int8", r"weight_hh_l0 is a int8 array of shape \(20, 4\)", changed("weight_hh_l0", lambda a: a[:, 1:])),
    ("int8", r"bias_hh_l0 is a float16 array", changed("bias_hh_l0", np.float16)),
    ("float16", r"weight_ih_l0 is a float32 array", changed("weight_ih_l0", F32)),
    ("bfloat16", r"weight_ih_l0 is a float16 array", changed("weight_ih_l0", np.float16)),
    ("bfloat16", r"weight_ih_l0 has numbers that bfloat16 has not", changed("weight_ih_l0", first(0.1))),
    ("int8", "weight_hh_l0 has -128, and weights in int8 are from -127 to 127", changed("weight_hh_l0", first(-128))),
    *(
        ("int8", f"weight_hh_l0_scale has {words}, and scales are", changed("weight_hh_l0_scale", first(value)))
        for value, words in (
            (0, "0"), (-1, "-1"), (np.nan, "nan"), (np.inf, "inf"), (2.0**-127, "5.87747e-39"), (3e36, r"3e\+36"),
        )
    ),
]  # fmt: skip


@pytest.mark.parametrize(("form", "words", "change"), WRONG)
def test_arrays_that_a_form_does_not_keep(form: str, words: str, change: Callable[[Any], Any]) -> None:
    small = LSTM(3, 5, seed=0).quantize(form)
    kept = dict(small.state_dict())
    change(kept)
    with pytest.raises(ValueError, match=f"^{words}"):
        LSTM._of_form(small._architecture, kept, form)


@pytest.mark.parametrize(("of", "form"), list(itertools.permutations(FORMS, 2)))
def test_arrays_of_another_form(of: str, form: str) -> None:
    small = LSTM(3, 5, seed=0).quantize(of)
    with pytest.raises(ValueError, match=rf"{form} keeps of weights|and weights in {form} have a"):
        LSTM._of_form(small._architecture, small.state_dict(), form)
    with pytest.raises(ValueError, match="should be kept in"):
        LSTM._of_form(small._architecture, small.state_dict(), "float32")
