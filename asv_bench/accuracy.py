"""Errors of float32 engines against float64: ``python -m asv_bench.accuracy --peers PYTHON --page``.

Root mean squares over the whole output of a call.  What is exact here is our float64 network, whose own error is nine
digits smaller.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from . import engines, report, shapes, timing
from .shapes import Shape

PAGE = report.ROOT / "docs" / "explain" / "accuracy.md"

SHAPES = ["amp_block64", "onednn837", "mingfei_15", "ge2e_b1", "crnn_b1", "rnnt_b1", "elmo_b1", "torch81634", "big_b64"]
"""Sequences: single steps say little."""


def exact(shape: Shape) -> np.ndarray:
    """Return the output in float64, of the same float32 numbers."""
    given = shapes.case(shape)
    hx = given.hx and (given.hx[0].astype(np.float64), given.hx[1].astype(np.float64))
    output: np.ndarray = engines.numba_lstm_call(given._replace(x=given.x.astype(np.float64), hx=hx))()[0]
    return output


def run_engine(python: str, engine: str, names: Sequence[str], folder: Path) -> dict[str, str]:
    """Have an engine write its outputs; return its versions, {} if it is not installed."""
    command = [python, "-m", "asv_bench.engines", engine, "--threads", "1", "--budget", "0", "--shapes", *names]
    done = subprocess.run(
        [*command, "--outputs", str(folder)], cwd=report.ROOT, env=timing.environment(1), stdout=subprocess.PIPE,
        text=True, check=True,
    )  # fmt: skip
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {name: version for line in lines for name, version in line.get("versions", {}).items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(prog="python -m asv_bench.accuracy", description=__doc__.splitlines()[0])
    parser.add_argument("--peers", default=sys.executable, metavar="PYTHON", help="the interpreter that has the peers")
    parser.add_argument("--shapes", nargs="+", default=SHAPES, help=f"names, or {', '.join(shapes.GROUPS)}")
    report.add_page_option(parser, PAGE)
    options = parser.parse_args(arguments)
    chosen = shapes.select(options.shapes)
    used = [engine for engine in engines.ENGINES if engine not in ("stream", "first step")]
    versions: dict[str, str] = {}
    rows = {name: [shapes.words(name)] for name in chosen}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for engine in used:
            python = sys.executable if engine in engines.OURS else options.peers
            versions |= run_engine(python, engine, [*chosen], folder)
        for name, shape in chosen.items():
            expected = exact(shape).ravel()
            for engine in used:
                path = folder / f"{engine}.{name}.npy"
                if not path.exists():
                    rows[name].append("")
                    continue
                error = np.load(path).ravel().astype(np.float64) - expected
                rows[name].append(f"{np.sqrt(np.mean(np.square(error))):.2e}")
    text = report.markdown_table(["root mean square error", *used], list(rows.values()))
    report.publish("accuracy", text, report.circumstances(versions), options.page)


if __name__ == "__main__":
    main()
