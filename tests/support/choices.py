"""How calls of some sizes are given to threads, for processes whose vectors have other widths."""

from __future__ import annotations

import numpy as np

from numba_lstm.contract.architecture import Architecture
from numba_lstm.execution.gradients.plan import plan_backward
from numba_lstm.execution.planning import estimate
from numba_lstm.execution.planning.costs import COSTS
from numba_lstm.execution.planning.machine import this_machine
from numba_lstm.execution.planning.numerics import Numerics
from numba_lstm.execution.planning.schedule import Batch
from numba_lstm.kernels.frame import FRAME_SIZE, PLACES


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
    for sizes, rows in ((Architecture(40, 256), 32), (Architecture(650, 650), 20), (Architecture(128, 128), 1)):
        crews = [backward_crew(sizes, rows, threads) for threads in (1, 2, 4, 8, 16, 64)]
        # Threads that there is nothing to do for take no work away from the others.
        assert crews == sorted(crews), crews
        assert crews[:2] == [1, 2]


def backward_crew(sizes: Architecture, rows: int, threads: int) -> int:
    """Return how many threads share the backward pass of a layer over some rows."""
    machine = this_machine()._replace(threads=threads, cpus=threads, l2_bytes=1 << 20)
    frame, batch = np.zeros(FRAME_SIZE, np.int64), Batch(64, rows)
    planned = plan_backward(sizes, sizes.input_size, False, False, frame, batch, np.dtype(np.float32), machine)
    return int(planned.frame[PLACES.crew])
