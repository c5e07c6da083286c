"""Texts from files, on terminals: nothing in them steers the terminal, and columns stand below each other."""

from __future__ import annotations

import unicodedata

MOST_LISTED = 10
"""Names that a message lists."""


def printable(text: str, encoding: str | None = None) -> str:
    r"""Return a text with all that is no character to look at written as its escape.

    Control characters, line ends, what turns the direction of writing, and halves of characters, as names of files
    have them that are no UTF-8.

    Parameters
    ----------
    text : str
        Any.
    encoding : str, optional
        What the reader's terminal can show; characters that it has not are escaped as well.

    Examples
    --------
    >>> printable("a\x1b[31m\u202eb"), printable("Größe", "ascii")
    ('a\\x1b[31m\\u202eb', 'Gr\\xf6\\xdfe')
    """
    shown = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
    return shown if encoding is None else shown.encode(encoding, "backslashreplace").decode(encoding)


def listed(names: list[str], longest: int | None = 120) -> str:
    """Return some names in one line, or the first of them and how many there are more.

    Parameters
    ----------
    names : list of str
        Any.
    longest : int, optional
        Letters of a name that are shown; None where somebody has to copy it.

    Examples
    --------
    >>> listed(["a", "b"]), listed([])
    ("'a', 'b'", 'none')
    """
    shown = names[:MOST_LISTED]
    if longest is not None:
        shown = [name if len(name) <= longest else f"{name[:longest]}..." for name in shown]
    text = ", ".join(map(repr, shown)) or "none"
    return f"{text} and {len(names) - MOST_LISTED} more" if len(names) > MOST_LISTED else text


def columns(text: str) -> int:
    """Return how many columns of a terminal a printable text takes.

    Examples
    --------
    >>> columns("abc"), columns("語"), columns("e\u0301")
    (3, 2, 1)
    """
    return sum(
        0 if unicodedata.combining(letter) or unicodedata.category(letter) in ("Mn", "Me")
        else 2 if unicodedata.east_asian_width(letter) in "WF"
        else 1
        for letter in text
    )  # fmt: skip


def padded(text: str, width: int) -> str:
    """Return a printable text with spaces behind it, so that it takes that many columns."""
    return text + " " * (width - columns(text))
