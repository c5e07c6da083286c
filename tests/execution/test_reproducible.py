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
PROCESS_EXAMPLES = 80
"""Of each form."""


@pytest.mark.parametrize("form", routes.KEPT)
@settings(max_examples=max(EXAMPLES, settings.default.max_examples))
@given(data=st.data())
def test_a_sequence_gives_the_same_bits_on_all_ways(form: str | None, data: st.DataObject) -> None:
    """Of 16-bit weights those of float32 weights that were rounded."""
    routes.check(routes.example(lambda name, values: data.draw(st.sampled_from(values), label=name), form))


@pytest.mark.parametrize("form", routes.KEPT)
def test_every_way_is_taken(form: str | None) -> None:
    """In the examples of the processes below."""
    examples = list(routes.random_examples(PROCESS_EXAMPLES, form))
    assert {one.kind for one in examples} == set(routes.ONE_DIRECTION)
    assert {one.way for one in examples} == set(routes.WAYS)
    assert {one.caches for one in examples} == set(routes.CACHES)
    assert {one.layout for one in examples} == set(routes.LAYOUTS)


def _digest(**environment: str) -> str:
    """Return the digest that a process with this environment prints."""
    command = [sys.executable, "-m", "support.routes", str(PROCESS_EXAMPLES)]
    variables = {**os.environ, "NUMBA_NUM_THREADS": "3", **environment}
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
