"""The register tile times a panel: the only matrix product of the library.

Operation
    ``target[m, :] = source[m, :] + sum over blocks of (sum over k in the block of left[m, k] * panel[k, :])``
Operands
    ``left`` (rows, depth), unit stride in k, rows ``stride`` elements apart.  ``panel.weights`` (depth, vectors,
    LANES), C order, with 4, 2 or 1 vectors, see ``panels``.  ``source`` and ``target`` (rows, vectors * LANES), rows
    ``source_stride`` and ``target_stride`` apart; a source stride of ``BROADCAST`` (0) adds one row, the bias, to all.
    ``source`` may be ``target``.  depth >= 1.  With weights of int8, k counts words of four, see ``weights.forms``.
Prefetch
    While a tile works, its share of the panel that comes next is fetched into L2, if the panels are streamed: 8 rows
    88 -> 114 GFLOP/s and 48 rows 167 -> 186 of 229 at depth 1024, whose panels lie in L3.  Where they stay in L2 the
    same instructions would cost 5 to 15 %, so there is a loop without them.  Not for one row, which waits for the same
    bandwidth.  A tile that is alone on its panel fetches the panel itself instead, shortly before it loads it, on CPUs
    of which ``blocksizes.FETCHING`` says so.
Order of summation
    A block is ``SUM_BLOCK`` ascending k, one chain of fused multiply-adds that starts at zero; block sums are added to
    the source in order.  It depends on nothing else, so a row has the same bits in a tile of any size.  Sums of int8
    are integers, exact in any order, and become floats once.
Pairs
    One row has four chains of sums for a panel, as many as the latency of a multiply-add asks for and none to spare.
    Two panels side by side have eight, and read each number of ``left`` once: 20 % less time at H = 40, whose weights
    lie in L1, 5 % in a single step at H = 128; 4 % more at H = 96 in a longer call, where one panel stays in L1.
    ``blocksizes.FETCHING`` says where one panel after the other is faster.
Halves
    7 and 8 rows would be two tiles, each of which loads the panel from L2 as fast as L2 gives it while the next one
    comes in.  Where panels are streamed they take half of the vectors at a time: 4 % less time at H = 1024.  With AVX2,
    whose registers hold three rows of a whole panel, or six of a half, tiles of 4 to 6 rows are done so wherever the
    panel lies: it is read half as often, 20 to 35 % less time on a Zen 4 core; 10 to 20 % with SSE2 and 5 rows.  Not
    where there are many rows of int8, whose dot products want more registers: 5 % more time.
Edges
    Rows: there is a kernel for every count from 1 to ``half_rows``.  k: the steps that do not fill the unrolled loop
    are done one by one.  Units: panels are padded with zeros.
"""
from __future__ import annotations

import functools
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np

from ..simd.blocksizes import GATES, NEAR_KEPT_ROWS, SUM_BLOCK, UNROLL, UNROLL_STREAMED, block_sizes, fetching
from ..simd.jit import chosen_by_types, inlined, inner
from ..simd.tiles import tile_add, tile_fma, tile_zero
from ..simd.vectors import at, lanes, prefetch
from ..simd.weights.forms import WORDS, lines_behind, unless_words

MAX_ROWS, HALF_ROWS, HALF_ROWS_KEPT = block_sizes().max_rows, block_sizes().half_rows, block_sizes().half_rows_kept

NEAR_KEPT = fetching().kept // block_sizes().vector_bytes
NEAR_ROW = fetching().row // block_sizes().vector_bytes
NEAR_ROWS = fetching().rows // block_sizes().vector_bytes
"""Vectors between what a tile alone on its panel loads and what it fetches into L1; 0: it does not."""

TAIL_ROWS = 3
"""Rows of the largest tile of a narrow panel: half as many, to compile half as many kernels."""

FETCHING_TILES = 8
"""Tiles that fetch the following panel, if there are so many.  The loop asks for a fixed number of lines: eight tiles
ask for each four times, and all of 21 would ask ten times."""

ENDLESS = 1 << 40
"""Terms in a chain of sums of integers, which are exact in any order."""

BROADCAST = 0
"""The source stride that adds one row to all."""


Panel = namedtuple("Panel", "vectors weights ahead pace near")
"""Vectors for every k; pointers to a panel and to what a tile fetches, its share of the next one or, if ``near``, what
follows in its own; how much of the next one for every k, in elements, 0 if nothing of it is fetched."""


