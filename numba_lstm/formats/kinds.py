"""What a file is, by its content: checkpoints are called ``.pth.tar``, ``.th`` or have no suffix at all."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from . import hdf5
from .zip_archive import Archive

SUFFIXES = {
    "safetensors": (".safetensors",),
    "npz": (".npz",),
    "torch": (".pt", ".pth", ".pth.tar", ".th", ".ckpt", ".bin", ".pt2", ".jit", ".ts", ".torchscript", ".ptl"),
    "index": (".index.json",),
    "onnx": (".onnx",),
    "keras": (".keras", ".h5", ".hdf5"),
}
"""What is read, with the customary ends of names."""

_TITLES = {
    "safetensors": "safetensors", "npz": "NumPy", "torch": "torch", "index": "indices of shards", "onnx": "ONNX",
    "keras": "Keras",
}  # fmt: skip

_START_SIZE = 512
"""Bytes at the start of a file that are looked at."""

_LENGTH_SIZE, _NO_TEXT = 8, 1 << 48
"""The size of the length of a safetensors header, in which eight letters are a larger number than this."""

_TORCH_PROTOCOL_2, _TORCH_PROTOCOL_0 = b"\x80", b"L119547037146038801333356L"
"""How torch's files from before version 1.6 start: a pickle of a large number, in new protocols or the oldest two."""

_ZIP, _TAR, _TAR_PLACE = b"PK", b"ustar", 257
_TORCH_TAR = (b"sys_info", b"pickle", b"storages", b"tensors", b"")
"""First members of torch's tar files."""

_LFS = (b"version https://git-lfs.github.com/spec/", b"version https://hawser.github.com/spec/")
_ANNEX = (b"/annex/objects/", b".git/annex/objects/")

