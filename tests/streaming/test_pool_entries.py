"""Entries of pools look at the objects that they are given themselves, and refuse what they cannot use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support.cases import Shape, assert_same_bits, module, random_case
from support.layouts import KINDS, read_only

from numba_lstm.execution.entries import entry_for
from numba_lstm.execution.planning.machine import ASSUMED, Way
from numba_lstm.kernels.frame import PLACES
from numba_lstm.kernels.launch import REFUSED
from numba_lstm.streaming.state_pool import Pool

ROWS, INPUT, OUTPUT = 4, 6, 10

WAYS: dict[str, dict[str, Any]] = {
    "short": {"way": Way(1, 1, 0)},
    "pool": {"way": Way(1, 1, 0), "short_flop": 0},
    "slices": {"way": Way(2, 1, 0)},
    "crew": {"way": Way(1, 2, 1000)},
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each entry, one after the other."""
    for name, value in WAYS[request.param].items():
        monkeypatch.setitem(ASSUMED, name, value)
    return str(request.param)


def made(dtype: type) -> tuple[Pool, Any, np.ndarray]:
    """Return a pool in the middle of something, its launch of a step, and the step's input."""
    case = random_case(Shape(INPUT, OUTPUT, 2, steps=1, rows=ROWS), 1, dtype)
    lstm = module(case)
    pool = Pool(lstm._streamed("stream"), lstm._architecture, np.dtype(dtype), ROWS)
    pool.h[...], pool.c[...] = case.hx
    launch = pool.launch(1, ROWS)
    way = ASSUMED["way"]
    assert (launch.numbers[PLACES.slices], launch.numbers[PLACES.crew]) == (way.slices, way.crew)
    serial = "pool" if "short_flop" in ASSUMED else "short"
    kind = "pool parallel" if way.slices * way.crew > 1 else serial
    assert launch.entry is entry_for(kind, np.dtype(dtype))
    return pool, launch, case.x[0].copy()


USABLE = {"read-only"}
"""Kinds of arrays that are read where they are."""

SHAPES: dict[str, Callable[[np.ndarray], Any]] = {
    "no array": lambda a: a.tolist(),
    "nothing": lambda a: None,
    "a number": lambda a: 3.5,
    "a type": lambda a: np.ndarray,
    "a scalar": lambda a: a.dtype.type(3),
    "no axes": lambda a: a[0, 0].reshape(()),
    "one axis": lambda a: a.ravel(),
    "three axes": lambda a: a[None],
    "one row more": lambda a: np.concatenate([a, a[:1]]),
    "one row less": lambda a: a[1:].copy(),
    "one column more": lambda a: np.concatenate([a, a[:, :1]], axis=1),
    "one column less": lambda a: a[:, 1:].copy(),
    "turned": lambda a: a.T.copy(),
    "no rows": lambda a: a[:0].copy(),
    "half the precision": lambda a: a.astype(np.float16),
    "the other dtype": lambda a: a.astype(np.float64 if a.dtype == np.float32 else np.float32),
    "integers of the size": lambda a: a.view(f"i{a.itemsize}"),
    "masked": lambda a: np.ma.asarray(a),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", [*KINDS, *SHAPES])
def test_what_is_refused(way: str, kind: str, dtype: type) -> None:
    pool, launch, x = made(dtype)
    change = {**KINDS, **SHAPES}[kind]
    before = pool.h.tobytes(), pool.c.tobytes(), launch.numbers.tobytes()
    output = np.full((ROWS, OUTPUT), 7, dtype)
    if kind not in USABLE:
        assert launch.entry(launch.numbers, change(x), output) == REFUSED
    other = change(output)
    assert launch.entry(launch.numbers, x, other) == REFUSED
    assert (output == 7).all()
    assert kind in SHAPES or (np.asarray(other) == 7).all()
    assert (pool.h.tobytes(), pool.c.tobytes(), launch.numbers.tobytes()) == before


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_used(way: str, dtype: type) -> None:
    pool, launch, x = made(dtype)
    h, c = pool.h.copy(), pool.c.copy()
    outputs = []
    whole = np.zeros((9, ROWS, INPUT), dtype)
    whole[3] = x
    for given in (x, read_only(x), whole[3]):
        pool.h[...], pool.c[...] = h, c
        output = np.full((ROWS, OUTPUT), 7, dtype)
        assert launch.entry(launch.numbers, given, output) >= 0
        outputs.append((output, (pool.h.copy(), pool.c.copy())))
    assert (outputs[0][0] != 7).all()
    for other in outputs[1:]:
        assert_same_bits(other, outputs[0])


@pytest.mark.parametrize("way", ["pool", "crew"], indirect=True)
@pytest.mark.parametrize("apart", range(-OUTPUT * ROWS, INPUT * ROWS + 1))
def test_arrays_that_overlap(way: str, apart: int) -> None:
    """Output begins so many numbers behind the input; if they touch only, nothing is the matter."""
    pool, launch, x = made(np.float32)
    memory = np.zeros(2 * OUTPUT * ROWS + INPUT * ROWS, np.float32)
    begin = OUTPUT * ROWS
    source = memory[begin : begin + INPUT * ROWS].reshape(ROWS, INPUT)
    target = memory[begin + apart : begin + apart + OUTPUT * ROWS].reshape(ROWS, OUTPUT)
    source[...] = x
    before = pool.h.tobytes()
    refused = launch.entry(launch.numbers, source, target) == REFUSED
    assert refused == np.shares_memory(source, target)
    assert refused == (pool.h.tobytes() == before)
    assert not refused or (source == x).all()
