"""What the package calls public: which names there are, and that each says it is from where it is public.

The lists were those of the package before it had wings.  Whoever adds a name or takes one away changes them here.
"""

from __future__ import annotations

import importlib
import inspect
import pydoc
import re
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.places import ROOT

import numba_lstm as nl

REFERENCE = ROOT / "docs" / "reference"

NAMES = {
    "numba_lstm": """
        LSTM LSTMCell PackedSequence __version__ get_num_threads pack_padded_sequence pack_sequence
        pad_packed_sequence pad_sequence set_num_threads unpack_sequence unpad_sequence warmup
    """,
    "numba_lstm.io": """
        Contents Declared WRITTEN describe files known_suffixes read read_array read_contents write write_whole
    """,
    "numba_lstm.io.dask": "LSTMPlugin SequenceError map_batches map_sequences",
    "numba_lstm.io.keras": "Layer Layers describe load load_lstm runner",
    "numba_lstm.io.onnx": "Node Nodes Outputs describe files load load_lstm runner",
    "numba_lstm.io.torch": """
        AcceleratedLSTM AcceleratedLSTMCell Recurrent accelerate from_module repack report restore
    """,
    "numba_lstm.serving": "Batcher ClosedError FullError Linear Session",
}
"""Of each public module what its ``__all__`` has."""

MET = {
    "numba_lstm": """
        Architecture Backward CacheWarning CellBackward CellTrace DifferentiableCell DifferentiableModule Exclusive
        Gradients IncompatibleKeys MaskedArrayError Module Parameter QuantizableModule SavedCell SavedModule
        SlidingWindow Stream StreamedModule
    """,
    "numba_lstm.io": "Found Runner Taken",
    "numba_lstm.io.dask": "",
    "numba_lstm.io.keras": "",
    "numba_lstm.io.onnx": "Activation Attributes Deferred Operation Size Supply Weights",
    "numba_lstm.io.torch": "_blank",
    "numba_lstm.serving": "",
}
"""What users meet beside that: results, errors and warnings, annotations, what pickles and ``help`` name."""

LATER = {"numba_lstm": "io serving", "numba_lstm.io": "dask keras onnx torch"}
"""Public modules in them, which are imported when somebody reaches for them."""

MEMBERS = {
    "LSTM": """
        all_weights batch_first bias bias_hh_l0 bias_ih_l0 bidirectional dequantize dropout dtype eval extra_repr
        flatten_parameters form forward hidden_size input_size load load_state_dict named_parameters num_layers
        parameters proj_size quantize reset_parameters save sliding_window state_dict stream trace train training vjp
        weight_hh_l0 weight_ih_l0
    """,
    "LSTMCell": """
        bias bias_hh bias_ih dequantize dtype eval extra_repr form forward hidden_size input_size load load_state_dict
        named_parameters parameters quantize reset_parameters save state_dict train training vjp weight_hh weight_ih
    """,
    "Backward": "nbytes",
    "CellBackward": "nbytes",
    "CellTrace": "c count f g h i index o",
    "Gradients": "c_0 count h_0 index input parameters",
    "PackedSequence": "batch_sizes count data index sorted_indices unsorted_indices",
    "Stream": "batch_size dtype get_state reset set_state state step",
    "SlidingWindow": "advance batch_size dtype length push reset",
}
"""Attributes and methods of instances; of an LSTM of one layer."""


