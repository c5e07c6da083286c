"""A network's parameters -> one array of panels that begins on a cache line, and where in it those of each cell are."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ..contract.parameters import Architecture
from ..kernels.cell_rule import Activation, CellRule, Function
from ..kernels.frame import (
    BIAS,
    CELL_SIZE,
    CODE_F,
    CODE_H,
    INPUT_FORGET,
    NUMBERS,
    PEEPHOLES,
    SRC_SIZE,
    WEIGHT_HH,
    WEIGHT_HR,
    WEIGHT_IH,
    ZEROS,
)
from ..kernels.panels import gate_panels, projection_panels
from ..simd.blocksizes import GATES, block_sizes
from ..simd.memory import CACHE_LINE, aligned_empty, round_up


class PackedWeights(NamedTuple):
    """All weights of a network in kernel order."""

    data: np.ndarray
    """1-D, begins on a cache line."""
    cells: np.ndarray
    """(layers * directions, CELL_SIZE) int64, in torch's order: layer 0, layer 0 reversed, layer 1, ..."""
    finite: bool
    """Whether every recurrent weight is finite, so that a zero state contributes exactly nothing."""
    general: bool
    """Whether the cells have a rule of their own."""


def _rule_numbers(
    rule: CellRule, functions: tuple[Activation, ...], index: int, hidden_size: int, lanes: int
) -> np.ndarray:
    """Return the numbers of one cell's rule, as vectors, in the order of ``general_cell``."""
    first = [number for function in functions for number in (function.alpha, function.beta)] + [rule.clip]
    splats = np.repeat(np.array(first, np.float64), lanes)
    if rule.peepholes is None:
        return splats
    padded = np.zeros((3, round_up(hidden_size, lanes)))
    padded[:, :hidden_size] = rule.peepholes[index]
    return np.concatenate([splats, padded.reshape(3, -1, lanes).transpose(1, 0, 2).ravel()])


@np.errstate(all="ignore")  # a sum of biases may overflow, or be of infinities: torch has inf and nan then
def pack(
    architecture: Architecture,
    parameters: Mapping[str, np.ndarray],
    dtype: np.dtype[Any],
    rule: CellRule | None = None,
) -> PackedWeights:
    """Return a network's parameters, by torch's names, as panels, and the numbers of its rule."""
    lanes = block_sizes().lanes(dtype)
    line = CACHE_LINE // dtype.itemsize
    pieces: list[np.ndarray] = []
    size = 0

    def place(piece: np.ndarray) -> int:
        nonlocal size
        start = size
        pieces.append(piece.ravel())
        size = round_up(start + piece.size, line)
        return start

    directions, hidden = architecture.num_directions, architecture.hidden_size
    if rule is not None and rule.plain:
        rule = None
    cells = np.zeros((architecture.num_layers * directions, CELL_SIZE), np.int64)
    finite = True
    zeros = place(np.zeros(GATES * lanes, dtype))
    for layer in range(architecture.num_layers):
        for direction in range(directions):
            named = {name.split("_l")[0]: parameters[name] for name in architecture.names(layer, direction)}
            bias = np.zeros((GATES * architecture.hidden_size, 1), dtype)
            if architecture.bias:
                bias[:, 0] = named["bias_ih"] + named["bias_hh"]
            cell = cells[layer * directions + direction]
            cell[SRC_SIZE] = architecture.layer_input_size(layer)
            cell[ZEROS] = zeros
            cell[BIAS] = place(gate_panels(bias, lanes))
            cell[WEIGHT_IH] = place(gate_panels(named["weight_ih"], lanes))
            cell[WEIGHT_HH] = place(gate_panels(named["weight_hh"], lanes))
            if architecture.proj_size:
                cell[WEIGHT_HR] = place(projection_panels(named["weight_hr"], lanes))
            if rule is not None:
                index = layer * directions + direction
                functions = rule.activations[direction]
                cell[NUMBERS] = place(_rule_numbers(rule, functions, index, hidden, lanes).astype(dtype))
                cell[CODE_F : CODE_H + 1] = [Function[function.name] for function in functions]
                cell[INPUT_FORGET], cell[PEEPHOLES] = rule.input_forget, rule.peepholes is not None
            finite = finite and all(bool(np.isfinite(named[n]).all()) for n in ("weight_hh", "weight_hr") if n in named)
    data = aligned_empty(size, dtype)
    data[:] = 0
    start = 0
    for piece in pieces:
        data[start : start + piece.size] = piece
        start = round_up(start + piece.size, line)
    return PackedWeights(data, cells, finite, rule is not None)
