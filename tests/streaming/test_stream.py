"""Streams have the bits of a call, however a sequence is cut."""

from __future__ import annotations

import gc
import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.cases import Case, Shape, assert_same_bits, both_dtypes, module, random_case
from support.layouts import layouts
from support.streams import CREW_OF_THREE, THREE_SLICES, chosen_states, same_bits

import numba_lstm
from numba_lstm.execution.planning.machine import ASSUMED, Way
from numba_lstm.kernels.panels import gate_panels, tail_vectors
from numba_lstm.streaming import state_pool


@st.composite
def cases(draw: st.DrawFn, rows: int = 6, steps: int = 12) -> Case:
    """Return a random network of one direction with input and states."""
    hidden = draw(st.integers(1, 70))
    shape = Shape(
        draw(st.integers(1, 40)),
        hidden,
        draw(st.integers(1, 3)),
        draw(st.booleans()),
        proj_size=draw(st.just(0) | st.integers(0, hidden - 1)),
        steps=draw(st.integers(1, steps)),
        rows=draw(st.integers(1, rows)),
    )
    return random_case(shape, draw(st.integers(0, 2**32 - 1)), draw(st.sampled_from([np.float32, np.float64])))


# --- one sequence, cut in any way ---------------------------------------------------------------------------


@given(case=cases())
def test_steps_equal_the_whole(case: Case) -> None:
    shape, lstm = case.shape, module(case)
    fed = lstm.stream(shape.rows)
    for hx in (None, case.hx):
        if hx is not None:
            fed.state = hx
        output = [fed.step(x) for x in case.x]
        for y in output:
            assert type(y) is np.ndarray
            assert y.flags.c_contiguous
            assert y.flags.owndata
        assert_same_bits((np.stack(output), fed.state), lstm(case.x, hx), f"{shape}")


@given(case=cases(rows=8, steps=40), batch_first=st.booleans(), data=st.data())
def test_chunks_equal_the_whole(case: Case, batch_first: bool, data: st.DataObject) -> None:
    """Chunks of any size, some of one step without the axis of time, some with ``out``."""
    steps = case.shape.steps
    lstm = module(case, batch_first=batch_first)
    time = 1 if batch_first else 0
    x = case.x.swapaxes(0, 1).copy() if batch_first else case.x
    fed = lstm.stream(case.shape.rows)
    fed.state = case.hx
    cuts = data.draw(st.sets(st.integers(1, max(steps - 1, 1)), max_size=8), label="cuts")
    output = []
    for first, last in itertools.pairwise(sorted({0, steps} | {cut for cut in cuts if cut < steps})):
        part = x[:, first:last] if batch_first else x[first:last]
        if data.draw(st.booleans(), label="out"):
            out = np.full((*part.shape[:2], case.shape.output_size), 7, x.dtype)
            assert fed.step(part, out=out) is out
            output.append(out)
        elif last - first == 1:
            output.append(np.expand_dims(fed.step(part.take(0, time)), time))
        else:
            output.append(fed.step(part))
        assert output[-1].flags.c_contiguous
    assert_same_bits((np.concatenate(output, time), fed.state), lstm(x, case.hx), f"{case.shape}")


@pytest.mark.parametrize("rows", [1, 3, 4])
@pytest.mark.parametrize("batch_first", [False, True])
def test_chunks_of_the_same_shape(batch_first: bool, rows: int) -> None:
    """The second one of a shape may take a shorter way.  Four rows and four steps tell nothing by the shape."""
    case = random_case(Shape(7, 18, 2, steps=24, rows=rows), 1)
    lstm = module(case, batch_first=batch_first)
    x = case.x.swapaxes(0, 1).copy() if batch_first else case.x
    fed = lstm.stream(rows)
    axis = 1 if batch_first else 0
    parts = [np.ascontiguousarray(part) for part in np.split(x, 6, axis)]
    outs = [np.full((*part.shape[:2], 18), 7, np.float32) if n % 2 else None for n, part in enumerate(parts)]
    output = [fed.step(part, out=out) for part, out in zip(parts, outs, strict=True)]
    assert_same_bits((np.concatenate(output, axis), fed.state), lstm(x))
    assert all(out is None or out is y for out, y in zip(outs, output, strict=True))


