"""The CPU time that control groups of Linux allow this process, as containers limit it.

Two versions of control groups are in use, both at once on some systems.  Version 2 has one tree of groups; version 1
has one for each controller, that of CPU time among them.  In either tree a process is in one group, and the quotas of
all groups above that one count, too.
"""
from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

UNLIMITED = "max", "-1"
"""What stands for no quota, in version 2 and in version 1."""

PROCESS = Path("/proc/self")


class _Mount(NamedTuple):
    """A place where a tree of groups can be seen, or a part of it."""

    version: int
    root: PurePosixPath
    """The group, by its path in the tree, whose folder is at the place."""
    folder: Path


def cpu_quota(process: Path = PROCESS) -> float | None:
    """Return how many CPUs this process may keep busy by the quotas of its control groups; None without a quota.

    It is the least of the quotas of the process's own group and of those around it, as far as they can be seen.  In a
    container that is often the container's group alone.  What cannot be read or has no meaning limits nothing.

    Parameters
    ----------
    process : Path
        The folder of ``/proc`` that says where the process is and what it sees.

    Returns
    -------
    float or None
        In CPUs, 1.5 for three halves of the time of two; larger than 0.

    Examples
    --------
    >>> from numba_lstm.host.cpu_quota import cpu_quota
    >>> quota = cpu_quota()
    >>> quota is None or quota > 0
    True
    """
    try:
        groups = dict(_groups(os.fsdecode((process / "cgroup").read_bytes())))
        mounts = list(_mounts(os.fsdecode((process / "mountinfo").read_bytes())))
    except OSError:  # not Linux, or no /proc
        return None
    quotas = []
    for version, group in groups.items():
        seen = [mount for mount in mounts if mount.version == version]
        # One that does not hold the group's path was mounted by somebody who names groups by other paths: this is so in
        # containers without a namespace of their own for groups.  What is at its place is then all that is known.
        for mount in [mount for mount in seen if _holds(mount, group)] or seen[:1]:
            quotas += [_quota(folder, version) for folder in _folders(mount, group)]
    return min((quota for quota in quotas if quota), default=None)


def _groups(text: str) -> Iterator[tuple[int, PurePosixPath]]:
    """Read ``/proc/self/cgroup``: return the process's group in each tree that has quotas of CPU time."""
    for line in text.split("\n"):
        tree, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if tree == "0" and not controllers:
            yield 2, PurePosixPath(path)
        elif "cpu" in controllers.split(","):
            yield 1, PurePosixPath(path)


def _mounts(text: str) -> Iterator[_Mount]:
    """Read ``/proc/self/mountinfo``: return where these trees are mounted."""
    for line in text.split("\n"):
        place, _, kind = line.partition(" - ")
        places, kinds = place.split(" "), kind.split(" ")
        if len(places) < 6 or len(kinds) < 3:
            continue
        root, folder = (_unescaped(name) for name in places[3:5])
        if kinds[0] == "cgroup2":
            yield _Mount(2, PurePosixPath(root), Path(folder))
        elif kinds[0] == "cgroup" and "cpu" in kinds[2].split(","):
            yield _Mount(1, PurePosixPath(root), Path(folder))


def _unescaped(name: str) -> str:
    """Return a path of mountinfo, where white space and backslashes are octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), name)


def _holds(mount: _Mount, group: PurePosixPath) -> bool:
    """Return whether a group is below what is mounted; paths with ``..`` are outside of the process's namespace."""
    return ".." not in group.parts and group.is_relative_to(mount.root)


def _folders(mount: _Mount, group: PurePosixPath) -> Iterator[Path]:
    """Return the folders of a group and of those around it, as far as they are mounted."""
    if _holds(mount, group):
        folder = mount.folder / group.relative_to(mount.root)
        while folder != mount.folder:
            yield folder
            folder = folder.parent
    yield mount.folder


def _quota(folder: Path, version: int) -> float | None:
    """Return the quota of one group in CPUs: the time that it may use in a period, over the period."""
    try:
        if version == 2:
            used, period = (folder / "cpu.max").read_text("ascii").split()
        else:
            used, period = ((folder / f"cpu.cfs_{name}_us").read_text("ascii").strip() for name in ("quota", "period"))
        if used in UNLIMITED:
            return None
        quota = int(used) / int(period)
    except (OSError, ValueError, ArithmeticError):
        return None
    return quota if quota > 0 else None
