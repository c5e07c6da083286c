"""The structure of the package: imports go one way, modules are small, importing is light, no text is run."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import numba_lstm

PACKAGE = Path(numba_lstm.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

ORDER = [
    ["code_stamp", "kernel_cache", "_jit", "_target", "idle_cores", "cpu_quota", "threads"],
    ["arrays", "parameters", "reparametrized", "whole_module", "located"],
    ["checks", "padding", "packed_sequence", "record", "printable"],
    ["blocksizes", "memory", "cell_rule"],
    ["simd", "tiles", "float_mode", "atomics"],
    ["activations", "general_activations", "packing"],
    ["microkernels", "general_postgemm", "postgemm"],
    ["frame", "rows", "states"],
    ["cell", "crew", "layer", "launch", "team"],
    ["entries", "residency", "cost", "plan", "network", "variable_length"],
    ["turn", "pool", "stream_checks", "stream", "sliding_window"],
    ["module", "saved", "lstm", "lstm_cell"],
    ["io"],
    ["demo"],
    ["cli", "soak"],
]
"""Layers from the bottom up.  A module imports from what stands before it, in its own layer too."""

RANKS = {name: (layer, place) for layer, names in enumerate(ORDER) for place, name in enumerate(names)}

LAZY = {("saved", "io")}
"""Imports that go up, within a function: ``LSTM.load`` and ``save`` reach for file formats when called."""

MAX_LINES = 400


def _unit(path: Path) -> str:
    """Return the name that ORDER has for a file: a module's, or its subpackage's."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def _package_imports(path: Path) -> list[tuple[str, bool]]:
    """Return the units that a file imports from, each with whether it does so inside of a function."""
    tree = ast.parse(path.read_text())
    lazy = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in ast.walk(function)
    }
    parents = path.relative_to(PACKAGE).parts[:-1]
    found = []
    for node in ast.walk(tree):
        names: list[tuple[str, ...]] = []
        if isinstance(node, ast.ImportFrom):
            module = tuple(node.module.split(".")) if node.module else ()
            if node.level:
                module = (*parents[: len(parents) - node.level + 1], *module)
            elif module[:1] == ("numba_lstm",):
                module = module[1:]
            else:
                continue
            names = [module] if module else [(alias.name,) for alias in node.names]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                parts = tuple(alias.name.split("."))
                if parts[0] == "numba_lstm":
                    names.append(parts[1:] or ("__init__",))
        found += [(name[0], id(node) in lazy) for name in names]
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    unit = _unit(path)
    if unit in ("__init__", "__main__"):
        return
    assert unit in RANKS, f"{unit} has no place in ORDER"
    for name, lazy in _package_imports(path):
        if name == unit or (lazy and (unit, name) in LAZY):
            continue
        if name not in RANKS:  # from numba_lstm import LSTM: the public API, for what stands on top of it
            assert unit in ("demo", "cli", "soak"), f"{unit} imports {name}"
            continue
        assert RANKS[name] < RANKS[unit], f"{unit} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_modules_are_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_LINES


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_nothing_is_executed(path: Path) -> None:
    """No text becomes code and no file is unpickled."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = node.module if isinstance(node, ast.ImportFrom) else None
            names = {alias.name for alias in node.names} | {module}
            assert not names & {"pickle", "cPickle", "dill", "marshal", "shelve"}, f"line {node.lineno}"
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("exec", "eval", "compile", "__import__"), f"line {node.lineno}"
            for keyword in node.keywords:
                if keyword.arg == "allow_pickle":
                    assert isinstance(keyword.value, ast.Constant), f"line {node.lineno}"
                    assert keyword.value.value is False, f"line {node.lineno}"
            if called in ("np.load", "numpy.load"):
                assert any(k.arg == "allow_pickle" for k in node.keywords), f"line {node.lineno}"


def test_import_is_light() -> None:
    """``import numba_lstm`` brings nothing that only some users need."""
    heavy = ["scipy", "torch", "onnx", "onnxruntime", "h5py", "matplotlib", "tqdm", "safetensors", "pandas"]
    code = f"import json, sys, numba_lstm; print(json.dumps([m for m in {heavy} if m in sys.modules]))"
    # Numba itself looks for SciPy when it is imported, and takes nothing of it before it compiles linear
    # algebra.
    base = f"import json, sys, numba; print(json.dumps([m for m in {heavy} if m in sys.modules]))"
    loaded, by_numba = (
        json.loads(
            subprocess.run([sys.executable, "-c", c], capture_output=True, text=True, check=True).stdout
        )
        for c in (code, base)
    )
    assert set(loaded) <= set(by_numba) - {"torch", "onnx", "h5py", "matplotlib", "tqdm"}


def test_files_are_read_without_another_import() -> None:
    """And only then what reads them is imported."""
    code = """
import sys, numba_lstm as nl
assert "numba_lstm.io" not in sys.modules and "safetensors" not in sys.modules
assert "io" in dir(nl) and "keras" in dir(nl.io)
assert callable(nl.io.read) and "numba_lstm.io" in sys.modules
assert "numba_lstm.io.keras" not in sys.modules and callable(nl.io.keras.load)
for module in (nl, nl.io):
    try:
        module.none
    except AttributeError as error:
        assert "has no attribute 'none'" in str(error)
    else:
        raise AssertionError
    assert not hasattr(module, "__wrapped__")
"""
    subprocess.run([sys.executable, "-c", code], check=True)
