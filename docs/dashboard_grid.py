"""Leave out of asv's dashboard what was not measured: ``dashboard_grid.py FOLDER``.

asv lists all benchmarks that it knows, and its first page asks for a graph of each, which is an error for each that
has none.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main(dashboard: Path) -> None:
    """Change the dashboard's index."""
    path = dashboard / "index.json"
    index = json.loads(path.read_text(encoding="utf-8"))
    measured = {file.stem for file in (dashboard / "graphs" / "summary").glob("*.json")}
    index["benchmarks"] = {name: about for name, about in index["benchmarks"].items() if name in measured}
    if not index["benchmarks"]:
        raise SystemExit("nothing was measured")
    path.write_text(json.dumps(index), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
