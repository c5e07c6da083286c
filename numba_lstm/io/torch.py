"""PyTorch modules: copied into ours, or replaced in place by modules that compute with our kernels.

Files that torch has written need no torch: `LSTM.load` reads them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..lstm import LSTM
from ..lstm_cell import LSTMCell
from ._torch_modules import AcceleratedLSTM, AcceleratedLSTMCell, as_torch
from ._torch_tensors import torch

__all__ = ["AcceleratedLSTM", "AcceleratedLSTMCell", "accelerate", "from_module", "restore"]

_REPLACEMENTS: dict[Any, Any] = {torch.nn.LSTM: AcceleratedLSTM, torch.nn.LSTMCell: AcceleratedLSTMCell}


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
    >>> trained = torch.nn.LSTM(3, 5, batch_first=True).eval()
    >>> lstm = from_module(trained)
    >>> lstm
    LSTM(3, 5, batch_first=True)
    >>> lstm(np.zeros((2, 7, 3), np.float32))[0].shape
    (2, 7, 5)
    """
    problem = _obstacle(module)
    if problem:
        raise TypeError(f"module should be a torch.nn.LSTM or torch.nn.LSTMCell, and it {problem}")
    arrays = {name: _own(tensor) for name, tensor in module.state_dict().items()}
    dtype = np.result_type(*arrays.values())
    made: LSTM | LSTMCell
    if isinstance(module, torch.nn.LSTM):
        made = LSTM(
            module.input_size, module.hidden_size, module.num_layers, module.bias, module.batch_first, module.dropout,
            module.bidirectional, module.proj_size, dtype=dtype,
        )  # fmt: skip
    else:
        made = LSTMCell(module.input_size, module.hidden_size, module.bias, dtype=dtype)
    made.load_state_dict(arrays)
    made.train(module.training)
    return made


def _own(tensor: Any) -> np.ndarray:
    """Return the numbers of a tensor, as float32 or float64."""
    tensor = tensor.detach().cpu()
    array: np.ndarray = (tensor if tensor.dtype is torch.float64 else tensor.float()).numpy()
    return array


def accelerate(model: Any) -> Any:
    """Replace every ``torch.nn.LSTM`` and ``torch.nn.LSTMCell`` of a model by one that computes with our kernels.

    The model then is for inference: in eval mode, under ``torch.inference_mode()`` or ``torch.no_grad()``, on the CPU,
    in float32 or float64.  Tensors go in and come out without copying.  Parameters are the same objects as before, so
    that ``state_dict`` and ``load_state_dict``, optimizers and copies work as ever, and so do pruning, norms and
    parametrizations that are put on afterwards.

    Parameters
    ----------
    model : torch.nn.Module
        With LSTMs anywhere in it; one that is used in several places stays one.  Or an LSTM itself.

    Returns
    -------
    torch.nn.Module
        The same model; or the replacement, if it is an LSTM itself, which stays as it is.

    Raises
    ------
    TypeError
        If it is no module, or has an LSTM that would compute something else: a subclass, or a TorchScript module.
    ValueError
        If an LSTM's parameters are not its own, as after pruning; or if there is none.

        The model is unchanged then.

    Notes
    -----
    Parameters are packed at the first call, and again when they have changed.  Before every call the count of changes
    that torch keeps is looked at, and where the memory is.  Writing through ``parameter.data``, or through the array
    of ``parameter.detach().numpy()``, is not counted by torch: such a change is seen if it changes one of some
    elements that are compared as well, which new weights do and a change of a few elements may not.  After those call
    ``flatten_parameters()`` of the module.

    Under ``torch.autocast`` results have the dtypes that torch's own module gives them, and are computed in float32.
    ``torch.compile`` leaves the LSTMs out of its graphs.  What has to look at torch's operators (``torch.export``,
    ``torch.jit``, ``torch.fx``, ``torch.func``, fake tensors, forward-mode differentiation) gets a RuntimeError:
    `restore` the model before.

    Our threads are not torch's: `numba_lstm.set_num_threads`.

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.ModuleDict({"lstm": torch.nn.LSTM(3, 5), "head": torch.nn.Linear(5, 2)}).eval()
    >>> model = accelerate(model)
    >>> with torch.inference_mode():
    ...     output, (h_n, c_n) = model["lstm"](torch.zeros(7, 1, 3))
    >>> output.shape
    torch.Size([7, 1, 5])
    >>> type(restore(model)["lstm"])
    <class 'torch.nn.modules.rnn.LSTM'>
    """
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model should be a torch.nn.Module, got: {type(model).__name__}")
    found, done, others = {}, 0, []
    for name, module in model.named_modules():
        label = name or "it"
        if isinstance(module, (AcceleratedLSTM, AcceleratedLSTMCell)):
            done += 1
        elif isinstance(module, torch.jit.ScriptModule):
            others.append(f"{label} is TorchScript, whose file LSTM.load reads")
        elif isinstance(module, (torch.nn.LSTM, torch.nn.LSTMCell)):
            problem = _obstacle(module)
            if problem:
                raise TypeError(f"cannot accelerate the model: {label} {problem}")
            found[id(module)] = module
        elif isinstance(module, (torch.nn.RNNBase, torch.nn.RNNCellBase)) or "LSTM" in _class_name(module):
            others.append(f"{label} is a {type(module).__module__}.{_class_name(module)}")
    if not found and not done:
        raise ValueError("; ".join(["no torch.nn.LSTM or torch.nn.LSTMCell in the model", *others[:10]]))
    made = {key: _replaced(module, _REPLACEMENTS[type(module)]) for key, module in found.items()}
    return _exchanged(model, made)


def restore(model: Any) -> Any:
    """Undo `accelerate`: torch's modules again, with the parameters that there are now.

    Parameters
    ----------
    model : torch.nn.Module
        One that `accelerate` returned, or a copy.

    Returns
    -------
    torch.nn.Module
        The same model; or torch's module, if it is an accelerated LSTM itself.

    Raises
    ------
    TypeError
        If it is no module.

    Examples
    --------
    >>> import torch
    >>> model = accelerate(torch.nn.Sequential(torch.nn.LSTM(3, 5))).eval()
    >>> restore(model)
    Sequential(
      (0): LSTM(3, 5)
    )
    """
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model should be a torch.nn.Module, got: {type(model).__name__}")
    made = {}
    for module in model.modules():
        if isinstance(module, (AcceleratedLSTM, AcceleratedLSTMCell)):
            made[id(module)] = as_torch(module, module._original)
    return _exchanged(model, made)


def _class_name(module: Any) -> str:
    """Return the name of a module's class; of the one that TorchScript was made of."""
    return str(getattr(module, "original_name", None) or type(module).__name__)


def _obstacle(module: Any) -> str | None:
    """Return what keeps a module from being taken, or None."""
    accelerated = isinstance(module, (AcceleratedLSTM, AcceleratedLSTMCell))
    if type(module) not in _REPLACEMENTS and not accelerated:
        kind = _class_name(module)
        if isinstance(module, (torch.nn.LSTM, torch.nn.LSTMCell)):
            return f"is a {kind}, a subclass that may compute something else"
        return f"is a {kind}"
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


def _replaced(module: Any, kind: Any) -> Any:
    """Return another module over the attributes of one."""
    made = kind.__new__(kind)
    made.__dict__.update(module.__dict__, _packed=None, _original=module)
    return made


def _exchanged(model: Any, made: dict[int, Any]) -> Any:
    """Put other modules where some are, by their id; return the model."""
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if id(child) in made:
                parent._modules[name] = made[id(child)]
    return made.get(id(model), model)
