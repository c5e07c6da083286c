"""`numba_lstm.io.dask.map_batches`: the bits of one call, whatever the chunks, and its errors before anything runs."""

from __future__ import annotations

import importlib.util
import pickle
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.cases import Case, Shape, assert_same_bits, drawn_shape, module, random_case
from support.processes import run

import numba_lstm as nl

dask = pytest.importorskip("dask")
pytest.importorskip("distributed")
da = pytest.importorskip("dask.array")
nd = pytest.importorskip("numba_lstm.io.dask")
batches = pytest.importorskip("numba_lstm.io.dask.batches")

SHAPE = Shape(3, 5, num_layers=2, steps=7, rows=6)


def computed(result: Any) -> Any:
    """Compute (output, (h_n, c_n)) as one graph, and check what was said of it before."""
    arrays = (result[0], *result[1])
    found = dask.compute(*arrays, scheduler="sync")
    for lazy, real in zip(arrays, found, strict=True):
        assert (lazy.shape, lazy.dtype, type(lazy._meta)) == (real.shape, real.dtype, type(real))
    return found[0], (found[1], found[2])


def by_module(case: Case, batch_first: bool) -> np.ndarray:
    """Return the input in the layout of a module."""
    return np.ascontiguousarray(case.x.swapaxes(0, 1)) if batch_first else case.x


def chunked(array: np.ndarray, chunks: Any) -> Any:
    return da.from_array(array, chunks=chunks)


@st.composite
def divided(draw: Any, size: int, empty: bool = False) -> tuple[int, ...]:
    """Draw chunks that a size is divided into, maybe with empty ones."""
    least, cuts = (0 if empty else 1), []
    for cut in sorted(draw(st.lists(st.integers(least, max(least, size - least)), max_size=4))):
        if empty or (cut < size and cut not in cuts):
            cuts.append(cut)
    edges = [0, *cuts, size]
    return tuple(end - start for start, end in pairwise(edges))


@given(data=st.data())
def test_bits_of_a_call(data: Any) -> None:
    """For random modules, layouts, states and chunks along every axis, with empty chunks."""
    shape = drawn_shape(data.draw, steps=12, rows=9, hidden=40)
    dtype = data.draw(st.sampled_from([np.float32, np.float64]), label="dtype")
    batch_first = data.draw(st.booleans(), label="batch_first")
    case = random_case(shape, data.draw(st.integers(0, 99), label="seed"), dtype)
    lstm = module(case, batch_first=batch_first)
    form = data.draw(st.sampled_from([None, "int8", "float16", "bfloat16"]), label="form")
    if form and dtype == np.float32:
        lstm = lstm.quantize(form)
    x = by_module(case, batch_first)
    rows = data.draw(divided(shape.rows, empty=True), label="rows")
    steps = (shape.steps,) if shape.bidirectional else data.draw(divided(shape.steps, empty=True), label="steps")
    features = data.draw(divided(shape.input_size), label="features")
    chunks = (rows, steps, features) if batch_first else (steps, rows, features)
    hx = data.draw(st.sampled_from([None, case.hx]), label="hx")
    lazy = hx
    if hx and data.draw(st.booleans(), label="lazy states"):
        lazy = tuple(chunked(state, (1, 2, 3)) for state in hx)
    result = nd.map_batches(lstm, chunked(x, chunks), lazy)
    assert_same_bits(computed(result), lstm(x, hx))
    output, (h_n, c_n) = result
    kept = tuple(size for size in steps if size)
    assert output.chunks[:2] == ((rows, kept) if batch_first else (kept, rows))
    assert h_n.chunks[1] == c_n.chunks[1] == rows


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("states", [False, True])
def test_a_single_sequence(batch_first: bool, states: bool) -> None:
    """Without the batch axis, in chunks along L."""
    case = random_case(Shape(3, 5, num_layers=2, proj_size=2, rows=1, steps=9), 0)
    lstm = module(case, batch_first=batch_first)
    hx = (case.h_0[:, 0], case.c_0[:, 0]) if states else None
    result = nd.map_batches(lstm, chunked(case.x[:, 0], (4, 2)), hx)
    assert result[0].chunks == ((4, 4, 1), (2,))
    assert_same_bits(computed(result), lstm(case.x[:, 0], hx))


def test_foreign_byte_order_and_any_layout() -> None:
    case = random_case(SHAPE, 0)
    lstm = module(case)
    x = np.asfortranarray(case.x.astype(">f4"))
    assert_same_bits(computed(nd.map_batches(lstm, chunked(x, (3, 2, 3)))), lstm(case.x))


def test_no_rows() -> None:
    lstm = nl.LSTM(3, 5, seed=0).eval()
    result = nd.map_batches(lstm, da.zeros((4, 0, 3), dtype="f4", chunks=(2, 1, 3)))
    assert [array.shape for array in (result[0], *result[1])] == [(4, 0, 5), (1, 0, 5), (1, 0, 5)]
    assert_same_bits(computed(result), lstm(np.zeros((4, 0, 3), np.float32)))


