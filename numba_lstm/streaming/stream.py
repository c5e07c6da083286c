"""Streams: a network that is fed step by step, with its states kept in place."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..contract.architecture import Architecture
from ..contract.checks.arrays import check_addressable
from ..contract.checks.calls import batch_states
from ..execution.network import Network
from ..host.threads import Setting
from ..kernels.frame import PLACES
from ..kernels.launch import REFUSED
from . import checks as stream_checks
from .exclusive import Exclusive
from .state_pool import Pool

_empty = np.empty


KEPT_SHAPES = 16
"""Shapes of input that a stream keeps ready."""


class _Ready(NamedTuple):
    """What steps of all rows of one shape of input need."""

    entry: Any
    numbers: np.ndarray
    output: tuple[int, ...]
    """The shape of the output."""
    threads: int
    """The setting that it was planned for."""
    work: np.ndarray
    """The numbers have its address, so it lives as long.  Weights live with the network."""


class Stream(Exclusive):
    """Sequences that arrive step by step: `LSTM.stream` makes it.

    Notes
    -----
    A stream keeps the weights that the module had when it was made.  One thread may use it at a time.

    Ctrl-C during a step leaves the states before it or after it, and the output is lost: set `state` or `reset`.  Of a
    long chunk no step has been taken then.
    """

    def __init__(
        self, network: Network, architecture: Architecture, dtype: np.dtype[Any], batch_size: int, batch_first: bool
    ) -> None:
        super().__init__()
        self._architecture = architecture
        self._dtype, self._batch_size, self._batch_first = dtype, batch_size, batch_first
        self._pool = Pool(network, architecture, dtype, batch_size)
        self._ready: dict[tuple[int, ...], _Ready] = {}
        self._keep((batch_size, architecture.input_size), 1)

    @property
    def batch_size(self) -> int:
        """How many sequences there are: N."""
        return self._batch_size

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of inputs, outputs and states."""
        return self._dtype

    def step(self, x: np.ndarray, out: np.ndarray | None = None, *, rows: Any = None) -> np.ndarray:
        """Advance by one step or several.

        Parameters
        ----------
        x : (N, H_in) array, or (L, N, H_in), (N, L, H_in) with ``batch_first``, for L steps
            The next input of every sequence, or of those that ``rows`` names.
        out : array, optional
            Where the output goes; nothing is allocated then.
        rows : sequence of different integers from 0 to batch_size - 1, optional
            The sequences that advance, in the order of x.  The others are left as they are.

        Returns
        -------
        (N, H_out) array, or (L, N, H_out), (N, L, H_out)
            h of the last layer; ``out`` if it was given, else a fresh array.

        Raises
        ------
        RuntimeError
            If a size does not fit, or another thread is using this stream.
        ValueError
            If a dtype is another, or rows are repeated or out of range.
        TypeError
            If something is no array.

        Examples
        --------
        >>> import numpy as np
        >>> from numba_lstm import LSTM
        >>> lstm = LSTM(3, 5, seed=0)
        >>> x = np.ones((7, 2, 3), np.float32)
        >>> stream = lstm.stream(batch_size=2)
        >>> steps = [stream.step(x[t]) for t in range(7)]
        >>> bool((np.stack(steps) == lstm(x)[0]).all())
        True
        >>> stream.step(x[0, :1], rows=[1]).shape
        (1, 5)
        """
        lock, dtype, (entry, numbers, shape, threads, _) = self._known
        if lock.locked():
            lock = self._free_lock()
        with lock:
            # A step as the last one: the entry looks at the arrays itself.  Weights that stream through L2 leave little
            # of Python there, so that each of its functions that was called here would take twice as long as alone.
            if rows is None and threads == Setting.count:
                result = _empty(shape, dtype) if out is None else out
                if entry(numbers, x, result) != REFUSED:
                    return result
            return self._any_step(x, out, rows)

    def _keep(self, shape: tuple[int, ...], steps: int) -> None:
        """Have steps of all rows, of arrays of a shape whose steps follow each other, take the short way."""
        launch, a = self._pool.launch(steps, self._batch_size), self._architecture
        if any(ready.work is not launch.work for ready in self._ready.values()) or len(self._ready) >= KEPT_SHAPES:
            self._ready.clear()
        numbers = launch.numbers.copy()
        numbers[PLACES.axes], numbers[PLACES.axis_0], numbers[PLACES.axis_1] = len(shape), *shape[:2]
        ready = _Ready(launch.entry, numbers, (*shape[:-1], a.output_size), launch.threads, launch.work)
        self._ready[shape] = ready
        self._known = self._lock, self._dtype, ready

    def _any_step(self, x: Any, out: np.ndarray | None, rows: Any) -> np.ndarray:
        """Do a step that may be anything."""
        a, dtype = self._architecture, self._dtype
        ready = self._ready.get(x.shape) if rows is None and type(x) is np.ndarray else None
        if ready is not None and ready.threads == Setting.count:
            self._known = self._lock, dtype, ready
            result = np.empty(ready.output, dtype) if out is None else out
            if ready.entry(ready.numbers, x, result) != REFUSED:
                return result
        chosen = None if rows is None else stream_checks.rows(rows, self._batch_size)
        count = self._batch_size if chosen is None else len(chosen)
        x = stream_checks.input_array(a, dtype, self._batch_first, x, count, (2, 3))
        shape = (*x.shape[:-1], a.output_size)
        if out is None:
            check_addressable(shape, dtype)
            plain = out = np.empty(shape, dtype)
        else:
            plain = stream_checks.output_array(out, shape, dtype)
            if np.may_share_memory(x, plain):
                x = x.copy()
        source, target = x, plain
        if x.ndim == 2:
            source, target = x[None], plain[None]
        elif self._batch_first:
            source, target = x.transpose(1, 0, 2), plain.transpose(1, 0, 2)
        if count:
            self._pool.advance(source, target, chosen)
        in_order = x.flags.c_contiguous and (x.ndim == 2 or not self._batch_first or self._batch_size == 1)
        if chosen is None and in_order and self._pool.is_one_launch(len(source), count):
            self._keep(x.shape, len(source))
        return out

    @property
    def state(self) -> tuple[np.ndarray, np.ndarray]:
        """``(h, c)``, copies of the states: (num_layers, N, H_out) and (num_layers, N, H_cell).

        Assign such a pair to go on from there.

        Examples
        --------
        >>> import numpy as np
        >>> from numba_lstm import LSTM
        >>> lstm = LSTM(3, 5, seed=0)
        >>> output, hx = lstm(np.ones((7, 1, 3), np.float32))
        >>> stream = lstm.stream()
        >>> stream.state = hx
        >>> bool((stream.state[1] == hx[1]).all())
        True
        """
        return self.get_state()

    @state.setter
    def state(self, hx: tuple[np.ndarray, np.ndarray]) -> None:
        self.set_state(hx)

    def get_state(self, rows: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """Return the states of some sequences.

        Parameters
        ----------
        rows : sequence of n different integers, optional
            Which ones, in this order; all by default, as `state` gives them.

        Returns
        -------
        h, c : (num_layers, n, H_out) and (num_layers, n, H_cell) arrays
            Copies.

        Raises
        ------
        RuntimeError
            If another thread uses the stream.
        ValueError, TypeError
            If ``rows`` are not different integers below the batch size.

        Examples
        --------
        >>> from numba_lstm import LSTM
        >>> pool = LSTM(3, 5).eval().stream(batch_size=1000)
        >>> h, c = pool.get_state([17, 4])
        >>> h.shape
        (1, 2, 5)
        >>> pool.set_state((h, c), rows=[902, 903])
        """
        chosen = self._chosen(rows)
        with self._free_lock():
            return self._pool.h[:, chosen].copy(), self._pool.c[:, chosen].copy()

    def set_state(self, hx: tuple[np.ndarray, np.ndarray], rows: Any = None) -> None:
        """Have some sequences go on from other states.

        Parameters
        ----------
        hx : pair of arrays
            (h, c), as `get_state` gives them.
        rows : sequence of n different integers, optional
            The sequences, in the order of the states; all by default.

        Raises
        ------
        RuntimeError
            If a size does not fit, or another thread uses the stream.
        ValueError, TypeError
            If ``rows`` are not different integers below the batch size, or ``hx`` is no pair of arrays of this dtype.
        """
        chosen = self._chosen(rows)
        h, c = batch_states(self._architecture, self._dtype, hx, self._batch_size if rows is None else len(chosen))
        with self._free_lock():
            self._pool.h[:, chosen], self._pool.c[:, chosen] = h, c

    def _chosen(self, rows: Any) -> Any:
        """Return what picks rows of the states."""
        return slice(None) if rows is None else stream_checks.rows(rows, self._batch_size)

    def reset(self, rows: Any = None) -> None:
        """Set states to zero: a new sequence begins.

        Parameters
        ----------
        rows : sequence of different integers, optional
            The sequences that end; all by default.

        Raises
        ------
        RuntimeError
            If another thread uses the stream.
        ValueError, TypeError
            If ``rows`` are not different integers below the batch size.
        """
        chosen = self._chosen(rows)
        with self._free_lock():
            self._pool.h[:, chosen] = 0
            self._pool.c[:, chosen] = 0

    def __repr__(self) -> str:
        a = self._architecture
        return f"Stream({a.input_size}, {a.hidden_size}, num_layers={a.num_layers}, batch_size={self._batch_size})"
