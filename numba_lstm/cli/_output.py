"""Where a command writes: a file, what is no regular file, or standard output."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import stat
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

from ..formats.writing import target_of
from ..io import known_suffixes, write_whole
from ._console import InputError, note, standard_buffer, tidy_termination, write_all

STANDARD = Path("-")
"""What stands for standard input or output."""


class Output:
    """A target that can be written to, as far as can be told before any work.

    Parameters
    ----------
    path : Path
        As it was given; ``-`` is standard output.
    suffixes : sequence of str
        What the name of a file may end in.
    inputs : callable
        Returns what the command reads, none of which may be the target; asked if there is something that could be.
    force : bool
        Whether a file that is there may be replaced.

    Raises
    ------
    InputError
        If it should not be written to.
    OSError
        If it cannot be looked at.
    """

    def __init__(self, path: Path, suffixes: Sequence[str], inputs: Callable[[], Iterable[Path]], force: bool) -> None:
        self.path = path
        self._suffixes, self._inputs, self._force = suffixes, inputs, force
        self._check()

    @property
    def suffix(self) -> str | None:
        """What the name ends in, of those that it may end in; None if it ends in none."""
        ending = self.path.suffix.lower()
        return ending if ending in self._suffixes else None

    def write(self, write: Callable[[BinaryIO], object]) -> None:
        """Have a function write it; all of it appears or nothing."""
        if self.path == STANDARD:
            content = io.BytesIO()
            write(content)
            write_all(standard_buffer("stdout", "output"), memoryview(content.getvalue()))
            return
        self._check()  # some time has passed
        with tidy_termination():
            write_whole(self.path, write)

    def note(self, text: str) -> None:
        """Tell the user what was written, unless that would go to the same place."""
        if not self.is_standard:
            note(f"{self.path}: {text}")

    @property
    def is_standard(self) -> bool:
        """Whether it is where standard output goes."""
        if self.path == STANDARD:
            return True
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(1))
        except OSError:
            return False

    @property
    def place(self) -> Path:
        """What it leads to, behind all links.  Another hard link is another place: what is written replaces one."""
        return Path(os.path.realpath(self.path))

    def _check(self) -> None:
        if self.path == STANDARD:
            standard_buffer("stdout", "output")
            if sys.stdout.isatty():
                raise InputError("standard output is a terminal, which cannot show the results: send it elsewhere")
            with contextlib.suppress(OSError):  # what a program has put in its place
                self._check_inputs(os.fstat(sys.stdout.fileno()))
            return
        target = target_of(self.path)
        status = target.status
        if target.opened == 1:
            standard_buffer("stdout", "output")  # if it is closed, anything may have been opened as 1
        if status is not None and stat.S_ISDIR(status.st_mode):
            raise InputError(f"cannot write {self.path}: it is a folder")
        if not target.is_file:
            if self.suffix is None and self.path.suffix.lower() in known_suffixes():
                raise InputError(self._other_suffix(self.path))
            self._check_inputs(status)
            return
        place = target.place
        # A link may be called otherwise than what it leads to, as in stores of files by their content.
        if self.suffix is None or place.suffix.lower() in known_suffixes() - {self.suffix}:
            raise InputError(self._other_suffix(place if self.suffix else self.path))
        self._check_inputs(status)
        if not place.parent.is_dir():
            raise InputError(f"cannot write {self.path}: there is no folder {place.parent}")
        if not os.access(place.parent, os.W_OK):
            raise InputError(f"cannot write {self.path}: the folder {place.parent} is not writable")
        if status is None:
            return
        if not self._force:
            raise InputError(f"{self.path} is there already: --force replaces it")
        if not os.access(place, os.W_OK):
            raise InputError(f"cannot write {self.path}: it is write-protected")

    def _other_suffix(self, path: Path) -> str:
        *others, last = self._suffixes
        endings = f"{', '.join(others)} or {last}" if others else last
        return f"cannot write {path}: the name must end in {endings}, which is what would be in it"

    def _check_inputs(self, status: os.stat_result | None) -> None:
        """Refuse what is read; a terminal may be both."""
        if status is None or stat.S_ISCHR(status.st_mode):
            return
        for path in self._inputs():
            try:
                read = os.fstat(0) if path == STANDARD else os.stat(path)
            except OSError:  # told by the one that reads it
                continue
            if os.path.samestat(read, status):
                other = "" if path == self.path else f" (by the name of {path})"
                raise InputError(f"cannot write {self.path}: it is read as well{other}")


def in_one_file(outputs: Sequence[Output]) -> list[Path]:
    """Return the paths that are, or would be, one file with another, by links or since the disk takes them for one.

    Raises
    ------
    OSError
        If a folder cannot be looked at.
    """
    groups: dict[tuple[int, int, str], list[Output]] = {}
    for output in outputs:
        folder = os.stat(output.place.parent)
        groups.setdefault((folder.st_dev, folder.st_ino, _folded(output.place.name)), []).append(output)
    found = []
    for group in groups.values():
        names = Counter(output.place.name for output in group)
        apart = len(names) == 1 or _are_told_apart(group[0].place.parent, names)
        found += [output.path for output in group if not apart or names[output.place.name] > 1]
    return found


def _folded(name: str) -> str:
    """Return what names have in common that differ in capitals, or in how accents are encoded."""
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())


def _are_told_apart(folder: Path, names: Iterable[str]) -> bool:
    """Return whether names that are alike are different files in a folder, which only its disk knows.

    It may be chosen for every folder, so empty files are made there.  Names that are too long for that count as one.
    """
    start, made = f".{secrets.token_hex(8)}.", []
    with tidy_termination():
        try:
            for name in names:
                path = folder / (start + name)
                path.touch(exist_ok=False)
                made.append(path)
        except OSError:
            return False
        finally:
            for path in made:
                path.unlink(missing_ok=True)
    return True
