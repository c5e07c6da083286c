"""Weight files: round trips, what is recorded, what is refused."""

from __future__ import annotations

import io as standard_io
import json
import os
import re
import stat
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from support.cases import Shape, assert_same_bits, parameter_shapes, random_case
from support.processes import run

from numba_lstm import LSTM, LSTMCell, cli, io
from numba_lstm.contract.module import Module

SUFFIXES = [".safetensors", ".npz"]
by_suffix = pytest.mark.parametrize("suffix", SUFFIXES)


def write(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    """Write weights as torch's users do, with nothing recorded."""
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        save_file({name: np.array(array) for name, array in arrays.items()}, path)
    return path


# --- round trips --------------------------------------------------------------------------------------------
@by_suffix
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_layers": 2, "bias": False, "batch_first": True},
        {"num_layers": 3, "bidirectional": True, "proj_size": 2, "dropout": 0.25},
        {"num_layers": 2, "dropout": 1.0},
    ],
    ids=str,
)
def test_what_is_saved_is_loaded(tmp_path: Path, suffix: str, dtype: str, options: dict[str, Any]) -> None:
    path = tmp_path / ("lstm" + suffix)
    lstm = LSTM(3, 5, **options, dtype=dtype, seed=1)
    lstm.save(path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    for given in (path, str(path)):
        other = LSTM.load(given)
        assert repr(other) == repr(lstm)
        assert other.dtype == dtype
        assert not other.training
        for name, array in lstm.named_parameters():
            assert getattr(other, name).tobytes() == array.tobytes()
    x = np.ones((2, 4, 3), dtype)
    assert_same_bits(other.eval()(x), lstm.eval()(x))
    # any other reader finds the parameters by their names
    arrays = io.read(path)
    assert list(arrays) == list(lstm.state_dict()) or suffix == ".safetensors"
    assert {name: array.shape for name, array in arrays.items()} == parameter_shapes(
        Shape(3, 5, **{k: v for k, v in options.items() if k not in ("batch_first", "dropout")})
    )
    plain = load_file(path) if suffix == ".safetensors" else dict(np.load(path, allow_pickle=False))
    assert set(lstm.state_dict()) <= set(plain)


@by_suffix
def test_arguments_win_over_the_record(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / ("lstm" + suffix)
    LSTM(3, 5, 2, batch_first=True, dropout=0.5, dtype=np.float64).save(path)
    lstm = LSTM.load(path, batch_first=False, dropout=0.0, dtype=np.float32)
    assert (lstm.batch_first, lstm.dropout, lstm.dtype) == (False, 0.0, np.float32)
    assert LSTM.load(path, dropout=0.0).batch_first is True
    assert LSTM.load(path, batch_first=False).dropout == 0.5


@by_suffix
def test_files_without_a_record(tmp_path: Path, suffix: str) -> None:
    case = random_case(Shape(3, 5, 2, True, True, steps=4), 0)
    path = write(tmp_path / ("torchs" + suffix), case.state_dict)
    lstm = LSTM.load(path)
    assert repr(lstm) == "LSTM(3, 5, num_layers=2, bidirectional=True)"
    assert (lstm.batch_first, lstm.dropout, lstm.dtype) == (False, 0.0, np.float32)
    other = LSTM.load(path, batch_first=True, dropout=0.5, dtype="float64")
    assert (other.batch_first, other.dropout, other.dtype) == (True, 0.5, np.float64)
    np.testing.assert_array_equal(other.weight_ih_l0, case.state_dict["weight_ih_l0"])


@by_suffix
def test_one_of_several(tmp_path: Path, suffix: str) -> None:
    first, second = random_case(Shape(3, 5), 0), random_case(Shape(5, 4, 2, False), 1)
    arrays = {"embedding.weight": np.zeros((4, 4), np.float32), "count": np.array(3)}
    arrays |= {"encoder.lstm." + name: a for name, a in first.state_dict.items()}
    arrays |= {"encoder.lstm2." + name: a for name, a in second.state_dict.items()}
    path = write(tmp_path / ("model" + suffix), arrays)
    assert repr(LSTM.load(path, "encoder.lstm.")) == "LSTM(3, 5)"
    lstm = LSTM.load(path, prefix="encoder.lstm2.")
    assert repr(lstm) == "LSTM(5, 4, num_layers=2, bias=False)"
    np.testing.assert_array_equal(lstm.weight_hh_l1, second.state_dict["weight_hh_l1"])
    for kind, prefix in {"int": 5, "NoneType": None, "bytes": b"encoder.lstm.", "list": ["encoder.lstm."]}.items():
        with pytest.raises(TypeError, match=f"^prefix should be of type str, got: {kind}$"):
            LSTM.load(path, prefix)  # type: ignore[arg-type]
    for prefix in ("", "decoder.", "encoder.lstm"):
        message = f"{path}: no LSTM under prefix {prefix!r}; found: 'encoder.lstm.', 'encoder.lstm2.'"
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            LSTM.load(path, prefix)


def test_a_seed_repeats_the_masks(tmp_path: Path) -> None:
    path, x = tmp_path / "lstm.npz", np.ones((4, 2, 3), np.float32)
    lstm = LSTM(3, 5, 2, dropout=0.5, seed=1)
    lstm.save(path)
    assert_same_bits(LSTM.load(path, seed=1).train()(x), lstm(x))


@by_suffix
def test_what_is_loaded_is_in_eval_mode(tmp_path: Path, suffix: str) -> None:
    """Whatever the dropout of the file, the argument, and the mode in which it was saved; cells and subclasses too."""
    path, x = tmp_path / ("lstm" + suffix), np.ones((4, 2, 3), np.float32)
    lstm = LSTM(3, 5, 2, dropout=0.5, seed=1)
    assert lstm.training
    lstm.save(path)
    for given in ({}, {"dropout": 1.0}, {"weights": "float16"}):
        loaded = LSTM.load(path, **given)
        assert (loaded.training, loaded.dropout) == (False, given.get("dropout", 0.5))
        assert_same_bits(loaded(x), loaded(x))
    assert_same_bits(LSTM.load(path)(x), lstm.eval()(x))
    LSTMCell(3, 5).save(path)
    assert not LSTMCell.load(path).training

    class Mine(LSTM):
        pass

    write(path, {name: np.array(array) for name, array in lstm.state_dict().items()})
    assert not Mine.load(path, dropout=0.5).training


def test_a_subclass_loads_itself(tmp_path: Path) -> None:
    class Mine(LSTM):
        pass

    Mine(3, 5).save(tmp_path / "a.npz")
    assert type(Mine.load(tmp_path / "a.npz")) is Mine


def test_a_subclass_is_made_by_its_constructor(tmp_path: Path) -> None:
    """Which may read parameters and assign some; those of the file come last."""

    class Remembering(LSTM):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.shapes = [array.shape for array in self.parameters()]
            self.bias_hh_l0 = np.ones(4 * self.hidden_size)

    lstm = LSTM(3, 5, seed=0)
    lstm.save(tmp_path / "a.npz")
    loaded = Remembering.load(tmp_path / "a.npz")
    assert loaded.shapes == [array.shape for array in lstm.parameters()]
    np.testing.assert_array_equal(loaded.bias_hh_l0, lstm.bias_hh_l0)


def test_loading_draws_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    LSTM(3, 5, 2).save(tmp_path / "a.npz")
    LSTMCell(3, 5).save(tmp_path / "b.npz")

    def refuse(self: Module) -> None:
        raise AssertionError

    monkeypatch.setattr(Module, "reset_parameters", refuse)
    assert LSTM.load(tmp_path / "a.npz").num_layers == 2
    assert LSTMCell.load(tmp_path / "b.npz").hidden_size == 5


def _half_used(bits: Any) -> np.random.Generator:
    generator = np.random.Generator(bits(3))
    generator.random(1, np.float32)  # and keeps the other half of a word
    return generator


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=("float32", "float64"))
@pytest.mark.parametrize("hidden_size", [5, 6])
@pytest.mark.parametrize(
    "seed",
    [
        lambda: 0, lambda: np.random.SeedSequence(1), lambda: np.random.MT19937(2), lambda: np.random.PCG64DXSM(2),
        lambda: np.random.Philox(2), lambda: _half_used(np.random.PCG64), lambda: _half_used(np.random.MT19937),
    ],
    ids=("integer", "sequence", "MT19937", "PCG64DXSM", "Philox", "half used", "half used MT19937"),
)  # fmt: skip
def test_a_seed_goes_on_as_in_a_new_module(tmp_path: Path, dtype: Any, hidden_size: int, seed: Any) -> None:
    """Also where the number of parameters is odd."""
    new = LSTM(3, hidden_size, proj_size=3, dtype=dtype, seed=seed())
    new.save(tmp_path / "a.npz")
    loaded = LSTM.load(tmp_path / "a.npz", seed=seed())
    for kind in (np.float32, np.float64, np.float32):
        np.testing.assert_array_equal(*(lstm._generator.random(3, kind) for lstm in (new, loaded)))


def test_signature_shows_the_defaults() -> None:
    import inspect

    parameters = inspect.signature(LSTM.load).parameters
    assert [str(p).split(": ")[0].split("=")[0] for p in parameters.values()][:2] == ["path", "prefix"]
    assert {n: repr(p.default) for n, p in parameters.items() if p.kind is p.KEYWORD_ONLY} == {
        "batch_first": "False",
        "dropout": "0.0",
        "dtype": "None",
        "weights": "None",
        "seed": "None",
    }


# --- dtypes -------------------------------------------------------------------------------------------------
@by_suffix
@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (["f2"], "float32"),
        (["f4"], "float32"),
        (["f8"], "float64"),
        (["f4", "f8"], "float64"),
        (["f2", "f4"], "float32"),
    ],
)
def test_dtype_of_the_file(tmp_path: Path, suffix: str, kinds: list[str], expected: str) -> None:
    case = random_case(Shape(3, 5), 0, np.float64)
    arrays = {
        name: array.astype(kinds[index % len(kinds)]) for index, (name, array) in enumerate(case.state_dict.items())
    }
    # what is beside the LSTM does not count
    path = write(tmp_path / ("a" + suffix), {**arrays, "head": np.zeros(3), "ids": np.zeros(3, np.int64)})
    lstm = LSTM.load(path)
    assert lstm.dtype == expected
    for name, array in arrays.items():
        np.testing.assert_array_equal(getattr(lstm, name), array)


