"""What ``LSTM`` promises: shapes, memory, parameters, modes, copies."""

from __future__ import annotations

import copy
import itertools
import pickle
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import oracle
from support.cases import Case, Shape, assert_close, assert_same_bits, flat, module, parameter_shapes, random_case
from support.layouts import KINDS

import numba_lstm
from numba_lstm import LSTM
from numba_lstm.contract.dropout import Dropout

F32 = np.float32
PLAIN = Shape(3, 5, 2, steps=4, rows=2)


# --- shapes -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=("float32", "float64"))
@pytest.mark.parametrize(
    ("layers", "bias", "batch_first", "bidirectional", "proj"),
    list(itertools.product([1, 2], [True, False], [True, False], [True, False], [0, 2])),
)
def test_shapes_and_values(
    layers: int, bias: bool, batch_first: bool, bidirectional: bool, proj: int, dtype: Any
) -> None:
    shape = Shape(3, 5, layers, bias, bidirectional, proj, steps=4, rows=2)
    case = random_case(shape, 1, dtype)
    lstm = module(case, batch_first=batch_first)
    width, out = (1 + bidirectional) * (proj or 5), proj or 5
    for rows in (2, 1, 0, None):  # None: without the batch axis
        part = np.s_[:, 0] if rows is None else np.s_[:, :rows]
        x, hx = case.x[part], (case.h_0[part], case.c_0[part])
        if batch_first and rows is not None:
            x = x.swapaxes(0, 1)
        for states in (hx, None):
            output, (h_n, c_n) = lstm(x, states)
            leading = (4,) if rows is None else (rows, 4) if batch_first else (4, rows)
            batch = () if rows is None else (rows,)
            assert output.shape == (*leading, width)
            assert h_n.shape == (shape.cells, *batch, out)
            assert c_n.shape == (shape.cells, *batch, 5)
            for array in (output, h_n, c_n):
                assert type(array) is np.ndarray
                assert array.dtype == dtype
                assert array.flags.owndata
                assert array.base is None
                assert array.flags.c_contiguous
                assert array.flags.writeable
            if rows == 2:
                given = (case.h_0, case.c_0) if states else (None, None)
                if batch_first:
                    output = output.swapaxes(0, 1)
                assert_close((output, (h_n, c_n)), oracle.lstm(case.state_dict, case.x, *given))
    # one sequence without the batch axis is the batch of one
    one, alone = np.s_[:, :1], case.x[:, 0]
    x = case.x[one].swapaxes(0, 1) if batch_first else case.x[one]
    output, states = lstm(x, (case.h_0[one], case.c_0[one]))
    single = lstm(alone, (case.h_0[:, 0], case.c_0[:, 0]))
    assert_same_bits(single, (output.reshape(single[0].shape), tuple(s[:, 0] for s in states)))


def test_forward_is_call_and_a_subclass_may_override_it() -> None:
    class Doubled(LSTM):
        def forward(self, input: np.ndarray, hx: Any = None) -> Any:
            output, states = super().forward(input, hx)
            return 2 * output, states

    case = random_case(PLAIN, 0)
    lstm, doubled = module(case), Doubled(3, 5, 2)
    doubled.load_state_dict(case.state_dict)
    assert_same_bits(lstm.forward(case.x, case.hx), lstm(case.x, case.hx))
    assert_same_bits(lstm(input=case.x, hx=case.hx), lstm(case.x, case.hx))
    np.testing.assert_array_equal(doubled(case.x)[0], 2 * lstm(case.x)[0])
    assert repr(doubled) == "Doubled(3, 5, num_layers=2)"


class Doubling:
    """A base class beside `LSTM`."""

    def forward(self, input: np.ndarray, hx: Any = None) -> Any:
        after: Any = super()
        output, states = after.forward(input, hx)
        return 2 * output, states


class Calling:
    """Another one."""

    def __call__(self, *arguments: Any) -> Any:
        self._calls = getattr(self, "_calls", 0) + 1
        after: Any = super()
        return after.__call__(*arguments)


