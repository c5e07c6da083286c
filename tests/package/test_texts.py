"""What is printed of files: names that steer no terminal, in columns, and reasons that are the same everywhere."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from support.places import GOLDEN_KERAS
from support.processes import HANG, PACKAGE, posix

import numba_lstm
from numba_lstm import cli
from numba_lstm.formats.printable import columns, padded, printable
from numba_lstm.io import keras

pytestmark = pytest.mark.usefixtures("threads")

HOSTILE = "a\x1b[31m\r\n\x9b2J\u202eb\u2066\u2028"
"""Colours, a return, a second line, a cleared screen, a turned direction of writing, a line end of Unicode."""

SHOWN = "a\\x1b[31m\\r\\n\\x9b2J\\u202eb\\u2066\\u2028"
UNSAFE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")



@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.zeros((4, 1, 3), np.float32))
    return tmp_path


def run(capsys: Any, *words: str, status: int = 0) -> str:
    """Run a command, and return what it prints, which steers no terminal."""
    assert cli.main([*words]) == status, capsys.readouterr().err
    out, err = capsys.readouterr()
    text = str(out if status == 0 else err)
    assert not UNSAFE.search(text), repr(text)
    assert status == 0 or text.count("\n") == 1
    return text


def test_what_is_printable() -> None:
    assert printable(HOSTILE) == SHOWN
    assert printable("Größe 語 модель") == "Größe 語 модель"
    assert printable("語", "latin-1") == "\\u8a9e"
    assert printable(os.fsdecode(b"\xff")) == "\\udcff"
    assert printable(printable(HOSTILE)) == SHOWN


def test_columns() -> None:
    assert [columns(text) for text in ("", "abc", "語語", "e\u0301", "\uff21\uff22", "модель")] == [0, 3, 4, 1, 4, 6]
    assert [columns(padded(text, 8)) for text in ("語", "e\u0301", "")] == [8, 8, 8]


# --- names from files -------------------------------------------------------------------------------------


def states(*prefixes: str) -> dict[str, np.ndarray]:
    lstm = numba_lstm.LSTM(3, 5, seed=0).state_dict()
    return {prefix + name: np.array(array) for prefix in prefixes for name, array in lstm.items()}


def test_names_of_tensors(folder: Path, capsys: Any) -> None:
    save_file(states(f"{HOSTILE}.", "other."), "w.safetensors")
    assert SHOWN in run(capsys, "info", "w.safetensors")
    assert SHOWN in run(capsys, "run", "w.safetensors", "x.npy", status=2)
    assert SHOWN in run(capsys, "run", "w.safetensors", "x.npy", "--prefix", "none.", status=2)
    assert SHOWN in run(capsys, "info", "w.safetensors", "--prefix", HOSTILE + "none", status=2)
    assert SHOWN in run(capsys, "convert", "w.safetensors", "out.npz")
    run(capsys, "run", "w.safetensors", "x.npy", "--prefix", HOSTILE)


def test_names_in_what_a_damaged_file_is_refused_with(folder: Path, capsys: Any) -> None:
    header = json.dumps({f"{HOSTILE}.weight_ih_l0": {"dtype": "F32", "shape": [1], "data_offsets": [0, 1]}}).encode()
    Path("w.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"1")
    np.savez("w.npz", **{f"{HOSTILE}weight_ih_l0": np.array([{}])})  # a pickle
    for name in ("w.safetensors", "w.npz"):
        assert SHOWN in run(capsys, "run", name, "x.npy", status=2)
        with pytest.raises(ValueError, match="not a complete") as caught:
            numba_lstm.io.read(name)
        assert not UNSAFE.search(str(caught.value))


def test_names_of_layers(folder: Path, capsys: Any) -> None:
    pytest.importorskip("h5py")
    from support import keras_files

    one = keras_files.layer("LSTM", HOSTILE, units=5, activation=HOSTILE)
    other = keras_files.layer("GRU", HOSTILE + "gru", units=5)
    keras_files.keras(Path("m.keras"), keras_files.sequential(one, other), keras_files.grouped({"layers/none": []}))
    text = run(capsys, "info", "m.keras")
    assert text.count(SHOWN) >= 3
    for words in (["run", "m.keras", "x.npy"], ["convert", "m.keras", "out.npz"]):
        assert SHOWN in run(capsys, *words, status=2)
    with pytest.raises(ValueError, match="no LSTM layer") as caught:
        keras.load("m.keras")
    assert not UNSAFE.search(str(caught.value))


def test_names_of_nodes(folder: Path, capsys: Any) -> None:
    pytest.importorskip("onnx")
    from support import onnx_files

    model = onnx_files.onnx.ModelProto()
    model.ParseFromString(onnx_files.layers_and_a_general_node())
    for node in model.graph.node:
        if node.op_type == "LSTM":
            node.name += HOSTILE
    onnx_files.save(model, Path(), "m.onnx")
    assert SHOWN in run(capsys, "info", "m.onnx")
    for words in (["run", "m.onnx", "x.npy"], ["convert", "m.onnx", "out.npz"]):
        assert SHOWN in run(capsys, *words, status=2)


def test_names_of_proteins(folder: Path, capsys: Any) -> None:
    """In their table, whose columns stand below each other."""
    Path("p.fasta").write_text(">語語\x1b[31m\nMKVLAAGIVG\n>two\nMKVLAAGIVG\n", encoding="utf-8")
    lines = run(capsys, "demo", "--fasta", "p.fasta").splitlines()
    table = [line for line in lines if "%" in line]
    assert sorted(line.split()[0] for line in table) == ["two", "語語\\x1b[31m"]
    assert len({columns(line) for line in table}) == 1
    Path("p.fasta").write_text(">\x1b[31m\nM1\n>two\nMK\n", encoding="utf-8")
    assert "(\\x1b[31m)" in run(capsys, "demo", "--fasta", "p.fasta", status=1)


def test_wide_names_in_the_table_of_parameters(folder: Path, capsys: Any) -> None:
    pytest.importorskip("h5py")
    from support import keras_files

    for name in ("語", "layer"):
        shapes = {"kernel": (3, 20), "recurrent_kernel": (5, 20), "bias": (20,)}
        arrays = {f"{name}/{key}:0": np.zeros(shape, np.float32) for key, shape in shapes.items()}
        keras_files.legacy(Path(f"{name}.h5"), None, {name: arrays})
        rows = [line for line in run(capsys, "info", f"{name}.h5").splitlines() if "float32" in line]
        assert len(rows) == 3
        assert len({columns(line.partition("  (")[0].rstrip()) for line in rows}) > 1
        assert len({columns(line[: line.index("  (")]) for line in rows}) == 1


# --- terminals --------------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize(
    "variables", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}]
)
def test_a_terminal_that_cannot_show_a_name(folder: Path, variables: dict[str, str]) -> None:
    np.savez("модель.npz", **states("слой."))
    Path(os.fsdecode(b"caf\xe9.npz")).write_bytes(Path("модель.npz").read_bytes())
    line = [sys.executable, "-c", "import sys; from numba_lstm.cli import main; sys.exit(main())"]
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent), **variables}

    def command(*words: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([*line, *words], env=environment, capture_output=True, timeout=HANG, check=False)

    done = command("info", "модель.npz")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.isascii()
    assert b"\\u0441\\u043b\\u043e\\u0439." in done.stdout or b"\\udcd1" in done.stdout
    done = command("run", "модель.npz", "x.npy", "-o", "итог.npz", "--prefix", "слой")
    assert (done.returncode, done.stderr) == (0, b"")
    assert Path("итог.npz").is_file()
    done = command("info", os.fsdecode(b"caf\xe9.npz"))
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"caf\\udce9.npz: ")
    done = command("info", "нет.npz")
    assert done.returncode == 2
    assert done.stderr.endswith(b": No such file or directory\n")


# --- reasons ----------------------------------------------------------------------------------------------


def reason_of(text: str) -> str:
    return re.findall(r"cannot be run: (.*)", text)[0]


def test_run_and_convert_say_what_info_says(folder: Path, capsys: Any) -> None:
    """Of what cannot be taken, by its name, by its name without the dot, and as the only one in the file."""
    gru = {"gru.weight_ih_l0": np.zeros((15, 3), "f4"), "gru.weight_hh_l0": np.zeros((15, 5), "f4")}
    save_file(gru, "gru.safetensors")
    save_file({**gru, **states("lstm.")}, "two.safetensors")
    np.savez("half.npz", weight_ih_l0=np.zeros((20, 3), "f4"))
    for path, *chosen in (
        ["gru.safetensors"],
        ["two.safetensors", "--node", "gru"],
        ["two.safetensors", "--node", "gru."],
        ["half.npz"],
    ):
        reason = reason_of(run(capsys, "info", path, *chosen))
        for words in (["run", path, "x.npy"], ["convert", path, "out.npz"]):
            assert reason in run(capsys, *words, *chosen, status=2)
    np.savez("none.npz", weight=np.zeros(3))
    for words in (["info", "none.npz"], ["run", "none.npz", "x.npy"], ["convert", "none.npz", "out.npz"]):
        said = run(capsys, *words, status=2)
        assert "none.npz holds no LSTM" in said
        assert "no name ends in weight_ih_l0; there are 1 arrays: 'weight'" in said


def test_reasons_of_keras(folder: Path, capsys: Any) -> None:
    path = str(GOLDEN_KERAS / "model.keras")
    text = run(capsys, "info", path)
    refused = [each for each in keras.describe(GOLDEN_KERAS / "model.keras") if each.obstacle is not None]
    assert refused
    for each in refused:
        assert each.obstacle in text
        assert each.obstacle in run(capsys, "run", path, "x.npy", "--node", each.name, status=2)


def test_weights_of_keras_alone_need_a_configuration(folder: Path, capsys: Any) -> None:
    """Which the command line takes, and asks for in its own words."""
    path = str(GOLDEN_KERAS / "model.weights.h5")
    saved = keras.file.read(GOLDEN_KERAS / "model.keras")
    Path("config.json").write_text(json.dumps(saved.config), encoding="utf-8")
    for words in (["run", path, "x.npy"], ["convert", path, "out.npz"]):
        assert "--config" in run(capsys, *words, status=2)
    assert "--config" in run(capsys, "info", path)
    text = run(capsys, "info", path, "--config", "config.json", "--keras-version", str(saved.version))
    for each in keras.describe(GOLDEN_KERAS / "model.keras"):
        assert f"{each.kind} {each.name!r}" in text
    name = next(each.name for each in keras.describe(GOLDEN_KERAS / "model.keras") if each.obstacle is None)
    layer = keras.load(GOLDEN_KERAS / "model.keras")[name]
    x = np.random.default_rng(0).standard_normal((2, 6, layer.input_size), np.float32)
    np.save("k.npy", x)
    chosen = ["--node", name, "--config", "config.json"]
    run(capsys, "run", path, "k.npy", "-o", "out.npz", *chosen)
    with np.load("out.npz") as out:
        np.testing.assert_array_equal(out["output"], layer(x))
    run(capsys, "convert", path, "layer.npz", *chosen)
    assert numba_lstm.LSTM.load("layer.npz").batch_first
    Path("options.json").write_text(json.dumps({name: {"activation": "relu"}}), encoding="utf-8")
    assert "relu" in run(capsys, "info", path, "--config", "options.json").lower()


@pytest.mark.parametrize(
    ("content", "words", "complaint"),
    [
        ("{", "info m.h5 --config c.json", "c.json is no JSON"),
        ("\xff{}", "info m.h5 --config c.json", "c.json is no JSON"),
        ("[" * 100_000, "info m.h5 --config c.json", "c.json is no JSON"),
        ("{}", "info w.npz --config c.json", "are for files of Keras"),
        ("{}", "run w.npz x.npy --keras-version 2.2.4", "are for files of Keras"),
        ("{}", "info m.h5 --config none.json", "none.json: No such file"),
    ],
    ids=["open", "latin", "deep", "torch", "version", "none"],
)
def test_a_configuration_that_is_none(folder: Path, capsys: Any, content: str, words: str, complaint: str) -> None:
    Path("c.json").write_bytes(content.encode("latin-1"))  # in which not every text is UTF-8
    np.savez("w.npz", **states(""))
    Path("m.h5").write_bytes((GOLDEN_KERAS / "model.weights.h5").read_bytes())
    assert complaint in run(capsys, *words.split(), status=2)


def test_a_configuration_is_an_input(folder: Path, capsys: Any) -> None:
    Path("c.npz").write_text("{}")
    path = str(GOLDEN_KERAS / "model.weights.h5")
    assert "is read as well" in run(capsys, "convert", path, "c.npz", "--config", "c.npz", "--force", status=2)
    assert Path("c.npz").read_text() == "{}"
