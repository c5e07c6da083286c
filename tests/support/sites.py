"""Copies of the package, changed and packed, to import in other processes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from support.processes import PACKAGE

Form = Callable[[Path], Path]

OTHER_KERNEL = "kernels/cells/postgemm.py", "3 * units", "0 * units"
"""A file, what is in it, and what would give other numbers in the same number of bytes."""


def sources(site: Path) -> Path:
    """Leave a copy as it is."""
    return site


def zipped(site: Path) -> Path:
    """Pack a copy."""
    return Path(shutil.make_archive(str(site), "zip", site))


def changed_site(folder: Path, form: Form, *changes: tuple[str, str, str]) -> str:
    """Copy the package, changed, to a folder; return what has to be in the path for it."""
    shutil.copytree(PACKAGE, folder / "numba_lstm", ignore=shutil.ignore_patterns("__pycache__"))
    for name, old, new in changes:
        path = folder / "numba_lstm" / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
    return str(form(folder))
