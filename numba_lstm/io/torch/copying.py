"""A trained module of torch copied into one of ours."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...contract.architecture import Architecture
from ...lstm import LSTM
from ...lstm_cell import LSTMCell
from .modules import class_before_parametrizations
from .recurrent import OURS, class_name
from .tensors import torch


def from_module(module: Any) -> LSTM | LSTMCell:
    """Copy a trained module.

    Parameters
    ----------
    module : torch.nn.LSTM or torch.nn.LSTMCell
        On any device.  float16 and bfloat16 become float32.

    Returns
    -------
    LSTM or LSTMCell
        With parameters of its own, in the same mode.

    Raises
    ------
    TypeError
        If it is another module, such as a GRU, or a subclass with a computation of its own.
    ValueError
        If its parameters are not its own, as those of a pruned module.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from numba_lstm.io.torch import from_module
    >>> trained = torch.nn.LSTM(3, 5, batch_first=True).eval()
    >>> lstm = from_module(trained)
    >>> lstm
    LSTM(3, 5, batch_first=True)
    >>> lstm(np.zeros((2, 7, 3), np.float32))[0].shape
    (2, 7, 5)
    """
    problem = _no_copy(module)
    if problem:
        raise TypeError(f"module should be a torch.nn.LSTM or torch.nn.LSTMCell, and it {problem}")
    arrays = {name: _own(tensor) for name, tensor in module.state_dict().items()}
    dtype = np.result_type(*arrays.values())
    m = module
    made: LSTM | LSTMCell
    if isinstance(module, torch.nn.LSTM):
        sizes = Architecture(m.input_size, m.hidden_size, m.num_layers, m.bias, m.bidirectional, m.proj_size)
        made = LSTM._of(sizes, arrays, batch_first=m.batch_first, dropout=m.dropout, dtype=dtype)
    else:
        made = LSTMCell._of(Architecture(m.input_size, m.hidden_size, bias=m.bias), arrays, dtype=dtype)
    made.train(module.training)
    return made


def _own(tensor: Any) -> np.ndarray:
    """Return the numbers of a tensor, as float32 or float64."""
    tensor = tensor.detach().cpu()
    array: np.ndarray = (tensor if tensor.dtype is torch.float64 else tensor.float()).numpy()
    return array


def _no_copy(module: Any) -> str | None:
    """Return what keeps a module from being copied, or None."""
    kind = class_before_parametrizations(module) if isinstance(module, torch.nn.Module) else type(module)
    if kind not in (torch.nn.LSTM, torch.nn.LSTMCell, *OURS):
        subclass = isinstance(module, (torch.nn.LSTM, torch.nn.LSTMCell))
        return f"is a {class_name(module)}" + ", a subclass that may compute something else" * subclass
    names = ["weight_ih", "weight_hh", *["bias_ih", "bias_hh"] * bool(module.bias)]
    if isinstance(module, torch.nn.LSTM):
        names = module._flat_weights_names
    missing = [name for name in names if module._parameters.get(name) is None]
    if missing:
        return (
            f"computes its {missing[0]} from something else: make it a parameter again, with prune.remove or "
            "remove_weight_norm"
        )
    return None
