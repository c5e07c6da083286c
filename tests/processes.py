"""Python in a process of its own: for what could kill one, and for what has to be set before it starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import numba_lstm

PACKAGE = Path(numba_lstm.__file__).parent

HANG = 300
"""Seconds after which a process counts as hanging."""

by_layer = pytest.mark.parametrize("layer", ["omp", "workqueue", "tbb"])
posix = pytest.mark.skipif(os.name == "nt", reason="signals, forks and limits are POSIX")


def run(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code, which has to end well; it may import the package, from here or PYTHONPATH, and what lies beside."""
    here = Path(__file__).parent
    paths = [str(here), environment.pop("PYTHONPATH", str(PACKAGE.parent))]
    variables = {**os.environ, **environment, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-c", code, *arguments]
    # Python imports from the current folder first: it should have no package.
    done = subprocess.run(
        command, cwd=here, env=variables, capture_output=True, text=True, timeout=HANG, check=False
    )
    if "No threading layer could be loaded" in done.stderr:
        pytest.skip(f"no {environment['NUMBA_THREADING_LAYER']} here")
    assert done.returncode == 0, done.stdout + done.stderr
    return done
