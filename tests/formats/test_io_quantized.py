"""Files of weights in 16 and 8 bits: what is in them, what is made of them, and what is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from support.allocations import at_most
from support.cases import assert_same_bits
from support.quantized import same_module

from numba_lstm import LSTM, LSTMCell, cli, io
from numba_lstm.contract.weight_form import FORMS

F32 = np.float32
Arrays = dict[str, np.ndarray]

forms = pytest.mark.parametrize("form", FORMS)
by_suffix = pytest.mark.parametrize("suffix", [".safetensors", ".npz"])

IN_SAFETENSORS = {"int8": "I8", "float16": "F16", "bfloat16": "BF16"}
IN_NPZ = {"int8": "int8", "float16": "float16", "bfloat16": "uint16"}


def same(actual: Any, expected: Any) -> None:
    same_module(actual, expected)
    x = np.random.default_rng(0).standard_normal((4, actual.input_size), F32)
    results = [module(x) for module in (actual, expected)]
    if isinstance(actual, LSTM):
        assert_same_bits(*results)
    else:
        np.testing.assert_array_equal(*results)


def header(path: Path) -> dict[str, Any]:
    """Return what a safetensors file says of itself."""
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    assert size % 8 == 0
    found: dict[str, Any] = json.loads(content[8 : 8 + size])
    return found


# --- what is written --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [LSTM, LSTMCell])
@by_suffix
@forms
def test_written_and_read(form: str, suffix: str, kind: Any, tmp_path: Path) -> None:
    small = kind(7, 5, seed=0).quantize(form)
    small.save(tmp_path / f"a{suffix}")
    made = kind.load(tmp_path / f"a{suffix}")
    assert type(made) is kind
    same(made, small)
    same(kind.load(tmp_path / f"a{suffix}", weights=form, dtype=F32), small)
    made.save(tmp_path / f"b{suffix}")
    if suffix == ".safetensors":
        assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


@by_suffix
@forms
def test_options_are_recorded(form: str, suffix: str, tmp_path: Path) -> None:
    lstm = LSTM(3, 5, 2, False, True, 0.5, True, 2, seed=0)
    small = lstm.quantize(form)
    path = tmp_path / f"a{suffix}"
    small.save(path)
    same(LSTM.load(path), small)
    other = LSTM.load(path, batch_first=False, dropout=0.25, seed=3)
    assert repr(other) == repr(small).replace("batch_first=True, ", "").replace("0.5", "0.25")
    assert json.loads(io.read_contents(path).metadata["numba_lstm"]) == {
        "batch_first": True, "dropout": 0.5, "dtype": "float32", "form": form,
    }  # fmt: skip
    lstm.save(path)
    assert "form" not in io.read_contents(path).metadata["numba_lstm"]


@forms
def test_what_is_in_safetensors(form: str, tmp_path: Path) -> None:
    """Read without the package."""
    small, path = LSTM(3, 5, seed=0).quantize(form), tmp_path / "a.safetensors"
    small.save(path)
    found = header(path)
    del found["__metadata__"]
    kinds = {name: entry["dtype"] for name, entry in found.items()}
    assert kinds == {
        name: "F32" if name.endswith("_scale") or name.startswith("bias") else IN_SAFETENSORS[form]
        for name in small.state_dict()
    }
    described = io.describe(path)
    assert described["weight_ih_l0"].dtype == form
    wide = io.read(path)
    for name, array in small.named_parameters():
        np.testing.assert_array_equal(wide[name], array)


@forms
def test_what_is_in_npz(form: str, tmp_path: Path) -> None:
    small, path = LSTM(3, 5, seed=0).quantize(form), tmp_path / "a.npz"
    small.save(path)
    with np.load(path) as found:
        arrays = {name: found[name] for name in small.state_dict()}
    assert arrays["weight_hh_l0"].dtype == IN_NPZ[form]
    assert arrays["bias_hh_l0"].dtype == F32
    for name, array in arrays.items():
        halves = array.dtype == np.uint16
        numbers = (array.astype(np.uint32) << 16).view(F32) if halves else array
        np.testing.assert_array_equal(numbers, getattr(small, name))
    assert io.describe(path)["weight_ih_l0"].dtype == form
    for name, array in io.read(path).items():
        np.testing.assert_array_equal(array, getattr(small, name))


@by_suffix
def test_weights_in_16_bits_are_numbers_for_others(suffix: str, tmp_path: Path) -> None:
    """bfloat16 was read from npz as integers, of which `load_state_dict` made numbers up to 65,535."""
    small, path, lstm = LSTM(3, 5, seed=0).quantize("bfloat16"), tmp_path / f"a{suffix}", LSTM(3, 5)
    small.save(path)
    lstm.load_state_dict(io.read(path))
    for name, array in small.named_parameters():
        np.testing.assert_array_equal(getattr(lstm, name), array)


@pytest.mark.parametrize("text", ["{}", "[1]", "no JSON"])
def test_a_damaged_list_of_bfloat16(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, a=np.zeros(3), __metadata__=np.array(json.dumps({"numba_lstm.bfloat16": text})))
    for read in (io.read, io.describe):
        with pytest.raises(ValueError, match=r"a\.npz: not a complete \.npz file of numbers: "):
            read(path)


def test_bfloat16_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, a=np.zeros(3), __metadata__=np.array(json.dumps({"numba_lstm.bfloat16": '["a"]'})))
    with pytest.raises(ValueError, match="a is float64, and said to be bfloat16 in integers of 16 bits"):
        io.read(path)


@forms
def test_torch_reads_the_same_numbers(form: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file

    small, path = LSTM(3, 5, seed=0).quantize(form), tmp_path / "a.safetensors"
    small.save(path)
    found = load_file(path)
    assert found["weight_ih_l0"].dtype is getattr(torch, form)
    for name, array in small.named_parameters():
        np.testing.assert_array_equal(found[name].to(torch.float32).numpy(), array.astype(F32))


@by_suffix
@pytest.mark.parametrize(("form", "share"), [("int8", 0.26), ("float16", 0.51), ("bfloat16", 0.51)])
def test_files_are_small(form: str, share: float, suffix: str, tmp_path: Path) -> None:
    lstm = LSTM(300, 300)
    lstm.save(tmp_path / f"a{suffix}")
    lstm.quantize(form).save(tmp_path / f"b{suffix}")
    assert (tmp_path / f"b{suffix}").stat().st_size < share * (tmp_path / f"a{suffix}").stat().st_size


@by_suffix
@forms
def test_a_renamed_module(form: str, suffix: str, tmp_path: Path) -> None:
    """Its record counts under any prefix."""
    small = LSTM(3, 5, seed=0).quantize(form)
    small.save(tmp_path / f"a{suffix}")
    arrays, metadata = stored(tmp_path / f"a{suffix}")
    put(tmp_path / f"b{suffix}", {f"enc.{name}": array for name, array in arrays.items()}, metadata)
    same(LSTM.load(tmp_path / f"b{suffix}", "enc."), small)


# --- float files ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [LSTM, LSTMCell])
@by_suffix
@forms
def test_quantized_while_it_is_read(form: str, suffix: str, kind: Any, tmp_path: Path) -> None:
    module, path = kind(7, 5, seed=0), tmp_path / f"a{suffix}"
    module.save(path)
    same(kind.load(path, weights=form), module.quantize(form))
    assert kind.load(path).form == "float32"


@forms
def test_checkpoints_of_torch(form: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    trained = torch.nn.LSTM(3, 5, 2, batch_first=True)
    state = trained.state_dict()
    torch.save({"state_dict": {f"rnn.{name}": tensor for name, tensor in state.items()}}, tmp_path / "a.pt")
    expected = LSTM(3, 5, 2, batch_first=True)
    expected.load_state_dict(state)
    same(LSTM.load(tmp_path / "a.pt", "rnn.", batch_first=True, weights=form), expected.quantize(form))


@forms
def test_computed_parameters(form: str, tmp_path: Path) -> None:
    """Pruned weights are made of two arrays before they are quantized."""
    lstm, rng = LSTM(3, 5, seed=0), np.random.default_rng(0)
    arrays = {name: np.array(array) for name, array in lstm.named_parameters()}
    mask = (rng.random((20, 5)) < 0.5).astype(F32)
    lstm.weight_hh_l0 = arrays["weight_hh_l0"] * mask
    arrays |= {"weight_hh_l0_orig": arrays.pop("weight_hh_l0"), "weight_hh_l0_mask": mask}
    save_file(arrays, tmp_path / "a.safetensors")
    same(LSTM.load(tmp_path / "a.safetensors", weights=form), lstm.quantize(form))


@by_suffix
@forms
def test_float64_has_to_be_rounded_before(form: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    LSTM(3, 5, dtype=np.float64, seed=0).save(path)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: its weights are float64, .*dtype='float32'"):
        LSTM.load(path, weights=form)
    same(LSTM.load(path, weights=form, dtype="float32"), LSTM.load(path, dtype="float32").quantize(form))
    LSTM(3, 5, seed=0).save(path)
    with pytest.raises(ValueError, match="its weights are float64, and what is quantized is float32"):
        LSTM.load(path, weights=form, dtype=np.float64)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_float32_is_there_once(suffix: str, tmp_path: Path) -> None:
    lstm, path = LSTM(700, 700), tmp_path / f"a{suffix}"
    lstm.save(path)
    size = path.stat().st_size
    with at_most(int(1.25 * size) + (4 << 20)):
        LSTM.load(path, weights="int8")


@forms
def test_a_weight_beyond_the_form_is_named(form: str, tmp_path: Path) -> None:
    lstm, path = LSTM(3, 5), tmp_path / "a.safetensors"
    lstm.weight_hh_l0 = np.full((20, 5), np.inf if form == "int8" else 3.4e38)
    lstm.save(path)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: weight_hh_l0 has (inf|3.4e\\+38), "):
        LSTM.load(path, weights=form)


@pytest.mark.parametrize("form", ["float16", "bfloat16"])
def test_halves_without_a_record_are_float32(form: str, tmp_path: Path) -> None:
    """As others write them; who wants them as they are says so, and loses nothing."""
    lstm = LSTM(3, 5, seed=0)
    small = lstm.quantize(form)
    small.save(tmp_path / "a.safetensors")
    arrays, _ = stored(tmp_path / "a.safetensors")
    put(tmp_path / "b.safetensors", arrays, {})
    assert header(tmp_path / "b.safetensors")["weight_ih_l0"]["dtype"] == IN_SAFETENSORS[form]
    wide = LSTM.load(tmp_path / "b.safetensors")
    assert (wide.form, wide.training) == ("float32", False)
    same(wide.eval(), small.dequantize())
    same(LSTM.load(tmp_path / "b.safetensors", weights=form), small)


# --- what is refused --------------------------------------------------------------------------------------


def stored(path: Path) -> tuple[Arrays, dict[str, str]]:
    """Return the arrays of a file as they are in it, and its metadata."""
    metadata = io.read_contents(path).metadata
    if path.suffix == ".npz":
        with np.load(path) as found:
            return {name: found[name] for name in found if name != "__metadata__"}, metadata
    content, found = path.read_bytes(), header(path)
    start = 8 + int.from_bytes(content[:8], "little")
    types = {"I8": "i1", "F16": "<f2", "F32": "<f4", "BF16": np.dtype([("bfloat16", "<u2")])}
    arrays = {}
    for name, entry in found.items():
        if name != "__metadata__":
            first, last = entry["data_offsets"]
            kind: Any = types[entry["dtype"]]
            arrays[name] = np.frombuffer(content[start + first : start + last], kind).reshape(entry["shape"])
    return arrays, metadata


def put(path: Path, arrays: Arrays, metadata: dict[str, str]) -> Path:
    io.write(path, arrays, metadata)
    return path


def replaced(name: str, change: Callable[[np.ndarray], Any]) -> Callable[[Arrays], Any]:
    def apply(arrays: Arrays) -> None:
        array = np.array(arrays[name])
        other = change(array)
        arrays[name] = array if other is None else other

    return apply


def first(value: float) -> Callable[[np.ndarray], None]:
    return lambda array: array.reshape(-1).__setitem__(0, value)


def renamed(old: str, new: str) -> Callable[[Arrays], Any]:
    return lambda arrays: arrays.update({new: arrays.pop(old)})


BY_NAME = ("weight_ih_l0", "weight_hh_l0")
DAMAGES: dict[str, tuple[str, str, Callable[[Arrays], Any]]] = {
    "no scale": ("int8", "weight_ih_l0_scale is missing", lambda a: a.pop("weight_ih_l0_scale")),
    "no scales": ("int8", "_scale is missing", lambda a: [a.pop(f"{name}_scale") for name in BY_NAME]),
    "no weight": ("int8", "weight_hh_l0 is missing", lambda a: a.pop("weight_hh_l0")),
    "a scale of a bias": ("int8", "bias_ih_l0_scale", lambda a: a.update(bias_ih_l0_scale=np.ones(20, F32))),
    "scales of halves": ("float16", "quantized", lambda a: a.update(weight_ih_l0_scale=np.ones(20, F32))),
    "one scale too few": ("int8", r"weight_ih_l0_scale is a float32 array of shape \(19,\)",
                          replaced("weight_ih_l0_scale", lambda a: a[1:])),
    "a scale for all": ("int8", r"weight_ih_l0_scale is a float32 array of shape \(\)",
                        replaced("weight_ih_l0_scale", lambda a: a[0])),
    "a scale for each weight": ("int8", r"weight_ih_l0_scale is a float32 array of shape \(20, 3\)",
                                replaced("weight_ih_l0_scale", lambda a: np.ones((20, 3), F32))),
    "float64 scales": ("int8", "weight_ih_l0_scale is a float64", replaced("weight_ih_l0_scale", np.float64)),
    "float16 scales": ("int8", "weight_ih_l0_scale is a float16", replaced("weight_ih_l0_scale", np.float16)),
    "int8 biases": ("int8", "bias_ih_l0 is a int8", replaced("bias_ih_l0", np.int8)),
    "uint8": ("int8", "weight_ih_l0 is a uint8", replaced("weight_ih_l0", np.uint8)),
    "one float weight": ("int8", "weight_ih_l0 is a float32", replaced("weight_ih_l0", F32)),
    "float32, not float16": ("float16", "weight_ih_l0 is a float32", replaced("weight_ih_l0", F32)),
    "float16, not bfloat16": ("bfloat16", "weight_hh_l0 is a float16",
                              replaced("weight_hh_l0", lambda a: np.zeros(a.shape, np.float16))),
    "no bfloat16": ("bfloat16", "weight_hh_l0 has numbers that bfloat16 has not",
                    replaced("weight_hh_l0", lambda a: np.full(a.shape, 0.1, F32))),
    "-128": ("int8", "weight_hh_l0 has -128", replaced("weight_hh_l0", first(-128))),
    "a scale of zero": ("int8", "weight_hh_l0_scale has 0,", replaced("weight_hh_l0_scale", first(0))),
    "a scale below zero": ("int8", "weight_hh_l0_scale has -1,", replaced("weight_hh_l0_scale", first(-1))),
    "a scale of nan": ("int8", "weight_hh_l0_scale has nan,", replaced("weight_hh_l0_scale", first(np.nan))),
    "a scale beyond float32": ("int8", r"weight_hh_l0_scale has 3e\+36,", replaced("weight_hh_l0_scale", first(3e36))),
    "a scale of inf": ("int8", "weight_hh_l0_scale has inf,", replaced("weight_hh_l0_scale", first(np.inf))),
    "scales of another layer": ("int8", "weight_ih_l1 is missing",
                                lambda a: a.update(weight_ih_l1_scale=np.ones(20, F32))),
    "scales of no projection": ("int8", "weight_hr_l0 is missing",
                                lambda a: a.update(weight_hr_l0_scale=np.ones(5, F32))),
    "a weight in place of scales": ("int8", "weight_hh_l0_scale is a int8",
                                    replaced("weight_hh_l0_scale", lambda a: np.ones(20, np.int8))),
    "computed weights": ("int8", "weight_hh_l0 would be computed from 'weight_hh_l0_raw'",
                         lambda a: a.update(weight_hh_l0_raw=a["weight_hh_l0"])),
    "only computed weights": ("int8", "weight_hh_l0", renamed("weight_hh_l0", "weight_hh_l0_raw")),
    "scales under another name": ("int8", "weight_hh_l0", renamed("weight_hh_l0_scale", "weight_hh_l0_scales")),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
@by_suffix
def test_damaged_files(suffix: str, damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    form, words, change = DAMAGES[damage]
    LSTM(3, 5, seed=0).quantize(form).save(tmp_path / f"a{suffix}")
    arrays, metadata = stored(tmp_path / f"a{suffix}")
    change(arrays)
    path = put(tmp_path / f"b{suffix}", arrays, metadata)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: .*{words}"):
        LSTM.load(path)
    cli.main(["info", str(path)])
    printed = capsys.readouterr()
    if not words.startswith("weight_hh_l0_scale has") and damage not in ("-128", "no bfloat16"):  # which is not read
        assert "cannot be run" in printed.out or printed.err


def recorded(**changes: Any) -> dict[str, str]:
    record = {"batch_first": False, "dropout": 0.0, "dtype": "float32", "form": "int8"} | changes
    return {"numba_lstm": json.dumps({name: value for name, value in record.items() if value is not None})}


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({}, "_l0_scale' tells"),
        (recorded(form=None), "_l0_scale' tells"),
        (recorded(form="int4"), "weights should be kept in float16, bfloat16 or int8, got: 'int4'"),
        (recorded(form=["int8"]), "weights should be kept in"),
        (recorded(form=8), "weights should be kept in"),
        (recorded(form="float32"), "weights should be kept in"),
        (recorded(form="float16"), "_l0_scale' tells"),
        (recorded(dtype="float64"), "its record has dtype 'float64', and weights in int8 belong to float32"),
    ],
)
@by_suffix
def test_records_that_do_not_fit(suffix: str, metadata: dict[str, str], words: str, tmp_path: Path) -> None:
    LSTM(3, 5, seed=0).quantize("int8").save(tmp_path / f"a{suffix}")
    arrays, _ = stored(tmp_path / f"a{suffix}")
    path = put(tmp_path / f"b{suffix}", arrays, metadata)
    for dtype in (None, "float32"):
        with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: .*{re.escape(words)}"):
            LSTM.load(path, dtype=dtype)


@by_suffix
def test_int8_arrays_alone_are_no_weights(suffix: str, tmp_path: Path) -> None:
    LSTM(3, 5, seed=0).quantize("int8").save(tmp_path / f"a{suffix}")
    arrays, _ = stored(tmp_path / f"a{suffix}")
    some = {name: array for name, array in arrays.items() if not name.endswith("_scale")}
    with pytest.raises(ValueError, match="weight_ih_l0 holds int8, integers, as of quantized weights"):
        LSTM.load(put(tmp_path / f"b{suffix}", some, {}))
    with pytest.raises(ValueError, match="weight_ih_l0_scale is missing that int8 keeps"):
        LSTM.load(put(tmp_path / f"c{suffix}", some, recorded()))


@pytest.mark.parametrize("form", FORMS)
def test_a_record_of_float_weights_that_has_a_form(form: str, tmp_path: Path) -> None:
    arrays = {name: np.array(array) for name, array in LSTM(3, 5, seed=0).named_parameters()}
    with pytest.raises(ValueError, match="weight_ih_l0"):
        LSTM.load(put(tmp_path / "a.npz", arrays, recorded(form=form)))


@by_suffix
@forms
def test_another_form_is_not_made_of_one(form: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    LSTM(3, 5).quantize(form).save(path)
    for other in FORMS:
        if other != form:
            with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: its weights are in {form} already: make"):
                LSTM.load(path, weights=other)
    with pytest.raises(ValueError, match=f"its weights are in {form}, which belongs to float32, not float64"):
        LSTM.load(path, dtype="float64")


@pytest.mark.parametrize("kind", [LSTM, LSTMCell])
@pytest.mark.parametrize("weights", ["int4", "float32", 8, ""])
def test_forms_that_there_are_not(kind: Any, weights: Any, tmp_path: Path) -> None:
    kind(3, 5).save(tmp_path / "a.npz")
    with pytest.raises(ValueError, match=r"^weights should be kept in float16, bfloat16 or int8, got: "):
        kind.load(tmp_path / "a.npz", weights=weights)


@by_suffix
def test_bytes_in_the_other_order(suffix: str, tmp_path: Path) -> None:
    """As NumPy may write them into npz."""
    for form in FORMS:
        small = LSTM(3, 5, seed=0).quantize(form)
        small.save(tmp_path / "a.npz")
        arrays, metadata = stored(tmp_path / "a.npz")
        swapped = {name: array.astype(array.dtype.newbyteorder(">")) for name, array in arrays.items()}
        path = tmp_path / "b.npz"
        io.write(path, swapped, metadata)
        same(LSTM.load(path), small)
        assert cli.main(["info", str(path)]) == 0
