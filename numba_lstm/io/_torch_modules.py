"""torch modules for inference that compute with our kernels: what `accelerate` puts in place of torch's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..lstm import LSTM
from ..lstm_cell import LSTMCell
from ..module import Weights
from ..packed_sequence import PackedSequence
from ..parameters import CELL_SUFFIX, Architecture, Parameter
from ._torch_tensors import (
    DTYPES,
    TorchPacked,
    array_of,
    autocast_dtypes,
    autocast_enabled,
    check_tangents,
    check_thread,
    no_gradients,
    overridden,
    overriding,
    refusal,
    torch,
)

_SAMPLED = {1: (16,), 2: (8, 2)}
"""Places along the axes of a parameter that are compared before a call: some for each gate."""

_ARGUMENTS = ("input", "hx[0]", "hx[1]")

OURS = ("_packed", "_original")
"""Attributes that torch's modules do not have."""


class _Seen(NamedTuple):
    """A parameter as it was when it was packed."""

    parameter: Any
    version: int | None
    """How often torch has seen it change; None for those made in inference mode, for which torch does not count."""
    alias: Any
    """A tensor of the same memory, sizes and strides."""
    sample: np.ndarray
    """A view of some elements, in torch's memory."""
    content: bytes
    """What they were."""


class _Packed(NamedTuple):
    """Parameters in the kernels' order."""

    sizes: tuple[Any, ...]
    """The module's own, when they were packed."""
    shapes: dict[str, tuple[int, ...]]
    """What they ask of the parameters."""
    seen: list[_Seen]
    core: Any
    dtype: Any
    """torch's."""