_OTHERS = (
    (0, b"GGUF", "GGUF, the format of llama.cpp, whose weights are mostly quantized"),
    (0, b"\x93NUMPY", "a single array of NumPy (.npy), which has no name: save all weights with numpy.savez"),
    (0, b"\x1f\x8b", "compressed with gzip: unpack it (gunzip), and load what was in it"),
    (0, b"BZh", "compressed with bzip2: unpack it, and load what was in it"),
    (0, b"\xfd7zXZ\0", "compressed with xz: unpack it, and load what was in it"),
    (0, b"\x28\xb5\x2f\xfd", "compressed with zstd: unpack it, and load what was in it"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it, and load what was in it"),
    (0, b"Rar!\x1a\x07", "a RAR archive: unpack it, and load what was in it"),
    (0, b"\x7fELF", "a compiled program"),
    (0, b"PAR1", "a table (Parquet)"),
    (0, b"MATLAB 5.0 MAT-file", "a file of MATLAB: load it with scipy.io, and save its arrays with numpy.savez"),
    (4, b"TFL3", "a model of TensorFlow Lite: save the model of Keras that it was made of"),
    (4, b"ORTM", "a model in ONNX Runtime's own format: load the .onnx file that it was made of"),
    (4, b"PTMF", "a flatbuffer of torch's mobile interpreter: save with torch.jit.save"),
    (4, b"ET1", "a program of ExecuTorch: save the weights with torch.save(model.state_dict(), path)"),
    (_TAR_PLACE, _TAR, "a tar archive: unpack it (tar -xf), and load what was in it"),
)
"""Formats that are not read: where they have which bytes, and what to do instead."""

_MODEL_PROTO = {1: 0, 2: 2, 3: 2, 4: 2, 5: 0, 6: 2, 7: 2, 8: 2, 14: 2, 20: 2, 25: 2, 26: 2}
"""Fields of an ONNX model and their wire types; others of protobuf, which has no magic bytes, have more or fewer."""

_IR_VERSION, _GRAPH, _MOST_FIELDS, _LONGEST_FIELD_HEAD = 1, 7, 10_000, 20


_JSON = "JSON"


class Unreadable(ValueError):
    """A file is none of those that are read; the text says what it is, as the end of a sentence about it."""


@contextmanager
def opened(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """Open a file that can be read from any place; give it and its size.

    Raises
    ------
    OSError
        If it cannot be opened.
    ValueError
        If it is something else, such as a pipe; the message begins with the path.
    """
    if path.is_dir():
        text = f"{os.strerror(errno.EISDIR)}: {what_a_folder_is(path)}"
        raise IsADirectoryError(errno.EISDIR, text, str(path))
    # Looked at before: to open a pipe waits for whoever writes into it, and devices may do something.
    _check_regular(path, os.stat(os.fspath(path)))
    with path.open("rb") as stream:
        status = os.fstat(stream.fileno())
        _check_regular(path, status)  # another file may have taken the name meanwhile
        yield stream, status.st_size


def _check_regular(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path}: a pipe or a device, which cannot be read from any place: write a file first")


def kind_of(file: BinaryIO, size: int, name: str) -> str:
    """Return what an open file is: a key of `SUFFIXES`.

    The content decides.  Where it is damaged or has no marks, the end of the name does.

    Parameters
    ----------
    file : binary file
        That can be read from any place.
    size : int
        Its bytes.
    name : str
        Its name.

    Raises
    ------
    Unreadable
        If it is something else.
    """
    file.seek(0)
    start = file.read(_START_SIZE)
    by_name = kind_by_name(name)
    # First, since the length of a header may be any bytes.
    if start[_LENGTH_SIZE : _LENGTH_SIZE + 1] == b"{" and int.from_bytes(start[:_LENGTH_SIZE], "little") < _NO_TEXT:
        return "safetensors"
    if start.startswith(_ZIP):
        return _zip_kind(file, size, by_name)
    if start.startswith(hdf5.SIGNATURE):
        return "keras"
    if _is_torchs(start):
        return "torch"
    pointer = _pointer(start)
    if pointer is not None:
        raise Unreadable(pointer)
    what = _described(start)
    if what == _JSON:
        return "index"
    if what is None and by_name in ("onnx", "safetensors", "index"):  # damaged: the reader of that says how
        return by_name
    if what is None and _is_onnx(file, size):
        return "onnx"
    if what is None:
        what = f"not recognized, and starts with {start[:16]!r}"
    raise Unreadable(f"{what}; what can be read: {_readable()}")


def kind_by_name(name: str) -> str | None:
    """Return what a name promises, or None.

    Examples
    --------
    >>> kind_by_name("Best.PTH.tar"), kind_by_name("model.safetensors.index.json"), kind_by_name("model")
    ('torch', 'index', None)
    """
    for kind, suffixes in SUFFIXES.items():
        if name.lower().endswith(suffixes):
            return kind
    return None


def label(name: str, kind: str) -> str:
    """Return how messages call a format: by the end of the name if it is customary.

    Examples
    --------
    >>> label("model.pth.tar", "torch"), label("model.npz", "torch")
    ('.pth.tar', 'torch')
    """
    ends = [suffix for suffix in SUFFIXES[kind] if name.lower().endswith(suffix)]
    return max(ends, key=len, default=_TITLES[kind])


def what_a_folder_is(folder: Path) -> str:
    """Return what to do with a folder, as the end of a sentence about it."""
    names = sorted(os.listdir(folder))
    if "saved_model.pb" in names:
        return "TensorFlow's SavedModel, which is not read; use model.save('name.keras')"
    if any(name.endswith(".distcp") for name in names):
        return "a checkpoint of torch.distributed, which is not read; dcp_to_torch_save makes a file of it"
    if "data.pkl" in names:
        return "an archive of torch that was unpacked; zip it again, as one folder"
    found = sorted((name for name in names if kind_by_name(name)), key=lambda name: kind_by_name(name) != "index")
    return f"load a file in it, such as {found[0]!r}" if found else f"load a file; what can be read: {_readable()}"


def _readable() -> str:
    return "; ".join(f"{_TITLES[kind]} ({', '.join(suffixes)})" for kind, suffixes in SUFFIXES.items())


def _is_torchs(start: bytes) -> bool:
    if start.startswith((_TORCH_PROTOCOL_2, _TORCH_PROTOCOL_0)):
        return True
    member = start[:100].rstrip(b"\0").rpartition(b"/")[2]
    return start[_TAR_PLACE:].startswith(_TAR) and member in _TORCH_TAR


def _zip_kind(file: BinaryIO, size: int, by_name: str | None) -> str:
    try:
        names = list(Archive(file, size).members)
    except MemoryError:
        raise
    except Exception:  # damaged: the reader of what it should be says how
        return by_name if by_name in ("torch", "keras") else "npz"
    if names and all(name.endswith(".npy") for name in names):  # whatever arrays are called
        return "npz"
    paths = {name.partition("/")[2] for name in names}
    if "data.pkl" in paths or "archive_format" in paths or any(name.startswith("serialized_") for name in names):
        return "torch"
    if any(name.endswith(".npy") for name in names) or (not names and by_name == "npz"):
        return "npz"
    if "model.weights.h5" in names or by_name == "keras":
        return "keras"
    inside = [name for name in names if kind_by_name(name) or name.endswith("saved_model.pb")]
    what = "a zip archive" + (f" of other things, such as {names[0]!r}" if names and not inside else "")
    instead = f": unpack it, and load what was in it, such as {inside[0]!r}" if inside else ""
    raise Unreadable(f"{what}{instead}; what can be read: {_readable()}")


def _pointer(start: bytes) -> str | None:
    """Return what to do about a small text that stands for the file, or None if it is none."""
    if start.startswith(_LFS):
        return "a Git LFS pointer, which stands for the file itself: get that with `git lfs pull` where it was cloned"
    if start.startswith(_ANNEX):
        return "a pointer of git-annex, which stands for the file itself: get that with `git annex get`"
    return None


def _described(start: bytes) -> str | None:
    """Return what a file that is not read is, or None if it has no marks."""
    if not start:
        return "empty"
    for place, mark, what in _OTHERS:
        if start[place:].startswith(mark):
            return what
    text = _as_text(start)
    if text is None:
        return None
    low = text.lstrip().lower()
    if low.startswith(("<!doctype html", "<html", "<head", "<body")):
        return "a page of HTML, as a download that failed leaves: get the file again"
    if low.startswith(("<?xml", "<net")):
        return "a model of OpenVINO: load the file that it was made of" if "<net" in low else "XML"
    return _JSON if low.startswith("{") else f"text that starts with {text[:40]!r}"


def _as_text(start: bytes) -> str | None:
    try:
        text = start.decode("utf-16" if start.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")
    except UnicodeDecodeError as error:
        if len(start) < _START_SIZE or error.start < _START_SIZE - 4:
            return None
        text = start[: error.start].decode("utf-8-sig")  # which ended within a character
    return text if all(letter.isprintable() or letter.isspace() or letter == "\x1b" for letter in text) else None


def _is_onnx(file: BinaryIO, size: int) -> bool:
    """Return whether a file is one message of protobuf with the fields of an ONNX model."""
    seen, place = set(), 0
    for _ in range(_MOST_FIELDS):
        file.seek(place)
        head = file.read(_LONGEST_FIELD_HEAD)
        tag, rest = _varint(head)
        value, rest = _varint(rest)
        number, wire = tag >> 3, tag & 7
        if _MODEL_PROTO.get(number) != wire or value < 0:
            return False
        seen.add(number)
        place += len(head) - len(rest) + (value if wire else 0)
        if place >= size:
            return place == size and {_IR_VERSION, _GRAPH} <= seen
    return False


def _varint(content: bytes) -> tuple[int, bytes]:
    """Return a number of protobuf at the start of some bytes, and the rest; -1 if there is none."""
    number = 0
    for index, byte in enumerate(content[:10]):
        number |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return number, content[index + 1 :]
    return -1, b""
