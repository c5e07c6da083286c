"""Checkpoints in several files: read through their index, and no file of them taken for the whole."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from support import torch_files

from numba_lstm import LSTM, LSTMCell, cli, io
from numba_lstm.contract.saved.saving import contents_of

FILES = {
    "safetensors": ("model.safetensors.index.json", "model-0000{}-of-00003.safetensors"),
    "torch": ("pytorch_model.bin.index.json", "pytorch_model-0000{}-of-00003.bin"),
}
by_kind = pytest.mark.parametrize("kind", FILES)


def arrays() -> dict[str, np.ndarray]:
    made = {f"lstm.{name}": array for name, array in LSTM(3, 5, 4, seed=0).state_dict().items()}
    made |= {f"cell.{name}": array for name, array in LSTMCell(3, 5, seed=1).state_dict().items()}
    return {name: np.array(array) for name, array in made.items()} | {"head": np.ones((2, 3), np.float32)}


def write(path: Path, part: dict[str, np.ndarray]) -> None:
    if path.suffix == ".safetensors":
        save_file(part, path, {"format": "pt"})
    else:
        archive = torch_files.Archive()
        path.write_bytes(archive.finish({name: archive.tensor(array) for name, array in part.items()}))


def sharded(folder: Path, kind: str) -> Path:
    """Write a checkpoint in three files: two layers, the other two with the cell, and the rest; return its index."""
    index, shard = FILES[kind]
    places = {}
    for name in arrays():
        number = 3 if name == "head" else 1 if re.search(r"_l[01]$", name) else 2
        places[name] = shard.format(number)
    for file in set(places.values()):
        write(folder / file, {name: array for name, array in arrays().items() if places[name] == file})
    return rewritten(folder / index, places)


def rewritten(path: Path, places: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return path


def places_of(index: Path) -> dict[str, str]:
    return dict(json.loads(index.read_text())["weight_map"])


@by_kind
def test_an_index_reads_all(tmp_path: Path, kind: str) -> None:
    path, expected = sharded(tmp_path, kind), arrays()
    read = io.read(path)
    assert list(read) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(read[name], array)
    described = io.describe(path)
    assert {name: each.shape for name, each in described.items()} == {name: a.shape for name, a in expected.items()}
    lstm = LSTM.load(path, "lstm.")
    assert repr(lstm) == "LSTM(3, 5, num_layers=4)"
    for name, array in lstm.state_dict(prefix="lstm.").items():
        np.testing.assert_array_equal(array, expected[name])
    np.testing.assert_array_equal(LSTMCell.load(path, "cell.").weight_hh, expected["cell.weight_hh"])
    with pytest.raises(ValueError, match=r"index\.json: no LSTM under prefix 'rnn\.'; found: 'lstm\.'"):
        LSTM.load(path, "rnn.")


@by_kind
def test_only_files_with_what_is_wanted_are_opened(tmp_path: Path, kind: str) -> None:
    path = sharded(tmp_path, kind)
    (tmp_path / FILES[kind][1].format(3)).unlink()
    (tmp_path / FILES[kind][1].format(1)).write_bytes(b"damaged")
    assert repr(LSTMCell.load(path, "cell.")) == "LSTMCell(3, 5)"
    with pytest.raises(ValueError, match=r"index\.json: .*00001-of-00003.*: not a complete"):
        LSTM.load(path, "lstm.")


@by_kind
def test_commands_read_an_index(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    path = sharded(tmp_path, kind).name
    assert cli.main(["info", path]) == 0
    out = capsys.readouterr().out
    assert re.search(r"num_layers +4\b", out)
    assert "LSTMCell under prefix 'cell.'" in out
    x = np.ones((2, 1, 3), np.float32)
    np.save("x.npy", x)
    assert cli.main(["run", path, "x.npy", "--prefix", "lstm.", "-o", "out.npz"]) == 0
    np.testing.assert_array_equal(np.load("out.npz")["output"], LSTM(3, 5, 4, seed=0).eval()(x)[0])
    assert cli.main(["convert", path, "whole.safetensors", "--prefix", "lstm."]) == 0
    assert repr(LSTM.load("whole.safetensors")) == "LSTM(3, 5, num_layers=4)"


# --- what is recorded in the files -------------------------------------------------------------------------


def info(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert cli.main(["info", str(path)]) == 0
    return capsys.readouterr().out


def indexed(folder: Path, files: dict[str, Iterable[str]]) -> Path:
    """Write an index of files and the names in each."""
    return rewritten(folder / "model.index.json", {name: file for file, names in files.items() for name in names})


by_suffix = pytest.mark.parametrize("suffix", [".safetensors", ".npz"])


@by_suffix
def test_options_that_save_has_recorded(tmp_path: Path, suffix: str) -> None:
    lstm = LSTM(3, 5, 2, batch_first=True, dropout=0.25, dtype=np.float64, seed=0)
    lstm.save(tmp_path / f"a{suffix}")
    loaded = LSTM.load(indexed(tmp_path, {f"a{suffix}": lstm.state_dict()}))
    assert repr(loaded) == repr(LSTM.load(tmp_path / f"a{suffix}"))
    assert (loaded.batch_first, loaded.dropout, loaded.dtype) == (True, 0.25, np.float64)


@by_suffix
@pytest.mark.parametrize("form", ["float16", "bfloat16", "int8"])
def test_forms_that_save_has_recorded(
    tmp_path: Path, suffix: str, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lstm = LSTM(3, 5, batch_first=True, seed=0).quantize(form)
    lstm.save(tmp_path / f"a{suffix}")
    index = indexed(tmp_path, {f"a{suffix}": io.describe(tmp_path / f"a{suffix}")})
    assert (LSTM.load(index).form, LSTM.load(index).batch_first) == (form, True)
    assert re.search(rf"form +{form}\b", info(index, capsys))


def test_each_file_has_its_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What one file says counts for what lies in it."""
    parts = {"a": LSTM(3, 5, batch_first=True, seed=0), "b": LSTM(3, 5, seed=1).quantize("int8")}
    for name, lstm in parts.items():
        arrays, metadata = contents_of({f"{name}.": lstm})
        io.write(tmp_path / f"{name}.safetensors", arrays, metadata)
    save_file({"c.weight": np.ones(3, np.float32)}, tmp_path / "c.safetensors")
    files = [f"{name}.safetensors" for name in "abc"]
    index = indexed(tmp_path, {file: io.describe(tmp_path / file) for file in files})
    assert LSTM.load(index, "a.").batch_first
    assert (LSTM.load(index, "b.").batch_first, LSTM.load(index, "b.").form) == (False, "int8")
    assert "cannot be run" not in info(index, capsys)
    assert len(io.read(index)) == 4 + 6 + 1


