"""From sizes to tiles, threads and workspace; the call of a whole network."""
from __future__ import annotations

import functools
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numba import config, from_dtype, int64, types

from . import layer
from ._target import l2_bytes
from .blocksizes import GATES, block_sizes
from .memory import CACHE_LINE, aligned_empty, round_up
from .packing import CELL, pack
from .parameters import Architecture

_log = logging.getLogger("numba_lstm")

GATE_BUFFER_SHARE = 4
"""The buffer of gate sums may take 1 / 4 of L2, beside the recurrent weights and the states."""

MIN_INPUT_ROWS = 48
"""Rows that the input part should have, so that a panel of weights read from L3 is used by eight tiles."""

PARALLEL_FLOP = 1e6
"""Work below this stays on one thread: it is done in about the time that a launch takes to pay for itself."""

LAUNCH_FLOP = 2e9
"""Work of one launch, some tens of milliseconds; signals such as Ctrl-C get in between two launches."""

PAGE = 4096
"""Rows of the state that lie a multiple of a page apart would share the sets of L1."""

KEPT_PLANS = 256
"""Plans that a network keeps; sequence lengths vary without end in a process that lives long."""

KEPT_WORKSPACE_BYTES = 64 << 20
"""Scratch memory that a network keeps between calls."""


class _Threads:
    """How many threads a call may use."""

    count = 0


def get_num_threads() -> int:
    """Return how many threads a call may use.

    Returns
    -------
    int
        The number that was set; otherwise ``NUMBA_NUM_THREADS``, at most the CPUs that this process may run on.

    Examples
    --------
    >>> import numba_lstm
    >>> numba_lstm.get_num_threads() >= 1
    True
    """
    return _Threads.count or _default_threads()


@functools.cache
def _default_threads() -> int:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(int(config.NUMBA_NUM_THREADS), usable))


def set_num_threads(n: int) -> None:
    """Set how many threads a call may use.  Results do not depend on it, bit for bit.

    Parameters
    ----------
    n : int
        At least 1, at most ``NUMBA_NUM_THREADS``, which defaults to the number of CPUs.

    Raises
    ------
    TypeError, ValueError
        If n is not an integer in this range.

    Examples
    --------
    >>> import numba_lstm
    >>> numba_lstm.set_num_threads(1)
    >>> numba_lstm.get_num_threads()
    1
    """
    if isinstance(n, bool) or not isinstance(n, int | np.integer):
        raise TypeError(f"n should be of type int, got: {type(n).__name__}")
    if not 1 <= n <= config.NUMBA_NUM_THREADS:
        raise ValueError(f"n must be between 1 and NUMBA_NUM_THREADS = {config.NUMBA_NUM_THREADS}, got {n}")
    _Threads.count = int(n)


# --- compilation ------------------------------------------------------------------------------------------------------

_compile_lock = threading.Lock()
_ready: dict[tuple[bool, Any], Any] = {}


def _signature(dtype: np.dtype[Any]) -> Any:
    scalar = from_dtype(dtype)
    source = types.Array(scalar, 3, "A", readonly=True)
    target = types.Array(scalar, 3, "A")
    state = types.Array(scalar, 3, "C", readonly=True)
    flat = types.Array(scalar, 1, "C")
    return types.void(
        types.Array(from_dtype(layer.FRAME), 1, "C"),
        types.Array(from_dtype(CELL), 1, "C"),
        types.Array(int64, 1, "C", readonly=True),
        flat,
        flat,
        source,
        types.Array(scalar, 4, "C"),
        target,
        state,
        state,
        types.Array(scalar, 3, "C"),
        types.Array(scalar, 3, "C"),
        types.Array(int64, 1, "C"),
    )


def _kernel(parallel: bool, dtype: np.dtype[Any]) -> Any:
    """Return the entry, compiled for a dtype; later calls with other kinds of arrays compile nothing."""
    key = parallel, dtype
    if key not in _ready:
        with _compile_lock:
            if key not in _ready:
                entry = layer.run_parallel if parallel else layer.run_serial
                start = time.perf_counter()
                _log.info("preparing the %s %s kernel", "parallel" if parallel else "serial", dtype)
                # The dispatcher converts arguments to a signature it has only where it may not compile another.
                entry.disable_compile(False)
                entry.compile(_signature(dtype))
                entry.disable_compile()
                _log.info("ready after %.1f s", time.perf_counter() - start)
                _ready[key] = entry
    return _ready[key]


def warmup(dtype: Any = np.float32, projection: bool = False) -> None:
    """Compile, or load from the cache, every kernel that calls of this dtype can need.

    Parameters
    ----------
    dtype : float32 or float64
        The dtype of the modules to come.
    projection : bool
        Has no effect at present: kernels serve modules with and without ``proj_size``.

    Examples
    --------
    >>> import numba_lstm
    >>> numba_lstm.warmup()
    """
    kind = np.dtype(dtype)
    _kernel(False, kind)
    if get_num_threads() > 1:
        _kernel(True, kind)


# --- plan -------------------------------------------------------------------------------------------------------------


