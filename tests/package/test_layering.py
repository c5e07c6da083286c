"""The structure of the package: modules are small, wings too, importing is light, no text is run.

That imports go one way is a contract of import-linter, in ``pyproject.toml``.
"""

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

MAX_LINES, MAX_MODULES = 350, 12


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_modules_are_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_LINES


@pytest.mark.parametrize("wing", sorted({path.parent for path in MODULES}), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_wings_are_small(wing: Path) -> None:
    assert len(list(wing.glob("*.py"))) <= MAX_MODULES + 1  # and the line that says what the wing is
    assert ast.get_docstring(ast.parse((wing / "__init__.py").read_text()))


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


WITHOUT_KERNELS = ("cli", "demo", "io")


@pytest.mark.parametrize(
    "path",
    [path for path in MODULES if path.relative_to(PACKAGE).parts[0] not in WITHOUT_KERNELS],
    ids=lambda p: str(p.relative_to(PACKAGE)),
)
def test_kernels_are_the_same_without_asserts(path: Path) -> None:
    """Nothing that a kernel may come from is stripped by ``-O``."""
    for node in ast.walk(ast.parse(path.read_text())):
        assert not isinstance(node, ast.Assert), f"line {node.lineno}"
        assert not (isinstance(node, ast.Name) and node.id == "__debug__"), f"line {node.lineno}"


def test_import_is_light() -> None:
    """``import numba_lstm`` brings nothing that only some users need."""
    frameworks, files = ["torch", "onnx", "onnxruntime"], ["h5py", "safetensors", "pandas"]
    heavy = [*frameworks, *files, "scipy", "matplotlib", "tqdm", "asyncio", "dask"]
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
    assert set(loaded) <= set(by_numba) - {"torch", "onnx", "h5py", "matplotlib", "tqdm", "dask"}


def test_files_are_read_without_another_import() -> None:
    """And only then what reads them is imported."""
    code = """
import sys, numba_lstm as nl
assert "numba_lstm.io" not in sys.modules and "safetensors" not in sys.modules
assert "numba_lstm.serving" not in sys.modules and {"io", "serving"} < set(dir(nl))
assert "keras" in dir(nl.io)
assert callable(nl.io.read) and "numba_lstm.io" in sys.modules
assert nl.serving.Batcher and "numba_lstm.serving" in sys.modules
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
