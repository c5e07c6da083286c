"""Tables and figures for people, and the places in Markdown files that they go to."""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import os
import platform
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "performance.md"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table that can be read as it is, too: first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    widths = [max(width, 3) for width in widths]

    def line(cells: Sequence[str]) -> str:
        first, *others = zip(cells, widths, strict=True)
        return "| " + " | ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]) + " |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([line(header), line(rule), *map(line, rows)])


def write_block(path: Path, name: str, text: str) -> None:
    """Replace what stands between ``<!-- name -->`` and ``<!-- end of name -->`` in a file.

    Raises
    ------
    SystemExit
        If the file does not have both comments, once each.
    """
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    page = path.read_text(encoding="utf-8")
    if page.count(begin) != 1 or page.count(end) != 1:
        raise SystemExit(f"{path} should have one line {begin} and one line {end}")
    before, rest = page.split(begin)
    path.write_text(f"{before}{begin}\n\n{text.strip()}\n\n{end}{rest.split(end)[1]}", encoding="utf-8")


def save_plot(figure: Figure, plot: Path) -> None:
    """Write a picture, in the format that its name says."""
    plot.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(plot, dpi=120, metadata={"Software": None} if plot.suffix == ".png" else None)


def new_figure(width: float, height: float) -> Any:
    """Return an empty picture; says what to install where matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise SystemExit("plots need matplotlib: pip install '.[plot]'") from None
    return Figure(figsize=(width, height), layout="constrained")


def machine() -> str:
    """Return the CPU's name, its cores and the system's name."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{name}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}"


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of the packages of this interpreter that are installed."""
    found = {"Python": platform.python_version()}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def circumstances(packages: dict[str, str]) -> dict[str, Any]:
    """Return what figures depend on: the machine, the date and the versions of packages."""
    return {"machine": machine(), "date": datetime.date.today().isoformat(), "versions": packages}


def caption(about: dict[str, Any]) -> str:
    """Return the sentence below a table."""
    packages = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return textwrap.fill(f"{about['machine']}; {about['date']}; {packages}.", 118)


def publish(name: str, text: str, page: Path | None, picture: tuple[str, Path] | None = None) -> None:
    """Print what this process has measured, with its circumstances.

    Write it into a page if there is one, with a picture of a title if there is one.
    """
    whole = f"{text}\n\n{caption(circumstances(versions('numba', 'numpy')))}"
    print(whole)
    if page:
        write_block(page, name, whole + show(picture, page))


def show(picture: tuple[str, Path] | None, page: Path) -> str:
    """Return the Markdown that shows a picture, by title and path, on a page; nothing for none."""
    if not picture:
        return ""
    title, path = picture
    return f"\n\n![{title}]({Path(os.path.relpath(path, page.parent)).as_posix()})"


def add_page_option(parser: argparse.ArgumentParser, page: Path = PAGE) -> None:
    """Let a command write its table into the documentation."""
    parser.add_argument(
        "--page", nargs="?", type=Path, const=page, metavar="FILE", help=f"write it to {page.relative_to(ROOT)} too"
    )
