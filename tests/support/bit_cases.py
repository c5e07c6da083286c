"""Compute a handful of shapes and save every result: ``python -m support.bit_cases OUT.npz``.

``test_bits`` runs it in processes that compile for other instruction sets.
"""

from __future__ import annotations

import sys

import numpy as np

from support.cases import Shape, flat, module, random_case

CASES = {
    "one": Shape(1, 1, steps=3, rows=1),
    "tails": Shape(7, 19, steps=9, rows=5),
    "deep": Shape(33, 50, 3, steps=6, rows=13),
    "biasless": Shape(5, 24, bias=False, steps=20, rows=2),
    "bidirectional": Shape(40, 37, 2, bidirectional=True, steps=12, rows=7),
    "projected": Shape(12, 45, 2, True, True, 21, 7, 6),
    "blocks": Shape(290, 150, steps=3, rows=8),
    "long": Shape(4, 9, steps=400, rows=1),
}


def main(path: str) -> None:
    """Write the file."""
    from numba_lstm.simd import target as targets

    target = targets.host()
    results = {"isa": np.array(target.isa + ("" if target.fma else " without FMA"))}
    for name, shape in CASES.items():
        for dtype in (np.float32, np.float64):
            case = random_case(shape, 1, dtype)
            for part, array in zip(
                ("output", "h_n", "c_n"), flat(module(case)(case.x, case.hx)), strict=True
            ):
                results[f"{name}.{np.dtype(dtype)}.{part}"] = array
    np.savez(path, **results)


if __name__ == "__main__":
    main(sys.argv[1])
