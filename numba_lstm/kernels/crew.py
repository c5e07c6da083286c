"""Crews: threads that work on the same rows, each on its own hidden units, and wait for each other after every step.

A launch asks for a number of threads, but nobody promises that they run: a pool may do the work of one after that of
another, and cores may be fewer.  So threads sign in.  The first one waits for the others as long as it pays, then
closes the crew: who is in has a place in it, who comes later finds it closed and sleeps until it is done: at the end of
the launch it would keep a core busy with waiting.  A crew of one does all of the work.

From then on each member is a running thread, but another process may take its core away: for some milliseconds, in
which all others wait.  Who has waited for a large part of the launch says for whom, in a word that all see: after the
next meeting the crew goes on without that member.  The word names the meeting at which it was set, by a thread that had
not come to the next one: so all see it there, and all or nobody regroup at a meeting.  That happens once in a launch.
Every member's numbers are in memory that all see, and those that a thread computes do not depend on who computed
others: the bits stay the same.

CPUs such as those of Arm may show one thread's writes to another in another order.  What holds there, too:

Meetings
    A member adds to the counter after all that it has read and written, and reads the counter before all that follows.
    The one is a release, the other an acquire, and additions to one word are one sequence: who reads a number has all
    additions up to it before, from whichever member, and with them what these members did before.  So each sees the
    states that the others have written, and writes over none that another still reads.
Signing in
    The first member sets SIZE by an exchange, a release, and the others act on what an acquire of SIZE gives.
The verdict
    Who sets it has come to the meeting that it names, and adds to the counter of the next one after that.  So whoever
    has come through the next one sees it.  Who sees it before that ignores it, because of the meeting's number.
Falling asleep
    A thread says that it sleeps and then reads the word; another changes the word and then reads whether somebody
    sleeps.  That both read what was before is all that acquire and release leave open.  Then nobody is woken, and who
    sleeps looks again by itself, after a millisecond at most.

Whatever is not named here is touched by one thread only, or read after the launch, when Numba has joined all of them.
`tests/aarch64_code.py` holds that each of these operations is an ordered one in the machine code of AArch64.
"""
from __future__ import annotations

from collections import namedtuple

import numpy as np

from ..simd.atomics import (
    clock,
    core_clock,
    exchange,
    fetch_add,
    let_others_run,
    pause,
    read,
    set_first,
    sleep_while,
    wake,
    write,
)
from ..simd.jit import inlined, inner
from ..simd.memory import CACHE_LINE
from ..simd.vectors import at

Crew = namedtuple("Crew", "index size words line half whole")
"""A member's place, of how many; the words that the crew shares, and the line of this member; 0, or 1 and 2 for the
halves of a crew that take one of two directions each; 1 if all are of it that have signed in, and one may leave it."""

LINE = CACHE_LINE // 8
ARRIVED, SIZE, DONE, VERDICT, COUNTER, MEMBERS = 0, LINE, LINE + 2, 2 * LINE, 2 * LINE + 1, 5 * LINE
CLOSED_AT, TAKEN = LINE + 4, LINE + 5
"""Words that a crew shares: who has signed in; how many the crew has, and whether it is done; who is to leave it, and
from when on; three counters of arrivals at meetings, of all and of each half, a line apart; then a line for each
member.  The verdict lies beside the counter that is looked at before it.  Behind SIZE, DONE and each counter there is a
word for how many threads sleep until that changes.  Then, in nanoseconds, when the crew was closed, and how long it
took from then on."""

COUNTED, WAITED, BEGUN, USUAL, OWNED = 0, 3, 4, 5, 6
"""Words of a member's line: for each counter how many arrivals it takes until everybody has come to the last meeting;
nanoseconds that this member has waited for others, and when it has signed in; per cent of its time that it waits where
all have cores, since their parts are unequal.  Of a slice's line: for how long its thread had a core."""

CLOSED = 1 << 32
"""What ARRIVED counts from, once nobody is let in any more."""