@by_suffix
@pytest.mark.parametrize("other", [{}, {"batch_first": False}, {"batch_first": True, "dropout": 0.5}], ids=str)
def test_files_whose_records_differ(
    tmp_path: Path, suffix: str, other: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody knows which counts for an LSTM of which each has a part."""
    state, files = LSTM(3, 5, 2, seed=0).state_dict(), {}
    for layer, record in enumerate(({"batch_first": True}, other)):
        part = {name: array for name, array in state.items() if name.endswith(f"_l{layer}")}
        files[f"{layer}{suffix}"] = part
        io.write(tmp_path / f"{layer}{suffix}", part, {"numba_lstm": json.dumps(record)} if record else {})
    index = indexed(tmp_path, {file: [*part] for file, part in files.items()})
    with pytest.raises(ValueError, match=f"^{re.escape(str(index))}: .*lies in files whose records .* differ"):
        LSTM.load(index)
    assert "whose records" in info(index, capsys)
    assert len(io.read(index)) == len(state)
    io.write(tmp_path / f"1{suffix}", files[f"1{suffix}"], {"numba_lstm": json.dumps({"batch_first": True})})
    assert LSTM.load(index).batch_first


def whole_module(kind: str, state: dict[str, np.ndarray], batch_first: bool = True) -> bytes:
    """Return a file of torch with a whole module, as ``torch.save(module)`` writes it."""
    made = torch_files.Archive()
    parameters = {name: made.tensor(array) for name, array in state.items()}
    module, _, name = kind.rpartition(".")
    attributes = {"_parameters": parameters, "_buffers": {}, "_modules": {}, "batch_first": batch_first}
    # An object of a class without arguments, and its state.
    called = torch_files.called(torch_files.named(module, name))
    return made.finish(torch_files.Raw(called + torch_files.pickled(attributes) + b"b"))


def test_whole_modules(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Their classes and options are known through an index, too."""
    state = {name: np.array(array) for name, array in LSTM(3, 5, seed=0).state_dict().items()}
    (tmp_path / "a.pt").write_bytes(whole_module("torch.nn.modules.rnn.LSTM", state))
    index = indexed(tmp_path, {"a.pt": state})
    assert repr(LSTM.load(index)) == "LSTM(3, 5, batch_first=True)"
    assert "cannot be run" not in info(index, capsys)
    (tmp_path / "a.pt").write_bytes(whole_module("my.NormedLSTM", state))
    with pytest.raises(ValueError, match=f"^{re.escape(str(index))}: it is a my.NormedLSTM, not torch.nn.LSTM"):
        LSTM.load(index)
    assert "it is a my.NormedLSTM" in info(index, capsys)


def test_whole_modules_that_differ(tmp_path: Path) -> None:
    state = {name: np.array(array) for name, array in LSTM(3, 5, 2, seed=0).state_dict().items()}
    files = {}
    for layer in (0, 1):
        part = files[f"{layer}.pt"] = {name: array for name, array in state.items() if name.endswith(f"_l{layer}")}
        (tmp_path / f"{layer}.pt").write_bytes(whole_module("torch.nn.modules.rnn.LSTM", part, layer == 0))
    index = indexed(tmp_path, {file: [*part] for file, part in files.items()})
    with pytest.raises(ValueError, match=f"^{re.escape(str(index))}: 0.pt and 1.pt have different modules"):
        LSTM.load(index)
    (tmp_path / "1.pt").write_bytes(whole_module("torch.nn.modules.rnn.LSTM", files["1.pt"]))
    assert LSTM.load(index).batch_first


# --- one file of several -----------------------------------------------------------------------------------


def refused(path: Path, prefix: str = "lstm.") -> str:
    """Return the one message with which all ways of reading refuse a file."""
    messages = set()
    for call in (lambda: LSTM.load(path, prefix), lambda: io.read(path), lambda: io.describe(path)):
        with pytest.raises(ValueError, match=r"index\.json") as caught:
            call()
        messages.add(str(caught.value))
    (message,) = messages
    assert message.startswith(f"{path}: one of the files of a sharded checkpoint, not the whole model (")
    return message


@by_kind
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_file_of_several_is_refused(tmp_path: Path, kind: str, number: int, capsys: Any) -> None:
    index = sharded(tmp_path, kind)
    path = tmp_path / FILES[kind][1].format(number)
    assert f"load the {index.name} beside them" in refused(path)
    for command in (["info", str(path)], ["run", str(path), "x.npy"], ["convert", str(path), f"{tmp_path}/a.npz"]):
        assert cli.main(command) == 2
        assert index.name in capsys.readouterr().err
    assert not (tmp_path / "a.npz").exists()


@pytest.mark.parametrize(
    "name",
    [
        "model-00001-of-00002.safetensors",
        "Model-1-of-2.SAFETENSORS",
        "pytorch_model_00001-of-00003.bin",
        "model.fp16-00001-of-00002.safetensors",
        "model-00001-of-00002.fp16.safetensors",
        "diffusion_pytorch_model-00002-of-00010.safetensors",
        "model_00001_of_00002",
        "checkpoint_best-shard0.pt",
        "shard-00001-model-00001-of-00001.safetensors",
        "__0_0.distcp",
    ],
)
def test_names_of_parts(tmp_path: Path, name: str) -> None:
    """Alone, without an index; even if all of an LSTM is in it."""
    path = tmp_path / name
    write(path, arrays())
    assert "*.index.json" in refused(path)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("consolidated.00.pth", "consolidated.01.pth"),
        ("mp_rank_00_model_states.pt", "mp_rank_01_model_states.pt"),
        ("model_part-0.pt", "model_part-1.pt"),
        ("layer_01-model_states.pt", "layer_02-model_states.pt"),
        ("pytorch_model_fsdp_0.bin", "pytorch_model_fsdp_1.bin"),
    ],
)
def test_numbered_parts(tmp_path: Path, name: str, other: str) -> None:
    """These are whole if they are alone."""
    path = tmp_path / name
    write(path, arrays())
    assert repr(LSTM.load(path, "lstm.")) == "LSTM(3, 5, num_layers=4)"
    (tmp_path / other).touch()
    assert other in refused(path)
    assert "beside them" not in refused(path)  # there is no index


