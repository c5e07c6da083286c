"""From gate sums to the new cell and hidden state, while they are in L1.

With i, f, g, o the gate sums of one unit::

    c' = sigmoid(f) * c + sigmoid(i) * tanh(g)
    h' = sigmoid(o) * tanh(c')

c' is one fused multiply-add on the product of the input gate.
"""
from __future__ import annotations

from collections import namedtuple

from numba import types

from ...simd.blocksizes import GATES
from ...simd.jit import chosen_by_types, inlined
from ...simd.vectors import at, fma, lanes, load, store, store_first
from ..kept import KEPT, kept_cell, sums_line
from .activations import product_and_factors, sigmoid, sigmoid_times_tanh
from .general_cell import update_cell, update_hidden

Rule = namedtuple("Rule", "kind record numbers gates")
"""How gate sums become states: ``kind`` is None for the LSTM of torch, `KEPT` for the same whose gates and cell states
are kept, see ``kept``, and an integer for cells that read what they do from a `CellRecord` and ``numbers``, see
``general_cell``.  Its type decides what is compiled, so that no kind of cell pays for another."""

TWO_PASSES = 4
"""Rows from which all c' come before all h'.  h' waits for c' of its row; with several rows in between, the CPU finds
independent work within its window: 65 cycles a row and vector instead of 73 on Zen 4, but 95 for one row alone."""


@inlined
def _update_cell(gates, units, cell):
    """Make c' of one vector of units, from gate sums ``units`` numbers apart; store and return it."""
    kept = sigmoid(load(gates, units))
    added = sigmoid_times_tanh(load(gates, 0), load(gates, 2 * units))
    c = fma(kept, load(cell, 0), added)
    store(cell, 0, c)
    return c


@inlined
def _update_hidden(gates, units, c, hidden):
    """Make and store h' of one vector of units."""
    store(hidden, 0, sigmoid_times_tanh(load(gates, 3 * units), c))


@inlined
def _keep(gates, place, units, value):
    """Store one gate of so many units, behind which another gate lies if they are fewer than LANES."""
    if units == lanes(gates):
        store(gates, place, value)
    else:
        store_first(gates, place, value, units)


@inlined
def _update_kept_cell(rule, gates, units, cell):
    """Do what ``_update_cell`` does, and put the gates i, f and g where their sums were, and c' where it is kept."""
    kept = sigmoid(load(gates, units))
    added, entering, candidate = product_and_factors(load(gates, 0), load(gates, 2 * units))
    c = fma(kept, load(cell, 0), added)
    store(cell, 0, c)
    _keep(gates, 0, units, entering)
    _keep(gates, units, units, kept)
    _keep(gates, 2 * units, units, candidate)
    _keep(kept_cell(rule, gates), 0, units, c)
    return c


@inlined
def _update_kept_hidden(gates, units, c, hidden):
    """Do what ``_update_hidden`` does, and put the gate o where its sum was."""
    h, leaving, _ = product_and_factors(load(gates, 3 * units), c)
    store(hidden, 0, h)
    _keep(gates, 3 * units, units, leaving)


def _cell(kind, rule, gates, units, cell, unit):
    """Make c' by a rule of this kind."""


@chosen_by_types(_cell)
def _choose_cell(kind, rule, gates, units, cell, unit):
    if isinstance(kind, types.NoneType):
        return lambda kind, rule, gates, units, cell, unit: _update_cell(gates, units, cell)
    if kind == KEPT:
        return lambda kind, rule, gates, units, cell, unit: _update_kept_cell(rule, gates, units, cell)
    return lambda kind, rule, gates, units, cell, unit: update_cell(rule, gates, units, cell, unit)


def _hidden(kind, rule, gates, units, c, hidden, unit):
    """Make h' by a rule of this kind."""


@chosen_by_types(_hidden)
def _choose_hidden(kind, rule, gates, units, c, hidden, unit):
    if isinstance(kind, types.NoneType):
        return lambda kind, rule, gates, units, c, hidden, unit: _update_hidden(gates, units, c, hidden)
    if kind == KEPT:
        return lambda kind, rule, gates, units, c, hidden, unit: _update_kept_hidden(gates, units, c, hidden)
    return lambda kind, rule, gates, units, c, hidden, unit: update_hidden(rule, gates, units, c, hidden, unit)


@inlined
def update_state(rule, rows, vectors, gates, cell, hidden, hidden_stride, unit):
    """Update LANES units of ``rows`` rows.

    ``gates`` (rows, 4, LANES), or what ``kept`` says, and ``cell`` (rows, LANES) are dense; ``hidden`` has rows
    ``hidden_stride`` elements apart and room for LANES numbers in each.  ``cell`` is updated in place.  Nothing
    aliases.  If ``vectors`` of each row hold its gates, fewer than 4, there are so many fewer units; behind them
    something is computed and stored too.
    ``unit`` is the first unit's place in the layer.
    """
    width = lanes(gates)
    line, units = sums_line(rule.kind, vectors, width), width * vectors // GATES
    if rows >= TWO_PASSES:
        for m in range(rows):
            _cell(rule.kind, rule, at(gates, m * line), units, at(cell, m * width), unit)
        for m in range(rows):
            c = load(cell, m * width)
            _hidden(rule.kind, rule, at(gates, m * line), units, c, at(hidden, m * hidden_stride), unit)
    else:
        for m in range(rows):
            c = _cell(rule.kind, rule, at(gates, m * line), units, at(cell, m * width), unit)
            _hidden(rule.kind, rule, at(gates, m * line), units, c, at(hidden, m * hidden_stride), unit)


@inlined
def update_pair(rule, vectors, gates, apart, cell, cell_apart, hidden, unit):
    """Update one row's units of two panels, of which the second has so many ``vectors``.

    Its gates and cell states are ``apart`` and ``cell_apart`` elements from those of the first.
    """
    width = lanes(gates)
    units = width * vectors // GATES
    gates_2, cell_2, unit_2 = at(gates, apart), at(cell, cell_apart), unit + width
    c = _cell(rule.kind, rule, gates, width, cell, unit)
    c_2 = _cell(rule.kind, rule, gates_2, units, cell_2, unit_2)
    _hidden(rule.kind, rule, gates, width, c, hidden, unit)
    _hidden(rule.kind, rule, gates_2, units, c_2, at(hidden, width), unit_2)
