"""What `io.write` is given: all of it is read back, or nothing is written."""

from __future__ import annotations

import errno
import io as standard_io
import os
import re
import stat
import threading
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.disks import recorded
from support.processes import HANG, posix

from numba_lstm import LSTM, cli, io
from numba_lstm.formats import bfloat16
from numba_lstm.formats.numpy_files import npz

by_suffix = pytest.mark.parametrize("suffix", [".safetensors", ".npz"])


# --- arrays -------------------------------------------------------------------------------------------------
class Variable:
    """What gives a masked array when it is asked for its numbers, as those of files of measurements do."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.ma.masked_all(3, np.float32)


MASKED = {
    "some": np.ma.masked_less([3.0, -1.0], 0),
    "none": np.ma.masked_array(np.ones(3), mask=False),
    "no mask at all": np.ma.masked_array(np.ones(3)),
    "bfloat16": np.ma.masked_array(np.zeros(3, bfloat16.DTYPE)),
    "a number": np.ma.masked,
    "a record": np.ma.masked_array(np.zeros(1, "f4,f4"), mask=[(True, False)])[0],
    "of another library": Variable(),
}


@by_suffix
@pytest.mark.parametrize("array", MASKED.values(), ids=MASKED)
def test_masks_are_not_dropped(tmp_path: Path, suffix: str, array: Any) -> None:
    path = tmp_path / ("a" + suffix)
    path.write_bytes(b"older")
    with pytest.raises(TypeError, match=r"^speed is a masked array, and which of its numbers count .*filled\(value\)$"):
        io.write(path, {"time": np.ones(3), "speed": array})
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]


@by_suffix
@pytest.mark.parametrize("value", [[1.0, 2.0], (np.ones(2),), 3.0, None, "text", np.ndarray])
def test_what_is_no_array(tmp_path: Path, suffix: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f"^speed should be a NumPy array, got: {type(value).__name__}$"):
        io.write(tmp_path / ("a" + suffix), {"speed": value})
    assert not list(tmp_path.iterdir())


@by_suffix
def test_other_arrays_are_written_as_plain_ones(tmp_path: Path, suffix: str) -> None:
    path, array = tmp_path / ("a" + suffix), np.ones((2, 3), np.float32)
    given = {"parameter": LSTM(3, 5).weight_ih_l0, "number": np.float32(3), "rows": array.view(np.recarray)}
    io.write(path, given)  # type: ignore[arg-type]
    for name, read in io.read(path).items():
        assert type(read) is np.ndarray
        np.testing.assert_array_equal(read, np.asarray(given[name]), strict=True)


class Trap:
    """What leaves a trace when it is pickled."""

    def __reduce__(self) -> Any:
        raise AssertionError("pickled")


OBJECTS = {
    "objects": np.array([Trap()]),
    "a field": np.array([(1, Trap())], [("a", "i4"), ("b", object)]),
    "within a field": np.zeros(1, [("a", [("b", object, (2,))])]),
    "numbers": np.array([1.0, 2.0], object),
    "none": np.zeros(0, object),
}
if hasattr(np.dtypes, "StringDType"):  # since NumPy 2
    OBJECTS["texts of any length"] = np.array(["a", "b"], np.dtypes.StringDType())


@by_suffix
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("array", OBJECTS.values(), ids=OBJECTS)
def test_nothing_is_pickled(tmp_path: Path, suffix: str, array: np.ndarray) -> None:
    """An array of the name of an argument of np.savez does not allow it either."""
    for others in ({}, {"allow_pickle": np.array(True)}):
        with pytest.raises(TypeError, match=r"^a\.b holds .*: objects would have to be pickled, which is never done$"):
            io.write(tmp_path / ("a" + suffix), {**others, "a.b": array})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dtype", ["c16", "U3", "S2", "M8[s]", "V2", "f4,i4"])
def test_dtypes_that_one_format_lacks(tmp_path: Path, dtype: str) -> None:
    array = np.zeros(3, dtype)
    with pytest.raises(ValueError, match=r"^safetensors cannot hold these arrays: .*dtype"):
        io.write(tmp_path / "a.safetensors", {"a": array})
    assert not list(tmp_path.iterdir())
    io.write(tmp_path / "a.npz", {"a": array})
    np.testing.assert_array_equal(io.read(tmp_path / "a.npz")["a"], array, strict=True)


@by_suffix
@pytest.mark.parametrize("shape", [(6,), (2, 3), (), (0, 3)])
def test_bfloat16_of_another_library(tmp_path: Path, suffix: str, shape: tuple[int, ...]) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    path, numbers = tmp_path / ("a" + suffix), np.resize([1.5, -2, 1e30, np.inf, np.nan, 0.1], shape)
    array = numbers.astype(ml_dtypes.bfloat16)
    expected = np.asarray(array.astype(np.float32))
    for same in (array, array.astype(array.dtype.newbyteorder()), array.T.copy().T):
        io.write(path, {"a": same})
        assert io.describe(path)["a"] == (shape, "bfloat16")
        np.testing.assert_array_equal(io.read(path)["a"], expected, strict=True)


def test_types_of_numpys_own(tmp_path: Path) -> None:
    for kind in np.typecodes["All"].replace("O", ""):
        array = np.zeros((2, 3), kind if kind not in "SUV" else kind + "3")
        io.write(tmp_path / "a.npz", {"a": array})
        np.testing.assert_array_equal(io.read(tmp_path / "a.npz")["a"], array, strict=True)


@by_suffix
@pytest.mark.parametrize("kind", ["float8_e4m3fn", "float8_e5m2", "int4", "uint4", "float4_e2m1fn"])
def test_types_of_another_library(tmp_path: Path, suffix: str, kind: str) -> None:
    """Files would say how many bytes they have, and our reader of safetensors refuses those that it has names for."""
    ml_dtypes = pytest.importorskip("ml_dtypes")
    array = np.ones(3, getattr(ml_dtypes, kind))
    with pytest.raises(ValueError, match=f"^speed holds {kind}, which NumPy lacks, so it could not be read: "):
        io.write(tmp_path / ("a" + suffix), {"time": np.ones(3), "speed": array})
    fields = np.zeros(3, [("a", "f4"), ("b", array.dtype, (2,))])
    with pytest.raises(ValueError, match=r"^speed holds .*, which NumPy lacks, so it could not be read: "):
        io.write(tmp_path / ("a" + suffix), {"speed": fields})
    assert not list(tmp_path.iterdir())


# --- names --------------------------------------------------------------------------------------------------
NAMES = [
    "allow_pickle", "file", "args", "kwds", "arr_0", "a/b", "a/", "/a", "//", "../a", "a/../b", "..", ".", "a\\b",
    "C:\\a", "", " ", "a.npy", "a.npy.npy", ".npy", "a.npz", "\n", "\x1b[31m", "a\"b", "語", "🧬", "\u202e",
    "serialized_a", "a/data.pkl", "a/archive_format", "__metadata__.npy", "metadata", "_", "x" * 65_531, "語" * 21_843,
]  # fmt: skip


def write_and_read(path: Path, names: list[str]) -> None:
    """Arrays come back under their names, each the one that it was."""
    arrays = {name: np.arange(number, number + 3) for number, name in enumerate(names)}
    io.write(path, arrays)
    read = io.read(path)
    assert sorted(read) == sorted(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array, strict=True)
    assert io.describe(path).keys() == arrays.keys()
    assert list(path.parent.iterdir()) == [path]


@by_suffix
@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name[:20]))
def test_names_come_back(tmp_path: Path, suffix: str, name: str) -> None:
    write_and_read(tmp_path / ("a" + suffix), [name])
    write_and_read(tmp_path / ("a" + suffix), [name, "other"])


@by_suffix
def test_all_names_together_come_back(tmp_path: Path, suffix: str) -> None:
    write_and_read(tmp_path / ("a" + suffix), NAMES)


@by_suffix
@settings(max_examples=30)
@given(names=st.lists(st.text(st.characters(), max_size=8), max_size=5, unique=True))
def test_any_names(tmp_path_factory: pytest.TempPathFactory, suffix: str, names: list[str]) -> None:
    """They come back, or nothing is written: half characters, and in one format NUL."""
    path = tmp_path_factory.mktemp("names") / ("a" + suffix)
    letters = "".join(names)
    if re.search("[\ud800-\udfff]", letters) or ("\0" in letters and suffix == ".npz"):
        with pytest.raises(ValueError, match="can have the name"):
            io.write(path, dict.fromkeys(names, np.zeros(3)))
        assert not list(path.parent.iterdir())
    else:
        write_and_read(path, names)


REFUSED: list[tuple[Any, type[Exception], str]] = [
    ("__metadata__", ValueError, "no array can have the name __metadata__: it is that of the metadata"),
    ("a\udc80", ValueError, "no array can have the name 'a\\udc80', which has half of a character"),
    (1, TypeError, "names of arrays should be of type str, got: 1"),
    (b"a", TypeError, "names of arrays should be of type str, got: b'a'"),
    (None, TypeError, "names of arrays should be of type str, got: None"),
    (("a",), TypeError, "names of arrays should be of type str, got: ('a',)"),
]


@by_suffix
@pytest.mark.parametrize(("name", "error", "words"), REFUSED)
def test_names_that_are_refused(tmp_path: Path, suffix: str, name: Any, error: type[Exception], words: str) -> None:
    path = tmp_path / ("a" + suffix)
    path.write_bytes(b"older")
    with pytest.raises(error, match=f"^{re.escape(words)}$"):
        io.write(path, {"first": np.ones(3), name: np.ones(3)})
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["a\0", "\0", "x" * 65_532, "語" * 21_844], ids=["behind", "alone", "long", "wide"])
def test_names_that_a_zip_archive_cannot_have(tmp_path: Path, name: str) -> None:
    """Python would cut them at the NUL; and what can be a name in safetensors is one."""
    with pytest.raises(ValueError, match=r"^no array of an npz file can have the name .*: it has a NUL, or is too"):
        io.write(tmp_path / "a.npz", {name: np.ones(3)})
    assert not list(tmp_path.iterdir())
    write_and_read(tmp_path / "a.safetensors", [name])


@pytest.mark.parametrize("dtype", [np.dtype("i1"), bfloat16.DTYPE], ids=["int8", "bfloat16"])
def test_names_that_readers_would_refuse(tmp_path: Path, dtype: np.dtype[Any]) -> None:
    """A file of next to nothing but names is refused by the reader, so it is not written either."""
    path = tmp_path / "a.safetensors"
    length = 1 << 20
    io.write(path, {"x" * length: np.zeros(3, dtype)})
    assert [len(name) for name in io.read(path)] == [length]
    path.unlink()
    with pytest.raises(ValueError, match=r"^names and metadata are too long for what they describe: [0-9,]+ bytes$"):
        io.write(path, {"x" * length: np.zeros(3, dtype), "y" * length: np.zeros(3, dtype)})
    assert not list(tmp_path.iterdir())
    io.write(path, {"x" * length: np.zeros(3, dtype), "y" * length: np.zeros(1 << 20, dtype)})
    assert len(io.read(path)) == 2


@by_suffix
def test_texts_of_other_classes_are_names(tmp_path: Path, suffix: str) -> None:
    """Whatever they look like when they are printed."""

    class Name(str):
        def __str__(self) -> str:
            return "other"

        __repr__ = __format__ = lambda self, *_: "other"  # type: ignore[assignment]

    io.write(tmp_path / ("a" + suffix), {Name("a"): np.ones(3), np.str_("b"): np.zeros(3)})
    assert sorted(io.read(tmp_path / ("a" + suffix))) == ["a", "b"]


def test_backslashes_are_no_folders_on_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's module takes what separates folders for a slash, in a name that is written and in one that is read."""
    names, content = ["a\\b", "a/b"], standard_io.BytesIO()
    write_and_read(tmp_path / "a.npz", names)
    with monkeypatch.context() as patch:
        patch.setattr(os, "sep", "\\")
        assert zipfile.ZipInfo("a\\b").filename == "a/b"
        npz.write(content, {name: np.ones(3) for name in names}, {})
        for size, file in (
            (content.tell(), content),
            ((tmp_path / "a.npz").stat().st_size, standard_io.BytesIO((tmp_path / "a.npz").read_bytes())),
        ):
            assert npz.read(file, size, lambda name: True).names == names