def _uncompiled(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Keep torch.compile out of a function and of all that it calls, as ``torch.compiler.disable`` does.

    That would add a call, and to import numba_lstm.io.torch would import the compiler, which takes seconds.
    """
    function: Any = forward
    try:
        frames = torch._C._dynamo.eval_frame
        skip = frames._FrameAction.SKIP
        frames.set_code_exec_strategy(function.__code__, frames._FrameExecStrategy(skip, skip))
    except AttributeError:  # in an older torch
        return torch.compiler.disable(forward)  # type: ignore[no-any-return]
    # Where it would become a part of the graph of a function that calls it.
    function._torchdynamo_disable = True
    function._torchdynamo_disable_msg = "an accelerated module cannot be traced or exported: restore(model) before"
    return forward


class _Accelerated:
    """What the two modules share.  The attributes, the parameters among them, are those of the module it stands for."""

    torch_class: Any
    called: str
    """What errors call it."""
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

    def __prepare_scriptable__(self) -> Any:
        """Refuse ``torch.jit.script``; another module returned from here would stay in the caller's model."""
        raise refusal(self.called, "torch.jit.script would do so")

    def flatten_parameters(self) -> None:
        """Have the parameters packed again at the next call, after they were changed in a way that torch cannot see."""
        self.__dict__["_packed"] = None

    def _sizes(self) -> tuple[Any, ...]:
        """Return the arguments of an `Architecture`, as the module has them now."""
        raise NotImplementedError

    def _shapes(self, architecture: Architecture) -> dict[str, tuple[int, ...]]:
        """Return the shape of every parameter by its name."""
        return architecture.shapes()

    def _make_core(self, architecture: Architecture, dtype: Any) -> Any:
        """Return a module of ours."""
        raise NotImplementedError

    def _extent(self, input: Any, batch_sizes: Any) -> dict[str, int]:
        """Return what `autocast_dtypes` wants to know of a module and a call."""
        raise NotImplementedError

    def _ready(self) -> _Packed:
        """Return the current parameters, packed; raise if the call is for more than inference."""
        module: Any = self
        if module.training:
            raise RuntimeError(f"{self.called} is for inference: call model.eval(), or restore(model) to train it")
        check_thread(self.called)
        sizes = self._sizes()
        packed: _Packed | None = module._packed
        if packed is None or packed.sizes != sizes:
            architecture = _architecture(sizes)
            packed, shapes = None, self._shapes(architecture)
        else:
            shapes = packed.shapes
        parameters = _parameters(module, shapes)
        if torch.is_grad_enabled() and any(parameter.requires_grad for parameter in parameters):
            raise no_gradients("the parameters")
        check_tangents(shapes, parameters)
        if packed is None or not _unchanged(parameters, packed):
            packed = module.__dict__["_packed"] = _pack(module, sizes, shapes, parameters)
        return packed


def _architecture(sizes: tuple[Any, ...]) -> Architecture:
    """Return the sizes of a module, which torch takes in every type that will do."""
    input_size, hidden_size, num_layers, bias, bidirectional, proj_size = sizes
    return Architecture(
        int(input_size), int(hidden_size), int(num_layers), bool(bias), bool(bidirectional), int(proj_size)
    )


def _parameters(module: Any, shapes: dict[str, tuple[int, ...]]) -> list[Any]:
    """Return the parameters of a module, or what has taken their places: whatever its attributes are, as torch does.

    Those of pruning, weight norm and parametrizations are computed, and are no parameters of the module.
    """
    own, found = module._parameters, []
    for name in shapes:
        parameter = own.get(name)
        if parameter is None:
            parameter = getattr(module, name, None)  # which takes longer
            if not isinstance(parameter, torch.Tensor):
                raise RuntimeError(
                    f"{name} of {module.called} should be a Tensor of shape {shapes[name]}, and "
                    f"{'there is none' if parameter is None else f'it is a {type(parameter).__name__}'}: assign one, "
                    "or restore(model)"
                )
        found.append(parameter)
    return found


def _unchanged(parameters: list[Any], packed: _Packed) -> bool:
    """Return whether parameters are as they were, as far as can be seen in about a microsecond."""
    for parameter, seen in zip(parameters, packed.seen, strict=True):
        was, version, alias, sample, content = seen
        if (
            parameter is not was
            or (version is not None and parameter._version != version)
            or not parameter.is_set_to(alias)
            or parameter.is_neg()  # then the sample is of a copy
            or sample.tobytes() != content
        ):
            return False
    return True


def _pack(module: Any, sizes: tuple[Any, ...], shapes: dict[str, tuple[int, ...]], parameters: list[Any]) -> _Packed:
    """Pack the parameters of a module, and remember how they were."""
    seen, arrays, dtypes = [], {}, {}
    for (name, shape), parameter in zip(shapes.items(), parameters, strict=True):
        if parameter.device.type not in ("cpu", "meta") or parameter.dtype not in DTYPES:
            raise ValueError(
                f"{module.called} computes in float32 or float64 on CPUs, and {name} is {parameter.dtype} on "
                f"{parameter.device}: call model.float() or model.cpu()"
            )
        if parameter.shape != shape:
            raise RuntimeError(
                f"{name} of {module.called} should have shape {shape}, which its sizes ask for, got: "
                f"{tuple(parameter.shape)}"
            )
        array = array_of(name, parameter, module.called)
        version = None if parameter.is_inference() else parameter._version
        steps = [max(1, size // count) for size, count in zip(shape, _SAMPLED[array.ndim], strict=True)]
        sample = array[tuple(slice(step // 2, None, step) for step in steps)]
        seen.append(_Seen(parameter, version, parameter.detach(), sample, sample.tobytes()))
        arrays[name] = array
        dtypes[parameter.dtype] = name
    if len(dtypes) != 1:
        found = ", ".join(f"{name} is {dtype}" for dtype, name in dtypes.items())
        raise ValueError(f"{module.called} has parameters of different dtypes: {found}")
    (dtype,) = dtypes
    core = module._make_core(_architecture(sizes), DTYPES[dtype])
    # Not copies: packing reads torch's memory, and what changes there is packed again.
    core._weights = Weights({name: array.view(Parameter) for name, array in arrays.items()})
    core._pack()
    return _Packed(sizes, shapes, seen, core, dtype)


# --- calls ------------------------------------------------------------------------------------------------------


def _array(name: str, tensor: Any, packed: _Packed, called: str) -> np.ndarray:
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
    module: Any, packed: _Packed, input: Any, hx: Any, batch_sizes: Any = None
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
    called = module.called
    x = _array("input", input, packed, called)
    if hx is None:
        check_tangents(_ARGUMENTS, [input])
        return x, None, dtypes
    states = _array("hx[0]", hx[0], packed, called), _array("hx[1]", hx[1], packed, called)
    check_tangents(_ARGUMENTS, [input, *hx])
    return x, states, dtypes


def _tensors(dtypes: tuple[Any, ...], *arrays: np.ndarray) -> Any:
    """Return results as tensors."""
    tensors = map(torch.from_numpy, arrays)
    return [tensor.to(dtype) for tensor, dtype in zip(tensors, dtypes, strict=True)] if dtypes else tensors


class AcceleratedLSTM(_Accelerated, torch.nn.LSTM):
    """``torch.nn.LSTM`` for inference, computed by Numba kernels."""

    torch_class = torch.nn.LSTM
    called = "an accelerated LSTM"

    def _sizes(self) -> tuple[Any, ...]:
        m: Any = self
        return m.input_size, m.hidden_size, m.num_layers, m.bias, m.bidirectional, m.proj_size

    def _make_core(self, architecture: Architecture, dtype: Any) -> LSTM:
        a = architecture
        return LSTM(
            a.input_size, a.hidden_size, a.num_layers, a.bias, False, 0.0, a.bidirectional, a.proj_size, dtype=dtype
        ).eval()

    def _extent(self, input: Any, batch_sizes: Any) -> dict[str, int]:
        m: Any = self
        if batch_sizes is not None:
            steps = len(batch_sizes)
        else:
            steps = input.shape[bool(m.batch_first) and input.dim() == 3] if input.dim() else 1
        return {"steps": steps, "layers": m.num_layers, "projected": bool(m.proj_size)}

    @_uncompiled
    def forward(self, input: Any, hx: Any = None) -> Any:
        """Run sequences through the network, as ``torch.nn.LSTM``."""
        given = overriding(input, hx)
        if given:
            return overridden(given, AcceleratedLSTM.forward, self, self.called, input, hx)
        packed = self._ready()
        core: Any = packed.core
        module: Any = self
        if isinstance(input, TorchPacked):
            data, batch_sizes, *orders = input
            x, states, dtypes = _arrays(self, packed, data, hx, batch_sizes)
            indices = [order if order is None else order.numpy() for order in orders]
            result, (h_n, c_n) = core(PackedSequence(x, batch_sizes.numpy(), *indices), states)
            data, h_n, c_n = _tensors(dtypes, result.data, h_n, c_n)
            return TorchPacked(data, batch_sizes, *orders), (h_n, c_n)
        if core.batch_first is not module.batch_first:
            core.batch_first = bool(module.batch_first)
        x, states, dtypes = _arrays(self, packed, input, hx)
        result, (h_n, c_n) = core(x, states)
        output, h_n, c_n = _tensors(dtypes, result, h_n, c_n)
        return output, (h_n, c_n)


class AcceleratedLSTMCell(_Accelerated, torch.nn.LSTMCell):
    """``torch.nn.LSTMCell`` for inference, computed by Numba kernels."""

    torch_class = torch.nn.LSTMCell
    called = "an accelerated LSTMCell"

    def _sizes(self) -> tuple[Any, ...]:
        m: Any = self
        # A cell that was made without biases uses those that it has been given since.
        bias = m.bias or m._parameters.get("bias_ih") is not None
        return m.input_size, m.hidden_size, 1, bias, False, 0

    def _shapes(self, architecture: Architecture) -> dict[str, tuple[int, ...]]:
        return {name.removesuffix(CELL_SUFFIX): shape for name, shape in architecture.shapes().items()}

    def _make_core(self, architecture: Architecture, dtype: Any) -> LSTMCell:
        return LSTMCell(architecture.input_size, architecture.hidden_size, architecture.bias, dtype=dtype).eval()

    def _extent(self, input: Any, batch_sizes: Any) -> dict[str, int]:
        return {"steps": 1, "layers": 0, "projected": False}

    @_uncompiled
    def forward(self, input: Any, hx: Any = None) -> Any:
        """Run one step, as ``torch.nn.LSTMCell``."""
        given = overriding(input, hx)
        if given:
            return overridden(given, AcceleratedLSTMCell.forward, self, self.called, input, hx)
        packed = self._ready()
        x, states, dtypes = _arrays(self, packed, input, hx)
        h, c = _tensors(dtypes, *packed.core(x, states))
        return h, c


# --- back to torch's --------------------------------------------------------------------------------------------


def as_torch(module: Any, into: Any = None) -> Any:
    """Return torch's module over the attributes of an accelerated one: a new one, or one there was before."""
    accelerated, kind = type(module), module.torch_class
    if accelerated not in (AcceleratedLSTM, AcceleratedLSTMCell):
        # register_parametrization has made a class for this one module, with a property for each parameter.
        own = {name: value for name, value in vars(accelerated).items() if name not in ("__dict__", "__weakref__")}
        kind = type(accelerated.__name__.replace("Accelerated", ""), (kind,), own)
    plain = kind.__new__(kind) if into is None else into
    plain.__dict__.update({name: value for name, value in module.__dict__.items() if name not in OURS})
    plain.__class__ = kind
    return plain
