"""The bounds of the activations that the kernels call, in the kernels' floating-point mode.

``exhaustive_activations.py`` measures them over every float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support.activations import BOUNDS, elementwise, exact, flushed, sample, ulp_error

DTYPES = (np.float32, np.float64)
INF = np.inf


def arguments(name: str, dtype: Any) -> tuple[np.ndarray, ...]:
    """Return sample arguments for a function."""
    x = sample(dtype, 1)
    if name != "sigmoid_times_tanh":
        return (x,)
    rng = np.random.default_rng(3)
    columns = (rng.permutation(x), rng.permutation(sample(dtype, 2)))
    ordinary = rng.uniform(-30, 30, (2, 500_000)).astype(dtype)
    return tuple(np.concatenate(pair) for pair in zip(columns, ordinary, strict=True))


@pytest.fixture(scope="module", params=tuple(BOUNDS))
def activation(request: pytest.FixtureRequest) -> tuple[str, Callable[..., np.ndarray]]:
    """Each function with its name, compiled once."""
    return request.param, elementwise(request.param)


@pytest.mark.parametrize("dtype", DTYPES)
def test_bound(activation: tuple[str, Callable[..., np.ndarray]], dtype: Any) -> None:
    name, function = activation
    given = arguments(name, dtype)
    error = ulp_error(function(*given), exact(name, *given))
    worst = np.argmax(error)
    assert error[worst] <= BOUNDS[name], f"{error[worst]} ULP at {[a[worst] for a in given]}"
    assert error[worst] > 0.3 * BOUNDS[name], "the sample or the bound is too wide to say anything"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("name", "cases"),
    [
        # Arguments, then the value.
        ("exp", [(0.0, 1.0), (-0.0, 1.0), (INF, INF), (-INF, 0.0), (1e-310, 1.0), (1e4, INF), (-1e4, 0.0)]),
        ("sigmoid", [(0.0, 0.5), (-0.0, 0.5), (INF, 1.0), (-INF, 0.0), (1e4, 1.0), (-1e4, 0.0)]),
        ("tanh", [(0.0, 0.0), (-0.0, -0.0), (INF, 1.0), (-INF, -1.0)]),
        ("tanh", [(1e4, 1.0), (-1e4, -1.0), (1e-310, 0.0), (-1e-310, -0.0)]),
        ("sigmoid_times_tanh", [(INF, INF, 1.0), (INF, -INF, -1.0), (0.0, INF, 0.5), (1e4, 1e4, 1.0)]),
        ("sigmoid_times_tanh", [(-INF, INF, 0.0), (-INF, -INF, -0.0), (-1e4, -1e4, -0.0), (-1e4, 1.0, 0.0)]),
        ("sigmoid_times_tanh", [(3.0, 0.0, 0.0), (3.0, -0.0, -0.0), (-INF, 0.0, 0.0), (INF, -1e-310, -0.0)]),
    ],
)
def test_bit_patterns(name: str, cases: list[tuple[float, ...]], dtype: Any) -> None:
    *given, expected = (np.array(column, dtype) for column in zip(*cases, strict=True))
    assert elementwise(name)(*given).tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_of_any_payload_stays_nan(activation: tuple[str, Callable[..., np.ndarray]], dtype: Any) -> None:
    name, function = activation
    info = np.finfo(dtype)
    bits = np.dtype(f"u{np.dtype(dtype).itemsize}").type
    payloads = np.array([1 << k for k in range(info.nmant)] + [(1 << info.nmant) - 1], bits)
    nan = np.concatenate([payloads | dtype(infinity).view(bits) for infinity in (INF, -INF)]).view(dtype)
    number = np.resize(np.array([0, 1, -3, 500, -500, np.inf, -np.inf], dtype), nan.size)
    pairs = [(nan,)] if name != "sigmoid_times_tanh" else [(nan, number), (number, nan), (nan, nan)]
    for given in pairs:
        assert np.isnan(function(*given)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_tanh_is_odd_to_the_bit(dtype: Any) -> None:
    x = flushed(sample(dtype, 4, 10_000))
    tanh = elementwise("tanh")
    x = x[~np.isnan(x)]
    assert (-tanh(x)).tobytes() == tanh(-x).tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_open_gate_leaves_tanh(dtype: Any) -> None:
    """sigmoid(inf) is 1: then the product is tanh, bit for bit."""
    y = sample(dtype, 5, 10_000)
    y = y[~np.isnan(y)]
    gate = np.full_like(y, np.inf)
    assert elementwise("sigmoid_times_tanh")(gate, y).tobytes() == elementwise("tanh")(y).tobytes()


def test_ulp_error_sees_what_it_should() -> None:
    """The measure itself: an exact value, one and two units, a wrong sign, a missing NaN."""
    result = np.array([1, 1 + 2**-23, 1 - 2**-23, -0.0, 1, np.inf, 0], np.float32)
    reference = np.array([1, 1, 1, 0.0, np.nan, 1, 1e-39])
    assert ulp_error(result, reference).tolist() == [0, 1, 1, np.inf, np.inf, np.inf, 0]
