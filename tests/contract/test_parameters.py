"""Names, shapes, sizes from shapes, and the arrays that parameters are."""

from __future__ import annotations

import copy
import itertools
import pickle
import re
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from support.cases import Shape, parameter_shapes

from numba_lstm.contract.architecture import Architecture
from numba_lstm.contract.parameter import Parameter, cast
from numba_lstm.contract.state_dict import infer, nothing_under, prefixes

F32 = np.dtype(np.float32)

ARCHITECTURES = [
    Architecture(input_size, hidden_size, layers, bias, bidirectional, proj)
    for (input_size, hidden_size, proj), layers, bias, bidirectional in itertools.product(
        [(3, 5, 0), (1, 1, 0), (7, 4, 2)], [1, 2, 11], [True, False], [True, False]
    )
]


def arrays(architecture: Architecture, prefix: str = "") -> dict[str, np.ndarray]:
    return {prefix + name: np.zeros(shape) for name, shape in architecture.shapes().items()}


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=str)
def test_shapes_are_torchs_and_tell_the_sizes(architecture: Architecture) -> None:
    a = architecture
    shape = Shape(a.input_size, a.hidden_size, a.num_layers, a.bias, a.bidirectional, a.proj_size)
    assert list(a.shapes().items()) == list(parameter_shapes(shape).items())
    assert infer(arrays(a)) == a
    assert infer({"other.weight": np.zeros(3), **arrays(a, "x.y.")}, "x.y.") == a


def test_names_are_grouped_as_torchs() -> None:
    a = Architecture(3, 5, 2, bidirectional=True, proj_size=2)
    kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
    assert a.names(0, 0) == tuple(kind + "_l0" for kind in kinds)
    assert a.names(1, 1) == tuple(kind + "_l1_reverse" for kind in kinds)
    assert Architecture(3, 5, bias=False).names(0, 0) == ("weight_ih_l0", "weight_hh_l0")
    assert (a.num_directions, a.output_size, a.layer_input_size(0), a.layer_input_size(1)) == (2, 2, 3, 4)


def test_order_of_names_does_not_matter() -> None:
    a = Architecture(3, 5, 3, bidirectional=True)
    assert infer(dict(reversed(arrays(a).items()))) == a


STACK = Architecture(3, 5, 2, bidirectional=True)

MISFITS: list[tuple[str, dict[str, Any], list[str]]] = [
    # what is changed (None: taken away) and what the message names, all of it
    ("half a bias", {"bias_hh_l1": None}, ["bias_hh_l1 is missing"]),
    ("half a direction", {"weight_hh_l1_reverse": None}, ["weight_hh_l1_reverse is missing"]),
    ("gap", {n: None for n in STACK.shapes() if "_l0" in n}, ["no layer 0, but a layer 1"]),
    ("no first matrix", {"weight_ih_l0": None}, ["weight_ih_l0 is missing"]),
    ("no recurrent matrix", {"weight_hh_l0": None}, ["weight_hh_l0 is missing"]),
    ("a vector", {"weight_ih_l0": (20,)}, ["weight_ih_l0 has shape (20,)"]),
    ("empty", {"weight_hh_l0": (0, 5)}, ["weight_hh_l0 has shape (0, 5)"]),
    ("a GRU", {"weight_hh_l0": (15, 5)}, ["weight_hh_l0 has shape (15, 5)", "not the weights of an LSTM"]),
    (
        "several",
        {"weight_ih_l1": (20, 5), "bias_ih_l0": (19,), "bias_hh_l0_reverse": None},
        [
            "weight_ih_l1 has shape (20, 5), expected (20, 10)",
            "bias_ih_l0 has shape (19,), expected (20,)",
            "bias_hh_l0_reverse is missing",
        ],
    ),
    ("half a projection", {"weight_hr_l1": (2, 5)}, ["weight_hr_l0 is missing"]),
]