def test_an_npz_file_is_what_numpy_writes(tmp_path: Path) -> None:
    arrays = {"a": np.ones((2, 3)).T, "b": np.arange(3, dtype=">i2"), "c/d": np.array("text"), "e": np.zeros(0)}
    io.write(tmp_path / "ours.npz", arrays)
    np.savez(tmp_path / "numpys.npz", **arrays)  # type: ignore[arg-type]
    assert (tmp_path / "ours.npz").read_bytes() == (tmp_path / "numpys.npz").read_bytes()


def test_weights_whose_name_cannot_be_written(tmp_path: Path, capsys: Any) -> None:
    """The command says so in a line."""
    state = LSTM(3, 5, seed=0).state_dict()
    io.write(tmp_path / "a.safetensors", {f"{start}.{name}": a for start in ("\0", "b") for name, a in state.items()})
    assert cli.main(["convert", str(tmp_path / "a.safetensors"), str(tmp_path / "a.npz")]) == 2
    assert "it has a NUL, or is too long" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


# --- what else is recorded ----------------------------------------------------------------------------------
@by_suffix
@pytest.mark.parametrize("metadata", [{}, {"": ""}, {"__metadata__": "a"}, {"allow_pickle": "1"}, {"a\0": "\n語"}])
def test_metadata_comes_back(tmp_path: Path, suffix: str, metadata: dict[str, str]) -> None:
    for dtype in (np.dtype("f4"), bfloat16.DTYPE):
        io.write(tmp_path / ("a" + suffix), {"a": np.zeros(3, dtype)}, metadata)
        assert io.read_contents(tmp_path / ("a" + suffix)).metadata == metadata


