"""Tensors as arrays, where they are nothing but memory; whatever else torch is doing with them is left to torch."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .._extras import need

torch: Any = need("torch", extra="torch", purpose="numba_lstm.io.torch")
TorchPacked: Any = torch.nn.utils.rnn.PackedSequence

DTYPES = {torch.float32: np.float32, torch.float64: np.float64}

# Kernels are none of torch's operators, so that whatever looks at operators (tracers, transforms, fake tensors, modes)
# would miss them and take their result for a constant: an operator or torch's module goes there.  All make themselves
# known by the keys by which torch dispatches an operator: those of a tensor, and those that hold in a thread.  So it is
# not they that are listed here, but what is there without any of them.
_KEYS = torch._C.DispatchKey
_tensor_keys = torch._C._dispatch_keys
_thread_keys = torch._C._dispatch_tls_local_include_set
_thread_leaves_out = torch._C._dispatch_tls_local_exclude_set


def _sets(keys: list[Any], outside_of_inference_mode: list[Any]) -> frozenset[int]:
    """Return two sets of keys, as the numbers that torch has for them."""
    sets = (keys, [*keys, *outside_of_inference_mode])
    return frozenset(
        functools.reduce(lambda a, b: a | b, map(torch._C.DispatchKeySet, some)).raw_repr() for some in sets
    )


@functools.cache
def _plain_tensor() -> frozenset[int]:
    return _sets([_KEYS.CPU, _KEYS.AutocastCPU], [_KEYS.ADInplaceOrView, _KEYS.AutogradCPU])


@functools.cache
def _plain_thread() -> frozenset[int]:
    return _sets([_KEYS.BackendSelect], [_KEYS.ADInplaceOrView])


_NAMES = ("Python", "PythonTLSSnapshot", "PythonDispatcher", "PreDispatch")
_MODES = [getattr(_KEYS, name) for name in _NAMES if hasattr(_KEYS, name)]
_forward_ad = torch.autograd.forward_ad


def in_dispatch_mode() -> bool:
    """Return whether operators are handed to a mode in Python, such as that of ``make_fx``, and to nothing else."""
    keys = _thread_keys()
    modes = [key for key in _MODES if keys.has(key)]
    for key in modes:
        keys = keys.remove(key)
    return bool(modes) and keys.raw_repr() in _plain_thread()


def records_gradients() -> bool:
    """Return whether operators of torch note what their gradients need.

    They do not in inference mode, where gradients may be enabled nevertheless, nor within operators.
    """
    return torch.is_grad_enabled() and not _thread_leaves_out().has(_KEYS.AutogradOther)


def uncompiled(function: Callable[..., Any]) -> Callable[..., Any]:
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
    disabled._torchdynamo_disable_msg = "an accelerated module does what its operators do not take"
    return function


class LeftToTorch(Exception):
    """Something looks at torch's operators: torch's own module is to do the call."""


def check_thread() -> None:
    """Raise `LeftToTorch` where an operator of torch would not just be computed, as under a tracer or a transform."""
    if not is_plain_thread():
        raise LeftToTorch


def is_plain_thread() -> bool:
    """Return whether an operator of torch would just be computed."""
    return _thread_keys().raw_repr() in _plain_thread()


def no_gradients(called: str, form: str) -> RuntimeError:
    """Return the error for a call that has no gradients, as weights are kept in a form."""
    return RuntimeError(
        f"{called} with weights in {form} would need gradients, and has none: call the model under "
        "torch.inference_mode() or torch.no_grad(), or restore(model) to train it"
    )


def check_tangents(tensors: Iterable[Any]) -> None:
    """Raise `LeftToTorch` if forward-mode differentiation follows a tensor, which it does under ``no_grad`` as well."""
    if _forward_ad._current_level < 0:
        return
    if any(_forward_ad.unpack_dual(tensor).tangent is not None for tensor in tensors):
        raise LeftToTorch


def in_place(tensor: Any) -> bool:
    """Return whether a tensor of a dtype of `DTYPES` is nothing but memory."""
    return _tensor_keys(tensor).raw_repr() in _plain_tensor()


def check_tensor(name: str, value: Any) -> None:
    """Raise TypeError unless an argument is a tensor."""
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"{name} should be a Tensor, got: {type(value).__name__}")


def dense(name: str, tensor: Any, module: str) -> Any:
    """Return a tensor of the same numbers that is nothing but memory; itself but where it is a view that negates.

    Parameters
    ----------
    name, module : str
        What an error calls them.
    tensor : Tensor
        Of real numbers.
    """
    return tensor if in_place(tensor) else _resolved(name, tensor, module)


def array_in(tensor: Any) -> np.ndarray:
    """Return a tensor that is nothing but memory as an array, in its own memory."""
    array: np.ndarray = (tensor.detach() if tensor.requires_grad else tensor).numpy()
    return array


def _resolved(name: str, tensor: Any, module: str) -> Any:
    """Return a tensor of the same numbers that is nothing but memory; raise an error, or `LeftToTorch`."""
    if tensor.is_meta or _tensor_keys(tensor).has(_KEYS.Python):
        raise LeftToTorch
    if not tensor.is_cpu:
        raise ValueError(f"{name} is on {tensor.device}; {module} computes on the CPU: {name}.cpu()")
    if tensor.is_nested:
        raise ValueError(f"{name} is nested; {module} takes padded tensors and packed sequences: to_padded_tensor")
    if tensor.layout is not torch.strided:
        raise ValueError(f"{name} has layout {tensor.layout}; {module} takes dense tensors: {name}.to_dense()")
    if tensor.is_neg():
        tensor = tensor.resolve_neg()
    if not in_place(tensor):
        raise LeftToTorch
    return tensor


# --- subclasses of Tensor -----------------------------------------------------------------------------------


def overriding(input: Any, hx: Any) -> tuple[Any, ...]:
    """Return the tensors of a call where something wants to be asked how to do it, else nothing.

    These are subclasses of Tensor, what else has a ``__torch_function__``, and modes that have one.
    """
    given = (input, *hx) if isinstance(hx, (tuple, list)) else (input,)
    return given if torch.overrides.has_torch_function(given) else ()


def overridden(
    given: tuple[Any, ...], call: Callable[..., Any], module: Any, is_leaf: bool, input: Any, hx: Any
) -> Any:
    """Ask them; those that do nothing of their own make the ``call`` again, and give its results their own type.

    ``is_leaf`` says that nothing but this happens in a call of the module, so that ``torch.fx`` need not look into it.
    """
    for value in given:
        if is_leaf and isinstance(value, torch.fx.Proxy):
            return _as_leaf(value.tracer, module, input, hx)
        if not isinstance(value, torch.Tensor) and hasattr(value, "__torch_function__"):
            raise LeftToTorch
    return torch.overrides.handle_torch_function(call, given, module, input, hx)


def _as_leaf(tracer: Any, module: Any, input: Any, hx: Any) -> Any:
    """Return what ``torch.fx`` has for a module that it does not look into, as it does not into torch's own."""
    path = tracer.path_of_module(module)
    if not path:
        raise RuntimeError("torch.fx cannot trace an LSTM by itself, torch's own neither: trace a model that it is in")
    return tracer.create_proxy("call_module", path, (input,) if hx is None else (input, hx), {})


