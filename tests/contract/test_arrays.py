"""Arrays in which not everything is a number that counts: refused wherever arrays come in."""

from __future__ import annotations

import copy
import pickle
import re
import warnings
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import numba_lstm as nl
from numba_lstm import serving
from numba_lstm.contract.architecture import Architecture
from numba_lstm.execution.packing import pack
from numba_lstm.kernels.cells.cell_rule import SIGMOID, TANH, CellRule

LSTM = nl.LSTM(3, 2, seed=0).eval()
CELL = nl.LSTMCell(3, 2, seed=0)
X = np.zeros((4, 1, 3), np.float32)
STATE = np.zeros((1, 1, 2), np.float32)
PACKED = nl.PackedSequence(X[:, 0], [1, 1, 1, 1])


def masked(*shape: int, dtype: Any = np.float32, some: bool = True) -> Any:
    """Return ones of which the first does not count, or none of which is masked."""
    array = np.ma.masked_array(np.ones(shape, dtype), mask=False)
    if some:
        array[(0,) * len(shape)] = np.ma.masked
    return array


def _assign(module: Any, name: str, value: Any) -> None:
    setattr(module, name, value)


PLACES: dict[str, Callable[[], Any]] = {
    "input": lambda: LSTM(masked(4, 1, 3)),
    "input with nothing masked": lambda: LSTM(masked(4, 1, 3, some=False)),
    "input without batch": lambda: LSTM(masked(4, 3)),
    "input of another dtype": lambda: LSTM(masked(4, 1, 3, dtype=np.float64)),
    "input of a shape seen before": lambda: (LSTM(X), LSTM(masked(4, 1, 3))),
    "h_0": lambda: LSTM(X, (masked(1, 1, 2), STATE)),
    "c_0": lambda: LSTM(X, [STATE, masked(1, 1, 2)]),
    "lengths": lambda: LSTM(X, lengths=masked(1, dtype=int)),
    "lengths in a list": lambda: LSTM(np.zeros((4, 2, 3), np.float32), lengths=[4, np.ma.masked]),
    "cell": lambda: CELL(masked(1, 3)),
    "cell's h_0": lambda: CELL(X[0], (masked(1, 2), STATE[0])),
    "state dict": lambda: copy.copy(LSTM).load_state_dict({**LSTM.state_dict(), "bias_ih_l0": masked(8)}),
    "parameter": lambda: _assign(copy.copy(LSTM), "bias_ih_l0", masked(8)),
    "parameter in a list": lambda: _assign(copy.copy(LSTM), "bias_ih_l0", [np.ma.masked] + [1.0] * 7),
    "parameter in rows": lambda: _assign(copy.copy(CELL), "weight_ih", [masked(3)] * 8),
    "step": lambda: LSTM.stream().step(masked(1, 3)),
    "steps": lambda: LSTM.stream().step(masked(4, 1, 3)),
    "out": lambda: LSTM.stream().step(X[0], out=masked(1, 2)),
    "state": lambda: _assign(LSTM.stream(), "state", (masked(1, 1, 2), STATE)),
    "rows": lambda: LSTM.stream().step(X[0], rows=masked(1, dtype=int)),
    "rows to reset": lambda: LSTM.stream().reset(masked(1, dtype=int)),
    "push": lambda: LSTM.sliding_window(2).push(masked(1, 3)),
    "out of push": lambda: LSTM.sliding_window(2).push(X[0], out=masked(1, 2)),
    "PackedSequence": lambda: nl.PackedSequence(masked(4, 3), [1, 1, 1, 1]),
    "replaced data": lambda: PACKED._replace(data=masked(4, 3)),
    "batch_sizes": lambda: nl.PackedSequence(X[:, 0], masked(4, dtype=int)),
    "sorted_indices": lambda: nl.PackedSequence(X[:, 0], [1, 1, 1, 1], masked(1, dtype=int)),
    "pack_sequence": lambda: nl.pack_sequence([X[:, 0], masked(2, 3)]),
    "pack_padded_sequence": lambda: nl.pack_padded_sequence(masked(4, 1, 3), [4]),
    "lengths to pack": lambda: nl.pack_padded_sequence(X, masked(1, dtype=int)),
    "pad_sequence": lambda: nl.pad_sequence([masked(4, 3)]),
    "unpad_sequence": lambda: nl.unpad_sequence(masked(4, 1, 3), [4]),
    "lengths to unpad": lambda: nl.unpad_sequence(X, masked(1, dtype=int)),
}


