"""From gradients of h and c to those of gate sums, and of c of the step before.

With the gates i, f, g, o of one unit, c its state, b that of the step before, and dh, dc what is known of them::

    t = tanh(c)         dc += dh * o * (1 - t * t)
    di = dc * g * i * (1 - i)       df = dc * b * f * (1 - f)       dg = dc * i * (1 - g * g)
    do = dh * t * o * (1 - o)       db = dc * f
"""
from __future__ import annotations

from collections import namedtuple

from ...simd.jit import inlined, inner
from ...simd.vectors import add, at, fill, fma, lanes, load, load_first, mul, negate, store, store_first, sub
from ..cells.activations import sigmoid, tanh

Units = namedtuple("Units", "count held gates_line")
"""Units of a panel: how many there are, how many it has room for, and the distance of two rows of their gates."""


@inlined
def load_units(source, count):
    """Load numbers of so many units, and zeros behind them; reads nothing else."""
    if count == lanes(source):
        return load(source, 0)
    return load_first(source, 0, count)


@inlined
def store_units(target, value, count):
    """Store numbers of so many units; the elements behind them are not touched."""
    if count == lanes(target):
        store(target, 0, value)
    else:
        store_first(target, 0, value, count)


@inlined
def _times_slope(x, y):
    """Return x * y * (1 - y), y a sigmoid."""
    return mul(mul(x, y), sub(fill(y, 1.0), y))


@inlined
def _times_tanh_slope(x, y):
    """Return x * (1 - y * y), y a tanh."""
    return mul(x, fma(negate(y), y, fill(y, 1.0)))


@inner
def activate_gates(gates, held):
    """Put the gates of one row where their sums are, those of two gates ``held`` apart."""
    i, f, o = sigmoid(load(gates, 0)), sigmoid(load(gates, held)), sigmoid(load(gates, 3 * held))
    g = tanh(load(gates, 2 * held))
    store_units(gates, i, held)
    store_units(at(gates, held), f, held)
    store_units(at(gates, 2 * held), g, held)
    store_units(at(gates, 3 * held), o, held)


@inlined
def cell_gradients(units, gates, c, c_before, dh, d_cell, d_panel, d_row, hidden_size):
    """Make the gradients of one row's gate sums of some units; return o * tanh(c).

    ``gates`` and ``c`` are pointers to what is kept of them, ``d_cell`` to the gradient of c, which becomes that of the
    step before; ``c_before`` and ``dh`` are vectors.  The gradients go to ``d_panel``, in the order of ``gates``, and
    to ``d_row``, where those of two gates are ``hidden_size`` apart.
    """
    width, held, count = lanes(gates), units.held, units.count
    i, f, g, o = load(gates, 0), load(gates, held), load(gates, 2 * held), load(gates, 3 * held)
    shown = tanh(load(c, 0))
    dc = add(load(d_cell, 0), _times_tanh_slope(mul(dh, o), shown))
    store(d_cell, 0, mul(dc, f))
    di, df = _times_slope(mul(dc, g), i), _times_slope(mul(dc, c_before), f)
    dg, do = _times_tanh_slope(mul(dc, i), g), _times_slope(mul(dh, shown), o)
    if count == width:
        store(d_panel, 0, di)
        store(d_panel, width, df)
        store(d_panel, 2 * width, dg)
        store(d_panel, 3 * width, do)
        store(d_row, 0, di)
        store(d_row, hidden_size, df)
        store(d_row, 2 * hidden_size, dg)
        store(d_row, 3 * hidden_size, do)
    else:
        store_first(d_panel, 0, di, held)
        store_first(d_panel, held, df, held)
        store_first(d_panel, 2 * held, dg, held)
        store_first(d_panel, 3 * held, do, held)
        store_first(d_row, 0, di, count)
        store_first(d_row, hidden_size, df, count)
        store_first(d_row, 2 * hidden_size, dg, count)
        store_first(d_row, 3 * hidden_size, do, count)
    return mul(o, shown)