# --- autocast -----------------------------------------------------------------------------------------------

try:
    torch.is_autocast_enabled("cpu")
    _AUTOCAST = functools.partial(torch.is_autocast_enabled, "cpu"), functools.partial(torch.get_autocast_dtype, "cpu")
except TypeError:  # before torch 2.4
    _AUTOCAST = torch.is_autocast_cpu_enabled, torch.get_autocast_cpu_dtype

autocast_enabled = _AUTOCAST[0]

_outcomes: dict[Any, tuple[Any, ...]] = {}


def autocast_dtypes(
    input: Any, hx: Any, weights: Any, *, steps: int, layers: int, projected: bool, batch_sizes: Any
) -> tuple[Any, ...]:
    """Return the dtypes of what torch's own module would return under the autocast that there is.

    They depend on the version of torch, its libraries, the CPU and all of the arguments.  So torch is asked, with few
    steps of a few units.

    Parameters
    ----------
    input : Tensor
        The data of a packed sequence.
    hx : pair of Tensors, or None
    weights : torch.dtype
        Of the parameters.
    steps, layers : int
        Of the call and of the module; a cell has no layers.
    projected : bool
        Whether it has projections.
    batch_sizes : Tensor, or None
        Those of a packed sequence.

    Returns
    -------
    tuple of torch.dtype
        Of output, h_n and c_n; of h_1 and c_1 for a cell.

    Raises
    ------
    RuntimeError
        If torch's own module does not take these together.
    """
    autocast, fused, empty = _AUTOCAST[1](), torch._C._get_mkldnn_enabled(), input.numel() == 0
    dtypes = tuple(tensor.dtype for tensor in (input, *((input, input) if hx is None else hx)))  # zeros as the input
    # What comes out of a step or a layer may not be what goes into one: two tell of as many as there are.
    steps, layers, packing = min(steps, 2), min(layers, 2), ""
    if batch_sizes is not None:
        # Sequences of one length are computed as if they were not packed.
        packing = "even" if batch_sizes[0] == batch_sizes[-1] else "ragged"
    case = dtypes, weights, steps, layers, projected, packing, empty
    modes = autocast, fused, torch.is_grad_enabled()  # with gradients it has other operators
    if (case, modes) not in _outcomes:
        try:
            _outcomes[case, modes] = tuple(tensor.dtype for tensor in _ask(*case))
        except RuntimeError as error:
            given = ", ".join(str(dtype) for dtype in dict.fromkeys(dtypes))
            raise RuntimeError(
                f"torch.autocast of {autocast}: torch's own module does not take {given} with parameters of {weights} "
                f"on this CPU, nor does an accelerated module: convert input to {weights}, or call it outside of "
                f"autocast (torch: {str(error).splitlines()[0]})"
            ) from None
    return _outcomes[case, modes]


def _ask(
    dtypes: tuple[Any, ...], weights: Any, steps: int, layers: int, projected: bool, packing: str, empty: bool
) -> tuple[Any, ...]:
    """Have torch compute a few steps of two units, or one that they are projected to."""
    rows, units = 0 if empty else 2, 2
    outputs = 1 if projected else units

    def parameters(width: int) -> list[Any]:
        shapes = [(4 * units, width), (4 * units, outputs), (4 * units,), (4 * units,), *[(outputs, units)] * projected]
        return [torch.zeros(shape, dtype=weights) for shape in shapes]

    x, h, c = (torch.zeros(rows, n, dtype=dtype) for n, dtype in zip((1, outputs, units), dtypes, strict=True))
    if not layers:
        return tuple(torch.lstm_cell(x, (h, c), *parameters(1)))
    flat = [*parameters(1), *(parameters(outputs) if layers > 1 else [])]
    states, options = (h.expand(layers, -1, -1), c.expand(layers, -1, -1)), (True, layers, 0.0, False, False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that projections are slow in torch
        if packing:
            sizes = torch.tensor([rows] * (steps - 1) + [rows if packing == "even" else 1])
            return tuple(torch.lstm(x.new_zeros(int(sizes.sum()), 1), sizes, states, flat, *options))
        return tuple(torch.lstm(x.expand(steps, -1, -1), states, flat, *options, False))
