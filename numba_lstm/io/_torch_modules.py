"""torch modules for inference that compute with our kernels: what `accelerate` puts in place of torch's."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from ..packed_sequence import PackedSequence
from . import _torch_operators as operators
from ._torch_tensors import (
    LeftToTorch,
    TorchPacked,
    array_of,
    autocast_dtypes,
    autocast_enabled,
    check_tangents,
    check_thread,
    no_gradients,
    overridden,
    overriding,
    torch,
)
from ._torch_weights import CELL, LAYERS, Kind, Packed, Packing, tensors_of

_ARGUMENTS = ("input", "hx[0]", "hx[1]")

OURS = ("_packing", "_original")
"""Attributes that torch's modules do not have."""


def _uncompiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Keep torch.compile out of a function and of all that it calls, as ``torch.compiler.disable`` does.

    That would add a call, and to import numba_lstm.io.torch would import the compiler, which takes seconds.
    """
    disabled: Any = function
    try:
        frames = torch._C._dynamo.eval_frame
        skip = frames._FrameAction.SKIP
        frames.set_code_exec_strategy(disabled.__code__, frames._FrameExecStrategy(skip, skip))
    except AttributeError:  # in an older torch
        return torch.compiler.disable(function)  # type: ignore[no-any-return]
    # Where it would become a part of the graph of a function that calls it.
    disabled._torchdynamo_disable = True
    disabled._torchdynamo_disable_msg = "an accelerated module was called in a way that its operator does not take"
    return function


class _Accelerated:
    """What the two modules share.  The attributes, the parameters among them, are those of the module it stands for."""

    torch_class: Any
    """The one whose place it takes in the line of inheritance of `subclassed`."""
    kind: Kind
    _packing: Packing
    _original: Any

    def __getstate__(self) -> dict[str, Any]:
        parent: Any = super()
        get = getattr(parent, "__getstate__", None)  # which cells have from Python 3.11 on
        state: dict[str, Any] = self.__dict__ if get is None else get()
        return {name: value for name, value in state.items() if name not in OURS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        parent: Any = super()
        parent.__setstate__(state)
        self.__dict__.update(_packing=Packing(), _original=None)

    def __prepare_scriptable__(self) -> Any:
        """Refuse ``torch.jit.script``; another module returned from here would stay in the caller's model."""
        raise RuntimeError(f"{self.kind.called} is no TorchScript: call torch.jit.script after restore(model)")

    def flatten_parameters(self) -> None:
        """Do nothing, as torch's does on CPUs.

        Parameters are packed when they have changed; `numba_lstm.io.torch.repack` packs them in any case.
        """

    def _sizes(self) -> tuple[Any, ...]:
        """Return the arguments of an `Architecture`, as the module has them now."""
        raise NotImplementedError

    def _drops(self) -> bool:
        """Return whether dropout would apply, in train mode."""
        return False

    def _extent(self, input: Any, batch_sizes: Any) -> dict[str, int]:
        """Return what `autocast_dtypes` wants to know of a module and a call."""
        raise NotImplementedError

    def _tensors(self, shapes: dict[str, tuple[int, ...]]) -> list[Any]:
        """Return the current parameters; raise if gradients of them are wanted, or `LeftToTorch`."""
        tensors = tensors_of(self, self.kind.called, shapes)
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
            raise no_gradients("the parameters")
        check_tangents(tensors)
        return tensors

    def _ready(self) -> Packed:
        """Return the current parameters, packed; raise if the call is for more than inference, or `LeftToTorch`."""
        module: Any = self
        check_thread()
        packed: Packed = module._packing.ready(self.kind, self._sizes(), self._tensors)
        if module.training and self._drops():
            raise LeftToTorch  # its masks come from torch's random numbers
        return packed


# --- calls ------------------------------------------------------------------------------------------------------


def _array(name: str, tensor: Any, packed: Packed, called: str) -> np.ndarray:
    """Return an argument as an array."""
    if getattr(tensor, "dtype", None) is not packed.dtype:
        _check_tensor(name, tensor)
        raise ValueError(
            f"{name} dtype ({tensor.dtype}) does not match weight dtype ({packed.dtype}). "
            f"Convert {name}: {name}.to({packed.dtype}), or convert model: model.to({tensor.dtype})"
        )
    if tensor.requires_grad and torch.is_grad_enabled():
        raise no_gradients(name)
    return array_of(name, tensor, called)