@pytest.mark.parametrize(("changes", "named"), [row[1:] for row in MISFITS], ids=[row[0] for row in MISFITS])
def test_what_does_not_fit_is_named(changes: dict[str, Any], named: list[str]) -> None:
    mapping = arrays(STACK, "p.")
    for name, shape in changes.items():
        if shape is None:
            del mapping["p." + name]
        else:
            mapping["p." + name] = np.zeros(shape)
    with pytest.raises(ValueError, match=r"under prefix 'p.' do not fit together") as caught:
        infer(mapping, "p.")
    for words in named:
        assert words in str(caught.value)


def test_projection_that_is_too_wide() -> None:
    shapes = {"weight_ih_l0": (8, 3), "weight_hh_l0": (8, 2), "weight_hr_l0": (2, 2)}
    with pytest.raises(ValueError, match="proj_size has to be smaller than hidden_size"):
        infer({name: np.zeros(shape) for name, shape in shapes.items()})


def test_layer_numbers_that_are_absurd() -> None:
    mapping = {**arrays(Architecture(3, 5)), "weight_ih_l999999": np.zeros((20, 5))}
    with pytest.raises(ValueError, match="no layer 1, but a layer 999999"):
        infer(mapping)


def test_a_prefix_that_is_not_there() -> None:
    mapping = {**arrays(STACK, "lstm."), **arrays(STACK, "encoder.rnn.")}
    message = "no LSTM under prefix ''; found: 'encoder.rnn.', 'lstm.'"
    with pytest.raises(ValueError, match=re.escape(message)):
        infer(mapping)
    with pytest.raises(ValueError, match=re.escape(message.replace("''", "'lstm'"))):
        infer(mapping, "lstm")
    with pytest.raises(ValueError, match=r"none under another: no name ends in weight_ih_l0"):
        infer({"linear.weight": np.zeros((2, 2))})
    with pytest.raises(ValueError, match=r"found: 'a.'"):
        infer({}, names=["a.weight_ih_l0"])
    assert prefixes(mapping) == ["encoder.rnn.", "lstm."]


# --- arrays -------------------------------------------------------------------------------------------------


WHERE = np.array([[True, False, True], [False, True, True]])


@pytest.fixture
def parameter() -> Parameter:
    return cast(np.arange(6).reshape(2, 3), F32)


@pytest.mark.parametrize(
    "write",
    [
        lambda p: p.__setitem__(0, 1),
        lambda p: p.__setitem__((slice(None), 1), 1),
        lambda p: p[0].__setitem__(0, 1),
        lambda p: p.T.__setitem__(0, 1),
        lambda p: p.__iadd__(1),
        lambda p: p.__imul__(2),
        lambda p: np.add(1, 2, out=p),
        lambda p: np.multiply(p, p, p),
        lambda p: np.add(p, 1, out=p, where=WHERE),
        lambda p: np.add(p, 1, out=p, where=WHERE.view(Parameter)),
        lambda p: np.modf(p, out=(None, p)),
        lambda p: np.add.reduce(p, out=p[0]),
        lambda p: np.add.reduce(p, out=p[0], where=WHERE.view(Parameter), initial=p[0, 0]),
        lambda p: np.add.accumulate(p, out=p),
        lambda p: np.add.reduceat(p, [0, 1], out=p),
        lambda p: np.add.at(p, 0, 1),
        lambda p: np.add.at(p[0], [0, 1], 1),  # NumPy writes there
        lambda p: np.add.at(p.reshape(-1), np.array([0, 1]), p[0, :2]),
        lambda p: np.negative.at(p[1], [0]),
        lambda p: p.clip(0, 1, out=p),
    ],
)
def test_writing_says_to_assign(parameter: Parameter, write: Any) -> None:
    with pytest.raises(ValueError, match="read-only: assign a new array"):
        write(parameter)
    np.testing.assert_array_equal(parameter, np.arange(6).reshape(2, 3))


@pytest.mark.parametrize("view", [lambda p: p, np.asarray, lambda p: p[0], lambda p: p.reshape(-1), np.transpose])
def test_no_view_can_be_made_writable(parameter: Parameter, view: Any) -> None:
    array = view(parameter)
    assert not array.flags.writeable
    with pytest.raises(ValueError, match="WRITEABLE"):
        array.flags.writeable = True
    with pytest.raises(ValueError, match=r"read-only|writable"):
        np.asarray(array)[...] = 1
    with pytest.raises(ValueError, match="read-only"):
        array.fill(1)


