"""``LSTMCell``, the front end of one step: torch's module on NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from .contract.architecture import CELL_SUFFIX
from .contract.checks.cell_calls import cell_call
from .contract.checks.constructor import options
from .contract.module import Size
from .contract.saved.saving import SavedCell
from .contract.weight_form import in_layer
from .contract.weights import Weights
from .execution.network import Network
from .gradients.differentiable_cell import DifferentiableCell


class _Bias:
    """An attribute that is None in a cell without biases, and cannot be assigned to there."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, cell: Any, owner: type) -> Any:
        return self if cell is None else cell._weights.parameters.get(self._name)

    def __set__(self, cell: Any, value: Any) -> None:
        raise AttributeError(f"{self._name} cannot be assigned: the cell was made with bias=False")


class LSTMCell(SavedCell, DifferentiableCell):
    r"""One step of one layer of an LSTM, as ``torch.nn.LSTMCell``.

    .. math::

        i &= \sigma(W_{ii} x + b_{ii} + W_{hi} h + b_{hi}) \\
        f &= \sigma(W_{if} x + b_{if} + W_{hf} h + b_{hf}) \\
        g &= \tanh(W_{ig} x + b_{ig} + W_{hg} h + b_{hg}) \\
        o &= \sigma(W_{io} x + b_{io} + W_{ho} h + b_{ho}) \\
        c' &= f \odot c + i \odot g \\
        h' &= o \odot \tanh(c')

    Parameters
    ----------
    input_size : int
        Features of the input: H_in.
    hidden_size : int
        Features of h and c: H.
    bias : bool, default True
        Whether there are ``bias_ih`` and ``bias_hh``.
    dtype : float32 or float64, default float32
        Of parameters, inputs and outputs, in any spelling that ``numpy.dtype`` takes.
    seed : optional
        What ``numpy.random.default_rng`` takes.  Initial weights come from it.

    Attributes
    ----------
    weight_ih : (4 * H, H_in) array
        Gates i, f, g, o stacked in this order.  All parameters are read-only.  Assign another array, of whatever
        dtype, to change one; the next call uses it.
    weight_hh : (4 * H, H) array
        What h is multiplied by.
    bias_ih, bias_hh : (4 * H,) arrays
        None without ``bias``.
    training : bool
        Without effect: a cell has no dropout.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid; the message is that of `LSTM`.

    Notes
    -----
    A call keeps nothing for gradients: `vjp` does.

    A loop over steps gives the bits that `LSTM` gives in one call, which is faster.

    Examples
    --------
    >>> import numpy as np
    >>> import numba_lstm as nl
    >>> cell = nl.LSTMCell(10, 20, seed=0)
    >>> x = np.ones((5, 3, 10), np.float32)
    >>> hx, outputs = None, []
    >>> for step in x:
    ...     h, c = hx = cell(step, hx)
    ...     outputs.append(h)
    >>> h.shape, c.shape
    ((3, 20), (3, 20))

    The same weights in an `LSTM`:

    >>> lstm = nl.LSTM(10, 20)
    >>> lstm.load_state_dict({name + "_l0": array for name, array in cell.named_parameters()})
    <All keys matched successfully>
    >>> np.array_equal(np.stack(outputs), lstm(x)[0])
    True
    """

    input_size = Size()
    hidden_size = Size()
    bias = Size()
    bias_ih = _Bias()
    bias_hh = _Bias()

    _FRONT_END = True

    training: bool

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, *, dtype: Any = np.float32, seed: Any = None
    ) -> None:
        self._architecture = options(
            input_size, hidden_size, num_layers=1, bias=bias,
            batch_first=False, dropout=0.0, bidirectional=False, proj_size=0,
        ).architecture  # fmt: skip
        super().__init__(dtype, seed)

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {name.removesuffix(CELL_SUFFIX): shape for name, shape in self._architecture.shapes().items()}

    def forward(
        self, input: np.ndarray, hx: tuple[np.ndarray, np.ndarray] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Run one step.

        Parameters
        ----------
        input : (N, H_in) or (H_in,) array
            N rows, or one without a batch axis.  Any strides and either byte order are fine; an array in native
            order whose features lie together is not copied.  It is never written to.
        hx : (h_0, c_0), optional
            Arrays (N, H), or (H,) for an input without a batch axis.  Zeros by default.

        Returns
        -------
        h_1, c_1 : arrays of the shapes of h_0 and c_0
            The next states.  Both are fresh C-order arrays.

        Raises
        ------
        ValueError
            If a dtype is not the module's, or an array has another number of axes.
        RuntimeError
            If a size does not fit.  Words are torch's.
        TypeError
            If something is no array.

        Examples
        --------
        >>> import numpy as np
        >>> from numba_lstm import LSTMCell
        >>> cell = LSTMCell(3, 5, seed=0)
        >>> h, c = cell(np.zeros((2, 3), np.float32))
        >>> h, c = cell(np.ones((2, 3), np.float32), (h, c))
        >>> h.shape, c.shape
        ((2, 5), (2, 5))
        """
        network = self._weights.network or self._network_of(self._weights)
        x, h_0, c_0, batched = cell_call(self._architecture, self._dtype, input, hx)
        _, h_1, c_1 = network(x, h_0, c_0, batch_first=False)
        shape = h_1.shape[1:] if batched else h_1.shape[2:]
        # In place: a view would not own its memory.
        h_1.resize(shape, refcheck=False)
        c_1.resize(shape, refcheck=False)
        return h_1, c_1

    __call__ = forward  # with its types; `Module` does the same for subclasses

    def _network_of(self, weights: Weights) -> Network:
        """Return parameters in the kernels' order, which they keep."""
        if weights.network is not None:
            known: Network = weights.network
            return known
        plain = {in_layer(name): array for name, array in weights.plain(self._layouts).items()}
        network = Network(self._architecture, plain, self._dtype, form=self._form)
        weights.network = network
        return network

    def extra_repr(self) -> str:
        """Return the arguments that differ from their defaults, as torch does."""
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else ", bias=False") + self._form_words()
