"""The default number of threads: quotas of control groups, from made-up trees of files and from a real group."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.cases import Shape, random_case
from support.places import ROOT

import numba_lstm
from numba_lstm.contract.architecture import Architecture
from numba_lstm.execution.network import Network
from numba_lstm.execution.planning.machine import this_machine
from numba_lstm.execution.planning.schedule import Batch
from numba_lstm.host import threads as thread_count
from numba_lstm.host.cpu_quota import cpu_quota
from numba_lstm.kernels.frame import PLACES


class Host:
    """A made-up /proc of one process, and mounted trees of control groups."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process = folder / "proc"
        self.process.mkdir()
        self.groups: list[str] = []
        self.mounts = ["22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw", "23 22 0:21 / /proc rw - proc proc rw"]

    def mount(self, version: int, name: str = "cgroup", root: str = "/", controllers: str = "cpu,cpuacct") -> Path:
        """Mount a tree, or the part of it below a group."""
        place = self.folder / name
        place.mkdir(parents=True, exist_ok=True)
        escaped = str(place).replace("\\", "\\134").replace(" ", "\\040")
        kind = "cgroup2 cgroup2 rw,nsdelegate" if version == 2 else f"cgroup cgroup rw,{controllers}"
        # Optional fields, of which there may be any number, stand before the dash.
        self.mounts.append(f"{30 + len(self.mounts)} 22 0:26 {root} {escaped} rw,nosuid shared:4 master:1 - {kind}")
        return place

    def join(self, version: int, group: str, controllers: str = "cpu,cpuacct", tree: int = 4) -> None:
        """Put the process into a group."""
        self.groups.append(f"0::{group}" if version == 2 else f"{tree}:{controllers}:{group}")

    def quota(self) -> float | None:
        """Write the two files of /proc and return what is found."""
        (self.process / "cgroup").write_text("".join(f"{line}\n" for line in self.groups), encoding="utf-8")
        (self.process / "mountinfo").write_text("".join(f"{line}\n" for line in self.mounts), encoding="utf-8")
        return cpu_quota(self.process)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def limit(folder: Path, version: int, quota: object, period: object = 100_000) -> None:
    """Write the files of a group, which is made if there is none."""
    folder.mkdir(parents=True, exist_ok=True)
    if version == 2:
        (folder / "cpu.max").write_text(f"{quota} {period}\n", encoding="utf-8")
    else:
        (folder / "cpu.cfs_quota_us").write_text(f"{quota}\n", encoding="utf-8")
        (folder / "cpu.cfs_period_us").write_text(f"{period}\n", encoding="utf-8")


versions = pytest.mark.parametrize("version", [1, 2])
UNLIMITED = {1: "-1", 2: "max"}


@versions
@pytest.mark.parametrize(
    ("quota", "period", "cpus"),
    [(100_000, 100_000, 1.0), (150_000, 100_000, 1.5), (5_000, 100_000, 0.05), (12_000_000, 1_000_000, 12.0)],
)
def test_quota_of_the_own_group(host: Host, version: int, quota: int, period: int, cpus: float) -> None:
    limit(host.mount(version) / "a" / "b", version, quota, period)
    host.join(version, "/a/b")
    assert host.quota() == cpus


@versions
def test_inside_of_a_namespace_the_group_is_the_mount(host: Host, version: int) -> None:
    limit(host.mount(version), version, 200_000)
    host.join(version, "/")
    assert host.quota() == 2.0


@versions
@pytest.mark.parametrize("least", ["own", "around", "root"])
def test_groups_around_count(host: Host, version: int, least: str) -> None:
    """As in Kubernetes: a pod has a quota, and so has each of its containers."""
    place = host.mount(version)
    folders = {"own": place / "pod" / "container", "around": place / "pod", "root": place}
    for name, folder in folders.items():
        limit(folder, version, 300_000 if name == least else 500_000)
    host.join(version, "/pod/container")
    assert host.quota() == 3.0


@versions
def test_an_unlimited_group_within_a_limited_one(host: Host, version: int) -> None:
    place = host.mount(version)
    limit(place / "pod", version, 400_000)
    limit(place / "pod" / "container", version, UNLIMITED[version])
    limit(place / "neighbour", version, 100_000)
    host.join(version, "/pod/container")
    assert host.quota() == 4.0


