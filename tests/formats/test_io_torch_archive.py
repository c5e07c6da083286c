"""Files of torch, read without it: what ``torch.save`` and ``torch.jit.save`` write, and what attackers might."""

from __future__ import annotations

import argparse
import collections
import datetime
import decimal
import functools
import itertools
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import torch_files
from support.torch_files import (
    Archive,
    Python2,
    Raw,
    called,
    named,
    numpy_array,
    numpy_dtype,
    old_text,
    state_of_python2,
)

import numba_lstm
from numba_lstm import io

SIZES = (3, 5)


def state(seed: int = 0, **options: Any) -> dict[str, np.ndarray]:
    return {name: np.array(array) for name, array in numba_lstm.LSTM(*SIZES, seed=seed, **options).state_dict().items()}


def save(content: bytes, folder: Path, name: str = "model.pt") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def assert_same(lstm: numba_lstm.LSTM, arrays: dict[str, np.ndarray]) -> None:
    assert lstm.state_dict().keys() == arrays.keys()
    for name, array in lstm.state_dict().items():
        np.testing.assert_array_equal(array, arrays[name])


def outcome(path: Path) -> numba_lstm.LSTM | None:
    """Return what is loaded, or None if it is refused with a message about the file."""
    try:
        return numba_lstm.LSTM.load(path)
    except ValueError as error:
        message = str(error)
    assert message.startswith(f"{path}: ")
    return None


# --- made by hand: the same everywhere --------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["lstm.", "state_dict.lstm."])
def test_a_checkpoint(prefix: str, tmp_path: Path) -> None:
    """By the name in the state dict, or with the keys around it."""
    arrays = state(bidirectional=True)
    path = save(torch_files.checkpoint({f"lstm.{name}": array for name, array in arrays.items()}), tmp_path)
    assert_same(numba_lstm.LSTM.load(path, prefix=prefix), arrays)
    assert list(io.read(path)) == [f"state_dict.lstm.{name}" for name in arrays]


def test_other_objects_are_inert(tmp_path: Path) -> None:
    """What a trainer leaves: its classes are not imported, their tensors are found all the same."""
    arrays, archive = state(), Archive()
    tensors = {f"lstm.{name}": archive.tensor(array) for name, array in arrays.items()}
    mark = tmp_path / "run"
    trainer = called(named("my.trainer", "Options"), "adam", called(named("builtins", "open"), str(mark), "w"))
    value = {"state_dict": tensors, "options": trainer, "loss": [named("no.such", "thing")]}
    path = save(archive.finish(value), tmp_path)
    assert_same(numba_lstm.LSTM.load(path, prefix="lstm."), arrays)
    assert not mark.exists()


def test_code_is_never_run(tmp_path: Path) -> None:
    """In the pickle, in the program of TorchScript, as a reduction, behind a name of torch's."""
    mark = tmp_path / "run"

    class Attack:
        def __reduce__(self) -> Any:
            return exec, (f"import pathlib; pathlib.Path({str(mark)!r}).touch()",)

    content = pickle.dumps(Attack(), 2)
    pickle.loads(content)
    assert mark.exists()
    mark.unlink()
    archive = Archive()
    tensors = {name: archive.tensor(array) for name, array in state().items()}
    attack = torch_files.Raw(content[2:-1])
    code = f"import pathlib; pathlib.Path({str(mark)!r}).touch()".encode()
    for value in (
        {**tensors, "x": attack},
        {"x": attack, "state_dict": tensors},
        called(named("builtins", "dict"), tensors, attack),
        {**tensors, "x": called(named("torch._utils", "_rebuild_tensor_v2"), attack, 0, (1,), (1,), False, None)},
        {**tensors, "x": called(named("torch.storage", "_load_from_bytes"), content.decode("latin-1"))},
    ):
        path = save(archive.finish(value, code____torch__=code, constants=content), tmp_path)
        outcome(path)
        assert not mark.exists()


@pytest.mark.parametrize(
    "change",
    [
        {"offset": 1},
        {"offset": -1},
        {"shape": (20, 4)},
        {"shape": (2**31 - 1, 3)},
        {"shape": (-20, -3)},
        {"strides": (2**31 - 1, 1)},
        {"strides": (3,)},
        {"strides": (0, 1)},
        {"key": "9"},
        {"key": "../data.pkl"},
    ],
    ids=str,
)
def test_tensors_that_reach_beyond_their_storage(change: dict[str, Any], tmp_path: Path) -> None:
    archive, arrays = Archive(), state()
    changes = {"weight_ih_l0": change}
    tensors = {name: archive.tensor(array, **changes.get(name, {})) for name, array in arrays.items()}
    assert outcome(save(archive.finish(tensors), tmp_path)) is None


