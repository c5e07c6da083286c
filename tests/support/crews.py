"""Crews of any size, whose results are compared with those of one thread."""

from __future__ import annotations

import numpy as np
import pytest

from numba_lstm.execution.launch_lock import Team
from numba_lstm.execution.planning.machine import ASSUMED, Way
from support.cases import Case, Shape, assert_same_bits, module, random_case

SHAPES = {
    "one row": Shape(13, 100, 2, steps=9, rows=1),
    "one unit": Shape(3, 1, steps=5, rows=1),
    "two layers, one step": Shape(40, 64, 2, steps=1, rows=1),
    "some rows": Shape(24, 51, 3, steps=14, rows=7),
    "bidirectional": Shape(20, 52, 2, bidirectional=True, steps=30, rows=1),
    "bidirectional, some rows": Shape(20, 45, 2, bidirectional=True, steps=8, rows=9),
    "projected": Shape(12, 300, 2, proj_size=130, steps=6, rows=2),
    "projected, bidirectional": Shape(9, 40, 3, True, True, 21, 17, 3),
    "many steps": Shape(4, 33, 2, steps=700, rows=1),
}

SIZES = [2, 3, 4, 7]


def use_crew(patch: pytest.MonkeyPatch, size: int, patience: int = 20_000) -> None:
    """Have every plan from now on ask for a crew of this size, and launches not leave out who came late before."""
    patch.setitem(ASSUMED, "way", Way(1, size, patience))
    patch.setattr(Team, "fewer", 0)
    patch.setattr(Team, "note", lambda late, numbers: None)


def check_crew(case: Case, size: int) -> None:
    """Compare a crew with one thread."""
    with pytest.MonkeyPatch.context() as patch:
        use_crew(patch, 1)
        expected = module(case)(case.x, case.hx)
        expected_from_zero = module(case)(case.x)
        use_crew(patch, size)
        lstm = module(case)
        for _ in range(3):  # a crew may have another size each time
            assert_same_bits(lstm(case.x, case.hx), expected)
            assert_same_bits(lstm(case.x), expected_from_zero)


def check_crews() -> None:
    """Do so with crews of all sizes."""
    for size in SIZES:
        for shape in SHAPES.values():
            check_crew(random_case(shape, 3, np.float32), size)
