"""Outputs: a file appears complete or not at all, and what is no file is written to as it is."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

_DESCRIPTORS = re.compile(r"(?:/proc/(\d+)(?:/task/\d+)?|/dev)/fd")
"""Folders that have a name for every open file of a process."""

_LONGEST_CHAIN = 40
"""Links to links, as Linux counts them."""

_NOTHING_TO_KEEP_ON = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
"""What file systems without a disk say when they are asked to keep something; the last two are one number on Linux."""


class Target(NamedTuple):
    """Where something is to be written."""

    place: Path
    """Behind all links."""
    status: os.stat_result | None
    """The status of what is there; None if nothing is."""
    opened: int | Path | None
    """What is open already, under a name such as ``/dev/stdout``: our own descriptor, or a name to open again."""

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file, or will be one."""
        return self.opened is None and (self.status is None or stat.S_ISREG(self.status.st_mode))


def target_of(path: Path) -> Target:
    """Look at what a path leads to.

    Raises
    ------
    OSError
        If its links lead nowhere in a circle, or a folder on the way is none or cannot be looked into.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        status = None
    place = path
    for _ in range(_LONGEST_CHAIN):
        process = _DESCRIPTORS.fullmatch(os.path.realpath(place.parent))
        if process and place.name.isdecimal():
            mine = process[1] in (None, str(os.getpid()))
            return Target(place, status, int(place.name) if mine else path)
        if not place.is_symlink():
            break
        place = place.parent / place.readlink()
    return Target(place, status, None)


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Have a function write a file that appears complete or not at all; what was there stays until then.

    This holds for a power cut as well: the file gets its name once the disk has all of it.

    Links are followed, and the mode of a file that is replaced stays, its owner where that is allowed.  A device, a
    pipe, or what is open under a name such as ``/dev/stdout``, gets what was written once that is complete.

    Raises
    ------
    OSError
        If it cannot be written, with the path as it was given.
    """
    with errors_name(path):
        target = target_of(path)
        if target.is_file:
            _replace(target.place, target.status, write)
            return
        if target.status is not None and stat.S_ISDIR(target.status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        # Nothing can be taken back there: all is made before the first byte goes out.
        content = io.BytesIO()
        write(content)
        with open_as_it_is(path) as file:
            file.write(content.getvalue())


def open_as_it_is(path: Path) -> BinaryIO:
    """Open a device, a pipe, or what is open under a name such as ``/dev/stdout``, for writing."""
    opened = target_of(path).opened
    return open(os.dup(opened) if isinstance(opened, int) else path, "wb")


@contextlib.contextmanager
def errors_name(path: Path) -> Iterator[None]:
    """Have errors of the system name a path, not that of a temporary file or none at all."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error


def _replace(place: Path, status: os.stat_result | None, write: Callable[[BinaryIO], object]) -> None:
    """Write a regular file, in the place of one with a status, or of none."""
    if status is not None and not os.access(place, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    # Beside the target, since only within one file system is the replacement a single step.  A name of its own, which
    # is no longer than the system allows, and which nothing that a killed process left behind has.
    temporary = place.with_name(f".{secrets.token_hex(8)}.tmp")
    mode = 0o666 if status is None else 0o600  # of a new one the mask takes its share; another is closed until it is as
    try:
        with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            if status is not None:
                _take_over(file.fileno(), status)
            write(file)
            if file.closed:  # by the function, as a layer for texts does with what it lies on
                with open(temporary, "r+b") as again:
                    keep(again)
            else:
                keep(file)
        os.replace(temporary, place)
    finally:
        temporary.unlink(missing_ok=True)
    keep_names(place.parent)


def keep(file: BinaryIO) -> None:
    """Have the disk hold what was written to a regular file, whose name might get there first, and a power cut next.

    Raises
    ------
    OSError
        If the disk cannot, which some file systems tell only now.
    """
    file.flush()
    try:
        os.fsync(file.fileno())
    except OSError as error:
        if error.errno not in _NOTHING_TO_KEEP_ON:
            raise


def keep_names(folder: Path) -> None:
    """Have the disk hold which files are in a folder, where that can be asked for; each of them is whole anyway."""
    with contextlib.suppress(OSError):  # Windows opens no folders, and others none that may not be listed
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _take_over(descriptor: int, status: os.stat_result) -> None:
    """Give a new file the owner, group and mode that another has, and nobody more rights than there."""
    if not hasattr(os, "fchown"):  # as on Windows
        return
    mode, mine = stat.S_IMODE(status.st_mode), os.fstat(descriptor)
    if (mine.st_uid, mine.st_gid) != (status.st_uid, status.st_gid):
        try:
            os.fchown(descriptor, status.st_uid, status.st_gid)
        except OSError:  # only root may give a file away
            mode &= 0o777
            try:
                os.fchown(descriptor, -1, status.st_gid)
            except OSError:  # the group is another one: it may do what all may
                mode = mode & 0o707 | (mode & 0o007) << 3
    with contextlib.suppress(OSError):  # file systems without modes
        os.chmod(descriptor, mode)
