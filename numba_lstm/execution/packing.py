"""A network's parameters -> one array of panels that begins on a cache line, and where in it those of each cell are."""
from __future__ import annotations

import bisect
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ..contract.architecture import Architecture
from ..contract.weight_form import SCALE, check_row_length, dequantized
from ..formats import bfloat16
from ..kernels.cells.cell_rule import Activation, CellRule, Function
from ..kernels.frame import CellRecord
from ..kernels.panels import count_gates, gate_panels, projection_panels, split_pairs, tail_vectors
from ..simd.blocksizes import GATES, block_sizes
from ..simd.memory import CACHE_LINE, aligned_empty, round_up
from ..simd.weights.dot_products import left_offset
from ..simd.weights.forms import LINES_BEHIND

HALVES = ("float16", "bfloat16")
"""Forms of 16 bits: loads widen them, or they are made float32 before, and the kernels of both are then needed."""

WIDENED_BYTES = 1 << 16
"""Most bytes of a layer and direction whose 16-bit weights are widened when they are packed.  Those of h lie in L1
then, where nothing waits for them, and to widen them at each step takes 1.2 times float32's time at H = 32 and 40, and
the same time at 48.  Results have the same bits."""

class PackedWeights(NamedTuple):
    """All weights of a network in kernel order."""

    data: np.ndarray
    """1-D, begins on a cache line."""
    cells: np.ndarray
    """int64, a `CellRecord` in each row, in torch's order: layer 0, layer 0 reversed, layer 1, ..."""
    finite: bool
    """Whether every recurrent weight is finite, so that a zero state contributes exactly nothing."""
    general: bool
    """Whether the cells have a rule of their own."""
    form: str | None
    """That of the weights, if they are not of the dtype of the data."""


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


def pack(
    architecture: Architecture,
    parameters: Mapping[str, np.ndarray],
    dtype: np.dtype[Any],
    rule: CellRule | None = None,
    form: str | None = None,
) -> PackedWeights:
    """Return a network's parameters, by torch's names, as panels, and the numbers of its rule."""
    if form in HALVES and _largest_cell(architecture) * dtype.itemsize <= WIDENED_BYTES:
        parameters, form = dequantized(parameters, form), None
    a, lanes, line = architecture, block_sizes().lanes(dtype), CACHE_LINE // dtype.itemsize
    if rule is not None and rule.plain:
        rule = None
    pieces: list[np.ndarray] = []
    size = 0

    def place(piece: np.ndarray) -> int:
        nonlocal size
        start = size
        pieces.append(piece.reshape(-1))
        size = round_up(start + piece.size, line)
        return start

    cells: list[CellRecord] = []
    finite = True
    zeros = place(np.zeros(GATES * lanes, dtype))
    for layer in range(a.num_layers):
        for direction in range(a.num_directions):
            named = {name.split("_l")[0]: _elements(name, parameters, form) for name in a.names(layer, direction)}
            bias = np.zeros((GATES * a.hidden_size, 1), dtype)
            if a.bias:
                with np.errstate(all="ignore"):  # it may overflow, or be of infinities: torch has inf and nan then
                    bias[:, 0] = named["bias_ih"] + named["bias_hh"]
            paired = form == "bfloat16"
            cell = CellRecord(
                src_size=a.layer_input_size(layer),
                bias=place(gate_panels(bias, lanes)),
                weight_ih=place(gate_panels(named["weight_ih"], lanes, paired).view(dtype)),
                weight_hh=place(gate_panels(named["weight_hh"], lanes, paired).view(dtype)),
                weight_hr=place(projection_panels(named["weight_hr"], lanes, paired).view(dtype)) if a.proj_size else 0,
                zeros=zeros,
            )
            if rule is not None:
                functions = rule.activations[direction]
                with np.errstate(all="ignore"):  # a float64 may be too large or too small for a float32
                    numbers = _rule_numbers(rule, functions, len(cells), a.hidden_size, lanes).astype(dtype)
                cell = _with_rule(cell, rule, functions, place(numbers))
            cells.append(cell)
            recurrent = (name for name in a.names(layer, direction) if name.startswith(("weight_hh", "weight_hr")))
            finite = finite and all(_all_finite(np.asarray(parameters[name])) for name in recurrent)
    data = aligned_empty(size, dtype)
    data[:] = 0
    start = 0
    for piece in pieces:
        data[start : start + piece.size] = piece
        start = round_up(start + piece.size, line)
    return PackedWeights(data, np.array(cells, np.int64), finite, rule is not None, form)


