"""What a core has of an L2 cache, by what systems say that were not built here: their files and answers are played."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from support.processes import run

from numba_lstm.host import caches

MIB = 1 << 20


class Core(NamedTuple):
    """CPUs of Linux: threads of one core, and the caches of it, each of a level, a size, and the CPUs that share it."""

    cpus: Sequence[int]
    caches: Sequence[tuple[int, str, str]]


def tree(folder: Path, *cores: Core) -> Path:
    """Write what Linux shows of some cores."""
    for core in cores:
        for cpu in core.cpus:
            place = folder / f"cpu{cpu}"
            (place / "topology").mkdir(parents=True)
            (place / "topology" / "thread_siblings_list").write_text(",".join(map(str, core.cpus)) + "\n")
            for index, (level, size, shared) in enumerate(core.caches):
                cache = place / "cache" / f"index{index}"
                cache.mkdir(parents=True)
                texts = {"level": str(level), "size": size, "shared_cpu_list": shared, "type": "Unified"}
                for name, text in texts.items():
                    if text:
                        (cache / name).write_text(f"{text}\n")
    (folder / "cpufreq").mkdir(parents=True)
    return folder


def small(shared: str) -> list[tuple[int, str, str]]:
    return [(1, "32K", shared), (1, "32K", shared)]


def two_threads(n: int) -> Core:
    shared = f"{n},{n + 4}"
    return Core((n, n + 4), [*small(shared), (2, "2048K", shared), (3, "32768K", "0-7")])


SERVER = [two_threads(n) for n in range(4)]
CLUSTER = [Core((n,), [*small(str(n)), (2, "1024K", "0-3")]) for n in range(4)]
HYBRID = [
    *[Core((n, n + 1), [*small(f"{n}-{n + 1}"), (2, "2048K", f"{n}-{n + 1}")]) for n in (0, 2)],
    *[Core((n,), [*small(str(n)), (2, "4096K", "4-7")]) for n in (4, 5, 6, 7)],
]
UNIFIED_L1 = [Core((0,), [(1, "64K", "0"), (2, "512K", "0")])]


@pytest.mark.parametrize(
    ("cores", "expected"),
    [
        (SERVER, 2 * MIB),  # threads of one core share its cache, and are no cores
        (CLUSTER, MIB // 4),
        (HYBRID, MIB),
        (UNIFIED_L1, MIB // 2),
        ([Core((0,), [(2, "1M", "0")]), Core((1,), [(2, "256K", "1")])], MIB // 4),
    ],
    ids=["server", "cluster", "hybrid", "two caches", "big and little"],
)
def test_linux(cores: list[Core], expected: int, tmp_path: Path) -> None:
    assert min(caches.linux_l2_parts(tree(tmp_path, *cores))) == expected


@pytest.mark.parametrize(
    "cores",
    [
        [],
        [Core((0,), [*small("0")])],
        [Core((0,), [(2, "", "0")])],  # firmware that tells no sizes
        [Core((0,), [(2, "1024K", "")])],
        [Core((0,), [(2, "K", "0")]), Core((1,), [(2, "big", "1")])],
        [Core((0,), [(2, "1024K", "a-b")])],
    ],
    ids=["no CPUs", "no L2", "no size", "no list", "no number", "no CPU"],
)
def test_linux_that_does_not_tell(cores: list[Core], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tree(tmp_path, *cores)
    assert list(caches.linux_l2_parts(folder)) == []
    monkeypatch.setattr(caches, "CPUS", folder)
    monkeypatch.setattr(sys, "platform", "linux")
    assert caches.l2_bytes.__wrapped__() == caches.ASSUMED_L2 == MIB


def test_cores_that_tell_count_beside_others(tmp_path: Path) -> None:
    folder = tree(tmp_path, Core((0,), [(2, "", "0")]), Core((1,), [(2, "512K", "1")]))
    assert list(caches.linux_l2_parts(folder)) == [MIB // 2]


M1_PRO = {
    "hw.nperflevels": 2, "hw.l2cachesize": 4 * MIB,
    "hw.perflevel0.l2cachesize": 12 * MIB, "hw.perflevel0.cpusperl2": 4,
    "hw.perflevel1.l2cachesize": 4 * MIB, "hw.perflevel1.cpusperl2": 2,
}  # fmt: skip


@pytest.mark.parametrize(
    ("known", "expected"),
    [(M1_PRO, [3 * MIB, 2 * MIB]), ({"hw.l2cachesize": MIB // 4}, [MIB // 4]), ({"hw.nperflevels": 1}, []), ({}, [0])],
    ids=["kinds of cores", "one kind", "no sizes", "nothing"],
)
def test_macos(known: dict[str, int], expected: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(caches.macos_l2_parts(known.get)) == expected
    monkeypatch.setattr(caches, "_sysctl", known.get)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert caches.l2_bytes.__wrapped__() == min([part for part in expected if part] or [MIB])


@pytest.mark.skipif(sys.platform == "darwin", reason="it is there")
def test_no_sysctl() -> None:
    assert caches._sysctl("hw.l2cachesize") is None


def test_nothing_is_looked_at_by_an_import() -> None:
    code = "import numba_lstm\nfrom numba_lstm.host import caches\nassert not caches.l2_bytes.cache_info().currsize"
    run(code)
