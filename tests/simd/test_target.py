"""What the features of a CPU say that kernels should be."""

from __future__ import annotations

import pytest

from numba_lstm.execution.planning.costs import COSTS, costs
from numba_lstm.simd.blocksizes import FETCHING, TABLE, block_sizes, fetching
from numba_lstm.simd.target import classify

INTEL = frozenset({"avx2", "fma", "avx512f", "avx512vp2intersect"})


@pytest.mark.parametrize(
    ("features", "isa", "family"),
    [
        (INTEL, "avx512", ""),
        (INTEL | {"sse4a"}, "avx512", "zen5"),
        (INTEL - {"avx512vp2intersect"} | {"sse4a"}, "avx512", "zen4"),
        ({"avx2", "fma", "sse4a"}, "avx2", ""),
        ({"avx2"}, "sse2", ""),
    ],
)
def test_rows_of_the_tables(features: set[str], isa: str, family: str) -> None:
    target = classify("x86", frozenset(features))
    assert (target.isa, target.family) == (isa, family)
    assert block_sizes(target) is TABLE[isa]
    assert fetching(target) is FETCHING[family]
    assert costs(target) is COSTS[family or isa]


def test_every_family_has_a_row_of_each_table() -> None:
    assert COSTS.keys() == (FETCHING.keys() | TABLE.keys()) - {""}


def test_what_is_fetched_ahead_fits_half_of_the_smallest_l1() -> None:
    assert all(max(row.kept, row.row, row.rows) <= 16 << 10 for row in FETCHING.values())
