"""What is under torch's names in a file, whatever the format: LSTMs, cells, and what only resembles them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from ..contract.architecture import CELL_SUFFIX
from ..contract.saved.kept import check_declared
from ..contract.saved.located import NOT_TAKEN, Located, other_modules
from ..contract.saved.record import Records, check_floats, recorded_form
from ..contract.state_dict import OTHERS
from ..contract.weight_form import kept_shapes
from ..formats.contents import Contents, Declared
from ..formats.files import describe as declared_in
from ..formats.files import files as files  # what the command line asks of a format
from ..formats.files import read_all_but_arrays, read_contents
from ..lstm import LSTM
from ..lstm_cell import LSTMCell
from ._found import Found, Runner, State


def describe(path: Path) -> list[Found]:
    """Return everything recurrent in a file."""
    declared, contents = declared_in(path), read_all_but_arrays(path)
    records, found = Records(contents), []
    for cell in (False, True):
        located = Located(declared, cell, contents.inner)
        found += [_found(located, declared, contents, records, prefix, cell) for prefix in located.prefixes]
    others = other_modules(declared, contents.modules)
    return found + [Found(prefix, kind, {}, {}, NOT_TAKEN) for prefix, kind in others.items()]


def _found(
    located: Located,
    declared: Mapping[str, Declared],
    contents: Contents,
    records: Records,
    prefix: str,
    cell: bool,
) -> Found:
    parameters = {
        name.removeprefix(prefix): (declared[name].shape, declared[name].dtype) for name in located.names(prefix)
    }
    kind = _kind(parameters, cell)
    try:
        form = recorded_form(records.of(prefix, located.names(prefix)))
        architecture, sources = located.understood(prefix, declared, contents.modules, form)
        shapes = {name.removesuffix(CELL_SUFFIX) if cell else name: s for name, s in architecture.shapes().items()}
        if form is not None:
            check_declared(declared, prefix, sources, shapes, form)
        else:
            originals = [source.parts[0] for source in sources.values()]
            check_floats({name: declared[name].dtype for name in originals})
    except ValueError as error:
        instead = "" if kind.startswith("LSTM") else f"; a {kind} is not taken, it stays with torch"
        return Found(prefix, kind, {}, parameters, f"{error}{instead}")
    shown = ("input_size", "hidden_size", "bias") if cell else tuple(field.name for field in fields(architecture))
    sizes = {name: getattr(architecture, name) for name in shown} | ({"form": form} if form else {})
    if form is not None:
        parts = list(kept_shapes(shapes, form))
    else:
        parts = [part.removeprefix(prefix) for name in shapes for part in sources[name].parts]
    return Found(prefix, kind, sizes, {part: parameters[part] for part in parts})


def _kind(parameters: Mapping[str, tuple[tuple[int, ...], str]], cell: bool) -> str:
    """Return what rows and columns of the recurrent weights say that it is."""
    shape, _ = parameters.get("weight_hh" if cell else "weight_hh_l0", ((), ""))
    kind = "LSTM"
    if len(shape) == 2 and shape[1] and shape[0] % shape[1] == 0 and "weight_hr_l0" not in parameters:
        kind = OTHERS.get(shape[0] // shape[1], "LSTM")
    return f"{kind}Cell" if cell else kind


def runner(path: Path, name: str, dtype: Any = None, batch_first: bool = False) -> Runner:
    """Load what is under a prefix; with ``batch_first`` its input is (N, L, features), else as was recorded."""
    module = load_lstm(path, name, dtype)
    if isinstance(module, LSTMCell):
        cell = module

        def step(x: np.ndarray, states: State | None) -> dict[str, np.ndarray]:
            h_1, c_1 = cell(x, states)
            return {"h_1": h_1, "c_1": c_1}

        return Runner(module.dtype, step, module.form)
    lstm = module
    if batch_first:
        lstm.batch_first = True

    def run(x: np.ndarray, states: State | None) -> dict[str, np.ndarray]:
        output, (h_n, c_n) = lstm(x, states)
        return {"output": output, "h_n": h_n, "c_n": c_n}

    return Runner(lstm.dtype, run, lstm.form)


def load_lstm(path: Path, name: str | None = None, dtype: Any = None) -> LSTM | LSTMCell:
    """Load what is under a prefix, whose last dot may be left out; a cell if it is one."""
    prefix, names = name or "", read_contents(path, lambda name: False).names
    lstms, cells = (Located(names, cell).prefixes for cell in (False, True))
    for start in (prefix, f"{prefix}."):
        if start in lstms:
            return LSTM.load(path, start, dtype=dtype)
        if start in cells:
            return LSTMCell.load(path, start, dtype=dtype)
    return LSTM.load(path, prefix, dtype=dtype)  # which finds it in a dict within the file, or says what there is
