"""The part of `LSTMCell` that gives gradients."""

from __future__ import annotations

import numpy as np

from ..contract.checks.cell_calls import cell_call
from ..contract.module import Module
from ..contract.weights import Weights
from ..execution.gradients.forward import forward
from ..execution.network import Network
from ..execution.planning.schedule import Batch
from .pullback import CellBackward

State = tuple[np.ndarray, np.ndarray]


class DifferentiableCell(Module):
    """A module of one step that can be differentiated."""

    def _network_of(self, weights: Weights) -> Network:
        """Return weights as the kernels take them."""
        raise NotImplementedError

    def vjp(self, input: np.ndarray, hx: State | None = None) -> tuple[State, CellBackward]:
        """Run one step, and return beside the result a function that gives gradients.

        Parameters
        ----------
        input, hx
            As in a call.

        Returns
        -------
        (h_1, c_1)
            What a call returns, with the same bits.
        backward : callable
            ``backward(d_h_1, d_c_1)`` takes gradients of some number with respect to the two, either of them None for
            zeros, and returns those with respect to all that went in, as that of `LSTM.vjp`.

        Raises
        ------
        RuntimeError
            If the cell is quantized.  Else the errors are those of a call.

        Examples
        --------
        >>> import numpy as np
        >>> from numba_lstm import LSTMCell
        >>> cell = LSTMCell(3, 5, seed=0)
        >>> (h, c), backward = cell.vjp(np.ones((2, 3), np.float32))
        >>> grads = backward(np.ones_like(h))
        >>> grads.input.shape, grads.h_0.shape, grads.parameters["weight_ih"].shape
        ((2, 3), (2, 5), (20, 3))
        """
        self._complain_if_quantized("give gradients")
        weights = self._weights  # once, as another thread may assign others
        network = self._network_of(weights)
        x, h_0, c_0, batched = cell_call(self._architecture, self._dtype, input, hx)
        h_0, c_0 = (None if state is None else np.array(state, order="C") for state in (h_0, c_0))
        batch = Batch(1, x.shape[1], h_0 is None, kept=True)
        h_1, c_1, kept = forward(network, np.array(x, order="C"), batch, h_0, c_0, None)
        shape = h_1.shape[1:] if batched else h_1.shape[2:]
        return (h_1.reshape(shape), c_1.reshape(shape)), CellBackward(kept, shape, weights.plain(self._layouts))
