"""The part of `LSTM` that makes streams and sliding windows."""

from __future__ import annotations

from ..contract.dropout import Dropout
from ..contract.module import Module
from ..execution.network import Network
from .checks import positive, streamable
from .sliding_window import SlidingWindow
from .stream import Stream


class StreamedModule(Module):
    """A module that may be fed step by step; a subclass says with which network, and whether dropout would apply."""

    batch_first: bool

    def _network(self) -> Network:
        """Return the current weights as the kernels take them."""
        raise NotImplementedError

    def _dropout(self) -> Dropout | None:
        """Return what is done between layers in a call now, or None."""
        raise NotImplementedError

    def stream(self, batch_size: int = 1) -> Stream:
        """Return a stream: sequences that arrive step by step, with their states kept between steps.

        A step costs little but its arithmetic, and gives the same bits as the whole sequence in one call.

        Parameters
        ----------
        batch_size : int
            How many sequences there are.  They need not advance together.

        Returns
        -------
        Stream
            From zero states, with the weights of this moment.

        Raises
        ------
        ValueError
            If the LSTM is bidirectional: the reverse direction starts at the end.
        RuntimeError
            If dropout would apply: call `eval` first.

        Examples
        --------
        >>> import numpy as np
        >>> from numba_lstm import LSTM
        >>> lstm = LSTM(1, 40, seed=0)
        >>> stream = lstm.stream()
        >>> y = stream.step(np.zeros((1, 1), np.float32))
        >>> y.shape
        (1, 40)
        >>> stream.step(np.ones((1, 1), np.float32), out=y) is y
        True
        >>> h, c = stream.state
        >>> stream.reset()
        """
        rows = positive("batch_size", batch_size)
        return Stream(self._streamed("stream"), self._architecture, self._dtype, rows, self.batch_first)

    def sliding_window(self, length: int, batch_size: int = 1) -> SlidingWindow:
        """Return a sliding window: with every new input, the output for the last ``length`` of them.

        All windows that the input belongs to advance by one step, as one batch, of which only the window that ends now
        is waited for.  The result has the same bits as a call with the last ``length`` inputs and zero states.

        Parameters
        ----------
        length : int
            Steps of a window.
        batch_size : int
            How many sequences there are: N.

        Returns
        -------
        SlidingWindow
            With the weights of this moment.

        Raises
        ------
        ValueError
            If the LSTM is bidirectional: the reverse direction of every window starts anew with each input.
        RuntimeError
            If dropout would apply: call `eval` first.

        Examples
        --------
        >>> import numpy as np
        >>> from numba_lstm import LSTM
        >>> lstm = LSTM(3, 5, seed=0)
        >>> x = np.random.default_rng(0).standard_normal((9, 1, 3), np.float32)
        >>> window = lstm.sliding_window(4)
        >>> outputs = [window.push(x[t]) for t in range(9)]
        >>> outputs[2] is None
        True
        >>> bool((outputs[8] == lstm(x[5:9])[0][-1]).all())
        True
        """
        rows = positive("batch_size", batch_size)
        steps = positive("length", length)
        return SlidingWindow(self._streamed("sliding window"), self._architecture, self._dtype, steps, rows)

    def _streamed(self, kind: str) -> Network:
        """Return the network for a stream or a sliding window, or raise if it cannot be one."""
        streamable(kind, self._architecture, self.training and self._dropout() is not None)
        return self._network()
