"""What makes a machine a shared one, on purpose: processes that spin, and a control group with a quota of CPU time."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

SPIN = """
import os
parent = os.getppid()
print(flush=True)
while os.getppid() == parent:
    for _ in range(100_000):
        pass
"""
"""Says that it has begun, and looks every few milliseconds whether whoever started it is still there: not even a parent
that was killed leaves it behind."""

GROUPS = [Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup/cpu,cpuacct"), Path("/sys/fs/cgroup")]
"""Where groups with a quota can be made, in version 1 and in version 2 of control groups."""

PERIOD = 100_000
"""Microseconds, the usual one."""


@contextlib.contextmanager
def spinning(count: int) -> Iterator[list[subprocess.Popen[str]]]:
    """Have processes spin, on any core that this one may use; none of them is left at the end, whatever happens."""
    processes: list[subprocess.Popen[str]] = []
    try:
        for _ in range(count):
            command = [sys.executable, "-S", "-c", SPIN]
            processes.append(
                subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            )
        for process in processes:
            assert process.stdout
            process.stdout.readline()
        yield processes
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.communicate()


@contextlib.contextmanager
def group_with_quota(cpus: float) -> Iterator[Path | None]:
    """Make a control group that may use so many CPUs; None where that is not possible.

    It is removed at the end, when processes that joined it have to be gone.
    """
    folder = next(filter(None, (_made(root, round(cpus * PERIOD)) for root in GROUPS)), None)
    try:
        yield folder
    finally:
        if folder:
            folder.rmdir()


def _made(root: Path, quota: int) -> Path | None:
    """Return a new group below another one, None if it cannot be made or cannot have a quota."""
    folder = root / f"numba_lstm-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError:
        return None
    try:
        if (folder / "cpu.max").exists():
            (folder / "cpu.max").write_text(f"{quota} {PERIOD}", encoding="ascii")
        else:
            (folder / "cpu.cfs_period_us").write_text(f"{PERIOD}", encoding="ascii")
            (folder / "cpu.cfs_quota_us").write_text(f"{quota}", encoding="ascii")
    except OSError:
        folder.rmdir()
        return None
    return folder


def join(group: Path) -> None:
    """Move this process into a control group."""
    (group / "cgroup.procs").write_text(f"{os.getpid()}", encoding="ascii")