@pytest.mark.parametrize("use", PLACES.values(), ids=PLACES)
def test_masks_are_not_dropped(use: Any) -> None:
    with pytest.raises(TypeError, match=r"^\S+ is a masked array.*filled.*lengths"):
        use()


@pytest.mark.parametrize("pad", [nl.pad_packed_sequence, lambda sequence, **value: nl.pad_sequence([X[0]], **value)])
def test_padding_that_is_masked(pad: Any) -> None:
    with pytest.raises(TypeError, match="not MaskedConstant"):
        pad(PACKED, padding_value=np.ma.masked)


def texts(*shape: int) -> Any:
    """Return NumPy's texts of any length, which spell numbers: NumPy makes these of them, where it is let."""
    return np.full(shape, "1", np.dtypes.StringDType())


TEXTS: dict[str, Callable[[], Any]] = {
    "input": lambda: LSTM(texts(4, 1, 3)),
    "input without batch": lambda: LSTM(texts(4, 3)),
    "input with lengths": lambda: LSTM(texts(4, 1, 3), lengths=[4]),
    "input of float64": lambda: nl.LSTM(3, 2, dtype=np.float64)(texts(4, 1, 3)),
    "input in int8": lambda: LSTM.quantize("int8")(texts(4, 1, 3)),
    "h_0": lambda: LSTM(X, (texts(1, 1, 2), STATE)),
    "c_0": lambda: LSTM(X, (STATE, texts(1, 1, 2))),
    "packed": lambda: LSTM(nl.PackedSequence(texts(4, 3), [1, 1, 1, 1])),
    "h_0 of packed": lambda: LSTM(PACKED, (texts(1, 1, 2), STATE)),
    "lengths": lambda: LSTM(X, lengths=texts(1)),
    "cell": lambda: CELL(texts(1, 3)),
    "cell without batch": lambda: CELL(texts(3)),
    "cell's h_0": lambda: CELL(X[0], (texts(1, 2), STATE[0])),
    "cell's c_0": lambda: CELL(X[0], (STATE[0], texts(1, 2))),
    "vjp": lambda: LSTM.vjp(texts(4, 1, 3)),
    "gradient": lambda: LSTM.vjp(X)[1](texts(4, 1, 2)),
    "gradient of a state": lambda: LSTM.vjp(X)[1](np.zeros((4, 1, 2), np.float32), (texts(1, 1, 2), STATE)),
    "cell's gradient": lambda: CELL.vjp(X[0])[1](texts(1, 2), STATE[0]),
    "trace": lambda: LSTM.trace(texts(4, 1, 3)),
    "parameter": lambda: _assign(copy.copy(LSTM), "bias_ih_l0", texts(8)),
    "cell's parameter": lambda: _assign(copy.copy(CELL), "weight_ih", texts(8, 3)),
    "step": lambda: LSTM.stream().step(texts(1, 3)),
    "steps": lambda: LSTM.stream().step(texts(4, 1, 3)),
    "state": lambda: _assign(LSTM.stream(), "state", (texts(1, 1, 2), STATE)),
    "rows": lambda: LSTM.stream().step(X[0], rows=texts(1)),
    "push": lambda: LSTM.sliding_window(2).push(texts(1, 3)),
    "batch_sizes": lambda: nl.PackedSequence(X[:, 0], texts(4)),
    "sorted_indices": lambda: nl.PackedSequence(X[:, 0], [1, 1, 1, 1], texts(1)),
    "unsorted_indices": lambda: nl.PackedSequence(X[:, 0], [1, 1, 1, 1], [0], texts(1)),
    "lengths to pack": lambda: nl.pack_padded_sequence(X, texts(1)),
    "lengths to unpad": lambda: nl.unpad_sequence(X, texts(1)),
    "weight of a layer": lambda: serving.Linear(texts(2, 3)),
    "bias of a layer": lambda: serving.Linear(np.ones((2, 3)), texts(2)),
    "input of a layer": lambda: serving.Linear(np.ones((2, 3)))(texts(1, 3)),
    "input_dtype": lambda: serving.Batcher(
        LSTM, before=lambda x: x, input_size=3, input_dtype=np.dtypes.StringDType()
    ),
}  # fmt: skip


