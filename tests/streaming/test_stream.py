"""Streams: any way to feed a sequence gives the bits of one call, and nothing else is touched, kept or allocated."""

from __future__ import annotations

import contextlib
import copy
import ctypes
import gc
import itertools
import os
import pickle
import random
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.allocations import traced
from support.cases import Case, Shape, assert_same_bits, both_dtypes, module, random_case
from support.layouts import layouts, unaligned
from support.streams import BAD_SIZES, C_ORDER, CREW_OF_THREE, NO_DTYPE, NO_LIST, THREE_SLICES, Slow, same_bits

import numba_lstm
from numba_lstm.execution.planning.machine import ASSUMED, Way
from numba_lstm.kernels.panels import gate_panels, tail_vectors
from numba_lstm.streaming import state_pool, stream

State = tuple[np.ndarray, np.ndarray]


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


def chosen_states(states: State, rows: Any) -> State:
    """Return the states of some rows."""
    h, c = states
    return h[:, rows], c[:, rows]


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


# --- out ----------------------------------------------------------------------------------------------------
@both_dtypes
@pytest.mark.parametrize("chunk", [(), (1,), (4,)], ids=str)
@pytest.mark.parametrize("rows", [None, [2, 0]], ids=str)
def test_out_is_all_that_is_written(rows: Any, chunk: tuple[int, ...], dtype: type) -> None:
    case = random_case(Shape(7, 19, 2, steps=max(chunk, default=1), rows=3), 5, dtype)
    lstm = module(case)
    x = case.x.reshape(*chunk, 3, 7)[..., : 2 if rows else 3, :].copy()
    plain, fed = lstm.stream(3), lstm.stream(3)
    for _ in range(3):
        buffer = np.full(3 * 4 * 19 + 60, 7, dtype)
        shape = (*x.shape[:-1], 19)
        size = int(np.prod(shape))
        out = buffer[30 : 30 + size].reshape(shape)
        before = x.copy()
        assert fed.step(x, out=out, rows=rows) is out
        same_bits(out, plain.step(x, rows=rows))
        same_bits(x, before)
        assert (buffer[:30] == 7).all()
        assert (buffer[30 + size :] == 7).all()


@contextlib.contextmanager
def row_by_row() -> Iterator[None]:
    """Have every row and step of a stream done by itself, so that its output is there before the next is read."""
    with pytest.MonkeyPatch.context() as patch:
        for number in ("block_rows", "input_rows", "gate_buffer_bytes"):
            patch.setitem(ASSUMED, number, 1)
        yield


@pytest.mark.parametrize("shape", [(4, 18), (5, 4, 18), (5, 4, 150)], ids=str)
@pytest.mark.parametrize("views", [(False, False), (False, True), (True, False), (True, True)], ids=str)
@row_by_row()
def test_out_is_x(views: tuple[bool, bool], shape: tuple[int, ...]) -> None:
    case = random_case(Shape(shape[-1], shape[-1], 2, steps=5, rows=4), 5)
    lstm = module(case)
    for kind in (lambda a: a[:], lambda a: a.view(), lambda a: a.reshape(-1).reshape(a.shape)):
        plain, fed = lstm.stream(4), lstm.stream(4)
        array = np.array(case.x if len(shape) == 3 else case.x[0])
        x, out = (kind(array) if view else array for view in views)
        for _ in range(3):
            expected = plain.step(x.copy())
            assert fed.step(x, out=out) is out
            same_bits(array, expected)


@pytest.mark.parametrize("owner", ["neither", "x", "out"])
@row_by_row()
def test_out_begins_within_x(owner: str) -> None:
    """Rows of x that are read last lie where the first output goes, or the other way round."""
    sizes = {"neither": (18, 18), "x": (36, 18), "out": (9, 18)}[owner]
    case = random_case(Shape(*sizes, 2, rows=4), 5)
    lstm = module(case)
    for first, second in ((0, 36), (36, 0), (0, 18), (18, 0)):
        plain, fed = lstm.stream(4), lstm.stream(4)
        buffer = np.random.default_rng(1).standard_normal((4, max(sizes)) if owner != "neither" else 108)
        buffer = buffer.astype(np.float32)
        flat = buffer.reshape(-1)
        x = buffer if owner == "x" else flat[first : first + 4 * sizes[0]].reshape(4, -1)
        out = buffer if owner == "out" else flat[second : second + 72].reshape(4, 18)
        assert x.base is None or owner != "x"
        assert out.base is None or owner != "out"
        expected = plain.step(x.copy())
        same_bits(fed.step(x, out=out), expected)