def as_floats(architecture: Architecture, packed: PackedWeights) -> PackedWeights:
    """Return what `pack` makes of the numbers of weights in 16 bits as float32; to pack those would take longer."""
    a, lanes, size = architecture, block_sizes().lanes(packed.data.dtype), packed.data.size
    line = CACHE_LINE // packed.data.itemsize
    records = [CellRecord(*numbers) for numbers in packed.cells.tolist()]
    starts = sorted({place for each in records for place in (each.zeros, each.bias, each.weight_ih, each.numbers)})
    copies: list[tuple[int, np.ndarray, int | None]] = []
    end = 0

    def place(source: np.ndarray, count: int, alone: int | None = None) -> int:
        nonlocal end
        copies.append((end, source, alone))
        start, end = end, round_up(end + count, line)
        return start

    def floats(start: int) -> int:
        ends = *starts, size
        source = packed.data[start : ends[bisect.bisect_right(starts, start)]]
        return place(source, source.size)

    def halves(start: int, count: int, alone: int = 0) -> int:
        return place(packed.data[start : start + count // 2], count, alone)

    zeros = floats(records[0].zeros)
    cells: list[CellRecord] = []
    for known in records:
        depths = known.src_size, a.output_size
        narrow = [depth * lanes if tail_vectors(a.hidden_size, lanes) == 1 else 0 for depth in depths]
        of_x, of_h = (count_gates(a.hidden_size, depth, lanes) for depth in depths)
        of_projection = -(-a.proj_size // (GATES * lanes)) * GATES * lanes * a.hidden_size
        cell = known._replace(
            zeros=zeros,
            bias=floats(known.bias),
            weight_ih=halves(known.weight_ih, of_x, narrow[0]),
            weight_hh=halves(known.weight_hh, of_h, narrow[1]),
            weight_hr=halves(known.weight_hr, of_projection) if a.proj_size else 0,
        )
        cells.append(cell._replace(numbers=floats(known.numbers)) if packed.general else cell)
    data = aligned_empty(end, packed.data.dtype)
    data[:] = 0
    for start, source, alone in copies:
        if alone is None:
            data[start : start + source.size] = source
        else:
            _widen_panels(source, packed.form, lanes, alone, data[start : start + 2 * source.size])
    return packed._replace(data=data, cells=np.array(cells, np.int64), form=None)


def _widen_panels(words: np.ndarray, form: str | None, lanes: int, alone: int, out: np.ndarray) -> None:
    """Write the numbers of panels in 16 bits, of which the last ones may be ``alone``, in no pairs of vectors."""
    if form == "float16":
        with np.errstate(invalid="ignore"):  # Arm says so of a NaN that signals
            out[:] = words.view(np.float16)
        return
    paired = out.size - alone
    split_pairs(words[: paired // 2], lanes, out[:paired])
    out[paired:] = bfloat16.widened(words.view(np.uint16)[paired:])


def _all_finite(array: np.ndarray) -> bool:
    """Return whether every number is finite."""
    if array.dtype != np.float16:
        return bool(np.isfinite(array).all())
    exponent = np.uint16(0x7C00)  # NumPy looks at one float16 at a time, and at many integers
    return bool(((array.view(np.uint16) & exponent) < exponent).all())


def _largest_cell(a: Architecture) -> int:
    """Return how many weights the largest layer has in one direction."""
    widest = max(a.layer_input_size(layer) for layer in range(a.num_layers))
    return GATES * a.hidden_size * (widest + a.output_size) + a.proj_size * a.hidden_size


def _elements(name: str, parameters: Mapping[str, np.ndarray], form: str | None) -> np.ndarray:
    """Return a parameter as elements of panels, see ``weights.forms``; biases are in no other form."""
    array = np.asarray(parameters[name])
    if form is None or name.startswith("bias_"):
        return array
    if form == "float16":
        return array.view(np.uint16)
    if form == "bfloat16":
        return bfloat16.upper_halves(array)
    return _words(name, array, parameters[name + SCALE])


def _words(name: str, matrix: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Return words of four numbers and, behind each row, what its sums begin at and its scale."""
    rows, columns = matrix.shape
    check_row_length(name, columns)
    depth = -(-columns // 4)
    words = np.zeros((rows, depth + LINES_BEHIND), np.int32)
    words[:, :depth].view(np.int8)[:, :columns] = matrix
    words[:, depth] = matrix.sum(axis=1, dtype=np.int32) * -left_offset()
    words[:, depth + 1] = scales.view(np.int32)
    return words


def _with_rule(
    cell: CellRecord, rule: CellRule, functions: tuple[Activation, ...], numbers: int
) -> CellRecord:
    """Return the record of a cell with a rule, whose numbers have their place."""
    code_f, code_g, code_h = (Function[function.name] for function in functions)
    return cell._replace(
        numbers=numbers,
        code_f=code_f,
        code_g=code_g,
        code_h=code_h,
        input_forget=rule.input_forget,
        peepholes=rule.peepholes is not None,
    )
