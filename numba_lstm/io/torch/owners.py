"""Accelerated modules, what each has packed, and which of them some parameters belong to."""

from __future__ import annotations

import weakref
from typing import Any

from .tensors import torch
from .weights import CELL, Kind, Packing

live: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
"""Accelerated modules by their ids, for those of others may not be hashable."""

_Key = tuple[str, "str | None", tuple[int, ...]]

_found: dict[_Key, weakref.ref[Any]] = {}
"""Modules by what errors call them, by form, and where their parameters were when an operator was called with these."""

_unowned: dict[_Key, Packing] = {}
"""The same of parameters that are no module's, as where a compiler has copied them."""

_KEPT, _KEPT_UNOWNED = 1024, 16

PACKING = "_numba_lstm_packing"
"""The attribute of instances that torch's do not have: what is packed."""

_FORM = "_numba_lstm_form"
"""The attribute of those whose weights are kept in a form; it goes with copies and pickles."""


def _all_live() -> list[Any]:
    """Return the modules of `live`, whose own iterator other threads may disturb."""
    return [module for reference in live.valuerefs() if (module := reference()) is not None]


def set_form(module: Any, form: str | None) -> None:
    """Say in which form a module keeps weights; in none if that is None."""
    module.__dict__.pop(_FORM, None)
    if form is not None:
        module.__dict__[_FORM] = form


def accelerated_over(module: Any) -> Any:
    """Return the accelerated module that has the attributes of a module, which may be itself; or None."""
    if PACKING not in module.__dict__:
        return None
    return next((each for each in _all_live() if each.__dict__ is module.__dict__), None)


def packing_in(module: Any) -> Packing:
    """Return what a module has packed.  Copies have nothing of the kind at first, however they were made."""
    packing: Packing | None = module.__dict__.get(PACKING)
    if packing is None:
        packing = module.__dict__[PACKING] = Packing()
    return packing


def packing_of(kind: Kind, weights: list[Any], form: str | None) -> Packing:
    """Return what the module with some parameters, and a form, has packed."""
    memory = tuple([weight.data_ptr() for weight in weights])
    key = kind.called, form, memory
    packing: Packing
    found = _found.get(key)
    module = found and found()
    if module is None or _memory(kind, module, weights, form) != memory:
        module = next((each for each in _all_live() if _memory(kind, each, weights, form) == memory), None)
        if module is None:
            packing = _unowned[key] = _unowned.pop(key, Packing())  # what was used last is the last
            for old in list(_unowned)[:-_KEPT_UNOWNED]:
                _unowned.pop(old, None)
            return packing
        if len(_found) >= _KEPT:
            _found.clear()
        _found[key] = weakref.ref(module)
    return packing_in(module)


def _memory(kind: Kind, module: Any, like: list[Any], form: str | None) -> tuple[int, ...] | None:
    """Return where the parameters of a module are, if it is of a kind and form and has as many as there are others."""
    if module._numba_lstm_kind is not kind or module._numba_lstm_form != form:
        return None
    # Those that parametrizations compute are nowhere else, and to ask for them would compute them.
    tensors = [module._parameters.get(name) for name in _names(kind, module)]
    if len(tensors) != len(like) or not all(isinstance(tensor, torch.nn.Parameter) for tensor in tensors):
        return None
    return tuple([tensor.data_ptr() for tensor in tensors])


def sizes_of(kind: Kind, module: Any) -> tuple[Any, ...]:
    """Return the sizes of a module, as an operator takes them."""
    input_size, hidden_size, num_layers, bias, bidirectional, proj_size = kind.sizes(module)
    return input_size, hidden_size, num_layers, bool(bias), bool(bidirectional), proj_size


def attributes(kind: Kind, module: Any) -> list[Any]:
    """Return a module's parameters in the order of a state dict."""
    return [getattr(module, name, None) for name in _names(kind, module)]


def _names(kind: Kind, module: Any) -> list[str]:
    """Return the names of a module's parameters in this order."""
    _, _, num_layers, bias, bidirectional, proj_size = sizes_of(kind, module)
    parts = ["weight_ih", "weight_hh"]
    if bias:
        parts += ["bias_ih", "bias_hh"]
    if proj_size:
        parts += ["weight_hr"]
    names = [f"{part}_l{layer}{end}" for layer in range(num_layers) for end in ("", "_reverse") for part in parts]
    if kind is CELL:
        names = parts
    elif not bidirectional:
        names = [f"{part}_l{layer}" for layer in range(num_layers) for part in parts]
    return names
