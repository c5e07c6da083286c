"""Gradients that must be equal bit for bit, over everything that they must not depend on."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import gradient_routes, routes
from support.cases import Shape, assert_same_array, both_dtypes, module, random_case
from support.gradient_cases import OF_ROWS, assert_same_gradients, named, random_given
from support.processes import HOST, by_layer, half_width, run, two_widths

import numba_lstm
from numba_lstm.execution.planning.machine import ASSUMED, Way

pytestmark = pytest.mark.usefixtures("threads")

EXAMPLES = 150
PROCESS_EXAMPLES = 40

SHAPES = {
    "one row": Shape(13, 100, 2, steps=9, rows=1),
    "one unit": Shape(3, 1, steps=5, rows=9),
    "some rows": Shape(24, 51, 3, steps=14, rows=7),
    "bidirectional": Shape(20, 45, 2, bidirectional=True, steps=8, rows=9),
    "projected": Shape(9, 40, 2, True, True, 21, 17, 3),
    "many rows": Shape(31, 33, steps=6, rows=70),
    "many steps": Shape(4, 33, 2, steps=700, rows=2),
    "wide": Shape(200, 300, steps=3, rows=33),
}


@settings(max_examples=max(EXAMPLES, settings.default.max_examples))
@given(data=st.data())
def test_gradients_are_the_same_on_all_ways(data: st.DataObject) -> None:
    """And those that belong to a sequence are those that it has alone."""
    gradient_routes.check(
        gradient_routes.gradient_example(lambda name, values: data.draw(st.sampled_from(values), label=name))
    )


def test_every_way_is_taken() -> None:
    """In the examples of the processes below."""
    examples = list(gradient_routes.random_gradient_examples(PROCESS_EXAMPLES))
    assert {one.kind for one in examples} == set(routes.BOTH_DIRECTIONS)
    assert {one.way for one in examples} == set(routes.WAYS)
    assert {one.caches for one in examples} == set(routes.CACHES)
    assert {one.layout for one in examples} == set(routes.LAYOUTS)


@both_dtypes
@pytest.mark.parametrize("keep", gradient_routes.KEEP)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_threads_crews_and_slices(shape: Shape, keep: str, dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    case = random_case(shape, 20, dtype)
    given_ = random_given(case)

    def gradients() -> dict[str, np.ndarray]:
        _, backward = module(case).vjp(case.x, case.hx, keep=keep)
        return named(backward(*given_))

    with monkeypatch.context() as patch:
        patch.setitem(ASSUMED, "way", Way(1, 1, 0))
        expected = gradients()
    for count in (1, 2):
        numba_lstm.set_num_threads(count)
        assert_same_gradients(gradients(), expected, f"{count} threads")
    for name, way in routes.WAYS.items():
        with monkeypatch.context() as patch:
            patch.setitem(ASSUMED, "way", way)
            assert_same_gradients(gradients(), expected, name)


@both_dtypes
@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("size", [2, 3, 7])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_crews_of_the_backward_pass(
    shape: Shape, size: int, lengths: bool, dtype: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They share rows, or units where weights are large; a crew may have another size each time."""
    case = random_case(shape, 21, dtype)
    given_ = random_given(case)
    ends = np.random.default_rng(shape.rows).integers(1, shape.steps + 1, shape.rows) if lengths else None
    monkeypatch.setitem(ASSUMED, "way", Way(1, 1, 0))
    for keep in gradient_routes.KEEP:
        _, backward = module(case).vjp(case.x, case.hx, lengths=ends, keep=keep)
        with gradient_routes.backward_crew(1):
            expected = named(backward(*given_))
        for caches in routes.CACHES.values():
            with monkeypatch.context() as patch, gradient_routes.backward_crew(size):
                if caches is not None:
                    patch.setitem(ASSUMED, "l2_bytes", caches)
                for _ in range(3):
                    assert_same_gradients(named(backward(*given_)), expected, f"{keep} {caches}")


