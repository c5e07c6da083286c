"""What plans depend on beside sizes: one value, so that a test or an experiment says what it plans for."""
from __future__ import annotations

from typing import Any, NamedTuple

from ...host.caches import l2_bytes
from ...host.threads import get_num_threads, started_threads, usable_cpus
from ...simd.blocksizes import fetching
from .costs import Costs, costs

L3_ROOM = 32 << 20
"""Bytes that stay in an L3, whatever its size: others use it as well.  On a core with 480 MiB of it, reading 64 MiB in
turn is as fast as 4 MiB, 112 MiB takes 1.3 times as long for a byte, and 192 MiB 1.8 times."""

GATE_BUFFER_SHARE = 4
"""A core's part of the buffer of gate sums may take 1 / 4 of L2, beside the recurrent weights and the states."""


class Way(NamedTuple):
    """How a call uses threads."""

    slices: int
    """Parts of the batch, each on a thread of its own."""
    crew: int
    """Threads that share all rows; one of the two numbers is 1."""
    patience: int
    """Pauses that a crew waits for its members at most."""


class Machine(NamedTuple):
    """What calls are planned for."""

    threads: int
    """The setting of `set_num_threads`."""
    cpus: int
    """CPUs that this process may use: two threads that take turns on one core take longer than one."""
    l2_bytes: int
    """What a core has of an L2 cache."""
    l3_room: int
    """Bytes of weights that stay in the L3 that cores share."""
    panels_in_turn: tuple[int, int]
    """Bytes of weights read in turn between which one row takes one panel after the other, see ``blocksizes``."""
    costs: Costs
    gate_buffer_bytes: int
    """Most bytes of a core's gate sums, if rows are more than the next number."""
    input_rows: int = 48
    """Rows that the input part should have, so that a panel of weights read from L3 is used by eight tiles."""
    block_rows: int = 48
    """Least rows of a block of a pool, if there are as many: states, sums and input of the block stay in cache."""
    launch_ns: float = 5e7
    """Longest launch, roughly; signals such as Ctrl-C get in between two launches."""
    short_flop: float = 1e6
    """Steps of a pool below this, some ten microseconds, keep Python's lock: another thread would keep it for
    longer."""
    way: Way | None = None
    """The way of every call; None: the one that takes the least time by ``estimate``."""
    as_floats: bool | None = None
    """Whether weights of 16 bits are made float32 before a call; None: where its loads would take longer to."""
    most_steps: int | None = None
    """Most steps of a launch; None: as many as take ``launch_ns``."""

    def woken(self, needed: int) -> int:
        """Return how many of Numba's threads a launch wakes that needs some of them."""
        return min(max(needed, min(self.threads, self.cpus)), started_threads())


ASSUMED: dict[str, Any] = {}
"""Fields of `Machine` that are taken to be so from now on, whatever the machine is, by tests and experiments.  Results
have the same bits; plans that are kept stay as they are."""


def this_machine() -> Machine:
    """Return what this process runs on now, and what is assumed of it."""
    size = ASSUMED.get("l2_bytes", l2_bytes())
    machine = Machine(
        threads=get_num_threads(),
        cpus=usable_cpus(),
        l2_bytes=size,
        l3_room=L3_ROOM,
        panels_in_turn=fetching().in_turn,
        costs=costs(),
        gate_buffer_bytes=size // GATE_BUFFER_SHARE,
    )
    return machine._replace(**ASSUMED) if ASSUMED else machine
