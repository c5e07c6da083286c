"""Threads and processes around a parallel launch: nothing of it may kill, abort or hang a user's program."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Each runs in a process of its own: what it looks for is the death of a process.
BEGIN = """
import os, sys, threading
import numpy as np
import numba_lstm
from cases import Shape, assert_same_bits, module, random_case

numba_lstm.set_num_threads(2)
# Large enough to be launched on two threads: as a crew, or each with its rows.
cases = [random_case(Shape(40, 150, 2, steps=60, rows=rows), 1) for rows in (1, 3, 8, 20)]
lstm = module(cases[0])
expected = [lstm(case.x, case.hx) for case in cases]
"""

THREADS = """
failures = []

def work(number):
    for repeat in range(40):
        index = (number + repeat) % len(cases)
        try:
            assert_same_bits(lstm(cases[index].x, cases[index].hx), expected[index])
        except BaseException as error:
            failures.append(repr(error))

workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
sys.exit(failures[0] if failures else 0)
"""

FORK = """
child = os.fork()
if child == 0:
    try:
        assert_same_bits(lstm(cases[2].x, cases[2].hx), expected[2])
    except BaseException:
        os._exit(1)
    os._exit(0)
_, status = os.waitpid(child, 0)
sys.exit(f"the child ended with {os.waitstatus_to_exitcode(status)}" if status else 0)
"""


def _run(code: str, layer: str) -> None:
    environment = dict(os.environ, NUMBA_THREADING_LAYER=layer, PYTHONPATH=str(Path(__file__).parent))
    if "PYTHONPATH" in os.environ:
        environment["PYTHONPATH"] += os.pathsep + os.environ["PYTHONPATH"]
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if "No threading layer could be loaded" in done.stderr:
        pytest.skip(f"no {layer} here")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("layer", ["omp", "workqueue"])
def test_python_threads_that_launch_together(layer: str) -> None:
    _run(THREADS, layer)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.parametrize("layer", ["omp", "workqueue"])
def test_forked_child(layer: str) -> None:
    _run(FORK, layer)