def test_a_part_of_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes the chunks that it depends on, and no others."""
    case, seen, call = random_case(SHAPE, 0), [], batches._call
    monkeypatch.setattr(batches, "_call", lambda carried, x, *hx: seen.append(x.shape) or call(carried, x, *hx))
    lstm = module(case)
    output, (h_n, _) = nd.map_batches(lstm, chunked(case.x, (2, (2, 4), 3)))
    assert np.array_equal(h_n[:, :2].compute(scheduler="sync"), lstm(case.x)[1][0][:, :2])
    assert seen == [(2, 2, 3)] * 3 + [(1, 2, 3)]
    seen.clear()
    assert np.array_equal(output[:3, 2:].compute(scheduler="sync"), lstm(case.x)[0][:3, 2:])
    assert seen == [(2, 4, 3)] * 2


def test_the_module_as_it_was() -> None:
    """Changes of the caller's module, and of states that are arrays, come too late."""
    case = random_case(SHAPE, 0)
    lstm = module(case)
    states = tuple(state.copy() for state in case.hx)
    result = nd.map_batches(lstm, chunked(case.x, (3, 2, 3)), states)
    expected = lstm(case.x, case.hx)
    lstm.bias_ih_l0 = np.ones(20)
    lstm.batch_first = True
    for state in states:
        state[:] = 0
    assert_same_bits(computed(result), expected)
    lstm.batch_first = False
    later = nd.map_batches(lstm, chunked(case.x, (3, 2, 3)), case.hx)
    assert later[0].name != result[0].name
    assert_same_bits(computed(later), lstm(case.x, case.hx))


def test_names_are_by_content() -> None:
    """Equal weights and input make equal names; every option that changes the result another one."""
    case = random_case(SHAPE, 0)
    x = chunked(case.x, (3, 2, 3))
    results = [
        nd.map_batches(lstm, x)[0].name
        for lstm in (module(case), module(case), module(case, dropout=0.5), module(case, batch_first=True))
    ]
    one, same, eval_mode, first = results
    assert one == same == eval_mode != first
    assert nd.map_batches(module(case).quantize("float16"), x)[0].name != one


def test_weights_are_in_the_graph_once() -> None:
    """And no task has more than its references."""
    lstm = nl.LSTM(64, 256, batch_first=True, seed=0).eval()
    weights = sum(array.nbytes for array in lstm.parameters())
    output, (h_n, _) = nd.map_batches(lstm, da.zeros((40, 30, 64), dtype="f4", chunks=(4, 10, 64)))
    for array in (output, h_n, (output + 1).sum()):
        (optimized,) = dask.optimize(array)
        sizes = sorted(len(pickle.dumps(task)) for task in dict(optimized.__dask_graph__()).values())
        assert sum(size > weights / 100 for size in sizes) == 1
        assert weights < sizes[-1] < weights + 5000


class WithForward(nl.LSTM):
    """A subclass that computes something else."""

    def forward(self, *arguments: Any, **options: Any) -> Any:
        return super().forward(*arguments, **options)


class Plain(nl.LSTM):
    """A subclass that does not."""


def test_subclasses() -> None:
    x = da.zeros((4, 2, 3), dtype="f4")
    lstm = Plain(3, 5, seed=0)
    assert_same_bits(computed(nd.map_batches(lstm, x)), lstm(np.zeros((4, 2, 3), np.float32)))
    with pytest.raises(TypeError, match="WithForward, which has a forward of its own"):
        nd.map_batches(WithForward(3, 5), x)


def zeros(*shape: int, dtype: str = "f4") -> Any:
    return da.zeros(shape, dtype=dtype, chunks=2)


