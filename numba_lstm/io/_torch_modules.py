"""torch modules for inference that compute with our kernels: what `accelerate` puts in place of torch's."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..lstm import LSTM
from ..lstm_cell import LSTMCell
from ..module import Weights
from ..packed_sequence import PackedSequence
from ..parameters import Parameter
from ._extras import need

torch: Any = need("torch", extra="torch", purpose="numba_lstm.io.torch")
TorchPacked: Any = torch.nn.utils.rnn.PackedSequence

_SAMPLED = {1: (16,), 2: (8, 2)}
"""Places along the axes of a parameter that are compared before a call: some for each gate."""

_DTYPES = {torch.float32: np.float32, torch.float64: np.float64}

OURS = ("_packed", "_original")
"""Attributes that torch's modules do not have."""


class _Seen(NamedTuple):
    """A parameter as it was when it was packed."""

    parameter: Any
    version: int | None
    """How often torch has seen it change; None for those made in inference mode, for which torch does not count."""
    address: int
    sample: np.ndarray
    """A view of some elements, in torch's memory."""
    content: bytes
    """What they were."""


class _Packed(NamedTuple):
    """Parameters in the kernels' order."""

    seen: list[_Seen]
    core: Any
    dtype: Any
    """torch's."""


class _Accelerated:
    """What the two modules share.  The attributes, the parameters among them, are those of the module it stands for."""

    _packed: _Packed | None
    _original: Any

    def __getstate__(self) -> dict[str, Any]:
        parent: Any = super()
        get = getattr(parent, "__getstate__", None)  # which cells have from Python 3.11 on
        state: dict[str, Any] = self.__dict__ if get is None else get()
        return {name: value for name, value in state.items() if name not in OURS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        parent: Any = super()
        parent.__setstate__(state)
        self.__dict__.update(_packed=None, _original=None)

    def flatten_parameters(self) -> None:
        """Have the parameters packed again at the next call, after they were changed in a way that torch cannot see."""
        self.__dict__["_packed"] = None

    def _ready(self) -> _Packed:
        """Return the current parameters, packed; raise if the call is for more than inference."""
        module: Any = self
        if module.training:
            raise RuntimeError(f"{_name(self)} is for inference: call model.eval(), or restore(model) to train it")
        if torch._C._get_tracing_state() is not None:
            raise RuntimeError(f"{_name(self)} cannot be traced or exported: restore(model) before")
        parameters = [parameter for parameter in module._parameters.values() if parameter is not None]
        if torch.is_grad_enabled() and any(parameter.requires_grad for parameter in parameters):
            raise RuntimeError(_no_gradients("the parameters"))
        packed: _Packed | None = module._packed
        if packed is None or len(parameters) != len(packed.seen) or not all(map(_unchanged, parameters, packed.seen)):
            packed = _pack(module)
        return packed


def _unchanged(parameter: Any, seen: _Seen) -> bool:
    return (
        parameter is seen.parameter
        and (seen.version is None or parameter._version == seen.version)
        and parameter.data_ptr() == seen.address
        and seen.sample.tobytes() == seen.content
    )


def _no_gradients(what: str) -> str:
    return (
        f"{what} of an accelerated module would need gradients, and it has none: call the model under "
        "torch.inference_mode() or torch.no_grad(), or restore(model) to train it"
    )


def _name(module: Any) -> str:
    return f"an accelerated {module.torch_class.__name__}"


def _pack(module: Any) -> _Packed:
    """Pack the parameters of a module, and remember how they were."""
    seen, arrays, dtypes = [], {}, set()
    for name, parameter in module._parameters.items():
        if parameter is None:
            continue
        if not parameter.is_cpu or parameter.dtype not in _DTYPES:
            raise ValueError(
                f"{_name(module)} computes in float32 or float64 on CPUs, and {name} is {parameter.dtype} on "
                f"{parameter.device}: call model.float() or model.cpu()"
            )
        version = None if parameter.is_inference() else parameter._version
        array = parameter.detach().numpy()
        steps = [max(1, size // count) for size, count in zip(array.shape, _SAMPLED[array.ndim], strict=True)]
        sample = array[tuple(slice(step // 2, None, step) for step in steps)]
        seen.append(_Seen(parameter, version, parameter.data_ptr(), sample, sample.tobytes()))
        arrays[name] = array
        dtypes.add(parameter.dtype)
    if len(dtypes) != 1:
        raise ValueError(f"{_name(module)} has parameters of different dtypes: {', '.join(map(str, dtypes))}")
    (dtype,) = dtypes
    core = module._make_core(_DTYPES[dtype])
    # Not copies: packing reads torch's memory, and what changes there is packed again.
    core._weights = Weights({name: array.view(Parameter) for name, array in arrays.items()})
    core._pack()
    packed = _Packed(seen, core, dtype)
    module.__dict__["_packed"] = packed
    return packed


def _array(name: str, tensor: Any, packed: _Packed) -> np.ndarray:
    """Return a tensor's memory as an array."""
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"{name} should be a Tensor, got: {type(tensor).__name__}")
    if tensor.dtype is not packed.dtype:
        raise ValueError(
            f"{name} dtype ({tensor.dtype}) does not match weight dtype ({packed.dtype}). "
            f"Convert {name}: {name}.to({packed.dtype}), or convert model: model.to({tensor.dtype})"
        )
    if not tensor.is_cpu:
        raise ValueError(f"{name} is on {tensor.device}; an accelerated module computes on the CPU: {name}.cpu()")
    if tensor.requires_grad:
        if torch.is_grad_enabled():
            raise RuntimeError(_no_gradients(name))
        tensor = tensor.detach()
    array: np.ndarray = tensor.numpy()
    return array


def _states(hx: Any, packed: _Packed) -> tuple[np.ndarray, np.ndarray]:
    if not isinstance(hx, (tuple, list)) or len(hx) != 2:
        raise TypeError(f"hx should be a tuple (h_0, c_0) of two Tensors, got: {type(hx).__name__}")
    return _array("hx[0]", hx[0], packed), _array("hx[1]", hx[1], packed)


class AcceleratedLSTM(_Accelerated, torch.nn.LSTM):
    """``torch.nn.LSTM`` for inference, computed by Numba kernels."""

    torch_class = torch.nn.LSTM

    def _make_core(self, dtype: Any) -> LSTM:
        module: Any = self
        return LSTM(
            module.input_size, module.hidden_size, module.num_layers, module.bias, module.batch_first, 0.0,
            module.bidirectional, module.proj_size, dtype=dtype,
        ).eval()  # fmt: skip

    def forward(self, input: Any, hx: Any = None) -> Any:
        """Run sequences through the network, as ``torch.nn.LSTM``."""
        from_numpy = torch.from_numpy
        packed = self._ready()
        core = packed.core
        states = None if hx is None else _states(hx, packed)
        if isinstance(input, TorchPacked):
            data, batch_sizes, *orders = input
            given = [order if order is None else order.numpy() for order in orders]
            result, (h_n, c_n) = core(
                PackedSequence(_array("input", data, packed), batch_sizes.numpy(), *given), states
            )
            return TorchPacked(from_numpy(result.data), batch_sizes, *orders), (from_numpy(h_n), from_numpy(c_n))
        module: Any = self
        if core.batch_first is not module.batch_first:
            core.batch_first = module.batch_first
        result, (h_n, c_n) = core(_array("input", input, packed), states)
        return from_numpy(result), (from_numpy(h_n), from_numpy(c_n))


class AcceleratedLSTMCell(_Accelerated, torch.nn.LSTMCell):
    """``torch.nn.LSTMCell`` for inference, computed by Numba kernels."""

    torch_class = torch.nn.LSTMCell

    def _make_core(self, dtype: Any) -> LSTMCell:
        module: Any = self
        return LSTMCell(module.input_size, module.hidden_size, module.bias, dtype=dtype).eval()

    def forward(self, input: Any, hx: Any = None) -> Any:
        """Run one step, as ``torch.nn.LSTMCell``."""
        packed = self._ready()
        h, c = packed.core(_array("input", input, packed), None if hx is None else _states(hx, packed))
        return torch.from_numpy(h), torch.from_numpy(c)