@both_dtypes
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("kind", list(layouts(np.zeros((1, 1, 1)))))
def test_layouts(kind: str, rows: int, batch_first: bool, dtype: type) -> None:
    case = random_case(Shape(7, 18, 2, proj_size=5, steps=6, rows=rows), 1, dtype)
    lstm = module(case, batch_first=batch_first)
    x = layouts(case.x.swapaxes(0, 1).copy() if batch_first else case.x)[kind]
    before = x.tobytes()
    expected = lstm(np.array(x, dtype, order="C"))
    whole, by_step = lstm.stream(rows), lstm.stream(rows)
    assert_same_bits((whole.step(x), whole.state), expected, kind)
    axis = 1 if batch_first else 0
    output = [by_step.step(x[:, t] if batch_first else x[t]) for t in range(6)]
    assert_same_bits((np.stack(output, axis), by_step.state), expected, kind)
    assert x.tobytes() == before, "the input was written to"


@pytest.mark.parametrize("steps", [1, 3, 200])
def test_rows_that_read_the_same_input(steps: int) -> None:
    case = random_case(Shape(9, 33, 2, steps=steps, rows=7), 4)
    lstm = module(case)
    fed = lstm.stream(7)
    fed.state = case.hx
    x = np.broadcast_to(case.x[:, :1], case.x.shape)
    assert_same_bits((fed.step(x), fed.state), lstm(np.ascontiguousarray(x), case.hx))
    fed.reset()
    assert_same_bits((fed.step(x, rows=range(6, -1, -1)), fed.state), lstm(np.ascontiguousarray(x)))


@both_dtypes
def test_numbers_that_are_not_finite(dtype: type) -> None:
    """NaN weights, infinite states and inputs do what they do in a call, and stay in their rows."""
    case = random_case(Shape(5, 20, 2, steps=8, rows=6), 3, dtype)
    case.x[2, 1], case.x[4, 2, 3] = np.inf, np.nan
    case.h_0[0, 3], case.c_0[1, 4], case.c_0[0, 5, 7] = np.inf, -np.inf, np.nan
    for name, value in ((None, 0.0), ("weight_hh_l0", np.nan), ("weight_ih_l1", np.inf), ("weight_hh_l1", -np.inf)):
        if name:
            case.state_dict[name][3, 2] = value
        lstm = module(case)
        for hx in (None, case.hx):
            fed = lstm.stream(6)
            if hx is not None:
                fed.state = hx
            output = np.stack([fed.step(x) for x in case.x])
            assert_same_bits((output, fed.state), lstm(case.x, hx), f"{name}")
            assert not name or np.isnan(output).any()
        assert name or np.isfinite(output[:, 0]).all()


# --- states -------------------------------------------------------------------------------------------------


@both_dtypes
@pytest.mark.parametrize("proj_size", [0, 4])
def test_state(proj_size: int, dtype: type) -> None:
    case = random_case(Shape(6, 13, 3, proj_size=proj_size, steps=5, rows=4), 2, dtype)
    lstm = module(case)
    fed = lstm.stream(4)
    for array in fed.state:
        assert not array.any()
    expected = lstm(case.x, case.hx)
    big_endian = tuple(a.astype(a.dtype.newbyteorder(">")) for a in case.hx)
    fortran = [np.asfortranarray(a) for a in case.hx]
    for hx in (case.hx, list(case.hx), big_endian, fortran):
        fed.state = hx
        assert_same_bits((fed.step(case.x), fed.state), expected)
    # What is read is a copy, and what is set is copied.
    fed.state = case.hx
    for array in fed.state:
        array[...] = 7
    assert_same_bits((case.x, fed.state), (case.x, case.hx))
    same = tuple(a.copy() for a in case.hx)
    fed.state = same
    for array in same:
        array[...] = 7
    assert_same_bits((fed.step(case.x), fed.state), expected)
    fed.state = fed.state
    assert_same_bits((case.x, fed.state), (case.x, expected[1]))


