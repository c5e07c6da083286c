"""Pipes that do not wait: whoever shares one with this process may have switched that off for both."""

from __future__ import annotations

import errno
import os
import selectors
import sys
from typing import Any

_PIECE = 1 << 20
"""Bytes that are asked for at a time: room for them is made before it is known how many there are."""


def read_some(file: Any, count: int) -> bytes:
    """Return bytes of a file as soon as there are any, at most so many; none at its end only.

    Parameters
    ----------
    file : binary file
        Raw or with a buffer.

    Raises
    ------
    OSError
        If it cannot be read; BlockingIOError if it has nothing yet, and there is no way to wait.

    Examples
    --------
    >>> import io
    >>> file = io.BytesIO(b"three")
    >>> read_some(file, 4), read_some(file, 4), read_some(file, 4)
    (b'thre', b'e', b'')
    """
    # What has a buffer would wait until it can fill ours as well.
    content: bytes | None = getattr(file, "read1", file.read)(count)
    if not content and not _waits(file):
        # Where nothing has come yet, read1 gives nothing, as at the end, and read gives None.
        while (content := file.read(count)) is None:
            with selectors.DefaultSelector() as selector:
                selector.register(file, selectors.EVENT_READ)
                selector.select()
    if content is None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return content


def read_up_to(file: Any, count: int) -> bytes:
    """Return so many bytes of a file, or those that are left until its end.

    Examples
    --------
    >>> import io
    >>> read_up_to(io.BytesIO(b"three"), 4), read_up_to(io.BytesIO(b"three"), 6)
    (b'thre', b'three')
    """
    pieces = []
    while count and (piece := read_some(file, min(count, _PIECE))):
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


def _waits(file: Any) -> bool:
    """Return whether a read waits for what is to come, as far as the system can tell."""
    if sys.platform == "win32":  # where pipes wait, and none can be asked
        return True
    try:
        return os.get_blocking(file.fileno())
    except (AttributeError, OSError):  # no file of the system's
        return True
