"""What tests ask for before they run is something that there is: a misspelt name would skip them for ever."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator

from support.places import TESTS

OTHERS = {
    *("cloudpickle", "dask", "distributed", "fcntl", "h5py", "hatchling", "joblib", "keras", "matplotlib", "ml_dtypes"),
    *("onnx", "onnxruntime", "onnxscript", "pyarrow", "resource", "selenium", "torch", "trove_classifiers"),
}
"""Packages of others, and modules that Python does not have everywhere."""


def asked() -> Iterator[tuple[str, str]]:
    """Yield where a module is asked for, and its name."""
    for path in sorted(TESTS.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("importorskip"):
                name = node.args[0]
                if isinstance(name, ast.Constant):  # others are parameters, of tests or loops
                    yield f"{path.relative_to(TESTS)}, line {node.lineno}", str(name.value)


def test_what_is_asked_for_is_there() -> None:
    places = dict(asked())
    assert len(places) > 100
    for place, name in places.items():
        first = name.partition(".")[0]
        if first in OTHERS and not importlib.util.find_spec(first):
            continue
        try:
            found = importlib.util.find_spec(name)
        except ModuleNotFoundError as error:  # of an extra, which a parent imports
            found = error if "numba-lstm[" in str(error) else None
        assert found, f"{place}: there is no module {name}"
