"""Python in a process of its own: for what could kill one, and for what has to be set before it starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from llvmlite import binding as llvm

import numba_lstm
from support.places import TESTS

PACKAGE = Path(numba_lstm.__file__).parent

HANG = float(os.environ.get("NUMBA_LSTM_TESTS_HANG", 300))
"""Seconds after which a process counts as hanging; an emulator may ask for more."""

CALL = """
import numpy as np
import numba_lstm
lstm = numba_lstm.LSTM(3, 4, seed=0).eval()
print(float(lstm(np.ones((2, 1, 3), np.float32))[0].sum()))
"""
"""A call that needs two kernels, and prints its result."""

COMPILES = "compiling kernels"
"""What a process says that found none of them."""

by_layer = pytest.mark.parametrize("layer", ["omp", "workqueue", "tbb"])
HOST = llvm.get_host_cpu_features() if llvm.get_process_triple().startswith("x86_64") else {}
"""Features of this CPU that LLVM knows, with whether it has them."""

WIDE = ("avx512", "avx10", "evex512", "amx")
"""Beginnings of the names of those that have vectors of 512 bits."""

two_widths = pytest.mark.skipif(not (HOST.get("avx512f") and HOST.get("fma")), reason="no AVX-512 to compare with")
posix = pytest.mark.skipif(os.name == "nt", reason="signals, forks and limits are POSIX")


def features_without(*beginnings: str) -> str:
    """Return the host's features, as Numba takes them, with some switched off."""
    return ",".join(("-" if not on or name.startswith(beginnings) else "+") + name for name, on in HOST.items())


def half_width() -> dict[str, str]:
    """Return the environment of a process that compiles for vectors of half the width."""
    return {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": features_without(*WIDE)}


def run(
    code: str, *arguments: str, options: tuple[str, ...] = (), prefix: tuple[str, ...] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run code, which has to end well; it may import the package, from here or PYTHONPATH, and what tests share.

    ``options`` are those of Python, ``prefix`` is a command to run it with.
    """
    paths = [str(TESTS), environment.pop("PYTHONPATH", str(PACKAGE.parent))]
    variables = {**os.environ, **environment, "PYTHONPATH": os.pathsep.join(paths)}
    command = [*prefix, sys.executable, *options, "-c", code, *arguments]
    # Python imports from the current folder first: it should have no package.
    done = subprocess.run(
        command, cwd=TESTS, env=variables, capture_output=True, text=True, timeout=HANG, check=False
    )
    if "No threading layer could be loaded" in done.stderr:
        pytest.skip(f"no {environment['NUMBA_THREADING_LAYER']} here")
    assert done.returncode == 0, done.stdout + done.stderr
    return done
