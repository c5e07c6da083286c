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

NARROWEST = 1
"""Vectors of the narrowest panel."""


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


def count_gates(hidden_size: int, depth: int, lanes: int) -> int:
    """Return how many numbers `gate_panels` makes of so many columns."""
    return depth * lanes * (GATES * ((hidden_size - 1) // lanes) + tail_vectors(hidden_size, lanes))


def kept_sizes(hidden_size: int, rows: int, lanes: int) -> tuple[int, int]:
    """Return how many numbers are kept of so many rows for one direction, see ``kept``: of gates, and of c."""
    full = (hidden_size - 1) // lanes * lanes
    units = full + tail_vectors(hidden_size, lanes) * lanes // GATES
    return GATES * units * rows, units * rows


def kept_arrays(
    gates: np.ndarray, cells: np.ndarray, hidden_size: int, rows: int, lanes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the gates (4, rows, H) and c (rows, H) that are kept of one direction, see ``kept``."""
    full, units = (hidden_size - 1) // lanes, tail_vectors(hidden_size, lanes) * lanes // GATES
    parts = []
    for count, numbers in ((GATES, gates), (1, cells)):
        split = count * full * lanes * rows
        body = numbers[:split].reshape(full, rows, count, lanes).transpose(2, 1, 0, 3)
        tail = numbers[split:].reshape(rows, count, units).transpose(1, 0, 2)
        whole = np.concatenate([body.reshape(count, rows, full * lanes), tail], axis=2)
        parts.append(np.ascontiguousarray(whole[:, :, :hidden_size]))
    return parts[0], parts[1][0]


def gate_panels(matrix: np.ndarray, lanes: int, paired: bool = False) -> np.ndarray:
    """Return a (4 * H, K) weight matrix as panels, (K, 4, lanes) each, the last one (K, vectors, lanes), in a row.

    If ``paired``, those of 16-bit numbers have vectors in pairs, see `paired_vectors`.
    """
    hidden, depth = matrix.shape[0] // GATES, matrix.shape[1]
    full = (hidden - 1) // lanes
    vectors = tail_vectors(hidden, lanes)
    rest, units = hidden - full * lanes, vectors * lanes // GATES
    split = full * depth * GATES * lanes
    panels = np.empty(split + depth * GATES * units, matrix.dtype)
    gates = matrix.reshape(GATES, hidden, depth)
    whole = gates[:, : full * lanes].reshape(GATES, full, lanes, depth)
    if paired:  # before they are put in order, which takes as long for two as for one
        body = panels[:split].view(np.uint32).reshape(full, depth, GATES // 2, lanes)
        for panel in range(full):  # whose pairs fit into a cache, while those of all would fault page by page
            pairs = whole[1::2, panel].astype(np.uint32)
            pairs <<= 16
            pairs |= whole[::2, panel]
            body[panel] = pairs.transpose(2, 0, 1)
    else:
        panels[:split].reshape(full, depth, GATES, lanes)[:] = whole.transpose(1, 3, 0, 2)
    tail = panels[split:].reshape(depth, GATES, units)
    tail[:, :, :rest] = gates[:, full * lanes :].transpose(2, 0, 1)
    tail[:, :, rest:] = 0
    if paired and vectors > 1:
        panels[split:] = paired_vectors(panels[split:], lanes)
    return panels


def paired_vectors(panels: np.ndarray, lanes: int) -> np.ndarray:
    """Return vectors of 16-bit numbers with those of two side by side, lane by lane.

    A vector of 32-bit lanes then has both, and a shift and a mask make floats of two vectors of bfloat16.
    """
    return panels.reshape(-1, 2, lanes).swapaxes(1, 2).ravel()


def split_pairs(words: np.ndarray, lanes: int, out: np.ndarray) -> None:
    """Write the float32 numbers of vectors of bfloat16 that `paired_vectors` put side by side, in their own order."""
    pairs, vectors = words.view(np.uint32).reshape(-1, lanes), out.view(np.uint32).reshape(-1, 2, lanes)
    np.left_shift(pairs, 16, out=vectors[:, 0])
    np.bitwise_and(pairs, np.uint32(0xFFFF0000), out=vectors[:, 1])


def from_gate_panels(panels: np.ndarray, hidden_size: int, columns: slice, depth: int, lanes: int) -> np.ndarray:
    """Return columns of the (4 * H, depth) matrix of which ``gate_panels`` made panels."""
    full = (hidden_size - 1) // lanes
    split = full * depth * GATES * lanes
    body = panels[:split].reshape(full, depth, GATES, lanes)[:, columns]
    tail = panels[split:].reshape(depth, GATES, -1)[columns]
    count = tail.shape[0]
    matrix = np.empty((GATES, hidden_size, count), panels.dtype)
    matrix[:, : full * lanes].reshape(GATES, full, lanes, count)[:] = body.transpose(2, 0, 3, 1)
    matrix[:, full * lanes :] = tail.transpose(1, 2, 0)[:, : hidden_size - full * lanes]
    return matrix.reshape(GATES * hidden_size, count)


def output_panels(matrix: np.ndarray, lanes: int) -> np.ndarray:
    """Return a (K, outputs) matrix as panels (K, 4, lanes) in a row, the last one with 4, 2 or 1 vectors."""
    depth, outputs = matrix.shape
    width = GATES * lanes
    full = (outputs - 1) // width
    rest = matrix[:, full * width :]
    vectors = NARROWEST
    while rest.shape[1] > vectors * lanes:
        vectors *= 2
    tail = np.zeros((depth, vectors * lanes), matrix.dtype)
    tail[:, : rest.shape[1]] = rest
    body = matrix[:, : full * width].reshape(depth, full, width).transpose(1, 0, 2)
    return np.concatenate([body.ravel(), tail.ravel()])


def projection_panels(matrix: np.ndarray, lanes: int, paired: bool = False) -> np.ndarray:
    """Return a (H_proj, H) matrix as panels (ceil(H_proj / (4 * lanes)), H, 4, lanes), in a row."""
    width = GATES * lanes
    panels = -(-matrix.shape[0] // width)
    padded = np.zeros((panels * width, matrix.shape[1]), matrix.dtype)
    padded[: matrix.shape[0]] = matrix
    result = padded.reshape(panels, width, -1).transpose(0, 2, 1).ravel()
    return paired_vectors(result, lanes) if paired else result