@pytest.mark.parametrize(
    "compute",
    [
        lambda p: p + 1,
        lambda p: -p,
        lambda p: p @ p.T,
        lambda p: p.sum(axis=0),
        lambda p: np.exp(p),
        lambda p: np.add(p, 1, out=np.empty((2, 3), np.float32)),
        lambda p: np.add.reduce(p),
        lambda p: np.add(p, 1, out=np.zeros((2, 3), np.float32), where=WHERE.view(Parameter)),
        lambda p: np.add.reduce(np.ones((2, 3)), where=WHERE.view(Parameter)),
        lambda p: np.add.reduce(p, where=WHERE.view(Parameter), initial=p[0, 0]),
        lambda p: p.sum(axis=0, where=WHERE.view(Parameter)),
        lambda p: p.mean(axis=0, where=WHERE.view(Parameter)),
        lambda p: p.max(axis=0, where=WHERE.view(Parameter), initial=p[0, 1]),
        lambda p: np.add.reduceat(p, np.array([0, 1]).view(Parameter)),
        lambda p: np.add.accumulate(p),
        lambda p: np.add.outer(p, p),
        lambda p: np.matmul(p, p.T, axes=[(0, 1), (0, 1), (0, 1)]),
        lambda p: p.copy(),
        copy.copy,
        copy.deepcopy,
        np.array,
        *(lambda p, n=protocol: pickle.loads(pickle.dumps(p, n)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)),
    ],
)
def test_results_are_plain_arrays(parameter: Parameter, compute: Any) -> None:
    result = compute(parameter)
    assert type(result) is np.ndarray
    assert result.flags.writeable
    result[0] = 7
    assert parameter[0, 0] == 0


@pytest.mark.parametrize(
    "compute",
    [
        lambda p, where: np.add(p, 1, out=np.zeros((2, 3)), where=where),
        lambda p, where: np.add(np.ones((2, 3)), 1, out=np.zeros((2, 3)), where=where),
        lambda p, where: np.add.reduce(p, axis=None, where=where),
        lambda p, where: np.add.reduce(p, axis=0, where=where, initial=p[1, 2]),
        lambda p, where: np.maximum.reduce(p, axis=1, where=where, initial=p[:1, :1].reshape(())),
        lambda p, where: np.logical_and.reduce(p, where=where),
        lambda p, where: p.sum(where=where),
        lambda p, where: p.mean(where=where),
        lambda p, where: p.std(where=where),
        lambda p, where: np.ones((2, 3)).sum(where=where),
        lambda p, where: np.mean(np.ones((2, 3)), where=where),
    ],
)
def test_a_parameter_says_where(parameter: Parameter, compute: Any) -> None:
    """As a plain array does."""
    expected = compute(np.array(parameter), WHERE)
    for given, where in ((parameter, WHERE.view(Parameter)), (np.array(parameter), WHERE.view(Parameter))):
        np.testing.assert_array_equal(compute(given, where), expected, strict=True)
    with pytest.raises(TypeError, match="Cannot cast array data"):  # as of any array of floats
        compute(parameter, parameter)


def test_parameters_as_what_is_added(parameter: Parameter) -> None:
    """And as the places where; what is changed is another array."""
    changed, where = np.zeros((2, 3), np.float32), np.array([0, 0]).view(Parameter)
    np.add.at(changed, where, parameter)
    np.testing.assert_array_equal(changed, [[3, 5, 7], [0, 0, 0]])
    other = parameter.astype(np.float64)  # a copy of the same class
    np.add.at(other, (where, 1), 1)
    np.testing.assert_array_equal(other, [[0, 3, 2], [3, 4, 5]])
    assert parameter[0, 1] == 1


def test_copies_of_the_same_class_may_be_written_to(parameter: Parameter) -> None:
    other = parameter.astype(np.float64)
    other[0] = 7
    other += 1
    assert other[0, 0] == 8