Following = namedtuple("Following", "panel streamed")
"""The panel that comes next, of the same matrix, and whether it is fetched: 0 where panels are in L2."""


Tiling = namedtuple("Tiling", "tiles rows larger")
"""Tiles, rows of each, and how many have one more."""


@inlined
def tiling(rows, following):
    """Cut rows into tiles that differ by one row at most: 10 rows are 5 + 5, never 6 + 4."""
    # Without a division by what is not a constant, which a step of one row would feel.
    if rows <= HALF_ROWS_KEPT or (following.streamed != 0 and rows <= HALF_ROWS):
        return Tiling(np.int64(1), rows, np.int64(0))
    most = unless_words(following.panel, HALF_ROWS_KEPT, MAX_ROWS)
    tiles = (rows + most - 1) // most
    each = rows // tiles
    return Tiling(tiles, each, rows - each * tiles)


@inlined
def _alone(vectors, weights, rows, streamed):
    """Return the panel for a tile that is alone on it; ``near`` is False where it had better fetch the next one."""
    if streamed != 0:
        near = np.int64(NEAR_ROW if rows == 1 else NEAR_ROWS)
    else:
        near = np.int64(NEAR_KEPT if rows <= NEAR_KEPT_ROWS else 0)
    return Panel(vectors, weights, at(weights, near * lanes(weights)), np.int64(0), near != 0)


@inlined
def panel_share(vectors, weights, following, depth, tiles, index, rows):
    """Return the panel for tile ``index`` of ``tiles``, of so many rows, which fetches its part of what comes next."""
    if tiles == 1 and rows <= MAX_ROWS:
        alone = _alone(vectors, weights, rows, following.streamed)
        if alone.near:
            return alone
    pace = np.int64(0)
    if following.streamed != 0 and index < FETCHING_TILES:
        width = GATES * lanes(weights)
        pace = width if tiles == 1 else width // min(tiles, FETCHING_TILES)
    return Panel(vectors, weights, at(following.panel, index * depth * pace), pace, False)


@functools.cache
def _kernel(rows: int, fewest: int, vectors: int, pitch: int) -> Callable[..., Any]:
    """Return the kernel for ``rows`` down to ``fewest`` rows: it takes the count and hands smaller ones on.

    It multiplies so many ``vectors`` of the panel, which has ``pitch``.
    """
    # Half of what the loop reads: two tiles fetch a panel, and the load ports stay below the arithmetic.
    fetch = 0 if rows == 1 else pitch * UNROLL_STREAMED // 2
    lines = pitch * UNROLL_STREAMED

    # One row at a time is a stream of small kernels, where a call each would be felt (6 % at H = 128).
    @(inlined if rows == 1 else inner)
    def exactly(count, left, stride, panel, depth, source, source_stride, target, target_stride):
        width = pitch * lanes(left)
        behind, chain = at(panel.weights, depth * width), unless_words(left, SUM_BLOCK, ENDLESS)
        for first in range(0, depth, chain):
            last = min(first + chain, depth)
            tile = tile_zero(left, rows, vectors)
            near = NEAR_ROWS > 0 and panel.near
            if near or (fetch > 0 and panel.pace > 0):
                unrolled = last - (last - first) % UNROLL_STREAMED
                for k in range(first, unrolled, UNROLL_STREAMED):
                    if near:
                        prefetch(panel.ahead, k * width, lines, 1)
                    else:
                        prefetch(panel.ahead, k * panel.pace, fetch, 2)
                    tile = tile_fma(tile, at(left, k), stride, at(panel.weights, k * width), pitch, UNROLL_STREAMED)
            else:
                unrolled = last - (last - first) % UNROLL
                for k in range(first, unrolled, UNROLL):
                    tile = tile_fma(tile, at(left, k), stride, at(panel.weights, k * width), pitch, UNROLL)
            for k in range(unrolled, last):
                tile = tile_fma(tile, at(left, k), stride, at(panel.weights, k * width), pitch, 1)
            tile_add(tile, left, stride, behind, pitch, source, source_stride, target, target_stride)
            source, source_stride = target, target_stride

    if rows == fewest:
        return exactly
    fewer = _kernel(rows - 1, fewest, vectors, pitch)

    @inlined
    def up_to(count, left, stride, panel, depth, source, source_stride, target, target_stride):
        if count == rows:
            exactly(count, left, stride, panel, depth, source, source_stride, target, target_stride)
        else:
            fewer(count, left, stride, panel, depth, source, source_stride, target, target_stride)

    return up_to


