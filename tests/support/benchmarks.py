"""What tests of the benchmarks share: a machine that was not measured, small shapes, commands and their tables."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from asv_bench import machine, shapes

from .places import ROOT

LIMITS = machine.Machine(1e11, {1 << 14: 1e11, 1 << 20: 5e10, 1 << 26: 1e10}, 4)

STATEFUL = [shapes.Shape(3, 5, 2, steps=1, batch=2), shapes.Shape(3, 5, 2, bidirectional=True, batch=2)]
STATEFUL += [shapes.Shape(4, 6, proj_size=3), shapes.Shape(3, 5, 2, steps=4, batch=2)]


def run(command: str, *arguments: object) -> str:
    """Run a command in a process of its own and return what it prints."""
    words = [sys.executable, "-W", "error", "-m", f"asv_bench.{command}", *map(str, arguments)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def page_with(folder: Path, *names: str) -> Path:
    page = folder / "page.md"
    texts = {**dict.fromkeys(names, "old"), "measured": ""}
    blocks = [f"<!-- {name} -->\n{text}\n<!-- end of {name} -->\n" for name, text in texts.items()]
    page.write_text("\n".join(["before\n", *blocks, "after\n"]), encoding="utf-8")
    return page


def cells_of(tables: str) -> list[dict[str, str]]:
    """Return the lines of a table, or of several that go on with the same lines, by the names of the columns."""
    found: dict[str, dict[str, str]] = {}
    for table in tables.split("\n\n"):
        header, _, *lines = ([cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines())
        for line in lines:
            found.setdefault(line[0], {}).update(zip(header, line, strict=True))
    return list(found.values())
