"""Kernels go with the code that they were made of, in whatever form it is shipped."""

from __future__ import annotations

import compileall
from pathlib import Path

import pytest
from support.processes import CALL, COMPILES, run
from support.sites import OTHER_KERNEL, Form, changed_site, sources, zipped

STAMP = "from numba_lstm.simd import code_stamp; print(code_stamp.code_stamp()); print(code_stamp.__file__)"

def _bytecode(site: Path) -> Path:
    """Compile everything and throw the sources away."""
    assert compileall.compile_dir(site, legacy=True, quiet=1)
    for path in site.rglob("*.py"):
        path.unlink()
    return site


def _zipped_bytecode(site: Path) -> Path:
    return zipped(_bytecode(site))


MAKES_KERNELS = ("kernels", "simd")

FORMS = [sources, zipped, _bytecode, _zipped_bytecode]


@pytest.mark.parametrize("form", FORMS)
def test_the_stamp_is_that_of_the_code(tmp_path: Path, form: Form) -> None:
    """Wherever it lies, in every process; and another one of other code."""
    same, elsewhere = (changed_site(tmp_path / name, form) for name in ("one", "two"))
    other = changed_site(tmp_path / "three", form, OTHER_KERNEL)
    stamps = []
    for path, seed in ((same, "1"), (same, "2"), (elsewhere, "3"), (other, "1")):
        stamp, file = run(STAMP, PYTHONPATH=path, PYTHONHASHSEED=seed).stdout.split()
        assert file.startswith(path)
        stamps.append(stamp)
    assert stamps[0] == stamps[1] == stamps[2] != stamps[3]


EDITS = """
import sys
from pathlib import Path
from numba_lstm.simd.code_stamp import code_stamp
first = code_stamp()
for path in sorted(Path(sys.argv[1]).rglob("*.py")):
    text = path.read_text()
    path.write_text(text + "#")
    print(path.relative_to(sys.argv[1]).as_posix(), code_stamp() != first)
    path.write_text(text)
assert code_stamp() == first
"""


def test_an_edit_of_what_makes_kernels_is_seen_and_no_other(tmp_path: Path) -> None:
    path = changed_site(tmp_path / "site", sources)
    lines = run(EDITS, f"{path}/numba_lstm", PYTHONPATH=path).stdout.splitlines()
    seen = {name: changes == "True" for name, changes in map(str.split, lines)}
    some = {"simd/jit.py", "kernels/time_loop.py", "kernels/cells/step.py", "lstm.py", "io/torch/modules.py"}
    assert some < set(seen)
    assert seen == {name: name.partition("/")[0] in MAKES_KERNELS for name in seen}


FROZEN = """
import importlib.abc, importlib.machinery, pkgutil, sys
from pathlib import Path

class Frozen(importlib.abc.InspectLoader, importlib.abc.MetaPathFinder, importlib.abc.PathEntryFinder):
    "Code objects in memory, as in an executable; no file lies where a module says that it is."

    def __init__(self, folder):
        self.codes = {}
        for path in sorted(Path(folder, "numba_lstm").rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            is_package = parts[-1] == "__init__"
            name = ".".join(parts[:-1] if is_package else parts)
            self.codes[name] = compile(path.read_bytes(), "numba_lstm/" + path.name, "exec"), is_package

    def find_spec(self, name, path=None, target=None):
        if name in self.codes:
            spec = importlib.machinery.ModuleSpec(name, self, is_package=self.codes[name][1])
            if self.codes[name][1]:
                spec.submodule_search_locations = ["/frozen/" + name.replace(".", "/")]
            return spec

    def get_code(self, name):
        if sys.argv[2] == "no code" and name.endswith(".postgemm") and name not in sys.modules:
            raise OSError("gone")  # to who asks, but not to Python when it imports it
        return self.codes[name][0]

    def get_source(self, name):
        return None

    def is_package(self, name):
        return self.codes[name][1]

class Listing:
    "What a folder of them says that it has."

    def __init__(self, path):
        if not path.startswith("/frozen/"):
            raise ImportError
        self.package = path.removeprefix("/frozen/").replace("/", ".")

    def find_spec(self, name, target=None):
        return frozen.find_spec(name)

    def iter_modules(self, prefix=""):
        if sys.argv[2] == "no list":
            return
        for name, (_, ispkg) in frozen.codes.items():
            parent, _, last = name.rpartition(".")
            if parent == self.package:
                yield prefix + last, ispkg

frozen = Frozen(sys.argv[1])
sys.meta_path.insert(0, frozen)
sys.path_hooks.insert(0, Listing)
sys.frozen = True
"""


def test_frozen_applications(tmp_path: Path) -> None:
    """Bytecode in an executable: kernels are kept where the user says, and go with the code."""
    kernels = str(tmp_path / "kernels")
    results = []
    for name, changes in (("one", []), ("two", [OTHER_KERNEL])):
        path = changed_site(tmp_path / name, sources, *changes)
        for compiles in (True, False):
            done = run(FROZEN + CALL, path, "", NUMBA_CACHE_DIR=kernels)
            assert "Warning" not in done.stderr
            assert (COMPILES in done.stderr) is compiles
            results.append(done.stdout)
    assert results[0] == results[1] != results[2] == results[3]


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        ("no list", "is not among the modules"),
        ("no code", "numba_lstm.kernels.cells.postgemm cannot be read, OSError: gone"),
    ],
)
def test_code_that_cannot_be_known(tmp_path: Path, missing: str, reason: str) -> None:
    """Nothing is kept, nothing is loaded, and one warning says why."""
    made = """
from numba_lstm.kernels import launch
from numba_lstm.simd.jit import serial_entry
print({type(serial_entry(function)._cache).__name__ for function in (launch.run_serial, launch.run_short)})
"""
    done = run(FROZEN + made, changed_site(tmp_path / "site", sources), missing)
    assert done.stdout == "{'NullCache'}\n"
    assert done.stderr.count("CacheWarning") == 1
    assert reason in done.stderr