def _check_tensor(name: str, value: Any) -> None:
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"{name} should be a Tensor, got: {type(value).__name__}")


def _arrays(
    module: Any, packed: Packed, input: Any, hx: Any, batch_sizes: Any = None
) -> tuple[Any, Any, tuple[Any, ...]]:
    """Return input and states as arrays, and under autocast the dtypes of the results."""
    if hx is not None and not (isinstance(hx, (tuple, list)) and len(hx) == 2):
        raise TypeError(f"hx should be a tuple (h_0, c_0) of two Tensors, got: {type(hx).__name__}")
    dtypes: tuple[Any, ...] = ()
    if autocast_enabled():
        for name, tensor in zip(_ARGUMENTS, (input, *(hx or ())), strict=False):
            _check_tensor(name, tensor)
        dtypes = autocast_dtypes(input, hx, packed.dtype, **module._extent(input, batch_sizes), batch_sizes=batch_sizes)
        input, hx = input.to(packed.dtype), hx and [state.to(packed.dtype) for state in hx]
    called = module.kind.called
    x = _array("input", input, packed, called)
    if hx is None:
        check_tangents([input])
        return x, None, dtypes
    states = _array("hx[0]", hx[0], packed, called), _array("hx[1]", hx[1], packed, called)
    check_tangents([input, *hx])
    return x, states, dtypes


def _results(dtypes: tuple[Any, ...], *arrays: np.ndarray) -> Any:
    """Return results as tensors."""
    tensors = map(torch.from_numpy, arrays)
    return [tensor.to(dtype) for tensor, dtype in zip(tensors, dtypes, strict=True)] if dtypes else tensors


class AcceleratedLSTM(_Accelerated, torch.nn.LSTM):
    """``torch.nn.LSTM`` for inference, computed by Numba kernels."""

    torch_class = torch.nn.LSTM
    kind = LAYERS

    def _sizes(self) -> tuple[Any, ...]:
        m: Any = self
        return m.input_size, m.hidden_size, m.num_layers, m.bias, m.bidirectional, m.proj_size

    def _drops(self) -> bool:
        m: Any = self
        return bool(m.dropout) and m.num_layers > 1

    def _extent(self, input: Any, batch_sizes: Any) -> dict[str, int]:
        m: Any = self
        if batch_sizes is not None:
            steps = len(batch_sizes)
        else:
            steps = input.shape[bool(m.batch_first) and input.dim() == 3] if input.dim() else 1
        return {"steps": steps, "layers": m.num_layers, "projected": bool(m.proj_size)}

    def forward(self, input: Any, hx: Any = None) -> Any:
        """Run sequences through the network, as ``torch.nn.LSTM``."""
        if operators.is_compiling():
            if operators.is_exporting():
                return super().forward(input, hx)
            if operators.takes(self, input, hx):
                return operators.lstm(self, input, hx)
        return self._call(input, hx)

    @_uncompiled
    def _call(self, input: Any, hx: Any) -> Any:
        try:
            given = overriding(input, hx)
            if given:
                return overridden(given, AcceleratedLSTM.forward, self, input, hx)
            packed = self._ready()
            core: Any = packed.core
            module: Any = self
            if isinstance(input, TorchPacked):
                data, batch_sizes, *orders = input
                x, states, dtypes = _arrays(self, packed, data, hx, batch_sizes)
                indices = [order if order is None else order.numpy() for order in orders]
                result, (h_n, c_n) = core(PackedSequence(x, batch_sizes.numpy(), *indices), states)
                data, h_n, c_n = _results(dtypes, result.data, h_n, c_n)
                return TorchPacked(data, batch_sizes, *orders), (h_n, c_n)
            if core.batch_first is not module.batch_first:
                core.batch_first = bool(module.batch_first)
            x, states, dtypes = _arrays(self, packed, input, hx)
            result, (h_n, c_n) = core(x, states)
            output, h_n, c_n = _results(dtypes, result, h_n, c_n)
            return output, (h_n, c_n)
        except LeftToTorch:
            pass
        return super().forward(input, hx)


