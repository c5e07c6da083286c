"""Ways to the same numbers: examples that name one, what a sequence gives alone, and what it gives on that way.

``python -m support.routes COUNT`` takes so many random examples of every form of weights and prints a digest of all
results of each; ``test_reproducible`` runs it in processes that compile for other CPUs or start their threads
differently.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import pytest

import numba_lstm
from numba_lstm.execution.planning.machine import ASSUMED, Way, this_machine
from support.cases import Case, Shape, assert_same_bits, flat, module, random_case
from support.weight_forms import FORMS, SIXTEEN_BITS, as_floats, rounded_case, small_module

Pick = Callable[[str, Sequence[Any]], Any]
"""Chooses one of some values, of which it is told the name."""

BOTH_DIRECTIONS = ("whole", "lengths", "packed")
ONE_DIRECTION = (*BOTH_DIRECTIONS, "chunks", "steps", "pool", "window")
RAGGED = ("lengths", "packed", "pool")

WAYS = {
    "as planned": None,
    "a crew of two": Way(1, 2, 20_000),
    "a crew of three that does not wait": Way(1, 3, 0),
    "two slices": Way(2, 1, 0),
    "five slices": Way(5, 1, 0),
}

CACHES = {"as they are": None, "small": 1 << 16, "tiny": 1 << 10}
"""Bytes of L2, and of what networks have of L3: the first and last of them stream no weights, or all."""

LAYOUTS = ("plain", "strided", "reversed", "big-endian", "Fortran", "unaligned")


KEPT = (None, *FORMS)
"""Forms of weights; without one they are kept as they are, float32 or float64."""


class Example(NamedTuple):
    """Sequences, and the way that they go together."""

    case: Case
    form: str | None
    """In which weights are kept."""
    lengths: list[int]
    """Of each sequence."""
    kind: str
    """How calls are made."""
    batch_first: bool
    layout: str
    threads: int
    way: str
    caches: str
    as_floats: bool
    """Whether weights of 16 bits are made float32 before calls."""
    steps_per_launch: int | None
    earlier: str
    """What was called before."""
    cuts: list[int]
    """Where chunks begin."""
    seed: int


def example(pick: Pick, form: str | None = None) -> Example:
    """Choose an example with weights of a form."""
    bidirectional = pick("bidirectional", [False, True])
    kind = pick("kind", BOTH_DIRECTIONS if bidirectional else ONE_DIRECTION)
    hidden = pick("hidden_size", range(1, 71))
    shape = Shape(
        pick("input_size", range(1, 150)),
        hidden,
        pick("num_layers", range(1, 4)),
        pick("bias", [False, True]),
        bidirectional,
        pick("proj_size", [0, (hidden - 1) // 2]),
        pick("steps", range(1, 25)),
        pick("rows", range(1, 10)),
    )
    seed = pick("seed", range(1 << 16))
    case = random_case(shape, seed, np.float32 if form else pick("dtype", [np.float32, np.float64]))
    rng = np.random.default_rng(seed)
    strange = pick("in some rows", [1.0, np.nan, np.inf, 1e-40, 1e30])
    case.x[:, rng.random(shape.rows) < 0.3] *= case.x.dtype.type(strange)
    lengths = [shape.steps] * shape.rows
    if kind in RAGGED:
        lengths = rng.integers(1, shape.steps + 1, shape.rows).tolist()
    return Example(
        case,
        form,
        lengths,
        kind,
        pick("batch_first", [False, True]),
        pick("layout", LAYOUTS),
        pick("threads", [1, 2]),
        pick("way", list(WAYS)),
        pick("caches", list(CACHES)),
        pick("as floats", [False, True]),
        pick("steps per launch", [None, 1, 3]),
        pick("earlier", ["nothing", "the same", "another"]),
        sorted({0, *rng.integers(0, shape.steps, 3).tolist()}),
        seed,
    )


def alone(one: Example) -> list[Any]:
    """Return what each sequence gives by itself: one call without a batch, on this thread.

    What 16-bit weights give is what float32 gives of rounded ones.
    """
    case, results = one.case, []
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ASSUMED, "way", Way(1, 1, 0))
        rounds = one.form in SIXTEEN_BITS
        lstm = module(rounded_case(case, one.form)) if rounds else small_module(case, one.form)
        for row, length in enumerate(one.lengths):
            if one.kind == "window":
                first = _window_start(one)
                output, _ = lstm(case.x[first:, row])
                results.append((output[-1:], (output[-1:], output[-1:])))
            else:
                results.append(lstm(case.x[:length, row], (case.h_0[:, row], case.c_0[:, row])))
    return results


@contextmanager
def on_its_way(one: Example) -> Iterator[None]:
    """Have calls go the way that the example names."""
    with pytest.MonkeyPatch.context() as patch, as_floats(one.as_floats):
        way = WAYS[one.way]
        if way is not None:
            patch.setitem(ASSUMED, "way", way)
        size = CACHES[one.caches]
        if size is not None:
            patch.setitem(ASSUMED, "gate_buffer_bytes", this_machine().gate_buffer_bytes)
            patch.setitem(ASSUMED, "l2_bytes", size)
            patch.setitem(ASSUMED, "l3_room", size)
        if one.steps_per_launch is not None:
            patch.setitem(ASSUMED, "most_steps", one.steps_per_launch)
        numba_lstm.set_num_threads(one.threads)
        yield


def together(one: Example) -> list[Any]:
    """Return what each sequence gives on the way that the example names."""
    with on_its_way(one):
        lstm = small_module(one.case, one.form, batch_first=one.batch_first)
        if one.earlier == "the same":
            _KINDS[one.kind](one, lstm)
        elif one.earlier == "another":
            lstm(np.full((2, 4, one.case.shape.input_size), np.nan, one.case.x.dtype))
        return _KINDS[one.kind](one, lstm)


def laid(array: np.ndarray, layout: str) -> np.ndarray:
    """Return the same numbers, in memory otherwise."""
    if layout == "strided":
        wide = np.full((*array.shape[:-1], 3 * array.shape[-1]), np.nan, array.dtype)
        wide[..., ::3] = array
        return wide[..., ::3]
    if layout == "reversed":
        return np.ascontiguousarray(array[::-1, ..., ::-1])[::-1, ..., ::-1]
    if layout == "big-endian":
        return array.astype(array.dtype.newbyteorder(">"))
    if layout == "Fortran":
        return np.asfortranarray(array)
    if layout == "unaligned":
        shifted = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
        shifted[...] = array
        return shifted
    return array


def with_padding(batch: np.ndarray, lengths: Sequence[int]) -> np.ndarray:
    """Return a time-first batch with NaN where nothing is read."""
    padded = batch.copy()
    for row, length in enumerate(lengths):
        padded[length:, row] = np.nan
    return padded


def _given(one: Example, x: np.ndarray) -> np.ndarray:
    """Return time-first input as the module is given it."""
    return laid(np.ascontiguousarray(x.swapaxes(0, 1)) if one.batch_first else x, one.layout)


def _states(one: Example) -> Any:
    return laid(one.case.h_0, one.layout), laid(one.case.c_0, one.layout)


def _rows(one: Example, output: np.ndarray, hx: Any) -> list[Any]:
    """Return the results of a batch by sequence; the output is time-first."""
    h, c = hx
    return [(output[:n, row], (h[:, row], c[:, row])) for row, n in enumerate(one.lengths)]


def _whole(one: Example, lstm: Any) -> list[Any]:
    output, hx = lstm(_given(one, one.case.x), _states(one))
    return _rows(one, output.swapaxes(0, 1) if one.batch_first else output, hx)


def _lengths(one: Example, lstm: Any) -> list[Any]:
    x = with_padding(one.case.x, one.lengths)
    output, hx = lstm(_given(one, x), _states(one), lengths=one.lengths)
    output = output.swapaxes(0, 1) if one.batch_first else output
    for row, length in enumerate(one.lengths):
        assert not output[length:, row].any()
    return _rows(one, output, hx)


def _packed(one: Example, lstm: Any) -> list[Any]:
    sequences = [laid(one.case.x[:n, row], one.layout) for row, n in enumerate(one.lengths)]
    packed, (h, c) = lstm(numba_lstm.pack_sequence(sequences, enforce_sorted=False), _states(one))
    outputs = numba_lstm.unpack_sequence(packed)
    return [(output, (h[:, row], c[:, row])) for row, output in enumerate(outputs)]


def _chunks(one: Example, lstm: Any) -> list[Any]:
    outputs, hx = [], _states(one)
    for first, last in zip(one.cuts, [*one.cuts[1:], None], strict=True):
        output, hx = lstm(_given(one, one.case.x[first:last]), hx)
        outputs.append(output.swapaxes(0, 1) if one.batch_first else output)
    return _rows(one, np.concatenate(outputs), hx)


def _steps(one: Example, lstm: Any) -> list[Any]:
    """A stream that takes some single steps and some chunks."""
    stream = lstm.stream(one.case.shape.rows)
    stream.state = one.case.hx
    outputs = []
    for number, (first, last) in enumerate(zip(one.cuts, [*one.cuts[1:], None], strict=True)):
        part = one.case.x[first:last]
        if number % 2:
            outputs += [stream.step(laid(x, one.layout))[None] for x in part]
        else:
            output = stream.step(_given(one, part))
            outputs.append(output.swapaxes(0, 1) if one.batch_first else output)
    return _rows(one, np.concatenate(outputs), stream.state)


def _pool(one: Example, lstm: Any) -> list[Any]:
    """Rows of a larger stream; those that have not ended go on."""
    rows = one.case.shape.rows
    places = np.random.default_rng(one.seed).permutation(rows + 3)[:rows]
    stream = lstm.stream(rows + 3)
    h, c = stream.state
    h[:, places], c[:, places] = one.case.hx
    stream.state = h, c
    output = np.zeros((one.case.shape.steps, rows, one.case.shape.output_size), one.case.x.dtype)
    for t in range(max(one.lengths)):
        going = [row for row, length in enumerate(one.lengths) if t < length]
        output[t, going] = stream.step(laid(one.case.x[t, going], one.layout), rows=places[going])
    h, c = stream.state
    return _rows(one, output, (h[:, places], c[:, places]))


def _window_start(one: Example) -> int:
    return one.cuts[-1]


def _window(one: Example, lstm: Any) -> list[Any]:
    shape = one.case.shape
    window = lstm.sliding_window(shape.steps - _window_start(one), shape.rows)
    for number, x in enumerate(one.case.x):
        y = window.push(laid(x, one.layout))
        if number % 3 == 0:
            window.advance()
    return [(y[row : row + 1], (y[row : row + 1], y[row : row + 1])) for row in range(shape.rows)]


_KINDS: dict[str, Callable[[Example, Any], list[Any]]] = {
    "whole": _whole,
    "lengths": _lengths,
    "packed": _packed,
    "chunks": _chunks,
    "steps": _steps,
    "pool": _pool,
    "window": _window,
}


def check(one: Example) -> list[Any]:
    """Raise unless every sequence gives what it gives alone; return that."""
    expected = alone(one)
    for row, (actual, wanted) in enumerate(zip(together(one), expected, strict=True)):
        plain = actual[0], tuple(map(np.ascontiguousarray, actual[1]))
        assert_same_bits((np.ascontiguousarray(plain[0]), plain[1]), wanted, f"row {row}")
    return expected


def random_examples(count: int, form: str | None = None) -> Iterator[Example]:
    """Yield seeded examples."""
    rng = np.random.default_rng(1)
    for _ in range(count):
        yield example(lambda name, values: values[int(rng.integers(len(values)))], form)


def main(count: int) -> None:
    """Check random examples and print a digest for each form."""
    for form in KEPT:
        digest = hashlib.sha256()
        for one in random_examples(count, form):
            for result in check(one):
                for array in flat(result):
                    array[np.isnan(array)] = np.nan  # of one payload
                    digest.update(array.tobytes())
        print(form, digest.hexdigest())


if __name__ == "__main__":
    main(int(sys.argv[1]))
