"""Pipes that do not wait."""

from __future__ import annotations

import os
import selectors
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, BinaryIO

import pytest


@contextmanager
def trickling(monkeypatch: pytest.MonkeyPatch, pieces: Iterable[bytes], buffering: int = -1) -> Iterator[BinaryIO]:
    """Give a pipe that does not wait, and gets another piece, or in the end its end, whenever its reader does."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    pipe, left = open(writing, "wb", buffering=0), list(pieces)  # noqa: SIM115

    class Selector(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
        def select(self, timeout: float | None = None) -> Any:
            assert not super().select(0), "there is something to read"
            if left:
                pipe.write(left.pop(0))
            else:
                pipe.close()
            return super().select(timeout)

    with pipe, open(reading, "rb", buffering=buffering) as stream, monkeypatch.context() as patch:
        patch.setattr(selectors, "DefaultSelector", Selector)
        yield stream
    assert not left


def pieces_of(content: bytes, size: int) -> list[bytes]:
    """Cut content into a first byte, and pieces of a size."""
    cuts = [0, *range(1, len(content), size), len(content)]
    return [content[start:end] for start, end in pairwise(cuts)]