@given(
    steps=st.integers(0, 4),
    sizes=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    start=st.integers(0, 120),
    every=st.sampled_from([1, 2, -1]),
    rows=st.none() | st.permutations(range(3)),
)
def test_out_overlaps_x(steps: int, sizes: tuple[int, int], start: int, every: int, rows: Any) -> None:
    """Views of one buffer, out somewhere before, within or behind x, whose rows may run backwards or skip."""
    features, hidden = sizes
    case = random_case(Shape(features, hidden, 2, rows=3), 1)
    lstm = module(case)
    time = (steps,) if steps else ()
    buffer = np.random.default_rng(start).standard_normal(400).astype(np.float32)
    span = int(np.prod(time, dtype=int)) * 3 * features * abs(every)
    x = buffer[40 : 40 + span].reshape(*time, 3 * abs(every), features)[..., ::every, :]
    size = int(np.prod(time, dtype=int)) * 3 * hidden
    out = buffer[start : start + size].reshape(*time, 3, hidden)
    with row_by_row():
        plain, fed = lstm.stream(3), lstm.stream(3)
        expected = plain.step(x.copy(), rows=rows)
        assert fed.step(x, out=out, rows=rows) is out
    same_bits(out, expected)
    assert_same_bits((out, fed.state), (out, plain.state))


def test_fresh_outputs_do_not_share_memory() -> None:
    fed = numba_lstm.LSTM(3, 5, seed=0).stream(2)
    x = np.ones((2, 3), np.float32)
    first = fed.step(x)
    kept = first.copy()
    second = fed.step(x)
    assert not np.shares_memory(first, second)
    same_bits(first, kept)
    assert not np.array_equal(first, second)


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


# --- memory -------------------------------------------------------------------------------------------------
def test_shapes_come_and_go() -> None:
    """Launches have addresses of buffers, which grow: what is freed is filled with NaN by the next that gets it."""
    case = random_case(Shape(9, 24, 2, steps=1, rows=80), 3)
    lstm = module(case)
    fed = lstm.stream(80)
    rng = np.random.default_rng(0)
    states = tuple(np.zeros((2, 80, 24), np.float32) for _ in range(2))
    sizes = [(1, 80), (1, 1), (40, 2), (1, 1), (300, 80), (1, 80), (1, 1), (2, 79), (40, 2), (1000, 3), (1, 2), (1, 80)]
    # More shapes than a pool and a stream keep, and then all of them again.
    many = [(1, rows) for rows in range(1, state_pool.KEPT_LAUNCHES + 9)]
    many += [(steps, 80) for steps in range(1, stream.KEPT_SHAPES + 9)]
    for steps, rows in sizes + many + many[::3] + sizes[::-1]:
        chosen = None if rows == 80 else rng.permutation(80)[:rows]
        where = slice(None) if chosen is None else chosen
        x = rng.standard_normal((steps, rows, 9), np.float32)
        expected, after = lstm(x, chosen_states(states, where))
        for state, new in zip(states, after, strict=True):
            state[:, where] = new
        same_bits(fed.step(x, rows=chosen) if steps > 1 else fed.step(x[0], rows=chosen)[None], expected)
        gc.collect(0)
        garbage = [np.full(size, np.nan, np.float32) for size in (100, 5_000, 40_000, 300_000)]
        del garbage
    gc.collect()
    assert_same_bits((x, fed.state), (x, states))


@both_dtypes
@pytest.mark.parametrize(
    ("shape", "chunk"),
    [
        (Shape(32, 32, rows=16), False),  # the short way
        (Shape(128, 128, rows=64), False),  # the long way
        (Shape(32, 32, steps=30), True),
        (Shape(128, 128, 2, steps=60), True),
    ],
    ids=str,
)
def test_out_saves_all_allocations(shape: Shape, chunk: bool, dtype: type) -> None:
    """tracemalloc sees the memory of arrays, their heads and all other Python objects."""
    case = random_case(shape, 1, dtype)
    fed = module(case).stream(shape.rows)
    x = case.x if chunk else case.x[0]
    out = np.empty((*x.shape[:-1], shape.output_size), dtype)
    times = 2000 if shape.hidden_size < 100 else 200
    growth, peak = traced(lambda: fed.step(x, out=out), times)
    assert growth < 8 * times, "the smallest object for every step would be more"
    assert peak < 2000, "some views and integers; the smallest array in question has 2048 bytes"
    # The measure sees what a step without out allocates.
    _, peak = traced(lambda: fed.step(x), 5)
    assert peak >= out.nbytes