def _tail_kernel(vectors: int, most: int) -> Callable[..., Any]:
    """Return the kernel for HALF_ROWS rows or fewer of a narrow panel, at most so many at a time."""
    few = _kernel(most, 1, vectors, vectors)

    @inlined
    def up_to(count, left, stride, panel, depth, source, source_stride, target, target_stride):
        for m in range(0, count, most):
            rows = min(count - m, most)
            before, after = at(source, m * source_stride), at(target, m * target_stride)
            few(rows, at(left, m * stride), stride, panel, depth, before, source_stride, after, target_stride)

    return up_to


@functools.cache
def _pair_sums(vectors: int) -> Callable[..., Any]:
    """Return what makes the tiles of one row and two panels, of which the second has so many vectors."""

    @inlined
    def sums(left, panel, panel_2, first, last):
        width, width_2 = GATES * lanes(left), vectors * lanes(left)
        unrolled = last - (last - first) % UNROLL
        tile, tile_2 = tile_zero(left, 1, GATES), tile_zero(left, 1, vectors)
        for k in range(first, unrolled, UNROLL):
            tile = tile_fma(tile, at(left, k), 0, at(panel, k * width), GATES, UNROLL)
            tile_2 = tile_fma(tile_2, at(left, k), 0, at(panel_2, k * width_2), vectors, UNROLL)
        for k in range(unrolled, last):
            tile = tile_fma(tile, at(left, k), 0, at(panel, k * width), GATES, 1)
            tile_2 = tile_fma(tile_2, at(left, k), 0, at(panel_2, k * width_2), vectors, 1)
        return tile, tile_2

    return sums


def _pair_kernel(vectors: int) -> Callable[..., Any]:
    """Return the kernel for one row and two panels, of which the second has so many vectors."""
    sums = _pair_sums(vectors)

    @inner
    def pair(left, panel, depth, source, source_apart, target, apart):
        behind, chain = at(panel, depth * GATES * lanes(left)), unless_words(left, SUM_BLOCK, ENDLESS)
        panel_2 = at(behind, lines_behind(panel) * GATES * lanes(left))
        behind_2 = at(panel_2, depth * vectors * lanes(left))
        for first in range(0, depth, chain):
            tile, tile_2 = sums(left, panel, panel_2, first, min(first + chain, depth))
            tile_add(tile, left, 0, behind, GATES, source, 0, target, 0)
            tile_add(tile_2, left, 0, behind_2, vectors, at(source, source_apart), 0, at(target, apart), 0)
            source, source_apart = target, apart

    return pair


def _pair_of_words_kernel(vectors: int) -> Callable[..., Any]:
    """Return the kernel for one row of the input and one of h, in words, and two panels of each matrix."""
    sums = _pair_sums(vectors)

    @inner
    def pair_of_words(x, panel_x, depth_x, h, panel_h, depth_h, source, source_apart, target, apart):
        behind_x, behind_h = at(panel_x, depth_x * GATES * lanes(x)), at(panel_h, depth_h * GATES * lanes(h))
        lines = lines_behind(panel_x) * GATES * lanes(x)
        next_x, next_h = at(behind_x, lines), at(behind_h, lines)
        behind_next_x = at(next_x, depth_x * vectors * lanes(x))
        behind_next_h = at(next_h, depth_h * vectors * lanes(h))
        tile_x, tile_next_x = sums(x, panel_x, next_x, 0, depth_x)
        tile_h, tile_next_h = sums(h, panel_h, next_h, 0, depth_h)
        tile_add(tile_x, x, 0, behind_x, GATES, source, 0, target, 0)
        tile_add(tile_next_x, x, 0, behind_next_x, vectors, at(source, source_apart), 0, at(target, apart), 0)
        tile_add(tile_h, h, 0, behind_h, GATES, target, 0, target, 0)
        tile_add(tile_next_h, h, 0, behind_next_h, vectors, at(target, apart), 0, at(target, apart), 0)

    return pair_of_words


