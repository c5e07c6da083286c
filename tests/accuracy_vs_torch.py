"""Errors against the float64 oracle, ours over torch's: ``python tests/accuracy_vs_torch.py [--steps N]
[SHAPE ...]``.

Prints one line for 200 random shapes together and one for each shape of the public grid
(``../shared/bench/grid.py``); ends with status 1 if any ratio of the root mean squares is above 1.1.
``--steps`` cuts the grid's sequences short; whole, it takes some minutes, most of them in the oracle.
"""

from __future__ import annotations

import argparse
import runpy
import sys
import warnings
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from support import oracle
from support.cases import Case, Shape, flat, module, random_case
from support.places import SHARED

GRID = SHARED / "bench" / "grid.py"

LIMIT = 1.1
"""Largest ratio of root mean square errors that issue 2 allows."""


def torch_module(case: Case, **options: object) -> torch.nn.LSTM:
    """Return torch's module with a case's weights, in evaluation mode."""
    dtype = torch.float64 if case.x.dtype == np.float64 else torch.float32
    lstm = torch.nn.LSTM(**case.shape.options, dtype=dtype, **options)  # type: ignore[arg-type]
    lstm.load_state_dict({n: torch.from_numpy(v) for n, v in case.state_dict.items()})
    return lstm.eval()


def run_torch(lstm: torch.nn.LSTM, x: np.ndarray, hx: tuple[np.ndarray, np.ndarray] | None = None) -> tuple:
    # type: ignore[type-arg] """Call torch with NumPy arrays."""
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "LSTM with projections is not supported with oneDNN")
        states = None if hx is None else tuple(torch.from_numpy(a) for a in hx)
        output, (h_n, c_n) = lstm(torch.from_numpy(x), states)
    return output.numpy(), (h_n.numpy(), c_n.numpy())


def squared_errors(case: Case) -> tuple[float, float, int]:
    """Return the sums of squared errors of our and torch's results, and how many numbers they are."""
    expected = oracle.lstm(case.state_dict, case.x)
    sums = []
    for result in (module(case)(case.x), run_torch(torch_module(case), case.x)):
        output, _, c_n = flat(result)
        sums.append(float(np.square(output - expected.output).sum() + np.square(c_n - expected.c_n).sum()))
    return sums[0], sums[1], expected.output.size + expected.c_n.size


def random_shapes(count: int) -> Iterator[Case]:
    """Yield seeded random cases over all of torch's options."""
    rng = np.random.default_rng(2026)
    for seed in range(count):
        hidden = int(rng.integers(1, 260))
        shape = Shape(
            int(rng.integers(1, 300)),
            hidden,
            int(rng.integers(1, 4)),
            bool(rng.integers(4)),
            bool(rng.integers(2)),
            int(rng.integers(1, hidden)) if hidden > 1 and rng.integers(4) == 0 else 0,
            int(rng.integers(1, 40)),
            int(rng.integers(1, 20)),
        )
        yield random_case(shape, seed)


def grid_shapes(steps: int | None = None) -> dict[str, Shape]:
    """Return the public grid, its sequences cut to ``steps``."""
    table = runpy.run_path(str(GRID))["PUBLIC"]
    return {
        name: Shape(i, h, layers, True, bool(bi), p, t if steps is None else min(t, steps), b)
        for name, (i, h, layers, bi, p, t, b) in table.items()
    }


def together(count: int = 200) -> tuple[float, float]:
    """Return the root mean square errors of ours and torch's over all of the random shapes."""
    ours, theirs, sizes = np.array([squared_errors(case) for case in random_shapes(count)]).sum(axis=0)
    return float(np.sqrt(ours / sizes)), float(np.sqrt(theirs / sizes))


def on_shape(shape: Shape) -> tuple[float, float]:
    """Return the root mean square errors of ours and torch's on one shape.

    Small shapes have several seeds, so that the ratio is that of thousands of numbers and no accident.
    """
    seeds = max(1, 8000 // (shape.steps * shape.rows * shape.hidden_size))
    ours, theirs, size = np.array([squared_errors(random_case(shape, s)) for s in range(seeds)]).sum(axis=0)
    return float(np.sqrt(ours / size)), float(np.sqrt(theirs / size))


def check_names(parser: argparse.ArgumentParser, chosen: list[str], known: Iterable[str]) -> None:
    """Refuse a name that would choose nothing."""
    unknown = sorted({*chosen} - {*known})
    if unknown:
        parser.error(f"there is no shape {', '.join(unknown)}: choose from {', '.join(known)}")


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int)
    parser.add_argument("shapes", nargs="*")
    arguments = parser.parse_args()
    grid = grid_shapes(arguments.steps) if GRID.exists() else {}
    check_names(parser, arguments.shapes, grid)
    worst, failed = 0.0, False

    def report(name: str, ours: float, theirs: float) -> None:
        nonlocal worst, failed
        worst = max(worst, ours / theirs)
        failed |= not ours / theirs <= LIMIT  # NaN is no success
        print(f"{name:16s} ours {ours:.3e}  torch {theirs:.3e}  ratio {ours / theirs:.3f}", flush=True)

    print(f"root mean square errors against float64; torch {torch.__version__}")
    if not arguments.shapes:
        report("200 shapes", *together())
    for name, shape in grid.items():
        if not arguments.shapes or name in arguments.shapes:
            report(name, *on_shape(shape))
    if not grid:
        print(f"no {GRID}: the public grid is left out")
    print(f"worst ratio {worst:.3f}, allowed {LIMIT}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
