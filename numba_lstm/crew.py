"""Crews: threads that work on the same rows, each on its own hidden units, and wait for each other after every step.

A launch asks for a number of threads, but nobody promises that they run: a pool may do the work of one after that of
another, and cores may be fewer.  So threads sign in.  The first one waits for the others as long as it pays, then
closes the crew: who is in has a place in it, who comes later finds it closed and leaves.  A crew of one does all of
the work.  From then on each member is a running thread; one that is preempted is waited for, and gets the core offered.
"""
from __future__ import annotations

from collections import namedtuple

import numpy as np

from ._jit import inlined, inner
from .atomics import exchange, fetch_add, let_others_run, pause, read, write
from .memory import CACHE_LINE
from .simd import at

Crew = namedtuple("Crew", "index size counter passed")
"""A member's place, of how many; the word that counts arrivals at meetings, and this member's own word that says how
many it takes until everybody has come to the last one."""

LINE = CACHE_LINE // 8
ARRIVED, SIZE, COUNTER, MEMBERS = 0, LINE, 2 * LINE, 5 * LINE
"""Words of the memory that a crew shares: who has signed in; how many the crew has; three counters, for all and for
each direction; then a line for each member."""

CLOSED = 1 << 32
"""What ARRIVED counts from, once nobody is let in any more."""

PAUSES = 1 << 10
"""Looks at a word before the core is offered to other threads; some ten microseconds."""


def crew_words(threads: int) -> int:
    """Return the words that a crew shares, zero before a launch."""
    return MEMBERS + threads * LINE


@inlined
def alone(words):
    """Return a crew of one."""
    return Crew(np.int64(0), np.int64(1), words, words)


@inner
def sign_in(words, wanted, patience):
    """Return this thread's place in a crew, of size 0 if it is closed.  ``patience`` is in pauses."""
    ticket = fetch_add(at(words, ARRIVED), np.int64(1))
    if ticket >= CLOSED:
        return Crew(np.int64(0), np.int64(0), words, words)
    if ticket == 0:
        for _ in range(patience):
            if read(at(words, ARRIVED)) >= wanted:
                break
            pause()
        write(at(words, SIZE), exchange(at(words, ARRIVED), np.int64(CLOSED)))
    else:
        _until(at(words, SIZE), np.int64(1))
    return Crew(ticket, read(at(words, SIZE)), at(words, COUNTER), at(words, MEMBERS + ticket * LINE))


@inner
def _until(word, least):
    """Return when a word has reached a number."""
    looks = 0
    while read(word) < least:
        pause()
        looks += 1
        if looks % PAUSES == 0:
            let_others_run()


@inlined
def meet(crew):
    """Return when all members have come here: each sees what the others have written before."""
    if crew.size > 1:
        crew.passed[0] += crew.size
        fetch_add(crew.counter, np.int64(1))
        _until(crew.counter, crew.passed[0])


@inlined
def direction_crew(crew, direction):
    """Return the half of a crew of even size that takes one of two directions."""
    counter = at(crew.counter, (1 + direction) * LINE)
    return Crew(crew.index // 2, crew.size // 2, counter, at(crew.passed, 1))


@inlined
def share(total, crew):
    """Return the first, and the one behind the last, of a member's part of ``total`` things."""
    return crew.index * total // crew.size, (crew.index + 1) * total // crew.size
