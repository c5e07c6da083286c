"""What a disk is asked for, in order: of which a power cut may leave any beginning."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def recorded(monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[str]:
    """Return a list to which is added what happens to files of a folder: what is kept, named, and removed.

    Files that get another name in the end are called temporary.
    """
    events: list[str] = []

    def called(path: Any) -> str:
        name = Path(os.fsdecode(path)).name
        return "temporary" if name.endswith(".tmp") else name

    def content_of(descriptor: int) -> str:
        status = os.fstat(descriptor)
        if os.path.samestat(status, folder.stat()):
            return "names"
        path, = (path for path in folder.iterdir() if os.path.samestat(status, path.stat()))
        return f"{called(path)} of {path.stat().st_size} bytes"  # those that are not in a buffer of Python's

    def record(name: str, describe: Callable[..., str]) -> None:
        function = getattr(os, name)

        def replacement(*arguments: Any, **options: Any) -> Any:
            events.append(describe(*arguments))
            return function(*arguments, **options)

        monkeypatch.setattr(os, name, replacement)

    record("fsync", lambda descriptor: f"keep {content_of(descriptor)}")
    record("replace", lambda old, new: f"{called(old)} becomes {called(new)}")
    record("link", lambda old, new: f"{called(old)} becomes {called(new)}")
    record("unlink", lambda path, **_: f"remove {called(path)}")
    if sys.version_info < (3, 11):  # pathlib has kept the function that it found when it was imported
        unlink = Path.unlink

        def of_path(path: Path, missing_ok: bool = False) -> None:
            events.append(f"remove {called(path)}")
            unlink(path, missing_ok)

        monkeypatch.setattr(Path, "unlink", of_path)
    return events
