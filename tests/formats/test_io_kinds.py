"""What a file is, is told by its content: other names, no names, and files of something else."""

from __future__ import annotations

import gzip
import io as standard_io
import os
import re
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import torch_files
from support.allocations import at_most
from support.places import GOLDEN_KERAS

from numba_lstm import LSTM, LSTMCell, cli, io
from numba_lstm.io import _by_content, keras, names

LISTED = [".safetensors", ".npz", ".pt", ".pth.tar", ".ts", ".pt2", ".index.json", ".onnx", ".keras", ".h5"]
"""Some of what a message lists where a file is not recognized."""


def state(seed: int = 0) -> dict[str, np.ndarray]:
    return {name: np.array(array) for name, array in LSTM(3, 5, seed=seed).state_dict().items()}


def contents(folder: Path) -> dict[str, bytes]:
    """Return a file of each format with torch's names."""
    LSTM(3, 5, seed=0).save(folder / "a.safetensors")
    LSTM(3, 5, seed=0).save(folder / "a.npz")
    files = {kind: (folder / f"a.{kind}").read_bytes() for kind in ("safetensors", "npz")}
    archive = torch_files.Archive()
    files["torch"] = archive.finish({name: archive.tensor(array) for name, array in state().items()})
    return files


OTHER_NAMES = [
    "model.pth.tar", "model.th", "model.ts", "model.ptl", "model", "model.bin", "model.npz", "model.pt", "0.1-best",
    "model.safetensors", "model.onnx", "model.h5", "model.keras", "model.other", ".hidden",
]  # fmt: skip


@pytest.mark.parametrize("name", OTHER_NAMES)
@pytest.mark.parametrize("kind", ["safetensors", "npz", "torch"])
def test_the_content_decides(tmp_path: Path, kind: str, name: str, capsys: Any) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    path = folder / name
    path.write_bytes(contents(tmp_path)[kind])
    expected = state()
    for made in (LSTM.load(path).state_dict(), io.read(path)):
        assert set(made) == set(expected)
        for key, array in expected.items():
            np.testing.assert_array_equal(made[key], array)
    assert {key: each.shape for key, each in io.describe(path).items()} == {k: a.shape for k, a in expected.items()}
    assert _by_content.format_of(path) is names
    assert cli.main(["info", str(path)]) == 0
    assert "hidden_size" in capsys.readouterr().out


def test_a_cell_under_another_name(tmp_path: Path) -> None:
    cell = LSTMCell(3, 5, seed=1)
    cell.save(tmp_path / "a.npz")
    shutil.move(tmp_path / "a.npz", tmp_path / "a.pt")
    np.testing.assert_array_equal(LSTMCell.load(tmp_path / "a.pt").weight_hh, cell.weight_hh)


@pytest.mark.parametrize("length", [0x80, 0x4B50, 0x7B, 0x8B1F, 0x0A])
def test_a_header_whose_length_looks_like_another_format(tmp_path: Path, length: int) -> None:
    """The first bytes of safetensors are a length, which may be those of a pickle, a zip, JSON or gzip."""
    path, text = tmp_path / "a.safetensors", b"{}"
    length = max(length, len(text))
    path.write_bytes(length.to_bytes(8, "little") + text + b" " * (length - len(text)))
    assert io.read(path) == {}


@pytest.mark.parametrize("name", ["model.bin", "model.pt", "model", "model.onnx", "model.safetensors"])
@pytest.mark.parametrize("original", ["model.keras", "model.h5", "model.weights.h5"])
def test_files_of_keras_under_other_names(tmp_path: Path, name: str, original: str, capsys: Any) -> None:
    path = tmp_path / name
    shutil.copy(GOLDEN_KERAS / original, path)
    for call in (LSTM.load, LSTMCell.load, io.read, io.describe):
        with pytest.raises(ValueError, match=rf"^{re.escape(str(path))}: .* numba_lstm\.io\.keras reads such files$"):
            call(path)
    assert _by_content.format_of(path) is keras
    assert cli.main(["info", str(path)]) == 0
    assert "LSTM" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["model.bin", "model.pt", "model", "model.npz", "model.h5"])
def test_onnx_under_other_names(tmp_path: Path, name: str, capsys: Any) -> None:
    pytest.importorskip("onnx")
    from support import onnx_files

    arrays = onnx_files.random_arrays(np.random.default_rng(0), (3, 5), 1)
    model = onnx_files.model([onnx_files.node(["X", "W", "R", "B"], "lstm", ["Y"])], arrays)
    path = tmp_path / name
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match=r"numba_lstm\.io\.onnx reads such files"):
        LSTM.load(path)
    assert _by_content.format_of(path).__name__ == "numba_lstm.io.onnx"
    assert cli.main(["convert", str(path), str(tmp_path / "out.safetensors")]) == 0
    np.testing.assert_array_equal(
        LSTM.load(tmp_path / "out.safetensors").weight_ih_l0, _by_content.format_of(path).load_lstm(path).weight_ih_l0
    )


