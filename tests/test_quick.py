"""The table of quick tests names tests that there are."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from quick import QUICK


@pytest.mark.parametrize("module", QUICK)
def test_names_in_the_table(module: str) -> None:
    tree = ast.parse(Path(__file__).with_name(f"{module}.py").read_text())
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    for beginning in QUICK[module]:
        assert any(name.startswith("test_") and name.startswith(beginning) for name in names), beginning
