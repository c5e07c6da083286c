"""Streams: a network that is fed step by step, with its states kept in place."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from . import checks, stream_checks
from .network import Network
from .parameters import Architecture
from .pool import Pool
from .stream_checks import overlap, writable
from .turn import Turn

_empty = np.empty
_ndarray = np.ndarray


KEPT_SHAPES = 16
"""Shapes of input that a stream keeps ready."""


class _Small(NamedTuple):
    """A launch that takes three arrays, for one shape of input."""

    entry: Any
    frame: np.ndarray
    work: np.ndarray
    """The frame has its address."""
    output: tuple[int, ...]
    flat: tuple[int, int] | None
    flat_output: tuple[int, int] | None
    """Shapes of input and output for the entry, if they are others."""


class Stream:
    """Sequences that arrive step by step: `LSTM.stream` makes it.

    Attributes
    ----------
    batch_size : int
        How many sequences there are: N.
    dtype : float32 or float64
        Of inputs, outputs and states.

    Notes
    -----
    A stream keeps the weights that the module had when it was made.  One thread may use it at a time.
    """

    def __init__(
        self, network: Network, architecture: Architecture, dtype: np.dtype[Any], batch_size: int, batch_first: bool
    ) -> None:
        self._turn = Turn("Stream")
        self._acquire, self._release = self._turn.acquire, self._turn.release
        self._architecture = architecture
        self.dtype, self.batch_size, self.batch_first = dtype, batch_size, batch_first
        self._pool = Pool(network, architecture, dtype, batch_size)
        self._small: dict[tuple[int, ...], _Small] = {}
        self._keep((batch_size, architecture.input_size), 1)

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
        if not self._acquire(False):
            raise self._turn.taken()
        try:
            # A small step of all rows, arrays as kernels take them: everything else may take its time.
            if rows is None and type(x) is _ndarray and x.dtype is self.dtype:
                small, flags = self._small.get(x.shape), x.flags
                if small and flags.c_contiguous and flags.aligned:
                    entry, frame, _, shape, flat, flat_out = small
                    if out is None:
                        out = _empty(shape, self.dtype)
                    elif not writable(out, shape, self.dtype) or overlap(x, out):
                        return self._any_step(x, out, rows)
                    if flat is None:
                        entry(frame, x, out)
                    else:
                        entry(frame, x.reshape(flat), out.reshape(flat_out))
                    return out
            return self._any_step(x, out, rows)
        finally:
            self._release()

    def _keep(self, shape: tuple[int, ...], steps: int) -> None:
        """Have small steps of all rows, of arrays of a shape whose steps follow each other, take the short way."""
        launch, a, rows = self._pool.launch(steps, self.batch_size), self._architecture, steps * self.batch_size
        if launch.lean and len(self._small) < KEPT_SHAPES:
            flat = (rows, a.input_size), (rows, a.output_size)
            output = (*shape[:-1], a.output_size)
            self._small[shape] = _Small(*launch[:3], output, *(flat if len(shape) == 3 else (None, None)))

    def _any_step(self, x: Any, out: np.ndarray | None, rows: Any) -> np.ndarray:
        """Do a step that may be anything."""
        a, dtype = self._architecture, self.dtype
        chosen = None if rows is None else stream_checks.rows(rows, self.batch_size)
        count = self.batch_size if chosen is None else len(chosen)
        x = stream_checks.input_array(a, dtype, self.batch_first, x, count, (2, 3))
        shape = (*x.shape[:-1], a.output_size)
        if out is None:
            out = np.empty(shape, dtype)
        else:
            stream_checks.output_array(out, shape, dtype)
            if overlap(x, out):
                x = x.copy()
        source, target = x, out
        if x.ndim == 3 and chosen is None and (self.batch_size == 1 or not self.batch_first):
            self._keep(x.shape, x.size // (self.batch_size * a.input_size))
        if x.ndim == 2:
            source, target = x[None], out[None]
        elif self.batch_first:
            source, target = x.transpose(1, 0, 2), out.transpose(1, 0, 2)
        if count:
            self._pool.advance(source, target, chosen)
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
        with self._turn:
            return self._pool.h.copy(), self._pool.c.copy()

    @state.setter
    def state(self, hx: tuple[np.ndarray, np.ndarray]) -> None:
        h, c = checks.batch_states(self._architecture, self.dtype, hx, self.batch_size)
        with self._turn:
            self._pool.h[...], self._pool.c[...] = h, c

    def reset(self, rows: Any = None) -> None:
        """Set states to zero: a new sequence begins.

        Parameters
        ----------
        rows : sequence of different integers, optional
            The sequences that end; all by default.
        """
        chosen = slice(None) if rows is None else stream_checks.rows(rows, self.batch_size)
        with self._turn:
            self._pool.h[:, chosen] = 0
            self._pool.c[:, chosen] = 0

    def __repr__(self) -> str:
        a = self._architecture
        return f"Stream({a.input_size}, {a.hidden_size}, num_layers={a.num_layers}, batch_size={self.batch_size})"
