"""Pickles made before the package had wings load, and give what they gave; new ones name public places only."""

from __future__ import annotations

import copy
import importlib
import importlib.util
import io
import pickle
import pickletools
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.places import GOLDEN
from support.processes import HANG

import numba_lstm as nl
from numba_lstm import cli, public

FOLDER = GOLDEN / "pickles"
SCRIPT = runpy.run_path(str(FOLDER / "make_pickles.py"))
NAMES = sorted(path.stem for path in FOLDER.glob("*.pickle") if path.stem != "all")
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
PUBLIC = {"numba_lstm", "numba_lstm.io", "numba_lstm.io.keras", "numba_lstm.io.onnx", "numba_lstm.io.torch"}

pytestmark = pytest.mark.usefixtures("threads")


@pytest.fixture(scope="module")
def things() -> dict[str, Any]:
    made: dict[str, Any] = SCRIPT["things"]()
    return made


def load(name: str) -> Any:
    return pickle.loads((FOLDER / name).read_bytes())


def named(pickled: bytes) -> set[tuple[str, str]]:
    """Return modules and names in a pickle."""
    found, texts, memo = set(), [], {}
    for code, argument, _ in pickletools.genops(pickled):
        if code.name == "GLOBAL":
            found.add(tuple(argument.split(" ")))
        elif code.name == "STACK_GLOBAL":
            found.add(tuple(texts[-2:]))
        elif code.name == "MEMOIZE":
            memo[len(memo)] = texts[-1] if texts else ""
        elif "PUT" in code.name:
            memo[argument] = texts[-1] if texts else ""
        elif "GET" in code.name:
            texts.append(memo[argument])
        elif isinstance(argument, str):
            texts.append(argument)
    return found  # type: ignore[return-value]


def ours(pickled: bytes) -> set[str]:
    """Return modules of ours that a pickle names."""
    return {module for module, _ in named(pickled) if module.partition(".")[0] == "numba_lstm"}


# --- equal things -----------------------------------------------------------------------------------------


def same(old: Any, new: Any) -> None:
    """Check that two things are equal, in types and in what they compute."""
    assert type(old) is (np.ndarray if isinstance(new, np.ndarray) else type(new))  # a parameter is pickled as an array
    if isinstance(new, dict):
        assert list(old) == list(new)
        same([*old.values()], [*new.values()])
    elif isinstance(new, np.ndarray):
        assert old.dtype == new.dtype
        np.testing.assert_array_equal(old, new)
    elif isinstance(new, list | tuple):
        assert len(old) == len(new)
        for one, other in zip(old, new, strict=True):
            same(one, other)
    elif isinstance(new, nl.LSTM | nl.LSTMCell):
        same_module(old, new)
    elif isinstance(new, Exception):
        assert old.args == new.args
    else:
        assert old == new


def same_module(old: Any, new: Any) -> None:
    assert repr(old) == repr(new)
    assert (old.dtype, old.training) == (new.dtype, new.training)
    same_parameters(old, new)
    old, new = copy.deepcopy(old), copy.deepcopy(new)
    rows = (4,) if isinstance(new, nl.LSTM) else ()
    x = np.random.default_rng(0).standard_normal((*rows, 2, new.input_size)).astype(new.dtype)
    same(old(x), new(x))  # in train mode with the same masks: the generator is where it was
    with pytest.raises(ValueError, match="read-only"):
        next(old.parameters())[0] = 1
    for module in (old, new):
        module.reset_parameters()
    same_parameters(old, new)


def same_parameters(old: Any, new: Any) -> None:
    assert list(old.state_dict()) == list(new.state_dict())
    for one, other in zip(old.parameters(), new.parameters(), strict=True):
        assert type(one) is type(other) is nl.Parameter
        np.testing.assert_array_equal(one, other)


# --- pickles of before ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_what_was_pickled(name: str, things: dict[str, Any]) -> None:
    same(load(f"{name}.pickle"), things[name])


def test_there_is_a_pickle_of_each(things: dict[str, Any]) -> None:
    assert sorted(things) == NAMES
    assert {*load("all.pickle")} == {*things}
    same(load("all.pickle"), things)


def test_one_module_that_is_there_twice_stays_one() -> None:
    both = load("dict.pickle")
    assert both["encoder"] is both["again"]