@pytest.mark.parametrize(
    ("x", "hx", "error"),
    [
        (np.zeros((4, 2, 3), np.float32), None, "x should be a dask.array, got: numpy.ndarray"),
        ([[1.0]], None, "x should be a dask.array, got: list"),
        (zeros(4), None, "LSTM: Expected input to be 2D or 3D, got 1D instead"),
        (zeros(4, 2, 3, dtype="f8"), None, r"RNN input dtype \(float64\) does not match weight dtype \(float32\)"),
        (zeros(4, 2, 2), None, r"input.size\(-1\) must be equal to input_size. Expected 3, got 2"),
        (zeros(0, 2, 3), None, "Expected sequence length to be larger than 0 in RNN"),
        (zeros(4, 2, 3), (zeros(1, 3, 5), zeros(1, 2, 5)), r"Expected hidden\[0\] size \(1, 2, 5\), got \[1, 3, 5\]"),
        (zeros(4, 2, 3), (zeros(1, 2, 5), zeros(1, 2, 4)), r"Expected hidden\[1\] size \(1, 2, 5\), got \[1, 2, 4\]"),
        (zeros(4, 2, 3), (zeros(1, 2, 5), zeros(2, 5)), "For batched 3-D input, hx and cx should also be 3-D"),
        (zeros(4, 2, 3), (zeros(1, 2, 5), zeros(1, 2, 5, dtype="f8")), r"hx\[1\] dtype \(float64\) does not match"),
        (zeros(4, 2, 3), zeros(2, 1, 2, 5), r"hx should be a tuple \(h_0, c_0\) of two arrays, got: Array"),
        (zeros(4, 2, 3), (zeros(1, 2, 5),), r"hx should be a tuple \(h_0, c_0\) of two arrays, got 1"),
        (zeros(4, 2, 3), ([0.0], [0.0]), r"hx\[0\] should be a NumPy array, got: list"),
        (zeros(4, 2, 3)[:, da.ones(2, dtype=bool)], None, "input has chunks of unknown sizes"),
        (zeros(4, 2, 3), (zeros(1, 2, 5)[:, da.ones(2, dtype=bool)],) * 2, r"hx\[0\] has chunks of unknown sizes"),
        (da.ma.masked_equal(zeros(4, 2, 3), 1), None, "input is a masked array"),
    ],
)
def test_errors_before_anything_runs(x: Any, hx: Any, error: str) -> None:
    with (
        dask.config.set(scheduler=lambda *_, **__: pytest.fail("something was computed")),
        pytest.raises((TypeError, ValueError, RuntimeError), match=error),
    ):
        nd.map_batches(nl.LSTM(3, 5), x, hx)


def test_arrays_of_expressions() -> None:
    """Dask's own experiment; they are refused by name."""
    code = """
import numba_lstm as nl
try:
    nl.io.dask.map_batches(nl.LSTM(3, 5), nl.io.dask.batches.da.zeros((4, 2, 3), dtype="f4"))
except TypeError as error:
    assert "set its option array.query-planning to False" in str(error)
else:
    raise AssertionError
"""
    if importlib.util.find_spec("dask.array._array_expr"):
        run(code, DASK_ARRAY__QUERY_PLANNING="True")


def test_two_directions_need_whole_sequences() -> None:
    case = random_case(Shape(3, 5, bidirectional=True, steps=7, rows=6), 0)
    lstm = module(case, batch_first=True)
    x = chunked(by_module(case, True), (2, 3, 3))
    with pytest.raises(ValueError, match=r"x has 3 chunks along its steps: give x.rechunk\(\{1: -1\}\)"):
        nd.map_batches(lstm, x)
    assert_same_bits(computed(nd.map_batches(lstm, x.rechunk({1: -1}))), lstm(x.compute(scheduler="sync")))


def test_dropout_would_depend_on_chunks() -> None:
    lstm = nl.LSTM(3, 5, num_layers=2, dropout=0.5, seed=0)
    with pytest.raises(RuntimeError, match=r"train mode and has dropout.*call lstm.eval\(\)"):
        nd.map_batches(lstm, zeros(4, 2, 3))
    assert_same_bits(computed(nd.map_batches(lstm.eval(), zeros(4, 2, 3))), lstm(np.zeros((4, 2, 3), np.float32)))
    nd.map_batches(nl.LSTM(3, 5, num_layers=2).train(), zeros(4, 2, 3))


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (nl.LSTMCell(3, 5), "got: numba_lstm.LSTMCell, which does one step: load its weights into an LSTM"),
        (nl.LSTM, "lstm should be a numba_lstm.LSTM, got: type"),
        (None, "lstm should be a numba_lstm.LSTM, got: NoneType"),
    ],
)
def test_something_else_than_an_lstm(wrong: Any, error: str) -> None:
    with pytest.raises(TypeError, match=error):
        nd.map_batches(wrong, zeros(4, 2, 3))


@pytest.mark.parametrize("accelerated", [False, True])
def test_modules_of_torch(accelerated: bool) -> None:
    """And what is made of them."""
    torch = pytest.importorskip("torch")
    theirs: Any = torch.nn.LSTM(3, 5)
    if accelerated:
        theirs = nl.io.torch.accelerate(theirs)
    for call in (lambda: nd.map_batches(theirs, zeros(4, 2, 3)), lambda: nd.map_sequences(theirs, [np.zeros((4, 3))])):
        with pytest.raises(TypeError, match=r"LSTM\. numba_lstm.io.torch.from_module makes one of it"):
            call()
    ours = nl.io.torch.from_module(theirs)
    assert_same_bits(computed(nd.map_batches(ours, zeros(4, 2, 3))), ours(np.zeros((4, 2, 3), np.float32)))


def test_chunks_that_are_not_what_they_were_said_to_be() -> None:
    """They are found out by the call, which raises torch's error."""
    x = da.zeros((4, 2, 3), dtype="f4").map_blocks(lambda block: block.astype("f8"), dtype="f4")
    output, _ = nd.map_batches(nl.LSTM(3, 5), x)
    with pytest.raises(ValueError, match=r"RNN input dtype \(float64\)"):
        output.compute(scheduler="sync")
