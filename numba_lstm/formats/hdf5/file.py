"""A file from its beginning: where its groups are."""

from __future__ import annotations

from .file_bytes import FileBytes, Unknown
from .node import Node

SIGNATURE = b"\x89HDF\r\n\x1a\n"


class File:
    """A whole file in memory.

    Parameters
    ----------
    content : bytes
        All of it.

    Raises
    ------
    ValueError
        From here on and from all nodes: if something does not lie within the file, or is of a kind that is not read.
    """

    def __init__(self, content: bytes) -> None:
        self._bytes = file = FileBytes(content)
        if content[:8] != SIGNATURE:
            raise ValueError("it does not begin as an HDF5 file")
        version = file.number(8, 1)
        if version < 2:
            sizes, base, root = file.read(13, 2), 24 + 4 * version, 24 + 4 * version + 32 + 8
        elif version < 4:
            sizes, base, root = file.read(9, 2), 12, 12 + 24
        else:
            raise Unknown(f"version {version} of the format is not read")
        if sizes != b"\x08\x08":
            raise Unknown("files whose addresses are not of 8 bytes are not read")
        if file.number(base, 8):
            raise Unknown("files that begin with something else are not read")
        self._root = file.number(root, 8)

    @property
    def root(self) -> Node:
        """The group that holds all others; made anew, so that the file's bytes go with the last node."""
        return Node(self._bytes, self._root, "")
