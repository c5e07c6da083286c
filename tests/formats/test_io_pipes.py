"""Arrays out of pipes, which may say more than comes, be empty for now, or never end."""

from __future__ import annotations

import io as standard_io
import os
import sys
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.pipes import pieces_of, trickling
from support.processes import HANG, posix

from numba_lstm import LSTM, cli, io
from numba_lstm.formats.numpy_files import npy

pytestmark = posix


def bytes_of(array: np.ndarray) -> bytes:
    content = standard_io.BytesIO()
    np.save(content, array)
    return content.getvalue()


WHOLE = bytes_of(np.arange(1000, dtype=np.float32))


def declaring(shape: str) -> bytes:
    """Return a header that says something of an array, and the first numbers of it."""
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + (len(text) + 1).to_bytes(2, "little") + text + b"\n" + bytes(40)


def piped(content: bytes, buffering: int = -1) -> np.ndarray:
    """Read an array from a pipe into which something is written."""
    reading, writing = os.pipe()

    def write() -> None:
        with open(writing, "wb") as file:
            file.write(content)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with open(reading, "rb", buffering=buffering) as file:
            return io.read_array(file)
    finally:
        writer.join(HANG)


# --- headers that say too much ------------------------------------------------------------------------------
DECLARED = {
    "more than is there": ("(11,)", r"it declares 44 bytes, \(11,\) of float32; 40 are there"),
    "more than memory": (f"({10**15},)", r"it declares 4,000,000,000,000,000 bytes, .*; 40 are there"),
    "more than an address": (f"({2**62}, {2**62})", r"it declares 85,0.* bytes, .*; 40 are there"),
    "an axis beyond an address": (f"({2**63},)", r"it has shape \(9223372036854775808,\)"),
    "that axis, and no numbers": (f"(0, {2**70})", r"it has shape \(0, 1180591620717411303424\)"),
    "more axes than arrays have": (f"({'1, ' * 65})", r"it has shape \(1, 1, "),
    "more bytes than can be printed": (f"({'9223372036854775807, ' * 400})", r"it has shape \(9223372036854775807, "),
    "more digits than can be read": (f"({'9' * 5000},)", "it has a damaged header: "),
    "less than nothing": ("(-10,)", r"it has shape \(-10,\)"),
}


@pytest.mark.parametrize(("shape", "words"), DECLARED.values(), ids=DECLARED)
def test_headers_that_say_too_much(tmp_path: Path, shape: str, words: str) -> None:
    """A pipe and a file are refused alike, and nothing is allocated for what is not there."""
    content = declaring(shape)
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    for read in (lambda: piped(content), lambda: io.read_array(path)):
        tracemalloc.start()
        try:
            with pytest.raises(ValueError, match=f"^{words}"):
                read()
            assert tracemalloc.get_traced_memory()[1] < 20 << 20
        finally:
            tracemalloc.stop()


def test_the_command_says_so_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    LSTM(3, 5).save(tmp_path / "w.npz")
    for shape in (f"({10**15}, 1, 3)", f"({2**70}, 1, 3)"):
        reading, writing = os.pipe()
        os.write(writing, declaring(shape))
        os.close(writing)
        with open(reading) as stream:
            monkeypatch.setattr(sys, "stdin", stream)
            assert cli.main(["run", str(tmp_path / "w.npz"), "-"]) == 2
        printed = capsys.readouterr().err
        assert "input - is not a complete .npy file of numbers: it " in printed
        assert printed.count("\n") == 1


def test_what_comes_after_the_array_is_not_read() -> None:
    """Of a pipe that never ends, one byte more than the array."""

    content = bytes_of(np.ones(10_000))  # longer than a header can be

    class Endless(standard_io.RawIOBase):
        given = 0

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            part = (content[self.given :] or bytes(len(buffer)))[: len(buffer)]
            buffer[: len(part)] = part
            self.given += len(part)
            return len(part)

    pipe: Any = Endless()
    assert npy.receive(pipe) == content + bytes(1)
    assert pipe.given == len(content) + 1


# --- pipes that are empty for now ---------------------------------------------------------------------------
@pytest.mark.parametrize("buffering", [-1, 0], ids=["buffered", "raw"])
@pytest.mark.parametrize(("numbers", "size"), [(3, 7), (1000, 50), (1000, 1 << 20), (20_000, 4096)])
def test_a_pipe_that_is_empty_for_now_has_not_ended(
    monkeypatch: pytest.MonkeyPatch, buffering: int, numbers: int, size: int
) -> None:
    array = np.arange(numbers, dtype=np.float32)
    with trickling(monkeypatch, pieces_of(bytes_of(array), size), buffering) as file:
        np.testing.assert_array_equal(io.read_array(file), array, strict=True)


@pytest.mark.parametrize("buffering", [-1, 0], ids=["buffered", "raw"])
@pytest.mark.parametrize(("content", "there"), [(WHOLE[:-4], "3,996"), (WHOLE + b"1", "4,001")], ids=["early", "late"])
def test_a_pipe_that_ends_too_early_or_late(
    monkeypatch: pytest.MonkeyPatch, buffering: int, content: bytes, there: str
) -> None:
    with (
        trickling(monkeypatch, pieces_of(content, 1000), buffering) as file,
        pytest.raises(ValueError, match=rf"it declares 4,000 bytes, .*; {there} are there"),
    ):
        io.read_array(file)


def test_pieces_of_a_pipe_without_a_buffer() -> None:
    """As of ``python -u``: a read gives what is there, which is not all that will be."""
    array = np.arange(100_000, dtype=np.float32)  # more than a pipe holds
    np.testing.assert_array_equal(piped(bytes_of(array), buffering=0), array, strict=True)


def test_standard_input_that_is_empty_for_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    LSTM(3, 5).save(tmp_path / "w.npz")
    x = np.ones((4, 1, 3), np.float32)
    with trickling(monkeypatch, pieces_of(bytes_of(x), 70)) as file:
        monkeypatch.setattr(sys, "stdin", standard_io.TextIOWrapper(file))
        assert cli.main(["run", str(tmp_path / "w.npz"), "-", "-o", str(tmp_path / "out.npz")]) == 0
    np.testing.assert_array_equal(io.read(tmp_path / "out.npz")["output"], LSTM.load(tmp_path / "w.npz")(x)[0])
