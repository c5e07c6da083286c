"""What tests share lies in ``tests/support``: none takes anything from another test, or what has a private name."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.places import TESTS

MODULES = sorted({*TESTS.rglob("*.py")} - {Path(__file__).resolve()})  # this one has examples of what is wrong
SHARED = {"support", *(path.stem for path in TESTS.glob("*.py"))}
"""The package, and what is run from here and tested, too."""


def trees(path: Path) -> Iterator[ast.AST]:
    """Give the code of a module, and that of the programs in its texts."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    yield tree
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "import" in node.value:
            with contextlib.suppress(SyntaxError, ValueError):
                yield ast.parse(node.value)


def taken(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Give modules that are imported, and what of them is."""
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [(each.name, "", each.asname or each.name) for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [(node.module or "", each.name, each.asname or each.name) for each in node.names]
        else:
            continue
        yield from (name[:2] for name in names)
        modules |= {bound for module, _, bound in names if module.partition(".")[0] in SHARED}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            yield "support", node.attr


def wrong(module: str, name: str) -> bool:
    """Whether it is of a test, or shared and private."""
    of_a_test = any(part.startswith("test_") for part in (*module.split("."), name))
    private = name.startswith("_") and not name.startswith("__")
    return of_a_test or (private and module.partition(".")[0] in SHARED)


def test_nothing_is_taken_from_tests_and_nothing_private() -> None:
    found = {(path.stem, *each) for path in MODULES for tree in trees(path) for each in taken(tree)}
    assert {("test_cell_rule", "support.general_cells", "named"), ("test_fuzz", "support", "FILES")} <= found
    assert not [each for each in sorted(found) if wrong(*each[1:])]


@pytest.mark.parametrize(
    "code",
    [
        "import test_bits",
        "from test_bits import joined",
        "from support.oracle import _step",
        "from support import oracle\noracle._step",
        "import aarch64_code as made\nmade._CaughtError",
    ],
)
def test_what_is_seen(code: str) -> None:
    assert any(wrong(*each) for each in taken(ast.parse(code)))
