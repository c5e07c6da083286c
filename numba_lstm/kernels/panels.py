"""torch's weight matrices as panels, in the order in which the kernels read them.

One panel holds, for LANES hidden units and every input k, the weights of the four gates::

    panel j of weight_ih (H_in = 3, LANES = 4):          weight_ih of torch (4 * H, H_in):

      k=0 | i i i i | f f f f | g g g g | o o o o |         rows 0   .. H-1   gate i
      k=1 | i i i i | f f f f | g g g g | o o o o |         rows H   .. 2H-1  gate f
      k=2 | i i i i | f f f f | g g g g | o o o o |         rows 2H  .. 3H-1  gate g
            units 4j .. 4j+3 of each gate                   rows 3H  .. 4H-1  gate o

A kernel that walks down a panel reads memory in one ascending line, and ends with all four gates of its units in
registers.  The last panel is filled up with zeros; if it has at most LANES / 2 units, or LANES / 4, its gates share
vectors, two or one instead of four for every k.  ``weight_hr`` (H_proj, H) becomes panels of GATES * LANES
outputs.
"""
from __future__ import annotations

import numpy as np

from ..simd.blocksizes import GATES


def count_panels(units: int, lanes: int) -> int:
    """Return how many panels have the gates of so many hidden units."""
    return -(-units // lanes)


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