def test_a_parameter_is_a_copy() -> None:
    array = np.ones((2, 3), np.float32)
    parameter = cast(array, F32)
    array[:] = 2
    assert parameter.sum() == 6
    assert parameter.flags.c_contiguous
    assert cast(np.ones((2, 3)).T, F32).flags.c_contiguous


@pytest.mark.parametrize("value", [[1, 2], np.int8([1, 2]), np.array([1, 2], ">f8"), np.float16([1, 2]), (True, 2)])
def test_casting(value: Any) -> None:
    for dtype in (F32, np.dtype(np.float64)):
        parameter = cast(value, dtype)
        assert parameter.dtype == dtype
        assert list(parameter) == [1, 2]


def test_casting_overflows_silently_as_torchs_does() -> None:
    assert list(cast([1e300, -1e300, np.nan, 1e-300], F32)[[0, 1, 3]]) == [np.inf, -np.inf, 0]


@pytest.mark.parametrize("value", [[1j], ["a"], [b"a"], np.array([1], "M8[s]")])
def test_what_is_no_real_number(value: Any) -> None:
    with pytest.raises(TypeError, match="should hold real numbers"):
        cast(value, F32)


# --- what is there instead ----------------------------------------------------------------------------------


def test_the_nearest_of_many_prefixes_come_first() -> None:
    names = [f"block.{index}.rnn.weight_ih_l0" for index in range(50)] + ["head.lstm.weight_ih_l0"]
    text = nothing_under("model.head.lstm.", names)
    assert text.startswith("no LSTM under prefix 'model.head.lstm.'; found: 'head.lstm.', 'block.0.rnn.', ")
    assert text.endswith(" and 41 more")


def test_names_that_are_there_instead() -> None:
    names = [f"layer.{index}.weight" for index in range(30)] + ["a.lstm.bias", "weight_hh_l0.x"]
    assert nothing_under("", names) == (
        "no LSTM under prefix '', and none under another: no name ends in weight_ih_l0; there are 32 arrays: "
        "'a.lstm.bias', 'weight_hh_l0.x', 'layer.0.weight', 'layer.1.weight', 'layer.10.weight', 'layer.11.weight', "
        "'layer.12.weight', 'layer.13.weight', 'layer.14.weight', 'layer.15.weight' and 22 more"
    )
    assert nothing_under("", []).endswith("no name ends in weight_ih_l0; there is no array at all")
    assert nothing_under("", ["weight_ih"]).endswith("; LSTMCell.load would take ''")
    assert nothing_under("", ["weight_ih_l0"], cell=True).endswith("; LSTM.load would take ''")


@pytest.mark.parametrize(
    "name",
    [
        "lstm.ih_l0.qweight",
        "rnn.qzeros",
        "fc.weight.absmax",
        "fc.weight.quant_state.bitsandbytes__nf4",
        "fc.SCB",
        "rnn._packed_params",
        "rnn.weight_scale_inv",
    ],
)
def test_names_of_quantized_weights(name: str) -> None:
    assert "these are the names of quantized weights" in nothing_under("", ["embedding.weight", name])


@pytest.mark.parametrize("name", ["escbar.weight", "descale.weight", "scb", "head.weight"])
def test_names_of_other_weights(name: str) -> None:
    assert "quantized" not in nothing_under("", ["embedding.weight", name])


def test_long_names_are_cut() -> None:
    assert len(nothing_under("", ["x" * 10_000_000])) < 400


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_that_no_float_holds(dtype: type) -> None:
    """Infinity, as of floats that are too large for float32."""
    huge = [[10**400, -(10**400), Fraction(10**400, 3)], [1, Fraction(1, 3), 10**30]]
    made = cast(huge, np.dtype(dtype))
    assert made.dtype == dtype
    np.testing.assert_array_equal(made, np.array([[np.inf, -np.inf, np.inf], [1, 1 / 3, 1e30]]).astype(dtype))
    with pytest.raises(ValueError, match="read-only"):
        made[0, 0] = 1