@by_suffix
@pytest.mark.parametrize("kind", ["int8", "uint8", "int32", "int64", "bool"])
@pytest.mark.parametrize("dtype", [None, "float32", "float64"])
def test_integers_are_no_weights(tmp_path: Path, suffix: str, kind: str, dtype: str | None, capsys: Any) -> None:
    """Quantized weights are such: without their scale they would be wrong numbers, asked for or not."""
    arrays = {name: np.ones(shape, kind) for name, shape in parameter_shapes(Shape(3, 5)).items()}
    path = write(tmp_path / ("quantized" + suffix), arrays)
    words = "bool, truth values" if kind == "bool" else f"{kind}, integers, as of quantized weights"
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: weight_ih_l0 holds {words}"):
        LSTM.load(path, dtype=dtype)
    assert cli.main(["convert", str(path), str(tmp_path / "out.npz")]) == 2
    assert words in capsys.readouterr().err
    # Who knows that they are meant as they are has a way.
    np.testing.assert_array_equal(io.read(path)["weight_ih_l0"], 1)


QUANTIZED = {
    "bitsandbytes, 4 bits": {"weight_ih_l0": "u1", "weight_ih_l0.absmax": "f4", "weight_ih_l0.quant_map": "f4"},
    "bitsandbytes, 8 bits": {"weight_ih_l0": "i1", "SCB": "f4"},
    "float8": {"weight_ih_l0_scale": "f4"},
    "float8 in blocks": {"weight_ih_l0_scale_inv": "f4"},
    "GPTQ": {"weight_ih_l0.qweight": "i4", "weight_ih_l0.qzeros": "i4", "weight_ih_l0.g_idx": "i4"},
    "names of their own": {"ih_l0.qweight": "i4", "ih_l0.scales": "f2", "weight_ih_l0": None, "weight_hh_l0": None,
                           "bias_ih_l0": None, "bias_hh_l0": None},
}  # fmt: skip
"""Arrays of quantizers: those that they add to an LSTM, change, or (None) leave out."""


