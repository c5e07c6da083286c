"""The guarantee of the same bits, over everything at once that a sequence's result must not depend on."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import routes
from support.places import TESTS
from support.processes import half_width, two_widths

pytestmark = pytest.mark.usefixtures("threads")

EXAMPLES = 400
PROCESS_EXAMPLES = 150


@settings(max_examples=max(EXAMPLES, settings.default.max_examples))
@given(data=st.data())
def test_a_sequence_gives_the_same_bits_on_all_ways(data: st.DataObject) -> None:
    routes.check(routes.example(lambda name, values: data.draw(st.sampled_from(values), label=name)))


def test_every_way_is_taken() -> None:
    """In the hundred and fifty examples of the processes below."""
    import numpy as np

    rng = np.random.default_rng(1)
    examples = [
        routes.example(lambda name, values: values[int(rng.integers(len(values)))]) for _ in range(PROCESS_EXAMPLES)
    ]
    assert {one.kind for one in examples} == set(routes.ONE_DIRECTION)
    assert {one.way for one in examples} == set(routes.WAYS)
    assert {one.caches for one in examples} == set(routes.CACHES)
    assert {one.layout for one in examples} == set(routes.LAYOUTS)


def _digest(**environment: str) -> str:
    """Return the digest that a process with this environment prints."""
    command = [sys.executable, "-m", "support.routes", str(PROCESS_EXAMPLES)]
    variables = {"NUMBA_NUM_THREADS": "3", **os.environ, **environment}
    done = subprocess.run(command, cwd=TESTS, env=variables, capture_output=True, text=True, timeout=600, check=False)
    if "No threading layer could be loaded" in done.stderr:
        pytest.skip(f"no {environment['NUMBA_THREADING_LAYER']} here")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def digest() -> str:
    """What a process prints that is as this one."""
    return _digest()


@pytest.mark.parametrize("layer", ["omp", "workqueue", "tbb"])
def test_threading_layers(layer: str, digest: str) -> None:
    assert _digest(NUMBA_THREADING_LAYER=layer) == digest


@two_widths
@pytest.mark.parametrize("layer", ["omp", "workqueue"])
def test_vectors_of_half_the_width(layer: str, digest: str) -> None:
    assert _digest(NUMBA_THREADING_LAYER=layer, **half_width()) == digest
