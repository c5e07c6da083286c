"""Compute a handful of shapes and save every result: ``python -m support.bit_cases OUT.npz``.

``test_bits`` runs it in processes that compile for other instruction sets.  In each of them 16-bit weights give the
bits of float32 weights that were rounded.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from support.cases import Case, Shape, assert_same_bits, flat, module, random_case
from support.weight_forms import FORMS, SIXTEEN_BITS, rounded_case, small_module

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


NUMBERS = ("float32", "float64", *FORMS)
"""What weights are kept in."""


def computed(name: str, numbers: str) -> tuple[Case, Any]:
    """Return a case, and what a module with its weights gives."""
    form = numbers if numbers in FORMS else None
    case = random_case(CASES[name], 1, np.float32 if form else np.dtype(numbers))
    return case, small_module(case, form)(case.x, case.hx)


def main(path: str) -> None:
    """Write the file."""
    from numba_lstm.simd import target as targets

    target = targets.host()
    results = {"isa": np.array(target.isa + ("" if target.fma else " without FMA"))}
    for name in CASES:
        for numbers in NUMBERS:
            case, result = computed(name, numbers)
            if numbers in SIXTEEN_BITS:
                assert_same_bits(result, module(rounded_case(case, numbers))(case.x, case.hx), f"{name} {numbers}")
            for part, array in zip(("output", "h_n", "c_n"), flat(result), strict=True):
                results[f"{name}.{numbers}.{part}"] = array
    np.savez(path, **results)


if __name__ == "__main__":
    main(sys.argv[1])