class AcceleratedLSTMCell(_Accelerated, torch.nn.LSTMCell):
    """``torch.nn.LSTMCell`` for inference, computed by Numba kernels."""

    torch_class = torch.nn.LSTMCell
    kind = CELL

    def _sizes(self) -> tuple[Any, ...]:
        m: Any = self
        # A cell that was made without biases uses those that it has been given since.
        bias = m.bias or m._parameters.get("bias_ih") is not None
        return m.input_size, m.hidden_size, 1, bias, False, 0

    def _extent(self, input: Any, batch_sizes: Any) -> dict[str, int]:
        return {"steps": 1, "layers": 0, "projected": False}

    def forward(self, input: Any, hx: Any = None) -> Any:
        """Run one step, as ``torch.nn.LSTMCell``."""
        if operators.is_compiling():
            if operators.is_exporting():
                return super().forward(input, hx)
            if operators.takes(self, input, hx):
                return operators.lstm_cell(self, input, hx)
        return self._call(input, hx)

    @_uncompiled
    def _call(self, input: Any, hx: Any) -> Any:
        try:
            given = overriding(input, hx)
            if given:
                return overridden(given, AcceleratedLSTMCell.forward, self, input, hx)
            packed = self._ready()
            x, states, dtypes = _arrays(self, packed, input, hx)
            h, c = _results(dtypes, *packed.core(x, states))
            return h, c
        except LeftToTorch:
            pass
        return super().forward(input, hx)


# --- classes ----------------------------------------------------------------------------------------------------

_REPLACEMENTS: dict[Any, Any] = {torch.nn.LSTM: AcceleratedLSTM, torch.nn.LSTMCell: AcceleratedLSTMCell}


@functools.cache
def accelerated_class(kind: Any) -> Any:
    """Return the class that stands for ``torch.nn.LSTM``, ``torch.nn.LSTMCell``, or for a subclass of one.

    The latter inherits from the subclass first and then from ours, so that what the subclass overrides goes on running,
    and where it calls ``super().forward`` comes to ours instead of torch's.
    """
    if kind in _REPLACEMENTS:
        return _REPLACEMENTS[kind]
    ours = next(_REPLACEMENTS[base] for base in kind.__mro__ if base in _REPLACEMENTS)
    own = {"__module__": __name__, "__doc__": kind.__doc__, "__reduce_ex__": _reduce, "stands_for": kind}
    return type(kind)(f"Accelerated{kind.__name__}", (kind, ours), own)


def _torch_class(kind: Any) -> Any:
    """Return the class that an accelerated one stands for."""
    return kind.stands_for if "stands_for" in kind.__dict__ else kind.torch_class


def _reduce(module: Any, protocol: Any) -> Any:
    """Have a module of a class that was made here copied and pickled by the class that it was made for."""
    return _blank, (module.stands_for,), module.__getstate__()


def _blank(kind: Any) -> Any:
    """Return an accelerated module whose state is yet to come."""
    return object.__new__(accelerated_class(kind))


def _class_for(module: Any, other: Callable[[Any], Any]) -> Any:
    """Return ``other`` of a module's class, below the class that parametrizations have made for this one module."""
    kind: Any = type(module)
    if not torch.nn.utils.parametrize.is_parametrized(module):
        return other(kind)
    base = other(kind.__bases__[0])
    own = {name: value for name, value in vars(kind).items() if name not in ("__dict__", "__weakref__")}
    return type(kind)(f"Parametrized{base.__name__}", (base,), own)


def accelerated(module: Any) -> Any:
    """Return a module of ours over the attributes of one of torch's."""
    made = object.__new__(_class_for(module, accelerated_class))
    made.__dict__.update(module.__dict__, _packing=Packing(), _original=module)
    return made


def as_torch(module: Any) -> Any:
    """Return torch's module over the attributes of one of ours: the one that there was before, or else a new one."""
    kind = _class_for(module, _torch_class)
    plain = object.__new__(kind) if module._original is None else module._original
    plain.__dict__.update({name: value for name, value in module.__dict__.items() if name not in OURS})
    plain.__class__ = kind
    return plain
