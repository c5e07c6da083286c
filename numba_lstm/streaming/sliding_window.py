"""Sliding windows: the output for the last inputs, with every new one, of which one step is left to do then."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..contract.architecture import Architecture
from ..execution.network import Network
from ..host.threads import Setting
from ..kernels.launch import REFUSED
from . import checks as stream_checks
from .checks import readable, writable
from .exclusive import Exclusive
from .state_pool import Pool


class SlidingWindow(Exclusive):
    """The windows of ``length`` steps that a new input belongs to: `LSTM.sliding_window` makes it.

    Notes
    -----
    A window begins with every input.  ``length`` of them are in flight, each with a state of its own.  `push` takes the
    window that ends now through its last step and returns; `advance` takes the others on, those of each sequence as
    one batch that shares the first layer's input part.

    It keeps the weights that the module had when it was made.  One thread may use it at a time.

    If Ctrl-C, or an error such as MemoryError, comes in the middle of `push` or `advance`, the next use forgets all
    inputs: better than windows of which nobody knows how far they came.  Ctrl-C may also come just before or after a
    call, where it changes nothing, and the caller cannot tell: call `reset` after any Ctrl-C.
    """

    # Row n * length + slot of the pool is the state of sequence n in the window that began at some push = slot modulo
    # length.  The window that ends with push t has slot (t + 1) % length, and leaves it to the one that begins next.

    def __init__(
        self, network: Network, architecture: Architecture, dtype: np.dtype[Any], length: int, batch_size: int
    ) -> None:
        super().__init__()
        self._architecture = architecture
        self._dtype, self._length, self._batch_size = dtype, length, batch_size
        self._shape = batch_size, architecture.input_size
        self._out_shape = batch_size, architecture.output_size
        self._pool = Pool(network, architecture, dtype, batch_size * length)
        self._last = self._pool.launch(1, batch_size, chosen=True)
        self._ring = np.tile(np.arange(length), 2)
        self._first_rows = np.arange(batch_size) * length
        self._x = np.empty(self._shape, dtype)
        self._unused = np.empty((1, max(length - 1, 1), architecture.output_size), dtype)
        self._pushed = 0
        self._pending = False
        self._is_in_doubt = False
        """Whether the last use ended in the middle of its work: the next one forgets all inputs first."""

    @property
    def length(self) -> int:
        """Steps of a window."""
        return self._length

    @property
    def batch_size(self) -> int:
        """How many sequences there are: N."""
        return self._batch_size

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of inputs and outputs."""
        return self._dtype

    def push(self, x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray | None:
        """Take the next input; return the output for the window that ends with it.

        Parameters
        ----------
        x : (N, H_in) array
            The next input of every sequence.  It is copied.
        out : (N, H_out) array, optional
            Where the output goes.

        Returns
        -------
        (N, H_out) array, or None
            h of the last layer at the window's last step: ``out`` if it was given, else a fresh array.  None as long as
            there were fewer than ``length`` inputs; ``out`` is left alone then.

        Raises
        ------
        RuntimeError
            If a size does not fit, or another thread is using this window.
        ValueError, TypeError
            If x or ``out`` is no array of this dtype.

        Examples
        --------
        >>> import numpy as np
        >>> from numba_lstm import LSTM
        >>> window = LSTM(3, 5).eval().sliding_window(2)
        >>> tick = np.ones((1, 3), np.float32)
        >>> window.push(tick) is None
        True
        >>> window.push(tick).shape
        (1, 5)
        """
        begun = False
        # Ctrl-C is noticed when a function has returned, also that which gives the lock back.  So it is caught outside
        # of it, by what calls none.
        try:
            with self._free_lock():
                if not readable(x, self._shape, self._dtype):
                    x = stream_checks.input_array(self._architecture, self._dtype, False, x, self._batch_size, (2,))
                target = out
                if out is not None and not writable(out, self._out_shape, self._dtype):
                    target = stream_checks.output_array(out, self._out_shape, self._dtype)
                begun = True
                self._catch_up()
                y = self._take(x, target)
        except Exception:
            if begun:  # else it may be another thread that is at work
                self._is_in_doubt = True
            raise
        except BaseException:
            self._is_in_doubt = True
            raise
        return y if y is None or out is None else out

    def advance(self) -> None:
        """Take the windows in flight through the step of the last input, if that has not been done.

        The next `push` would do it first, and answer so much later.

        Raises
        ------
        RuntimeError
            If another thread uses the window.
        """
        begun = False
        try:
            with self._free_lock():
                begun = True
                self._catch_up()
        except Exception:
            if begun:  # else it may be another thread that is at work
                self._is_in_doubt = True
            raise
        except BaseException:
            self._is_in_doubt = True
            raise

    def reset(self) -> None:
        """Forget all inputs.

        Raises
        ------
        RuntimeError
            If another thread uses the window.
        """
        with self._free_lock():
            self._is_in_doubt = True  # as long as not all is forgotten
            self._forget()

    def _forget(self) -> None:
        self._pool.h[...] = 0
        self._pool.c[...] = 0
        self._pushed, self._pending = 0, False
        self._is_in_doubt = False

    def _catch_up(self) -> None:
        """Have the windows in flight come as far as the last input."""
        if self._is_in_doubt:
            self._forget()
        if self._pending:
            self._advance()

    def _take(self, x: np.ndarray, out: np.ndarray | None) -> np.ndarray | None:
        """Take an input, and the window that ends with it through its last step."""
        self._x[...] = x
        self._pushed += 1
        self._pending = True
        if self._pushed < self._length:
            return None
        if out is None:
            out = np.empty(self._out_shape, self._dtype)
        rows = self._first_rows + self._ending
        if self._last.threads != Setting.count:
            self._last = self._pool.launch(1, self._batch_size, chosen=True)
        entry, numbers, *_ = self._last
        numbers[-self._batch_size :] = rows
        if entry(numbers, self._x, out) == REFUSED:
            self._pool.advance(self._x[None], out[None], rows)
        return out

    def _advance(self) -> None:
        """Take the other windows through that step, and clear the row of the one that has ended."""
        full = self._pushed >= self._length
        others = self._ring[self._ending + 1 : self._ending + self._length] if full else self._ring[: self._pushed]
        if len(others):
            for n, first_row in enumerate(self._first_rows):
                x = np.broadcast_to(self._x[n], (1, len(others), self._x.shape[1]))
                self._pool.advance(x, self._unused[:, : len(others)], others + first_row)
        if full:
            rows = self._first_rows + self._ending
            self._pool.h[:, rows] = 0
            self._pool.c[:, rows] = 0
        self._pending = False

    @property
    def _ending(self) -> int:
        """The slot of the window that ends with the last input, once there are as many."""
        return self._pushed % self._length

    def __repr__(self) -> str:
        a = self._architecture
        return (
            f"SlidingWindow({a.input_size}, {a.hidden_size}, num_layers={a.num_layers}, length={self._length}, "
            f"batch_size={self._batch_size})"
        )