def _by_vectors(make: Callable[[int], Any]) -> Callable[..., Any]:
    """Return what calls the kernel that is made for the vectors of a panel, its first argument."""
    four, two, one = (make(vectors) for vectors in (GATES, GATES // 2, GATES // 4))

    @inlined
    def choose(vectors, *arguments):
        if vectors == GATES:
            four(*arguments)
        elif vectors == GATES // 2:
            two(*arguments)
        else:
            one(*arguments)

    return choose


_row = _by_vectors(lambda vectors: _kernel(1, 1, vectors, vectors))
_half = _kernel(HALF_ROWS, MAX_ROWS + 1, GATES // 2, GATES)
_four = _kernel(MAX_ROWS, 1, GATES, GATES)


@inlined
def _halves(count, left, stride, panel, depth, source, source_stride, target, target_stride):
    """Do the operation for more than MAX_ROWS rows and a full panel."""
    pace = panel.pace // 2
    for half in range(2):
        n = half * GATES // 2 * lanes(left)
        part = Panel(panel.vectors, at(panel.weights, n), at(panel.ahead, half * depth * pace), pace, False)
        _half(count, left, stride, part, depth, at(source, n), source_stride, at(target, n), target_stride)


def _tile_gemm(most: int) -> Callable[..., Any]:
    """Return the operation for at most HALF_ROWS rows, and of narrow panels so many at a time."""
    two, one = _tail_kernel(GATES // 2, most), _tail_kernel(GATES // 4, most)

    @inlined
    def tile(count, left, stride, panel, depth, source, source_stride, target, target_stride):
        if panel.vectors == GATES and count > MAX_ROWS:
            _halves(count, left, stride, panel, depth, source, source_stride, target, target_stride)
        elif panel.vectors == GATES:
            _four(count, left, stride, panel, depth, source, source_stride, target, target_stride)
        elif panel.vectors == GATES // 2:
            two(count, left, stride, panel, depth, source, source_stride, target, target_stride)
        else:
            one(count, left, stride, panel, depth, source, source_stride, target, target_stride)

    return tile


def _panel_gemm(tile: Callable[..., Any]) -> Callable[..., Any]:
    """Return the operation for any number of rows, tile by tile."""

    @inner
    def panel(rows, left, stride, vectors, weights, following, depth, source, source_stride, target, target_stride):
        tiles, each, larger = tiling(rows, following)
        m = 0
        for index in range(tiles):
            count = each + (1 if index < larger else 0)
            part = panel_share(vectors, weights, following, depth, tiles, index, count)
            before = at(source, m * source_stride)
            after = at(target, m * target_stride)
            tile(count, at(left, m * stride), stride, part, depth, before, source_stride, after, target_stride)
            m += count

    return panel


tile_gemm = _tile_gemm(TAIL_ROWS)
panel_gemm, wide_gemm = _panel_gemm(tile_gemm), _panel_gemm(_tile_gemm(MAX_ROWS))
"""The second takes twice as many rows of a narrow panel at a time, and as long to compile: for products whose only
panel may be narrow, while gates have it as the last of many."""


@inner
def row_gemm(vectors, left, weights, streamed, depth, source, target):
    """Do the operation for one row."""
    _row(vectors, 1, left, 0, _alone(vectors, weights, 1, streamed), depth, source, 0, target, 0)


pair_gemm = _by_vectors(_pair_kernel)
"""``pair_gemm(vectors, left, panel, depth, source, source_apart, target, apart)`` does the operation for one row, a
full panel, and the panel behind it, which has so many ``vectors``; its source and target are ``source_apart`` and
``apart`` elements from those of the first."""

_pair_of_words = _by_vectors(_pair_of_words_kernel)


@inlined
def _pair_by_pair(vectors, x, panel_x, depth_x, h, panel_h, depth_h, source, source_apart, target, apart):
    pair_gemm(vectors, x, panel_x, depth_x, source, source_apart, target, apart)
    pair_gemm(vectors, h, panel_h, depth_h, target, apart, target, apart)


def step_gemm(vectors, x, panel_x, depth_x, h, panel_h, depth_h, source, source_apart, target, apart):
    """Do what ``pair_gemm`` does for a row of the input, and then for one of h.

    Integers of both come first, and then what makes floats of them: while that is done no weights arrive.  3 % less
    time for a step of 3 x 256 units.
    """


@chosen_by_types(step_gemm)
def _choose_step_gemm(vectors, x, panel_x, depth_x, h, panel_h, depth_h, source, source_apart, target, apart):
    chosen = _pair_of_words if panel_x.dtype == WORDS else _pair_by_pair
    return lambda vectors, x, panel_x, depth_x, h, panel_h, depth_h, source, source_apart, target, apart: chosen(
        vectors, x, panel_x, depth_x, h, panel_h, depth_h, source, source_apart, target, apart
    )
