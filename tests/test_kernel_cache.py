"""Compiled kernels on disk: whatever becomes of the folder, calls work, and one warning says what to set."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
from cases import Shape, assert_close, assert_same_bits, flat, module, random_case
from processes import PACKAGE, posix, run

FIRST_CALL = """
import sys
import numpy as np
import oracle
from cases import Shape, assert_close, module, random_case

case = random_case(Shape(3, 5, 2, steps=4, rows=2), 1)
assert_close(module(case)(case.x, case.hx), oracle.lstm(case.state_dict, *case[2:]))
import numba_lstm
numba_lstm.set_num_threads(2)
numba_lstm.warmup()
"""

LIMITED = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n" + FIRST_CALL

COMPILES = "compiling kernels"


def one_warning(stderr: str) -> bool:
    return stderr.count("CacheWarning") == 1 and "Set NUMBA_CACHE_DIR to a writable folder" in stderr


def nowhere(folder: Path) -> dict[str, str]:
    """Return an environment in which nothing can be kept.  Files are in the way: root may write wherever it likes."""
    wall = folder / "wall"
    wall.write_text("")
    return {name: str(wall / "none") for name in ("HOME", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR")}


@posix
def test_read_only_installation_without_a_home(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "site" / "numba_lstm", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "site" / "numba_lstm" / "__pycache__").write_text("")
    environment = nowhere(tmp_path) | {"PYTHONPATH": str(tmp_path / "site")}
    done = run(FIRST_CALL + "print(numba_lstm.__file__)", **environment)
    assert done.stdout.startswith(str(tmp_path))
    assert one_warning(done.stderr), done.stderr


@posix
def test_full_disk(tmp_path: Path) -> None:
    """No file can have more than 2,000 bytes; once there is room, kernels are kept."""
    done = run(LIMITED, NUMBA_CACHE_DIR=str(tmp_path))
    assert one_warning(done.stderr), done.stderr
    assert COMPILES in run(FIRST_CALL, NUMBA_CACHE_DIR=str(tmp_path)).stderr
    assert run(FIRST_CALL, NUMBA_CACHE_DIR=str(tmp_path)).stderr == ""


def test_processes_that_compile_at_once(tmp_path: Path) -> None:
    results: list[Any] = []

    def work() -> None:
        try:
            results.append(run(FIRST_CALL, NUMBA_CACHE_DIR=str(tmp_path)).stderr)
        except BaseException as error:
            results.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(isinstance(result, str) and "Warning" not in result for result in results), results
    assert run(FIRST_CALL, NUMBA_CACHE_DIR=str(tmp_path)).stderr == ""


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of compiled kernels."""
    folder = tmp_path_factory.mktemp("kernels")
    run(FIRST_CALL, NUMBA_CACHE_DIR=str(folder))
    return folder


def test_kernels_are_kept_in_files_that_the_next_test_damages(kernels: Path) -> None:
    files = [path for path in kernels.rglob("*") if path.is_file()]
    for name in ("run_share", "run_serial", "run_stream", "run_parallel"):
        for suffix in (".nbi", ".nbc"):
            assert any(name in path.name and path.suffix == suffix for path in files), (name, suffix)


@pytest.mark.parametrize(("pattern", "share"), [("*", 0.0), ("*.nbi", 0.5), ("*.nbc", 0.5), ("*.nbc", 0.999)])
def test_truncated_cache_files(kernels: Path, tmp_path: Path, pattern: str, share: float) -> None:
    folder = tmp_path / "kernels"
    shutil.copytree(kernels, folder)
    for path in folder.rglob(pattern):
        if path.is_file():
            os.truncate(path, int(share * path.stat().st_size))
    done = run(FIRST_CALL, NUMBA_CACHE_DIR=str(folder))
    assert COMPILES in done.stderr
    assert "Warning" not in done.stderr
    assert run(FIRST_CALL, NUMBA_CACHE_DIR=str(folder)).stderr == ""


def test_kernels_without_a_cache_are_the_same(tmp_path: Path) -> None:
    """What was compiled here and what another process has compiled and kept."""
    case = random_case(Shape(3, 5, 2, steps=4, rows=2), 1)
    result = module(case)(case.x, case.hx)
    assert_close(result, oracle.lstm(case.state_dict, *case[2:]))
    np.savez(tmp_path / "here.npz", *flat(result))
    code = """
import sys
import numpy as np
from cases import Shape, assert_same_bits, module, random_case
case = random_case(Shape(3, 5, 2, steps=4, rows=2), 1)
for _ in range(2):
    with np.load(sys.argv[1]) as file:
        output, h_n, c_n = file.values()
    assert_same_bits(module(case)(case.x, case.hx), (output, (h_n, c_n)))
"""
    for _ in range(2):
        run(code, str(tmp_path / "here.npz"), NUMBA_CACHE_DIR=str(tmp_path / "kernels"))
    assert_same_bits(module(case)(case.x, case.hx), result)