@pytest.mark.skipif(not hasattr(np.dtypes, "StringDType"), reason="NumPy 1 has no such texts")
@pytest.mark.parametrize("use", TEXTS.values(), ids=TEXTS)
def test_texts_of_any_length_are_no_numbers(use: Any) -> None:
    words = r"^\S+ should (hold (real )?numbers, got:? .*StringDType|be a sequence of integers, got: )|^dtype should be"
    with pytest.raises(TypeError, match=words):
        use()


@pytest.mark.skipif(not hasattr(np.dtypes, "StringDType"), reason="NumPy 1 has no such texts")
def test_texts_that_would_be_loaded() -> None:
    """Among what else is wrong, as all that cannot be a parameter."""
    module = copy.copy(LSTM)
    with pytest.raises(RuntimeError, match=r'"bias_ih_l0", .*: should hold real numbers, got: StringDType'):
        module.load_state_dict({**LSTM.state_dict(), "bias_ih_l0": texts(8)})
    for missing in (np.dtypes.StringDType(na_object=None), np.dtypes.StringDType(na_object=np.nan)):
        with pytest.raises(TypeError, match="bias_ih_l0 should hold real numbers"):
            module.bias_ih_l0 = np.full(8, "1", missing)
        with pytest.raises(TypeError, match="input should hold numbers, got texts"):
            module(np.full((4, 1, 3), "1", missing))


@pytest.mark.parametrize("dtype", ["U1", "S1", "M8[s]", "V4", "f4,f4", object, ">f2", ">i4", ">c8"])
def test_other_dtypes_have_torchs_words(dtype: Any) -> None:
    """Texts of a fixed length among them, which have a byte order."""
    x = np.zeros((4, 1, 3), dtype)
    words = re.escape(f"dtype ({x.dtype.name}) does not match weight dtype (float32)")
    uses: list[Callable[[Any], Any]] = [
        LSTM, lambda x: CELL(x[0]), lambda x: LSTM.stream().step(x[0]), lambda x: LSTM(X, (x[:1, :, :2], STATE)),
    ]  # fmt: skip
    for use in uses:
        with pytest.raises(ValueError, match=f"^(RNN input|hx.0.) {words}"):
            use(x)


def test_what_was_refused_has_changed_nothing() -> None:
    module = nl.LSTM(3, 2, seed=0)
    before = module.state_dict()
    with pytest.raises(TypeError, match="weight_hh_l0 is a masked array"):
        module.load_state_dict({**nl.LSTM(3, 2, seed=1).state_dict(), "weight_hh_l0": masked(8, 2)})
    assert all(module.state_dict()[name] is array for name, array in before.items())