PAUSES = 1 << 10
"""Looks at a word before the core is offered to other threads; some ten microseconds."""

YIELDING_NS = 200_000
"""How long the core is offered again and again, before this thread sleeps.  An idle core takes over the thread that is
waited for, if that one waits for a busy core: that thread then goes on at once, and not after the 3 ms for which a
system gives a core to one process.  Shorter waits are those of unequal parts."""

LONG_NS, LONG_SHARE = 500_000, 25
"""Waiting that is too long: so many nanoseconds, and so many per cent of all time beyond what is usual."""

PLACES = 1 << 16
"""The verdict is the arrivals at a meeting, times this, plus one and the place of who is to leave."""


def crew_words(threads: int) -> int:
    """Return the words that threads of a launch share, a crew or those of slices, zero before it."""
    return MEMBERS + threads * LINE


@inlined
def alone(words):
    """Return a crew of one."""
    return Crew(np.int64(0), np.int64(1), words, words, np.int64(0), np.int64(0))


@inner
def sign_in(words, wanted, patience):
    """Return this thread's place in a crew, of size 0 if it is closed.  ``patience`` is in pauses."""
    ticket = fetch_add(at(words, ARRIVED), np.int64(1))
    if ticket >= CLOSED:
        return Crew(np.int64(0), np.int64(0), words, words, np.int64(0), np.int64(0))
    line = at(words, MEMBERS + ticket * LINE)
    line[BEGUN] = clock()
    if ticket == 0:
        for _ in range(patience):
            if read(at(words, ARRIVED)) >= wanted:
                break
            pause()
        exchange(at(words, SIZE), exchange(at(words, ARRIVED), np.int64(CLOSED)))
        _announce(at(words, SIZE))
        write(at(words, CLOSED_AT), clock())
    else:
        wait_until(at(words, SIZE), np.int64(1))
    size = read(at(words, SIZE))
    return Crew(ticket, size, words, line, np.int64(0), np.int64(size > 1))


