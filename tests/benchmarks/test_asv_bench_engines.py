"""Engines compute the networks that they are timed with."""

from __future__ import annotations

import numpy as np
import pytest
from support import oracle
from support.benchmarks import STATEFUL

from asv_bench import engines, shapes


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("engine", [engine for engine in engines.ENGINES if engine != "first step"])
@pytest.mark.parametrize("shape", STATEFUL, ids=str)
def test_every_engine_starts_from_the_states(engine: str, shape: shapes.Shape) -> None:
    """A single step starts from states that are not zero, a sequence from zeros; against NumPy in float64."""
    given = shapes.case(shape)
    assert (given.hx is None) == (shape.steps > 1)
    try:
        runner = engines.ENGINES[engine](given, 1)
    except (ModuleNotFoundError, engines.Unsupported) as error:
        pytest.skip(str(error))
    expected = oracle.lstm(given.weights, given.x, *(given.hx or ())).output
    for _ in range(2):  # calls do not add up
        np.testing.assert_allclose(runner.output(runner.call()), expected, rtol=0, atol=1e-6)
    if given.hx:
        assert all(np.abs(state).min() > 0 for state in given.hx)


def test_a_first_step_starts_from_zeros() -> None:
    given = shapes.case(STATEFUL[0])
    first = engines.ENGINES["first step"](given, 1)
    zeros = engines.ENGINES["numba_lstm"](given._replace(hx=None), 1)
    np.testing.assert_array_equal(first.output(first.call()), zeros.output(zeros.call()))
    for shape in STATEFUL[1], STATEFUL[3]:
        with pytest.raises(engines.Unsupported):
            engines.make("first step", shape, 1)


def test_a_stream_is_timed_with_a_state() -> None:
    """Also when no output was asked for before."""
    given = shapes.case(STATEFUL[0])
    step = engines.ENGINES["stream"](given, 1).call()
    np.testing.assert_array_equal(step, engines.ENGINES["numba_lstm"](given, 1).call()[0][0])


@pytest.mark.parametrize("form", engines.FORMS)
def test_forms_take_streams_for_steps_and_calls_for_sequences(form: str) -> None:
    """With the numbers of a module that was quantized, from the states of the case."""
    for shape in STATEFUL:
        given = shapes.case(shape)
        lstm = engines.numba_lstm_module(given, None if form == "float32" else form)
        assert lstm.form == form
        runner = engines.FORMS[form](given, 1)
        streamed = isinstance(runner.call(), np.ndarray)
        assert streamed == shape.streams()
        np.testing.assert_array_equal(runner.output(runner.call()), lstm(given.x, given.hx)[0])


@pytest.mark.parametrize("engine", engines.INT8_PEERS)
@pytest.mark.parametrize("shape", STATEFUL, ids=str)
def test_int8_peers_compute_the_network(engine: str, shape: shapes.Shape) -> None:
    """Within what int8 costs, and not as exactly as float32, which would be no int8."""
    given = shapes.case(shape)
    try:
        runner = engines.INT8_PEERS[engine](given, 1)
    except (ModuleNotFoundError, engines.Unsupported) as error:
        pytest.skip(str(error))
    expected = oracle.lstm(given.weights, given.x, *(given.hx or ())).output
    error = np.abs(runner.output(runner.call()) - expected).max()
    assert 1e-5 < error < 0.05


def test_int8_with_a_projection_is_left_out() -> None:
    """By both: torch's cannot, and ONNX has no projection."""
    for engine in engines.INT8_PEERS:
        pytest.importorskip(engine.split()[0])
        pytest.importorskip("onnx")
        with pytest.raises(engines.Unsupported, match="projection"):
            engines.make(engine, shapes.Shape(4, 6, proj_size=3), 1)
