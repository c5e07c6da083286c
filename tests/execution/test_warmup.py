"""After ``warmup`` no call compiles, whatever the shapes and options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.processes import run

import numba_lstm
from numba_lstm.execution import entries

# Runs in a process of its own: here other tests have long compiled everything.
SCRIPT = """
import gc
import sys
import numpy as np
from numba.core import event
from numba.core.dispatcher import Dispatcher

import numba_lstm
from support.cases import Shape, module, random_case
from numba_lstm.kernels.cells.cell_rule import SIGMOID, TANH, CellRule
from numba_lstm.execution import entries
from numba_lstm.execution.network import Network
from numba_lstm.contract.architecture import Architecture

dtype = np.dtype(sys.argv[1])
threads = int(sys.argv[2])
numba_lstm.set_num_threads(threads)
cells = sys.argv[3]
form = sys.argv[4] if len(sys.argv) > 4 else None
numba_lstm.warmup(dtype, cells=cells, weights=form)


def overloads():
    "How many versions every compiled function of the package has, wherever it is kept."
    return {
        (value.py_func.__module__, value.py_func.__qualname__, id(value)): len(value.overloads)
        for value in gc.get_objects()
        if isinstance(value, Dispatcher) and value.py_func.__module__.startswith("numba_lstm")
    }


before, ready = overloads(), set(entries._ready)
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
            if form:
                lstm = lstm.quantize(form)
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
            if not form:
                lstm.train()(x)
        if not shape.bidirectional:
            lstm = module(case).eval()
            stream = (lstm.quantize(form) if form else lstm).stream(batch_size=shape.rows)
            stream.step(case.x[0])
            stream.step(case.x)
        if cells == "all":
            sizes = Architecture(*case.x.shape[2:], 37, 1, True, False, 0)
            weights = numba_lstm.LSTM(sizes.input_size, 37, dtype=dtype).state_dict()
            rule = CellRule(((SIGMOID, TANH, TANH),), 1.5, False, (np.full((3, 37), 0.1),))
            Network(sizes, weights, dtype, rule)(case.x, None, None, batch_first=False)
assert not recorder.buffer, recorder.buffer
assert overloads() == before, (before, overloads())
# What the cache on disk happens to have is loaded without a word; on another machine it would be compiled.
assert set(entries._ready) == ready, set(entries._ready) - ready
"""


@pytest.mark.parametrize("threads", ["1", "2"])
@pytest.mark.parametrize(("dtype", "cells"), [("float32", "all"), ("float64", "torch")])
def test_no_call_compiles_after_warmup(dtype: str, cells: str, threads: str) -> None:
    run(SCRIPT, dtype, threads, cells, options=("-W", "error"))


@pytest.mark.parametrize("form", ["float16", "bfloat16", "int8"])
def test_no_call_of_quantized_weights_compiles_after_warmup(form: str) -> None:
    run(SCRIPT, "float32", "2", "torch", form, options=("-W", "error"))


def test_gradients_are_wanted_or_not() -> None:
    with pytest.raises(TypeError, match="gradients should be of type bool, got: str"):
        numba_lstm.warmup(gradients="no")


def test_nothing_compiles_after_the_command(tmp_path: Path) -> None:
    """What it has compiled with one CPU is all that another process needs, with two and for every kind of cell."""
    kernels = str(tmp_path)
    command = "from numba_lstm import cli; raise SystemExit(cli.main(['warmup']))"
    assert "compiled in" in run(command, NUMBA_CACHE_DIR=kernels, NUMBA_NUM_THREADS="1").stdout
    assert run(SCRIPT, "float32", "2", "all", NUMBA_CACHE_DIR=kernels).stderr == ""
    assert "loaded from the cache" in run(command, NUMBA_CACHE_DIR=kernels).stdout


def test_torchs_cells_alone(tmp_path: Path) -> None:
    """Others say, when they come, how they would have been compiled ahead."""
    kernels = str(tmp_path)
    command = "from numba_lstm import cli; raise SystemExit(cli.main(['warmup', '--cells', 'torch']))"
    run(command, NUMBA_CACHE_DIR=kernels)
    assert run(SCRIPT, "float32", "1", "torch", NUMBA_CACHE_DIR=kernels).stderr == ""
    said = run("import numba_lstm; numba_lstm.warmup(cells='all')", NUMBA_CACHE_DIR=kernels).stderr
    assert said == "compiling kernels, once on this machine; numba_lstm.warmup(cells='all') does it ahead of time\n"


def test_bad_arguments() -> None:
    import numba_lstm

    with pytest.raises(TypeError, match="dtype should be float32 or float64, got: 'float16'"):
        numba_lstm.warmup("float16")
    with pytest.raises(ValueError, match="cells should be 'torch' or 'all', got: 'keras'"):
        numba_lstm.warmup(cells="keras")
    with pytest.raises(ValueError, match=r"weights should be one of float16, bfloat16, int8 .* got: .int4."):
        numba_lstm.warmup(weights="int4")
    with pytest.raises(ValueError, match="got: 'int8' and float64"):
        numba_lstm.warmup("float64", weights="int8")


@pytest.mark.parametrize("spelling", [None, ">f4", "<f4", "float", np.float64])
def test_spellings_of_dtypes(spelling: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """They mean what they mean for modules."""
    asked: list[Any] = []
    monkeypatch.setattr(entries, "share_address", lambda dtype, form=None, cells="plain": asked.append(dtype))
    monkeypatch.setattr(entries, "entry_for", lambda name, dtype: asked.append(dtype))
    numba_lstm.warmup(spelling)
    assert set(asked) == {numba_lstm.LSTM(3, 5, dtype=spelling).dtype}


def test_compiling_is_announced_once_and_loading_is_not(tmp_path: Path) -> None:
    code = "import numba_lstm, numpy; numba_lstm.LSTM(2, 3)(numpy.zeros((4, 1, 2), numpy.float32))"
    said = [run(code, NUMBA_CACHE_DIR=str(tmp_path)).stderr for _ in range(2)]
    assert said == ["compiling kernels, once on this machine; numba_lstm.warmup() does it ahead of time\n", ""]
