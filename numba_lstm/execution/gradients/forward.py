"""A forward pass that keeps what the backward pass needs: layer by layer, with the bits of a call."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ...kernels.frame import PLACES
from ...kernels.panels import kept_sizes
from ...simd.blocksizes import block_sizes
from ...simd.memory import aligned_empty
from ..network import Network
from ..planning.plan import Plan
from ..planning.schedule import Batch
from .spare import Spare

Dropout = Callable[[np.ndarray], None]


@dataclass
class KeptLayer:
    """What is kept of one layer."""

    source: np.ndarray
    """Its input, (T, B, features) or (1, rows, features) if packed; C-order."""
    output: np.ndarray
    """h of all steps, both directions side by side, before dropout."""
    gates: list[np.ndarray]
    """Gates of each direction, see ``kernels.kept``; empty if they are to be made again."""
    cells: list[np.ndarray]
    """c of each direction."""
    mask: np.ndarray | None = None
    """What dropout has multiplied the output by."""


@dataclass
class Kept:
    """What is kept of a forward pass."""

    network: Network
    batch: Batch
    plan: Plan
    h_0: np.ndarray | None
    c_0: np.ndarray | None
    layers: list[KeptLayer] = field(default_factory=list)

    @property
    def output(self) -> np.ndarray:
        """The last layer's h of all steps."""
        return self.layers[-1].output

    @property
    def nbytes(self) -> int:
        """Bytes that are kept, but for those of the input."""
        arrays = [self.h_0, self.c_0]
        for layer in self.layers:
            arrays += [layer.output, layer.mask, *layer.gates, *layer.cells]
            if layer.mask is not None:  # what the next one reads is then another array
                arrays.append(layer.output)
        return sum(array.nbytes for array in arrays if array is not None)


def forward(
    network: Network,
    x: np.ndarray,
    batch: Batch,
    h_0: np.ndarray | None,
    c_0: np.ndarray | None,
    dropout: Dropout | None,
    keep: str = "gates",
) -> tuple[np.ndarray, np.ndarray, Kept]:
    """Run a batch and keep what gradients need.

    Parameters
    ----------
    x : C-order array (T, B, I), or (1, rows, I) if packed
        Nobody else's.
    h_0, c_0 : C-order arrays (layers * directions, B, H_out) and (.., H), or None for zeros
        Nobody else's.
    dropout : callable, optional
        Changes the output of every layer but the last in place.
    keep : {"gates", "states"}
        Whether gates are kept, or made again in the backward pass.

    Returns
    -------
    h_n, c_n : ndarray
    kept : Kept
    """
    a, dtype = network.architecture, network.dtype
    plan = network.plan(batch)
    kept = Kept(network, batch, plan, h_0, c_0)
    if h_0 is None or c_0 is None:
        h, c = np.empty(plan.hidden, dtype), np.empty(plan.cell, dtype)
    else:
        h, c = h_0.copy(), c_0.copy()
    work = Spare.take(plan.work_size, dtype)
    lanes = block_sizes().lanes(dtype)
    gates_size, cells_size = kept_sizes(a.hidden_size, batch.all_rows, lanes)
    size = gates_size + cells_size
    # Of which only c is kept, the gates of all layers take turns with one piece of memory.
    turns = aligned_empty(a.num_directions * size + lanes, dtype) if keep == "states" else None
    for index in range(a.num_layers):
        # What is read last is a whole vector.
        whole = Spare.take(a.num_directions * size + lanes, dtype) if turns is None else turns
        parts = [whole[d * size : (d + 1) * size] for d in range(a.num_directions)]
        cells = [part[gates_size:] for part in parts]
        layer = KeptLayer(x, np.empty(plan.output, dtype), [part[:gates_size] for part in parts], cells)
        for first in range(0, batch.steps, plan.steps_per_launch):
            numbers = plan.numbers.copy()
            numbers[PLACES.first_layer], numbers[PLACES.end_layer] = index, index + 1
            numbers[PLACES.first_step] = first
            numbers[PLACES.end_step] = min(first + plan.steps_per_launch, batch.steps)
            numbers[PLACES.kept_address] = whole.ctypes.data
            plan.entry(numbers, plan.data, work, x, layer.output, h, c)
        if keep == "states":
            owned = Spare.take(a.num_directions * cells_size + lanes, dtype)
            for d, part in enumerate(cells):
                owned[d * cells_size : (d + 1) * cells_size] = part
            layer.gates = []
            layer.cells = [owned[d * cells_size : (d + 1) * cells_size] for d in range(a.num_directions)]
            whole = owned
        weakref.finalize(kept, Spare.give, whole).atexit = False
        x = layer.output
        if dropout is not None and index + 1 < a.num_layers:
            layer.mask = np.ones(x.shape, dtype)
            dropout(layer.mask)
            with np.errstate(all="ignore"):  # inf stays inf, or becomes nan, as within kernels
                x = x * layer.mask
        kept.layers.append(layer)
    Spare.give(work)
    return h, c, kept