def module_of(name: str) -> Any:
    """Import a public module, if what it needs is there."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if "numba-lstm[" not in str(error):
            raise
        pytest.skip(str(error))


@pytest.fixture(params=sorted(NAMES))
def public(request: pytest.FixtureRequest) -> tuple[Any, list[Any]]:
    """A public module, and its classes and functions."""
    module = module_of(request.param)
    names = f"{NAMES[request.param]} {MET[request.param]}".split()
    return module, [each for each in (getattr(module, name) for name in names) if callable(each)]


def made() -> list[Any]:
    lstm, cell, x = nl.LSTM(1, 1), nl.LSTMCell(1, 1), np.zeros((1, 1), np.float32)
    (_, backward), (_, cell_backward) = lstm.vjp(x), cell.vjp(x)
    differentiated = [backward, cell_backward, *lstm.trace(x), backward(None)]
    return [lstm, cell, nl.pack_sequence([np.zeros(1)]), lstm.stream(), lstm.sliding_window(2), *differentiated]


@pytest.mark.parametrize("name", sorted(NAMES))
def test_names(name: str) -> None:
    assert sorted(module_of(name).__all__) == NAMES[name].split()


@pytest.mark.parametrize("name", sorted(NAMES))
def test_dir_shows_what_is_public(name: str) -> None:
    """And nothing that a module imports: in an interpreter, completion offers what ``dir`` returns."""
    shown = dir(module_of(name))
    assert {"__all__", "__doc__", "__name__", "__path__"} < set(shown)
    special = {each for each in shown if re.fullmatch("__.*__", each)}
    public = f"{NAMES[name]} {MET[name]} {LATER.get(name, '')}".split()
    assert sorted(set(shown) - special) == sorted(set(public) - special)
    assert all(hasattr(module_of(name), each) for each in set(shown) - set(LATER.get(name, "").split()))


def test_members() -> None:
    found = {type(each).__name__: [name for name in dir(each) if name[0] != "_"] for each in made()}
    assert found == {name: members.split() for name, members in MEMBERS.items()}


def test_each_says_where_it_is_public(public: tuple[Any, list[Any]]) -> None:
    """And is found there, as pickle has to find it."""
    module, objects = public
    for each in objects:
        assert (each.__module__, getattr(module, each.__qualname__)) == (module.__name__, each)
        if inspect.isclass(each):
            assert repr(each) == f"<class '{module.__name__}.{each.__name__}'>"


def test_methods_say_so_too() -> None:
    """Those that are inherited as well."""
    for each in made():
        for name in MEMBERS[type(each).__name__].split():
            member = getattr(type(each), name, None)
            if inspect.isroutine(member) and name not in ("count", "index"):
                assert member.__module__ == "numba_lstm", name
        if callable(each):
            assert type(each).__call__.__module__ == "numba_lstm"


def test_help_shows_no_inner_path(public: tuple[Any, list[Any]]) -> None:
    wings = {path.stem for path in Path(nl.__path__[0]).iterdir()} - {"io", "serving"}
    inner = re.compile(rf"numba_lstm\.(?:(?:{'|'.join(sorted(wings))})\b|io\._|io\.[a-z]+\.[a-z]+\.)")
    _, objects = public
    for each in objects:
        text = pydoc.plain(pydoc.render_doc(each))
        assert not inner.search(text), text[:500]


def test_sources_of_functions_are_found(public: tuple[Any, list[Any]]) -> None:
    for each in filter(inspect.isfunction, public[1]):
        assert inspect.getsource(each).startswith(f"def {each.__name__}(")


def test_messages() -> None:
    with pytest.raises(TypeError) as caught:
        nl.LSTM(1, 1)(np.ma.ones((1, 1, 1)))
    (line,) = traceback.format_exception_only(caught.value)
    assert line.startswith("numba_lstm.MaskedArrayError: input is a masked array")
    with pytest.raises(TypeError, match=r"got <class 'numba_lstm\.LSTM'>"):
        nl.LSTM(1, 1).load_state_dict(nl.LSTM(1, 1))  # type: ignore[arg-type]


def test_results() -> None:
    lstm = nl.LSTM(1, 1)
    kinds = [type(lstm.load_state_dict(lstm.state_dict())), type(lstm.weight_ih_l0)]
    assert kinds == [nl.IncompatibleKeys, nl.Parameter]


def test_the_reference_names_public_places() -> None:
    """And every name in it is public."""
    for page in REFERENCE.glob("*.md"):
        text = page.read_text(encoding="utf-8")
        current = "".join(f"{module}." for module in re.findall(r"currentmodule:: (\S+)", text))
        for name in re.findall(r"auto(?:function|class):: ([\w.]+)", text):
            module, _, last = f"{current}{name}".rpartition(".")
            assert last in f"{NAMES[module]} {MET[module]}".split()