@pytest.mark.parametrize(
    "name",
    [
        "model-00001-of-00001.safetensors",
        "department3.pt",
        "hyperpart.pt",
        "epoch_01.pt",
        "best-of-3.pt",
        "offset-1of.pt",
        "profile.pt",
    ],
)
def test_names_of_whole_files(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, arrays())
    for other in ("department4.pt", "epoch_02.pt"):
        (tmp_path / other).touch()
    assert repr(LSTM.load(tmp_path / name, "lstm.")) == "LSTM(3, 5, num_layers=4)"


@by_kind
def test_an_index_beside_a_file_tells(tmp_path: Path, kind: str) -> None:
    """Also if the file's name does not."""
    index = sharded(tmp_path, kind)
    first = tmp_path / FILES[kind][1].format(1)
    renamed = first.with_name("first" + first.suffix)
    first.rename(renamed)
    assert repr(LSTM.load(renamed, "lstm.")) == "LSTM(3, 5, num_layers=2)"  # which nothing tells
    rewritten(index, {name: renamed.name if place == first.name else place for name, place in places_of(index).items()})
    assert f"({index.name} beside it names 3 files)" in refused(renamed)
    rewritten(index, dict.fromkeys(places_of(index), renamed.name))
    assert repr(LSTM.load(renamed, "lstm.")) == "LSTM(3, 5, num_layers=2)"  # one of one
    index.write_text("damaged, and of something else")
    assert repr(LSTM.load(renamed, "lstm.")) == "LSTM(3, 5, num_layers=2)"


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="there are no links")
def test_links(tmp_path: Path) -> None:
    """In the cache of a hub all names are links to other names; elsewhere a link hides one."""
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshot").mkdir()
    index = sharded(tmp_path / "snapshot", "safetensors")
    for number, path in enumerate(sorted((tmp_path / "snapshot").glob("*.safetensors"))):
        path.rename(tmp_path / "blobs" / f"{number:064x}")
        path.symlink_to(f"../blobs/{number:064x}")
    assert repr(LSTM.load(index, "lstm.")) == "LSTM(3, 5, num_layers=4)"
    part = tmp_path / "snapshot" / "model-00001-of-00003.safetensors"
    refused(part)
    other = sharded(tmp_path, "safetensors").parent / "model-00001-of-00003.safetensors"
    (tmp_path / "blobs" / "model.safetensors").symlink_to(other)
    assert "model.safetensors.index.json" in refused(tmp_path / "blobs" / "model.safetensors")


