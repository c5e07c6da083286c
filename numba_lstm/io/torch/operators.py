"""Accelerated modules in the graphs of torch.compile: operators of torch that are computed by our kernels.

Outside of graphs modules call the kernels themselves, which takes less time.  Operators take what a module has as
arguments, as ``aten::lstm`` does, so that a graph is good for every module of its sizes.
"""

from __future__ import annotations

from typing import Any

from ...contract.architecture import Architecture
from .dropout import drawn_masks, with_masks
from .gradients import Call, Given, gradients, handle_of, kept, no_second_gradients
from .owners import attributes, packing_of, sizes_of
from .tensors import DTYPES, array_in, autocast_enabled, is_plain_thread, records_gradients, torch
from .weights import CELL, LAYERS, Kind, Packed

_compiler: Any = getattr(torch, "compiler", None)
DEFINED = hasattr(torch.library, "register_autograd") and hasattr(_compiler, "_is_exporting_flag")
"""Whether torch is new enough, and tells graphs of its own from programs for elsewhere; else our modules stay out."""


def _never() -> bool:
    return False


is_compiling = _compiler.is_compiling if DEFINED else _never
"""Whether a compiler looks at what is called, or does in another thread."""


def is_watched() -> bool:
    """Return whether that is this thread: the compiler follows it, or a mode sees its operators."""
    return bool(_compiler.is_dynamo_compiling()) or not is_plain_thread()


def is_exporting() -> bool:
    """Return whether the compiler is ``torch.export``, whose programs are for elsewhere."""
    return bool(_compiler._is_exporting_flag)


def _records_gradients() -> bool:
    # The compiler does not follow what tells more, and compiles anew in inference mode.
    return bool(torch.is_grad_enabled()) if _compiler.is_dynamo_compiling() else records_gradients()


_SIZES = "int input_size, int hidden_size, int num_layers, bool bias, bool bidirectional, int proj_size"
_TENSORS = "Tensor input, Tensor[] hx, Tensor[] weights"
_OPTIONS = f"Tensor[] masks, bool batch_first, {_SIZES}, float dropout"
_SCHEMAS = {
    "lstm": f"({_TENSORS}, {_OPTIONS}, str? form) -> (Tensor, Tensor, Tensor)",
    "lstm_cell": f"({_TENSORS}, str? form) -> (Tensor, Tensor)",
    "lstm_vjp": f"({_TENSORS}, {_OPTIONS}, bool cell) -> Tensor[]",
    "lstm_backward": "(Tensor kept, Tensor?[] d_results, bool[] wanted, "
    f"{_TENSORS}, {_OPTIONS}, bool cell) -> Tensor[]",
}
"""``hx`` is empty for zeros, the weights are in the order of a state dict, and kept in a form, if there is one.  Masks
are of dropout, and empty in eval mode.  No argument has a default: torch leaves out those that are equal to theirs."""


def _weights(kind: Kind, module: Any) -> list[Any]:
    """Return what `tensors_of` does, in words that a compiler can follow, and None where there is none."""
    if kind is LAYERS and hasattr(module, "_update_flat_weights"):
        module._update_flat_weights()
        return list(module._flat_weights)
    return attributes(kind, module)


def takes(kind: Kind, module: Any, input: Any, hx: Any) -> bool:
    """Return whether a call can be an operator in a graph; other calls are made between two graphs.

    Those are the ones that end in errors or in torch's own module, or need more than tensors, or weights that are
    computed before every call.
    """
    if not isinstance(input, torch.Tensor) or autocast_enabled():
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
        if module._numba_lstm_form is not None and _records_gradients() and tensor.requires_grad:
            return False
    axes = (1, 2) if kind is CELL else (2, 3)
    if input.dtype not in DTYPES or input.dim() not in axes or input.shape[-1] != module.input_size:
        return False
    return hx is None or all(map(_has_shape, hx, _state_shapes(kind, module, input)))