@versions
@pytest.mark.parametrize(
    ("quota", "period"),
    [(None, 100_000), ("", ""), ("junk", 100_000), (200_000, "junk"), (200_000, 0), (0, 100_000), (-5, 100_000),
     (200_000, -1), ("2e5", 100_000), ("\xb2", 100_000), (200_000, ""), ("9" * 400, 1), ("9" * 5000, 1)],
)  # fmt: skip
def test_what_limits_nothing(host: Host, version: int, quota: object, period: object) -> None:
    """Also as one group among others, whose quotas count all the same."""
    place = host.mount(version)
    limit(place / "a", version, UNLIMITED[version] if quota is None else quota, period)
    host.join(version, "/a")
    assert host.quota() is None
    limit(place, version, 300_000)
    assert host.quota() == 3.0


@versions
def test_files_that_are_missing(host: Host, version: int) -> None:
    """The root of version 2 has no cpu.max, nor have groups without the controller."""
    place = host.mount(version)
    (place / "a").mkdir()
    host.join(version, "/a")
    assert host.quota() is None
    if version == 1:
        (place / "a" / "cpu.cfs_quota_us").write_text("100000\n", encoding="utf-8")
        assert host.quota() is None


@versions
def test_a_container_without_a_namespace_sees_its_part_of_the_tree(host: Host, version: int) -> None:
    """As Docker does it with version 1: the path is that of the host, and what is mounted is the group at that path."""
    limit(host.mount(version, root="/docker/abc"), version, 150_000)
    host.join(version, "/docker/abc")
    assert host.quota() == 1.5


@versions
def test_a_group_below_the_part_that_is_mounted(host: Host, version: int) -> None:
    place = host.mount(version, root="/docker/abc")
    limit(place, version, 300_000)
    limit(place / "inner", version, 250_000)
    host.join(version, "/docker/abc/inner")
    assert host.quota() == 2.5


@versions
@pytest.mark.parametrize("group", ["/somewhere/else", "/docker/abcdef", "/../sibling", "/docker/abc/../../secret"])
def test_a_path_that_is_not_below_the_mount_means_its_root(host: Host, version: int, group: str) -> None:
    place = host.mount(version, "container/cgroup", root="/docker/abc")
    limit(place, version, 200_000)
    for other in ("container/sibling", "secret", "container/secret"):  # what ".." would lead to
        limit(host.folder / other, version, 100_000)
    host.join(version, group)
    assert host.quota() == 2.0


@versions
def test_a_path_that_does_not_exist_below_the_mount_means_its_root(host: Host, version: int) -> None:
    limit(host.mount(version), version, 200_000)
    host.join(version, "/docker/abc")
    assert host.quota() == 2.0


@versions
def test_the_hosts_tree_beside_the_containers(host: Host, version: int) -> None:
    """Where a tree is mounted twice, what holds the process's group counts; what does not, is somebody else's."""
    limit(host.mount(version, "host", root="/../.."), version, 100_000)
    limit(host.mount(version, "own"), version, 300_000)
    host.join(version, "/")
    assert host.quota() == 3.0


def test_both_versions_at_once(host: Host) -> None:
    """On hybrid systems the controller is in one of the trees, and the other has no files of it."""
    old, new = host.mount(1, "cgroup/cpu"), host.mount(2, "cgroup/unified")
    host.mount(1, "cgroup/memory", controllers="memory")
    host.join(1, "/service", tree=7)
    host.join(1, "/service", controllers="memory", tree=8)
    host.join(1, "/service", controllers="name=systemd", tree=1)
    host.join(2, "/service")
    (new / "service").mkdir()
    assert host.quota() is None
    limit(old / "service", 1, 600_000)
    assert host.quota() == 6.0
    limit(new / "service", 2, 500_000)
    assert host.quota() == 5.0


@pytest.mark.parametrize("controllers", ["cpuset", "cpuacct", "name=cpu", "memory"])
def test_other_controllers_of_version_1(host: Host, controllers: str) -> None:
    limit(host.mount(1, controllers=controllers) / "a", 1, 100_000)
    host.join(1, "/a", controllers=controllers)
    assert host.quota() is None


@versions
@pytest.mark.parametrize("name", ["with space", "back\\slash", "gr\xfcn", "a:b"])
def test_names_of_any_kind(host: Host, version: int, name: str) -> None:
    limit(host.mount(version, name) / name, version, 100_000)
    host.join(version, f"/{name}")
    assert host.quota() == 1.0