@pytest.mark.parametrize("change", QUANTIZED.values(), ids=QUANTIZED)
@pytest.mark.parametrize("dtype", [None, "float32"])
def test_quantized_weights_are_named(tmp_path: Path, change: dict[str, Any], dtype: str | None, capsys: Any) -> None:
    arrays = {name: np.ones(shape, "f4") for name, shape in parameter_shapes(Shape(3, 5)).items()}
    arrays |= {name: np.ones((20, 3), kind) for name, kind in change.items() if kind}
    path = write(
        tmp_path / "a.safetensors", {f"rnn.{name}": a for name, a in arrays.items() if change.get(name, True)}
    )
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: .*quantized"):
        LSTM.load(path, "rnn.", dtype=dtype)
    cli.main(["info", str(path)])
    printed = capsys.readouterr()
    assert "quantized" in printed.out + printed.err


def test_quantized_weights_of_another_module(tmp_path: Path) -> None:
    arrays = {f"rnn.{name}": np.ones(shape, "f4") for name, shape in parameter_shapes(Shape(3, 5)).items()}
    path = write(tmp_path / "a.safetensors", {**arrays, "fc.weight": np.ones(3, "i1"), "fc.SCB": np.ones(3, "f4")})
    assert repr(LSTM.load(path, "rnn.")) == "LSTM(3, 5)"