def _state_shapes(kind: Kind, module: Any, input: Any) -> list[tuple[Any, ...]]:
    """Return the shapes of h_0 and c_0 that go with an input."""
    if kind is CELL:
        rows = (*input.shape[:-1],)
        return [(*rows, module.hidden_size)] * 2
    cells = module.num_layers * (1 + bool(module.bidirectional))
    rows = (input.shape[0 if module.batch_first else 1],) if input.dim() == 3 else ()
    return [(cells, *rows, module.proj_size or module.hidden_size), (cells, *rows, module.hidden_size)]


def _has_shape(tensor: Any, shape: tuple[Any, ...]) -> bool:
    return tuple(tensor.shape) == shape


def call(kind: Kind, module: Any, input: Any, hx: Any) -> Any:
    """Call the operator for a module."""
    operators, form = torch.ops.numba_lstm, module._numba_lstm_form
    tensors = input, list(hx or ()), _weights(kind, module)
    batch_first, dropout = (False, 0.0) if kind is CELL else (bool(module.batch_first), float(module.dropout))
    options = drawn_masks(module, input), batch_first, *sizes_of(kind, module), dropout
    if _records_gradients() and any(tensor.requires_grad for tensor in [input, *tensors[1], *tensors[2]]):
        result, *after, _ = operators.lstm_vjp(*tensors, *options, kind is CELL)
    elif kind is CELL:
        result, *after = operators.lstm_cell(*tensors, form)
    else:
        result, *after = operators.lstm(*tensors, *options, form)
    return result, after[0] if kind is CELL else tuple(after)


# --- what the operators do --------------------------------------------------------------------------------------


def _call_of(batch_first: bool, *more: Any) -> Call:
    """Return what a call is from arguments of an operator: those that are no tensors."""
    *sizes, dropout, cell = more
    return Call(CELL if cell else LAYERS, tuple(sizes), batch_first, dropout)


def _packed(kind: Kind, sizes: tuple[Any, ...], weights: list[Any], form: str | None) -> Packed:
    return packing_of(kind, weights, form).ready(kind, sizes, form, lambda shapes: weights)


def _run_lstm(input: Any, hx: Any, weights: Any, masks: Any, batch_first: bool, *more: Any) -> Any:
    *sizes, dropout, form = more
    core = _packed(LAYERS, tuple(sizes), weights, form).cores[batch_first]
    if masks:
        core = with_masks(core, dropout, masks)
    output, after = core(array_in(input), [array_in(state) for state in hx] or None)
    return tuple(map(torch.from_numpy, (output, *after)))


def _shape_lstm(input: Any, hx: Any, weights: Any, masks: Any, batch_first: bool, *more: Any) -> Any:
    *sizes, _, _ = more
    architecture = Architecture(*sizes)
    cells, output_size = architecture.num_layers * architecture.num_directions, architecture.output_size
    rows = [] if input.dim() == 2 else [input.shape[0 if batch_first else 1]]
    shapes = (
        [*input.shape[:-1], architecture.num_directions * output_size],
        [cells, *rows, output_size],
        [cells, *rows, architecture.hidden_size],
    )
    return tuple(input.new_empty(shape) for shape in shapes)


def _run_cell(input: Any, hx: Any, weights: Any, form: str | None) -> Any:
    sizes = input.shape[-1], weights[0].shape[0] // 4, 1, len(weights) > 2, False, 0
    (core,) = _packed(CELL, sizes, weights, form).cores
    return tuple(map(torch.from_numpy, core(array_in(input), [array_in(state) for state in hx] or None)))