@pytest.mark.parametrize("text", ["", "\n", "junk\n", ":::::\n0::\n", "1 2 3 - \n", "0::/a\0b\n", " - - - \n"])
def test_junk_in_proc(tmp_path: Path, text: str) -> None:
    for name in ("cgroup", "mountinfo"):
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert cpu_quota(tmp_path) is None


def test_bytes_that_are_no_text(host: Host) -> None:
    limit(host.mount(2), 2, 100_000)
    host.join(2, "/")
    assert host.quota() == 1.0
    (host.process / "cgroup").write_bytes(b"5:memory:/\xff\xfe\n0::/\xff\n")
    assert cpu_quota(host.process) == 1.0
    (host.folder / "cgroup" / "cpu.max").write_bytes(b"\xff\xfe")
    assert cpu_quota(host.process) is None


def test_no_proc(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path / "nowhere") is None


@pytest.mark.parametrize(
    ("numba_threads", "cpus", "quota", "expected"),
    [(8, 8, None, 8), (4, 8, None, 4), (8, 2, None, 2), (64, 64, 2.0, 2), (64, 64, 1.5, 2), (64, 64, 0.05, 1),
     (2, 64, 16.0, 2), (64, 2, 16.0, 2), (64, 64, 2.0001, 3), (1, 64, 2.0, 1)],
)  # fmt: skip
def test_default_is_the_least(
    monkeypatch: pytest.MonkeyPatch, numba_threads: int, cpus: int, quota: float | None, expected: int
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(thread_count.config, "NUMBA_NUM_THREADS", numba_threads)
    monkeypatch.setattr(thread_count, "usable_cpus", lambda: cpus)
    monkeypatch.setattr(thread_count, "cpu_quota", lambda: quota)
    assert thread_count._default_threads.__wrapped__(False) == expected


def test_import_reads_no_groups_and_calls_read_them_once() -> None:
    code = """
from numba_lstm.host import threads
calls = []
threads.cpu_quota = lambda: calls.append(1)
import numba_lstm
assert not calls
numba_lstm.set_num_threads(1)
assert numba_lstm.get_num_threads() == 1 and not calls
threads.Setting.count = 0
assert numba_lstm.get_num_threads() == numba_lstm.get_num_threads() and len(calls) == 1
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


@pytest.mark.parametrize(("quota", "expected"), [(0.5, 1), (1.0, 1), (1.5, 2)])
def test_a_real_group(quota: float, expected: int) -> None:
    """A child joins it before it imports anything: the default is that of the quota, and a choice is a choice."""
    code = """
import os, sys
with open(sys.argv[1] + "/cgroup.procs", "w") as members:
    members.write(str(os.getpid()))
from numba_lstm.host import threads
import numba_lstm
threads.usable_cpus = lambda: 8
print(numba_lstm.get_num_threads())
numba_lstm.set_num_threads(4)
print(numba_lstm.get_num_threads())
"""
    if not (ROOT / "asv_bench").is_dir():
        pytest.skip("no benchmarks beside the tests, which make groups")
    sys.path.append(str(ROOT))  # at the end: an installed numba_lstm goes before the sources
    from asv_bench.busy import group_with_quota

    with group_with_quota(quota) as folder:
        if not folder:
            pytest.skip("no control group with a quota can be made here")
        environment = os.environ | {"NUMBA_NUM_THREADS": "8"}
        command = [sys.executable, "-W", "error", "-c", code, str(folder)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode and "cgroup.procs" in done.stderr:
        pytest.skip("no process may join a group here")
    assert done.returncode == 0, done.stderr
    assert [int(line) for line in done.stdout.split()] == [expected, 4]


def test_an_explicit_number_above_the_quota_reaches_the_plan(monkeypatch: pytest.MonkeyPatch, threads: None) -> None:
    monkeypatch.setattr(thread_count, "cpu_quota", lambda: 1.0)
    numba_lstm.set_num_threads(2)
    assert this_machine().threads == 2
    network = Network(Architecture(64, 128), random_case(Shape(64, 128), 1).state_dict, np.dtype(np.float32))
    numbers = network.plan(Batch(50, 64)).numbers
    assert numbers[PLACES.slices] * numbers[PLACES.crew] == 2
