"""Accelerated modules in the graphs of torch.compile: operators of torch that are computed by our kernels.

Outside of graphs modules call the kernels themselves, which takes less time.  Operators take what a module has as
arguments, as ``aten::lstm`` does, so that a graph is good for every module of its sizes.
"""

from __future__ import annotations

import weakref
from typing import Any

from ...contract.architecture import Architecture
from .tensors import DTYPES, autocast_enabled, torch
from .weights import CELL, LAYERS, Kind, Packing

_compiler: Any = getattr(torch, "compiler", None)
DEFINED = hasattr(torch.library, "register_fake") and hasattr(_compiler, "_is_exporting_flag")
"""Whether torch is new enough, and tells graphs of its own from programs for elsewhere; else our modules stay out."""


def _never() -> bool:
    return False


is_compiling = _compiler.is_compiling if DEFINED else _never
"""Whether a compiler looks at what is called, or does in another thread."""


def is_exporting() -> bool:
    """Return whether that is ``torch.export``, whose programs are for elsewhere."""
    return bool(_compiler._is_exporting_flag)


_SIZES = "int input_size, int hidden_size, int num_layers, bool bias, bool bidirectional, int proj_size"
_COUNT = _SIZES.count(",") + 1
_SCHEMAS = {
    "lstm": f"(Tensor input, Tensor[] hx, Tensor[] weights, bool batch_first, {_SIZES}, str? form=None) "
    "-> (Tensor, Tensor, Tensor)",
    "lstm_cell": "(Tensor input, Tensor[] hx, Tensor[] weights, str? form=None) -> (Tensor, Tensor)",
}
"""``hx`` is empty for zeros, the weights are in the order of a state dict, and kept in a form, if there is one."""


def _sizes(kind: Kind, module: Any) -> tuple[Any, ...]:
    input_size, hidden_size, num_layers, bias, bidirectional, proj_size = kind.sizes(module)
    return input_size, hidden_size, num_layers, bool(bias), bool(bidirectional), proj_size


def _weights(kind: Kind, module: Any) -> list[Any]:
    """Return what `tensors_of` does, in words that a compiler can follow, and None where there is none."""
    if kind is LAYERS and hasattr(module, "_update_flat_weights"):
        module._update_flat_weights()
        return list(module._flat_weights)
    return _attributes(kind, module)


def _attributes(kind: Kind, module: Any) -> list[Any]:
    """Return a module's parameters in the order of a state dict."""
    _, _, num_layers, bias, bidirectional, proj_size = _sizes(kind, module)
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
    return [getattr(module, name, None) for name in names]


def drops(kind: Kind, module: Any) -> bool:
    """Return whether there is dropout, in train mode."""
    return kind is LAYERS and bool(module.dropout) and module.num_layers > 1


def takes(kind: Kind, module: Any, input: Any, hx: Any) -> bool:
    """Return whether a call can be an operator in a graph; other calls are made between two graphs.

    Those are the ones that end in errors or in torch's own module, or need more than tensors, or weights that are
    computed before every call.
    """
    if not isinstance(input, torch.Tensor) or autocast_enabled() or (module.training and drops(kind, module)):
        return False
    if hx is not None and not (isinstance(hx, (tuple, list)) and len(hx) == 2):
        return False
    weights = _weights(kind, module)
    for weight in weights:
        if not isinstance(weight, torch.nn.Parameter):
            return False
    for tensor in [input, *(hx or ()), *weights]:
        if not isinstance(tensor, torch.Tensor) or tensor.device.type != "cpu" or tensor.dtype is not input.dtype:
            return False
        if torch.is_grad_enabled() and tensor.requires_grad:
            return False
    axes = (1, 2) if kind is CELL else (2, 3)
    return input.dtype in DTYPES and input.dim() in axes and input.shape[-1] == module.input_size


def call(kind: Kind, module: Any, input: Any, hx: Any) -> Any:
    """Call the operator for a module."""
    weights = _weights(kind, module)
    if kind is CELL:
        h, c = torch.ops.numba_lstm.lstm_cell(input, list(hx or ()), weights, module._numba_lstm_form)
        return h, c
    sizes = *_sizes(kind, module), module._numba_lstm_form
    output, h_n, c_n = torch.ops.numba_lstm.lstm(input, list(hx or ()), weights, bool(module.batch_first), *sizes)
    return output, (h_n, c_n)