def test_a_few_integers_are_all_that_a_step_allocates() -> None:
    fed = numba_lstm.LSTM(1, 40, seed=0).stream()
    x, out = np.ones((1, 1), np.float32), np.empty((1, 40), np.float32)
    growth, peak = traced(lambda: fed.step(x, out=out), 20_000)
    assert growth < 1024
    assert peak < 1024
    rows = np.array([0])
    growth, _ = traced(lambda: fed.step(x, out=out, rows=rows), 2000)
    assert growth < 1024


class _Mallinfo2(ctypes.Structure):
    """What glibc tells of its memory, see ``man mallinfo2``."""

    _fields_ = [(f"field{number}", ctypes.c_size_t) for number in range(10)]

    @property
    def handed_out(self) -> int:
        """Bytes in use, in all heaps, and in mappings of their own."""
        return int(self.field7 + self.field4)


def _in_use() -> tuple[int, int]:
    """Return the bytes that malloc has handed out, and the blocks of Python's own allocator.

    Both are exact, where the pages of a process come and go with what else the machine does.
    """
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = _Mallinfo2
    return mallinfo2().handed_out, sys.getallocatedblocks()


def _least_growth(action: Callable[[], Any], times: int) -> tuple[int, int]:
    """Return by how much both grow; the least of three, since what earlier tests left grows as well."""
    grown = []
    for _ in range(3):
        gc.collect()
        before = _in_use()
        for _ in itertools.repeat(None, times):
            action()
        grown.append([after - one for after, one in zip(_in_use(), before, strict=True)])
    return min(each for each, _ in grown), min(each for _, each in grown)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None) if os.name == "posix" else None, "mallinfo2"), reason="not glibc")
def test_many_steps_without_growth() -> None:
    case = random_case(Shape(1, 4, rows=2), 0)
    fed = module(case).stream(2)
    x, out = case.x[0], np.empty((2, 4), np.float32)
    chunk, rows = case.x[:2], np.array([1])
    times = 50_000
    for action in (
        lambda: fed.step(x, out=out),
        lambda: fed.step(x),
        lambda: fed.step(chunk),
        lambda: fed.step(x[:1], rows=rows),
    ):
        for _ in itertools.repeat(None, 1000):
            action()
        allocated, blocks = _least_growth(action, times)
        assert allocated < 16 * times / 10, "16 bytes a step are the least of malloc"
        assert blocks < times / 10
    assert np.isfinite(out).all()
    # The measure sees what is kept.
    kept: list[np.ndarray] = []
    allocated, blocks = _least_growth(lambda: kept.append(np.empty(4)), 1000)
    assert allocated > 16 * 1000
    assert blocks > 900


# --- one thread at a time -----------------------------------------------------------------------------------
IN_USE = "this Stream is in use by another thread: make one for each, or take turns"


def test_another_thread_is_turned_away() -> None:
    case = random_case(Shape(3, 9, 2, steps=4, rows=2), 1)
    lstm = module(case)
    fed = lstm.stream(2)
    output = [fed.step(case.x[0])]
    slow = Slow(case.x[1])
    worker = threading.Thread(target=lambda: output.append(fed.step(slow)))
    worker.start()
    try:
        assert slow.asked.wait(60)
        for action in (
            lambda: fed.step(case.x[2]),
            lambda: fed.step(case.x[2], rows=[0, 1]),
            lambda: fed.step("nothing"),
            lambda: fed.reset(),
            lambda: fed.reset([1]),
            lambda: fed.state,
            lambda: setattr(fed, "state", case.hx),
        ):
            with pytest.raises(RuntimeError, match=re.escape(IN_USE)):
                action()
    finally:
        slow.let_go.set()
        worker.join()
    output += [fed.step(x) for x in case.x[2:]]
    assert_same_bits((np.stack(output), fed.state), lstm(case.x))


def test_a_step_within_a_step() -> None:
    """Also of the same thread: a signal handler, or an array that steps when it is asked for."""
    lstm = numba_lstm.LSTM(3, 5, seed=0)
    fed = lstm.stream(2)

    class Greedy:
        def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
            return fed.step(np.ones((2, 3), np.float32))

    with pytest.raises(RuntimeError, match=re.escape(IN_USE)):
        fed.step(Greedy())
    x = np.ones((2, 3), np.float32)
    same_bits(fed.step(x), lstm(x[None])[0][0])


