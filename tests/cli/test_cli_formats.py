"""The command line on files of PyTorch, ONNX and Keras."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import torch_files
from support.commands import complaint, printed
from support.places import GOLDEN_KERAS

import numba_lstm
from numba_lstm import cli
from numba_lstm.io import keras

pytestmark = pytest.mark.usefixtures("threads")



@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder with an input."""
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.random.default_rng(0).standard_normal((7, 2, 3), np.float32))
    return tmp_path


# --- PyTorch ----------------------------------------------------------------------------------------------


@pytest.fixture
def checkpoint(folder: Path) -> dict[str, np.ndarray]:
    """A checkpoint with an LSTM, a cell, and a GRU."""
    lstm = numba_lstm.LSTM(3, 5, 2, bidirectional=True, seed=1).state_dict()
    cell = numba_lstm.LSTMCell(3, 5, seed=2).state_dict()
    gru = {"weight_ih_l0": np.zeros((15, 3), np.float32), "weight_hh_l0": np.zeros((15, 5), np.float32)}
    arrays = {f"encoder.lstm.{name}": np.array(array) for name, array in lstm.items()}
    arrays |= {f"decoder.cell.{name}": np.array(array) for name, array in cell.items()}
    others = {f"gru.{name}": array for name, array in gru.items()}
    Path("model.ckpt").write_bytes(torch_files.checkpoint(arrays | others))
    return arrays


def test_info_of_a_checkpoint(checkpoint: Any, capsys: Any) -> None:
    text = printed(capsys, "info", "model.ckpt")
    assert "LSTM under prefix 'state_dict.encoder.lstm.'" in text
    assert "LSTMCell under prefix 'state_dict.decoder.cell.'" in text
    assert "GRU under prefix 'state_dict.gru.'" in text
    assert "a GRU is not taken, it stays with torch" in text


def test_run_on_a_checkpoint(checkpoint: Any, capsys: Any) -> None:
    x = np.load("x.npy")
    printed(capsys, "run", "model.ckpt", "x.npy", "--node", "state_dict.encoder.lstm", "-o", "out.npz")
    expected, (h_n, _) = numba_lstm.LSTM.load("model.ckpt", prefix="encoder.lstm.").eval()(x)
    with np.load("out.npz") as out:
        np.testing.assert_array_equal(out["output"], expected)
        np.testing.assert_array_equal(out["h_n"], h_n)
    np.save("step.npy", x[0])
    printed(capsys, "run", "model.ckpt", "step.npy", "--node", "state_dict.decoder.cell.", "-o", "cell.npz")
    with np.load("cell.npz") as out:
        h_1, c_1 = numba_lstm.LSTMCell.load("model.ckpt", prefix="decoder.cell.")(x[0])
        np.testing.assert_array_equal(out["h_1"], h_1)
        np.testing.assert_array_equal(out["c_1"], c_1)
    assert "choose one with --node" in complaint(capsys, "run", "model.ckpt", "x.npy", "-o", "none.npz")


def test_convert_a_checkpoint(checkpoint: dict[str, np.ndarray], capsys: Any) -> None:
    text = printed(capsys, "convert", "model.ckpt", "all.safetensors")
    assert text.count("\n") == 2
    arrays = numba_lstm.io.read("all.safetensors")
    assert {name.removeprefix("state_dict.") for name in arrays} == checkpoint.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, checkpoint[name.removeprefix("state_dict.")])
    printed(capsys, "convert", "model.ckpt", "one.npz", "--node", "state_dict.encoder.lstm.")
    assert numba_lstm.LSTM.load("one.npz").num_layers == 2
    assert "gru" in complaint(capsys, "convert", "model.ckpt", "x.npz", "--node", "state_dict.gru.")
    assert not Path("x.npz").exists()


# --- Keras ------------------------------------------------------------------------------------------------


def not_plain(path: str, name: str) -> str:
    """Return why a layer is no LSTM of torch, "" if it is one."""
    try:
        keras.load_lstm(path, name)
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_keras(name: str, folder: Path, capsys: Any) -> None:
    path = str(GOLDEN_KERAS / name)
    found = keras.describe(GOLDEN_KERAS / name)
    text = printed(capsys, "info", path)
    for each in found:
        assert f"{each.kind} {each.name!r}" in text
    for each in found:
        if each.obstacle is not None:
            continue
        x = np.random.default_rng(1).standard_normal((2, 7, int(str(each.sizes["input_size"])))).astype(np.float32)
        np.save("k.npy", x)
        printed(capsys, "run", path, "k.npy", "--node", each.name, "-o", "out.npz", "--force")
        result = keras.load(path)[each.name](x)
        expected = result if isinstance(result, tuple) else (result,)
        with np.load("out.npz") as out:
            assert len(out) == len(expected)
            for mine, other in zip(out.values(), expected, strict=True):
                np.testing.assert_array_equal(mine, other)
        obstacle = not_plain(path, each.name)
        if obstacle:
            assert obstacle in complaint(capsys, "convert", path, "none.safetensors", "--node", each.name)
            continue
        printed(capsys, "convert", path, "layer.safetensors", "--node", each.name, "--force")
        loaded = numba_lstm.LSTM.load("layer.safetensors").eval()
        np.testing.assert_array_equal(loaded(x)[0], keras.load_lstm(path, each.name)(x)[0])
    assert not Path("none.safetensors").exists()


