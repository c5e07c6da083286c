"""Compiled kernels on disk: whatever becomes of the folder, calls work, and one warning says what to set."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import oracle
from support.cases import Shape, assert_close, assert_same_bits, flat, module, random_case
from support.processes import CALL, COMPILES, PACKAGE, posix, run
from support.sites import OTHER_KERNEL, changed_site, sources, zipped

FIRST_CALL = """
import sys
import numpy as np
from support import oracle
from support.cases import Shape, assert_close, module, random_case

case = random_case(Shape(3, 5, 2, steps=4, rows=2), 1)
assert_close(module(case)(case.x, case.hx), oracle.lstm(case.state_dict, *case[2:]))
import numba_lstm
numba_lstm.set_num_threads(2)
numba_lstm.warmup()
"""

LIMITED = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n" + FIRST_CALL


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


@pytest.fixture
def nobody() -> tuple[str, ...]:
    """What makes a command run as somebody who owns nothing; as root one could write everywhere."""
    if os.getuid() != 0:
        return ()
    prefix = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    try:
        subprocess.run([*prefix, sys.executable, "-c", "import numba"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("nobody but root can run this Python")
    return prefix


def shut(folder: Path) -> None:
    """Let nobody write to a folder, but for root, and everybody read it."""
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)


@posix
def test_kernels_of_somebody_else_in_a_folder_that_cannot_be_written_to(
    kernels: Path, nobody: tuple[str, ...]
) -> None:
    """The recipe for containers: warm up as root, then run as another user without a place to write to."""
    with tempfile.TemporaryDirectory() as name:  # unlike pytest's, it can be opened to others
        folder = Path(name)
        shutil.copytree(PACKAGE, folder / "site" / "numba_lstm", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(kernels, folder / "kernels")
        environment = nowhere(folder) | {"NUMBA_CACHE_DIR": str(folder / "kernels"), "PYTHONPATH": str(folder / "site")}
        shut(folder)
        try:
            done = run(CALL + "print(numba_lstm.__file__)", prefix=nobody, **environment)
            assert done.stdout.splitlines()[-1].startswith(name)
            assert done.stderr == ""
            # Nothing there fits: each process has to compile, and to say so.
            done = run(CALL, prefix=nobody, **environment, NUMBA_OPT="1")
            assert COMPILES in done.stderr
            assert one_warning(done.stderr), done.stderr
            assert environment["NUMBA_CACHE_DIR"] in done.stderr
        finally:
            for path in (folder, *folder.rglob("*")):
                path.chmod(0o755)


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


KINDS = ("parallel", "pool", "pool_parallel", "serial", "short")
"""Of the entries of `numba_lstm.kernels.launch`."""


def test_every_kernel_has_a_file_of_its_own(kernels: Path) -> None:
    """So no process can give another's file to a kernel, whatever they compile at the same time."""
    (folder,) = kernels.iterdir()
    names = sorted(path.name.split("-")[0] for path in folder.iterdir())
    launches = [f"numba_lstm.kernels.launch.run_{kind}" for kind in KINDS]
    assert names == [*launches, "numba_lstm.kernels.share.run_share"]