@pytest.mark.parametrize("kind", [LSTM, numba_lstm.LSTMCell])
def test_the_forward_of_another_base_is_called(kind: Any) -> None:
    mixed = type("Mixed", (Doubling, kind), {})
    further = type("Further", (mixed,), {})
    x = np.ones((1, 3), np.float32)
    expected, _ = kind(3, 5, seed=0)(x)
    for each in (mixed, further):
        made = each(3, 5, seed=0)
        np.testing.assert_array_equal(made(x)[0], 2 * expected)
        np.testing.assert_array_equal(made.forward(x)[0], 2 * expected)


def test_a_call_of_ones_own() -> None:
    class Counted(Calling, LSTM):
        pass

    lstm, x = Counted(3, 5, seed=0), np.ones((1, 3), np.float32)
    assert_same_bits(lstm(x), LSTM(3, 5, seed=0)(x))
    assert lstm._calls == 1


@pytest.mark.parametrize(
    ("bases", "names"),
    [
        ((Doubling, Calling, LSTM), {}),
        ((Calling, LSTM), {"forward": lambda self, input: None}),
        ((Doubling, LSTM), {"__call__": lambda self, input: None}),
        ((LSTM,), {"__call__": lambda self, input: None, "forward": lambda self, input: 2}),
        ((Calling, numba_lstm.LSTMCell), {"forward": lambda self, input: None}),
    ],
)
def test_a_forward_and_a_call_would_not_meet(bases: tuple[type, ...], names: dict[str, Any]) -> None:
    """``super().__call__`` is torch's way to it, and here it is the front end's own forward."""
    with pytest.raises(TypeError, match=r"^Both has the forward of \w+ and the __call__ of \w+, and a subclass may"):
        type("Both", bases, names)


def test_a_forward_cannot_be_put_on() -> None:
    lstm = LSTM(3, 5)
    with pytest.raises(AttributeError, match=r"^no call would see another forward: make a subclass of LSTM with it$"):
        lstm.forward = lambda input: None  # type: ignore[method-assign]


# --- inputs -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=("float32", "float64"))
def test_every_kind_of_array(kind: str, batch_first: bool, dtype: Any) -> None:
    case = random_case(Shape(3, 5, 2, steps=4, rows=6), 2, dtype)
    lstm = module(case, batch_first=batch_first)
    x = np.ascontiguousarray(case.x.swapaxes(0, 1)) if batch_first else case.x
    expected, alone = lstm(x, case.hx), lstm(case.x[:, 0])
    convert = KINDS[kind]
    arrays = [convert(a) for a in (x, *case.hx)]
    before = [np.array(a) for a in arrays]
    assert_same_bits(lstm(arrays[0], (arrays[1], arrays[2])), expected)
    assert_same_bits(lstm(arrays[0], case.hx), expected)
    assert_same_bits(lstm(x, [arrays[1], case.c_0]), expected)
    assert_same_bits(lstm(convert(case.x[:, 0])), alone)
    for array, was in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(np.array(array), was)


