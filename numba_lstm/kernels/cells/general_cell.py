"""The cell update of general cells, see ``cell_rule``: what ``postgemm`` calls for them, unit by unit.

The record of a cell says which activations, and what else; its numbers are vectors of LANES:

    alpha and beta of the activations of gates, candidate and cell state; clip; if there are peepholes, p_i, p_f and
    p_o of the first LANES units, of the next LANES units, ...

Which activation it is, is chosen while kernels run.  A choice for every vector costs a few well-predicted jumps, beside
functions of 20 to 100 instructions; code compiled for each combination would cost seconds for each.
"""
from __future__ import annotations

from ...simd.jit import inlined, inner
from ...simd.vectors import (
    absolute,
    add,
    div,
    fill,
    fma,
    lanes,
    load,
    mul,
    negate,
    polynomial,
    store,
    sub,
    where_greater,
)
from .activations import exp, expm1_minus, sigmoid, tanh
from .cell_rule import Function

# log(1 + y) = 2 * atanh(s) with s = y / (2 + y), which is at most 1 / 3 here: (atanh(s) / s - 1) / s**2 as a
# polynomial in s**2.
_ATANH_TERMS = {32: 8, 64: 17}
_atanh = polynomial({bits: tuple(1.0 / (2 * k + 1) for k in range(n, 0, -1)) for bits, n in _ATANH_TERMS.items()})


@inner
def clip(x, low, high):
    """Return min(max(x, low), high); NaN for NaN."""
    x = where_greater(low, x, low, x)
    return where_greater(x, high, high, x)


@inner
def _softplus(x):
    """Return log(1 + exp(x)), to a few ULP, and without overflow."""
    zero, two = fill(x, 0.0), fill(x, 2.0)
    y = exp(negate(absolute(x)))
    s = div(y, add(y, two))
    square = mul(s, s)
    log1p = mul(two, fma(mul(s, square), _atanh(square), s))
    return add(where_greater(zero, x, zero, x), log1p)


@inner
def activate(code, x, alpha, beta):
    """Return an activation of x.

    Parameters
    ----------
    code : int
        A `Function`.
    x, alpha, beta : Vector
        NaN in x gives NaN.
    """
    zero, one = fill(x, 0.0), fill(x, 1.0)
    # Comparisons are written so that a NaN takes the branch that has x in it.
    if code == Function.Sigmoid:
        return sigmoid(x)
    if code == Function.Tanh:
        return tanh(x)
    if code == Function.Relu:
        return where_greater(zero, x, zero, x)
    if code == Function.Affine:
        return fma(alpha, x, beta)
    if code == Function.LeakyRelu:
        return where_greater(zero, x, mul(alpha, x), x)
    if code == Function.ThresholdedRelu:  # x where x > alpha, else 0
        return where_greater(x, alpha, x, where_greater(alpha, x, zero, sub(x, alpha)))
    if code == Function.ScaledTanh:
        return mul(alpha, tanh(mul(beta, x)))
    if code == Function.HardSigmoid:
        return clip(fma(alpha, x, beta), zero, one)
    if code == Function.Elu:  # beta * x where x > 0, else beta * alpha * (exp(x) - 1)
        return mul(beta, where_greater(x, zero, x, mul(alpha, expm1_minus(x))))
    if code == Function.Softsign:
        return div(x, add(one, absolute(x)))
    if code == Function.Softplus:
        return _softplus(x)
    if code == Function.Clip:
        return clip(x, alpha, beta)
    if code == Function.Silu:
        return mul(x, sigmoid(x))
    return exp(x)


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
    if rule.record.peepholes:
        x = fma(load(rule.numbers, peephole * lanes(rule.numbers) + PEEPHOLE_GATES * unit), c, x)
    limit = _number(rule, CLIP)
    return clip(x, negate(limit), limit)


@inner
def update_cell(rule, gates, units, cell, unit):
    """Make c' of one vector of units, from gate sums ``units`` numbers apart; store and return it."""
    c = load(cell, 0)
    alpha, beta = _number(rule, ALPHA_F), _number(rule, BETA_F)
    entering = activate(rule.record.code_f, _sum(rule, gates, 0, c, PEEPHOLE_I, unit), alpha, beta)
    if rule.record.input_forget:
        kept = sub(fill(c, 1.0), entering)
    else:
        kept = activate(rule.record.code_f, _sum(rule, gates, units, c, PEEPHOLE_F, unit), alpha, beta)
    limit = _number(rule, CLIP)
    candidate = clip(load(gates, 2 * units), negate(limit), limit)
    candidate = activate(rule.record.code_g, candidate, _number(rule, ALPHA_G), _number(rule, BETA_G))
    c = fma(kept, c, mul(entering, candidate))
    store(cell, 0, c)
    return c


@inner
def update_hidden(rule, gates, units, c, hidden, unit):
    """Make and store h' of one vector of units."""
    x = _sum(rule, gates, 3 * units, c, PEEPHOLE_O, unit)
    leaving = activate(rule.record.code_f, x, _number(rule, ALPHA_F), _number(rule, BETA_F))
    shown = activate(rule.record.code_h, c, _number(rule, ALPHA_H), _number(rule, BETA_H))
    store(hidden, 0, mul(leaving, shown))