def test_parts_of_arrays(tmp_path: Path) -> None:
    """What torch.distributed saves as safetensors has some rows of each array; its metadata says so."""
    path = tmp_path / "model.safetensors"
    save_file(arrays(), path, {"DCP_SHARDING_INFO": "{}", "DCP_VERSION": "1.0"})
    with pytest.raises(ValueError, match=r"model\.safetensors: .*parts of arrays, .*torch\.distributed"):
        LSTM.load(path, "lstm.")


# --- indices that are wrong --------------------------------------------------------------------------------


def complaint(path: Path, prefix: str = "lstm.") -> str:
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: ") as caught:
        LSTM.load(path, prefix)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: "):
        io.describe(path)
    return str(caught.value)


@by_kind
def test_files_that_are_missing(tmp_path: Path, kind: str) -> None:
    path = sharded(tmp_path, kind)
    (tmp_path / FILES[kind][1].format(2)).unlink()
    assert "00002-of-00003" in complaint(path)
    assert "is missing beside it, with 1 of 3 files" in complaint(path)


@by_kind
def test_names_that_are_elsewhere(tmp_path: Path, kind: str) -> None:
    path = sharded(tmp_path, kind)
    places, (first, second) = places_of(path), [FILES[kind][1].format(number) for number in (1, 2)]
    rewritten(path, places | {"lstm.weight_ih_l3": first})
    assert f"'lstm.weight_ih_l3' should be in {first}, and is not" in complaint(path)
    rewritten(path, places)
    part = {name: array for name, array in arrays().items() if places[name] == second}
    write(tmp_path / second, part | {"lstm.weight_ih_l0": part["lstm.weight_ih_l3"]})
    assert f"'lstm.weight_ih_l0' is in {second}, and should be in {first}" in complaint(path)
    write(tmp_path / second, part | {"lstm.weight_ih_l4": part["lstm.weight_ih_l3"]})
    assert f"'lstm.weight_ih_l4' is in {second}, and the index does not have it" in complaint(path)


