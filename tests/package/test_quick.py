"""The table of quick tests names tests that there are."""

from __future__ import annotations

import ast

import pytest
from support.places import TESTS
from support.quick import QUICK


@pytest.mark.parametrize("module", QUICK)
def test_names_in_the_table(module: str) -> None:
    (path,) = TESTS.rglob(f"{module}.py")
    tree = ast.parse(path.read_text())
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    for beginning in QUICK[module]:
        assert any(name.startswith("test_") and name.startswith(beginning) for name in names), beginning
