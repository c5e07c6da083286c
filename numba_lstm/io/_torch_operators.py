"""Accelerated modules in the graphs of torch.compile: operators of torch that are computed by our kernels.

Outside of graphs modules call the kernels themselves, which takes less time.  Operators take what a module has as
arguments, as ``aten::lstm`` does, so that a graph is good for every module of its sizes.
"""

from __future__ import annotations

from typing import Any

from ..parameters import Architecture
from ._torch_tensors import DTYPES, autocast_enabled, torch
from ._torch_weights import CELL, LAYERS, packing_of


def _never() -> bool:
    return False


is_compiling = getattr(getattr(torch, "compiler", None), "is_compiling", _never)
"""Whether a compiler looks at what is called; in a torch without this our modules stay out of its graphs."""
is_exporting = getattr(getattr(torch, "compiler", None), "is_exporting", _never)
"""Whether ``torch.export`` does so, whose programs are for elsewhere."""

_SIZES = "int input_size, int hidden_size, int num_layers, bool bias, bool bidirectional, int proj_size"
_SCHEMAS = {
    "numba_lstm::lstm": f"(Tensor input, Tensor[] hx, Tensor[] weights, bool batch_first, {_SIZES})"
    " -> (Tensor, Tensor, Tensor)",
    "numba_lstm::lstm_cell": "(Tensor input, Tensor[] hx, Tensor[] weights) -> (Tensor, Tensor)",
}
"""``hx`` is empty for zeros, and the weights are in the order of a state dict."""


def _names(module: Any) -> list[str]:
    """Return the names of a module's parameters in the order of a state dict, in words that a compiler can follow."""
    parts = ["weight_ih", "weight_hh"]
    if module.bias:
        parts += ["bias_ih", "bias_hh"]
    if module.kind is CELL:
        return parts
    if module.proj_size:
        parts += ["weight_hr"]
    ends = ["", "_reverse"] if module.bidirectional else [""]
    return [f"{part}_l{layer}{end}" for layer in range(module.num_layers) for end in ends for part in parts]


def _weights(module: Any) -> list[Any]:
    return [getattr(module, name) for name in _names(module)]


def takes(module: Any, input: Any, hx: Any) -> bool:
    """Return whether a call can be an operator in a graph; other calls are made between two graphs.

    Those are the ones that end in errors, in torch's own module, or need more than tensors.
    """
    if type(input) is not torch.Tensor or autocast_enabled() or (module.training and module._drops()):
        return False
    if hx is not None and not (isinstance(hx, (tuple, list)) and len(hx) == 2):
        return False
    tensors = [input, *(hx or ()), *_weights(module)]
    for tensor in tensors:
        if not isinstance(tensor, torch.Tensor) or tensor.device.type != "cpu" or tensor.dtype is not input.dtype:
            return False
        if torch.is_grad_enabled() and tensor.requires_grad:
            return False
    axes = (1, 2) if module.kind is CELL else (2, 3)
    return input.dtype in DTYPES and input.dim() in axes and input.shape[-1] == module.input_size


def lstm(module: Any, input: Any, hx: Any) -> Any:
    """Call the operator for an accelerated LSTM."""
    m = module
    sizes = m.input_size, m.hidden_size, m.num_layers, bool(m.bias), m.bidirectional, m.proj_size
    output, h_n, c_n = torch.ops.numba_lstm.lstm(input, list(hx or ()), _weights(m), m.batch_first, *sizes)
    return output, (h_n, c_n)


def lstm_cell(module: Any, input: Any, hx: Any) -> Any:
    """Call the operator for an accelerated LSTMCell."""
    h, c = torch.ops.numba_lstm.lstm_cell(input, list(hx or ()), _weights(module))
    return h, c


# --- what the operators do --------------------------------------------------------------------------------------


def _run_lstm(input: Any, hx: Any, weights: Any, batch_first: bool, *sizes: Any) -> Any:
    core = packing_of(weights).ready(LAYERS, sizes, lambda shapes: weights).core
    core.batch_first = batch_first
    output, (h_n, c_n) = core(input.numpy(), [state.numpy() for state in hx] or None)
    return torch.from_numpy(output), torch.from_numpy(h_n), torch.from_numpy(c_n)


def _shape_lstm(input: Any, hx: Any, weights: Any, batch_first: bool, *sizes: Any) -> Any:
    architecture = Architecture(*sizes)
    cells, output_size = architecture.num_layers * architecture.num_directions, architecture.output_size
    rows = [] if input.dim() == 2 else [input.shape[0 if batch_first else 1]]
    shapes = (
        [*input.shape[:-1], architecture.num_directions * output_size],
        [cells, *rows, output_size],
        [cells, *rows, architecture.hidden_size],
    )
    return tuple(input.new_empty(shape) for shape in shapes)


def _run_cell(input: Any, hx: Any, weights: Any) -> Any:
    sizes = input.shape[-1], weights[0].shape[0] // 4, 1, len(weights) > 2, False, 0
    core = packing_of(weights).ready(CELL, sizes, lambda shapes: weights).core
    h, c = core(input.numpy(), [state.numpy() for state in hx] or None)
    return torch.from_numpy(h), torch.from_numpy(c)


def _shape_cell(input: Any, hx: Any, weights: Any) -> Any:
    shape = [*input.shape[:-1], weights[0].shape[0] // 4]
    return input.new_empty(shape), input.new_empty(shape)


def _define() -> None:
    library = torch.library
    for name, run, shape in (
        ("numba_lstm::lstm", _run_lstm, _shape_lstm),
        ("numba_lstm::lstm_cell", _run_cell, _shape_cell),
    ):
        library.define(name, _SCHEMAS[name])
        library.impl(name, "CPU", run)
        library.register_fake(name, shape)


if hasattr(torch.library, "register_fake"):
    _define()
else:  # before torch 2.4
    is_compiling = _never
