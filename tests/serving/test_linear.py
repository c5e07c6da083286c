"""The linear layer beside an LSTM: right numbers, and the bits of each row alone."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view
from support.cases import both_dtypes
from support.layouts import layouts
from support.streams import same_bits

from numba_lstm.serving import Linear


def layer(outputs: int, inputs: int, dtype: Any, bias: bool = True) -> tuple[Linear, np.ndarray, np.ndarray]:
    rng = np.random.default_rng([outputs, inputs])
    weight, shift = rng.standard_normal((outputs, inputs)).astype(dtype), rng.standard_normal(outputs).astype(dtype)
    return Linear(weight, shift if bias else None), weight, shift if bias else np.zeros(outputs, dtype)


@given(
    outputs=st.integers(1, 200),
    inputs=st.integers(1, 600),
    shape=st.tuples(st.integers(0, 40)) | st.tuples(st.integers(0, 40), st.integers(0, 40)) | st.just(()),
    dtype=st.sampled_from([np.float32, np.float64]),
    bias=st.booleans(),
)
def test_values_and_bits(outputs: int, inputs: int, shape: tuple[int, ...], dtype: Any, bias: bool) -> None:
    linear, weight, shift = layer(outputs, inputs, dtype, bias)
    x = np.random.default_rng(outputs).standard_normal((*shape, inputs)).astype(dtype)
    y = linear(x)
    assert (y.shape, y.dtype) == ((*shape, outputs), dtype)
    assert y.flags.c_contiguous
    expected = x.astype(np.longdouble) @ weight.T.astype(np.longdouble) + shift
    sizes = np.abs(x).astype(np.longdouble) @ np.abs(weight.T) + np.abs(shift)
    assert (np.abs(y - expected) <= (inputs + 1) * np.finfo(dtype).eps / 2 * sizes).all()
    for index in np.ndindex(shape):
        same_bits(y[index], linear(x[index]))


@both_dtypes
def test_layouts(dtype: type) -> None:
    linear, _, _ = layer(70, 19, dtype)
    x = np.random.default_rng(0).standard_normal((7, 5, 19)).astype(dtype)
    for other in layouts(x).values():  # the one that is broadcast has other numbers
        same_bits(linear(other), linear(np.array(other, dtype, order="C")))
    row = np.random.default_rng(0).standard_normal(60).astype(dtype)
    windows = sliding_window_view(row, 19)
    same_bits(linear(windows), linear(windows.copy()))


def test_it_is_no_part_of_anything() -> None:
    """Of the caller's arrays, and of what is beside a row."""
    linear, weight, shift = layer(5, 8, np.float32)
    x = np.ones((4, 8), np.float32)
    y = linear(x)
    again = Linear(weight, shift)
    weight[...], shift[...] = np.nan, np.nan
    same_bits(again(x), y)
    x[2], x[3] = np.nan, np.inf
    same_bits(linear(x)[:2], y[:2])
    assert np.isnan(linear(x)[2]).all()
    assert y.base is None or y.base.size == y.size


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda linear: pickle.loads(pickle.dumps(linear))])
@pytest.mark.parametrize("outputs", [1, 5, 16, 33, 64, 65, 128, 200])
def test_copies(outputs: int, duplicate: Any) -> None:
    for dtype, bias in ((np.float32, True), (np.float64, False)):
        linear, weight, shift = layer(outputs, 19, dtype, bias)
        x = np.random.default_rng(0).standard_normal((4, 19)).astype(dtype)
        again = duplicate(linear)
        assert (again.in_features, again.out_features, again.dtype) == (19, outputs, dtype)
        same_bits(again(x), Linear(weight, shift)(x))
        assert repr(again) == repr(linear)


class Named(Linear):
    """A layer with something of its own."""

    def __init__(self, name: str, outputs: int) -> None:
        super().__init__(np.ones((outputs, 3), np.float32))
        self.name = name


def test_pickles_of_a_subclass() -> None:
    again = pickle.loads(pickle.dumps(Named("head", 2)))
    assert (type(again), again.name) == (Named, "head")
    same_bits(again(np.ones(3, np.float32)), np.full(2, 3, np.float32))


def test_a_pickle_holds_the_weight_as_it_was() -> None:
    """Whatever is in its numbers, for machines that have another order of them."""
    weight = np.array([[np.nan, -0.0, 1e-40], [np.inf, 1, 2]], np.float32)
    state = Linear(weight, np.array([3, 4], np.float32)).__getstate__()
    found = [value for value in state.values() if isinstance(value, np.ndarray)]
    assert sorted(value.shape for value in found) == [(2,), (2, 3)]
    (same,) = (value for value in found if value.ndim == 2)
    assert same.tobytes() == weight.tobytes()


@pytest.mark.parametrize("name", ["in_features", "out_features", "dtype"])
def test_sizes_cannot_be_assigned(name: str) -> None:
    """The kernel trusts them."""
    linear, _, _ = layer(5, 8, np.float32)
    before = getattr(linear, name)
    with pytest.raises(AttributeError):
        setattr(linear, name, 50_000_000)
    assert getattr(linear, name) == before


@pytest.mark.parametrize(
    ("weight", "bias", "kind", "message"),
    [
        (np.zeros(3, np.float32), None, ValueError, r"weight should have shape (N, K), got (3,)"),
        (np.zeros((0, 3), np.float32), None, ValueError, r"weight should have shape (N, K), got (0, 3)"),
        (np.zeros((2, 3), np.int64), None, TypeError, "dtype should be float32 or float64, got: dtype('int64')"),
        (np.zeros((2, 3), np.float32), np.zeros(3, np.float32), ValueError, "bias should have shape (2,), got (3,)"),
        (np.zeros((2, 3), np.float32), np.zeros(2), ValueError, "bias dtype (float64) does not match weight dtype"),
    ],
)
def test_bad_layers(weight: Any, bias: Any, kind: type, message: str) -> None:
    with pytest.raises(kind) as caught:
        Linear(weight, bias)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("x", "kind", "message"),
    [
        (np.zeros((4, 9), np.float32), RuntimeError, "x.size(-1) must be equal to in_features. Expected 8, got 9"),
        (np.zeros((4, 8)), ValueError, "x dtype (float64) does not match weight dtype (float32)"),
        (np.zeros((1, 1, 4, 8), np.float32), ValueError, "Linear: Expected x to be 1D, 2D or 3D, got 4D instead"),
        (np.zeros((), np.float32), ValueError, "Linear: Expected x to be 1D, 2D or 3D, got 0D instead"),
        (np.ma.masked_array(np.zeros(8, np.float32)), TypeError, "x is a masked array"),
    ],
)
def test_bad_inputs(x: Any, kind: type, message: str) -> None:
    with pytest.raises(kind) as caught:
        layer(5, 8, np.float32)[0](x)
    assert str(caught.value).startswith(message)