@both_dtypes
def test_reset(dtype: type) -> None:
    case = random_case(Shape(6, 40, 2, steps=3, rows=5), 2, dtype)
    lstm = module(case)
    fed = lstm.stream(5)
    fed.state = case.hx
    fed.reset(rows=[])
    assert_same_bits((case.x, fed.state), (case.x, case.hx))
    for rows in ([3], (4, 0), np.array([1], np.uint8)):
        fed.state = case.hx
        fed.reset(rows)
        expected = tuple(a.copy() for a in case.hx)
        for array in expected:
            array[:, list(rows)] = 0
        assert_same_bits((case.x, fed.state), (case.x, expected), f"{rows}")
        assert_same_bits((fed.step(case.x), fed.state), lstm(case.x, expected), f"{rows}")
    fed.reset()
    assert_same_bits((fed.step(case.x), fed.state), lstm(case.x))


@both_dtypes
def test_states_of_some_rows(dtype: type) -> None:
    case = random_case(Shape(6, 13, 2, proj_size=4, steps=3, rows=5), 2, dtype)
    lstm, rows = module(case), [4, 0, 2]
    fed = lstm.stream(5)
    fed.state = case.hx
    given = fed.get_state(rows)
    assert_same_bits((case.x, given), (case.x, chosen_states(case.hx, rows)))
    assert_same_bits((case.x, fed.get_state()), (case.x, fed.state))
    for array in given:
        array[...] = 7  # a copy
    assert_same_bits((case.x, fed.state), (case.x, case.hx))
    other = random_case(Shape(6, 13, 2, proj_size=4, steps=3, rows=3), 3, dtype).hx
    fed.set_state(other, np.array(rows))
    expected = tuple(a.copy() for a in case.hx)
    for array, part in zip(expected, other, strict=True):
        array[:, rows] = part
    assert_same_bits((fed.step(case.x), fed.state), lstm(case.x, expected))
    state = fed.state
    fed.set_state(fed.get_state([]), [])
    with pytest.raises(RuntimeError, match=r"Expected hidden\[0\] size \(2, 2, 4\), got \[2, 3, 4\]"):
        fed.set_state(other, [1, 2])
    for use in (fed.get_state, lambda rows: fed.set_state(other, rows)):
        with pytest.raises(ValueError, match="rows should be from 0 to 4"):
            use([0, 5, 1])
        with pytest.raises(ValueError, match="rows should differ"):
            use([0, 1, 1])
    assert_same_bits((case.x, fed.state), (case.x, state))
    fed.set_state(case.hx)
    assert_same_bits((case.x, fed.state), (case.x, case.hx))


def test_later_changes_of_the_module() -> None:
    case = random_case(Shape(3, 9, 2, steps=6, rows=2), 1)
    lstm = module(case, batch_first=False)
    lstm.dropout = 0.5
    fed = lstm.stream(2)
    expected = lstm(case.x)[0]
    first = [fed.step(x) for x in case.x[:3]]
    lstm.weight_hh_l0 = np.zeros((36, 9))
    lstm.load_state_dict({n: np.full(v.shape, np.nan) for n, v in lstm.state_dict().items()})
    lstm.batch_first = True
    lstm.train()
    del lstm
    gc.collect()
    same_bits(np.concatenate([np.stack(first), fed.step(case.x[3:])]), expected)


# --- pools --------------------------------------------------------------------------------------------------


