"""Checkpoints in several files: read through their index, and no file of them taken for the whole."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from support import torch_files

from numba_lstm import LSTM, LSTMCell, cli, io

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


# --- what files say beside their arrays ---------------------------------------------------------------------


def indexed(folder: Path, places: dict[str, list[str]]) -> Path:
    """Write an index of files and their names; return it."""
    return rewritten(folder / "model.index.json", {name: file for file, names in places.items() for name in names})


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_what_save_has_recorded_counts(tmp_path: Path, suffix: str) -> None:
    lstm = LSTM(3, 5, batch_first=True, dropout=0.25, num_layers=2, seed=0)
    small = lstm.quantize("int8")
    for module in (lstm, small):
        module.save(tmp_path / f"lstm{suffix}")
        path = indexed(tmp_path, {f"lstm{suffix}": list(module.state_dict())})
        read = LSTM.load(path)
        assert repr(read) == repr(LSTM.load(tmp_path / f"lstm{suffix}")) == repr(module)
        assert read.form == module.form
        assert cli.main(["info", str(path)]) == 0


@pytest.mark.parametrize("other", [{}, {"numba_lstm": '{"batch_first": false}'}], ids=["none", "another"])
def test_records_that_differ(tmp_path: Path, other: dict[str, str]) -> None:
    """Nobody knows for which of the arrays one is."""
    state = {name: np.array(array) for name, array in LSTM(3, 5, 2).state_dict().items()}
    names, recorded = list(state), {"numba_lstm": '{"batch_first": true}'}
    path = indexed(tmp_path, {"a.safetensors": names[:4], "b.safetensors": names[4:]})
    for second in (recorded, other):
        io.write(tmp_path / "a.safetensors", {name: state[name] for name in names[:4]}, recorded)
        io.write(tmp_path / "b.safetensors", {name: state[name] for name in names[4:]}, second)
        if second is recorded:
            assert LSTM.load(path).batch_first
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: its files have different records 'numba_lstm'"):
        LSTM.load(path)


def test_whole_modules_in_files_of_an_index(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")

    lstm = torch.nn.LSTM(3, 5, batch_first=True)
    names = list(lstm.state_dict())
    torch.save(lstm, tmp_path / "lstm.pt")
    torch.save(torch.nn.LSTM(3, 5, batch_first=True, bidirectional=True), tmp_path / "wide.pt")
    assert LSTM.load(indexed(tmp_path, {"lstm.pt": names})).batch_first
    path = indexed(tmp_path, {"wide.pt": [*names, *(f"{name}_reverse" for name in names)], "lstm.pt": []})
    assert LSTM.load(path).bidirectional
    lstm.__class__ = type("NormedLSTM", (torch.nn.LSTM,), {"__module__": __name__})
    globals()["NormedLSTM"] = lstm.__class__  # where torch.save looks for it
    try:
        torch.save(lstm, tmp_path / "lstm.pt")
    finally:
        del globals()["NormedLSTM"]
    path = indexed(tmp_path, {"lstm.pt": names})
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: it is a .*NormedLSTM, not torch.nn.LSTM"):
        LSTM.load(path)


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
    ["../model-00001-of-00003.safetensors", "/etc/passwd", "..", ".", "", "a/b", "a\\b", "C:x", "a\0b", 3, None, []],
    ids=repr,
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