class Nullable:
    """A column with a missing value, as data frames give it to NumPy."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.array([1.0, None] * 4, object)


@pytest.mark.parametrize(
    "value",
    [
        np.array([None] * 8, object), [1.0] * 7 + [None], Nullable(), np.array(["1"] * 8, object), ["1"] * 8,
        np.zeros(8, [("a", "f4")]), np.zeros(8, [("a", "f4"), ("b", "f4")]), np.zeros(8, "V4"),
        np.zeros(8, "M8[s]"), np.zeros(8, "m8[s]"), np.zeros(8, complex), [Decimal("NaN")] * 7 + ["x"],
    ],
)  # fmt: skip
def test_parameters_that_are_no_real_numbers(value: Any) -> None:
    module = nl.LSTM(3, 2)
    with pytest.raises(TypeError, match="bias_ih_l0 should hold real numbers"):
        module.bias_ih_l0 = value
    with pytest.raises(RuntimeError, match='"bias_ih_l0", an exception occurred: should hold real numbers'):
        module.load_state_dict({"bias_ih_l0": value}, strict=False)
    with pytest.raises((TypeError, ValueError), match="input"):
        module(value)


@pytest.mark.parametrize(
    "value",
    [[10**30] * 8, [Fraction(1, 2)] * 8, np.ones(8, bool), np.ones(8, np.int8), np.ones(8, np.float16), range(8)],
)
def test_parameters_of_other_real_numbers(value: Any) -> None:
    module = nl.LSTM(3, 2)
    module.bias_ih_l0 = value
    np.testing.assert_array_equal(module.bias_ih_l0, np.array([float(number) for number in value], np.float32))


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_matrices_are_arrays() -> None:
    x, out = X[0] + 1, np.zeros((1, 2), np.float32)
    expected = LSTM.stream().step(x)
    assert type(LSTM.stream().step(np.matrix(x))) is np.ndarray
    LSTM.stream().step(np.matrix(x), out=np.matrix(out, copy=False))
    np.testing.assert_array_equal(out, expected)


# --- numbers that are large or small ------------------------------------------------------------------------

BIASES = [np.full(20, 3e38), np.full(20, np.inf), np.full(20, np.nan), np.full(20, 1e-45), np.full(20, 1e300)]
OTHERS = [np.full(20, 3e38), np.full(20, -np.inf), np.full(20, 1.0), np.full(20, -1e-45), np.full(20, -1e300)]


def _by_hand(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the output of one step from zeros, where the biases are all that there is."""
    with np.errstate(all="ignore"):
        i, _, g, o = (first.astype(np.float32) + second.astype(np.float32)).reshape(4, 5).astype(np.float64)
        i, o = 1 / (1 + np.exp(-i)), 1 / (1 + np.exp(-o))
        return np.asarray(o * np.tanh(i * np.tanh(g)))


@pytest.mark.parametrize(("first", "second"), list(zip(BIASES, OTHERS, strict=True)))
def test_sums_of_biases(first: np.ndarray, second: np.ndarray, tmp_path: Path) -> None:
    """Whatever NumPy thinks of the sum: the result is that of the kernels, with no warning and no error."""
    lstm, cell = nl.LSTM(3, 5), nl.LSTMCell(3, 5)
    x = np.zeros((1, 1, 3), np.float32)
    expected = _by_hand(first, second)
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        lstm.bias_ih_l0, lstm.bias_hh_l0 = first, second
        cell.load_state_dict({**cell.state_dict(), "bias_ih": first, "bias_hh": second})
        lstm.save(tmp_path / "lstm.npz")
        results = [
            lstm(x)[0][0, 0],
            lstm.stream().step(x[0])[0],
            lstm.sliding_window(1).push(x[0])[0],
            cell(x[0])[0][0],
            nl.LSTM.load(tmp_path / "lstm.npz")(x)[0][0, 0],
            pickle.loads(pickle.dumps(lstm))(x)[0][0, 0],
            lstm(nl.PackedSequence(x[0], [1]))[0].data[0],
            lstm(x, lengths=[1])[0][0, 0],
        ]
    for result in results:
        np.testing.assert_allclose(result, expected, rtol=0, atol=1e-6)


