"""Say on the site what its dashboard has, and let the dashboard lead back to it: ``dashboard_page.py SITE``."""

from __future__ import annotations

import ast
import datetime
import html
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

SUITE = Path(__file__).resolve().parents[1] / "asv_bench" / "benchmarks"

PLACE = re.compile(r'(<div id="measured">).*?(</div>)', re.DOTALL)
"""On the site's page."""

NAVIGATION = re.compile(r'(<ul class="nav navbar-nav navbar-left">)()')
"""On the dashboard's page: its beginning."""


OPENINGS = {"Return ": "", "Time ": "time of ", "Have asv take ": ""}
"""Of docstrings of benchmarks, and what names the figure instead."""


class Benchmark(NamedTuple):
    """One of the suite, in the words of its docstrings."""

    name: str
    about: str


def suite() -> Iterator[tuple[str, list[Benchmark]]]:
    """Yield each module's docstring and benchmarks, in their order."""
    for path in sorted(SUITE.glob("[!_]*.py")):
        module = ast.parse(path.read_text(encoding="utf-8"))
        found = []
        for group in (node for node in module.body if isinstance(node, ast.ClassDef)):
            for method in (node for node in group.body if isinstance(node, ast.FunctionDef)):
                name = f"benchmarks.{path.stem}.{group.name}.{method.name}"
                figure = ast.get_docstring(method) or ""
                for opening, words in OPENINGS.items():
                    figure = re.sub(f"^{opening}", words, figure)
                found.append(Benchmark(name, f"{(ast.get_docstring(group) or '').rstrip('.')}: {figure}"))
        yield ast.get_docstring(module) or "", found


def measured(dashboard: Path, name: str) -> list[int]:
    """Return the revisions for which a benchmark has a figure."""
    path = dashboard / "graphs" / "summary" / f"{name}.json"
    points = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    return [revision for revision, value in points if value is not None]


def description(dashboard: Path, index: dict[str, Any]) -> str:
    """Return the HTML that says since when, on what and which benchmarks were measured."""
    revisions = {name: measured(dashboard, name) for name in index["benchmarks"]}
    dates = index["revision_to_date"]
    times = sorted(dates[str(revision)] for revision in {each for some in revisions.values() for each in some})
    utc = datetime.timezone.utc
    first, last = (datetime.datetime.fromtimestamp(times[k] / 1000, utc).date().isoformat() for k in (0, -1))
    machines = ", ".join(f"{about['cpu']}, {about['os']}" for about in index["machines"].values())
    parts = [
        '<p><a id="open-dashboard" href="dashboard/index.html">Open the dashboard</a>: '
        f"{len(times)} commits, the first of {first}, the last of {last}, measured on {html.escape(machines)}.</p>"
    ]
    for about, benchmarks in suite():
        rows = [
            f'<tr><td><a href="dashboard/index.html#{name}">{html.escape(text)}</a></td>'
            f"<td>{len(revisions[name])}</td></tr>"
            for name, text in benchmarks
            if revisions.get(name)
        ]
        if rows:
            parts.append(f"<h2>{html.escape(about.partition('.')[0])}</h2>")
            parts.append('<table class="table"><thead><tr><th>graph</th><th>commits</th></tr></thead>')
            parts += ["<tbody>", *rows, "</tbody></table>"]
    return "\n".join(parts)


def replace(path: Path, place: re.Pattern[str], text: str) -> None:
    """Put text between the two groups of the one place of a page that a pattern finds."""
    page, count = place.subn(lambda found: found[1] + text + found[2], path.read_text(encoding="utf-8"))
    if count != 1:
        raise SystemExit(f"{path} has {count} places {place.pattern}, should have one")
    path.write_text(page, encoding="utf-8")


def main(site: Path) -> None:
    """Change both pages."""
    dashboard = site / "dashboard"
    index = json.loads((dashboard / "index.json").read_text(encoding="utf-8"))
    replace(site / "dashboard.html", PLACE, description(dashboard, index))
    back = '<li><a href="../dashboard.html">Back to the documentation</a></li>'
    replace(dashboard / "index.html", NAVIGATION, back)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
