"""How many cores other processes have left idle."""
from __future__ import annotations

import os
import re
from itertools import takewhile

_STAT = "/proc/stat"
_CORE = re.compile(r"cpu(\d+) (.*)")
_OF_CORES = re.compile("cpu").match
_IDLE = slice(3, 5)
"""Places among the numbers of a core: idle, and waiting for a disk."""

_TIMES = slice(0, 8)
"""Behind them is the time of guests, which is counted before as well."""

_LEAST_TICKS = 3
"""Steps of the system's clock, of 10 ms as a rule, between two looks that tell something."""


class IdleCores:
    """Looks at the idle time of the cores that this process may run on, from one moment to the next."""

    def __init__(self) -> None:
        self._before: dict[int, tuple[int, int]] = {}

    def since_last_look(self) -> float | None:
        """Return how many of the cores were idle on average; None if the system does not tell, or too little time."""
        before, self._before = self._before, _times()
        shared = before.keys() & self._before.keys()
        idle, ticks = (sum(self._before[core][n] - before[core][n] for core in shared) for n in range(2))
        if not shared or ticks < _LEAST_TICKS * len(shared):
            return None
        return len(shared) * idle / ticks


def _times() -> dict[int, tuple[int, int]]:
    """Return for each core its idle time and all time, in ticks; nothing if the system does not tell."""
    if not hasattr(os, "sched_getaffinity"):
        return {}
    try:
        with open(_STAT, encoding="ascii") as file:
            # Cores come first; what follows is long where there are many.
            lines = [match for line in takewhile(_OF_CORES, file) if (match := _CORE.match(line))]
        allowed = os.sched_getaffinity(0)
        numbers = {int(line[1]): [int(number) for number in line[2].split()] for line in lines}
    except (OSError, ValueError):
        return {}
    return {core: (sum(times[_IDLE]), sum(times[_TIMES])) for core, times in numbers.items() if core in allowed}
