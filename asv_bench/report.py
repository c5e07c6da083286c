"""Tables and figures for people, and the places in Markdown files that they go to."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import llvmlite.binding

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "performance.md"
FOLDER = PAGE.with_suffix("")
"""Of the pages behind it."""

MEASURED = "measured"
"""The place on every page that says once what all of its figures depend on."""

WORDS = {"sizes"}
"""Headings of columns that have words, beside every first one."""


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table that can be read as it is, too: columns of words to the left, the others to the right."""
    widths = [max(3, *(len(row[column]) for row in [header, *rows])) for column in range(len(header))]
    left = [not column or name in WORDS for column, name in enumerate(header)]

    def line(cells: Sequence[str]) -> str:
        placed = [f"{cell:{'<' if to_left else '>'}{n}}" for cell, n, to_left in zip(cells, widths, left, strict=True)]
        return f"| {' | '.join(placed)} |"

    rule = ["-" * width if to_left else "-" * (width - 1) + ":" for width, to_left in zip(widths, left, strict=True)]
    return "\n".join([line(header), line(rule), *map(line, rows)])


def write_block(path: Path, name: str, text: str) -> None:
    """Replace what stands between ``<!-- name -->`` and ``<!-- end of name -->`` in a file.

    Raises
    ------
    SystemExit
        If the file does not have both comments, once each.
    """
    before, _, after = _around_block(path, name)
    path.write_text(f"{before}\n\n{text.strip()}\n\n{after}", encoding="utf-8")


def read_block(path: Path, name: str) -> str:
    """Return what stands there."""
    return _around_block(path, name)[1].strip()


def _around_block(path: Path, name: str) -> tuple[str, str, str]:
    """Return a file up to the end of the first comment, what follows, and the rest from the second one on."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    page = path.read_text(encoding="utf-8")
    if page.count(begin) != 1 or page.count(end) != 1:
        raise SystemExit(f"{path} should have one line {begin} and one line {end}")
    before, rest = page.split(begin)
    text, after = rest.split(end)
    return before + begin, text, end + after


def machine() -> str:
    """Return the CPU's name, with what LLVM calls its kind, its cores and the system's name.

    Machines of a cloud often have the same name, whatever they are.
    """
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    kind = llvmlite.binding.get_host_cpu_name()
    return f"{name} ({kind}), {os.cpu_count()} cores, {platform.system()} {platform.machine()}"


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of the packages of this interpreter that are installed."""
    found = {}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def versions_of(python: str, *packages: str) -> dict[str, str]:
    """Return the same of another interpreter."""
    code = "import json, sys; from asv_bench import report; print(json.dumps(report.versions(*sys.argv[1:])))"
    command = [python, "-c", code, *packages]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def circumstances(packages: dict[str, str]) -> dict[str, Any]:
    """Return what figures depend on: the machine, the date and the versions of Python and of packages."""
    date = datetime.date.today().isoformat()
    return {"machine": machine(), "date": date, "versions": {"Python": platform.python_version(), **packages}}


def paragraph(text: str) -> str:
    """Return a paragraph in lines for a page."""
    return textwrap.fill(" ".join(text.split()), 118, break_on_hyphens=False, break_long_words=False)


def caption(about: dict[str, Any]) -> str:
    """Return circumstances as a sentence."""
    packages = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return paragraph(f"{about['machine']}; {about['date']}; {packages}.")


def read_caption(text: str) -> dict[str, Any] | None:
    """Return the circumstances that such a sentence tells; None if it is none."""
    found = re.fullmatch(r"(.*); (\d[-\d]+(?: to \d[-\d]+)?); ([^;]*)\.", " ".join(text.split()))
    if not found:
        return None
    packages = dict(pair.rsplit(" ", 1) for pair in found[3].split(", "))
    return {"machine": found[1], "date": found[2], "versions": packages}


def together(circumstances: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return what figures of several runs depend on.

    Raises
    ------
    SystemExit
        If they are of different machines or versions: their figures should not stand side by side.
    """
    first, *others = circumstances
    days = first["date"].split(" to ")
    for other in others:
        known = first["versions"]
        changed = [name for name, version in other["versions"].items() if known.get(name, version) != version]
        if other["machine"] != first["machine"] or changed:
            raise SystemExit(
                f"figures of {caption(first)} and of {caption(other)} should not stand on one page: "
                "python -m asv_bench.tables measures all of them again"
            )
        days += other["date"].split(" to ")
        first = {**first, "versions": known | other["versions"]}
    return {**first, "date": " to ".join(dict.fromkeys([min(days), max(days)]))}


def write_measured(path: Path, about: dict[str, Any]) -> None:
    """Say on a page what its figures depend on, those that are there already included."""
    before = read_caption(read_block(path, MEASURED))
    write_block(path, MEASURED, caption(together([before, about] if before else [about])))


def publish(name: str, text: str, about: dict[str, Any], page: Path | None, picture: str = "") -> None:
    """Print what was measured, with its circumstances.

    Write it into a page if there is one, with the Markdown of a picture if there is one.
    """
    print(f"{text}\n\n{caption(about)}")
    if page:
        write_measured(page, about)
        write_block(page, name, f"{text}\n\n{picture}")


def own_circumstances(*packages: str) -> dict[str, Any]:
    """Return what figures of this process depend on, those of our library's packages and of some others."""
    return circumstances(versions("numba", "numpy", *packages))


def add_page_option(parser: argparse.ArgumentParser, page: Path = PAGE) -> None:
    """Let a command write its table into the documentation."""
    parser.add_argument(
        "--page", nargs="?", type=Path, const=page, metavar="FILE", help=f"write it to {page.relative_to(ROOT)} too"
    )
