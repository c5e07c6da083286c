"""Sizes of vectors, tiles and blocks, one row per instruction set.

========  ============  ========  =========  ====  =================================================================
isa       vector bytes  max rows  half rows  kept  reason for the rows of a register tile (rows x 4 gate vectors)
========  ============  ========  =========  ====  =================================================================
avx512    64            6         8          6     32 registers: 24 sums, 4 weights, 1 broadcast; 7 rows would spill
avx2      32            3         6          6     16 registers: 12 sums + 3 broadcasts + 1 weight
neon      16            6         8          6     32 registers, as avx512
sse2      16            3         5          5     16 registers, as avx2, and one more for a product without FMA
========  ============  ========  =========  ====  =================================================================

Half rows, instead of two tiles, take half of the vectors at a time: each weight is then loaded once, which tells where
weights are streamed from L3; where they are kept in L2, 4 + 4 rows are 2 to 5 % faster with AVX-512.  More rows have
more addresses than there are registers for them: 12 rows take 30 % longer than 6 + 6.  Many rows are cut into tiles of
"kept" rows.  With 16 registers tiles of three rows would read a panel, which may be in L2, nearly twice as often.

How a tile that is alone on its panel, of six rows or fewer, has its weights fetched:

======  =====  =====  ======  ===============  =======================================================================
family  kept   row    rows    panels in turn   reason
======  =====  =====  ======  ===============  =======================================================================
zen5    1 KiB  1 KiB  16 KiB  32 KiB, 12 MiB   Loads alone get 130 or 250 GB/s out of L2, by how the prefetcher happens
                                               to see them; asked for ahead, 200 to 250: 15 to 27 % less time for one
                                               row, 14 % for weights that are half in L2.  2 to 6 rows from L3 or
                                               memory: up to a fifth less than with the next panel fetched
zen4    0      0      16 KiB  never            One row as zen5: up to 25 % more time at 3 x 256, within the noise
                                               elsewhere; 2 to 6 rows: no difference between the three rows
others  0      0      0       never            One row: its loads reach what L2 has; more: the next panel is fetched
======  =====  =====  ======  ===============  =======================================================================

The first three are bytes ahead of the loads, fetched into L1, half of the smallest L1 at most: where weights stay in
L2; where they do not, for one row and for more.  One row takes two panels side by side, but between the two sizes of
what is read in turn it takes one after the other: in L1 pairs hide the latency of multiply-adds; beyond 14 MB they
bring 10 to 40 % more out of L3; in between caches serve one stream that is asked for ahead better than two.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .target import Target, host


@dataclass(frozen=True)
class BlockSizes:
    """Sizes for one instruction set."""

    vector_bytes: int
    max_rows: int
    half_rows: int
    half_rows_kept: int
    """Half rows where weights stay in L2, and rows of the largest of several tiles."""

    def lanes(self, dtype: np.dtype) -> int:
        """Return how many numbers of this dtype are in a vector."""
        return self.vector_bytes // dtype.itemsize


@dataclass(frozen=True)
class Fetching:
    """How a family of CPUs has weights fetched by a tile that is alone on its panel."""

    kept: int
    """Bytes ahead of its loads, where weights stay in L2; 0: nothing is fetched."""
    row: int
    """Bytes ahead for one row, where weights come from outside of L2."""
    rows: int
    """Bytes ahead for more rows; 0: the panel that comes next is fetched instead."""
    in_turn: tuple[int, int]
    """Bytes read in turn between which one row takes one panel after the other, and not two side by side."""


FETCHING = {
    "zen5": Fetching(1 << 10, 1 << 10, 16 << 10, (32 << 10, 12 << 20)),
    "zen4": Fetching(0, 0, 16 << 10, (0, 0)),
    "": Fetching(0, 0, 0, (0, 0)),
}

NEAR_KEPT_ROWS = 3
"""Most rows of a tile that waits for weights from L2, and not for its multiply-adds."""

TABLE = {
    "avx512": BlockSizes(64, 6, 8, 6),
    "avx2": BlockSizes(32, 3, 6, 6),
    "neon": BlockSizes(16, 6, 8, 6),
    "sse2": BlockSizes(16, 3, 5, 5),
}

GATES = 4
"""Vectors of a tile row: a panel holds the gates i, f, g, o of LANES hidden units side by side."""

SUM_BLOCK = 128
"""Terms in one chain of fused multiply-adds; block sums are then added in order.  Part of the result's
definition: another value gives other bits.  128 has half the rounding error of torch's kernels; unbroken chains
have up to four times it."""

UNROLL, UNROLL_STREAMED = 8, 4
"""Steps of k in one iteration of the tile's loop.  The loop's own ten instructions take turns with multiply-adds: 2 %
less time than with 4 steps on a Sapphire Rapids core, whose two units of 512 bits also do integers.  The loop that
fetches weights does so at its beginning: with 8 steps, 16 lines at once would fill all buffers of L1, 4 % more time."""


def fetching(target: Target | None = None) -> Fetching:
    """Return the row of ``FETCHING`` for a target, this process's by default."""
    return FETCHING[(target or host()).family]


def block_sizes(target: Target | None = None) -> BlockSizes:
    """Return the row of the table for a target, this process's by default."""
    return TABLE[(target or host()).isa]