ODD = {
    "|V2": "numbers that NumPy cannot name, such as bfloat16",
    "|V1": "numbers that NumPy cannot name",
    "|V16": "numbers that NumPy cannot name",
    "<c8": "complex64, complex numbers",
    "<c16": "complex128, complex numbers",
    "<U3": "no numbers",
    "|S2": "no numbers",
    "<M8[s]": "no numbers",
    "<m8[s]": "no numbers",
}


@pytest.mark.parametrize(("kind", "words"), ODD.items(), ids=ODD)
@pytest.mark.parametrize("dtype", [None, "float32"])
def test_npz_of_what_is_no_float(tmp_path: Path, kind: str, words: str, dtype: str | None, capsys: Any) -> None:
    path, shapes = tmp_path / "odd.npz", parameter_shapes(Shape(3, 5))
    np.savez(path, **{name: np.zeros(shape, kind) for name, shape in shapes.items()})
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: weight_ih_l0 holds .*{words}"):
        LSTM.load(path, dtype=dtype)
    assert {name: each.shape for name, each in io.describe(path).items()} == shapes
    assert cli.main(["info", str(path)]) == 0
    assert "cannot be run: weight_ih_l0 holds " in capsys.readouterr().out
    np.save(tmp_path / "x.npy", np.zeros((2, 1, 3), kind))
    LSTM(3, 5).save(tmp_path / "w.npz")
    assert cli.main(["run", str(tmp_path / "w.npz"), str(tmp_path / "x.npy"), "--dtype", "float32"]) == 2
    assert "x.npy holds " in capsys.readouterr().err


@pytest.mark.parametrize("kind", [[("a", "<f4")], [("a", "<f4"), ("b", "<i4")]], ids=["one field", "two"])
def test_npz_of_records(tmp_path: Path, kind: Any) -> None:
    path = tmp_path / "odd.npz"
    np.savez(path, **{name: np.zeros(shape, kind) for name, shape in parameter_shapes(Shape(3, 5)).items()})
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: weight_ih_l0 holds .*records$"):
        LSTM.load(path)


def test_the_advice_for_bfloat16_works(tmp_path: Path) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    case = random_case(Shape(3, 5), 0)
    path = tmp_path / "bf16.npz"
    np.savez(path, **{name: array.astype(ml_dtypes.bfloat16) for name, array in case.state_dict.items()})
    with pytest.raises(ValueError, match=r"array\.view\(ml_dtypes\.bfloat16\)\.astype\('float32'\)"):
        LSTM.load(path)
    with np.load(path) as arrays:
        wide = {name: array.view(ml_dtypes.bfloat16).astype("float32") for name, array in arrays.items()}
    np.savez(path, **wide)
    for name, array in LSTM.load(path).state_dict().items():
        np.testing.assert_array_equal(array, case.state_dict[name].astype(ml_dtypes.bfloat16).astype("float32"))


