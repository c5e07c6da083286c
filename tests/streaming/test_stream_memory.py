"""Streams: where outputs are written, and what is allocated."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import itertools
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.allocations import traced
from support.cases import Shape, assert_same_bits, both_dtypes, module, random_case
from support.streams import chosen_states, same_bits

import numba_lstm
from numba_lstm.execution.planning.machine import ASSUMED
from numba_lstm.streaming import state_pool, stream

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
