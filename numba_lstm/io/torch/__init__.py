"""PyTorch modules: copied into ours, or replaced in place by modules that compute with our kernels.

Files that torch has written need no torch: `LSTM.load` reads them.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

from ... import public
from ...contract.weight_form import check_form
from .copying import from_module
from .modules import AcceleratedLSTM, AcceleratedLSTMCell, _blank, accelerated, as_torch
from .owners import accelerated_over, packing_in
from .recurrent import OURS, Recurrent, can_be_replaced, class_name, look, obstacle, recurrent_modules
from .tensors import torch

__all__ = [
    "AcceleratedLSTM", "AcceleratedLSTMCell", "Recurrent", "accelerate", "from_module", "repack", "report", "restore",
]  # fmt: skip


def accelerate(
    model: Any, *, weights: str | None = None, skip: Iterable[str] = (), strict: bool = False
) -> Any:
    """Replace every ``torch.nn.LSTM`` and ``torch.nn.LSTMCell`` of a model by one that computes with our kernels.

    On the CPU, in float32 or float64.  Parameters are the same objects as before, so that ``state_dict`` and
    ``load_state_dict``, optimizers and copies work as ever, and so do pruning, norms and parametrizations.

    The model trains as before, with gradients from our kernels.  Under ``torch.inference_mode()`` or
    ``torch.no_grad()`` tensors go in and come out without copying, and nothing is kept.

    A subclass that goes on to ``super().forward`` is replaced too, and what it overrides goes on running.

    Parameters
    ----------
    model : torch.nn.Module
        With LSTMs anywhere in it; one that is used in several places stays one.  Or an LSTM itself.
    weights : {"int8", "float16", "bfloat16"}, optional
        In which form the kernels are to have the weights, see `numba_lstm.LSTM.quantize`; by default as they are.  The
        parameters stay torch's, in float32, and are quantized anew when they have changed.
    skip : iterable of str
        Names of modules, as ``named_modules`` has them, that stay torch's with all that is in them.
    strict : bool
        Whether an LSTM that cannot be replaced is an error; by default it stays torch's, and a warning names it.

    Returns
    -------
    torch.nn.Module
        The same model; or the replacement, if it is an LSTM itself, which stays torch's.  Both have the same
        attributes: parameters, hooks, mode.

    Raises
    ------
    TypeError
        If it is no module; with ``strict``, if it has an LSTM that cannot be replaced.  The model is unchanged then.
    ValueError
        If there is no LSTM, nothing of a name in ``skip``, or no such form; or if an LSTM is accelerated already, with
        its weights in another form than is asked for.

    Warns
    -----
    UserWarning
        Of the LSTMs that stay torch's, with the reason for each: a subclass with a computation of its own, a forward
        that something has put on an instance, parameters of another dtype or on another device, TorchScript, a
        quantized one.  `report` lists them later.

    Notes
    -----
    Parameters are packed at the first call, and again when their contents have changed.  Before every call the count of
    changes that torch keeps is looked at, and where the memory is; where these cannot tell, as after ``model.to``, or
    after the same weights were loaded again, contents are compared, for which a copy is kept from the second time on
    that they were packed.  What torch does not count is a write through ``parameter.data``, through the array of
    ``parameter.detach().numpy()``, by a fused optimizer, by another process that shares the memory, and into parameters
    that were made in inference mode: it is seen if it changes one of the sixteen or so elements of each parameter
    that are compared before every call.  New weights do; after a change of some elements call `repack`.

    The call that follows a backward pass packs the parameters anew, however they have changed.

    In train mode dropout between layers has the masks that torch's own module would draw from torch's generator.  Under
    ``torch.autocast`` results have the dtypes that torch's own module gives them, and are computed in the parameters'
    dtype.  Gradients have no gradients themselves: with ``create_graph=True`` a second backward pass gets a
    RuntimeError, and so does a call with ``weights`` in a form where somebody needs gradients.

    In graphs of ``torch.compile``, and for modes that see operators, they are ``numba_lstm::lstm`` and
    ``numba_lstm::lstm_cell``, with gradients ``numba_lstm::lstm_vjp`` and ``numba_lstm::lstm_backward``.  Unless
    ``torch._dynamo.config.allow_rnn`` is set, the compiler skips every function that calls a ``torch.nn.LSTM``, whoever
    computes it.  Programs for elsewhere and transforms (``torch.export``,
    ``torch.onnx.export``, ``torch.jit.trace``, ``torch.func``, forward-mode differentiation) have the operators of
    torch's own module, which does the call.  ``torch.fx`` does not look into ours, as it does not into torch's.
    ``torch.jit.script`` gets a RuntimeError: `restore` the model before.

    Our threads are not torch's: `numba_lstm.set_num_threads`.

    Examples
    --------
    >>> import torch
    >>> from numba_lstm.io.torch import accelerate, restore
    >>> model = torch.nn.ModuleDict({"lstm": torch.nn.LSTM(3, 5), "head": torch.nn.Linear(5, 2)}).eval()
    >>> model = accelerate(model)
    >>> with torch.inference_mode():
    ...     output, (h_n, c_n) = model["lstm"](torch.zeros(7, 1, 3))
    >>> output.shape
    torch.Size([7, 1, 5])
    >>> type(restore(model)["lstm"])
    <class 'torch.nn.modules.rnn.LSTM'>
    """
    _check_module(model)
    if weights is not None:
        check_form(weights)
    left, found, taken = [], 0, []
    skipped = _skipped(model, skip)
    for name, module in recurrent_modules(model):
        is_lstm = isinstance(module, (torch.nn.LSTM, torch.nn.LSTMCell, torch.jit.ScriptModule))
        found += is_lstm
        if id(module) in skipped:
            continue
        _complain_of_another_form(name, module, weights)
        if isinstance(module, OURS):
            continue
        if can_be_replaced(module, weights):
            taken.append(module)
        elif is_lstm or class_name(module) in ("LSTM", "LSTMCell"):
            left.append(f"{name or 'the model'} ({class_name(module)}), because {obstacle(module, weights)}")
    if not found:
        others = [f"{name or 'it'} is a {type(module).__module__}.{class_name(module)}"
                  for name, module in recurrent_modules(model)]  # fmt: skip
        raise ValueError("; ".join(["no torch.nn.LSTM or torch.nn.LSTMCell in the model", *others[:10]]))
    if left and strict:
        raise TypeError(f"cannot accelerate the model: {'; '.join(left)}")
    if left:
        warnings.warn(f"accelerate leaves to torch: {'; '.join(left)}", stacklevel=2)
    return _exchanged(model, {id(module): accelerated(module, weights) for module in taken})


def _complain_of_another_form(name: str, module: Any, weights: str | None) -> None:
    """Raise if a module is accelerated in another form; with no form given, one that is accelerated stays as it is."""
    before = module if isinstance(module, OURS) else accelerated_over(module)
    if before is None or before._numba_lstm_form == weights or (weights is None and before is module):
        return
    raise ValueError(
        f"{name or 'the model'} is accelerated already, with weights in {before._numba_lstm_form or 'its dtype'}: call "
        "restore before, or leave it out with skip"
    )


def report(model: Any) -> list[Recurrent]:
    """List the recurrent modules of a model: which are accelerated, and why others are not.

    Parameters
    ----------
    model : torch.nn.Module
        Accelerated or not.

    Returns
    -------
    list of Recurrent
        Named tuples ``(name, kind, accelerated, why, form)`` in the order of ``named_modules``.

    Raises
    ------
    TypeError
        If it is no module.

    Examples
    --------
    >>> import torch
    >>> from numba_lstm.io.torch import accelerate, report
    >>> model = accelerate(torch.nn.ModuleDict({"a": torch.nn.LSTM(3, 5), "b": torch.nn.GRU(5, 5)}))
    >>> print(*report(model), sep="\\n")
    a (torch.nn.modules.rnn.LSTM): accelerated
    b (torch.nn.modules.rnn.GRU): torch's, it is no torch.nn.LSTM or torch.nn.LSTMCell
    >>> print(*report(accelerate(torch.nn.LSTM(3, 5), weights="int8")))
    the model (torch.nn.modules.rnn.LSTM): accelerated with weights in int8
    """
    _check_module(model)
    return [look(name, module) for name, module in recurrent_modules(model)]


def repack(model: Any) -> None:
    """Have the parameters of accelerated modules packed anew at their next call.

    That is for changes which torch does not count and which leave most elements as they were, see `accelerate`.

    Parameters
    ----------
    model : torch.nn.Module
        One that `accelerate` returned.

    Raises
    ------
    TypeError
        If it is no module.

    Examples
    --------
    >>> import torch
    >>> from numba_lstm.io.torch import accelerate, repack
    >>> model = accelerate(torch.nn.LSTM(64, 64)).eval()
    >>> with torch.no_grad():
    ...     before = model(torch.ones(1, 1, 64))[0]
    ...     model.weight_ih_l0.data[0, 1] += 5
    ...     repack(model)
    ...     bool((model(torch.ones(1, 1, 64))[0] == before).all())
    False
    """
    _check_module(model)
    for module in model.modules():
        if isinstance(module, OURS):
            packing_in(module).now = None


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
        If it is no module, or if something has put another forward on an accelerated module of it.

    Examples
    --------
    >>> import torch
    >>> from numba_lstm.io.torch import accelerate, restore
    >>> model = accelerate(torch.nn.Sequential(torch.nn.LSTM(3, 5))).eval()
    >>> restore(model)
    Sequential(
      (0): LSTM(3, 5)
    )
    """
    _check_module(model)
    ours = {name: module for name, module in model.named_modules() if isinstance(module, OURS)}
    for name, module in ours.items():
        if "forward" in module.__dict__:
            raise TypeError(
                f"something has put another forward on {name or 'the model'} since it was accelerated, which calls "
                "ours: take it off before"
            )
    return _exchanged(model, {id(module): as_torch(module) for module in ours.values()})


def _check_module(model: Any) -> None:
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model should be a torch.nn.Module, got: {type(model).__name__}")


def _skipped(model: Any, names: Iterable[str]) -> set[int]:
    """Return the ids of all modules that are in modules of some names."""
    if isinstance(names, str):
        raise TypeError(f"skip should be several names, got: {names!r}")
    modules = dict(model.named_modules(remove_duplicate=False))
    found: set[int] = set()
    for name in names:
        if name not in modules:
            raise ValueError(f"there is no module {name!r} to skip in the model")
        found.update(map(id, modules[name].modules()))
    return found


def _exchanged(model: Any, made: dict[int, Any]) -> Any:
    """Put other modules where some are, by their id; return the model."""
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if id(child) in made:
                parent._modules[name] = made[id(child)]
    return made.get(id(model), model)


public.publish(globals(), _blank)  # which pickles of subclasses call