@pytest.mark.skipif(np.dtype(np.longdouble).itemsize <= 8, reason="long double is double here")
def test_longer_floats_are_rounded_if_asked_for(tmp_path: Path) -> None:
    case = random_case(Shape(3, 5), 0, np.float64)
    np.savez(tmp_path / "long.npz", **{name: a.astype(np.longdouble) for name, a in case.state_dict.items()})
    with pytest.raises(ValueError, match=r"long\.npz: weight_ih_l0 holds float128: say with dtype 'float64'"):
        LSTM.load(tmp_path / "long.npz")
    lstm = LSTM.load(tmp_path / "long.npz", dtype="float64")
    np.testing.assert_array_equal(lstm.weight_ih_l0, case.state_dict["weight_ih_l0"])


@pytest.mark.parametrize("kind", [">f2", ">f4", ">f8"])
def test_big_endian_npz(tmp_path: Path, kind: str) -> None:
    case = random_case(Shape(3, 5), 0)
    np.savez(tmp_path / "big.npz", **{name: a.astype(kind) for name, a in case.state_dict.items()})
    lstm = LSTM.load(tmp_path / "big.npz")
    assert lstm.dtype == (np.float64 if kind == ">f8" else np.float32)
    assert lstm.dtype.isnative
    np.testing.assert_array_equal(lstm.weight_ih_l0, case.state_dict["weight_ih_l0"].astype(kind))


def safetensors_bytes(entries: dict[str, tuple[str, tuple[int, ...], bytes]]) -> bytes:
    """Return a file made by hand: dtype, shape and bytes by name."""
    header, data = {}, b""
    for name, (dtype, shape, part) in entries.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(part)]}
        data += part
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def test_bfloat16(tmp_path: Path) -> None:
    case = random_case(Shape(3, 5), 0)
    halves = {name: (a.view(np.uint32) >> 16).astype("<u2") for name, a in case.state_dict.items()}
    path = tmp_path / "bf16.safetensors"
    path.write_bytes(safetensors_bytes({name: ("BF16", a.shape, a.tobytes()) for name, a in halves.items()}))
    lstm = LSTM.load(path)
    assert lstm.dtype == np.float32
    for name, half in halves.items():
        np.testing.assert_array_equal(getattr(lstm, name).view(np.uint32), half.astype(np.uint32) << 16)
        np.testing.assert_allclose(getattr(lstm, name), case.state_dict[name], rtol=2**-7)


