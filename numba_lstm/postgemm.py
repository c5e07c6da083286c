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
from .simd import fma, lanes, load, store


@inlined
def update_state(rows, gates, cell, hidden, hidden_stride):
    """Update LANES units of ``rows`` rows.

    ``gates`` (rows, 4, LANES) and ``cell`` (rows, LANES) are dense; ``hidden`` has rows ``hidden_stride`` elements
    apart and room for LANES numbers in each.  ``cell`` is updated in place.  Nothing aliases.
    """
    width = lanes(gates)
    for m in range(rows):
        g = m * GATES * width
        kept = sigmoid(load(gates, g + width))
        added = sigmoid_times_tanh(load(gates, g), load(gates, g + 2 * width))
        c = fma(kept, load(cell, m * width), added)
        store(cell, m * width, c)
        store(hidden, m * hidden_stride, sigmoid_times_tanh(load(gates, g + 3 * width), c))