def test_weights_beyond_a_dtype(tmp_path: Path) -> None:
    """They are rounded as torch rounds, to infinity or to zero, without a word."""
    wide = nl.LSTM(3, 5, dtype=np.float64)
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        wide.bias_hh_l0 = np.array([1e300, -1e300, 1e-300, 1e-40] * 5)
        wide.save(tmp_path / "wide.npz")
        narrow = nl.LSTM.load(tmp_path / "wide.npz", dtype=np.float32)
        other = nl.LSTM(3, 5)
        other.load_state_dict(wide.state_dict())
        for module in (narrow, other):
            assert module.bias_hh_l0.dtype == np.float32
            np.testing.assert_array_equal(module.bias_hh_l0[:4], np.float32([np.inf, -np.inf, 0, 1e-40]))
            module(np.zeros((2, 1, 3), np.float32))


@pytest.mark.parametrize("rule", [CellRule(((SIGMOID, TANH, TANH),), clip=1e300), None])
def test_packing_of_large_numbers(rule: CellRule | None) -> None:
    """Of cells with a rule of their own as well."""
    architecture = Architecture(3, 5)
    parameters = {name: np.full(shape, 3e38, np.float32) for name, shape in architecture.shapes().items()}
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        packed = pack(architecture, parameters, np.dtype(np.float32), rule)
    assert np.isinf(packed.data).any()


# --- torch's arrays -----------------------------------------------------------------------------------------


def test_tensors_are_arrays() -> None:
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).standard_normal((4, 2, 3)).astype(np.float32)
    tensor, expected = torch.from_numpy(x), LSTM(x)[0]
    np.testing.assert_array_equal(LSTM(tensor)[0], expected)
    np.testing.assert_array_equal(LSTM(tensor, lengths=torch.tensor([4, 4]))[0], expected)
    np.testing.assert_array_equal(np.stack([CELL(step)[0] for step in tensor]), np.stack([CELL(step)[0] for step in x]))
    stream = LSTM.stream(2)
    np.testing.assert_array_equal(np.stack([stream.step(step) for step in tensor]), expected)
    for bad in (tensor.clone().requires_grad_(), tensor.bfloat16(), tensor.to("meta"), tensor.to_sparse()):
        for use in (LSTM, lambda t: CELL(t[0]), lambda t: LSTM.stream(2).step(t), lambda t: nl.pack_sequence([t])):
            with pytest.raises(TypeError, match=r"is a torch\.Tensor that cannot become a NumPy array.*io\.torch"):
                use(bad)
    with pytest.raises(TypeError, match=r"bias_ih_l0 is a torch\.nn\.parameter\.Parameter that cannot become"):
        copy.copy(LSTM).bias_ih_l0 = torch.nn.Parameter(torch.zeros(8))


def test_packed_sequences_of_torch() -> None:
    torch = pytest.importorskip("torch")
    x, lengths = torch.randn(4, 3, 3), [2, 4, 1]
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
    uses: list[Callable[[Any], Any]] = [
        LSTM, CELL, LSTM.stream(3).step, LSTM.sliding_window(2, 3).push, lambda p: LSTM(p, lengths=lengths),
    ]  # fmt: skip
    for use in uses:
        with pytest.raises(TypeError, match=r"got: PackedSequence of torch\. LSTM takes numba_lstm\.PackedSequence"):
            use(packed)
    for undo in (nl.pad_packed_sequence, nl.unpack_sequence):
        with pytest.raises(TypeError, match=r"not torch\.nn\.utils\.rnn\.PackedSequence, of which numba_lstm"):
            undo(packed)
    output, (h_n, _) = LSTM(nl.PackedSequence(*packed))
    expected, (expected_h, _) = LSTM(x.numpy(), lengths=lengths)
    np.testing.assert_array_equal(nl.pad_packed_sequence(output)[0], expected)
    np.testing.assert_array_equal(h_n, expected_h)


class Variable:
    """What gives a masked array when it is asked for its numbers, as those of files of measurements do."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.ma.masked_all((4, 1, 3), np.float32)


def test_masks_of_what_another_library_makes() -> None:
    with pytest.raises(TypeError, match="is a masked array"):
        nl.LSTM(3, 5, seed=0).eval()(Variable())
