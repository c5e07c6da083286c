"""A text that is read once, from front to back: a file, plain or gzip, or what is open already."""

from __future__ import annotations

import gzip
import io
import os
import stat
import zlib
from types import TracebackType
from typing import Any, BinaryIO

from ..host.pipes import read_some

_GZIP = b"\x1f\x8b"
"""What every member of a gzip file begins with, and no text."""


class Source:
    """A text in pieces of lines, with how much of it has been read.

    Parameters
    ----------
    source : path or binary file
        A file that is open already, such as standard input, stays open.  It need not be seekable.
    name : str, optional
        What errors call it; the path by default.

    Raises
    ------
    OSError
        If it cannot be opened.

    Examples
    --------
    >>> with Source(io.BytesIO(gzip.compress(b"a line of letters")), "letters.gz") as source:
    ...     print(source.read(6), source.read(100), repr(source.read(100)))
    a line  of letters ''
    """

    def __init__(self, source: str | os.PathLike[str] | BinaryIO, name: str | None = None) -> None:
        self._file: Any = source
        self.size: int | None = None
        """Bytes of the file, as it is stored; None where that cannot be known."""
        self._closes = isinstance(source, str | os.PathLike)
        if isinstance(source, str | os.PathLike):
            self._file = open(source, "rb", buffering=0)  # noqa: SIM115
            self.size = _size(self._file)
        self.name = name or str(source if self._closes else getattr(source, "name", source))
        self._raw = _Counted(self._file)
        self._text: io.TextIOWrapper | None = None

    @property
    def position(self) -> int:
        """Bytes that have been read, as they are stored."""
        return self._raw.position

    def read(self, longest: int) -> str:
        r"""Return the next line with its end, ``\n``, or a part of it of so many letters; nothing at the end.

        Raises
        ------
        OSError
            If it cannot be read.
        ValueError
            If it is a gzip file that is damaged or was cut off.
        """
        try:
            if self._text is None:
                self._text = self._decoded()
            return self._text.readline(longest)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"{self.name}: this gzip file is damaged or was cut off: {error}") from None
        except OSError as error:
            raise OSError(error.errno, error.strerror or str(error), self.name) from error

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._closes:
            self._file.close()

    def _decoded(self) -> io.TextIOWrapper:
        """Return the letters, whatever they are packed in: that is told by the content, not by a name."""
        packed = self._raw.beginning(len(_GZIP)) == _GZIP
        # All members count: bgzip writes many, and so does who appends one file to another.
        content: Any = gzip.GzipFile(fileobj=self._raw) if packed else io.BufferedReader(self._raw)
        # A header may be in any encoding, and what reads the letters takes those that count from ASCII.  Editors on
        # Windows begin a file with the mark that "-sig" leaves out.
        return io.TextIOWrapper(content, encoding="utf-8-sig", errors="replace")


class _Counted(io.RawIOBase):
    """Bytes of another file, counted, of which the first can be looked at before they are read."""

    def __init__(self, file: Any) -> None:
        super().__init__()
        self._file = file
        self._ahead = b""
        self.position = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._ahead[: len(buffer)] or self._more(len(buffer))
        self._ahead = self._ahead[len(content) :]
        buffer[: len(content)] = content
        return len(content)

    def beginning(self, count: int) -> bytes:
        """Return the first bytes, fewer if there are no more; a pipe may give them one at a time."""
        while len(self._ahead) < count and (content := self._more(count - len(self._ahead))):
            self._ahead += content
        return self._ahead

    def _more(self, count: int) -> bytes:
        content = read_some(self._file, count)
        self.position += len(content)
        return content


def _size(file: Any) -> int | None:
    status = os.fstat(file.fileno())
    return status.st_size if stat.S_ISREG(status.st_mode) else None