@given(case=cases(rows=12), data=st.data())
def test_pool_equals_separate_streams(case: Case, data: st.DataObject) -> None:
    rows, lstm = case.shape.rows, module(case)
    fed, alone = lstm.stream(rows), [lstm.stream() for _ in range(rows)]
    fed.state = case.hx
    for row, one in enumerate(alone):
        one.state = chosen_states(case.hx, [row])
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1), label="seed"))
    for tick in range(25):
        # Any of them, in any order, and sometimes none.
        chosen = rng.permutation(rows)[: rng.integers(0, rows + 1)].astype([np.int64, np.uint8, np.int32][tick % 3])
        time = (int(rng.integers(1, 5)),) if tick % 4 == 0 else ()
        x = rng.standard_normal((*time, len(chosen), case.shape.input_size)).astype(case.x.dtype)
        given_rows = [chosen, chosen.tolist(), tuple(chosen)][tick % 3]
        output = fed.step(x, rows=given_rows)
        assert output.shape == (*time, len(chosen), case.shape.output_size)
        for place, row in enumerate(chosen):
            same_bits(output[..., [place], :], alone[row].step(x[..., [place], :]), f"tick {tick} row {row}")
        if tick % 10 == 7:
            fed.reset(chosen)
            for row in chosen:
                alone[row].reset()
    h, c = (np.concatenate(arrays, 1) for arrays in zip(*(one.state for one in alone), strict=True))
    assert_same_bits((case.x, fed.state), (case.x, (h, c)))


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("way", [None, THREE_SLICES, CREW_OF_THREE])
@pytest.mark.parametrize("block", [None, 5, 1000])
@pytest.mark.parametrize(
    "shape", [Shape(24, 40, 2, rows=330), Shape(33, 65, 1, rows=310), Shape(9, 30, 3, proj_size=17, rows=301)], ids=str
)
def test_large_pool(
    shape: Shape, block: int | None, way: Way | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several blocks of rows, or one, on one thread and on several."""
    lstm = module(random_case(shape, 3))
    rows = shape.rows
    rng = np.random.default_rng(shape.rows)
    ticks: list[tuple[np.ndarray | None, np.ndarray]] = []
    for count, time in ((rows, ()), (rows - 7, ()), (100, (3,)), (rows, (2,)), (1, (9,)), (rows, ()), (97, (1,))):
        chosen = None if count == rows else rng.permutation(rows)[:count]
        ticks.append((chosen, rng.standard_normal((*time, count, shape.input_size), np.float32)))
    # What calls of the same rows say, on one thread.
    numba_lstm.set_num_threads(1)
    states = tuple(np.zeros((shape.num_layers, rows, n), np.float32) for n in (shape.output_size, shape.hidden_size))
    expected = []
    for chosen, x in ticks:
        where = slice(None) if chosen is None else chosen
        output, after = lstm(x[None] if x.ndim == 2 else x, chosen_states(states, where))
        expected.append(output.reshape(*x.shape[:-1], -1))
        for state, new in zip(states, after, strict=True):
            state[:, where] = new
    if block is not None:
        monkeypatch.setitem(ASSUMED, "block_rows", block)
    if way is not None:
        monkeypatch.setitem(ASSUMED, "way", way)
    for threads in (1, 2):
        numba_lstm.set_num_threads(threads)
        fed = lstm.stream(rows)
        for number, (chosen, x) in enumerate(ticks):
            same_bits(fed.step(x, rows=chosen), expected[number], f"tick {number}, {threads} threads")
        assert_same_bits((x, fed.state), (x, states))


@pytest.mark.usefixtures("threads")
def test_number_of_threads_changes_between_steps() -> None:
    case = random_case(Shape(64, 128, 2, steps=12, rows=60), 3)
    lstm = module(case)
    fed = lstm.stream(60)
    output = []
    for t, x in enumerate(case.x):
        numba_lstm.set_num_threads(1 + t % 2)
        output.append(fed.step(x))
    assert_same_bits((np.stack(output), fed.state), lstm(case.x))


# --- long chunks --------------------------------------------------------------------------------------------


@pytest.fixture
def short_launches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Cut chunks into launches of few steps, and list the steps of every launch."""
    monkeypatch.setitem(ASSUMED, "launch_ns", 3e3)
    monkeypatch.setitem(ASSUMED, "short_flop", 0)
    launched: list[int] = []
    original = state_pool.Pool._advance

    def advance(self: Any, x: np.ndarray, *others: Any) -> None:
        launched.append(len(x))
        original(self, x, *others)

    monkeypatch.setattr(state_pool.Pool, "_advance", advance)
    return launched


@pytest.mark.parametrize("rows", [None, [4, 0, 1]], ids=str)
@pytest.mark.parametrize("batch_first", [False, True])
def test_chunks_of_several_launches(short_launches: list[int], batch_first: bool, rows: Any) -> None:
    case = random_case(Shape(9, 24, 2, steps=61, rows=5), 3)
    lstm = module(case, batch_first=batch_first)
    count = 5 if rows is None else len(rows)
    x = case.x[:, :count].swapaxes(0, 1) if batch_first else case.x[:, :count]
    fed = lstm.stream(5)
    fed.state = case.hx
    where = slice(None) if rows is None else rows
    expected, after = lstm(x, chosen_states(case.hx, where))
    same_bits(fed.step(x, rows=rows), expected)
    assert_same_bits((x, chosen_states(fed.state, where)), (x, after))
    assert sum(short_launches) == 61
    assert len(short_launches) > 10


def test_an_exception_between_launches(short_launches: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in a long chunk: none of its steps has been taken."""
    case = random_case(Shape(9, 24, 2, steps=60, rows=5), 3)
    lstm = module(case)
    fed = lstm.stream(5)
    fed.state = case.hx
    launch = state_pool.Pool._advance

    def interrupted(*arguments: Any) -> None:
        launch(*arguments)
        if len(short_launches) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(state_pool.Pool, "_advance", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fed.step(case.x)
    assert_same_bits((case.x, fed.state), (case.x, case.hx))
    short_launches.clear()
    with pytest.raises(KeyboardInterrupt):
        fed.step(case.x[:, :2], rows=[3, 1])
    assert_same_bits((case.x, fed.state), (case.x, case.hx))
    short_launches.extend([0] * 3)
    assert_same_bits((fed.step(case.x), fed.state), lstm(case.x, case.hx))


# --- panels whose gates share vectors: what streams of small networks run on --------------------------------


@pytest.mark.parametrize("lanes", [2, 4, 8, 16])
@pytest.mark.parametrize("hidden", range(1, 41))
def test_panels_hold_the_gates(hidden: int, lanes: int) -> None:
    depth = 3
    units = hidden % lanes or lanes  # of the last panel
    vectors = next(n for n in (1, 2, 4) if n == 4 or (lanes % 4 == 0 and 4 * units <= n * lanes))
    assert tail_vectors(hidden, lanes) == vectors
    matrix = np.arange(1, 4 * hidden * depth + 1, dtype=np.float64).reshape(4 * hidden, depth)
    packed = gate_panels(matrix, lanes)
    full = -(-hidden // lanes) - 1
    assert packed.size == depth * (full * 4 * lanes + vectors * lanes)
    found = np.zeros_like(matrix)
    for gate, unit, k in itertools.product(range(4), range(hidden), range(depth)):
        panel, lane = divmod(unit, lanes)
        width = lanes if panel < full else vectors * lanes // 4
        found[gate * hidden + unit, k] = packed[panel * depth * 4 * lanes + (k * 4 + gate) * width + lane]
    np.testing.assert_array_equal(found, matrix)
    assert np.count_nonzero(packed) == matrix.size, "what fills the last panel up is zero"


@pytest.mark.parametrize("lanes", [4, 8, 16])
@pytest.mark.parametrize("hidden", range(1, 41))
def test_panels_in_pairs(hidden: int, lanes: int) -> None:
    """As those of bfloat16: two numbers of 32 bits are of one lane of two vectors, unless a panel has one vector."""
    depth = 3
    matrix = np.arange(1, 4 * hidden * depth + 1, dtype=np.uint16).reshape(4 * hidden, depth)
    alone, packed = gate_panels(matrix, lanes), gate_panels(matrix, lanes, paired=True)
    assert (packed.dtype, packed.size) == (alone.dtype, alone.size)
    expected = alone.copy()
    last = depth * lanes if tail_vectors(hidden, lanes) == 1 else 0
    for place in range(alone.size - last):
        pair, number = divmod(place, 2 * lanes)
        second, lane = divmod(number, lanes)
        expected[pair * 2 * lanes + 2 * lane + second] = alone[place]
    np.testing.assert_array_equal(packed, expected)
