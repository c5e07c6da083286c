"""Gradients given and taken: random ones of results, those that a module returns by name, and comparisons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from support.cases import Case, assert_same_array
from support.gradient_oracle import Forward, Gradients

OF_ROWS = ("input", "h_0", "c_0")
"""Gradients that each row has its own of; rows lie on axis 1 of a time-first batch."""


class Given(NamedTuple):
    """Gradients of a scalar with respect to results, as a backward function takes them."""

    d_output: Any
    d_states: Any

    @property
    def flat(self) -> tuple[Any, Any, Any]:
        """Those of output, h_n and c_n."""
        return self.d_output, *(self.d_states or (None, None))


def random_given(case: Case, seed: int = 0) -> Given:
    """Return random gradients of the results of a case, time-first."""
    shape, rng = case.shape, np.random.default_rng([20, seed])
    output = rng.standard_normal((shape.steps, shape.rows, (1 + shape.bidirectional) * shape.output_size))
    h_n, c_n = (rng.standard_normal(state.shape) for state in case.hx)
    dtype = case.x.dtype
    return Given(output.astype(dtype), (h_n.astype(dtype), c_n.astype(dtype)))


def named(gradients: Any) -> dict[str, np.ndarray]:
    """Return all gradients that a module or the oracle returns, by name."""
    states = {"h_0": gradients.h_0, "c_0": gradients.c_0}
    return {"input": gradients.input, **states, **gradients.parameters}


def limits(expected: Gradients, run: Forward, dtype: Any) -> dict[str, float]:
    """Return how far each gradient may be from the oracle.

    That of float64 is what issue 20 asks for: 1e-11 of the largest number.  That of float32 follows
    `support.cases.tolerance`: gates are off by some halves of eps times the mass of their sums, and so, relative to
    the terms they are multiplied into, is all that goes back through them; a sum of such terms is off by that times
    its own mass, however it is ordered.
    """
    if np.dtype(dtype) == np.float64:
        return {n: 1e-11 * float(np.abs(v).max(initial=0.0)) for n, v in named(expected).items()}
    unit = 4 * float(np.finfo(dtype).eps) * max(1.0, run.result.mass, run.result.largest)
    return {name: unit * expected.masses[name] for name in named(expected)}


def assert_gradients_close(actual: Any, expected: Gradients, run: Forward, what: str = "") -> None:
    """Compare gradients with the oracle's, and what arrays they are."""
    ours, theirs = named(actual), named(expected)
    assert list(ours) == list(theirs), what
    for name, limit in limits(expected, run, ours["input"].dtype).items():
        a, b = ours[name], theirs[name]
        assert type(a) is np.ndarray, (what, name)
        assert a.shape == b.shape, (what, name)
        assert a.flags.c_contiguous, (what, name)
        assert a.base is None or a.base.nbytes == a.nbytes, (what, name)  # and keeps nothing else alive
        assert a.flags.writeable, (what, name)
        np.testing.assert_allclose(a, b, rtol=0, atol=limit, err_msg=f"{what} {name}")


def assert_same_gradients(actual: Mapping[str, Any], expected: Mapping[str, Any], what: str = "") -> None:
    """Compare named gradients bit for bit; NaNs are equal whatever their payload."""
    assert list(actual) == list(expected), what
    for name, array in actual.items():
        assert_same_array(array, expected[name], f"{what} {name}")
