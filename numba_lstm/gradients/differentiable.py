"""The part of `LSTM` that gives gradients, and the gates of every step."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..contract.architecture import Architecture
from ..contract.checks.calls import lstm_call, packed_call
from ..contract.dropout import Dropout
from ..contract.module import Module
from ..contract.packed_sequence import PackedSequence
from ..contract.weights import Weights
from ..execution.gradients.forward import Kept, forward
from ..execution.gradients.gates import gates_of
from ..execution.network import Network
from .layouts import Even, Layout, Packed, Padded
from .pullback import Backward

State = tuple[np.ndarray, np.ndarray]

KEEP = ("gates", "states")
"""What may be kept of a forward pass."""


class CellTrace(NamedTuple):
    """What one layer and direction has computed at each step: arrays of the layout of the output, see `LSTM.trace`.

    Attributes
    ----------
    i, f, g, o : (L, N, H_cell) arrays
        Gates, after their activations.
    c : (L, N, H_cell) array
        The cell state.
    h : (L, N, H_out) array
        The hidden state, which the layer gives.
    """

    i: Any
    f: Any
    g: Any
    o: Any
    c: Any
    h: Any


class DifferentiableModule(Module):
    """A module of layers that can be differentiated."""

    batch_first: bool

    def _network_of(self, weights: Weights) -> Network:
        """Return weights as the kernels take them."""
        raise NotImplementedError

    def _dropout(self) -> Dropout | None:
        """Return what is done between layers in a call now, or None."""
        raise NotImplementedError

    def vjp(
        self, input: Any, hx: State | None = None, *, lengths: Any = None, keep: str = "gates"
    ) -> tuple[tuple[Any, State], Backward]:
        """Run sequences through the network, and return beside the result a function that gives gradients.

        The vector-Jacobian product: what a backward pass computes.

        Parameters
        ----------
        input, hx, lengths
            As in a call.
        keep : {"gates", "states"}
            What is kept of every step for the backward pass, beside its input and h: gates and c, 5 * H_cell numbers
            for each row, layer and direction; or c alone, H_cell numbers, and gates are made again: less memory, for
            about the time of another forward pass.  Gradients have the same bits.  During the forward pass the gates
            of one layer are there in any case.

        Returns
        -------
        (output, (h_n, c_n))
            What a call returns, with the same bits.  In train mode with dropout the masks are those that a call would
            have drawn, and gradients are those with these masks.
        backward : callable
            ``backward(d_output, (d_h_n, d_c_n))`` takes gradients of some number with respect to the output and the
            last states, any of them None for zeros, and returns those with respect to all that went in: ``input``,
            ``h_0``, ``c_0`` and ``parameters``, a dict by name.  It may be called more than once, and whatever happens
            to the module and to arrays afterwards, its results stay the same.  ``backward.nbytes`` says what it keeps.

        Raises
        ------
        RuntimeError
            If the module is quantized.  Else the errors are those of a call.
        ValueError
            If keep is something else.

        Notes
        -----
        Gradients have the same bits for any number of threads.  Those of the input and of states do not depend on which
        other sequences there are; those of parameters are sums over all of them, in an order that the shape of the
        batch alone decides.

        A subclass that overrides ``forward`` has this for what `LSTM` itself computes.

        Examples
        --------
        The gradient of the mean square of the output, and a step of gradient descent:

        >>> import numpy as np
        >>> from numba_lstm import LSTM
        >>> lstm = LSTM(3, 5, seed=0)
        >>> x = np.ones((7, 2, 3), np.float32)
        >>> (y, _), backward = lstm.vjp(x)
        >>> grads = backward(2 / y.size * y)
        >>> grads.input.shape, grads.parameters["weight_hh_l0"].shape
        ((7, 2, 3), (20, 5))
        >>> for name, gradient in grads.parameters.items():
        ...     setattr(lstm, name, getattr(lstm, name) - 0.1 * gradient)
        >>> bool(np.square(lstm(x)[0]).mean() < np.square(y).mean())
        True
        """
        self._complain_if_quantized("give gradients")
        if not (isinstance(keep, str) and keep in KEEP):
            raise ValueError(f"keep should be 'gates' or 'states', got: {keep!r}")
        weights = self._weights  # once, as another thread may assign others
        output, h_n, c_n, kept, layout = self._kept(weights, input, hx, lengths, keep)
        shape = output.data.shape if isinstance(output, PackedSequence) else output.shape
        return (output, (h_n, c_n)), Backward(kept, layout, weights.plain(self._layouts), (shape, h_n.shape, c_n.shape))

    def trace(self, input: Any, hx: State | None = None, *, lengths: Any = None) -> list[CellTrace]:
        """Run sequences through the network and return the gates and states of every step.

        Parameters
        ----------
        input, hx, lengths
            As in a call.

        Returns
        -------
        list of CellTrace
            For each layer and direction, in torch's order: layer 0, layer 0 reversed if bidirectional, layer 1, ...
            Each has arrays ``i``, ``f``, ``g``, ``o`` and ``c`` (L, N, H_cell), and ``h`` (L, N, H_out), with the
            layout of a call's output: (N, L, ..) with ``batch_first``, (L, ..) for a single sequence, packed for a
            packed input, and zero in padding.  Step t of a reverse direction is where it reads step t of the input.
            h and c have the bits of a call, and h is before dropout.

        Raises
        ------
        RuntimeError
            If the module is quantized.  Else the errors are those of a call.

        Examples
        --------
        >>> import numpy as np
        >>> from numba_lstm import LSTM
        >>> lstm = LSTM(3, 5, seed=0)
        >>> x = np.ones((7, 3), np.float32)
        >>> (cell,) = lstm.trace(x)
        >>> cell.f.shape
        (7, 5)
        >>> np.array_equal(cell.h, lstm(x)[0])
        True
        >>> np.allclose(cell.c[1:], cell.f[1:] * cell.c[:-1] + cell.i[1:] * cell.g[1:])
        True
        """
        self._complain_if_quantized("show its gates")
        _, _, _, kept, layout = self._kept(self._weights, input, hx, lengths, "gates")
        return [CellTrace(*map(layout.give, arrays)) for arrays in gates_of(kept)]

    def _kept(
        self, weights: Weights, input: Any, hx: Any, lengths: Any, keep: str
    ) -> tuple[Any, np.ndarray, np.ndarray, Kept, Layout]:
        """Do a call with some weights and keep what gradients need of it."""
        a, network = self._architecture, self._network_of(weights)
        layout, x, h_0, c_0 = _taken(a, self._dtype, self.batch_first, input, hx, lengths)
        batch = layout.batch(h_0 is None)
        x = x.reshape(batch.steps, batch.rows, a.input_size) if batch.offsets is None else x
        dropout = self._dropout() if self.training else None  # as in a call
        h_n, c_n, kept = forward(network, x, batch, h_0, c_0, dropout, keep)
        return layout.give(kept.output), layout.give_state(h_n), layout.give_state(c_n), kept, layout


def _taken(
    a: Architecture, dtype: np.dtype[Any], batch_first: bool, input: Any, hx: Any, lengths: Any
) -> tuple[Layout, np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Check the arguments of a call, and return their layout and what passes take of them."""
    layout: Layout
    if isinstance(input, PackedSequence):
        x, h_0, c_0 = packed_call(a, dtype, input, hx, lengths)
        layout = Packed(input)
        x = layout.take(x)
    else:
        x, h_0, c_0, batched, real = lstm_call(a, dtype, batch_first, input, hx, lengths)
        if real is not None and len(real):
            layout = Padded(real, x.shape, batch_first)
            x = layout.take(x)
        else:
            swapped = batch_first and batched
            x = np.array(x.swapaxes(0, 1) if swapped else x, order="C")
            layout = Even(x.shape[0], x.shape[1], swapped, batched)
    if h_0 is None or c_0 is None:
        return layout, x, None, None
    return layout, x, _own(layout, h_0), _own(layout, c_0)


def _own(layout: Layout, state: np.ndarray) -> np.ndarray:
    # Checked states have their batch axis.
    return np.array(state, order="C") if isinstance(layout, Even) else layout.take_state(state)