@both_dtypes
@pytest.mark.parametrize("rows", [2, 7, 8, 9, 20, 33])
@pytest.mark.parametrize("hidden_size", [1, 4, 15, 16, 17, 40])
def test_rows_have_the_gradients_that_they_have_alone(hidden_size: int, rows: int, dtype: type) -> None:
    shape = Shape(1 + rows, hidden_size, 2, True, bool(rows % 2), hidden_size // 3 * (rows % 3 == 0), 5, rows)
    case = random_case(shape, rows, dtype)
    given_, lstm = random_given(case, rows), module(case)
    whole = named(lstm.vjp(case.x, case.hx)[1](*given_))
    for first, last in ((0, 1), (1, 2), (rows // 2, rows), (rows - 1, rows)):

        def cut(array: np.ndarray, some: slice = slice(first, last)) -> np.ndarray:
            return np.ascontiguousarray(array[:, some])

        _, backward = lstm.vjp(cut(case.x), tuple(map(cut, case.hx)))
        part = named(backward(cut(given_.d_output), tuple(map(cut, given_.d_states))))
        for name in OF_ROWS:
            assert_same_array(cut(whole[name]), part[name], f"{name} of rows {first} to {last}")


def test_python_threads_share_what_is_kept() -> None:
    """One backward function in four threads, and four modules' worth of others beside it."""
    case = random_case(Shape(20, 40, 2, steps=30, rows=6), 1)
    lstm = module(case)
    _, backward = lstm.vjp(case.x, case.hx)
    expected = [named(backward(*random_given(case, seed))) for seed in range(4)]
    failures: list[str] = []

    def work(number: int) -> None:
        for repeat in range(10):
            seed = (number + repeat) % 4
            try:
                assert_same_gradients(named(backward(*random_given(case, seed))), expected[seed])
                _, own = lstm.vjp(case.x, case.hx)
                assert_same_gradients(named(own(*random_given(case, seed))), expected[seed])
            except Exception as error:
                failures.append(repr(error))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


BESIDE_OTHERS = """
import sys
import numpy as np
from support.cases import Shape, module, random_case
from support.gradient_cases import assert_same_gradients, named, random_given
from support.gradient_routes import backward_crew
from support.places import ROOT
from numba_lstm.execution.planning.machine import ASSUMED
sys.path.append(str(ROOT))  # at the end: an installed numba_lstm goes before the sources
from asv_bench.busy import spinning

ASSUMED["cpus"] = 1 << 10
with spinning(3):
    for shape in (Shape(64, 256, 2, steps=60, rows=1), Shape(20, 80, 2, bidirectional=True, steps=300, rows=4)):
        case = random_case(shape, 1)
        given = random_given(case)
        _, backward = module(case).vjp(case.x, case.hx)
        with backward_crew(1):
            expected = named(backward(*given))
        for size in (2, 4):
            with backward_crew(size):
                for _ in range(15):
                    assert_same_gradients(named(backward(*given)), expected)
"""


def test_same_bits_beside_busy_processes() -> None:
    """Members lose their cores at any moment, and crews regroup."""
    run(BESIDE_OTHERS, NUMBA_NUM_THREADS="4")


# --- other processes ----------------------------------------------------------------------------------------
PRINTED = f"from support.gradient_routes import main\nmain({PROCESS_EXAMPLES})"


def _digests(**environment: str) -> list[str]:
    """Return the digests that a process with this environment prints."""
    return run(PRINTED, **{"NUMBA_NUM_THREADS": "3", **environment}).stdout.split()


@pytest.fixture(scope="module")
def digests() -> list[str]:
    """Those of this process."""
    examples = gradient_routes.random_gradient_examples(PROCESS_EXAMPLES)
    return [gradient_routes.digest(gradient_routes.check(one)) for one in examples]


@by_layer
def test_threading_layers(layer: str, digests: list[str]) -> None:
    assert _digests(NUMBA_THREADING_LAYER=layer) == digests


@two_widths
def test_vectors_of_half_the_width(digests: list[str]) -> None:
    assert _digests(**half_width()) == digests


WITHOUT_FMA = """
import numpy as np
from support import gradient_oracle
from support.cases import Shape, module, random_case
from support.gradient_cases import assert_gradients_close, random_given
from numba_lstm.simd.target import host

assert not host().fma
for shape in (Shape(7, 19, 2, True, True, 5, 9, 5), Shape(33, 50, steps=6, rows=13), Shape(5, 24, bias=False, rows=2)):
    for dtype in (np.float32, np.float64):
        case = random_case(shape, 1, dtype)
        given = random_given(case)
        run = gradient_oracle.forward(case.state_dict, case.x, *case.hx)
        expected = gradient_oracle.backward(run, *given.flat)
        for keep in ("gates", "states"):
            _, backward = module(case).vjp(case.x, case.hx, keep=keep)
            assert_gradients_close(backward(*given), expected, run, f"{shape} {keep}")
"""


@pytest.mark.skipif(not HOST, reason="not x86-64")
def test_without_fma() -> None:
    """Correct, if not with the same bits, with the shortest vectors there are."""
    run(WITHOUT_FMA, NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="", NUMBA_NUM_THREADS="1")