# --- what is no file of weights ----------------------------------------------------------------------------


def tar_of(names: list[str]) -> bytes:
    file = standard_io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name), standard_io.BytesIO())
    return file.getvalue()


def zip_of(names: list[str]) -> bytes:
    file = standard_io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, b"")
    return file.getvalue()


def npy_of(array: np.ndarray) -> bytes:
    file = standard_io.BytesIO()
    np.save(file, array)
    return file.getvalue()


OTHERS = {
    "nothing": (b"", "empty"),
    "text": (b"epoch 3\nloss 0.5\n", "text that starts with 'epoch 3"),
    "text of Windows": ("epoch".encode("utf-16"), "text that starts with 'epoch'"),
    "text of many letters": ("ü".encode() * 400, "text that starts with 'üü"),
    "a page": (b"\n<!DOCTYPE html>\n<html><head>", "a page of HTML, as a download that failed leaves"),
    "a page of old": (b"<HTML><BODY>404", "a page of HTML"),
    "an answer": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "XML"),
    "openvino": (b'<?xml version="1.0"?>\n<net name="m" version="11">', "a model of OpenVINO"),
    "gzip": (gzip.compress(b"weights", mtime=0), "compressed with gzip: unpack it"),
    "tar": (tar_of(["model_config.yaml", "model_weights.ckpt"]), "a tar archive: unpack it"),
    "zip": (zip_of(["readme.txt"]), "a zip archive of other things, such as 'readme.txt'"),
    "zip of a model": (zip_of(["config.json", "m/model.safetensors"]), "unpack it, and load .* 'm/model.safetensors'"),
    "zip of a folder": (zip_of(["m/saved_model.pb"]), "unpack it, and load .* 'm/saved_model.pb'"),
    "one array": (npy_of(np.zeros(3)), r"a single array of NumPy \(.npy\), which has no name"),
    "tflite": (b"\x1c\x00\x00\x00TFL3" + bytes(64), "a model of TensorFlow Lite"),
    "ort": (b"\x1c\x00\x00\x00ORTM" + bytes(64), "a model in ONNX Runtime's own format"),
    "executorch": (b"\x1c\x00\x00\x00ET12" + bytes(64), "a program of ExecuTorch"),
    "mobile flatbuffer": (b"\x1c\x00\x00\x00PTMF" + bytes(64), "a flatbuffer of torch's mobile interpreter"),
    "gguf": (b"GGUF\x03\x00\x00\x00" + bytes(64), "GGUF, .* quantized"),
    "saved model": (b"\x08\x01\x12\x04\x0a\x02\x12\x00", "not recognized, and starts with b'"),
    "core ml": (b"\x08\x04\x12\x02\x0a\x00\xa2\x1f\x00", "not recognized, and starts with b'"),
    "anything": (bytes(range(128, 256)) * 8 + b"\x00", None),
}  # fmt: skip
"""Content, and what is said of it."""


