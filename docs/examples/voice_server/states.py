"""Sessions in a file: what a server writes when it ends, and the next one goes on from."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path
from time import time
from typing import NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save


class Kept(NamedTuple):
    """A session that nobody is connected to."""

    h: np.ndarray
    c: np.ndarray
    """The states of the LSTM, (layers, 128)."""
    context: np.ndarray
    """(CONTEXT,) int16, the last samples that it heard."""
    chunks: int
    """How many chunks have been answered."""
    since: float
    """When it was left, in seconds since 1970."""


class States:
    """A file of sessions, for one network.

    Parameters
    ----------
    path : path
        Where it is, or will be.
    weights : path
        The network's file: the states of another one mean nothing.
    state, context : tuple of int
        Shapes of h and c, and of the samples that are remembered.

    Raises
    ------
    FileNotFoundError
        If there is no folder for it: better now than when sessions are to be written.
    """

    def __init__(self, path: Path, weights: Path, state: tuple[int, ...], context: tuple[int, ...]) -> None:
        if not path.parent.is_dir():
            raise FileNotFoundError(f"{path}: no such folder")
        self._path = path
        self._kinds = {
            "h": (np.float32, state),
            "c": (np.float32, state),
            "context": (np.int16, context),
            "chunks": (np.int64, ()),
            "since": (np.float64, ()),
        }
        self._network = hashlib.sha256(weights.read_bytes()).hexdigest()

    def write(self, sessions: dict[str, Kept]) -> None:
        """Write all, or leave what is there.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        kept = list(sessions.values())
        arrays = {
            name: np.array([getattr(one, name) for one in kept], dtype).reshape(-1, *shape)
            for name, (dtype, shape) in self._kinds.items()
        }
        data = save(arrays, {"sessions": json.dumps(list(sessions)), "network": self._network})
        # Whoever knows a session's name may go on with it: the file is its owner's alone, as mkstemp makes it.
        handle, name = tempfile.mkstemp(dir=self._path.parent, prefix=self._path.name)
        try:
            with open(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, self._path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise

    def read(self, seconds: float) -> dict[str, Kept]:
        """Return the sessions that were left in the last ``seconds``; none if there is no file.

        Raises
        ------
        OSError
            If it cannot be read.
        ValueError
            If it is no such file, or of another network; the message begins with the path.
        """
        if not self._path.exists():
            return {}
        return {name: one for name, one in self._read().items() if one.since > time() - seconds}

    def remove(self) -> None:
        """Remove the file, before anybody goes on.

        Were it to stay, and this server to be killed, the next one would go on from states that are older than what
        was answered.
        """
        self._path.unlink(missing_ok=True)

    def _read(self) -> dict[str, Kept]:
        try:
            with safe_open(self._path, "numpy") as file:
                said = file.metadata() or {}
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
            names = [str(name) for name in json.loads(said["sessions"])]
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{self._path}: not a file of sessions: {error}") from None
        if said.get("network") != self._network:
            raise ValueError(f"{self._path}: has sessions of another network; start with another --states file")
        for name, (dtype, shape) in self._kinds.items():
            array = arrays.get(name)
            if array is None or array.dtype != dtype or array.shape != (len(names), *shape):
                raise ValueError(f"{self._path}: not a file of sessions: {name} should be of shape {shape} for each")
        columns = arrays["h"], arrays["c"], arrays["context"], arrays["chunks"].tolist(), arrays["since"].tolist()
        return {name: Kept(*values) for name, *values in zip(names, *columns, strict=True)}
