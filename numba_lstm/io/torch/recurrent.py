"""Recurrent modules in a model of torch: which of them ours can stand for, and what is in the way of the others."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Iterator
from typing import Any, NamedTuple

from .modules import AcceleratedLSTM, AcceleratedLSTMCell, accelerated_class, class_before_parametrizations, stands_for
from .tensors import DTYPES, torch

OURS = (AcceleratedLSTM, AcceleratedLSTMCell)
_LSTMS = (torch.nn.LSTM, torch.nn.LSTMCell)
_PARTS = {
    "forward_impl", "forward_tensor", "forward_packed", "check_forward_args", "check_input", "check_hidden_size",
    "get_expected_hidden_size", "get_expected_cell_size", "permute_hidden", "all_weights", "_flat_weights", "__call__",
    "_call_impl", "__getattribute__",
}  # fmt: skip
"""What torch's modules consist of, in one version or another, beside ``forward``; ours do not use it."""


class Recurrent(NamedTuple):
    """A recurrent module of a model, as `report` lists it."""

    name: str
    """In the model; empty if it is the model itself."""
    kind: str
    """Its class, with the module that the class is in; of an accelerated one, the class that it stands for."""
    accelerated: bool
    """Whether our kernels compute it."""
    why: str
    """What is in the way, or might be; empty if nothing is."""
    form: str | None = None
    """In which weights are kept, of an accelerated one with ``accelerate(model, weights=form)``."""

    def __str__(self) -> str:
        state = "accelerated" if self.accelerated else "torch's"
        state += f" with weights in {self.form}" * bool(self.form)
        return f"{self.name or 'the model'} ({self.kind}): {state}" + f", {self.why}" * bool(self.why)


def class_name(module: Any) -> str:
    """Return the name of a module's class; of the one that TorchScript was made of."""
    return str(getattr(module, "original_name", None) or class_before_parametrizations(module).__name__)


def recurrent_modules(model: Any) -> Iterator[tuple[str, Any]]:
    """Iterate over the names and modules of a model that are recurrent, or call themselves an LSTM and contain none."""
    for name, module in model.named_modules():
        if _is_recurrent(module) or ("LSTM" in class_name(module) and not any(map(_is_recurrent, module.modules()))):
            yield name, module


def _is_recurrent(module: Any) -> bool:
    script = isinstance(module, torch.jit.ScriptModule) and class_name(module) in ("LSTM", "LSTMCell")
    return script or isinstance(module, (torch.nn.RNNBase, torch.nn.RNNCellBase))


def obstacle(module: Any, form: str | None = None) -> str | None:
    """Return why ours cannot stand for a module, with weights in a form if there is one; or None."""
    if isinstance(module, torch.jit.ScriptModule):
        return "it is TorchScript, whose file LSTM.load reads"
    if isinstance(module, OURS):
        return None
    if not isinstance(module, _LSTMS):
        return f"it is no {' or '.join(f'torch.nn.{kind.__name__}' for kind in _LSTMS)}"
    put = _put_on(module)
    if put:
        return f"something has put another {put[0]} on this instance: accelerate the model before that"
    if getattr(module, "_compiled_call_impl", None) is not None:
        return "it was compiled by itself: accelerate the model before that"
    for name, parameter in module.named_parameters():
        if parameter.dtype not in DTYPES or parameter.device.type not in ("cpu", "meta"):
            return (
                f"kernels are for float32 and float64 on CPUs, and its {name} is {parameter.dtype} on "
                f"{parameter.device}: convert the model before, if that is to be"
            )
        if form is not None and parameter.dtype is not torch.float32:
            return f"weights in {form} belong to float32, and its {name} is {parameter.dtype}: call model.float() first"
    return _obstacle_of_class(class_before_parametrizations(module))


def _put_on(module: Any) -> list[str]:
    """Return the methods that an instance has instead of those of its class; its ``_flat_weights`` are no method."""
    return sorted(({"forward"} | _PARTS - {"_flat_weights"}) & module.__dict__.keys())


_failed: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()
"""Classes of which none of ours could be made, and why."""


def _obstacle_of_class(kind: Any) -> str | None:
    """Return what of a subclass ours would not do, or None."""
    if kind in _failed:
        return _failed[kind]
    known = next(base for base in kind.__mro__ if base in _LSTMS)
    for base in kind.__mro__:
        if base in known.__mro__:
            continue
        parts = sorted(_PARTS & base.__dict__.keys())
        if parts:
            return f"{base.__name__} has a {parts[0]} of its own"
        if base.__dict__.get("__slots__"):
            return f"{base.__name__} has __slots__, which another object would be without"
        if "forward" in base.__dict__ and not any(map(_goes_up, base.__dict__.values())):
            return f"the forward of {base.__name__} computes by itself: it does not call super().forward"
    return None


def _goes_up(function: Any) -> bool:
    """Return whether a method of a class has ``super().forward`` in it."""
    code = getattr(inspect.unwrap(function), "__code__", None) if callable(function) else None
    return (
        code is not None and "forward" in code.co_names and "super" in code.co_names and code.co_name != "__init__"
    )


def can_be_replaced(module: Any, form: str | None) -> bool:
    """Return whether there is no `obstacle`, once the class that is needed was made; the module stays as it is."""
    if obstacle(module, form):
        return False
    kind = class_before_parametrizations(module)
    try:
        accelerated_class(kind)
    except Exception as error:  # whatever a metaclass or __init_subclass__ of others has against it
        _failed[kind] = f"no class can be made of {kind.__name__}: {error}"
        return False
    return True


def look(name: str, module: Any) -> Recurrent:
    """Return what `report` says of a module."""
    why, ours, kind = obstacle(module) or "", isinstance(module, OURS), class_before_parametrizations(module)
    if ours:
        kind = stands_for(kind)
        put = _put_on(module)
        if put:
            why = f"something has put another {put[0]} on this instance since"
    elif not why:
        why = "accelerate would replace it"
    form = module._numba_lstm_form if ours else None
    return Recurrent(name, f"{kind.__module__}.{kind.__name__ if ours else class_name(module)}", ours, why, form)