def test_threads_with_a_stream_each() -> None:
    case = random_case(Shape(20, 40, 2, steps=200, rows=3), 1)
    lstm = module(case)
    expected = lstm(case.x)
    failures: list[str] = []

    def work() -> None:
        try:
            for _ in range(4):
                fed = lstm.stream(3)
                steps = np.stack([fed.step(x) for x in case.x[:100]])
                assert_same_bits((np.concatenate([steps, fed.step(case.x[100:])]), fed.state), expected)
        except BaseException as error:
            failures.append(repr(error))

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failures


class Interrupt(Exception):
    """What a signal handler raises, as Python's own does on Ctrl-C."""


@pytest.fixture
def alarm() -> Iterator[Callable[[float], None]]:
    """Return a function after whose call, so many seconds later, `Interrupt` comes from somewhere."""
    if not hasattr(signal, "setitimer"):
        pytest.skip("no timers")

    def handler(*_: Any) -> None:
        raise Interrupt

    before = signal.signal(signal.SIGALRM, handler)
    yield lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_ctrl_c_at_any_moment(alarm: Callable[[float], None]) -> None:
    """Whatever it interrupts, the stream can be used on."""
    fed = numba_lstm.LSTM(1, 40, seed=0).stream()
    x, out = np.ones((1, 1), np.float32), np.empty((1, 40), np.float32)
    moments = random.Random(0)
    for _ in range(2000):
        try:
            alarm(moments.uniform(2e-5, 8e-5))
            while True:
                fed.step(x, out=out)
        except Interrupt:
            fed.step(x, out=out)


def test_copies() -> None:
    fed = numba_lstm.LSTM(3, 5, seed=0).stream(2)
    words = re.escape("a Stream cannot be copied or pickled: make another one of the same module")
    with pytest.raises(TypeError, match=words):
        copy.deepcopy(fed)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match=words):
            pickle.dumps(fed, protocol)


@pytest.mark.parametrize("name", ["batch_size", "dtype"])
def test_sizes_cannot_be_assigned(name: str) -> None:
    """Kernels trust them."""
    stream = numba_lstm.LSTM(3, 5, seed=0).stream(2)
    with pytest.raises(AttributeError):
        setattr(stream, name, 20_000)


def test_shallow_copies() -> None:
    with pytest.raises(TypeError):
        copy.copy(numba_lstm.LSTM(3, 5, seed=0).stream(2))


