"""One thread's share of a launch: it joins a crew or takes a slice of the batch, and goes through its blocks of rows.

``entries`` compiles it once for each dtype, form of weights and kind of cell that is needed.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..simd.atomics import words
from ..simd.float_mode import flush_denormals, restore_mode
from ..simd.jit import inlined
from ..simd.vectors import at
from ..simd.weights.forms import AS_PANELS
from .crew import alone, direction_crew, expect, sign_in, sign_out
from .frame import as_frame
from .rows import Block, View
from .time_loop import FORWARD, Call, run_network


@inlined
def _share(numbers, weights, work, h, c, x, x_time, x_row, output, output_time, output_row, index, kind, panels):
    """Do one thread's share of a launch, with cells of a kind, and panels of the form that a pointer's type tells.

    Parameters
    ----------
    numbers : pointer to int64
        What the launch does: those of a `Frame`, and what follows them.
    weights, work : pointer
        Panels and scratch memory.  ``work`` carries the states from one call to the next stretch of steps.
    h, c : pointer
        States (layers * directions, pool, H_out), (.., H), which are updated; written only where the first are zero.
    x, output : pointer
        Input and output: the first step's first row.
    x_time, x_row, output_time, output_row : int
        Distances of two steps and of two rows, in elements; of no meaning for steps of a packed batch.
    index : int
        The share: a slice of the batch, or -1 for a place in the crew.
    """
    frame = as_frame(numbers)
    shared = words(at(work, frame.crew_words))
    crew = sign_in(shared, frame.crew, frame.patience) if index < 0 else alone(shared)
    if crew.size == 0:
        sign_out(shared, crew)
        return
    members = direction_crew(crew, FORWARD) if frame.apart != 0 and crew.size % 2 == 0 else crew
    expect(members, frame.panels)
    expect(members, frame.proj_panels)
    mode = flush_denormals()
    call = Call(frame, weights, panels, h, c, kind)
    packed = frame.offsets != 0
    src, dst = View(x, x_time, x_row, packed), View(output, output_time, output_row, packed)
    place = max(index, 0)
    first, last = place * frame.batch // frame.slices, (place + 1) * frame.batch // frame.slices
    here = at(work, place * frame.slice_size)
    between = at(work if frame.between_packed != 0 else here, frame.between)
    for b in range(first, last, frame.rows):
        crew = run_network(call, Block(b, min(last - b, frame.rows), here, between), crew, src, dst)
        if crew.size == 0:
            break
    restore_mode(mode)
    if index < 0:
        sign_out(shared, crew)


@inlined
def _as_they_are(weights):
    """Return the pointer to panels of numbers as they are computed with."""
    return weights


_KINDS = {"plain": None, "general": np.int64(1), "kept": np.uint64(1)}
"""What stands for each kind of cell, see ``postgemm.Rule``."""


def share_of(form: str | None, cells: str) -> Callable[..., Any]:
    """Return what does one thread's share, to be compiled, for cells of torch, those with a rule, or that are kept."""
    panels = AS_PANELS[form] if form else _as_they_are
    kind = _KINDS[cells]

    def run_share(numbers, weights, work, h, c, x, x_time, x_row, output, output_time, output_row, index):
        here = panels(weights)
        _share(numbers, weights, work, h, c, x, x_time, x_row, output, output_time, output_row, index, kind, here)

    # Machine code is kept under the name, and its symbols have it.
    parts = ["run_share", *([cells] if cells != "plain" else []), *([form] if form else [])]
    run_share.__name__ = run_share.__qualname__ = "_".join(parts)
    return run_share
