"""Hostile input: damaged files and commands, and files made to take more than they should."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import fuzz
import numpy as np
import pytest
from safetensors.numpy import save_file
from support.allocations import at_most

from numba_lstm import LSTM, cli, demo, io

TERABYTE = 1 << 40


def test_a_cut_of_the_mutations() -> None:
    """In a process of its own, which may not crash or hang; ``tests/fuzz.py 20000`` does all of them."""
    command = [sys.executable, fuzz.__file__, "2100"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    counts = [[cell.strip() for cell in row.split("|")[1:-1]] for row in done.stdout.splitlines()[2:]]
    assert [row[0] for row in counts] == [*fuzz.FILES, "commands"]
    for row in counts:  # damage that nothing comes through, or everything, finds nothing
        assert int(row[2].replace(",", "")) > 30, row
        assert int(row[3].replace(",", "")) > 0, row


# --- declared sizes ---------------------------------------------------------------------------------------


def header_only(header: str, length: int | None = None, data: bytes = b"") -> bytes:
    text = header.encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def one_array(dtype: str, shape: list[int], end: int, data: bytes = b"") -> bytes:
    return header_only(json.dumps({"a": {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}}), data=data)


def npy_header(text: str, version: int = 1) -> bytes:
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(text)) + text.encode()


def float_header(shape: str) -> bytes:
    return npy_header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}")


BAD_SAFETENSORS = {
    "a header beyond the file": header_only("{}", 1 << 62),
    "a header that is long and says little": header_only('{"__metadata__": {"a": "' + "a" * (3 << 20) + '"}}'),
    "lists in lists": header_only("[" * 100_000),
    "an array beyond the file": one_array("F32", [TERABYTE], 4 * TERABYTE),
    "a shape beyond its place": one_array("F32", [TERABYTE], 4, bytes(4)),
    "a shape with more bytes than integers can count": one_array("F32", [1 << 62, 1 << 62], 4, bytes(4)),
    "a negative shape": one_array("F32", [-1, -1], 4, bytes(4)),
    "a shape of fractions": header_only(
        '{"a": {"dtype": "F32", "shape": [1.0], "data_offsets": [0, 4]}}', data=bytes(4)
    ),
    "backwards": header_only('{"a": {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [4, 0]}}', data=bytes(4)),
    "a gap": one_array("F32", [1], 4, bytes(8)),
    "one place for two": header_only(
        '{"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},'
        ' "b": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}',
        data=bytes(4),
    ),
    "a name twice": header_only(
        '{"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},'
        ' "a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}',
        data=bytes(4),
    ),
    "no description": header_only('{"a": [1, 2]}'),
    "a kind that is a number": header_only('{"a": {"dtype": 4, "shape": [1], "data_offsets": [0, 4]}}', data=bytes(4)),
    "no mapping": header_only("[1, 2]"),
    "metadata of numbers": header_only('{"__metadata__": {"a": 1}}'),
    "half of a character": header_only("{}")[:-1] + b"\xed",
}


@pytest.mark.parametrize("content", BAD_SAFETENSORS.values(), ids=BAD_SAFETENSORS)
def test_safetensors_that_declare_what_is_not_there(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with at_most(32 << 20), pytest.raises(ValueError, match=r"not a complete \.safetensors file"):
        io.read(path)


BAD_NPY = {
    "an array beyond the file": float_header(f"({TERABYTE},)"),
    "less than the file": float_header("(1,)") + bytes(8),
    "more bytes than integers can count": float_header(f"({1 << 62}, {1 << 62})") + bytes(4),
    "a negative shape": float_header("(-1, -1)") + bytes(4),
    "a shape of truths": float_header("(True,)") + bytes(4),
    "elements of no size": npy_header(f"{{'descr': '|V0', 'fortran_order': False, 'shape': ({TERABYTE},)}}"),
    "a long header": npy_header(" " * (8 << 20), version=2),
    "a header beyond the file": b"\x93NUMPY\x02\x00" + b"\xff" * 4,
    "brackets in brackets": npy_header("(" * 5_000),
    "version 3": npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': ()}", version=3) + bytes(4),
    "objects": npy_header("{'descr': '|O', 'fortran_order': False, 'shape': ()}") + bytes(8),
}


@pytest.mark.parametrize("content", BAD_NPY.values(), ids=BAD_NPY)
def test_npy_that_declare_what_is_not_there(
    tmp_path: Path, content: bytes, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    LSTM(3, 5).save("w.npz")
    Path("x.npy").write_bytes(content)
    with zipfile.ZipFile("a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("weight_ih_l0.npy", content)
    with at_most(24 << 20):
        with pytest.raises(ValueError, match=r"\bit\b"):
            io.read_array("x.npy")
        with pytest.raises(ValueError, match=r"a\.npz: not a complete \.npz file of numbers: .*weight_ih_l0"):
            io.read("a.npz")
        assert cli.main(["run", "w.npz", "x.npy", "-o", "out.npz"]) == 2
    assert capsys.readouterr().err.startswith("numba-lstm: error: input x.npy is not a complete .npy file")


def archive_of(content: bytes, size: int, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return an archive of one member that is said to have a size."""
    name, packed = b"weight_ih_l0.npy", content
    if method == zipfile.ZIP_DEFLATED:
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        packed = packer.compress(content) + packer.flush()
    common = struct.pack("<HHHHHLLLHH", 20, 0, method, 0, 33, zlib.crc32(content), len(packed), size, len(name), 0)
    member = b"PK\x03\x04" + common + name + packed
    entry = b"PK\x01\x02" + struct.pack("<H", 20) + common + struct.pack("<HHHLL", 0, 0, 0, 0, 0) + name
    return member + entry + b"PK\x05\x06" + struct.pack("<HHHHLLH", 0, 0, 1, 1, len(entry), len(member), 0)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_archives_that_declare_what_is_not_there(tmp_path: Path, method: int) -> None:
    path, count = tmp_path / "a.npz", 1 << 28
    content = float_header(f"({count},)")
    size = len(content) + 4 * count
    path.write_bytes(archive_of(content, size, method))
    with at_most(1 << 20), pytest.raises(ValueError, match=r"weight_ih_l0 cannot be 1,073,741,\d+ bytes"):
        io.read(path)
    # As long as it could be, and it is not.
    content = float_header("(1000000,)") + bytes(range(256)) * 16
    path.write_bytes(archive_of(content, len(float_header("(1000000,)")) + 4_000_000, zipfile.ZIP_DEFLATED))
    with at_most(5 << 20), pytest.raises(ValueError, match="not a complete"):
        io.read(path)


