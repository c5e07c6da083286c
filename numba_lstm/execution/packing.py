"""torch's weight matrices -> panels, in the order in which the kernels read them.

One panel holds, for LANES hidden units and every input k, the weights of the four gates::

    panel j of weight_ih (H_in = 3, LANES = 4):          weight_ih of torch (4 * H, H_in):

      k=0 | i i i i | f f f f | g g g g | o o o o |         rows 0   .. H-1   gate i
      k=1 | i i i i | f f f f | g g g g | o o o o |         rows H   .. 2H-1  gate f
      k=2 | i i i i | f f f f | g g g g | o o o o |         rows 2H  .. 3H-1  gate g
            units 4j .. 4j+3 of each gate                   rows 3H  .. 4H-1  gate o

A kernel that walks down a panel reads memory in one ascending line, and ends with all four gates of its units in
registers.  The last panel is filled up with zeros; if it has at most LANES / 2 units, or LANES / 4, its gates share
vectors, two or one instead of four for every k.  ``weight_hr`` (H_proj, H) becomes panels of GATES * LANES
outputs.  All panels of a network lie in one array that begins on a cache line.
"""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ..contract.parameters import Architecture
from ..kernels.cell_rule import ACTIVATIONS, Activation, CellRule
from ..simd.blocksizes import GATES, block_sizes
from ..simd.memory import CACHE_LINE, aligned_empty, round_up

(
    SRC_SIZE,  # numbers in a row of the input
    BIAS,  # offsets into the packed weights, in elements
    WEIGHT_IH,
    WEIGHT_HH,
    WEIGHT_HR,
    ZEROS,  # a row of zeros, the "bias" of the projection
    NUMBERS,  # of a general cell, see ``general_postgemm``
    CODE_F,  # its activations
    CODE_G,
    CODE_H,
    INPUT_FORGET,  # 1: its forget gate is what the input gate leaves
    PEEPHOLES,  # 1: its gates look at the cell state
    CELL_SIZE,
) = range(13)
"""The entries of a record for one layer and direction.  CELL_SIZE is their number."""


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


def tail_vectors(hidden_size: int, lanes: int) -> int:
    """Return how many vectors hold the gates of the last panel, for every k: 4, 2 or 1."""
    units = (hidden_size - 1) % lanes + 1
    vectors = GATES
    while vectors > 1 and lanes % GATES == 0 and units * 2 <= lanes * vectors // GATES:
        vectors //= 2
    return vectors


def gate_panels(matrix: np.ndarray, lanes: int) -> np.ndarray:
    """Return a (4 * H, K) weight matrix as panels, (K, 4, lanes) each, the last one (K, vectors, lanes), in a row."""
    hidden, depth = matrix.shape[0] // GATES, matrix.shape[1]
    full = (hidden - 1) // lanes
    units = tail_vectors(hidden, lanes) * lanes // GATES
    padded = np.zeros((GATES, full * lanes + units, depth), matrix.dtype)
    padded[:, :hidden] = matrix.reshape(GATES, hidden, depth)
    body = padded[:, : full * lanes].reshape(GATES, full, lanes, depth).transpose(1, 3, 0, 2)
    tail = padded[:, full * lanes :].transpose(2, 0, 1)
    return np.concatenate([body.ravel(), tail.ravel()])


def projection_panels(matrix: np.ndarray, lanes: int) -> np.ndarray:
    """Return a (H_proj, H) matrix as panels (ceil(H_proj / (4 * lanes)), H, 4, lanes)."""
    width = GATES * lanes
    panels = -(-matrix.shape[0] // width)
    padded = np.zeros((panels * width, matrix.shape[1]), matrix.dtype)
    padded[: matrix.shape[0]] = matrix
    return np.ascontiguousarray(padded.reshape(panels, width, -1).transpose(0, 2, 1))


def _rule_numbers(
    rule: CellRule, functions: tuple[Activation, ...], index: int, hidden_size: int, lanes: int
) -> np.ndarray:
    """Return the numbers of one cell's rule, as vectors, in the order of ``general_postgemm``."""
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
                cell[CODE_F : CODE_H + 1] = [ACTIVATIONS.index(function.name) for function in functions]
                cell[INPUT_FORGET], cell[PEEPHOLES] = rule.input_forget, rule.peepholes is not None
            finite = finite and all(bool(np.isfinite(named[n]).all()) for n in ("weight_hh", "weight_hr") if n in named)
    data = aligned_empty(size, dtype)
    data[:] = 0
    start = 0
    for piece in pieces:
        data[start : start + piece.size] = piece
        start = round_up(start + piece.size, line)
    return PackedWeights(data, cells, finite, rule is not None)