@inlined
def expect(crew, parts):
    """Tell a crew in how many parts the work of a step is: waiting for those that have one more is usual."""
    if crew.size > 1:
        most, least = (parts + crew.size - 1) // crew.size, parts // crew.size
        crew.line[USUAL] = max(crew.line[USUAL], 100 * (most - least) // max(most, 1))


@inner
def _soon(word, least):
    """Return whether a word reaches a number before it pays to sleep."""
    for _ in range(PAUSES):
        if read(word) >= least:
            return True
        pause()
    begun = clock()
    while clock() - begun < YIELDING_NS:
        if read(word) >= least:
            return True
        let_others_run()
    return read(word) >= least


@inner
def _sleep_until(word, least):
    """Return when a word has reached a number, asleep until ``_announce`` is called."""
    fetch_add(at(word, 1), np.int64(1))
    number = read(word)
    while number < least:
        sleep_while(word, number)
        number = read(word)
    fetch_add(at(word, 1), np.int64(-1))


@inlined
def _announce(word):
    """Wake those who sleep until a word changes, which it just did.  One that is missed here wakes by itself."""
    if read(at(word, 1)) > 0:
        wake(word)


@inner
def wait_until(word, least):
    """Return when a word has reached a number, which another thread that runs will give it."""
    if not _soon(word, least):
        _sleep_until(word, least)


@inlined
def meet(crew):
    """Return when all members have come here: each sees what the others have written before."""
    if crew.size > 1:
        counter, counted = at(crew.words, COUNTER + crew.half * LINE), at(crew.line, COUNTED + crew.half)
        write(counted, read(counted) + crew.size)
        fetch_add(counter, np.int64(1))
        _announce(counter)
        if read(counter) < read(counted):
            _wait(crew, counter, read(counted))


@inner
def _wait(crew, counter, least):
    """Return when a counter has reached a number; if that takes too long, ask that a member leave."""
    if _soon(counter, least):
        return
    late, begun = _latest(crew, least), clock()
    _sleep_until(counter, least)
    line, now = crew.line, clock()
    line[WAITED] += YIELDING_NS + now - begun
    if late >= 0 and _too_long(line[WAITED], now - line[BEGUN], line[USUAL]):
        set_first(at(crew.words, VERDICT), line[COUNTED] * PLACES + late + 1)


@inlined
def _latest(crew, least):
    """Return the place of a member that has not come to the meeting that takes so many arrivals, -1 for none."""
    step, first = (1, 0) if crew.half == 0 else (2, crew.half - 1)
    for k in range(crew.size):
        place = first + k * step
        if read(at(crew.words, MEMBERS + place * LINE + COUNTED + crew.half)) < least:
            return np.int64(place)
    return np.int64(-1)


@inlined
def _too_long(waited, taken, usual):
    """Return whether so many nanoseconds of waiting are too many, of all that were taken."""
    return waited > LONG_NS and 100 * waited > (LONG_SHARE + usual) * taken


@inlined
def regroup(crew):
    """Return the crew that goes on after a meeting: the same, or a whole one without the member that is to leave.

    For that one it has size 0.
    """
    if crew.whole == 0:
        return crew
    verdict = read(at(crew.words, VERDICT))
    late = verdict % PLACES - 1
    if verdict == 0 or verdict // PLACES >= read(at(crew.line, COUNTED)):
        return crew
    size = crew.size - 1 if crew.index != late else np.int64(0)
    return Crew(crew.index - np.int64(crew.index > late), size, crew.words, crew.line, crew.half, np.int64(0))


@inlined
def direction_crew(crew, direction):
    """Return the half of a crew of even size that takes one of two directions."""
    return Crew(crew.index // 2, crew.size // 2, crew.words, crew.line, np.int64(1 + direction), np.int64(0))


@inlined
def share(total, crew):
    """Return the first, and the one behind the last, of a member's part of ``total`` things."""
    return crew.index * total // crew.size, (crew.index + 1) * total // crew.size


@inlined
def sign_out(words, crew):
    """Say that a crew is done, or wait for that if this thread is not of it any more, or never was."""
    if crew.size > 0:
        if crew.index == 0:
            write(at(words, TAKEN), clock() - read(at(words, CLOSED_AT)))
        exchange(at(words, DONE), np.int64(1))
        _announce(at(words, DONE))
    else:
        wait_until(at(words, DONE), np.int64(1))


@inlined
def begin_slice(words):
    """Note that a thread begins with a slice; return for how long it has had a core before, see ``core_clock``."""
    fetch_add(at(words, ARRIVED), np.int64(1))
    return core_clock()


@inlined
def finish_slice(words, place, owned, slices):
    """Note for how long a thread has had a core for its slice, and wait for those with others, if all have begun.

    Asleep if it takes long: an idle core takes over a thread that waits for a busy one.
    """
    counter = at(words, COUNTER)
    at(words, MEMBERS + place * LINE)[OWNED] = core_clock() - owned
    fetch_add(counter, np.int64(1))
    _announce(counter)
    if read(at(words, ARRIVED)) == slices:
        wait_until(counter, slices)


@inlined
def was_late(words, wanted, slices, taken):
    """Return whether threads kept others waiting in a launch that has taken so many nanoseconds.

    Those of a crew did not come, or later had no core; one with a slice had none, before it or within.
    """
    if wanted > 1:
        absent = read(at(words, SIZE)) < wanted and taken - read(at(words, TAKEN)) > LONG_NS
        return absent or read(at(words, VERDICT)) != 0
    longest = np.int64(0)
    for place in range(slices):
        longest = max(longest, at(words, MEMBERS + place * LINE)[OWNED])
    # Where there is no clock of a thread's own, it has always had a core for no time.
    return longest > 0 and _too_long(taken - longest, taken, np.int64(0))