@by_suffix
@pytest.mark.parametrize("metadata", [{"a": 1}, {1: "a"}, {"a": None}, {"a": b"b"}])
def test_metadata_that_is_no_text(tmp_path: Path, suffix: str, metadata: Any) -> None:
    with pytest.raises(TypeError, match=r"^keys and values of metadata should be of type str, got: "):
        io.write(tmp_path / ("a" + suffix), {"a": np.zeros(3)}, metadata)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("metadata", [{"a": "b\ud800"}, {"a\udc80": "b"}])
def test_metadata_with_half_of_a_character(tmp_path: Path, metadata: dict[str, str]) -> None:
    """UTF-8 has none, in which safetensors are; npz files have escapes."""
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"older")
    words = f"safetensors cannot hold metadata {next(iter(metadata))!r}: half of a character is in it"
    with pytest.raises(ValueError, match=f"^{re.escape(words)}$"):
        io.write(path, {"a": np.zeros(3)}, {"first": "text", **metadata})
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]
    io.write(tmp_path / "a.npz", {"a": np.zeros(3)}, metadata)
    assert io.read_contents(tmp_path / "a.npz").metadata == metadata


@pytest.mark.parametrize(("suffix", "key"), [(".npz", "numba_lstm.bfloat16"), (".safetensors", "DCP_SHARDING_INFO")])
def test_metadata_that_means_something_else(tmp_path: Path, suffix: str, key: str) -> None:
    """A reader would take it for what a writer says of the arrays."""
    with pytest.raises(ValueError, match=f"^{key} cannot be recorded: it says "):
        io.write(tmp_path / ("a" + suffix), {"a": np.zeros(3)}, {key: "[]"})
    assert not list(tmp_path.iterdir())