def _flipped(data: bytes) -> bytes:
    """Change one bit in the middle: machine code that does something else."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 4]) + data[middle + 1 :]


DAMAGES: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "empty": lambda files: [b"" for _ in files],
    "half": lambda files: [data[: len(data) // 2] for data in files],
    "bit": lambda files: [_flipped(data) for data in files],
    "another": lambda files: files[1:] + files[:1],
}
"""What may become of the kernels: each has the content of another in the end."""


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files(kernels: Path, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "kernels"
    shutil.copytree(kernels, folder)
    paths = list(folder.rglob("*.kernel"))
    for path, data in zip(paths, DAMAGES[damage]([path.read_bytes() for path in paths]), strict=True):
        path.write_bytes(data)
    done = run(FIRST_CALL, NUMBA_CACHE_DIR=str(folder))
    assert COMPILES in done.stderr
    assert "Warning" not in done.stderr
    assert run(FIRST_CALL, NUMBA_CACHE_DIR=str(folder)).stderr == ""


def test_kernels_compiled_under_other_settings_are_not_taken(kernels: Path, tmp_path: Path) -> None:
    """Nor do they change a bit of a result."""
    folder = tmp_path / "kernels"
    shutil.copytree(kernels, folder)
    done = run(CALL, NUMBA_CACHE_DIR=str(folder), NUMBA_OPT="1")
    assert COMPILES in done.stderr
    assert done.stdout == run(CALL, NUMBA_CACHE_DIR=str(folder)).stdout
    for level in ("1", "3"):
        assert run(CALL, NUMBA_CACHE_DIR=str(folder), NUMBA_OPT=level).stderr == ""


@pytest.mark.parametrize("setting", ["DEVELOPER_MODE", "BOUNDSCHECK", "ENABLE_CUDASIM", "FULL_TRACEBACKS"])
def test_settings_that_change_no_kernel(kernels: Path, setting: str) -> None:
    done = run(CALL, NUMBA_CACHE_DIR=str(kernels), **{f"NUMBA_{setting}": "1"})
    assert (done.stdout, done.stderr) == (run(CALL, NUMBA_CACHE_DIR=str(kernels)).stdout, "")


def test_packages_in_zips(kernels: Path, tmp_path: Path) -> None:
    """The same sources in a zip have the same kernels, and changed ones their own."""
    folder = tmp_path / "kernels"
    shutil.copytree(kernels, folder)
    same = run(CALL, PYTHONPATH=changed_site(tmp_path / "same", zipped), NUMBA_CACHE_DIR=str(folder))
    assert same.stderr == ""
    path = changed_site(tmp_path / "other", zipped, OTHER_KERNEL)
    other = run(CALL, PYTHONPATH=path, NUMBA_CACHE_DIR=str(folder))
    assert COMPILES in other.stderr
    assert other.stdout != same.stdout == run(CALL, NUMBA_CACHE_DIR=str(folder)).stdout
    again = run(CALL, PYTHONPATH=path, NUMBA_CACHE_DIR=str(folder))
    assert (again.stdout, again.stderr) == (other.stdout, "")


def test_stripped_asserts_and_docstrings_change_no_kernel(kernels: Path) -> None:
    """Under ``-O`` and ``-OO`` the sources, and so the stamp, are the same."""
    for option in ("-O", "-OO"):
        assert run(CALL, options=(option,), NUMBA_CACHE_DIR=str(kernels)).stderr == ""


def test_code_that_changes_after_it_was_imported(kernels: Path, tmp_path: Path) -> None:
    """What this process compiles is not what the files say by then: its kernels are those of what it imported."""
    path = changed_site(tmp_path / "site", sources)
    name, old, new = OTHER_KERNEL
    edit = f"""
from pathlib import Path
import numba_lstm
file = Path(numba_lstm.__file__).parent / {name!r}
file.write_text(file.read_text().replace({old!r}, {new!r}))
"""
    assert run(edit + CALL, PYTHONPATH=path, NUMBA_CACHE_DIR=str(kernels)).stderr == ""


def test_kernels_without_a_cache_are_the_same(tmp_path: Path) -> None:
    """What was compiled here and what another process has compiled and kept."""
    case = random_case(Shape(3, 5, 2, steps=4, rows=2), 1)
    result = module(case)(case.x, case.hx)
    assert_close(result, oracle.lstm(case.state_dict, *case[2:]))
    np.savez(tmp_path / "here.npz", *flat(result))
    code = """
import sys
import numpy as np
from support.cases import Shape, assert_same_bits, module, random_case
case = random_case(Shape(3, 5, 2, steps=4, rows=2), 1)
for _ in range(2):
    with np.load(sys.argv[1]) as file:
        output, h_n, c_n = file.values()
    assert_same_bits(module(case)(case.x, case.hx), (output, (h_n, c_n)))
"""
    for _ in range(2):
        run(code, str(tmp_path / "here.npz"), NUMBA_CACHE_DIR=str(tmp_path / "kernels"))
    assert_same_bits(module(case)(case.x, case.hx), result)
