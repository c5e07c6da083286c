"""The arguments of calls of accelerated modules, as tensors that are nothing but memory, and results as tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...contract.checks.calls import checked_lstm_call, packed_call
from .tensors import array_in, autocast_dtypes, autocast_enabled, check_tangents, check_tensor, dense, torch
from .weights import CELL, Packed

_NAMES = ("input", "hx[0]", "hx[1]")


def _tensor(name: str, tensor: Any, packed: Packed, called: str) -> Any:
    """Return an argument as a tensor that is nothing but memory."""
    if getattr(tensor, "dtype", None) is not packed.dtype:
        check_tensor(name, tensor)
        raise ValueError(
            f"{'RNN input' if name == 'input' else name} dtype ({tensor.dtype}) does not match weight dtype "
            f"({packed.dtype}). "
            f"Convert {name}: {name}.to({packed.dtype}), or convert model: model.to({tensor.dtype})"
        )
    return dense(name, tensor, called)


def _extent(module: Any, input: Any, batch_sizes: Any) -> dict[str, Any]:
    """Return what `autocast_dtypes` wants to know of a module and a call."""
    if module._numba_lstm_kind is CELL:
        return {"steps": 1, "layers": 0, "projected": False}
    if batch_sizes is not None:
        steps = len(batch_sizes)
    else:
        steps = input.shape[bool(module.batch_first) and input.dim() == 3] if input.dim() else 1
    return {"steps": steps, "layers": module.num_layers, "projected": bool(module.proj_size)}


def tensors_given(
    module: Any, packed: Packed, input: Any, hx: Any, batch_sizes: Any = None
) -> tuple[Any, Any, tuple[Any, ...]]:
    """Return input and states as tensors of the parameters' dtype, and under autocast the dtypes of the results."""
    if hx is not None and not (isinstance(hx, (tuple, list)) and len(hx) == 2):
        if isinstance(hx, (tuple, list)):
            raise ValueError(f"hx should be a tuple (h_0, c_0) of two Tensors, got {len(hx)}")
        raise TypeError(f"hx should be a tuple (h_0, c_0) of two Tensors, got: {type(hx).__name__}")
    dtypes: tuple[Any, ...] = ()
    if autocast_enabled():
        for name, tensor in zip(_NAMES, (input, *(hx or ())), strict=False):
            check_tensor(name, tensor)
        extent = _extent(module, input, batch_sizes)
        dtypes = autocast_dtypes(input, hx, packed.dtype, **extent, batch_sizes=batch_sizes)
        input, hx = input.to(packed.dtype), hx and [state.to(packed.dtype) for state in hx]
    called = module._numba_lstm_kind.called
    x = _tensor("input", input, packed, called)
    if hx is None:
        check_tangents([input])
        return x, None, dtypes
    states = _tensor("hx[0]", hx[0], packed, called), _tensor("hx[1]", hx[1], packed, called)
    check_tangents([input, *hx])
    return x, states, dtypes


def check_sizes(module: Any, packed: Packed, input: Any, states: Any, batch_sizes: Any = None) -> None:
    """Raise the error that the call would end with, before anything is drawn or reordered for it."""
    network, x, hx = packed.network, array_in(input), states and tuple(map(array_in, states))
    if batch_sizes is not None:
        sizes = np.ascontiguousarray(batch_sizes.numpy())  # a tensor may have any strides
        packed_call(network.architecture, network.dtype, (x, sizes), hx, None)
    elif module._numba_lstm_kind is not CELL:
        checked_lstm_call(network.architecture, network.dtype, bool(module.batch_first), x, hx)


def results_of(dtypes: tuple[Any, ...], *arrays: np.ndarray) -> Any:
    """Return results as tensors."""
    tensors = map(torch.from_numpy, arrays)
    return [tensor.to(dtype) for tensor, dtype in zip(tensors, dtypes, strict=True)] if dtypes else tensors
