"""Random weights, inputs and modules for the tests; shared by test modules and scripts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import strategies as st

from support import oracle

both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=("float32", "float64"))


@dataclass(frozen=True)
class Shape:
    """An LSTM, and the steps and rows of a call."""

    input_size: int
    hidden_size: int
    num_layers: int = 1
    bias: bool = True
    bidirectional: bool = False
    proj_size: int = 0
    steps: int = 3
    rows: int = 2

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of a constructor."""
        return {k: v for k, v in asdict(self).items() if k not in ("steps", "rows")}

    @property
    def cells(self) -> int:
        """Layers times directions."""
        return self.num_layers * (1 + self.bidirectional)

    @property
    def output_size(self) -> int:
        """Size of h."""
        return self.proj_size or self.hidden_size


class Case(NamedTuple):
    """Weights, input and initial states."""

    shape: Shape
    state_dict: dict[str, np.ndarray]
    x: np.ndarray
    h_0: np.ndarray
    c_0: np.ndarray

    @property
    def hx(self) -> tuple[np.ndarray, np.ndarray]:
        """The initial states as the module takes them."""
        return self.h_0, self.c_0


def parameter_shapes(shape: Shape) -> dict[str, tuple[int, ...]]:
    """Return every parameter's name and shape, in torch's order."""
    result: dict[str, tuple[int, ...]] = {}
    gates, out = 4 * shape.hidden_size, shape.output_size
    for layer in range(shape.num_layers):
        width = shape.input_size if layer == 0 else out * (1 + shape.bidirectional)
        for suffix in (f"_l{layer}", f"_l{layer}_reverse")[: 1 + shape.bidirectional]:
            result["weight_ih" + suffix] = (gates, width)
            result["weight_hh" + suffix] = (gates, out)
            if shape.bias:
                result["bias_ih" + suffix] = result["bias_hh" + suffix] = (gates,)
            if shape.proj_size:
                result["weight_hr" + suffix] = (shape.proj_size, shape.hidden_size)
    return result


def drawn_shape(draw: Any, steps: int, rows: int, hidden: int = 130) -> Shape:
    """Draw a shape of any options, of so many steps, rows and units at most, as Hypothesis does."""
    hidden_size = draw(st.integers(1, hidden), label="hidden")
    return Shape(
        draw(st.integers(1, 70), label="input"),
        hidden_size,
        draw(st.integers(1, 3), label="layers"),
        draw(st.booleans(), label="bias"),
        draw(st.booleans(), label="bidirectional"),
        draw(st.just(0) | st.integers(0, hidden_size - 1), label="projection"),
        draw(st.integers(1, steps), label="steps"),
        draw(st.integers(1, rows), label="rows"),
    )


def random_case(shape: Shape, seed: int, dtype: Any = np.float32, scale: float = 1.0) -> Case:
    """Return weights uniform in +-scale / sqrt(hidden_size), as torch's are, and random inputs and states."""
    rng = np.random.default_rng(seed)
    bound = scale / np.sqrt(shape.hidden_size)
    weights = {n: rng.uniform(-bound, bound, s).astype(dtype) for n, s in parameter_shapes(shape).items()}
    x = rng.standard_normal((shape.steps, shape.rows, shape.input_size)).astype(dtype)
    h_0 = rng.uniform(-1, 1, (shape.cells, shape.rows, shape.output_size)).astype(dtype)
    c_0 = rng.standard_normal((shape.cells, shape.rows, shape.hidden_size)).astype(dtype)
    return Case(shape, weights, x, h_0, c_0)


def module(case: Case, **options: Any) -> Any:
    """Return the library's module with a case's weights, in evaluation mode."""
    import numba_lstm

    dtype = next(iter(case.state_dict.values())).dtype
    lstm = numba_lstm.LSTM(**case.shape.options, dtype=dtype, **options)
    lstm.load_state_dict(case.state_dict)
    return lstm.eval()


def flat(result: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (output, h_n, c_n) of (output, (h_n, c_n))."""
    output, (h_n, c_n) = result
    return output, h_n, c_n


def assert_same_bits(actual: Any, expected: Any, what: str = "") -> None:
    """Compare two results bit for bit; NaNs are equal whatever their payload."""
    for name, a, b in zip(("output", "h_n", "c_n"), flat(actual), flat(expected), strict=True):
        assert_same_array(a, b, f"{what} {name}")


def assert_same_array(a: np.ndarray, b: np.ndarray, what: str = "") -> None:
    """Compare two arrays bit for bit; NaNs are equal whatever their payload."""
    assert a.shape == b.shape, what
    assert a.dtype == b.dtype, what
    equal = (a.view(f"u{a.itemsize}") == b.view(f"u{b.itemsize}")) | (np.isnan(a) & np.isnan(b))
    assert equal.all(), f"{what}: {np.count_nonzero(~equal)} of {equal.size} differ"


def tolerance(expected: oracle.Result, dtype: Any) -> float:
    """Return how far a result may be from the oracle.

    A sum whose terms have magnitudes that add up to ``mass`` may be off by a few times eps / 2 * mass, however
    it is ordered; the activations (slope at most 1) pass that on and add up to 3.5 ULP of a number below 1; the
    cell state adds a unit of its own size.  Sixteen such halves cover what accumulates over layers and steps of
    networks that forget, as random ones do; a wrong order of gates, a lost tail or a dropped bias is off by more
    than 1e-3.  float64 has the 1e-12 that issue 2 asks for, unless sums are so large that this rule allows more.
    """
    limit = 8 * float(np.finfo(dtype).eps) * max(1.0, expected.mass, expected.largest)
    return max(limit, 1e-12)


def assert_close(actual: Any, expected: oracle.Result, what: str = "") -> None:
    """Compare a result with the oracle's; inf and NaN must be where the oracle has them."""
    for name, a, b in zip(("output", "h_n", "c_n"), flat(actual), expected[:3], strict=True):
        assert a.shape == b.shape, (what, name)
        limit = tolerance(expected, a.dtype)
        np.testing.assert_allclose(a, b, rtol=0, atol=limit, err_msg=f"{what} {name}")