@pytest.mark.parametrize("name", ["lstm", "contents"])
def test_in_a_process_that_has_imported_nothing(name: str) -> None:
    """The pickle brings in the package, and nothing that only others need."""
    code = f"""
import pickle, sys
made = pickle.load(open({str(FOLDER / f"{name}.pickle")!r}, "rb"))
print(*(module in sys.modules for module in ("numba_lstm", "numba_lstm.io", "numba_lstm.io.torch", "torch")))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=HANG, check=True)
    assert done.stdout.split() == ["True", str(name == "contents"), "False", "False"]


# --- former modules ---------------------------------------------------------------------------------------


def former() -> Iterator[tuple[str, str, str]]:
    for now, modules in public.FORMER.items():
        yield from ((f"numba_lstm.{name}", now, held) for name, held in modules.items())


@pytest.mark.parametrize(("name", "now", "held"), [*former()])
def test_a_former_module_is_none(name: str, now: str, held: str) -> None:
    """No file has its name, it has what is public only, and whoever looks through all modules imports nothing by it."""
    assert not (FOLDER.parents[2] / Path(*name.split("."))).with_suffix(".py").exists()
    module = importlib.import_module(name)
    assert not hasattr(module, "__file__")
    assert not hasattr(module, "__path__")
    assert now in (module.__doc__ or "")
    assert not hasattr(module, "nothing_of_this_name")
    assert importlib.util.find_spec(name) is not None
    if now == "numba_lstm":
        assert all(getattr(module, each) is getattr(nl, each) for each in held.split())


def test_who_asks_all_modules_for_a_name_imports_nothing() -> None:
    """As pickle does for objects without a module, while it goes through ``sys.modules``."""
    code = """
import pickle, sys
import numba_lstm

def ours():
    return {name for name in sys.modules if name.startswith("numba_lstm")}

before = ours()
assert not any(hasattr(module, "app") for name, module in list(sys.modules.items()) if name.startswith("numba_lstm"))

def of_no_module():
    pass

of_no_module.__module__ = None
assert pickle.loads(pickle.dumps(of_no_module)) is of_no_module
assert ours() == before, ours() - before
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=HANG)


def test_documented_before() -> None:
    """Annotations that name streams and windows as the reference did."""
    assert nl.stream.Stream is nl.Stream
    assert nl.sliding_window.SlidingWindow is nl.SlidingWindow


def test_nothing_of_ours_uses_a_former_module() -> None:
    """All of the package is imported without one."""
    code = """
import importlib, pkgutil, sys, numba_lstm
from numba_lstm import public
for name in [name for name in sys.modules if type(sys.modules[name]) is public._Former]:
    del sys.modules[name]
for module in pkgutil.walk_packages(numba_lstm.__path__, "numba_lstm."):
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as error:
        assert "numba_lstm" not in error.name, error
"""
    subprocess.run([sys.executable, "-c", code], timeout=HANG, check=True)


# --- new pickles ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_new_pickles_name_public_places(protocol: int, things: dict[str, Any]) -> None:
    for thing in things.values():
        pickled = pickle.dumps(thing, protocol)
        assert ours(pickled) <= PUBLIC
        same(pickle.loads(pickled), thing)
    assert ours(pickle.dumps(things["lstm"], protocol)) == {"numba_lstm"}
    assert ours(pickle.dumps(things["contents"], protocol)) == {"numba_lstm.io"}


def test_what_old_pickles_name() -> None:
    """The names of before, or nothing would be tested here; all of the table that can be in a pickle without torch."""
    found = set[str]().union(*(ours(path.read_bytes()) for path in FOLDER.glob("*.pickle")))
    assert found == {
        "numba_lstm.arrays",
        "numba_lstm.entries",
        "numba_lstm.io._contents",
        "numba_lstm.lstm",
        "numba_lstm.lstm_cell",
        "numba_lstm.module",
        "numba_lstm.packed_sequence",
        "numba_lstm.parameters",
        "numba_lstm.threads",
    }


# --- models of torch --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    pytest.importorskip("torch")
    made: dict[str, Any] = SCRIPT["things_of_torch"]()
    return made


