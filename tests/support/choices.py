"""How calls of some sizes are given to threads, for processes whose vectors have other widths."""

from __future__ import annotations

import numpy as np

from numba_lstm.contract.architecture import Architecture
from numba_lstm.execution.planning import estimate
from numba_lstm.execution.planning.costs import COSTS
from numba_lstm.execution.planning.machine import this_machine
from numba_lstm.execution.planning.numerics import Numerics


def check_choices() -> None:
    """What is far from where two ways are equally fast; of the machine only the width of its vectors counts."""

    def choose(sizes: Architecture, steps: int, rows: int, threads: int) -> tuple[int, ...]:
        machine = this_machine()._replace(threads=threads, cpus=threads, l2_bytes=1 << 20, costs=COSTS["avx512"])
        return estimate.choose(sizes, Numerics(np.dtype(np.float32)), steps, rows, machine)[:2]

    small, large = Architecture(1, 40), Architecture(1024, 1024, 2)
    assert choose(small, 1, 1, 2) == (1, 1)
    assert choose(large, 50, 1, 2) == (1, 2)
    assert choose(Architecture(128, 256), 64, 256, 2) == (2, 1)
    assert choose(large, 50, 256, 1) == (1, 1)
    assert choose(large, 50, 3, 8) == (1, 8)
    # More members than there are panels would have nothing to do and be waited for nevertheless.
    _, crew = choose(Architecture(128, 128), 64, 1, 64)
    assert 2 <= crew <= 128 // Numerics(np.dtype(np.float32)).lanes
    # Slices would each read all weights, from the L3 cache that they share.
    assert choose(large, 50, 2, 2) == (1, 2)
