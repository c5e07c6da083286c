"""The backward pass of what a forward pass has kept: layers in turn, from the last one to the first."""

from __future__ import annotations

from collections.abc import Set
from typing import NamedTuple

import numpy as np

from ...contract.architecture import Architecture
from ...kernels.frame import FRAME_SIZE, PLACES, CellRecord
from ...kernels.panels import count_panels, from_gate_panels, kept_sizes
from ...simd.blocksizes import GATES, block_sizes
from ..output_panels import OutputPanels
from ..planning.machine import this_machine
from .forward import Kept
from .plan import plan_backward
from .spare import Spare

INPUT, H_0, C_0 = "input", "h_0", "c_0"
"""Names of what gradients are wanted for, beside parameters."""


class Found(NamedTuple):
    """Gradients, of what they were wanted for."""

    input: np.ndarray | None
    """(T, B, I), or (rows, I) if packed."""
    h_0: np.ndarray
    c_0: np.ndarray
    """Of no meaning unless one of the two is wanted."""
    parameters: dict[str, np.ndarray]


def backward(
    kept: Kept,
    panels: OutputPanels,
    d_output: np.ndarray | None,
    d_h_n: np.ndarray | None,
    d_c_n: np.ndarray | None,
    wanted: Set[str],
) -> Found:
    """Return gradients.

    Parameters
    ----------
    kept : Kept
        What the forward pass has kept.
    panels : OutputPanels
        The weights it was made with.
    d_output : C-order array of the output's shape, or None for zeros
    d_h_n, d_c_n : arrays of the states' shapes, or None for zeros
    wanted : set of str
        `INPUT`, `H_0`, `C_0`, and names of parameters.
    """
    network, batch, plan = kept.network, kept.batch, kept.plan
    a, dtype = network.architecture, network.dtype
    if not batch.all_rows:
        nothing = {name: np.zeros(shape, dtype) for name, shape in a.shapes().items() if name in wanted}
        shapes = kept.layers[0].source.shape, plan.hidden, plan.cell
        d_input, d_h, d_c = (np.zeros(shape, dtype) for shape in shapes)
        return Found(d_input if INPUT in wanted else None, d_h, d_c, nothing)
    d_h = np.zeros(plan.hidden, dtype) if d_h_n is None else np.array(d_h_n, dtype, order="C")
    d_c = np.zeros(plan.cell, dtype) if d_c_n is None else np.array(d_c_n, dtype, order="C")
    gradients: dict[str, np.ndarray] = {}
    lowest = _lowest_layer(a, wanted)
    for index in reversed(range(lowest, a.num_layers)):
        layer = kept.layers[index]
        d_source = np.empty(layer.source.shape, dtype) if index > lowest or INPUT in wanted else None
        for direction in range(a.num_directions):
            cell = index * a.num_directions + direction
            states = d_h[cell : cell + 1], d_c[cell : cell + 1]
            found = _cell(kept, panels, index, direction, d_output, states, d_source, wanted)
            gradients.update(found)
        d_output = d_source
        if index > 0 and d_output is not None and kept.layers[index - 1].mask is not None:
            with np.errstate(all="ignore"):  # gradients may be inf
                d_output *= kept.layers[index - 1].mask
    order = [name for name in a.shapes() if name in gradients]
    return Found(d_output if INPUT in wanted else None, d_h, d_c, {name: gradients[name] for name in order})


def _lowest_layer(a: Architecture, wanted: Set[str]) -> int:
    """Return the lowest layer of which something is wanted; that behind the last one if nothing is of any."""
    if not wanted.isdisjoint((INPUT, H_0, C_0)):
        return 0
    for layer in range(a.num_layers):
        for direction in range(a.num_directions):
            if not wanted.isdisjoint(a.names(layer, direction)):
                return layer
    return a.num_layers


