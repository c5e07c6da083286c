"""Crews: threads that share the rows of a call give the bits of one thread, however many of them come."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numba
import numpy as np
import pytest
from support.cases import Shape, assert_same_bits, module, random_case
from support.choices import check_choices
from support.crews import SHAPES, SIZES, check_crew, use_crew
from support.places import TESTS
from support.processes import HANG, HOST, half_width, run

import numba_lstm
from numba_lstm.contract.architecture import Architecture
from numba_lstm.execution import launch_lock
from numba_lstm.execution.network import Network
from numba_lstm.execution.planning.machine import ASSUMED, Way
from numba_lstm.execution.planning.schedule import Batch
from numba_lstm.host import idle_cores
from numba_lstm.kernels.crew import crew_words, meet, regroup, share, sign_in, sign_out
from numba_lstm.kernels.frame import FRAME_SIZE, PLACES
from numba_lstm.simd.atomics import clock, words
from numba_lstm.simd.vectors import pointer


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=("float32", "float64"))
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_same_bits(shape: Shape, dtype: type, size: int) -> None:
    check_crew(random_case(shape, 3, dtype), size)


def test_same_bits_with_as_many_threads() -> None:
    """The tests have as many threads as there are CPUs, and larger crews are not complete there."""
    run("from support.crews import check_crews\ncheck_crews()", NUMBA_NUM_THREADS=str(max(SIZES)))


@pytest.mark.parametrize("bidirectional", [False, True])
def test_same_bits_packed(bidirectional: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = Shape(11, 37, 3, bidirectional=bidirectional, steps=23, rows=6)
    case = random_case(shape, 5, np.float32)
    lengths = [3, 23, 1, 17, 17, 8]
    use_crew(monkeypatch, 1)
    expected = module(case)(case.x, case.hx, lengths=lengths)
    use_crew(monkeypatch, 2)
    assert_same_bits(module(case)(case.x, case.hx, lengths=lengths), expected)


@pytest.mark.parametrize("patience", [0, 1, 20_000])
def test_threads_that_come_late_leave(patience: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """More places than threads: some find the crew closed, after any time."""
    case = random_case(SHAPES["bidirectional"], 7, np.float32)
    use_crew(monkeypatch, 1)
    expected = module(case)(case.x, case.hx)
    use_crew(monkeypatch, 9, patience)
    lstm = module(case)
    for _ in range(200):
        assert_same_bits(lstm(case.x, case.hx), expected)


@pytest.mark.parametrize("way", [Way(1, 1, 0), Way(1, 2, 20_000), Way(2, 1, 0), Way(3, 1, 0)])
@pytest.mark.parametrize("steps_per_launch", [1, 4, 5])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_launches_that_end_between_steps(
    bidirectional: bool, steps_per_launch: int, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    """States go from launch to launch in the workspace, at even and odd steps."""
    case = random_case(Shape(9, 40, 2, bidirectional=bidirectional, steps=23, rows=6), 9, np.float32)
    use_crew(monkeypatch, 1)
    expected = module(case)(case.x, case.hx)
    monkeypatch.setitem(ASSUMED, "way", way)
    lstm = module(case)
    monkeypatch.setitem(ASSUMED, "most_steps", steps_per_launch)
    assert_same_bits(lstm(case.x, case.hx), expected)


ONE_CORE = """
import os, sys
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:1])
from support.cases import Shape, assert_same_bits, module, random_case
from numba_lstm.execution.planning.machine import ASSUMED, Way

case = random_case(Shape(20, 52, 2, bidirectional=True, steps=30, rows=1), 1)
ASSUMED["way"] = Way(1, 1, 0)
expected = module(case)(case.x, case.hx)
ASSUMED["way"] = Way(1, 2, 1000)
lstm = module(case)
for _ in range(50):
    assert_same_bits(lstm(case.x, case.hx), expected)
