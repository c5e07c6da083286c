"""Pipes that do not wait: what has not come yet is waited for, and is not taken for the end."""

from __future__ import annotations

import io
import os
from typing import Any

import pytest
from support.pipes import trickling
from support.processes import posix

from numba_lstm.host.pipes import read_some, read_up_to


@posix
@pytest.mark.parametrize("buffering", [-1, 0], ids=["buffered", "raw"])
def test_a_pipe_that_does_not_wait_is_read_until_its_end(monkeypatch: pytest.MonkeyPatch, buffering: int) -> None:
    with trickling(monkeypatch, [b"abc", b"d", b"ef"], buffering) as stream:
        assert read_some(stream, 2) == b"ab"
        assert read_some(stream, 9) == b"c"
        assert read_up_to(stream, 2) == b"de"
        assert read_up_to(stream, 9) == b"f"
        assert read_some(stream, 9) == b""


@posix
def test_a_pipe_that_waits_is_read_until_its_end() -> None:
    reading, writing = os.pipe()
    with open(reading, "rb") as stream:
        os.write(writing, b"abc")
        assert read_some(stream, 2) == b"ab"
        assert read_some(stream, 9) == b"c"
        os.write(writing, b"de")
        os.close(writing)
        assert read_up_to(stream, 9) == b"de"
        assert read_some(stream, 9) == b""


def test_who_asks_for_some_does_not_get_what_follows() -> None:
    file = io.BytesIO(b"abcde")
    assert read_up_to(file, 3) == b"abc"
    assert read_up_to(file, 0) == b""
    assert file.read() == b"de"


def test_what_cannot_be_waited_for_is_refused() -> None:
    class Empty(io.RawIOBase):
        def read(self, size: int = -1) -> Any:
            return None

    for read in (read_some, read_up_to):
        with pytest.raises(BlockingIOError):
            read(Empty(), 3)