def same_model(old: Any, new: Any) -> None:
    import torch

    assert repr(old) == repr(new)
    assert [*map(type, old.modules())] == [*map(type, new.modules())]
    old, new = ([*model.children()] or [model] for model in (old, new))
    for one, other in zip(old, new, strict=True):
        one.load_state_dict(other.state_dict())
        x = torch.linspace(-1, 1, 24).reshape(2, 4, 3)[: 1 if isinstance(other, torch.nn.LSTMCell) else 2]
        x = x[0] if isinstance(other, torch.nn.LSTMCell) else x
        with torch.inference_mode():
            one, other = one(x), other(x)
        assert torch.equal(one[0], other[0])


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code for container:UserWarning")
@pytest.mark.parametrize("suffix", ["", "_before_zip"])
@pytest.mark.parametrize("name", ["model", "subclass"])
def test_whole_models_of_before(name: str, suffix: str, models: dict[str, Any]) -> None:
    import torch

    old = torch.load(FOLDER / f"{name}{suffix}.pt", weights_only=False)
    state = torch.load(FOLDER / f"{name}_state.pt")
    assert list(state) == list(old.state_dict())
    assert all(torch.equal(tensor, state[key]) for key, tensor in old.state_dict().items())
    new = copy.deepcopy(models[name])
    new.load_state_dict(state)
    same_model(old, new)
    restored = nl.io.torch.restore(old)
    assert not any(isinstance(module, nl.io.torch.AcceleratedLSTM) for module in restored.modules())


@pytest.mark.parametrize("name", ["model", "subclass"])
def test_new_models_name_public_places(name: str, models: dict[str, Any]) -> None:
    import torch

    assert ours(pickle.dumps(models[name])) == {"numba_lstm.io.torch"}
    same_model(pickle.loads(pickle.dumps(models[name])), models[name])
    file = io.BytesIO()
    torch.save(models[name], file)
    assert b"numba_lstm.io.torch" in file.getvalue()
    assert b"_torch_modules" not in file.getvalue()
    assert b"numba_lstm.io.torch." not in file.getvalue()
    file.seek(0)
    same_model(torch.load(file, weights_only=False), models[name])


@pytest.mark.parametrize("suffix", ["", "_before_zip"])
def test_whole_models_are_read_without_torch(suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Those of before know an accelerated class by the name that it had."""
    path = FOLDER / f"model{suffix}.pt"
    lstm = nl.LSTM.load(path, "lstm.")
    assert repr(lstm) == "LSTM(3, 5, batch_first=True)"
    cell = nl.LSTMCell.load(path, "cell.")
    state = nl.io.read(FOLDER / "model_state.pt")
    arrays = {f"lstm.{key}": array for key, array in lstm.state_dict().items()}
    arrays |= {f"cell.{key}": array for key, array in cell.state_dict().items()}
    assert arrays.keys() == state.keys()
    for key, array in arrays.items():
        np.testing.assert_array_equal(array, state[key])
    assert nl.io.describe(path).keys() == state.keys()
    assert cli.main(["info", str(path)]) == 0
    assert "cannot be run" not in capsys.readouterr().out


@pytest.mark.parametrize("suffix", ["", "_before_zip"])
def test_a_subclass_is_refused_without_torch(suffix: str) -> None:
    with pytest.raises(ValueError, match=r"_blank, not torch\.nn\.LSTM, and may compute something else"):
        nl.LSTM.load(FOLDER / f"subclass{suffix}.pt")


# --- nodes of ONNX ----------------------------------------------------------------------------------------


def test_a_node() -> None:
    """With all that its states are made of."""
    pytest.importorskip("onnx")
    new, pickled = SCRIPT["things_of_onnx"]()["node"], (FOLDER / "node.onnx_pickle").read_bytes()
    assert {"numba_lstm.cell_rule", "numba_lstm.io.onnx.sizes", "numba_lstm.io.onnx.values"} < ours(pickled)
    x = np.random.default_rng(0).standard_normal((4, 2, 3), np.float32)
    expected = new(x)
    assert expected.Y_h.any()
    for each in (pickled, pickle.dumps(SCRIPT["things_of_onnx"]()["node"])):
        node = pickle.loads(each)
        same(node(x), expected)
        assert (node.name, node.described()) == (new.name, new.described())
    assert ours(each) == {"numba_lstm.io.onnx"}
