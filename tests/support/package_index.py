"""Files of packages from the index, with which tests try real models; skipped where there is none."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

SECONDS = 120


def download(requirement: str, folder: Path) -> Path:
    """Download a package, unpack it into a folder, and return that."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", requirement]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("the package index does not answer")
    archives = [path for path in folder.iterdir() if path.suffix in (".whl", ".gz")]
    if not archives:
        pytest.skip(f"{requirement} cannot be downloaded: {done.stderr[-200:].decode(errors='replace')}")
    unpacked = folder / "unpacked"
    if archives[0].suffix == ".whl":
        with zipfile.ZipFile(archives[0]) as archive:
            archive.extractall(unpacked)
    else:
        with tarfile.open(archives[0]) as archive:
            archive.extractall(unpacked, filter="data")
    return unpacked
