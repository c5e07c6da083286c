"""After ``warmup`` no call compiles, whatever the shapes and options."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Runs in a process of its own: here other tests have long compiled everything.
SCRIPT = """
import gc
import sys
import numpy as np
from numba.core import event
from numba.core.dispatcher import Dispatcher

import numba_lstm
from cases import Shape, module, random_case

dtype = np.dtype(sys.argv[1])
threads = int(sys.argv[2])
numba_lstm.set_num_threads(threads)
numba_lstm.warmup(dtype)


def overloads():
    "How many versions every compiled function of the package has, wherever it is kept."
    return {
        (value.py_func.__module__, value.py_func.__qualname__, id(value)): len(value.overloads)
        for value in gc.get_objects()
        if isinstance(value, Dispatcher) and value.py_func.__module__.startswith("numba_lstm")
    }


before = overloads()
assert before and any(before.values()), before
with event.install_recorder("numba:compile") as recorder:
    for number, shape in enumerate([
        Shape(1, 1, steps=1, rows=1),
        Shape(3, 5, steps=1, rows=20),
        Shape(40, 70, 2, steps=3, rows=7),
        Shape(40, 130, 3, False, True, 0, 200, 4),
        Shape(9, 33, 2, True, True, 12, 5, 3),
        Shape(200, 300, 1, True, False, 150, 10, 40),
    ]):
        case = random_case(shape, number, dtype.type)
        hidden = np.broadcast_to(case.h_0[:, :1], case.h_0.shape)
        for options in ({}, {"batch_first": True}, {"dropout": 0.5 * (shape.num_layers > 1)}):
            lstm = module(case, **options)
            x = case.x.swapaxes(0, 1) if "batch_first" in options else case.x
            readonly = np.array(x)
            readonly.flags.writeable = False
            swapped = x.astype(x.dtype.newbyteorder())
            for given in (x, np.array(x), x[::-1], readonly, np.asfortranarray(x), swapped):
                lstm(given)
                lstm(given, case.hx)
                lstm(given, (hidden, case.c_0))
            lstm(x[:, :0] if "batch_first" not in options else x[:0])
            lstm(np.array(x[0] if "batch_first" in options else x[:, 0]))
            lstm.train()(x)
assert not recorder.buffer, recorder.buffer
assert overloads() == before, (before, overloads())
"""


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_call_compiles_after_warmup(dtype: str, threads: int) -> None:
    from numba import config

    if threads > config.NUMBA_NUM_THREADS:
        pytest.skip("one CPU")
    path = [str(Path(__file__).parent)]
    code = f"import sys; sys.path[:0] = {path}\n" + SCRIPT
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, dtype, str(threads)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_compiling_is_announced_once_and_loading_is_not(tmp_path: Path) -> None:
    code = "import numba_lstm, numpy; numba_lstm.LSTM(2, 3)(numpy.zeros((4, 1, 2), numpy.float32))"
    environment = dict(os.environ, NUMBA_CACHE_DIR=str(tmp_path))
    said = [
        subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True).stderr
        for _ in range(2)
    ]
    assert said == ["compiling kernels, once on this machine; numba_lstm.warmup() does it ahead of time\n", ""]
