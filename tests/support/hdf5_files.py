"""HDF5 files made by hand, of the newer kind: for what no library writes."""

from __future__ import annotations

ROOT = 48
"""Where the header of the first group begins."""

TEXTS_ELSEWHERE = b"\x19\1\0\0" + (16).to_bytes(4, "little") + b"\x10\0\0\0" + (1).to_bytes(4, "little")
"""The type of texts that lie in heaps; values are lengths, places of heaps and numbers of texts in them."""


def texts(size: int) -> bytes:
    """Return the type of texts that have a number of bytes."""
    return b"\x13\0\0\0" + size.to_bytes(4, "little")


def message(kind: int, data: bytes = b"") -> bytes:
    """Return a part of a header."""
    return bytes([kind]) + len(data).to_bytes(2, "little") + b"\0" + data


def attribute(name: str, kind: bytes, count: int, values: bytes = b"") -> bytes:
    """Return an attribute that is a list; without values it is a last message, and they are what follows."""
    shape, text = b"\2\1\0\1" + count.to_bytes(8, "little"), name.encode()
    sizes = b"".join(len(part).to_bytes(2, "little") for part in (text, kind, shape))
    return message(0xC, b"\3\0" + sizes + b"\0" + text + kind + shape + values)


def link(name: bytes, address: int, length: int | None = None) -> bytes:
    """Return a link to a group, whose name may be said to be longer than the link."""
    length = len(name) if length is None else length
    return message(6, b"\1\2" + length.to_bytes(4, "little") + name + address.to_bytes(8, "little"))


def group(messages: bytes) -> bytes:
    """Return the header of a group."""
    return b"OHDR\2\2" + len(messages).to_bytes(4, "little") + messages


def file(messages: bytes, rest: bytes = b"") -> bytes:
    """Return a file whose first group has messages, with what follows it."""
    start = b"\x89HDF\r\n\x1a\n\2\x08\x08\0" + bytes(24) + ROOT.to_bytes(8, "little")
    return start.ljust(ROOT, b"\0") + group(messages) + rest


def layer(name: str, messages: bytes, rest: bytes) -> bytes:
    """Return a file of Keras 2 of one layer, whose group has messages, with what follows them."""

    def root(address: int) -> bytes:
        return link(name.encode(), address) + attribute("layer_names", texts(len(name)), 1, name.encode())

    return file(root(len(file(root(0)))), group(messages) + rest)