"""


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("layer", ["omp", "workqueue"])
def test_one_core(layer: str, threads: int) -> None:
    """A worker that never starts, and two that take turns on a core: it takes longer, and does not hang."""
    paths = [str(TESTS), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "NUMBA_NUM_THREADS": str(threads),
        "NUMBA_THREADING_LAYER": layer,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }
    done = subprocess.run(
        [sys.executable, "-c", ONE_CORE], env=environment, capture_output=True, text=True, timeout=HANG, check=False
    )
    if "No threading layer could be loaded" in done.stderr:
        pytest.skip(f"no {layer} here")
    assert done.returncode == 0, done.stderr


def test_choices() -> None:
    check_choices()


@pytest.mark.skipif(not HOST, reason="not x86")
@pytest.mark.parametrize(
    "variables", [half_width(), {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}], ids=["AVX2", "SSE2"]
)
def test_choices_with_narrower_vectors(variables: dict[str, str]) -> None:
    run("from support.choices import check_choices\ncheck_choices()", **variables)


def test_default_is_a_crew_for_a_large_network() -> None:
    """The launch that users get, not one that this module asked for."""
    case = random_case(Shape(256, 256, 2, steps=20, rows=1), 11, np.float32)
    before = numba_lstm.get_num_threads()
    try:
        numba_lstm.set_num_threads(1)
        expected = module(case)(case.x, case.hx)
        numba_lstm.set_num_threads(2)
        network = Network(Architecture(256, 256, 2), case.state_dict, np.dtype(np.float32))
        assert network.plan(Batch(20, 1)).numbers[PLACES.crew] == 2
        assert_same_bits(module(case)(case.x, case.hx), expected)
    finally:
        numba_lstm.set_num_threads(before)


# --- neighbours ----------------------------------------------------------------------------------------------

LATE_BY_NS = 300_000_000


@numba.njit(nogil=True)
def take_part(shared, wanted, steps, late_step, seen):  # type: ignore[no-untyped-def]
    """Meet with a crew at every step; note the size of the crew, and the shares of ten things that its members have.

    The member in place 1 comes late to one meeting.
    """
    words_ = words(pointer(shared, 0))
    crew = sign_in(words_, wanted, 1 << 30)
    for step in range(steps):
        if step == late_step and crew.index == 1:
            begun = clock()
            while clock() - begun < LATE_BY_NS:
                pass
        first, end = share(10, crew)
        for k in range(first, end):
            seen[step, k] += crew.size
        meet(crew)
        crew = regroup(crew)
        if crew.size == 0:
            break
    sign_out(words_, crew)
    return crew.size


@pytest.mark.parametrize("size", [2, 3, 4])
def test_a_member_without_a_core_leaves_and_the_others_do_its_part(size: int) -> None:
    shared, steps, late_step = np.zeros(crew_words(size), np.int64), 30, 5
    seen = np.zeros((steps, 10), np.int64)
    take_part(np.zeros(crew_words(1), np.int64), 1, 2, 9, np.zeros((2, 10), np.int64))  # compiles
    with ThreadPoolExecutor(size) as pool:
        left = sorted(pool.map(lambda _: take_part(shared, size, steps, late_step, seen), range(size)))
    # Every part was done once in every step, by members that agreed on their number; one of them has left.
    sizes = seen[:, 0]
    assert (seen == sizes[:, None]).all()
    assert (sizes[: late_step + 1] >= size - 1).all()
    assert set(sizes[late_step + 2 :]) == {size - 1}
    assert left == [0] + [size - 1] * (size - 1)


BESIDE_OTHERS = """
import sys
from support.cases import Shape, assert_same_bits, module, random_case
from support.places import ROOT
from numba_lstm.execution.planning.machine import ASSUMED, Way
sys.path.append(str(ROOT))  # at the end: an installed numba_lstm goes before the sources
from asv_bench.busy import spinning

with spinning(3):
    for shape in (Shape(64, 256, 2, steps=60, rows=1), Shape(20, 80, 2, bidirectional=True, steps=300, rows=4)):
        case = random_case(shape, 1)
        ASSUMED["way"] = Way(1, 1, 0)
        expected = module(case)(case.x, case.hx)
        for way in (Way(1, 2, 20_000), Way(1, 4, 20_000), Way(2, 1, 0)):
            ASSUMED["way"] = way
            lstm = module(case)
            for _ in range(15):
                assert_same_bits(lstm(case.x, case.hx), expected)
"""


def test_same_bits_beside_busy_processes() -> None:
    """Members lose their cores at any moment, crews regroup, launches go with fewer threads."""
    run(BESIDE_OTHERS, NUMBA_NUM_THREADS="4")


class Clock:
    """Time that passes when a test says so, and cores that are idle."""

    def __init__(self) -> None:
        self.now, self.idle = 1000.0, 0.0

    def monotonic(self) -> float:
        return self.now

    def since_last_look(self) -> float | None:
        return self.idle


@pytest.fixture
def clock_of_team(rested_team: None, monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(launch_lock, "time", made)
    monkeypatch.setattr(launch_lock.Team, "cores", made)
    return made


ALONE = 0
"""Of Numba's threads: what a call has that goes on by itself."""


def threads_of(launched: np.ndarray) -> int:
    return int(launched[PLACES.crew] * launched[PLACES.slices])


def frame_of(crew: int, slices: int = 1, woken: int = 0) -> np.ndarray:
    made = np.zeros(FRAME_SIZE, np.int64)
    made[PLACES.crew], made[PLACES.slices], made[PLACES.woken] = crew, slices, woken or crew * slices
    return made