# --- on the disk --------------------------------------------------------------------------------------------
def write_arrays(path: Path) -> None:
    io.write(path, {"a": np.ones(3)})


def save(path: Path) -> None:
    LSTM(3, 5).save(path)


def write_by_hand(path: Path) -> None:
    io.write_whole(path, lambda file: file.write(b"content"))  # less than a buffer of Python's


def write_text(path: Path) -> None:
    def write(file: Any) -> None:
        with standard_io.TextIOWrapper(file, "utf-8") as text:  # which closes the file as well
            text.write("content")

    io.write_whole(path, write)
    assert path.read_bytes() == b"content"


@posix
@by_suffix
@pytest.mark.parametrize("write", [write_arrays, save, write_by_hand, write_text])
@pytest.mark.parametrize("there", [False, True], ids=["new", "replaced"])
def test_a_file_gets_its_name_once_the_disk_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, write: Any, there: bool
) -> None:
    """Otherwise a power cut may leave an empty file of that name."""
    path = tmp_path / ("a" + suffix)
    if there:
        path.write_bytes(b"older")
    events = recorded(monkeypatch, tmp_path)
    write(path)
    size = path.stat().st_size
    named = [f"keep temporary of {size} bytes", f"temporary becomes {path.name}", "keep names"]
    assert [event for event in events if event != "remove temporary"] == named


@pytest.mark.parametrize(
    ("number", "is_told"),
    [
        *((number, True) for number in (errno.EIO, errno.ENOSPC)),
        *((number, False) for number in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)),
    ],
)
def test_what_a_disk_says_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, is_told: bool
) -> None:
    """That it could not be kept; a file system without a disk behind it has nothing to say."""
    path = tmp_path / "a.npz"
    path.write_bytes(b"older")

    def fail(descriptor: int) -> None:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    if is_told:
        with pytest.raises(OSError, match=r"a\.npz") as caught:
            write_arrays(path)
        assert (caught.value.errno, caught.value.filename) == (number, str(path))
        assert path.read_bytes() == b"older"
    else:
        write_arrays(path)
        assert io.read(path)
    assert list(tmp_path.iterdir()) == [path]


def test_folders_that_cannot_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows, where none can be opened: the file is there, and that is no error."""
    open_it, refused = os.open, []

    def refuse(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        if Path(path) == tmp_path:
            refused.append(path)
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return open_it(path, flags, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    write_arrays(tmp_path / "a.npz")
    assert refused
    assert io.read(tmp_path / "a.npz")


@posix
def test_pipes_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They have no disk."""
    os.mkfifo(tmp_path / "pipe.npz")
    content: list[bytes] = []
    reader = threading.Thread(target=lambda: content.append((tmp_path / "pipe.npz").read_bytes()))
    reader.start()
    events = recorded(monkeypatch, tmp_path)
    write_arrays(tmp_path / "pipe.npz")
    reader.join(HANG)
    assert content[0].startswith(b"PK")
    assert events == []