@pytest.mark.parametrize("layout", ["C", "batch first", "steps cut out"])
def test_what_kernels_can_read_is_not_copied(layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = random_case(PLAIN, 0)
    lstm = module(case)
    x = {"C": case.x, "batch first": case.x.swapaxes(0, 1).copy().swapaxes(0, 1), "steps cut out": case.x[::2]}[layout]
    seen = []
    call = type(lstm._network()).__call__

    def spy(self: Any, x: np.ndarray, *rest: Any, **options: Any) -> Any:
        seen.append(x)
        return call(self, x, *rest, **options)

    monkeypatch.setattr(numba_lstm.execution.network.Network, "__call__", spy)
    lstm(x, case.hx)
    lstm(case.x[:, 0])
    assert np.shares_memory(seen[0], x)
    assert np.shares_memory(seen[1], case.x)


def test_outputs_are_not_inputs_and_are_not_reused() -> None:
    case = random_case(PLAIN, 0)
    lstm = module(case)
    first = lstm(case.x, case.hx)
    kept = [array.copy() for array in flat(first)]
    second = lstm(case.x + 1, first[1])
    for array, was in zip(flat(first), kept, strict=True):
        np.testing.assert_array_equal(array, was)
    for a, b in itertools.product(flat(first), [*flat(second), case.x, *case.hx]):
        assert not np.shares_memory(a, b)


# --- parameters ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("proj", [0, 2])
@pytest.mark.parametrize("bias", [True, False])
def test_parameters_under_all_of_their_names(bias: bool, proj: int) -> None:
    shape = Shape(3, 5, 2, bias, True, proj)
    case = random_case(shape, 0)
    lstm = module(case)
    expected = parameter_shapes(shape)
    assert list(lstm.state_dict()) == list(expected)
    assert [name for name, _ in lstm.named_parameters()] == list(expected)
    assert [name for name, _ in lstm.named_parameters("a")] == ["a." + name for name in expected]
    assert list(lstm.state_dict(prefix="a.")) == ["a." + name for name in expected]
    per_layer = len(expected) // 4
    assert [len(group) for group in lstm.all_weights] == [per_layer] * 4
    grouped = [array for group in lstm.all_weights for array in group]
    for (name, array), other, third in zip(lstm.state_dict().items(), grouped, lstm.parameters(), strict=True):
        assert getattr(lstm, name) is array is other is third
        assert name in dir(lstm)
        np.testing.assert_array_equal(array, case.state_dict[name])
    assert not hasattr(lstm, "weight_ih_l2")
    with pytest.raises(AttributeError, match="'LSTM' object has no attribute 'weight_ih_l2'"):
        _ = lstm.weight_ih_l2


def test_writing_into_a_parameter_says_to_assign() -> None:
    lstm = LSTM(3, 5)
    before = np.array(lstm.weight_ih_l0)
    with pytest.raises(ValueError, match="read-only: assign"):
        lstm.weight_ih_l0[0, 0] = 1
    with pytest.raises(ValueError, match="read-only: assign"):
        lstm.weight_ih_l0 *= 2
    with pytest.raises(ValueError, match="read-only: assign"):
        lstm.state_dict()["weight_ih_l0"][:] = 0
    np.testing.assert_array_equal(lstm.weight_ih_l0, before)


def test_assigning_a_parameter_counts_at_the_next_call() -> None:
    case, other = random_case(PLAIN, 0), random_case(PLAIN, 1)
    lstm = module(case)
    for name, array in other.state_dict.items():
        lstm(case.x)
        setattr(lstm, name, array.astype(np.float64) if "ih" in name else array.tolist())
    assert_same_bits(lstm(case.x), module(other)(case.x))
    given = other.state_dict["bias_ih_l0"].copy()
    lstm.bias_ih_l0 = given
    given[:] = np.nan
    assert_same_bits(lstm(case.x), module(other)(case.x))


def test_assigning_what_does_not_fit() -> None:
    lstm = LSTM(3, 5)
    before = lstm.state_dict()
    with pytest.raises(ValueError, match=re.escape("weight_ih_l0 should have shape (20, 3), got: (3, 20)")):
        lstm.weight_ih_l0 = np.zeros((3, 20))
    with pytest.raises(ValueError, match=re.escape("bias_ih_l0 should have shape (20,), got: ()")):
        lstm.bias_ih_l0 = 0.0
    with pytest.raises(TypeError, match="bias_ih_l0 should hold real numbers, got: complex128"):
        lstm.bias_ih_l0 = np.zeros(20, complex)
    with pytest.raises(AttributeError):
        del lstm.bias_ih_l0
    assert all(lstm.state_dict()[name] is array for name, array in before.items())


@pytest.mark.parametrize("name", ["input_size", "hidden_size", "num_layers", "bias", "bidirectional", "proj_size"])
def test_sizes_cannot_be_changed(name: str) -> None:
    lstm = LSTM(3, 5)
    with pytest.raises(AttributeError, match=f"{name} cannot be changed: make a new LSTM"):
        setattr(lstm, name, 2)
    with pytest.raises(AttributeError):
        lstm.dtype = np.float64  # type: ignore[misc]


def test_options_that_can_be_changed() -> None:
    case = random_case(PLAIN, 0)
    lstm = module(case)
    expected = lstm(case.x)
    lstm.batch_first = True
    output, states = lstm(case.x.swapaxes(0, 1))
    assert_same_bits((output.swapaxes(0, 1), states), expected)
    lstm.dropout = 1
    assert type(lstm.dropout) is float
    with pytest.raises(TypeError, match="batch_first should be of type bool, got: int"):
        lstm.batch_first = 1  # type: ignore[assignment]
    with pytest.raises(ValueError, match="dropout should be a number in range"):
        lstm.dropout = 2
    lstm.note = "mine"
    assert (lstm.note, lstm.batch_first, lstm.dropout) == ("mine", True, 1.0)


@pytest.mark.parametrize("spelling", [np.float64, "float64", "d", float, np.dtype(">f8"), np.zeros(1).dtype])
def test_spellings_of_dtypes(spelling: Any) -> None:
    lstm = LSTM(3, 5, dtype=spelling)
    assert lstm.dtype == lstm.weight_ih_l0.dtype == np.float64
    assert lstm(np.zeros((2, 1, 3)))[0].dtype == np.float64
    assert LSTM(3, 5).dtype == LSTM(3, 5, dtype=None).dtype == np.float32


def test_initial_weights_are_uniform_and_repeatable() -> None:
    for dtype in (np.float32, np.float64):
        lstm = LSTM(30, 64, 2, dtype=dtype, seed=5)
        values = np.concatenate([array.ravel() for array in lstm.parameters()])
        assert values.dtype == dtype
        assert -1 / 8 <= values.min() < -0.124
        assert 0.124 < values.max() <= 1 / 8
        assert abs(values.mean()) < 1e-3
        assert values.std() == pytest.approx(1 / 8 / np.sqrt(3), rel=0.01)
        again = LSTM(30, 64, 2, dtype=dtype, seed=5)
        assert all(np.array_equal(getattr(lstm, n), a) for n, a in again.named_parameters())
        again.reset_parameters()
        assert not np.array_equal(lstm.weight_ih_l0, again.weight_ih_l0)
    assert not np.array_equal(LSTM(3, 5).weight_ih_l0, LSTM(3, 5).weight_ih_l0)


def test_reset_parameters_counts_at_the_next_call() -> None:
    lstm, x = LSTM(3, 5, seed=0).eval(), np.ones((2, 1, 3), F32)
    before = lstm(x)[0]
    lstm.reset_parameters()
    assert not np.array_equal(before, lstm(x)[0])
    assert lstm.flatten_parameters() is None  # type: ignore[func-returns-value]


# --- state dicts --------------------------------------------------------------------------------------------
def test_loading_a_state_dict() -> None:
    case = random_case(PLAIN, 3)
    lstm = LSTM(3, 5, 2, seed=0).eval()
    keys = lstm.load_state_dict(case.state_dict)
    assert keys == ([], [])
    assert repr(keys) == str(keys) == "<All keys matched successfully>"
    assert_same_bits(lstm(case.x), module(case)(case.x))
    # nothing of the mapping is kept
    expected = lstm(case.x)
    for array in case.state_dict.values():
        array[:] = np.nan
    assert_same_bits(lstm(case.x), expected)


def test_loading_a_part() -> None:
    lstm = LSTM(3, 5, seed=0)
    kept = np.array(lstm.weight_hh_l0)
    keys = lstm.load_state_dict({"bias_hh_l0": np.ones(20), "extra": 1, "weight_ih_l0": np.ones((20, 3))}, strict=False)
    assert (keys.missing_keys, keys.unexpected_keys) == (["weight_hh_l0", "bias_ih_l0"], ["extra"])
    assert repr(keys) == (
        "IncompatibleKeys(missing_keys=['weight_hh_l0', 'bias_ih_l0'], unexpected_keys=['extra'])"
    )
    np.testing.assert_array_equal(lstm.bias_hh_l0, 1)
    np.testing.assert_array_equal(lstm.weight_hh_l0, kept)


class Unreadable:
    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise RuntimeError("on another device")


def test_all_that_is_wrong_is_reported_at_once_and_nothing_changes() -> None:
    lstm, x = LSTM(3, 5, seed=0), np.ones((2, 1, 3), F32)
    before, output = lstm.state_dict(), lstm(x)[0]
    bad = {"weight_ih_l0": np.ones((20, 3)), "bias_ih_l0": np.ones(19), "b": 1, "a": 2}
    with pytest.raises(RuntimeError) as caught:
        lstm.load_state_dict(bad)
    assert str(caught.value) == (
        "Error(s) in loading state_dict for LSTM:\n"
        '\tMissing key(s) in state_dict: "weight_hh_l0", "bias_hh_l0". \n'
        '\tUnexpected key(s) in state_dict: "b", "a". \n'
        "\tsize mismatch for bias_ih_l0: copying a param with shape (19,) from checkpoint, "
        "the shape in current model is (20,)."
    )
    with pytest.raises(RuntimeError, match=r"LSTM:\n\tsize mismatch for bias_ih_l0"):
        lstm.load_state_dict(bad, strict=False)
    for value, words in ((Unreadable(), "on another device"), ([[1], [2, 3]], "inhomogeneous"), ("a", "real numbers")):
        with pytest.raises(RuntimeError, match=f'the parameter named "bias_hh_l0", an exception occurred.*{words}'):
            lstm.load_state_dict({"weight_ih_l0": np.ones((20, 3)), "bias_hh_l0": value}, strict=False)
    for mapping in ([1], None, "x"):
        message = f"Expected state_dict to be dict-like, got {type(mapping)}."
        with pytest.raises(TypeError, match=re.escape(message)):
            lstm.load_state_dict(mapping)  # type: ignore[arg-type]
    assert all(lstm.state_dict()[name] is array for name, array in before.items())
    np.testing.assert_array_equal(lstm(x)[0], output)


def test_a_state_dict_stays_as_it_was() -> None:
    lstm = LSTM(3, 5, seed=0)
    state, was = lstm.state_dict(), np.array(lstm.weight_ih_l0)
    lstm.reset_parameters()
    np.testing.assert_array_equal(state["weight_ih_l0"], was)
    state.clear()
    assert len(lstm.state_dict()) == 4


# --- modes and dropout --------------------------------------------------------------------------------------
def test_modes() -> None:
    lstm = LSTM(3, 5)
    assert lstm.training is True
    assert lstm.eval() is lstm
    assert lstm.training is False
    assert lstm.train() is lstm
    assert lstm.training is True
    assert lstm.train(False).training is False
    with pytest.raises(ValueError, match="training mode is expected to be boolean"):
        lstm.train(1)  # type: ignore[arg-type]


def _identity_stack(size: int, layers: int, **options: Any) -> tuple[LSTM, np.ndarray]:
    """Return a stack whose first layer's output is a constant, and an input for it."""
    lstm = LSTM(1, size, layers, **options)
    lstm.load_state_dict({name: np.zeros(a.shape) for name, a in lstm.named_parameters()})
    bias = np.zeros(4 * size)
    bias[2 * size : 3 * size] = 3  # gate g: every unit has an output, which changes over steps
    lstm.bias_ih_l0 = bias
    return lstm, np.zeros((50, 20, 1), lstm.dtype)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=("float32", "float64"))