class _Plan(NamedTuple):
    """What a call of some steps and rows needs to know."""

    frames: np.ndarray
    span: np.ndarray
    """All layers and steps, for a call that is one launch."""
    entry: Any
    steps: int
    work_size: int
    hidden: tuple[int, int, int]
    cell: tuple[int, int, int]
    between: tuple[int, int, int, int]
    """Shapes of h_n, c_n and of what lies between the layers."""
    steps_per_launch: int
    one_launch: bool


class Network:
    """The packed weights of a stack of LSTM layers; immutable, usable from many threads.

    Parameters
    ----------
    architecture : Architecture
        Sizes.
    parameters : mapping
        Arrays by torch's names.
    dtype : float32 or float64
        Of parameters, inputs and outputs.
    """

    def __init__(self, architecture: Architecture, parameters: Mapping[str, np.ndarray], dtype: np.dtype[Any]) -> None:
        self._architecture = architecture
        self._dtype = np.dtype(dtype)
        self._width = architecture.num_directions * architecture.output_size
        self._data, self._cells, self._finite = pack(architecture, parameters, self._dtype)
        self._plans: dict[tuple[int, int, int], _Plan] = {}
        self._free: list[np.ndarray] = []
        self._no_state = np.empty((0, 0, 0), self._dtype)
        self._no_offsets = np.empty(0, np.int64)
        self._no_work = np.empty(0, self._dtype)
        self._nothing = np.empty((0, 0, 0, 0), self._dtype)

    def __call__(
        self,
        x: np.ndarray,
        h_0: np.ndarray | None,
        c_0: np.ndarray | None,
        *,
        batch_first: bool,
        dropout: Callable[[np.ndarray], None] | None = None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Run a batch.

        Parameters
        ----------
        x : (T, B, I) or, with ``batch_first``, (B, T, I) array
            Unit stride in the last axis, T >= 1.
        h_0, c_0 : C-order arrays (layers * directions, B, H_out) and (.., H), or None for zeros
            Initial states.
        batch_first : bool
            The layout of x and of the output.
        dropout : callable, optional
            Called between layers with a layer's whole output (T, B, D * H_out), to be changed in place.

        Returns
        -------
        output, h_n, c_n : ndarray
        """
        dtype = self._dtype
        if batch_first:
            rows, steps, _ = x.shape
            output = np.empty((rows, steps, self._width), dtype)
            x, target = x.transpose(1, 0, 2), output.transpose(1, 0, 2)
        else:
            steps, rows, _ = x.shape
            output = target = np.empty((steps, rows, self._width), dtype)
        key = steps, rows, _Threads.count
        plan = self._plans.get(key)
        if plan is None:
            if len(self._plans) >= KEPT_PLANS:
                self._plans.clear()
            plan = self._plans[key] = self._plan(steps, rows)
        h_n, c_n = self._run(plan, self._no_offsets, x, target, h_0, c_0, dropout)
        return output, h_n, c_n

    def packed(
        self,
        data: np.ndarray,
        batch_sizes: np.ndarray,
        h_0: np.ndarray | None,
        c_0: np.ndarray | None,
        *,
        dropout: Callable[[np.ndarray], None] | None = None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Run sequences of different lengths, longest first.

        Parameters
        ----------
        data : C-order array (sum of batch_sizes, I)
            Step by step the rows that take part, as in ``torch.nn.utils.rnn.PackedSequence``.
        batch_sizes : (T,) int64 array
            Rows of each step, never increasing, the last at least 1.
        h_0, c_0, dropout
            As in a call; the rows in the order of ``data``.

        Returns
        -------
        output : ndarray (sum of batch_sizes, D * H_out)
        h_n, c_n : ndarray
            The state at each sequence's own end.
        """
        offsets = np.zeros(len(batch_sizes) + 1, np.int64)
        np.cumsum(batch_sizes, out=offsets[1:])
        output = np.empty((len(data), self._width), self._dtype)
        plan = self._plan(len(batch_sizes), int(batch_sizes[0]), len(data))
        h_n, c_n = self._run(plan, offsets, data[None], output[None], h_0, c_0, dropout)
        return output, h_n, c_n

    def _run(
        self,
        plan: _Plan,
        offsets: np.ndarray,
        x: np.ndarray,
        output: np.ndarray,
        h_0: np.ndarray | None,
        c_0: np.ndarray | None,
        dropout: Callable[[np.ndarray], None] | None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Fill ``output`` (T, B, D * H_out), or (1, rows, D * H_out) where ``offsets`` are given; return h_n, c_n."""
        dtype = self._dtype
        h_n = np.empty(plan.hidden, dtype)
        c_n = np.empty(plan.cell, dtype)
        if not h_n.size:
            return h_n, c_n
        if h_0 is None or c_0 is None:
            h_0 = c_0 = self._no_state
        # Scratch memory goes from call to call; concurrent calls each take their own.
        try:
            work = self._free.pop()
        except IndexError:
            work = self._no_work
        if work.size < plan.work_size:
            work = aligned_empty(plan.work_size, dtype)
        if plan.one_launch and dropout is None:
            between = np.empty(plan.between, dtype) if plan.between[0] else self._nothing
            plan.entry(
                plan.frames, self._cells, offsets, self._data, work, x, between, output, h_0, c_0, h_n, c_n, plan.span
            )
        else:

            def launch(source: np.ndarray, between: np.ndarray, target: np.ndarray, first: int, last: int) -> None:
                for s in range(0, plan.steps, plan.steps_per_launch):
                    span = np.array((first, last, s, min(s + plan.steps_per_launch, plan.steps)))
                    plan.entry(
                        plan.frames, self._cells, offsets, self._data, work, source, between, target,
                        h_0, c_0, h_n, c_n, span,
                    )  # fmt: skip

            self._launches(plan, launch, x, output, dropout)
        if work.nbytes * (len(self._free) + 1) <= KEPT_WORKSPACE_BYTES:
            self._free.append(work)
        return h_n, c_n

    def _launches(
        self,
        plan: _Plan,
        launch: Callable[[np.ndarray, np.ndarray, np.ndarray, int, int], None],
        x: np.ndarray,
        output: np.ndarray,
        dropout: Callable[[np.ndarray], None] | None,
    ) -> None:
        """Run a call as a sequence of launches, layer by layer where a layer must be complete before the next."""
        layers = self._architecture.num_layers
        if dropout is None and not self._architecture.bidirectional:
            launch(x, np.empty(plan.between, self._dtype), output, 0, layers)
            return
        for index in range(layers - 1):
            inner = np.empty(output.shape, self._dtype)
            launch(x, self._nothing, inner, index, index + 1)
            if dropout is not None:
                dropout(inner)
            x = inner
        launch(x, self._nothing, output, layers - 1, layers)

    def _plan(self, steps: int, rows: int, packed_rows: int = 0) -> _Plan:
        """Return the plan for ``steps`` steps of ``rows`` rows, or of fewer, packed, ``packed_rows`` together."""
        a = self._architecture
        lanes = block_sizes().lanes(self._dtype)
        line = CACHE_LINE // self._dtype.itemsize
        directions, cells = a.num_directions, a.num_layers * a.num_directions
        panels = -(-a.hidden_size // lanes)
        proj_panels = -(-a.proj_size // (GATES * lanes))
        flop_per_step = sum(
            2 * rows * directions * 4 * a.hidden_size * (a.layer_input_size(i) + a.output_size) for i in range(a.num_layers)
        )
        slices = max(1, min(get_num_threads(), rows)) if flop_per_step * steps >= PARALLEL_FLOP else 1
        slice_rows = max(1, -(-rows // slices))
        row_bytes = panels * GATES * lanes * self._dtype.itemsize
        buffer_rows = max(MIN_INPUT_ROWS, l2_bytes() // GATE_BUFFER_SHARE // row_bytes)
        chunk = max(1, buffer_rows // slice_rows)
        hidden_stride = round_up(a.output_size, GATES * lanes if proj_panels else lanes)
        if hidden_stride * self._dtype.itemsize % PAGE == 0:
            hidden_stride += line

        frames = np.zeros(1, layer.FRAME)
        frame = frames[0]
        size = 0
        for name, count in (
            ("hidden", cells * 2 * slice_rows * hidden_stride),
            ("cell", cells * panels * slice_rows * lanes),
            ("unprojected", slice_rows * panels * lanes if proj_panels else 0),
            ("gates", (panels * chunk if chunk > 1 else 1) * slice_rows * GATES * lanes),
        ):
            frame[name] = size
            size = round_up(size + count, line)
        frame["layers"], frame["directions"] = a.num_layers, directions
        frame["hidden_size"], frame["output_size"] = a.hidden_size, a.output_size
        frame["panels"], frame["proj_panels"] = panels, proj_panels
        frame["batch"], frame["steps"], frame["chunk"] = rows, steps, chunk
        frame["slices"], frame["rows"], frame["slice_size"] = slices, slice_rows, size
        frame["hidden_stride"], frame["finite"] = hidden_stride, self._finite
        # With one direction a chunk goes through all layers at once; with two, a layer must be complete.
        kept = (chunk * rows if directions == 1 else packed_rows) if packed_rows else rows
        kept_steps = 1 if packed_rows else steps if directions == 2 else min(chunk, steps)
        buffers = min(a.num_layers - 1, 2)
        steps_per_launch = max(1, int(LAUNCH_FLOP / max(flop_per_step, 1)))
        return _Plan(
            frames=frames,
            span=np.array((0, a.num_layers, 0, steps)),
            entry=_kernel(slices > 1, self._dtype),
            steps=steps,
            work_size=size * slices,
            hidden=(cells, rows, a.output_size),
            cell=(cells, rows, a.hidden_size),
            between=(buffers, kept_steps, kept, self._width) if buffers else (0, 0, 0, 0),
            steps_per_launch=steps_per_launch,
            one_launch=steps <= steps_per_launch,
        )