# --- errors -------------------------------------------------------------------------------------------------
X = np.random.default_rng(0).standard_normal((4, 2, 3), np.float32)
OUT = np.zeros((2, 5), np.float32)
NO_ROWS = "rows should be a sequence of integers, got: {}"
RANGE = "rows should be from 0 to 1, the last of the batch, got: {}"
# x, options of a step of a stream of two rows, type, message
STEPS: list[tuple[Any, dict[str, Any], type, str]] = [
    ([[1.0] * 3] * 2, {}, TypeError, NO_LIST),
    (None, {}, TypeError, "x should be a NumPy array, got: NoneType"),
    (np.ndarray, {}, TypeError, "x should be a NumPy array, got: type"),
    (1.0, {}, TypeError, "x should be a NumPy array, got: float"),
    (X[0].astype(float), {}, ValueError, NO_DTYPE.format("float64") + ", or build the model with dtype=np.float64"),
    (X[0].astype(int), {}, ValueError, NO_DTYPE.format("int64")),
    (X[0].astype(object), {}, ValueError, NO_DTYPE.format("object")),
    (X[0].astype(np.complex64), {}, ValueError, NO_DTYPE.format("complex64")),
    (X[0, 0], {}, ValueError, "LSTM: Expected x to be 2D or 3D, got 1D instead"),
    (X[None], {}, ValueError, "LSTM: Expected x to be 2D or 3D, got 4D instead"),
    (X[0, 0, 0], {}, ValueError, "LSTM: Expected x to be 2D or 3D, got 0D instead"),
    (X[0, :, :2], {}, RuntimeError, "x.size(-1) must be equal to input_size. Expected 3, got 2"),
    (X[..., :2], {}, RuntimeError, "x.size(-1) must be equal to input_size. Expected 3, got 2"),
    (X[0, :1], {}, RuntimeError, "Expected x to have 2 rows, got 1"),
    (X[:, :0], {}, RuntimeError, "Expected x to have 2 rows, got 0"),
    (X.swapaxes(0, 1), {}, RuntimeError, "Expected x to have 2 rows, got 4"),
    (X[:0], {}, RuntimeError, "Expected sequence length to be larger than 0 in RNN"),
    (X[:0, :0], {"rows": []}, RuntimeError, "Expected sequence length to be larger than 0 in RNN"),
    (X[0], {"rows": [1]}, RuntimeError, "Expected x to have 1 rows, got 2"),
    (X[0], {"rows": []}, RuntimeError, "Expected x to have 0 rows, got 2"),
    (X[0], {"rows": [1, 1]}, ValueError, "rows should differ, but 1 comes 2 times"),
    (X[0], {"rows": [0, 2]}, ValueError, RANGE.format(2)),
    (X[0], {"rows": [-1, 0]}, ValueError, RANGE.format(-1)),
    (X[0], {"rows": np.array([0, 2**63], np.uint64)}, ValueError, RANGE.format(2**63)),
    (X[0], {"rows": [0.0, 1.0]}, TypeError, NO_ROWS.format("[0.0, 1.0]")),
    (X[0], {"rows": [True, False]}, TypeError, NO_ROWS.format("[True, False]")),
    (X[0], {"rows": [[0, 1]]}, TypeError, NO_ROWS.format("[[0, 1]]")),
    (X[0], {"rows": 1}, TypeError, NO_ROWS.format("1")),
    (X[0], {"rows": "01"}, TypeError, NO_ROWS.format("'01'")),
    (X[0], {"rows": {0, 1}}, TypeError, NO_ROWS.format("{0, 1}")),
    (X[0], {"rows": [0, None]}, TypeError, NO_ROWS.format("[0, None]")),
    (X[0], {"rows": slice(2)}, TypeError, NO_ROWS.format("slice(None, 2, None)")),
    (X[0], {"out": [[0.0] * 5] * 2}, TypeError, "out should be a NumPy array, got: list"),
    (X[0], {"out": OUT[:, :4]}, ValueError, "out should have shape (2, 5), got: (2, 4)"),
    (X[0], {"out": OUT[None]}, ValueError, "out should have shape (2, 5), got: (1, 2, 5)"),
    (X, {"out": np.zeros((2, 4, 5), np.float32)}, ValueError, "out should have shape (4, 2, 5), got: (2, 4, 5)"),
    (X[0, :1], {"out": OUT, "rows": [1]}, ValueError, "out should have shape (1, 5), got: (2, 5)"),
    (X[0], {"out": OUT.astype(float)}, ValueError, "out should have dtype float32, got: float64"),
    (X[0], {"out": OUT.astype(">f4")}, ValueError, "out should have dtype float32, got: >f4"),
    (X[0], {"out": np.broadcast_to(np.float32(0), (2, 5))}, ValueError, C_ORDER),
    (X[0], {"out": np.zeros((5, 2), np.float32).T}, ValueError, C_ORDER),
    (X[0], {"out": np.zeros((2, 10), np.float32)[:, ::2]}, ValueError, C_ORDER),
    (X[0], {"out": np.zeros((2, 6), np.float32)[:, :5]}, ValueError, C_ORDER),
    (X[0], {"out": unaligned(np.zeros((2, 5), np.float32))}, ValueError, C_ORDER),
]


@pytest.mark.parametrize(("x", "options", "kind", "message"), STEPS)
def test_step_errors(x: Any, options: dict[str, Any], kind: type, message: str) -> None:
    lstm = numba_lstm.LSTM(3, 5, 2, seed=0)
    fed = lstm.stream(2)
    first = fed.step(X[:2])
    state = fed.state
    out = options.get("out")
    before = out.copy() if isinstance(out, np.ndarray) else None
    with pytest.raises(kind) as caught:
        fed.step(x, **options)
    assert type(caught.value) is kind
    assert str(caught.value) == message
    assert_same_bits((first, fed.state), (first, state))
    if before is not None:
        np.testing.assert_array_equal(out, before)
    same_bits(np.concatenate([first, fed.step(X[2:])]), lstm(X)[0])


def test_a_read_only_out_of_the_right_layout() -> None:
    fed = numba_lstm.LSTM(3, 5, seed=0).stream(2)
    out = np.zeros((2, 5), np.float32)
    out.flags.writeable = False
    with pytest.raises(ValueError, match=C_ORDER):
        fed.step(X[0], out=out)
    assert not out.any()
    assert not fed.state[0].any()


