"""``LSTM``, the front end: torch's module on NumPy arrays."""

from __future__ import annotations

from typing import Any, overload

import numpy as np

from .contract.checks.calls import lstm_call, packed_call, ready_states
from .contract.checks.constructor import options
from .contract.dropout import Dropout
from .contract.module import Size
from .contract.packed_sequence import PackedSequence
from .contract.parameter import Parameter
from .contract.saved.saving import SavedModule
from .contract.weight_form import SCALE
from .contract.weights import Weights
from .execution.network import Network, plan_key
from .execution.variable_length import State, run_packed, run_padded
from .gradients.differentiable import DifferentiableModule
from .streaming.streamed_module import StreamedModule

_ZEROS = None, None
"""First states that are not given."""


class LSTM(SavedModule, StreamedModule, DifferentiableModule):
    r"""A multi-layer long short-term memory (LSTM) network, as ``torch.nn.LSTM``.

    Each layer computes, for every step t of its input,

    .. math::

        i_t &= \sigma(W_{ii} x_t + b_{ii} + W_{hi} h_{t-1} + b_{hi}) \\
        f_t &= \sigma(W_{if} x_t + b_{if} + W_{hf} h_{t-1} + b_{hf}) \\
        g_t &= \tanh(W_{ig} x_t + b_{ig} + W_{hg} h_{t-1} + b_{hg}) \\
        o_t &= \sigma(W_{io} x_t + b_{io} + W_{ho} h_{t-1} + b_{ho}) \\
        c_t &= f_t \odot c_{t-1} + i_t \odot g_t \\
        h_t &= o_t \odot \tanh(c_t)

    with x the layer's input, h its output and c its cell state.  With ``proj_size`` the last line is
    :math:`h_t = W_{hr} (o_t \odot \tanh(c_t))`.  Layer 1 and above read the h of the layer below.

    Parameters
    ----------
    input_size : int
        Features of the input: H_in.
    hidden_size : int
        Features of the cell state: H_cell.
    num_layers : int, default 1
        Layers on top of each other.
    bias : bool, default True
        Whether there are ``bias_ih`` and ``bias_hh``.
    batch_first : bool, default False
        Whether input and output are (N, L, features) rather than (L, N, features).  States are not concerned.
        May be assigned later.
    dropout : float, default 0
        In train mode, the probability with which each output of every layer but the last is set to zero.
        May be assigned later.
    bidirectional : bool, default False
        Whether a second direction runs from the end to the start.
    proj_size : int, default 0
        If not 0, the size to which h is projected, less than ``hidden_size``.
    dtype : float32 or float64, default float32
        Of parameters, inputs and outputs, in any spelling that ``numpy.dtype`` takes.
    seed : optional
        What ``numpy.random.default_rng`` takes.  Initial weights and dropout masks come from it.

    Attributes
    ----------
    weight_ih_l[k], weight_ih_l[k]_reverse : (4 * H_cell, H_in) array; (4 * H_cell, D * H_out) for k > 0
        Gates i, f, g, o stacked in this order.  All parameters are read-only.  Assign another array, of whatever
        dtype, to change one; the next call uses it.
    weight_hh_l[k], weight_hh_l[k]_reverse : (4 * H_cell, H_out) array
        What h is multiplied by.
    bias_ih_l[k], bias_hh_l[k], and the same with _reverse : (4 * H_cell,) arrays
        Only with ``bias``.
    weight_hr_l[k], weight_hr_l[k]_reverse : (proj_size, H_cell) array
        Only with ``proj_size``.
    training : bool
        Whether dropout applies.  A new module is in train mode, as in torch, and one from `load` in eval mode.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid; the message is torch's.

    Warns
    -----
    UserWarning
        About dropout in a single layer, which does nothing.

    Notes
    -----
    A call keeps nothing for gradients: `vjp` does.

    Shapes are written with

    ======  ===================================================
    N       batch size; 0 is fine
    L       sequence length, at least 1
    D       2 if bidirectional, else 1
    H_in    input_size
    H_cell  hidden_size
    H_out   proj_size if it is not 0, else hidden_size
    ======  ===================================================

    Many threads may call one module at a time.  A call takes the weights that there are when it begins.

    The first call after a change of weights packs them; the very first on a machine also compiles, see `warmup`.

    Examples
    --------
    >>> import numpy as np
    >>> import numba_lstm as nl
    >>> lstm = nl.LSTM(10, 20, num_layers=2, seed=0).eval()
    >>> x = np.ones((5, 3, 10), np.float32)
    >>> output, (h_n, c_n) = lstm(x)
    >>> output.shape, h_n.shape, c_n.shape
    ((5, 3, 20), (2, 3, 20), (2, 3, 20))

    In parts, with the state carried on, the result has the same bits:

    >>> first, hx = lstm(x[:2])
    >>> rest, hx = lstm(x[2:], hx)
    >>> np.array_equal(output, np.concatenate([first, rest]))
    True

    Parameters are assigned, not written into:

    >>> lstm.bias_ih_l0 = np.zeros(80)
    >>> float(lstm.bias_ih_l0.sum())
    0.0
    """

    input_size = Size()
    hidden_size = Size()
    num_layers = Size()
    bias = Size()
    bidirectional = Size()
    proj_size = Size()

    _FRONT_END = True
    _OPTIONS = ("batch_first", "dropout", "training")

    batch_first: bool
    dropout: float
    training: bool

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        *,
        dtype: Any = np.float32,
        seed: Any = None,
    ) -> None:
        self._architecture, self.batch_first, self.dropout = options(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size
        )
        super().__init__(dtype, seed)

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return self._architecture.shapes()

    # --- calls ----------------------------------------------------------------------------------------------

    @overload
    def forward(
        self, input: np.ndarray, hx: State | None = None, *, lengths: Any = None
    ) -> tuple[np.ndarray, State]: ...

    @overload
    def forward(self, input: PackedSequence, hx: State | None = None) -> tuple[PackedSequence, State]: ...

    def forward(self, input: Any, hx: State | None = None, *, lengths: Any = None) -> tuple[Any, State]:
        """Run sequences through the network.

        Parameters
        ----------
        input : (L, N, H_in) array, (N, L, H_in) with ``batch_first``, (L, H_in), or PackedSequence
            One sequence without a batch axis, or N.  Any strides and either byte order are fine; an array in
            native order whose features lie together is not copied.  It is never written to.
        hx : (h_0, c_0), optional
            Arrays (D * num_layers, N, H_out) and (D * num_layers, N, H_cell), without N for a single sequence.
            Zeros by default.
        lengths : N integers from 1 to L, optional
            The real steps of each sequence of a padded batch.  Padding is never read, and is zero in the output;
            the reverse direction starts at each sequence's own end.  Each sequence gives the same bits as alone.

        Returns
        -------
        output : (L, N, D * H_out) array, (N, L, D * H_out) with ``batch_first``, or (L, D * H_out)
            h of the last layer at each step, both directions side by side; packed if the input was.
        (h_n, c_n) : arrays of the shapes of h_0 and c_0
            The final states of every layer and direction.  All three are fresh C-order arrays.

        Raises
        ------
        ValueError
            If a dtype is not the module's, or the input has neither 2 nor 3 axes, or a length is beyond L.
        RuntimeError
            If another size does not fit, or a sequence length is 0.  Words are torch's.
        TypeError
            If something is no array.

        Examples
        --------
        >>> import numpy as np
        >>> from numba_lstm import LSTM
        >>> lstm = LSTM(3, 5, bidirectional=True, seed=0)
        >>> output, (h_n, c_n) = lstm(np.zeros((7, 3), np.float32))
        >>> output.shape, h_n.shape
        ((7, 10), (2, 5))
        >>> output, _ = lstm(np.zeros((7, 2, 3), np.float32), lengths=[7, 4])
        >>> bool(output[4:, 1].any())
        False
        """
        network = self._weights.network or self._network()
        dropout = self._dropout() if self.training else None  # which in eval mode would cost a call of one step 0.05 us
        # A call of one small step takes some microseconds: arrays of shapes that were here before are let through.
        if lengths is None and type(input) is np.ndarray and input.dtype is network.dtype:
            plan = network.plans.get(plan_key(input.shape, self.batch_first, hx is None))
            if (
                plan
                and input.flags.c_contiguous
                and input.flags.aligned
                and (hx is None or ready_states(hx, plan.hidden, plan.cell, network.dtype))
            ):
                h_0, c_0 = hx or _ZEROS
                output, h_n, c_n = network.run(plan, input, h_0, c_0, dropout)
                return output, (h_n, c_n)
        return self._checked(network, input, hx, lengths, dropout)

    # The same function: another one in between would cost a call of one step 0.1 us.
    __call__ = forward

    def _checked(
        self, network: Network, input: Any, hx: Any, lengths: Any, dropout: Dropout | None
    ) -> tuple[Any, State]:
        """Do a call whose arguments may be anything."""
        a, dtype, batch_first = self._architecture, self._dtype, self.batch_first
        if isinstance(input, PackedSequence):
            data, h_0, c_0 = packed_call(a, dtype, input, hx, lengths)
            return run_packed(network, input, data, h_0, c_0, dropout)
        x, h_0, c_0, batched, real = lstm_call(a, dtype, batch_first, input, hx, lengths)
        if real is None:
            output, h_n, c_n = network(x, h_0, c_0, batch_first=batch_first and batched, dropout=dropout)
        else:
            output, h_n, c_n = run_padded(network, batch_first, x, real, h_0, c_0, dropout)
        if not batched:
            for array in (output, h_n, c_n):  # in place: a view would not own its memory
                array.resize([size for axis, size in enumerate(array.shape) if axis != 1], refcheck=False)
        return output, (h_n, c_n)

    def _dropout(self) -> Dropout | None:
        if self.training and self.dropout and self._architecture.num_layers > 1:
            return Dropout(self.dropout, self._generator)
        return None

    def _network(self) -> Network:
        return self._network_of(self._weights)

    def _network_of(self, weights: Weights) -> Network:
        """Return parameters in the kernels' order, which they keep."""
        if weights.network is not None:
            known: Network = weights.network
            return known
        network = Network(self._architecture, weights.plain(self._layouts), self._dtype, form=self._form)
        weights.network = network
        return network

    # --- parameters -----------------------------------------------------------------------------------------

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The parameters, a list for each layer and direction; in int8 with scales, each behind its weight."""
        a, parameters = self._architecture, self._stored()
        return [
            [parameters[name] for own in a.names(layer, direction) for name in (own, own + SCALE) if name in parameters]
            for layer in range(a.num_layers)
            for direction in range(a.num_directions)
        ]

    def flatten_parameters(self) -> None:
        """Do nothing: weights are packed when they are first used.  torch has it for GPUs."""

    def extra_repr(self) -> str:
        """Return the arguments that differ from their defaults, as torch does."""
        words = [str(self.input_size), str(self.hidden_size)]
        for name, default in (
            ("proj_size", 0),
            ("num_layers", 1),
            ("bias", True),
            ("batch_first", False),
            ("dropout", 0),
            ("bidirectional", False),
        ):
            value = getattr(self, name)
            if value != default:
                words.append(f"{name}={value}")
        return ", ".join(words) + self._form_words()