def test_other_ways_of_packing_are_refused(tmp_path: Path) -> None:
    """A member of an archive may be a million times its packed size with those that NumPy does not use."""
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with zipfile.ZipFile(tmp_path / "a.npz", "w", method) as archive:
            archive.writestr("weight_ih_l0.npy", fuzz.npy(np.zeros(1_000_000)))
        with at_most(1 << 20), pytest.raises(ValueError, match="cannot be"):
            io.read(tmp_path / "a.npz")


def test_members_that_share_their_bytes(tmp_path: Path) -> None:
    path, content = tmp_path / "a.npz", fuzz.npy(np.zeros(1000))
    with zipfile.ZipFile(path, "w") as archive:
        for index in range(50):
            archive.writestr(f"weight_{index:02}.npy", content)
            archive.infolist()[-1].header_offset = 0
    with pytest.raises(ValueError, match="not a complete"):
        io.read(path)


def test_a_name_twice_in_an_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", fuzz.npy(np.zeros(3)))
        archive.writestr("a", fuzz.npy(np.ones(3)))
    with pytest.raises(ValueError, match="a is there twice"):
        io.read(tmp_path / "a.npz")


# --- memory and time of what is as large as it says -------------------------------------------------------


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_memory_while_a_large_file_is_loaded(tmp_path: Path, suffix: str, kind: Any) -> None:
    """Twice the arrays, in the file's dtype or the module's, whichever is larger."""
    shapes = {"weight_ih_l0": (4096, 9000), "weight_hh_l0": (4096, 1024)}
    path, size = tmp_path / f"a{suffix}", sum(4 * rows * columns for rows, columns in shapes.values())
    arrays = {name: np.zeros(shape, kind) for name, shape in shapes.items()}
    if suffix == ".npz":
        np.savez_compressed(path, **arrays)
    else:
        save_file(arrays, path)
    del arrays
    with at_most(2 * size + (1 << 20)):
        LSTM.load(path)


@pytest.mark.parametrize("line", [">a\n" + "M" * 4_000_000, ">a\nM\n" * 100_000, ">" * 4_000_000])
def test_memory_for_many_and_for_long_proteins(tmp_path: Path, line: str) -> None:
    path = tmp_path / "p.fasta"
    path.write_text(line)
    with at_most(2 * len(line) + fuzz.BYTES), suppress(ValueError):
        demo.read_fasta(path)


# --- files that change ------------------------------------------------------------------------------------


def while_reading(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Have something happen between two reads of a file."""
    done = []
    for module in io.WRITTEN.values():

        def read(file: Any, size: int, wanted: Any, original: Any = module.read) -> Any:
            def meanwhile(name: str) -> bool:
                if not done:
                    done.append(True)
                    act()
                return bool(wanted(name))

            return original(file, size, meanwhile)

        monkeypatch.setattr(module, "read", read)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_a_file_that_is_swapped_is_the_old_one(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path, other = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    old = LSTM(3, 5, seed=1)
    old.save(path)
    LSTM(200, 7, 2, seed=2).save(other)
    while_reading(monkeypatch, lambda: os.replace(other, path))
    read = io.read(path)
    assert not other.exists()
    for name, array in old.named_parameters():
        np.testing.assert_array_equal(read[name], array)
    assert LSTM.load(path).input_size == 200


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize("size", [None, 0, 500])
def test_a_file_that_is_written_into_is_refused(
    tmp_path: Path, suffix: str, size: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"a{suffix}"
    LSTM(300, 50, seed=1).save(path)
    os.utime(path, ns=(1, 1))  # long ago: the clock of a file system may tick only every few milliseconds
    other = bytearray(path.read_bytes())
    other[-20_000:-19_000] = bytes(1000)

    def act() -> None:
        with path.open("r+b") as file:
            if size is None:
                file.write(other)
            else:
                file.truncate(size)

    while_reading(monkeypatch, act)
    with pytest.raises(ValueError, match=r"not a complete|was changed while it was read"):
        LSTM.load(path)
