"""The command line makes files of weights in 16 and 8 bits, says what that costs, and takes them like others."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.commands import complaint, printed
from support.quantized import same_module

from numba_lstm import LSTM, LSTMCell, io
from numba_lstm.contract.weight_form import FORMS

pytestmark = pytest.mark.usefixtures("threads")

forms = pytest.mark.parametrize("form", FORMS)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with an LSTM, a cell, and inputs."""
    monkeypatch.chdir(tmp_path)
    LSTM(3, 5, 2, batch_first=True, seed=0).save("w.safetensors")
    LSTMCell(3, 5, seed=1).save("cell.npz")
    x = np.random.default_rng(0).standard_normal((7, 4, 3), np.float32)
    np.save("x.npy", x)
    np.save("row.npy", x[0])
    return tmp_path


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
@forms
def test_convert(form: str, suffix: str, folder: Path, capsys: Any) -> None:
    text = printed(capsys, "convert", "w.safetensors", f"small{suffix}", "--weights", form)
    assert text == f"small{suffix}: LSTM(3, 5, num_layers=2, batch_first=True, form='{form}')\n"
    same_module(LSTM.load(f"small{suffix}"), LSTM.load("w.safetensors").quantize(form))
    printed(capsys, "convert", f"small{suffix}", "again.npz")
    same_module(LSTM.load("again.npz"), LSTM.load(f"small{suffix}"))


MODELS: list[tuple[str, Any, str]] = [("w.safetensors", LSTM, "x.npy"), ("cell.npz", LSTMCell, "row.npy")]


@pytest.mark.parametrize(("file", "kind", "input"), MODELS)
@forms
def test_the_error_is_printed(form: str, file: str, kind: Any, input: str, folder: Path, capsys: Any) -> None:
    lines = printed(capsys, "convert", file, "small.npz", "--weights", form, "--check", input).splitlines()
    x, exact = np.load(input), kind.load(file).eval()
    wide, narrow = (module(x)[0].astype(np.float64) for module in (exact, kind.load("small.npz")))
    found = re.fullmatch(
        rf"small\.npz: error of {form} against float32: rms (\S+), max (\S+); outputs: rms ([^;]+)(; .*)?", lines[-1]
    )
    assert found
    error = narrow - wide
    expected = np.sqrt(np.mean(error**2)), np.abs(error).max(), np.sqrt(np.mean(wide**2))
    *figures, read_as = found.groups()
    np.testing.assert_allclose([float(each) for each in figures], expected, rtol=5e-3)
    rows, steps = (0, 1) if getattr(exact, "batch_first", False) else (1, 0)
    assert read_as == (f"; {x.shape[rows]} sequences of {x.shape[steps]} steps" if x.ndim == 3 else None)
    assert len(lines) == 2


def test_all_of_a_file(folder: Path, capsys: Any) -> None:
    lstm, cell = LSTM(3, 5, seed=2), LSTMCell(3, 5, seed=3)
    io.write("both.npz", {**lstm.state_dict(prefix="a."), **cell.state_dict(prefix="b.")})
    assert printed(capsys, "convert", "both.npz", "small.npz", "--weights", "int8").count("form='int8'") == 2
    same_module(LSTM.load("small.npz", "a."), lstm.quantize("int8"))
    same_module(LSTMCell.load("small.npz", "b."), cell.quantize("int8"))
    text = printed(capsys, "info", "small.npz")
    assert text.count("form           int8") == 2
    words = ("convert", "both.npz", "none.npz", "--weights", "int8", "--check", "x.npy")
    assert "choose one with --node" in complaint(capsys, *words)
    assert "error of int8" in printed(capsys, *[w if w != "none.npz" else "one.npz" for w in words], "--node", "a.")


@forms
def test_info(form: str, folder: Path, capsys: Any) -> None:
    wide = printed(capsys, "info", "w.safetensors")
    assert "form" not in wide
    printed(capsys, "convert", "w.safetensors", "small.safetensors", "--weights", form)
    text = printed(capsys, "info", "small.safetensors")
    lstm = LSTM.load("small.safetensors")
    count = sum(array.size for name, array in lstm.named_parameters() if not name.endswith("_scale"))
    size = sum(array.size * (2 if form == "bfloat16" and name.startswith("weight") else array.itemsize)
               for name, array in lstm.named_parameters())  # fmt: skip
    assert f"  form           {form}\n" in text
    assert text.endswith(f"\n  {count:,} parameters, {size:,} bytes\n")
    assert f"\n  {count:,} parameters, {4 * count:,} bytes\n" in wide
    assert ("weight_hh_l1_scale" in text) == (form == "int8")


@forms
def test_run(form: str, folder: Path, capsys: Any) -> None:
    printed(capsys, "convert", "w.safetensors", "small.npz", "--weights", form)
    printed(capsys, "run", "small.npz", "x.npy", "-o", "out.npz")
    expected, (h_n, c_n) = LSTM.load("small.npz")(np.load("x.npy"))
    with np.load("out.npz") as out:
        for name, array in (("output", expected), ("h_n", h_n), ("c_n", c_n)):
            np.testing.assert_array_equal(out[name], array)
    words = complaint(capsys, "run", "small.npz", "x.npy", "--dtype", "float64", "-o", "none.npz")
    assert f"its weights are in {form}, which belongs to float32" in words


def test_what_is_refused(folder: Path, capsys: Any) -> None:
    convert = ("convert", "w.safetensors", "none.npz")
    assert "--check says what --weights costs" in complaint(capsys, *convert, "--check", "x.npy")
    assert "invalid choice: 'int4'" in complaint(capsys, *convert, "--weights", "int4")
    printed(capsys, "convert", "w.safetensors", "small.npz", "--weights", "int8")
    words = complaint(capsys, "convert", "small.npz", "none.npz", "--weights", "float16")
    assert "is quantized to int8 already: quantize the float32 module it was made of" in words
    LSTM(3, 5, dtype="float64").save("wide.npz")
    assert "is float64, and what is quantized is float32" in complaint(
        capsys, "convert", "wide.npz", "none.npz", "--weights", "int8"
    )
    weights = (*convert, "--weights", "int8", "--check")
    np.save("x64.npy", np.zeros((7, 2, 3)))
    assert "input is float64, the weights are float32: save it with astype('float32')" in complaint(
        capsys, *weights, "x64.npy"
    )
    np.save("empty.npy", np.zeros((0, 7, 3), np.float32))
    assert "input empty.npy is empty" in complaint(capsys, *weights, "empty.npy")
    np.save("nan.npy", np.full((7, 2, 3), np.nan, np.float32))
    assert "input nan.npy has numbers that are not finite" in complaint(capsys, *weights, "nan.npy")
    np.save("wrong.npy", np.zeros((7, 2, 4), np.float32))
    assert "input.size(-1)" in complaint(capsys, *weights, "wrong.npy")
    assert "No such file" in complaint(capsys, *weights, "nowhere.npy")
    Path("x.npz").write_bytes(Path("x.npy").read_bytes())
    assert "it is read as well" in complaint(
        capsys, "convert", "w.safetensors", "x.npz", "--weights", "int8", "--check", "x.npz", "--force"
    )
    assert not Path("none.npz").exists()