@pytest.mark.parametrize("kind", ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?"])
def test_safetensors_of_every_dtype(tmp_path: Path, kind: str) -> None:
    array = np.arange(6).astype(kind).reshape(2, 3)
    save_file({"a": array, "empty": np.zeros((0, 3), kind), "scalar": np.ones((), kind)}, tmp_path / "a.safetensors")
    read = io.read(tmp_path / "a.safetensors")
    for name, expected in (("a", array), ("empty", np.zeros((0, 3), kind)), ("scalar", np.ones((), kind))):
        assert read[name].dtype == expected.dtype
        assert read[name].shape == expected.shape
        np.testing.assert_array_equal(read[name], expected)


def test_safetensors_of_a_dtype_that_numpy_lacks(tmp_path: Path) -> None:
    arrays = {name: ("F32", a.shape, a.tobytes()) for name, a in random_case(Shape(3, 5), 0).state_dict.items()}
    path = tmp_path / "f8.safetensors"
    path.write_bytes(safetensors_bytes({**arrays, "scale": ("F8_E4M3", (3,), b"abc")}))
    assert repr(LSTM.load(path)) == "LSTM(3, 5)"  # beside the LSTM it does not matter
    with pytest.raises(ValueError, match="scale holds F8_E4M3, which NumPy lacks: save them as float32"):
        io.read(path)


@pytest.mark.parametrize("kind", ["F8_E4M3", "F8_E5M2", "F8_E8M0", "F4", "F6_E2M3", "C64", "of tomorrow"])
@pytest.mark.parametrize("dtype", [None, "float32"])
def test_weights_of_a_dtype_that_numpy_lacks(tmp_path: Path, kind: str, dtype: str | None) -> None:
    path, shapes = tmp_path / "odd.safetensors", parameter_shapes(Shape(3, 5))
    path.write_bytes(safetensors_bytes({name: (kind, shape, bytes(8)) for name, shape in shapes.items()}))
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: .*weight_ih_l0 holds {kind}, which NumPy lacks"):
        LSTM.load(path, dtype=dtype)
    assert {name: each.dtype for name, each in io.describe(path).items()} == dict.fromkeys(shapes, kind)


# --- bad files ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["lstm.onnx", "lstm", "lstm.npy", "npz", "lstm.pt"])
def test_other_suffixes_are_not_written(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: the name should end in .safetensors or .npz$"):
        LSTM(3, 5).save(path)
    assert path.read_bytes() == b""


@by_suffix
def test_suffixes_in_capitals(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / ("LSTM" + suffix.upper())
    LSTM(3, 5).save(path)
    assert repr(LSTM.load(path)) == "LSTM(3, 5)"


@by_suffix
def test_no_such_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / ("none" + suffix)
    with pytest.raises(FileNotFoundError) as caught:
        LSTM.load(path)
    assert caught.value.filename == str(path)
    path.mkdir()
    with pytest.raises(OSError, match="directory"):
        LSTM.load(path)


@by_suffix
def test_truncated_anywhere(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / ("lstm" + suffix)
    LSTM(3, 5, seed=0).save(path)
    whole = path.read_bytes()
    for size in [*range(0, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: not a complete {suffix} file"):
            LSTM.load(path)


@by_suffix
def test_damaged_anywhere(tmp_path: Path, suffix: str) -> None:
    """A wrong byte gives an error that names the file, or other numbers; never anything else."""
    path = tmp_path / ("lstm" + suffix)
    LSTM(3, 5, seed=0).save(path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    failures = 0
    for _ in range(300):
        # headers are at the start of one format and at both ends of the other
        place = int(rng.choice([rng.integers(400), rng.integers(len(whole)), len(whole) - 1 - rng.integers(200)]))
        path.write_bytes(whole[:place] + bytes([whole[place] ^ int(rng.integers(1, 256))]) + whole[place + 1 :])
        message = f"{path}: "
        try:
            lstm = LSTM.load(path)
            assert lstm.weight_ih_l0.shape == (20, 3)
        except ValueError as error:
            failures += 1
            message = str(error)
        assert message.startswith(f"{path}: ")
    assert failures > 50


@by_suffix
@pytest.mark.parametrize("content", [b"", b"PK\x05\x06", b"hello\n" * 50, b"\xff" * 64, b"\x93NUMPY\x01\x00"])
def test_something_else_under_the_name(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / ("a" + suffix)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: not a complete"):
        LSTM.load(path)


def test_objects_are_not_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(tmp_path / "sprung"),))

    arrays = dict(random_case(Shape(3, 5), 0).state_dict)
    arrays["weight_hh_l0"] = np.array([Trap()], object)
    np.savez(tmp_path / "trap.npz", **arrays)
    with pytest.raises(ValueError, match=r"trap.npz: not a complete .npz file of numbers: Object arrays"):
        LSTM.load(tmp_path / "trap.npz")
    buffer = standard_io.BytesIO()
    np.lib.format.write_array(buffer, np.array([Trap()], object), allow_pickle=True)
    with zipfile.ZipFile(tmp_path / "record.npz", "w") as archive:
        archive.writestr("__metadata__.npy", buffer.getvalue())
    with pytest.raises(ValueError, match="Object arrays"):
        LSTM.load(tmp_path / "record.npz")
    assert not (tmp_path / "sprung").exists()


def test_an_archive_of_other_things(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weight_ih_l0", "text")
    with pytest.raises(ValueError, match=r"a\.npz: .* a zip archive of other things, such as 'weight_ih_l0'"):
        LSTM.load(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("bias.npy", "text")
    with pytest.raises(ValueError, match="weight_ih_l0 is no array"):
        LSTM.load(path)


@by_suffix
def test_incomplete_weights(tmp_path: Path, suffix: str) -> None:
    arrays = dict(random_case(Shape(3, 5), 0).state_dict)
    del arrays["bias_hh_l0"]
    path = write(tmp_path / ("half" + suffix), arrays)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: .* do not fit together: bias_hh_l0 is missing$"):
        LSTM.load(path)
    path = write(tmp_path / ("none" + suffix), {"a": np.ones(3)})
    with pytest.raises(ValueError, match="no name ends in weight_ih_l0"):
        LSTM.load(path)


@by_suffix
@pytest.mark.parametrize(
    ("record", "words"),
    [
        ("{", "is damaged"),
        ("[]", "is damaged"),
        ('{"batch_first": 1}', "batch_first should be of type bool"),
        ('{"dropout": 2}', "dropout should be a number"),
        ('{"dropout": null}', "dropout should be a number"),
        ('{"dtype": "int8"}', "dtype should be float32 or float64"),
        ("[" * 100_000, "is damaged"),
        ('{"modules": ' + '{"": ' * 100_000, "is damaged"),
    ],
)
def test_damaged_records(tmp_path: Path, suffix: str, record: str, words: str) -> None:
    path = tmp_path / ("a" + suffix)
    io.write(path, random_case(Shape(3, 5), 0).state_dict, {"numba_lstm": record, "other": "x"})
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: .*{words}"):
        LSTM.load(path)


@by_suffix
def test_bad_arguments_are_not_the_files_fault(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / ("a" + suffix)
    LSTM(3, 5).save(path)
    with pytest.raises(TypeError, match=r"^batch_first should be of type bool, got: int"):
        LSTM.load(path, batch_first=1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^dtype should be float32 or float64"):
        LSTM.load(path, dtype="int8")


# --- writing ------------------------------------------------------------------------------------------------
@by_suffix
def test_a_file_is_replaced_whole_or_not_at_all(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / ("a" + suffix)
    path.write_bytes(b"older")

    def full(file: Any, *_: Any) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(io.WRITTEN[suffix], "write", full)
        with pytest.raises(OSError, match="No space left"):
            LSTM(3, 5).save(path)
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]
    with path.open("rb") as reader:  # who has the old file open goes on reading it
        LSTM(3, 5).save(path)
        assert reader.read() == b"older"
    assert repr(LSTM.load(path)) == "LSTM(3, 5)"
    assert list(tmp_path.iterdir()) == [path]


@by_suffix
def test_permissions_are_the_usual_ones(tmp_path: Path, suffix: str) -> None:
    LSTM(3, 5).save(tmp_path / ("a" + suffix))
    (tmp_path / "b").write_bytes(b"")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 1


@by_suffix
def test_a_folder_that_is_missing(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(FileNotFoundError):
        LSTM(3, 5).save(tmp_path / "none" / ("a" + suffix))


@by_suffix
def test_metadata_is_kept_beside_the_arrays(tmp_path: Path, suffix: str) -> None:
    path, array = tmp_path / ("a" + suffix), np.ones((2, 3), np.float32)
    io.write(path, {"a": array.T, "b": array}, {"author": "me"})
    contents = io.read_contents(path, lambda name: name == "a")
    assert (list(contents.arrays), sorted(contents.names)) == (["a"], ["a", "b"])
    assert contents.metadata == {"author": "me"}
    np.testing.assert_array_equal(contents.arrays["a"], array.T)
    io.write(path, {"a": array})
    assert io.read_contents(path).metadata == {}


LOAD_AND_DESCRIBE = """
import sys
from numba_lstm import LSTM, LSTMCell, cli

for load in (LSTM.load, LSTMCell.load):
    try:
        load(sys.argv[1])
    except ValueError as error:
        print(str(error)[:len(sys.argv[1])] == sys.argv[1])
cli.main(["info", sys.argv[1]])
"""


@pytest.mark.parametrize(
    "names",
    [
        ["weight_ih" * 200_000],
        ["weight_ih_l0." * 150_000 + "scale"],
        ["_" * 1_000_000 + "weight_hh_l0_"],
        ["a." * 700_000 + "weight_ih_l0"],
        [f"{number}.weight_ih_l0" for number in range(20_000)],
        [f"{number}.{name}" for number in range(10_000) for name in ("weight_ih", "norm")],
        ["a." * number + "weight_ih_l0" for number in range(1000)],
    ],
    ids=["weights", "scales", "underscores", "dots", "modules", "cells", "deep"],
)
def test_names_that_fill_a_file(tmp_path: Path, names: list[str]) -> None:
    """One is as long as can be, or there are as many as can be: reading takes seconds, where it could take hours."""
    path = tmp_path / "a.safetensors"
    io.write(path, dict.fromkeys(names, np.zeros(0, np.float32)))
    assert run(LOAD_AND_DESCRIBE, str(path)).stdout.startswith("True\nTrue\n")
