"""What is under torch's names in a file, whatever the format: LSTMs, cells, and what only resembles them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from ..lstm import LSTM
from ..lstm_cell import LSTMCell
from ..parameters import CELL_SUFFIX, belongs, first_name, infer, infer_cell, prefixes
from . import Declared
from . import describe as declared_in
from ._found import Found, Runner, State

_OTHERS = {3: "GRU", 1: "RNN"}
"""What has so many rows in weight_hh for each of its columns; an LSTM has four."""

_QUANTIZED = "_all_weight_values"
"""A part of the names that torch's quantized modules give their parameters."""


def describe(path: Path) -> list[Found]:
    """Return everything recurrent in a file."""
    declared = declared_in(path)
    found = [_found(declared, prefix, cell) for cell in (False, True) for prefix in prefixes(declared, cell)]
    quantized = sorted({name.partition(_QUANTIZED)[0] for name in declared if _QUANTIZED in name})
    return found + [
        Found(prefix, "quantized module", {}, {}, "its weights are quantized: save the module from before")
        for prefix in quantized
    ]


def _found(declared: Mapping[str, Declared], prefix: str, cell: bool) -> Found:
    names = [name for name in declared if belongs(name, prefix, cell)]
    parameters = {name.removeprefix(prefix): (declared[name].shape, declared[name].dtype) for name in names}
    kind = _kind(parameters, cell)
    try:
        architecture = (infer_cell if cell else infer)({name: declared[name] for name in names}, prefix)
    except ValueError as error:
        instead = "" if kind.startswith("LSTM") else f"; a {kind} is not taken, it stays with torch"
        return Found(prefix, kind, {}, parameters, f"{error}{instead}")
    shown = ("input_size", "hidden_size", "bias") if cell else tuple(field.name for field in fields(architecture))
    order = [name.removesuffix(CELL_SUFFIX) if cell else name for name in architecture.shapes()]
    return Found(
        prefix, kind, {name: getattr(architecture, name) for name in shown}, {name: parameters[name] for name in order}
    )


def _kind(parameters: Mapping[str, tuple[tuple[int, ...], str]], cell: bool) -> str:
    """Return what rows and columns of the recurrent weights say that it is."""
    shape, _ = parameters.get("weight_hh" if cell else "weight_hh_l0", ((), ""))
    kind = "LSTM"
    if len(shape) == 2 and shape[1] and shape[0] % shape[1] == 0 and "weight_hr_l0" not in parameters:
        kind = _OTHERS.get(shape[0] // shape[1], "LSTM")
    return f"{kind}Cell" if cell else kind


def runner(path: Path, name: str, dtype: Any = None, batch_first: bool = False) -> Runner:
    """Load what is under a prefix; with ``batch_first`` its input is (N, L, features), else as was recorded."""
    module = load_lstm(path, name, dtype).eval()
    if isinstance(module, LSTMCell):
        cell = module

        def step(x: np.ndarray, states: State | None) -> dict[str, np.ndarray]:
            h_1, c_1 = cell(x, states)
            return {"h_1": h_1, "c_1": c_1}

        return Runner(module.dtype, step)
    lstm = module
    if batch_first:
        lstm.batch_first = True

    def run(x: np.ndarray, states: State | None) -> dict[str, np.ndarray]:
        output, (h_n, c_n) = lstm(x, states)
        return {"output": output, "h_n": h_n, "c_n": c_n}

    return Runner(lstm.dtype, run)


def load_lstm(path: Path, name: str | None = None, dtype: Any = None) -> LSTM | LSTMCell:
    """Load what is under a prefix, whose last dot may be left out; a cell if it is one."""
    prefix = name or ""
    declared = declared_in(path)
    for start in (prefix, f"{prefix}."):
        if start + first_name() in declared:
            return LSTM.load(path, start, dtype=dtype)
        if start + first_name(cell=True) in declared:
            return LSTMCell.load(path, start, dtype=dtype)
    return LSTM.load(path, prefix, dtype=dtype)  # which finds it in a dict within the file, or says what there is
