"""Cells with a rule of their own: activations, clipping, coupled gates, peepholes; against float64 and bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit
from support import general_oracle, processes
from support.activations import flushed, sample
from support.general_cells import named, network
from support.processes import half_width, two_widths
from support.routes import WAYS

from numba_lstm import LSTM
from numba_lstm.contract.architecture import Architecture
from numba_lstm.execution import entries
from numba_lstm.execution.network import Network
from numba_lstm.execution.planning.machine import ASSUMED
from numba_lstm.execution.planning.schedule import Batch
from numba_lstm.kernels.cells.cell_rule import SIGMOID, TANH, CellRule, Function
from numba_lstm.kernels.cells.general_cell import activate
from numba_lstm.kernels.frame import PLACES
from numba_lstm.simd.float_mode import flush_denormals, restore_mode
from numba_lstm.simd.vectors import fill, lanes, load, pointer, store

BOUNDS = {
    "Sigmoid": 2.5,
    "Tanh": 3.0,
    "Relu": 0.0,
    "LeakyRelu": 0.51,
    "ThresholdedRelu": 0.0,
    "ScaledTanh": 6.0,
    "Elu": 5.0,
    "Softsign": 2.0,  # a sum and a division
    "Softplus": 3.0,
    "Clip": 0.0,
    "Silu": 3.01,
    "Exp": 1.25,
}
"""ULP.  Affine and HardSigmoid cancel: their error is one rounding of the terms."""

UNDEFINED = {"Softsign": (np.inf, -np.inf), "Silu": (-np.inf,)}
"""Where the definition is inf / inf or inf * 0."""


@njit(error_model="numpy")
def _apply(code: Any, x: Any, alpha: Any, beta: Any, out: Any) -> None:
    mode = flush_denormals()
    for k in range(0, x.size, lanes(pointer(x, 0))):
        value = load(pointer(x, 0), k)
        store(pointer(out, 0), k, activate(code, value, fill(value, alpha), fill(value, beta)))
    restore_mode(mode)


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=("float32", "float64"))
@pytest.mark.parametrize("name", Function.__members__)
def test_activations_are_accurate(name: str, dtype: type) -> None:
    alpha, beta = (dtype(number) for number in named(name)[1:])
    x = sample(dtype, 5, 16_000)
    x = np.concatenate([x, np.array([np.nan, np.inf, -np.inf, 0.0, -0.0], dtype)])
    x = x[~np.isin(x, UNDEFINED.get(name, ()))]
    x = np.concatenate([x, x[: -len(x) % 16]])
    out = np.empty_like(x)
    _apply(int(Function[name]), x, alpha, beta, out)
    wide = np.float64 if dtype == np.float32 else np.longdouble
    info = np.finfo(dtype)
    with np.errstate(all="ignore"):
        exact = general_oracle.function(name, wide(alpha), wide(beta))(flushed(x).astype(wide))
        rounded = exact.astype(dtype)
        if name in BOUNDS:
            unit = np.spacing(np.abs(np.where(np.isfinite(rounded), rounded, 1))).astype(wide)
            # The kernels know no denormal numbers, not even before they multiply by something large.
            allowed = BOUNDS[name] * unit + 1000 * info.tiny
        else:
            allowed = 1.01 * info.eps / 2 * (np.abs(alpha * x.astype(wide)) + abs(beta))
        wrong = np.where(np.isfinite(exact) & np.isfinite(out), np.abs(out - exact) > allowed, out != rounded)
    wrong &= ~(np.isnan(out) & np.isnan(exact))
    assert not wrong.any(), list(zip(x[wrong], out[wrong], exact[wrong], strict=True))[:5]


@st.composite
def rules(draw: Any, sizes: Architecture) -> CellRule:
    """Draw a rule for a network of some sizes; its states stay of the size of 1."""
    function = st.sampled_from([name for name in Function.__members__ if name != "Exp"]).map(named)
    triple = st.tuples(st.sampled_from(["Sigmoid", "HardSigmoid", "Clip", "ScaledTanh"]).map(named), function, function)
    activations = tuple(draw(triple) for _ in range(sizes.num_directions))
    peepholes = None
    if draw(st.booleans()):
        rng = np.random.default_rng(draw(st.integers(0, 99)))
        cells = sizes.num_layers * sizes.num_directions
        peepholes = tuple(rng.uniform(-0.5, 0.5, (3, sizes.hidden_size)) for _ in range(cells))
    return CellRule(activations, draw(st.sampled_from([np.inf, 0.3, 1.0])), draw(st.booleans()), peepholes)


@st.composite
def architectures(draw: Any) -> Architecture:
    """Draw sizes that reach full panels, tails of every width and pairs of panels."""
    hidden = draw(st.sampled_from([1, 4, 7, 12, 16, 21, 37, 40, 50]))
    return Architecture(draw(st.integers(1, 9)), hidden, draw(st.integers(1, 2)), True, draw(st.booleans()), 0)


@given(st.data(), st.integers(1, 9), st.integers(1, 6), st.booleans(), st.sampled_from([np.float32, np.float64]))
def test_equals_float64(data: Any, rows: int, steps: int, from_zero: bool, dtype: type) -> None:
    sizes = data.draw(architectures())
    rule = data.draw(rules(sizes))
    parameters, made = network(rows, sizes, rule, dtype)
    rng = np.random.default_rng(steps)
    x = rng.standard_normal((steps, rows, sizes.input_size)).astype(dtype)
    shape = sizes.num_layers * sizes.num_directions, rows, sizes.hidden_size
    h_0, c_0 = (None, None) if from_zero else (rng.uniform(-1, 1, shape).astype(dtype) for _ in range(2))
    result = made(x, h_0, c_0, batch_first=False)
    functions = [tuple(general_oracle.function(*each) for each in triple) for triple in rule.activations]
    expected = general_oracle.lstm(
        parameters, x, functions, rule.clip, rule.input_forget, rule.peepholes, h_0, c_0
    )
    largest = max(1.0, *(float(np.abs(array).max()) for array in expected))
    for ours, theirs in zip(result, expected, strict=True):
        # Sums of up to 60 terms below 1, and six steps of two layers that pass errors on, without contraction.
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=600 * largest * float(np.finfo(dtype).eps))


@given(st.data(), st.integers(1, 12), st.integers(1, 40), st.sampled_from(list(WAYS.values())))
def test_rows_steps_threads_and_lengths_do_not_matter(data: Any, rows: int, steps: int, way: Any) -> None:
    sizes = data.draw(architectures())
    _, made = network(rows, sizes, data.draw(rules(sizes)))
    rng = np.random.default_rng(steps)
    x = rng.standard_normal((steps, rows, sizes.input_size)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        if way is not None:
            patch.setitem(ASSUMED, "way", way)
        output, h_n, c_n = made(x, None, None, batch_first=False)
        made.plans.clear()
    row = data.draw(st.integers(0, rows - 1))
    alone = made(np.ascontiguousarray(x[:, row : row + 1]), None, None, batch_first=False)
    for whole, part in zip((output, h_n, c_n), alone, strict=True):
        assert whole[:, row : row + 1].tobytes() == part.tobytes()
    if not sizes.bidirectional:
        cut = data.draw(st.integers(0, steps))
        h, c = None, None
        for part in (x[:cut], x[cut:]):
            if len(part):
                _, h, c = made(part, h, c, batch_first=False)
        assert h is not None
        assert c is not None
        assert h.tobytes() == h_n.tobytes()
        assert c.tobytes() == c_n.tobytes()
    sizes_of_steps = np.sort(rng.integers(1, rows + 1, steps))[::-1]
    packed = np.concatenate([x[t, :count] for t, count in enumerate(sizes_of_steps)])
    states = made.packed(packed, sizes_of_steps, None, None)[1:]
    length = int((sizes_of_steps > row).sum())
    if length:
        cut_short = made(np.ascontiguousarray(x[:length, row : row + 1]), None, None, batch_first=False)[1:]
        for whole, part in zip(states, cut_short, strict=True):
            assert whole[:, row : row + 1].tobytes() == part.tobytes()


def test_a_rule_that_is_the_plain_one_takes_the_plain_kernels() -> None:
    plain = CellRule(((SIGMOID, TANH, TANH),))
    assert plain.plain
    for other in (
        CellRule(((SIGMOID, TANH, named("Relu")),)),
        plain._replace(clip=3.0),
        plain._replace(input_forget=True),
        plain._replace(peepholes=(np.zeros((3, 5)),)),
    ):
        assert not other.plain
    lstm = LSTM(3, 5, seed=0)
    x = np.ones((4, 2, 3), np.float32)
    made = Network(Architecture(3, 5, 1, True, False, 0), lstm.state_dict(), np.dtype(np.float32), plain)
    output, _, _ = made(x, None, None, batch_first=False)
    assert output.tobytes() == lstm(x)[0].tobytes()
    assert made.plan(Batch(4, 2)).numbers[PLACES.run_share] == entries.share_address(np.dtype(np.float32))


def test_a_general_cell_with_torchs_functions_is_near_the_plain_one() -> None:
    lstm = LSTM(9, 40, 2, bidirectional=True, seed=1)
    x = np.random.default_rng(0).standard_normal((12, 3, 9)).astype(np.float32)
    rule = CellRule(((SIGMOID, TANH, TANH),) * 2, clip=1e30)
    made = Network(Architecture(9, 40, 2, True, True, 0), lstm.state_dict(), np.dtype(np.float32), rule)
    output, (h_n, c_n) = lstm(x)
    for ours, plain in zip(made(x, None, None, batch_first=False), (output, h_n, c_n), strict=True):
        np.testing.assert_allclose(ours, plain, rtol=0, atol=1e-6)


def test_nan_stays_in_its_row() -> None:
    sizes = Architecture(4, 21, 1, True, False, 0)
    for name in Function.__members__:
        rule = CellRule(((SIGMOID, named(name), named(name)),), 2.0, peepholes=(np.full((3, 21), 0.1),))
        _, made = network(3, sizes, rule)
        x = np.ones((3, 7, 4), np.float32)
        clean, _, _ = made(x, None, None, batch_first=False)
        x[1, 2] = np.nan
        output, _, _ = made(x, None, None, batch_first=False)
        assert np.isnan(output[1:, 2]).all()
        output[1:, 2] = clean[1:, 2]
        assert output.tobytes() == clean.tobytes()


_SCRIPT = """
import hashlib
import numpy as np
from support.general_cells import named, network
from numba_lstm.kernels.cells.cell_rule import CellRule, Function
from numba_lstm.contract.architecture import Architecture

digest = hashlib.sha256()
for dtype in (np.float32, np.float64):
    for name in Function.__members__:
        rule = CellRule(((named("HardSigmoid"), named("Softplus"), named(name)),), 1.5, False, (np.full((3, 37), 0.1),))
        _, made = network(7, Architecture(5, 37, 1, True, False, 0), rule, dtype)
        x = np.random.default_rng(1).standard_normal((6, 5, 5)).astype(dtype)
        for array in made(x, None, None, batch_first=False):
            digest.update(array.tobytes())
print(digest.hexdigest())
"""


@two_widths
def test_vectors_of_half_the_width_give_the_same_bits() -> None:
    assert processes.run(_SCRIPT, **half_width()).stdout == processes.run(_SCRIPT).stdout