@pytest.mark.parametrize(("content", "words"), OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("name", ["model.bin", "model.npz", "model"])
def test_what_is_no_file_of_weights(
    tmp_path: Path, content: bytes, words: str | None, name: str, capsys: Any
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    known = f"not a complete {path.suffix} file" if path.suffix else "not a file of weights"
    if words is None:  # as a pickle of torch, whose reader says more
        known, words = "not a complete", "pickle"
    calls: list[Callable[[Path], Any]] = [LSTM.load, LSTMCell.load, io.read, io.describe, _by_content.format_of]
    for call in calls[:4] if words == "pickle" else calls:
        with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: {known}.*{words}") as caught:
            call(path)
        assert words == "pickle" or all(each in str(caught.value) for each in LISTED)
    for command in (["info", str(path)], ["run", str(path), "x.npy"], ["convert", str(path), f"{tmp_path}/a.npz"]):
        assert cli.main(command) == 2
        assert re.search(words, capsys.readouterr().err)
    assert not (tmp_path / "a.npz").exists()


@pytest.mark.parametrize("name", ["model.safetensors", "model.bin", "model.onnx", "model.h5", "model"])
def test_pointers_of_git_lfs(tmp_path: Path, name: str, capsys: Any) -> None:
    path = tmp_path / name
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:c5f3f745\nsize 498858859\n")
    for call in (LSTM.load, io.read, io.describe, _by_content.format_of):
        with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: .*a Git LFS pointer.*`git lfs pull`"):
            call(path)
    assert cli.main(["info", str(path)]) == 2
    assert "git lfs pull" in capsys.readouterr().err


def test_pointers_of_git_annex(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_text("/annex/objects/SHA256E-s498858859--c5f3f745.pt\n")
    with pytest.raises(ValueError, match=r"model\.pt: .*git annex get"):
        LSTM.load(tmp_path / "model.pt")


@pytest.mark.parametrize(
    ("inside", "words"),
    [
        ([], r"load a file; what can be read: safetensors \(\.safetensors\)"),
        (["saved_model.pb", "variables"], "TensorFlow's SavedModel"),
        (["a-1.safetensors", "model.safetensors.index.json"], "such as 'model.safetensors.index.json'"),
        (["config.json", "pytorch_model.bin"], "such as 'pytorch_model.bin'"),
        ([".metadata", "__0_0.distcp"], "dcp_to_torch_save"),
        (["data.pkl", "version"], "an archive of torch that was unpacked"),
    ],
)
def test_folders(tmp_path: Path, inside: list[str], words: str, capsys: Any) -> None:
    folder = tmp_path / "model.pt"
    folder.mkdir()
    for name in inside:
        (folder / name).touch()
    for call in (LSTM.load, io.read, io.describe, _by_content.format_of):
        with pytest.raises(IsADirectoryError, match=words) as caught:
            call(folder)
        assert caught.value.filename == str(folder)
    assert cli.main(["info", str(folder)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"numba-lstm: error: {folder}: Is a directory: ")
    assert re.search(words, error)


READERS: dict[str, Any] = {
    "LSTM": LSTM.load,
    "LSTMCell": LSTMCell.load,
    "read": io.read,
    "describe": io.describe,
    "format": _by_content.format_of,
    "info": lambda path: cli.main(["info", str(path)]),
}


READERS_OF_KERAS: dict[str, Any] = {
    "keras": keras.load,
    "keras lstm": keras.load_lstm,
    "keras describe": keras.describe,
}


def _complaint(read: Any, path: Path, capsys: Any) -> str:
    """Return what a reader says of what it refuses."""
    try:
        assert read(path) == 2
    except ValueError as error:
        return str(error)
    return str(capsys.readouterr().err).removeprefix("numba-lstm: error: ")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
@pytest.mark.parametrize("reader", [*READERS, *READERS_OF_KERAS, "onnx", "onnx lstm", "onnx files", "shards beside"])
def test_pipes_into_which_nobody_writes(reader: str, tmp_path: Path, capsys: Any) -> None:
    """They are not waited for."""
    path, readers = tmp_path / "model.pt", READERS | READERS_OF_KERAS
    os.mkfifo(path)
    if reader.startswith("onnx"):
        onnx: Any = pytest.importorskip("numba_lstm.io.onnx")
        readers |= {"onnx": onnx.load, "onnx lstm": onnx.load_lstm, "onnx files": onnx.files}
    if reader == "shards beside":
        path.rename(tmp_path / "other.safetensors.index.json")
        LSTM(3, 5).save(tmp_path / "model.safetensors")
        assert repr(LSTM.load(tmp_path / "model.safetensors")) == "LSTM(3, 5)"
        return
    assert _complaint(readers[reader], path, capsys).startswith(f"{path}: a pipe or a device, which cannot be read")


@pytest.mark.skipif(not Path("/dev/zero").is_char_device(), reason="there is no such device")
@pytest.mark.parametrize("reader", [*READERS, *READERS_OF_KERAS, "onnx", "onnx lstm", "onnx files"])
def test_devices_that_never_end(reader: str, capsys: Any) -> None:
    path, readers = Path("/dev/zero"), READERS | READERS_OF_KERAS
    if reader.startswith("onnx"):
        onnx: Any = pytest.importorskip("numba_lstm.io.onnx")
        readers |= {"onnx": onnx.load, "onnx lstm": onnx.load_lstm, "onnx files": onnx.files}
    with at_most(16 << 20):
        assert _complaint(readers[reader], path, capsys).startswith("/dev/zero: a pipe or a device, which cannot be")


def test_damaged_under_another_name(tmp_path: Path) -> None:
    """The message says what it was taken for."""
    files, path = contents(tmp_path), tmp_path / "model.other"
    path.write_bytes(files["npz"][:-30])
    with pytest.raises(ValueError, match=r"model\.other: not a complete NumPy file of numbers: "):
        LSTM.load(path)
    path.write_bytes(files["safetensors"][:-30])
    with pytest.raises(ValueError, match=r"model\.other: not a complete safetensors file of numbers: "):
        LSTM.load(path)
    path = tmp_path / "model.th"
    path.write_bytes(files["torch"][:-30])
    with pytest.raises(ValueError, match=r"model\.th: not a complete \.th file of numbers: "):
        LSTM.load(path)