@pytest.mark.parametrize(
    "place",
    ["../model-00001-of-00003.safetensors", "/etc/passwd", "..", ".", "", "a/b", "a\\b", "C:x", "a\0b", 3, None, []]
    + ["9" * 256, "\N{GREEK SMALL LETTER LAMDA}" * 128],  # as long as no name can be
    ids=lambda place: ascii(place)[:20],
)
def test_files_elsewhere(tmp_path: Path, place: Any) -> None:
    path = sharded(tmp_path, "safetensors")
    rewritten(path, places_of(path) | {"lstm.weight_ih_l0": place})
    assert "which is no name of a file beside it" in complaint(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "JSON that is damaged"),
        ("{" * 100, "JSON that is damaged"),
        ('{"a": ' + "[" * 100_000, "JSON that is damaged"),
        ('{"weight_map": {"a": "b", "a": "c"}}', "it has the name 'a' twice"),
        ('{"weight_map": {}}', "without a weight_map"),
        ('{"weight_map": ["a"]}', "without a weight_map"),
        ('{"model_type": "bert"}', "JSON without weights"),
        ('{"a": "' + "x" * (4 << 20) + '"}', "too long for the files beside it"),
        ('{"a": "\udcff"}', "JSON that is damaged"),
    ],
    ids=lambda text: text[:20],
)
def test_damaged_indices(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    assert words in complaint(path)


def test_an_index_in_an_index(tmp_path: Path) -> None:
    path = rewritten(tmp_path / "a.index.json", {"lstm.weight_ih_l0": "a.index.json"})
    assert "a.index.json: has no names of torch's" in complaint(path)


def test_an_index_under_another_name(tmp_path: Path) -> None:
    path = sharded(tmp_path, "safetensors")
    assert repr(LSTM.load(path.rename(tmp_path / "index"), "lstm.")) == "LSTM(3, 5, num_layers=4)"
