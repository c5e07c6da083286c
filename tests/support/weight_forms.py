"""Weights in 16 and 8 bits: their numbers by other arithmetic than the package's, and networks that keep them so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from support.cases import Case, Shape, module, parameter_shapes

SIXTEEN_BITS = {"float16": (11, -24), "bfloat16": (8, -133)}
"""Bits of a number, and the exponent of the smallest."""

FORMS = (*SIXTEEN_BITS, "int8")

MOST_TERMS = (2**31 - 1) // 127**2
"""Of a sum that cannot overflow."""


def rounded(array: np.ndarray, form: str) -> np.ndarray:
    """Return the nearest numbers of a 16-bit form, to even, as float32."""
    bits, smallest = SIXTEEN_BITS[form]
    exact = array.astype(np.float64)
    unit = np.exp2(np.maximum(np.frexp(exact)[1] - bits, smallest))
    return (np.rint(exact / unit) * unit).astype(np.float32)


def rounded_case(case: Case, form: str) -> Case:
    """Return the case in float32 that has the same bits as a case in a 16-bit form."""
    rounds = {n: rounded(v, form) if n.startswith("weight_") else v for n, v in case.state_dict.items()}
    return case._replace(state_dict=rounds)


def random_kept(shape: Shape, seed: int) -> dict[str, np.ndarray]:
    """Return random int8 weights, with scales of which gate sums are about 1, and random biases."""
    rng = np.random.default_rng([8, seed])
    kept: dict[str, np.ndarray] = {}
    for name, sizes in parameter_shapes(shape).items():
        if name.startswith("weight_"):
            kept[name] = rng.integers(-127, 128, sizes).astype(np.int8)
            kept[name + "_scale"] = (rng.uniform(0.2, 1.8, sizes[0]) / (80 * np.sqrt(sizes[1]))).astype(np.float32)
        else:
            kept[name] = rng.uniform(-1, 1, sizes).astype(np.float32)
    return kept


def dequantized(kept: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return in float64 what int8 weights stand for."""
    return {
        name: array * kept[name + "_scale"][:, None].astype(np.float64) if array.dtype == np.int8 else array
        for name, array in kept.items()
        if not name.endswith("_scale")
    }


def network(shape: Shape, kept: Mapping[str, np.ndarray], form: str = "int8") -> Any:
    """Return the package's network of what is kept."""
    from numba_lstm.contract.architecture import Architecture
    from numba_lstm.execution.network import Network

    return Network(Architecture(**shape.options), kept, np.dtype(np.float32), form=form)


@contextmanager
def as_floats(choice: bool) -> Iterator[None]:
    """Have all weights of 16 bits made float32 before calls, or none of them, whatever is faster here."""
    from numba_lstm.execution import packing
    from numba_lstm.execution.planning.machine import ASSUMED

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ASSUMED, "as_floats", choice)
        patch.setattr(packing, "WIDENED_BYTES", 0)
        yield


def small_module(case: Case, form: str | None, **options: Any) -> Any:
    """Return the library's module with a case's weights kept in a form, in evaluation mode."""
    lstm = module(case, **options)
    return lstm if form is None else lstm.quantize(form)
