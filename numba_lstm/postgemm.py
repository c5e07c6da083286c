"""From gate sums to the new cell and hidden state, while they are in L1.

With i, f, g, o the gate sums of one unit::

    c' = sigmoid(f) * c + sigmoid(i) * tanh(g)
    h' = sigmoid(o) * tanh(c')

c' is one fused multiply-add on the product of the input gate.
"""
from __future__ import annotations

from ._jit import inlined
from .activations import sigmoid, sigmoid_times_tanh
from .blocksizes import GATES
from .simd import at, fma, lanes, load, store

TWO_PASSES = 4
"""Rows from which all c' come before all h'.  h' waits for c' of its row; with several rows in between, the CPU finds
independent work within its window: 65 cycles a row and vector instead of 73 on Zen 4, but 95 for one row alone."""


@inlined
def _update_cell(gates, units, cell):
    kept = sigmoid(load(gates, units))
    added = sigmoid_times_tanh(load(gates, 0), load(gates, 2 * units))
    c = fma(kept, load(cell, 0), added)
    store(cell, 0, c)
    return c


@inlined
def _update_hidden(gates, units, c, hidden):
    store(hidden, 0, sigmoid_times_tanh(load(gates, 3 * units), c))


@inlined
def update_state(rows, vectors, gates, cell, hidden, hidden_stride):
    """Update LANES units of ``rows`` rows.

    ``gates`` (rows, 4, LANES) and ``cell`` (rows, LANES) are dense; ``hidden`` has rows ``hidden_stride`` elements
    apart and room for LANES numbers in each.  ``cell`` is updated in place.  Nothing aliases.  If ``vectors`` of each
    row hold its gates, fewer than 4, there are so many fewer units; behind them something is computed and stored too.
    """
    width = lanes(gates)
    line, units = GATES * width, width * vectors // GATES
    if rows >= TWO_PASSES:
        for m in range(rows):
            _update_cell(at(gates, m * line), units, at(cell, m * width))
        for m in range(rows):
            _update_hidden(at(gates, m * line), units, load(cell, m * width), at(hidden, m * hidden_stride))
    else:
        for m in range(rows):
            c = _update_cell(at(gates, m * line), units, at(cell, m * width))
            _update_hidden(at(gates, m * line), units, c, at(hidden, m * hidden_stride))


@inlined
def update_pair(vectors, gates, apart, cell, cell_apart, hidden):
    """Update one row's units of two panels, of which the second has so many ``vectors``.

    Its gates and cell states are ``apart`` and ``cell_apart`` elements from those of the first.
    """
    width = lanes(gates)
    units = width * vectors // GATES
    gates_2, cell_2 = at(gates, apart), at(cell, cell_apart)
    c = _update_cell(gates, width, cell)
    c_2 = _update_cell(gates_2, units, cell_2)
    _update_hidden(gates, width, c, hidden)
    _update_hidden(gates_2, units, c_2, at(hidden, width))