H = np.zeros((2, 2, 5), np.float32)
STATES: list[tuple[Any, type, str]] = [
    (None, TypeError, "hx should be a tuple (h_0, c_0) of two arrays, got: NoneType"),
    (H, TypeError, "hx should be a tuple (h_0, c_0) of two arrays, got: ndarray"),
    ((H,), ValueError, "hx should be a tuple (h_0, c_0) of two arrays, got 1"),
    ((H, H, H), ValueError, "hx should be a tuple (h_0, c_0) of two arrays, got 3"),
    ((H, H[:1]), RuntimeError, "Expected hidden[1] size (2, 2, 5), got [1, 2, 5]"),
    ((H[:, :1], H), RuntimeError, "Expected hidden[0] size (2, 2, 5), got [2, 1, 5]"),
    ((H[..., :4], H), RuntimeError, "Expected hidden[0] size (2, 2, 5), got [2, 2, 4]"),
    (
        (H[0], H[0]),
        RuntimeError,
        "For batched 3-D input, hx and cx should also be 3-D but got (2-D, 2-D) tensors",
    ),
    (
        (H, H.astype(float)),
        ValueError,
        "hx[1] dtype (float64) does not match weight dtype (float32). Convert c_0: c_0.astype(np.float32), "
        "or build the model with dtype=np.float64",
    ),
    ((H, None), TypeError, "hx[1] should be a NumPy array, got: NoneType"),
]


@pytest.mark.parametrize(("hx", "kind", "message"), STATES)
def test_state_errors(hx: Any, kind: type, message: str) -> None:
    fed = numba_lstm.LSTM(3, 5, 2, seed=0).stream(2)
    fed.step(X)
    state = fed.state
    with pytest.raises(kind) as caught:
        fed.state = hx
    assert type(caught.value) is kind
    assert str(caught.value) == message
    assert_same_bits((X, fed.state), (X, state))


@pytest.mark.parametrize(
    ("rows", "kind", "message"),
    [
        ([2], ValueError, RANGE.format(2)),
        ([-1], ValueError, RANGE.format(-1)),
        ([0, 1, 0], ValueError, "rows should differ, but 0 comes 2 times"),
        ([1.0], TypeError, "rows should be a sequence of integers, got: [1.0]"),
        (0, TypeError, "rows should be a sequence of integers, got: 0"),
        ([True, True], TypeError, "rows should be a sequence of integers, got: [True, True]"),
    ],
)
def test_reset_errors(rows: Any, kind: type, message: str) -> None:
    fed = numba_lstm.LSTM(3, 5, 2, seed=0).stream(2)
    fed.step(X)
    state = fed.state
    with pytest.raises(kind) as caught:
        fed.reset(rows)
    assert str(caught.value) == message
    assert_same_bits((X, fed.state), (X, state))


@pytest.mark.parametrize(("size", "kind", "message"), BAD_SIZES)
def test_making_errors(size: Any, kind: type, message: str) -> None:
    with pytest.raises(kind) as caught:
        numba_lstm.LSTM(3, 5, seed=0).stream(size)
    assert type(caught.value) is kind
    assert str(caught.value) == message.format("batch_size")


def test_what_cannot_be_a_stream() -> None:
    with pytest.raises((TypeError, ValueError), match="batch_size"):
        numba_lstm.LSTM(3, 5, seed=0).stream(True)
    reverse = "its reverse direction starts at the last step, which is not there yet"
    with pytest.raises(ValueError, match=f"a bidirectional LSTM has no stream: {reverse}"):
        numba_lstm.LSTM(3, 5, bidirectional=True, seed=0).stream()
    lstm = numba_lstm.LSTM(3, 5, 2, dropout=0.5, seed=0)
    with pytest.raises(RuntimeError, match=re.escape("a stream has no dropout: call eval() first")):
        lstm.stream()
    assert lstm.eval().stream().step(X[:, :1]).shape == (4, 1, 5)
    with pytest.raises(RuntimeError, match="dropout"):
        _Dropping(3, 5, 2, seed=0).stream()
    assert _Dropping(3, 5, 2, seed=0).eval().stream().step(X[:, :1]).shape == (4, 1, 5)


class _Dropping(numba_lstm.LSTM):
    """A module with a dropout of its own, which like any is for train mode."""

    def _dropout(self) -> Any:
        return lambda output: None


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