def test_shared_memory_that_would_be_much_without(tmp_path: Path) -> None:
    """A million views of one storage."""
    archive = Archive()
    tensor = archive.tensor(np.zeros(1_000_000, np.float32))
    path = save(archive.finish({f"x{n}": tensor for n in range(1000)}), tmp_path)
    with pytest.raises(ValueError, match="its arrays share their memory, and would be"):
        io.read(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (pickle.dumps({"weight_ih_l0": 1}), "a pickle, which is not read"),
        (b"\0" * 257 + b"ustar" + bytes(500), "torch's tar format from before version 0.4"),
    ],
)
def test_what_is_not_taken(content: bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        numba_lstm.LSTM.load(save(content, tmp_path))


def test_another_archive(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "nothing")
    with pytest.raises(ValueError, match=r"a zip archive of other things, such as 'readme\.txt'; what can be read: "):
        numba_lstm.LSTM.load(path)


def test_a_gru_is_named(tmp_path: Path) -> None:
    archive = Archive()
    arrays = {"weight_ih_l0": np.zeros((15, 3), np.float32), "weight_hh_l0": np.zeros((15, 5), np.float32)}
    path = save(archive.finish({name: archive.tensor(array) for name, array in arrays.items()}), tmp_path)
    with pytest.raises(ValueError, match="weight_hh_l0"):
        numba_lstm.LSTM.load(path)


# --- layouts and protocols --------------------------------------------------------------------------------


@pytest.mark.parametrize("view", [None, (7, 60)], ids=["storages", "parts of storages"])
def test_files_of_python_2(view: tuple[int, int] | None, tmp_path: Path) -> None:
    arrays, file = state(), Python2()
    tensors = {f"lstm.{name}": file.tensor(array, view) for name, array in arrays.items()}
    junk = {
        old_text("name"): Raw(b"U\x03\xff\x00\xfe"),  # bytes
        old_text("seen"): Raw(b"I123456789012\n"),
        old_text("more"): Raw(b"L-123456789012345678901L\n"),
        old_text("tags"): called(named("__builtin__", "set"), [old_text("a")]),
        old_text("old class"): Raw(b"(" + named("trainer", "Log") + b"o"),
        old_text("new class"): called(named("copy_reg", "_reconstructor"), named("t", "L"), named("t", "object"), None),
    }
    path = save(file.finish({**junk, old_text("state_dict"): state_of_python2(tensors)}), tmp_path)
    assert_same(numba_lstm.LSTM.load(path, prefix="lstm."), arrays)


def test_a_whole_module_of_python_2(tmp_path: Path) -> None:
    """Made in the ways of protocol 1 and of protocol 2; its class is stored with the text of its source."""
    arrays, file = state(), Python2()
    tensors = {name: file.tensor(array) for name, array in arrays.items()}
    for kind in ("LSTM", "NormedLSTM"):
        source = (old_text("module"), named("torch.nn.modules.rnn", kind), old_text("rnn.py"), old_text("class LSTM:"))
        cls = Raw(torch_files.pickled(source) + b"Q")
        attributes = {
            old_text("batch_first"): True,
            old_text("dropout"): 0,
            old_text("_parameters"): state_of_python2(tensors),
            old_text("_buffers"): called(named("collections", "OrderedDict")),
            old_text("_modules"): called(named("collections", "OrderedDict")),
        }
        for made in (
            called(named("copy_reg", "_reconstructor"), cls, named("__builtin__", "object"), None),
            Raw(cls + b")\x81"),
        ):
            path = save(file.finish(Raw(made + torch_files.pickled(attributes) + b"b")), tmp_path)
            if kind == "LSTM":
                lstm = numba_lstm.LSTM.load(path)
                assert_same(lstm, arrays)
                assert lstm.batch_first
            else:
                with pytest.raises(ValueError, match=r"it is a torch\.nn\.modules\.rnn\.NormedLSTM"):
                    numba_lstm.LSTM.load(path)


def test_a_number_that_is_too_long(tmp_path: Path) -> None:
    path = save(Archive().finish({"x": Raw(b"I" + b"9" * 5000 + b"\n")}), tmp_path)
    with pytest.raises(ValueError, match="a number of 5,000 digits"):
        numba_lstm.LSTM.load(path)


# --- what is not torch's --------------------------------------------------------------------------------------


@pytest.mark.parametrize("package", ["numpy.core", "numpy._core"])
def test_arrays_of_numpy(package: str, tmp_path: Path) -> None:
    """Of both byte orders, in Fortran order, as bytes of either Python; beside what has no numbers."""
    arrays = state()
    changed = [arrays["weight_ih_l0"].astype(">f4"), np.asfortranarray(arrays["weight_hh_l0"]), arrays["bias_ih_l0"]]
    pickled = {
        name: numpy_array(array, package=package)
        for name, array in zip(arrays, [*changed, arrays["bias_hh_l0"]], strict=True)
    }
    raw = arrays["bias_ih_l0"].tobytes()
    pickled["bias_ih_l0"] = numpy_array(arrays["bias_ih_l0"], Raw(b"B" + struct.pack("<I", len(raw)) + raw))
    pickled["texts"] = numpy_array(np.array(["a"]), content="abcd", package=package)
    pickled["objects"] = numpy_array(np.array([None]), content=[None], package=package)
    content = Archive().finish({"epoch": 3, "state_dict": pickled})
    path = save(content, tmp_path)
    assert_same(numba_lstm.LSTM.load(path), arrays)
    assert io.describe(path)["state_dict.weight_ih_l0"] == ((20, 3), "float32")
    assert len(io.read(path)) == 4


@pytest.mark.parametrize(
    "change",
    [
        {"content": Raw(b"C\x04abcd")},
        {"content": 7},
        {"content": called(named("builtins", "bytes"))},
        {"content": called(named("builtins", "bytes"), 400)},
        {"content": called(named("_codecs", "encode"), "\u20ac" * 400, "latin1")},
        {"content": called(named("os", "system"), "x")},
        {"shape": (20, 6)},
        {"shape": (-20, -5)},
        {"shape": 100},
        {"shape": (10**9, 10**9)},
        {"shape": (1,) * 99},
    ],
    ids=str,
)
def test_arrays_of_numpy_that_are_damaged(change: dict[str, Any], tmp_path: Path) -> None:
    arrays = state()
    changes = {"weight_hh_l0": change}
    pickled = {name: numpy_array(array, **changes.get(name, {})) for name, array in arrays.items()}
    assert outcome(save(Archive().finish(pickled), tmp_path)) is None


def from_buffer(array: np.ndarray, content: np.ndarray, shape: Any, *order: Any) -> Raw:
    """Return the operations for an array of NumPy in protocol 5."""
    raw, dtype = content.tobytes(), numpy_dtype(array.dtype)
    buffer = Raw(b"\x96" + struct.pack("<Q", len(raw)) + raw)
    return called(named("numpy._core.numeric", "_frombuffer"), buffer, dtype, shape, *order)


def test_arrays_of_numpy_in_any_order(tmp_path: Path) -> None:
    """As NumPy 2.4 writes them in protocol 5, and others before."""
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    pickled = {
        "c": from_buffer(array, array, (2, 3, 4), "C"),
        "f": from_buffer(array, array.T, (2, 3, 4), "F"),
        "c too": from_buffer(array, array, (2, 3, 4), "C", None),
        "k": from_buffer(array, array.transpose(1, 2, 0), (3, 4, 2), "K", (2, 0, 1)),
        "k of one": from_buffer(array, array.transpose(2, 0, 1), (4, 2, 3), "K", (1, 2, 0)),
    }
    path = save(Archive().finish(pickled), tmp_path)
    found = io.read(path)
    assert [*found] == [*pickled]
    for name, each in found.items():
        np.testing.assert_array_equal(each, array, err_msg=name, strict=True)
        assert io.describe(path)[name] == ((2, 3, 4), "float32")


@pytest.mark.parametrize(
    "order",
    [("K",), ("K", None), ("K", (0, 0, 1)), ("K", (0, 1)), ("K", ("0", 1, 2)), ("A",), (7,), ("C", None, None)],
    ids=str,
)
def test_arrays_of_numpy_in_no_order(order: Any, tmp_path: Path) -> None:
    """They are not left out without a word, nor guessed."""
    array = np.ones((2, 3, 4), np.float32)
    path = save(Archive().finish({"x": from_buffer(array, array, (2, 3, 4), *order)}), tmp_path)
    with pytest.raises(ValueError, match="has an array of NumPy in an order that is not known"):
        io.read(path)


def test_tensors_that_something_is_called_with(tmp_path: Path) -> None:
    """Named tuples have fields, other classes arguments; parameters from before version 0.4 are around tensors."""
    arrays, archive = state(), Archive()
    tensors = {name: archive.tensor(array) for name, array in arrays.items()}
    variables = {name: called(named("torch.nn.parameter", "Parameter"), each) for name, each in tensors.items()}
    queue = called(named("collections", "deque"), [tensors["bias_ih_l0"]], 7)
    value = {
        "pair": Raw(named("my", "Pair") + torch_files.pickled((tensors, 2)) + b"\x81"),
        "appended": Raw(queue + torch_files.pickled(tensors) + b"a"),
        "old": variables,
    }
    path = save(archive.finish(value), tmp_path)
    for prefix in ("pair.0.", "appended.0.", "old."):
        assert_same(numba_lstm.LSTM.load(path, prefix), arrays)
    assert "appended.arguments.0.0" in io.describe(path)


# --- written by torch -------------------------------------------------------------------------------------


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch")


def numbers(module: Any) -> dict[str, np.ndarray]:
    return {name: tensor.numpy().copy() for name, tensor in module.state_dict().items()}


def test_state_dicts_of_torch(torch: Any, tmp_path: Path) -> None:
    """New and old layout, nested, tied, sliced, transposed, of parameters, of other dtypes."""
    lstm = torch.nn.LSTM(*SIZES, 2, bidirectional=True, proj_size=2)
    expected = numbers(lstm)
    path = tmp_path / "model.pt"
    for more in ({}, {"_use_new_zipfile_serialization": False}):
        torch.save(lstm.state_dict(), path, **more)
        assert_same(numba_lstm.LSTM.load(path), expected)
        torch.save({"model": {"encoder": lstm.state_dict()}, "step": 3, "optimizer": {"lr": 0.1}}, path, **more)
        assert_same(numba_lstm.LSTM.load(path, prefix="model.encoder."), expected)
        torch.save(dict(lstm.named_parameters()), path, **more)
        assert_same(numba_lstm.LSTM.load(path), expected)
        cuts = {name: torch.cat([tensor, tensor])[len(tensor) :] for name, tensor in lstm.state_dict().items()}
        transposed = {name: each.t().contiguous().t() if each.ndim == 2 else each for name, each in cuts.items()}
        torch.save(transposed, path, **more)
        assert_same(numba_lstm.LSTM.load(path), expected)
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        torch.save({name: tensor.to(dtype) for name, tensor in lstm.state_dict().items()}, path)
        wide = {name: tensor.to(dtype).double().numpy() for name, tensor in lstm.state_dict().items()}
        loaded = numba_lstm.LSTM.load(path)
        assert loaded.dtype == (np.float64 if dtype is torch.float64 else np.float32)
        assert_same(loaded, wide)


@pytest.mark.filterwarnings("ignore")  # of TorchScript, which is deprecated
@pytest.mark.parametrize("trace", [False, True], ids=["script", "trace"])
def test_torchscript(trace: bool, torch: Any, tmp_path: Path) -> None:
    class Tagger(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.embedding = torch.nn.Embedding(10, 3)
            self.encoder = torch.nn.LSTM(*SIZES, 2, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.encoder(self.embedding(x))[0]

    model = Tagger().eval()
    made = torch.jit.trace(model, torch.zeros((2, 4), dtype=torch.long)) if trace else torch.jit.script(model)
    path = tmp_path / "model.pt"
    made.save(str(path))
    lstm = numba_lstm.LSTM.load(path, prefix="encoder.")
    assert_same(lstm, numbers(model.encoder))


@pytest.mark.parametrize("zipped", [False, True], ids=["old layout", "new layout"])
@pytest.mark.parametrize("protocol", [1, 2, 3, 4, 5])
def test_protocols_of_pickle(protocol: int, zipped: bool, torch: Any, tmp_path: Path) -> None:
    """States and modules, whatever the protocol."""
    lstm, path = torch.nn.LSTM(*SIZES, batch_first=True), tmp_path / "model.pt"
    more = {"pickle_protocol": protocol, "_use_new_zipfile_serialization": zipped}
    for value, prefix in (
        (lstm.state_dict(), ""),
        ({"model": {"encoder": lstm.state_dict()}, "step": 10**12, "rate": 0.5, "lr": 10**30}, "model.encoder."),
        (torch.nn.Sequential(lstm), "0."),
    ):
        torch.save(value, path, **more)
        assert_same(numba_lstm.LSTM.load(path, prefix), numbers(lstm))
    assert numba_lstm.LSTM.load(path, "0.").batch_first
    torch.save({"lstm": torch.nn.GRU(*SIZES)}, path, **more)
    with pytest.raises(ValueError, match=r"it is a torch\.nn\.modules\.rnn\.GRU"):
        numba_lstm.LSTM.load(path, "lstm.")


def test_a_whole_module(torch: Any, tmp_path: Path) -> None:
    """Pickled with its class: its options are those of the file."""
    lstm = torch.nn.LSTM(*SIZES, 2, batch_first=True, dropout=0.25)
    path = tmp_path / "model.pt"
    torch.save(lstm, path)
    loaded = numba_lstm.LSTM.load(path)
    assert_same(loaded, numbers(lstm))
    assert (loaded.batch_first, loaded.dropout) == (True, 0.25)
    assert (loaded.training, lstm.training) == (False, True)  # the mode is no option


def test_torch_does_not_load(torch: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.load and torch.jit.load are never called."""

    def forbidden(*arguments: Any, **options: Any) -> None:
        raise AssertionError

    lstm = torch.nn.LSTM(*SIZES)
    path = tmp_path / "model.pt"
    torch.save(lstm.state_dict(), path)
    monkeypatch.setattr(torch, "load", forbidden)
    monkeypatch.setattr(torch.jit, "load", forbidden)
    assert_same(numba_lstm.LSTM.load(path), numbers(lstm))


def test_what_trainers_leave(torch: Any, tmp_path: Path) -> None:
    """Beside the state dict, with tensors or arrays in all kinds of objects; in both layouts and new protocols."""
    lstm, path, tensor = torch.nn.LSTM(*SIZES), tmp_path / "model.pt", torch.ones(3)
    optimizer = torch.optim.Adam(lstm.parameters())
    beside = {
        "arguments": argparse.Namespace(weights=tensor, rate=0.1, path=Path("here")),
        "call": functools.partial(print, tensor),
        "queue": collections.deque([tensor], 3),
        "packed": torch.nn.utils.rnn.pack_sequence([tensor]),
        "distribution": torch.distributions.Normal(tensor, tensor),
        "optimizer": optimizer.state_dict(),
        "the optimizer": optimizer,
        "sparse": torch.eye(3).to_sparse(),
        "numpy": [np.float32(3), np.array([None, 1], object), np.array(["a"])],
        "generator": np.random.default_rng(0),
        "random": torch.get_rng_state(),
        "when": [datetime.datetime(2020, 2, 2), decimal.Decimal(1), {1, 2}, frozenset([3]), b"ab", bytearray(b"x"), 1j],
    }
    everything = {"state_dict": {f"lstm.{name}": each for name, each in lstm.state_dict().items()}, **beside}
    arrays = {"model": {name: each.numpy() for name, each in lstm.state_dict().items()}, **beside}
    options: dict[str, Any]
    for options in ({}, {"_use_new_zipfile_serialization": False}, {"pickle_protocol": 4}, {"pickle_protocol": 5}):
        torch.save(everything, path, **options)
        assert_same(numba_lstm.LSTM.load(path, "lstm."), numbers(lstm))
        torch.save(arrays, path, **options)
        assert_same(numba_lstm.LSTM.load(path, "model."), numbers(lstm))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_arrays_of_numpy_that_torch_writes(torch: Any, protocol: int, tmp_path: Path) -> None:
    """In whatever order their numbers lie."""
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    arrays = {"".join(map(str, axes)): array.transpose(axes) for axes in itertools.permutations(range(3))}
    arrays |= {"turned": array[::-1], "cut": array[:, ::2], "big-endian": array.astype(">f8").transpose(1, 0, 2)}
    arrays |= {"four": np.ones((2, 3, 4, 5)).transpose(2, 3, 0, 1), "one": np.float64([3]), "single": np.array(3.0)}
    arrays |= {"empty": np.empty((0, 3), np.float32), "empty too": np.empty((2, 0, 3), ">i8").T, "none": np.array([])}
    path = tmp_path / "model.pt"
    torch.save(arrays, path, pickle_protocol=protocol)
    found = io.read(path)
    assert {*found} == {*arrays}
    for name, each in arrays.items():
        np.testing.assert_array_equal(found[name], each, err_msg=name)
        assert io.describe(path)[name].shape == each.shape


def test_large_arrays_of_numpy(torch: Any, tmp_path: Path) -> None:
    """More than what a pickle of tensors may have."""
    lstm = numba_lstm.LSTM(700, 1000, seed=0)
    path = tmp_path / "model.pt"
    torch.save({name: np.array(array) for name, array in lstm.state_dict().items()}, path)
    assert_same(numba_lstm.LSTM.load(path), {name: np.array(array) for name, array in lstm.state_dict().items()})