def test_dropout_is_inverted_and_has_its_rate(rate: float, dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lstm, x = _identity_stack(40, 3, dropout=rate, dtype=dtype, seed=0)
    seen = []
    drop = Dropout.__call__

    def spy(self: Dropout, output: np.ndarray) -> None:
        before = output.copy()
        drop(self, output)
        seen.append((before, output.copy()))

    monkeypatch.setattr(Dropout, "__call__", spy)
    lstm(x)
    assert len(seen) == 2  # between layers, not after the last
    before, after = seen[0]
    assert before.shape == (50, 20, 40)
    kept = after != 0
    np.testing.assert_array_equal(after[kept], before[kept] * dtype(1 / (1 - rate)))
    sigma = np.sqrt(rate * (1 - rate) / kept.size)
    assert abs(kept.mean() - (1 - rate)) < 4 * sigma
    # every element has its own mask: steps, rows and units alike
    for axes in ((0, 1), (0, 2), (1, 2)):
        count = kept.size / kept.mean(axes).size
        assert np.abs(kept.mean(axes) - (1 - rate)).max() < 6 * np.sqrt(rate * (1 - rate) / count)


def test_dropout_reaches_the_next_layer_only() -> None:
    case = random_case(Shape(3, 6, 2, steps=3, rows=2), 0)
    lstm = module(case, dropout=1.0).train()
    below = {name: value for name, value in case.state_dict.items() if "_l0" in name}
    output, (h_n, c_n) = lstm(case.x)
    first = module(Case(Shape(3, 6, steps=3, rows=2), below, case.x, case.h_0[:1], case.c_0[:1]))(case.x)
    np.testing.assert_array_equal(h_n[0], first[1][0][0])  # states of the first layer are not dropped
    np.testing.assert_array_equal(c_n[0], first[1][1][0])
    above = {name.replace("_l1", "_l0"): value for name, value in case.state_dict.items() if "_l1" in name}
    nothing = np.zeros((3, 2, 6))
    assert_close((output, (h_n[1:], c_n[1:])), oracle.lstm(above, nothing))


def test_dropout_can_be_repeated() -> None:
    x = np.random.default_rng(1).standard_normal((5, 2, 3)).astype(F32)
    options: dict[str, Any] = {"num_layers": 3, "dropout": 0.5, "bidirectional": True, "proj_size": 2}
    one, two = LSTM(3, 6, **options, seed=9), LSTM(3, 6, **options, seed=9)
    first, second = one(x), one(x)
    assert not np.array_equal(first[0], second[0])
    assert_same_bits(two(x), first)
    assert_same_bits(two(x), second)
    generator = LSTM(3, 6, **options, seed=np.random.default_rng(9))
    assert_same_bits(generator(x), first)


def test_eval_draws_nothing() -> None:
    x = np.ones((5, 2, 3), F32)
    one, two = (LSTM(3, 6, 2, dropout=0.5, seed=9) for _ in range(2))
    for _ in range(3):
        one.eval()(x)
    assert_same_bits(one.train()(x), two(x))
    assert_same_bits(one.eval()(x), one(x))
    # nor does a rate of 0, or a single layer
    for options in ({"num_layers": 2}, {"num_layers": 1, "dropout": 0.0}):
        lstm = LSTM(3, 6, **options, seed=1)
        state = copy.deepcopy(lstm._generator.bit_generator.state)
        assert_same_bits(lstm(x), lstm.eval()(x))
        assert lstm._generator.bit_generator.state == state


def test_layout_and_dtype_do_not_change_the_masks() -> None:
    case = random_case(Shape(3, 6, 2, steps=5, rows=4), 0, np.float64)
    expected = module(case, dropout=0.5, seed=3).train()(case.x)
    output, states = module(case, dropout=0.5, seed=3, batch_first=True).train()(case.x.swapaxes(0, 1))
    assert_same_bits((output.swapaxes(0, 1), states), expected)
    single = {name: value.astype(F32) for name, value in case.state_dict.items()}
    x = case.x.astype(F32)

    def masks(lstm: LSTM, x: np.ndarray, monkey: pytest.MonkeyPatch) -> np.ndarray:
        seen: list[np.ndarray] = []
        drop = Dropout.__call__
        monkey.setattr(Dropout, "__call__", lambda self, output: (drop(self, output), seen.append(output == 0)))
        lstm(x)
        monkey.undo()
        return seen[0]

    with pytest.MonkeyPatch.context() as monkey:
        modules = (module(c, dropout=0.5).train() for c in (case, case._replace(state_dict=single)))
        found = []
        for lstm, given in zip(modules, (case.x, x), strict=True):
            lstm._generator = np.random.default_rng(4)
            found.append(masks(lstm, given, monkey))
    np.testing.assert_array_equal(*found)


def test_everything_dropped() -> None:
    lstm = LSTM(3, 6, 2, dropout=1.0, seed=0)
    a, b = lstm(np.ones((5, 2, 3), F32))[0], lstm(np.full((5, 2, 3), -7, F32))[0]
    np.testing.assert_array_equal(a, b)
    assert np.isfinite(a).all()


# --- copies -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda lstm: pickle.loads(pickle.dumps(lstm))])
def test_copies(duplicate: Any) -> None:
    options: dict[str, Any] = {"num_layers": 2, "batch_first": True, "dropout": 0.5, "dtype": np.float64, "seed": 3}
    lstm, x = LSTM(3, 5, **options), np.ones((2, 4, 3))
    lstm.note = ["mine"]
    lstm(x)
    other = duplicate(lstm)
    assert type(other) is LSTM
    assert (repr(other), other.training, other.note, other.dtype) == (repr(lstm), True, ["mine"], np.float64)
    for name, array in lstm.named_parameters():
        np.testing.assert_array_equal(getattr(other, name), array)
        assert not np.shares_memory(getattr(other, name), array)
        with pytest.raises(ValueError, match="assign"):
            getattr(other, name)[0] = 1
    assert_same_bits(other(x), lstm(x))  # the generator's state as well
    assert_same_bits(other.eval()(x), lstm.eval()(x))
    other.reset_parameters()
    assert not np.array_equal(other(x)[0], lstm(x)[0])
    assert lstm != other
    assert lstm == lstm
    assert hash(lstm) == hash(lstm)


def test_a_pickle_holds_no_packed_weights() -> None:
    lstm = LSTM(64, 64, seed=0)
    before = len(pickle.dumps(lstm))
    lstm(np.ones((2, 1, 64), F32))
    assert len(pickle.dumps(lstm)) == before
    assert before < 1.1 * sum(array.nbytes for array in lstm.parameters())


def test_one_module_in_many_threads() -> None:
    case = random_case(Shape(7, 20, 2, steps=9, rows=3), 0)
    inputs = [case.x * scale for scale in np.linspace(-1, 1, 24, dtype=F32)]
    expected = [module(case)(x) for x in inputs]
    lstm = module(case)  # not packed yet: the threads meet there too
    with ThreadPoolExecutor(8) as pool:
        for got, want in zip(pool.map(lstm, inputs), expected, strict=True):
            assert_same_bits(got, want)


def test_calls_during_an_assignment_see_all_or_nothing() -> None:
    case, other = random_case(PLAIN, 0), random_case(PLAIN, 1)
    lstm = module(case)
    possible = [module(c)(case.x)[0].tobytes() for c in (case, other)]
    with ThreadPoolExecutor(2) as pool:
        calls = pool.map(lambda _: lstm(case.x)[0].tobytes(), range(300))
        for turn in range(60):
            lstm.load_state_dict((case, other)[turn % 2].state_dict)
        seen = set(calls)
    assert seen <= set(possible)


# --- repr ---------------------------------------------------------------------------------------------------
def test_repr_is_torchs() -> None:
    assert repr(LSTM(3, 5)) == "LSTM(3, 5)"
    lstm = LSTM(3, 5, 2, False, True, 0.5, True, 2, dtype=np.float64)
    assert lstm.extra_repr() == (
        "3, 5, proj_size=2, num_layers=2, bias=False, batch_first=True, dropout=0.5, bidirectional=True"
    )
    assert repr(lstm) == f"LSTM({lstm.extra_repr()})"
    assert repr(LSTM(3, 5, 2, dropout=1)) == "LSTM(3, 5, num_layers=2, dropout=1.0)"


# --- subclasses that are loaded -----------------------------------------------------------------------------


class Drawn(numba_lstm.LSTM):
    """Looks at what its constructor drew, draws in a way of its own, and at sizes whenever it is assigned to."""

    def __new__(cls, input_size: int, *others: Any, **options: Any) -> Drawn:
        made = super().__new__(cls)
        made.__dict__["first_argument"] = input_size
        return made

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.mass = float(np.abs(self.weight_ih_l0).sum())

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("batch_first", "dropout", "training"):
            assert self.num_layers > 0
        super().__setattr__(name, value)

    def reset_parameters(self) -> None:
        super().reset_parameters()
        self.__dict__["draws"] = self.__dict__.get("draws", 0) + 1


def test_a_subclass_is_loaded_as_it_is_made(tmp_path: Path) -> None:
    numba_lstm.LSTM(3, 5, num_layers=2, dropout=0.5, seed=9).save(tmp_path / "a.npz")
    loaded, made = Drawn.load(tmp_path / "a.npz", seed=4), Drawn(3, 5, num_layers=2, dropout=0.5, seed=4)
    assert (loaded.mass, loaded.first_argument, loaded.draws) == (made.mass, 3, 1)
    made.load_state_dict(loaded.state_dict())
    x = np.ones((4, 2, 3), np.float32)
    assert_same_bits(loaded.train()(x), made(x))  # the masks are those that follow


def test_a_subclass_that_loads_nothing_has_no_weights(tmp_path: Path) -> None:
    """And not zeros, which would give a wrong number without a word."""

    class Nothing(numba_lstm.LSTM):
        def load_state_dict(self, *arguments: Any, **options: Any) -> Any:
            return None

    numba_lstm.LSTM(3, 5, seed=9).save(tmp_path / "a.npz")
    loaded = Nothing.load(tmp_path / "a.npz")
    with pytest.raises(KeyError, match="weight_ih_l0"):
        loaded(np.ones((4, 2, 3), np.float32))