# --- what the operators do --------------------------------------------------------------------------------------

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


def set_form(module: Any, form: str | None) -> None:
    """Say in which form a module keeps weights; in none if that is None."""
    module.__dict__.pop(_FORM, None)
    if form is not None:
        module.__dict__[_FORM] = form


def accelerated_over(module: Any) -> Any:
    """Return the accelerated module that has the attributes of a module, which may be itself; or None."""
    if PACKING not in module.__dict__:
        return None
    return next((each for each in list(live.values()) if each.__dict__ is module.__dict__), None)


def packing_in(module: Any) -> Packing:
    """Return what a module has packed.  Copies have nothing of the kind at first, however they were made."""
    packing: Packing | None = module.__dict__.get(PACKING)
    if packing is None:
        packing = module.__dict__[PACKING] = Packing()
    return packing


def _packing(kind: Kind, weights: list[Any], form: str | None) -> Packing:
    """Return what the module with some parameters, and a form, has packed."""
    memory = tuple([weight.data_ptr() for weight in weights])
    key = kind.called, form, memory
    packing: Packing
    found = _found.get(key)
    module = found and found()
    if module is None or _memory(kind, module, weights, form) != memory:
        module = next((each for each in list(live.values()) if _memory(kind, each, weights, form) == memory), None)
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
    tensors = _attributes(kind, module)
    if len(tensors) != len(like) or not all(isinstance(tensor, torch.nn.Parameter) for tensor in tensors):
        return None
    return tuple([tensor.data_ptr() for tensor in tensors])


def _ready(kind: Kind, sizes: tuple[Any, ...], weights: list[Any], form: str | None) -> Any:
    return _packing(kind, weights, form).ready(kind, sizes, form, lambda shapes: weights)


def _run_lstm(input: Any, hx: Any, weights: Any, batch_first: bool, *more: Any) -> Any:
    sizes, form = _sizes_and_form(more)
    core = _ready(LAYERS, sizes, weights, form).cores[batch_first]
    output, (h_n, c_n) = core(input.numpy(), [state.numpy() for state in hx] or None)
    return torch.from_numpy(output), torch.from_numpy(h_n), torch.from_numpy(c_n)


def _sizes_and_form(more: tuple[Any, ...]) -> tuple[tuple[Any, ...], str | None]:
    """Take arguments apart, the last of which torch leaves out where it is the default."""
    return more[:_COUNT], next(iter(more[_COUNT:]), None)


def _shape_lstm(input: Any, hx: Any, weights: Any, batch_first: bool, *more: Any) -> Any:
    architecture = Architecture(*_sizes_and_form(more)[0])
    cells, output_size = architecture.num_layers * architecture.num_directions, architecture.output_size
    rows = [] if input.dim() == 2 else [input.shape[0 if batch_first else 1]]
    shapes = (
        [*input.shape[:-1], architecture.num_directions * output_size],
        [cells, *rows, output_size],
        [cells, *rows, architecture.hidden_size],
    )
    return tuple(input.new_empty(shape) for shape in shapes)


def _run_cell(input: Any, hx: Any, weights: Any, form: str | None = None) -> Any:
    sizes = input.shape[-1], weights[0].shape[0] // 4, 1, len(weights) > 2, False, 0
    (core,) = _ready(CELL, sizes, weights, form).cores
    h, c = core(input.numpy(), [state.numpy() for state in hx] or None)
    return torch.from_numpy(h), torch.from_numpy(c)


def _shape_cell(input: Any, hx: Any, weights: Any, form: str | None = None) -> Any:
    shape = [*input.shape[:-1], weights[0].shape[0] // 4]
    return input.new_empty(shape), input.new_empty(shape)


def _define() -> None:
    library = torch.library
    for name, run, shape in (("lstm", _run_lstm, _shape_lstm), ("lstm_cell", _run_cell, _shape_cell)):
        if hasattr(torch.ops.numba_lstm, name):  # this module was imported before
            continue
        library.define(f"numba_lstm::{name}", _SCHEMAS[name])
        library.impl(f"numba_lstm::{name}", "CPU", run)
        library.register_fake(f"numba_lstm::{name}", shape)


if DEFINED:
    _define()