def test_launches_leave_threads_out_until_their_cores_are_idle(clock_of_team: Clock) -> None:
    late, sizes = [True, False, True, False], []

    def parallel(launched: np.ndarray) -> int:
        sizes.append(threads_of(launched))
        return late.pop(0) if late else 0

    launch = launch_lock.with_team(parallel, lambda launched: sizes.append(ALONE))
    for _ in range(3):
        launch(frame_of(4))
        launch(frame_of(1, 3))
    assert sizes == [4, 3, 3, 3, 2, 3]  # each late launch leaves one thread out; three slices remain three
    sizes.clear()
    launch(frame_of(2))
    launch(frame_of(1, 2))
    assert sizes == [ALONE, ALONE]  # two threads become one
    clock_of_team.now += 1
    for idle, expected in ((0.5, 2), (0.9, 3), (0.5, 3), (0.8, 4)):  # as many come back as cores are idle
        clock_of_team.idle = idle
        sizes.clear()
        launch(frame_of(4))
        assert sizes == [expected], idle
        clock_of_team.now += 0.06
    sizes.clear()
    launch(frame_of(4))
    assert sizes == [4]


def test_a_small_crew_of_many_threads(clock_of_team: Clock) -> None:
    """Others that were late leave enough for it, and when it is late itself, others have one less as well."""
    sizes: list[int] = []

    def parallel(launched: np.ndarray) -> int:
        sizes.append(threads_of(launched))
        return late

    launch = launch_lock.with_team(parallel, lambda launched: sizes.append(ALONE))
    late = True
    launch(frame_of(8))
    late = False
    launch(frame_of(8))
    launch(frame_of(3, woken=8))
    launch(frame_of(1, 2, woken=8))
    assert sizes == [8, 7, 3, 2]
    sizes.clear()
    late = True
    for _ in range(3):
        launch(frame_of(3, woken=8))
    late = False
    launch(frame_of(8))
    assert sizes == [3, 3, 3, 4]
    sizes.clear()
    late = True
    for _ in range(3):
        launch(frame_of(3, woken=8))
    assert sizes == [3, 3, 2]  # it has less when so many cores are taken that fewer are left


def test_a_launch_is_tried_after_some_time_whatever_the_cores_seem_to_do(clock_of_team: Clock) -> None:
    """They may be kept busy by threads of this process that spin."""
    ways: list[str] = []
    launch = launch_lock.with_team(
        lambda launched: ways.append("team") or len(ways) < 3, lambda launched: ways.append("one")
    )
    for _ in range(3000):
        launch(frame_of(2))
        clock_of_team.now += 0.001
    assert ways[-1] == "team"


def test_late_slices_leave_no_more_threads_out_than_there_are(clock_of_team: Clock) -> None:
    launch = launch_lock.with_team(lambda launched: 1, lambda launched: None)
    for threads in (2, 8):
        for _ in range(50):
            launch(frame_of(1, threads))
            clock_of_team.now += 0.001
    assert launch_lock.Team.fewer == 1


def test_where_the_system_does_not_tell_pauses_grow(clock_of_team: Clock) -> None:
    clock_of_team.idle = None  # type: ignore[assignment]
    late, full, alone = [True], [], []
    launch = launch_lock.with_team(
        lambda launched: full.append(clock_of_team.now) or late[0], lambda launched: alone.append(clock_of_team.now)
    )
    end = clock_of_team.now + 1
    while clock_of_team.now < end:
        launch(frame_of(2))
        clock_of_team.now += 0.001
    waits = np.diff(full)
    assert (np.diff(waits[:5]) > 0).all()
    assert waits.max() < 0.16
    late[0] = False
    full.clear()
    for _ in range(1000):
        launch(frame_of(2))
        clock_of_team.now += 0.001
    assert len(full) > 840
    assert launch_lock.Team.pause == 0


STAT = """cpu  90 0 0 180 30 0 0 0 0 0
cpu0 {0} 0 5 {1} 0 0 0 0 99 0
cpu1 50 0 5 {2} 5 0 0 0 0 0
intr 12 3
"""


def test_idle_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat = tmp_path / "stat"
    monkeypatch.setattr(idle_cores, "_STAT", str(stat))
    monkeypatch.setattr(idle_cores.os, "sched_getaffinity", lambda pid: {0, 1, 7}, raising=False)
    cores = idle_cores.IdleCores()
    for busy, idle_0, idle_1, expected in (
        (10, 20, 30, None),  # the first look
        (20, 20, 40, 1.0),  # core 0 was busy for 10 ticks, core 1 idle
        (25, 25, 50, 1.5),
        (26, 25, 51, None),  # too little time
        (36, 35, 61, 1.0 + 10 / 30),
    ):
        stat.write_text(STAT.format(busy, idle_0, idle_1))
        found = cores.since_last_look()
        assert found == expected or found == pytest.approx(expected), (busy, found)
    for text in ("", "cpu0 x y\n", "cpu0 0 0 0 0\n"):
        stat.write_text(text)
        assert cores.since_last_look() is None
    stat.unlink()
    assert cores.since_last_look() is None
