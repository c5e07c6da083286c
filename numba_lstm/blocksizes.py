"""Sizes of vectors, tiles and blocks, one row per instruction set.

========  ============  ========  =========  ====  =================================================================
isa       vector bytes  max rows  half rows  kept  reason for the rows of a register tile (rows x 4 gate vectors)
========  ============  ========  =========  ====  =================================================================
avx512    64            6         8          6     32 registers: 24 sums, 4 weights, 1 broadcast; 7 rows would spill
avx2      32            3         4          4     16 registers: 12 sums + 3 broadcasts + 1 weight
neon      16            6         8          6     32 registers, as avx512
sse2      16            3         4          4     16 registers, as avx2
========  ============  ========  =========  ====  =================================================================

Half rows, instead of two tiles, take half of the vectors at a time: each weight is then loaded once, which tells where
weights are streamed from L3; where they are kept in L2, 4 + 4 rows are 2 to 5 % faster with AVX-512.  More rows have
more addresses than there are registers for them: 12 rows take 30 % longer than 6 + 6.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ._target import Target, host


@dataclass(frozen=True)
class BlockSizes:
    """Sizes for one instruction set."""

    vector_bytes: int
    max_rows: int
    half_rows: int
    half_rows_kept: int
    """The same, where weights stay in L2."""

    def lanes(self, dtype: np.dtype) -> int:
        """Return how many numbers of this dtype are in a vector."""
        return self.vector_bytes // dtype.itemsize


TABLE = {
    "avx512": BlockSizes(64, 6, 8, 6),
    "avx2": BlockSizes(32, 3, 4, 4),
    "neon": BlockSizes(16, 6, 8, 6),
    "sse2": BlockSizes(16, 3, 4, 4),
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


def block_sizes(target: Target | None = None) -> BlockSizes:
    """Return the row of the table for a target, this process's by default."""
    return TABLE[(target or host()).isa]