def _shape_cell(input: Any, hx: Any, weights: Any, form: str | None) -> Any:
    shape = [*input.shape[:-1], weights[0].shape[0] // 4]
    return input.new_empty(shape), input.new_empty(shape)


def _run_vjp(input: Any, hx: Any, weights: Any, masks: Any, *options: Any) -> list[Any]:
    call = _call_of(*options)
    packed = _packed(call.kind, call.sizes, weights, None)
    results, backward = kept(call, packed, Given(input, hx, weights, masks))
    return [*map(torch.from_numpy, results), handle_of(backward)]


def _shape_vjp(input: Any, hx: Any, weights: Any, masks: Any, *options: Any) -> list[Any]:
    *others, cell = options
    results = _shape_cell(input, hx, weights, None) if cell else _shape_lstm(input, hx, weights, masks, *others, None)
    return [*results, input.new_empty([1], dtype=torch.uint8)]


def _run_backward(
    handle: Any, d_results: Any, wanted: Any, input: Any, hx: Any, weights: Any, masks: Any, *options: Any
) -> list[Any]:
    call = _call_of(*options)
    if any(wanted[-len(weights) :]):
        packing_of(call.kind, weights, None).trained = True
    return gradients(call, Given(input, hx, weights, masks), handle, d_results, wanted)


def _shape_backward(
    handle: Any, d_results: Any, wanted: Any, input: Any, hx: Any, weights: Any, masks: Any, *options: Any
) -> list[Any]:
    sources = [input, *(hx or (None, None)), *weights]
    return [source.new_empty(source.shape) for source, wants in zip(sources, wanted, strict=True) if wants]


def _save(ctx: Any, inputs: Any, output: Any) -> None:
    """Save what the backward pass of a call needs."""
    input, hx, weights, masks, *ctx.options = inputs
    ctx.counts = len(hx), len(weights)
    ctx.save_for_backward(output[-1], input, *hx, *weights, *masks)
    ctx.set_materialize_grads(False)


def _go_back(ctx: Any, d_results: Any) -> Any:
    """Return the gradients of a call, in the structure of its arguments."""
    handle, input, *others = ctx.saved_tensors
    states, end = ctx.counts[0], sum(ctx.counts)
    hx, weights, masks = others[:states], others[states:end], others[end:]
    wants_input, wants_hx, wants_weights, *_ = ctx.needs_input_grad
    wanted = [wants_input, *(wants_hx or (False, False)), *wants_weights]
    tensors = input, hx, weights, masks
    each = iter(torch.ops.numba_lstm.lstm_backward(handle, d_results[:-1], wanted, *tensors, *ctx.options))
    d_input, *d_others = [next(each) if wants else None for wants in wanted]
    return d_input, d_others[:states], d_others[2:], [None] * len(masks), *[None] * len(ctx.options)


def _go_no_further(ctx: Any, *d_gradients: Any) -> Any:
    raise no_second_gradients()


def _go_nowhere(ctx: Any, *d_results: Any) -> Any:
    raise RuntimeError(
        "gradients were asked for of an accelerated module in a graph that was made under torch.no_grad(), or with "
        "nothing that needs them: make the graph under torch.enable_grad()"
    )


_PARTS = {
    "lstm": (_run_lstm, _shape_lstm, _go_nowhere, None),
    "lstm_cell": (_run_cell, _shape_cell, _go_nowhere, None),
    "lstm_vjp": (_run_vjp, _shape_vjp, _go_back, _save),
    "lstm_backward": (_run_backward, _shape_backward, _go_no_further, None),
}
"""What operators do, the same of shapes alone, their backward passes, and what saves something for these."""


def _define() -> None:
    library = torch.library
    for name, (run, shape, backward, save) in _PARTS.items():
        if hasattr(torch.ops.numba_lstm, name):  # this module was imported before
            continue
        library.define(f"numba_lstm::{name}", _SCHEMAS[name])
        library.impl(f"numba_lstm::{name}", "CPU", run)
        library.register_fake(f"numba_lstm::{name}", shape)
        library.register_autograd(f"numba_lstm::{name}", backward, setup_context=save)


if DEFINED:
    _define()