def _cell(
    kept: Kept,
    panels: OutputPanels,
    index: int,
    direction: int,
    d_output: np.ndarray | None,
    states: tuple[np.ndarray, np.ndarray],
    d_source: np.ndarray | None,
    wanted: Set[str],
) -> dict[str, np.ndarray]:
    """Go through one layer and direction: states are updated, the input's gradient is written or added to.

    Returns
    -------
    dict of str to ndarray
        Gradients of its parameters.
    """
    network, batch, layer = kept.network, kept.batch, kept.layers[index]
    a, dtype, itemsize = network.architecture, network.dtype, network.dtype.itemsize
    lanes = block_sizes().lanes(dtype)
    cell, src_size = index * a.num_directions + direction, a.layer_input_size(index)
    plan = plan_backward(
        a, src_size, bool(direction), not layer.gates, kept.plan.numbers, batch, dtype, this_machine()
    )
    names = {name.split("_l")[0]: name for name in a.names(index, direction)}
    wants = {short: name in wanted for short, name in names.items()}
    wants_bias = wants.get("bias_ih", False) or wants.get("bias_hh", False)
    sides = src_size + a.output_size + 1
    held, _ = kept_sizes(a.hidden_size, 1, lanes)
    d_weights = np.zeros(sides * held, dtype)
    projection = np.zeros(count_panels(a.proj_size, GATES * lanes) * a.hidden_size * GATES * lanes, dtype)
    rows_out = a.num_directions * a.output_size
    offset = direction * a.output_size * itemsize
    places, weights = panels.places[cell], CellRecord(*network.weights.cells[cell].tolist())
    record = plan.record._replace(
        weight_ih=places["weight_ih"],
        weight_hh=places["weight_hh"],
        weight_hr=places.get("weight_hr", 0),
        gates=layer.gates[direction].ctypes.data if layer.gates else 0,
        cells=layer.cells[direction].ctypes.data,
        forward=network.weights.data.ctypes.data,  # which its plan took as well: those of 16 bits have no gradients
        forward_bias=weights.bias,
        forward_ih=weights.weight_ih,
        forward_hh=weights.weight_hh,
        h=layer.output.ctypes.data + offset,
        h_row=rows_out,
        h_0=0 if kept.h_0 is None else kept.h_0[cell].ctypes.data,
        c_0=0 if kept.c_0 is None else kept.c_0[cell].ctypes.data,
        d_output=0 if d_output is None else d_output.ctypes.data + offset,
        d_output_row=rows_out,
        wants_input=0 if d_source is None else 1 + direction,
        wants_ih=wants["weight_ih"],
        wants_hh=wants["weight_hh"],
        wants_bias=wants_bias,
        wants_hr=wants.get("weight_hr", False),
        d_weights=d_weights.ctypes.data,
        d_projection=projection.ctypes.data,
    )
    numbers = plan.frame.copy()
    numbers[FRAME_SIZE : FRAME_SIZE + len(record)] = record
    work = Spare.take(plan.work_size, dtype)
    zeros = slice(record.zeros, record.d_hidden)
    work[zeros] = 0
    # Where nobody wants the input's gradient, some array stands for it.
    target = layer.output if d_source is None else d_source
    for first in plan.launches:
        numbers[PLACES.first_step], numbers[PLACES.end_step] = first, min(first + plan.steps_per_launch, batch.steps)
        plan.entry(numbers, panels.data, work, layer.source, target, *states)
    Spare.give(work)

    def columns(first: int, last: int) -> np.ndarray:
        return from_gate_panels(d_weights, a.hidden_size, slice(first, last), sides, lanes)

    found: dict[str, np.ndarray] = {}
    if wants["weight_ih"]:
        found[names["weight_ih"]] = columns(0, src_size)
    if wants["weight_hh"]:
        found[names["weight_hh"]] = columns(src_size, sides - 1)
    if wants_bias:
        bias = columns(sides - 1, sides)[:, 0]
        found.update({names[short]: bias.copy() for short in ("bias_ih", "bias_hh") if wants[short]})
    if wants.get("weight_hr", False):
        whole = projection.reshape(-1, a.hidden_size, GATES * lanes).transpose(0, 2, 1)
        found[names["weight_hr"]] = whole.reshape(-1, a.hidden_size)[: a.proj_size].copy()
    return found
