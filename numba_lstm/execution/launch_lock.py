"""Numba's threads: who may launch on them, and what becomes of locks when a process forks."""
from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any

from numba.core.compiler_lock import global_compiler_lock
from numba.np.ufunc import parallel as threading_layer

from ..host.forks import wait_for
from ..host.idle_cores import IdleCores
from ..host.threads import config
from ..kernels.frame import PLACES, TURN

FIRST_PAUSE, LONGEST_PAUSE, SOON = 0.005, 0.15, 0.1
"""Seconds for which launches go with fewer threads after one in which a thread had no core for a while: twice as long
each time, at most the second; until the third has gone by without."""

LOOK_AGAIN, IDLE_ENOUGH, TRUSTED = 0.05, 0.3, 2.0
"""Then only as many threads come back as cores are seen to be idle, up to this part of a core; seconds until the next
look.  So trying costs nothing, and full speed is back 0.1 s after a neighbour has left.  Where the system does not
tell, and in any case after so many seconds, a launch tells: what is busy may be threads of this process."""

compile_lock = threading.RLock()
"""Held by the thread that compiles kernels, or makes a copy of weights that others would make as well."""

# In a child nobody would finish what another thread compiles.
wait_for(compile_lock)
wait_for(global_compiler_lock, global_compiler_lock.is_locked)


class Team:
    """Numba's threads, which one launch has at a time.

    With workqueue, two Python threads that launch together abort the process; with OpenMP, two spinning teams stall
    each other.  A child that was forked after a launch has no such threads, and OpenMP kills it when it launches.
    """

    lost = False
    fewer = 0
    """Threads that launches leave out for a while, because another process has taken their cores."""
    resumes, pause = 0.0, 0.0
    """When that ends, by the monotonic clock, and how long it was."""
    since = 0.0
    """When the first of them was left out."""
    cores = IdleCores()
    locks: tuple[threading.Lock, ...]
    """The first one's holder launches.  Each of the others is held by a thread that works by itself for want of it, so
    that the number of such threads is known; there are enough of them for the question that ``_wise`` asks."""

    @classmethod
    def new_locks(cls) -> None:
        """Nobody holds one."""
        cls.locks = tuple(threading.Lock() for _ in range(1 + max(1, config.NUMBA_NUM_THREADS // 2)))

    @classmethod
    def after_fork(cls) -> None:
        """In a child: locks may be held by threads that are not there."""
        cls.new_locks()
        cls.lost = cls.lost or bool(threading_layer._is_initialized)

    @classmethod
    def note(cls, late: bool, numbers: Any) -> None:
        """Take note of a launch: after a late one, have the next ones take one thread less for a while."""
        now, threads = time.monotonic(), numbers[PLACES.crew] * numbers[PLACES.slices]
        if late and (numbers[PLACES.crew] > 1 or threads == 2):
            if now >= cls.resumes:
                cls.pause = min(2 * cls.pause, LONGEST_PAUSE) if cls.pause else FIRST_PAUSE
                cls.cores.since_last_look()
            if not cls.fewer:
                cls.since = now
            cls.fewer += 1
            cls.resumes = now + cls.pause
        elif cls.pause and now > cls.resumes + SOON:
            cls.pause = 0.0

    @classmethod
    def reduced(cls, numbers: Any) -> Any:
        """Return the numbers of a launch that leaves threads out for a while; None if it should go on one."""
        now = time.monotonic()
        if now >= cls.resumes:
            idle = cls.cores.since_last_look()
            if idle is None or now > cls.since + TRUSTED:
                cls.fewer = 0
            else:
                cls.fewer = max(0, cls.fewer - int(idle + IDLE_ENOUGH))
            cls.resumes = now + LOOK_AGAIN if cls.fewer else cls.resumes
        crew, slices, left = numbers[PLACES.crew], numbers[PLACES.slices], numbers[PLACES.woken] - cls.fewer
        if slices > 2 or left >= crew * slices:
            # A slice on a busy core takes twice as long, and one thread with all slices as many times as there are.
            return numbers
        if left < 2:
            return None
        part = numbers.copy()
        part[PLACES.crew] = left
        return part


Team.new_locks()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=Team.after_fork)


def _wise(numbers: Any, taken: list[bool]) -> bool:
    """Return whether a launch should take the team, beside other calls that run."""
    return not taken[0] and 2 * (1 + sum(taken)) <= numbers[PLACES.woken]


def with_team(parallel: Callable[..., int], serial: Callable[..., int | None]) -> Callable[..., int | None]:
    """Return a function that launches in parallel, or does the same on this thread if that is not possible or not wise.

    It is not wise where other Python threads keep the cores busy: members of a crew that wait for one without a core
    would take the time of those that could use it.  So a call takes the team as long as calls that each have a thread
    would leave half of the team's cores idle.  Nor is it wise where other processes keep cores busy: after a launch in
    which a thread had none for a while, for which ``parallel`` returns 1, the next ones go with fewer threads, until it
    is time to try again.
    """

    def launch_or_run(numbers: Any, *arrays: Any) -> int | None:
        locks = Team.locks
        taken = [lock.locked() for lock in locks]
        part = numbers
        if Team.lost or (True in taken and not _wise(numbers, taken)):
            part = None
        elif Team.fewer:
            part = Team.reduced(numbers)
        # All locks are taken by ``with`` itself: released whatever Ctrl-C interrupts.
        if part is not None:
            with locks[0]:
                late = parallel(part, *arrays)
            if late > 0 or Team.pause:
                Team.note(late > 0, part)
            if part is not numbers:
                numbers[TURN] = part[TURN]
            return late
        if all(taken[1:]):
            return serial(numbers, *arrays)
        with locks[taken.index(False, 1)]:
            return serial(numbers, *arrays)

    return launch_or_run
