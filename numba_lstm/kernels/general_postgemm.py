"""The cell update of general cells, see ``cell_rule``: what ``postgemm`` calls for them, unit by unit.

The record of a cell says which activations, and what else; its numbers are vectors of LANES:

    alpha and beta of the activations of gates, candidate and cell state; clip; if there are peepholes, p_i, p_f and
    p_o of the first LANES units, of the next LANES units, ...
"""
from __future__ import annotations

from ..execution.packing import CODE_F, CODE_G, CODE_H, INPUT_FORGET, PEEPHOLES
from ..simd.jit import inlined, inner
from ..simd.vectors import fill, fma, lanes, load, mul, negate, store, sub
from .general_activations import activate, clip

ALPHA_F, BETA_F, ALPHA_G, BETA_G, ALPHA_H, BETA_H, CLIP, PEEPHOLE_I, PEEPHOLE_F, PEEPHOLE_O = range(10)
"""Places of the vectors; those of peepholes for the first units."""

PEEPHOLE_GATES = 3


@inlined
def _number(rule, place):
    return load(rule.numbers, place * lanes(rule.numbers))


@inlined
def _sum(rule, gates, offset, c, peephole, unit):
    """Return a gate's sum with what it sees of the cell state, clipped."""
    x = load(gates, offset)
    if rule.record[PEEPHOLES]:
        x = fma(load(rule.numbers, peephole * lanes(rule.numbers) + PEEPHOLE_GATES * unit), c, x)
    limit = _number(rule, CLIP)
    return clip(x, negate(limit), limit)


@inner
def update_cell(rule, gates, units, cell, unit):
    """Make c' of one vector of units, from gate sums ``units`` numbers apart; store and return it."""
    c = load(cell, 0)
    alpha, beta = _number(rule, ALPHA_F), _number(rule, BETA_F)
    entering = activate(rule.record[CODE_F], _sum(rule, gates, 0, c, PEEPHOLE_I, unit), alpha, beta)
    if rule.record[INPUT_FORGET]:
        kept = sub(fill(c, 1.0), entering)
    else:
        kept = activate(rule.record[CODE_F], _sum(rule, gates, units, c, PEEPHOLE_F, unit), alpha, beta)
    limit = _number(rule, CLIP)
    candidate = clip(load(gates, 2 * units), negate(limit), limit)
    candidate = activate(rule.record[CODE_G], candidate, _number(rule, ALPHA_G), _number(rule, BETA_G))
    c = fma(kept, c, mul(entering, candidate))
    store(cell, 0, c)
    return c


@inner
def update_hidden(rule, gates, units, c, hidden, unit):
    """Make and store h' of one vector of units."""
    x = _sum(rule, gates, 3 * units, c, PEEPHOLE_O, unit)
    leaving = activate(rule.record[CODE_F], x, _number(rule, ALPHA_F), _number(rule, BETA_F))
    shown = activate(rule.record[CODE_H], c, _number(rule, ALPHA_H), _number(rule, BETA_H))
    store(hidden, 0, mul(leaving, shown))
