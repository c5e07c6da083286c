"""Compute a handful of shapes and save every result: ``python -m support.bit_cases OUT.npz``.

``test_bits`` runs it in processes that compile for other instruction sets.  In each of them 16-bit weights give the
bits of float32 weights that were rounded.
"""

from __future__ import annotations

import hashlib
import sys
from typing import Any

import numpy as np

from support.cases import Case, Shape, assert_same_bits, flat, module, random_case
from support.weight_forms import FORMS, SIXTEEN_BITS, as_floats, rounded_case, small_module

CASES = {
    "one": Shape(1, 1, steps=3, rows=1),
    "tails": Shape(7, 19, steps=9, rows=5),
    "deep": Shape(33, 50, 3, steps=6, rows=13),
    "biasless": Shape(5, 24, bias=False, steps=20, rows=2),
    "bidirectional": Shape(40, 37, 2, bidirectional=True, steps=12, rows=7),
    "projected": Shape(12, 45, 2, True, True, 21, 7, 6),
    "blocks": Shape(290, 150, steps=3, rows=8),
    "long": Shape(4, 9, steps=400, rows=1),
    "extreme": Shape(131, 66, steps=2, rows=9),
}

NUMBERS = ("float32", "float64", *FORMS)
"""What weights are kept in."""

SIZES = range(1, 131)


def case_of(name: str, dtype: Any = np.float32) -> Case:
    """Return a random case, or one whose numbers are all the largest of their int8 rows."""
    case = random_case(CASES[name], 1, dtype)
    if name != "extreme":
        return case
    signs = np.where(np.arange(case.shape.rows) % 2, 1, -1).astype(dtype)[:, None]
    weights = {n: np.full_like(v, -1 / 128) if n.startswith("weight_") else v for n, v in case.state_dict.items()}
    return case._replace(state_dict=weights, x=np.ones_like(case.x) * signs, h_0=np.ones_like(case.h_0) * signs)


def computed(case: Case, numbers: str) -> Any:
    """Return what a module with a case's weights gives."""
    if numbers not in FORMS:
        return module(case)(case.x, case.hx)
    with as_floats(False):
        result = small_module(case, numbers)(case.x, case.hx)
    if numbers in SIXTEEN_BITS:
        expected = module(rounded_case(case, numbers))(case.x, case.hx)
        assert_same_bits(result, expected, f"{case.shape} {numbers}")
    return result


def digests(numbers: str) -> list[str]:
    """Return a digest for each size, that of the input and of the hidden state in turns."""
    made = []
    for size in SIZES:
        for shape in (Shape(size, 1 + size % 37, rows=1 + size % 9), Shape(1 + size % 70, size, rows=1 + size % 20)):
            case = random_case(shape, size, np.float64 if numbers == "float64" else np.float32)
            arrays = flat(computed(case, numbers))
            made.append(hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()[:16])
    return made


def main(path: str) -> None:
    """Write the file."""
    from numba_lstm.simd import target as targets

    target = targets.host()
    results = {"isa": np.array(target.isa + ("" if target.fma else " without FMA")), "dot": np.array(target.dot)}
    for numbers in NUMBERS:
        results[f"sizes.{numbers}"] = np.array(digests(numbers))
        for name in CASES:
            case = case_of(name, np.float64 if numbers == "float64" else np.float32)
            for part, array in zip(("output", "h_n", "c_n"), flat(computed(case, numbers)), strict=True):
                results[f"{name}.{numbers}.{part}"] = array
    np.savez(path, **results)


if __name__ == "__main__":
    main(sys.argv[1])