def of_keras(folder: Path, *layers: tuple[str, dict[str, Any]]) -> str:
    """Write a model of LSTM layers, by name with their options, and return its name."""
    pytest.importorskip("h5py")
    from support import keras_files

    generator = np.random.default_rng(0)
    arrays = [generator.standard_normal(shape, np.float32) for shape in ((3, 20), (5, 20), (20,))]
    paths = {name: dict(zip(("kernel", "recurrent_kernel", "bias"), arrays, strict=True)) for name, _ in layers}
    model = keras_files.sequential(*(keras_files.layer("LSTM", name, units=5, **more) for name, more in layers))
    keras_files.legacy(folder / "model.h5", model, paths, "3.5.0")
    return "model.h5"


def test_convert_names_what_it_leaves_out(folder: Path, capsys: Any) -> None:
    path = of_keras(folder, ("good", {}), ("bad", {"activation": "mine"}))
    assert cli.main(["convert", path, "out.npz"]) == 0
    out, err = capsys.readouterr()
    assert "LSTM(3, 5" in out
    assert "warning: left out: LSTM 'bad' cannot be run: its activation is 'mine'" in err
    assert cli.main(["convert", path, "one.npz", "--node", "good"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("names", "words"), [(("grad", "two"), "an optimizer's grad"), (("a", "a.b"), "more than the parameters")]
)
def test_convert_writes_no_names_that_cannot_be_loaded(
    names: tuple[str, str], words: str, folder: Path, capsys: Any
) -> None:
    path = of_keras(folder, *((name, {}) for name in names))
    assert words in complaint(capsys, "convert", path, "out.safetensors")
    assert not Path("out.safetensors").exists()
    for name in names:  # alone they have no prefix
        printed(capsys, "convert", path, "out.safetensors", "--node", name, "--force")
        numba_lstm.LSTM.load("out.safetensors")


# --- ONNX -------------------------------------------------------------------------------------------------


def test_onnx(folder: Path, capsys: Any) -> None:
    pytest.importorskip("onnx")
    from support import onnx_files

    from numba_lstm.io import onnx

    Path("model.onnx").write_bytes(onnx_files.layers_and_a_general_node())
    text = printed(capsys, "info", "model.onnx")
    for line in ("LSTM 'first'", "LSTM 'second'", "LSTM 'general'", "peepholes", "clip", "HardSigmoid, Elu, Tanh"):
        assert line in text
    printed(capsys, "run", "model.onnx", "x.npy", "--node", "general", "-o", "out.npz")
    with np.load("out.npz") as out:
        assert list(out) == ["Y", "Y_h", "Y_c"]
        for mine, other in zip(out.values(), onnx.load("model.onnx")["general"](np.load("x.npy")), strict=True):
            np.testing.assert_array_equal(mine, other)
    words = complaint(capsys, "convert", "model.onnx", "out.safetensors")
    assert "'general' clips what gates add up to 3" in words or "'general' has activations" in words
    assert "choose one with --node" in complaint(capsys, "run", "model.onnx", "x.npy", "-o", "none.npz")
    assert "no recurrent node 'third'" in complaint(capsys, "run", "model.onnx", "x.npy", "--node", "third")

    made = onnx_files.onnx.ModelProto()
    made.ParseFromString(onnx_files.layers_and_a_general_node())
    del made.graph.node[-1]
    onnx_files.save(made, Path(), "stack.onnx")
    printed(capsys, "convert", "stack.onnx", "stack.safetensors")
    lstm = numba_lstm.LSTM.load("stack.safetensors").eval()
    assert lstm.num_layers == 2
    np.testing.assert_array_equal(lstm(np.load("x.npy"))[0], onnx.load_lstm("stack.onnx")(np.load("x.npy"))[0])


def test_a_format_whose_package_is_missing(folder: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    real = importlib.import_module

    def missing(name: str, package: str | None = None) -> Any:
        if name == ".onnx":
            raise ModuleNotFoundError("reading ONNX files needs onnx: pip install 'numba-lstm[onnx]'", name="onnx")
        return real(name, package)

    monkeypatch.setattr("numba_lstm.io._by_content.importlib.import_module", missing)
    Path("model.onnx").write_bytes(b"\x08\x08")
    assert "pip install 'numba-lstm[onnx]'" in complaint(capsys, "info", "model.onnx")
