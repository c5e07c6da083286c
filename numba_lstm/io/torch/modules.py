"""torch modules that compute with our kernels: what `accelerate` puts in place of torch's.

They inherit from torch's, and so do their users' subclasses from them.  So all that they have beside torch's attributes
begins with ``_numba_lstm``.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from ...contract.packed_sequence import PackedSequence
from . import operators, owners
from .arguments import check_sizes, results_of, tensors_given
from .dropout import drawn_masks, drops, with_masks
from .gradients import Call, Given, recorded
from .tensors import (
    LeftToTorch,
    TorchPacked,
    array_in,
    check_tangents,
    check_thread,
    in_dispatch_mode,
    no_gradients,
    overridden,
    overriding,
    records_gradients,
    torch,
    uncompiled,
)
from .weights import CELL, LAYERS, Kind, Packed, Packing, tensors_of

_MADE, _STANDS_FOR = "_numba_lstm_made", "_numba_lstm_stands_for"
"""Attributes of classes: of a user's, the one that was made of it; and back."""


class _Accelerated:
    """What the two modules share.

    The attributes are those of the module it stands for: both have one dictionary.  So whoever still has the other one,
    as in a list beside the model, calls the same parameters in the same mode.
    """

    _numba_lstm_kind: Kind
    _numba_lstm_form: str | None = None

    def __getstate__(self) -> dict[str, Any]:
        parent: Any = super()
        get = getattr(parent, "__getstate__", None)  # which cells have from Python 3.11 on
        state: dict[str, Any] = self.__dict__ if get is None else get()
        return {name: value for name, value in state.items() if name != owners.PACKING}

    def __setstate__(self, state: dict[str, Any]) -> None:
        parent: Any = super()
        parent.__setstate__(state)
        _own(self, None)

    def __prepare_scriptable__(self) -> Any:
        """Refuse ``torch.jit.script``; another module returned from here would stay in the caller's model."""
        called = self._numba_lstm_kind.called
        raise RuntimeError(f"{called} is no TorchScript: call torch.jit.script after restore(model)")

    def extra_repr(self) -> str:
        """Return what torch's module has, and the form in which weights are kept, if there is one."""
        parent: Any = super()
        form = self._numba_lstm_form
        return str(parent.extra_repr()) + (f", form={form!r}" if form else "")

    def flatten_parameters(self) -> None:
        """Do nothing, as torch's does on CPUs.

        Parameters are packed when they have changed; `numba_lstm.io.torch.repack` packs them in any case.
        """

    def forward(self, input: Any, hx: Any = None) -> Any:
        """Call the module, with the arguments and results of torch's."""
        kind = self._numba_lstm_kind
        if operators.is_compiling() and operators.is_watched():
            if operators.is_exporting():
                return _FORWARD[kind.called](self, input, hx)
            if type(input) is torch.Tensor and operators.takes(kind, self, input, hx):
                return operators.call(kind, self, input, hx)
        return _call(kind, self, input, hx)


@uncompiled
def _call(kind: Kind, module: Any, input: Any, hx: Any) -> Any:
    try:
        given = overriding(input, hx)
        if given:
            return overridden(given, _Accelerated.forward, module, _is_leaf(module), input, hx)
        packed = _ready(kind, module)
        if isinstance(input, TorchPacked) and kind is LAYERS:
            return _call_packed(module, packed, input, hx)
        input, states, dtypes = tensors_given(module, packed, input, hx)
        has_gradients, masks = _has_gradients(module, packed, input, states), []
        if module.training and drops(module):
            check_sizes(module, packed, input, states)  # a call that is refused draws nothing
            masks = drawn_masks(module, input)
        if has_gradients:
            result, *after = _recorded(module, packed, input, states, masks, dtypes)
            return result, after[0] if kind is CELL else tuple(after)
        core = _core(module, packed, masks, batch_first=kind is LAYERS and module.batch_first)
        result, after = core(array_in(input), states and tuple(map(array_in, states)))
        if kind is CELL:
            result, after = results_of(dtypes, result, after)
        else:
            result, *after = results_of(dtypes, result, *after)
            after = tuple(after)
        return result, after
    except LeftToTorch:
        pass
    if in_dispatch_mode():
        if operators.DEFINED and operators.takes(kind, module, input, hx):
            return operators.call(kind, module, input, hx)  # which the mode sees, and gives our bits
        if module._numba_lstm_form is not None:
            _check_left(module, input, hx)
    return _FORWARD[kind.called](module, input, hx)


def _check_left(module: Any, input: Any, hx: Any) -> None:
    """Refuse gradients that there are none of, and warn of float32 weights, where a mode has torch do a call."""
    called, form = module._numba_lstm_kind.called, module._numba_lstm_form
    given = [*(input if isinstance(input, TorchPacked) else [input]), *(hx if isinstance(hx, (tuple, list)) else [])]
    tensors = [each for each in (*given, *module.parameters()) if isinstance(each, torch.Tensor)]
    if records_gradients() and any(tensor.requires_grad for tensor in tensors):
        raise no_gradients(called, form)
    words = f"{called} with weights in {form}: a mode of torch sees this call, which torch does, with float32 weights"
    warnings.warn(words, stacklevel=2)


def _call_packed(module: Any, packed: Packed, input: Any, hx: Any) -> Any:
    """Run a packed sequence."""
    data, batch_sizes, *orders = input
    data, states, dtypes = tensors_given(module, packed, data, hx, batch_sizes)
    has_gradients = _has_gradients(module, packed, data, states)
    if has_gradients or drops(module):
        check_sizes(module, packed, data, states, batch_sizes)
    masks = drawn_masks(module, data)
    if has_gradients:
        order, inverse = orders
        states = _reordered(states, order)
        data, *after = _recorded(module, packed, data, states, masks, dtypes, batch_sizes.numpy())
        h_n, c_n = _reordered(after, inverse)
    else:
        indices = [order if order is None else order.numpy() for order in orders]
        x, arrays, sizes = array_in(data), states and tuple(map(array_in, states)), batch_sizes.numpy()
        run = _run_even if _is_even(x, arrays, sizes, indices) else _run_ragged
        data, h_n, c_n = results_of(dtypes, *run(_core(module, packed, masks), x, arrays, sizes, indices))
    return TorchPacked(data, batch_sizes, *orders), (h_n, c_n)


def _reordered(states: Any, order: Any) -> Any:
    """Return states with their rows in another order, as torch's module does it."""
    if states is None or order is None:
        return states
    return tuple(state.index_select(1, order) for state in states)


def _core(module: Any, packed: Packed, masks: list[Any], *, batch_first: bool = False) -> Any:
    """Return the module of ours that does a call without gradients."""
    core = packed.cores[-1 if batch_first else 0]
    return with_masks(core, module.dropout, masks) if masks else core


def _has_gradients(module: Any, packed: Packed, input: Any, states: Any) -> bool:
    """Return whether somebody may ask for gradients of a call; raise if there are none."""
    if not records_gradients():
        return False
    if not any(tensor.requires_grad for tensor in (input, *(states or ()), *packed.seen.tensors)):
        return False
    if packed.form is not None:
        raise no_gradients(module._numba_lstm_kind.called, packed.form)
    return True


def _recorded(
    module: Any, packed: Packed, input: Any, states: Any, masks: list[Any], dtypes: Any, batch_sizes: Any = None
) -> Any:
    """Do a call whose results have gradients; return these as tensors."""
    kind = module._numba_lstm_kind
    batch_first, dropout = (False, 0.0) if kind is CELL else (bool(module.batch_first), module.dropout)
    call = Call(kind, packed.sizes, batch_first and batch_sizes is None, dropout, batch_sizes)
    given = Given(input, states or (), packed.seen.tensors, masks)
    results = recorded(call, owners.packing_in(module), packed, given)
    return [tensor.to(dtype) for tensor, dtype in zip(results, dtypes, strict=True)] if dtypes else results


def _is_even(x: np.ndarray, states: Any, sizes: np.ndarray, orders: list[Any]) -> bool:
    """Return whether sequences have one length, and all else fits so far."""
    rows = int(sizes[0]) if sizes.size else 0
    return (
        rows > 0
        and x.shape[:-1] == (sizes.size * rows,)
        and bool((sizes == rows).all())
        and all(order is None or order.shape == (rows,) for order in orders)
        and all(state.ndim == 3 and state.shape[1] == rows for state in states or ())
    )


def _run_even(core: Any, x: np.ndarray, states: Any, sizes: np.ndarray, orders: list[Any]) -> tuple[np.ndarray, ...]:
    """Run sequences of one length, which many programs pack as well, in less time than the checks of others take."""
    order, inverse = orders
    if states is not None and order is not None:
        states = tuple(np.take(state, order, axis=1) for state in states)
    output, after = core(x.reshape(sizes.size, -1, x.shape[1]), states)
    if inverse is not None:
        after = [np.take(state, inverse, axis=1) for state in after]
    return output.reshape(len(x), output.shape[2]), *after


def _run_ragged(core: Any, x: np.ndarray, states: Any, sizes: np.ndarray, orders: list[Any]) -> tuple[np.ndarray, ...]:
    sequence, after = core(PackedSequence(x, sizes, *orders), states)
    return sequence.data, *after


def _ready(kind: Kind, module: Any) -> Packed:
    """Return the current parameters, packed, or raise `LeftToTorch`."""
    check_thread()

    def tensors(shapes: dict[str, tuple[int, ...]]) -> list[Any]:
        found = tensors_of(module, kind.called, shapes)
        check_tangents(found)
        return found

    packing = owners.packing_in(module)
    packed: Packed = packing.ready(kind, kind.sizes(module), module._numba_lstm_form, tensors)
    return packed


class AcceleratedLSTM(_Accelerated, torch.nn.LSTM):
    """``torch.nn.LSTM``, computed by Numba kernels."""

    _numba_lstm_kind = LAYERS


class AcceleratedLSTMCell(_Accelerated, torch.nn.LSTMCell):
    """``torch.nn.LSTMCell``, computed by Numba kernels."""

    _numba_lstm_kind = CELL


# --- classes ----------------------------------------------------------------------------------------------------

_REPLACEMENTS: dict[Any, Any] = {torch.nn.LSTM: AcceleratedLSTM, torch.nn.LSTMCell: AcceleratedLSTMCell}
_STOOD_FOR = {ours: theirs for theirs, ours in _REPLACEMENTS.items()}
_FORWARD = {ours._numba_lstm_kind.called: theirs.forward for theirs, ours in _REPLACEMENTS.items()}
"""What computes as torch does: of the class itself, for a subclass has come here by its own."""


def accelerated_class(kind: Any) -> Any:
    """Return the class that stands for ``torch.nn.LSTM``, ``torch.nn.LSTMCell``, or for a subclass of one.

    The latter inherits from the subclass first and then from ours, so that what the subclass overrides goes on running,
    and where it calls ``super().forward`` comes to ours instead of torch's.  It is made once, and lives with the
    subclass.
    """
    made = _REPLACEMENTS.get(kind) or kind.__dict__.get(_MADE)
    if made is None:
        ours = next(_REPLACEMENTS[base] for base in kind.__mro__ if base in _REPLACEMENTS)
        own = {"__module__": ours.__module__, "__doc__": kind.__doc__, "__reduce_ex__": _reduce, _STANDS_FOR: kind}
        made = type(kind)(f"Accelerated{kind.__name__}", (kind, ours), own)
        setattr(kind, _MADE, made)
    return made


def stands_for(kind: Any) -> Any:
    """Return the class that an accelerated one stands for."""
    return _STOOD_FOR.get(kind) or kind.__dict__[_STANDS_FOR]


def _reduce(module: Any, protocol: Any) -> Any:
    """Have a module of a class that was made here copied and pickled by the class that it was made for."""
    return _blank, (stands_for(type(module)),), module.__getstate__()


def _blank(kind: Any) -> Any:
    """Return an accelerated module whose state is yet to come."""
    return object.__new__(accelerated_class(kind))


def class_before_parametrizations(module: Any) -> Any:
    """Return the class of a module, below the class that parametrizations have made for this one module."""
    kind = type(module)
    return kind.__bases__[0] if torch.nn.utils.parametrize.is_parametrized(module) else kind


def _exchanged_class(module: Any, other: Callable[[Any], Any]) -> Any:
    """Return ``other`` of a module's class, below the class that parametrizations have made for this one module."""
    kind: Any = type(module)
    base = class_before_parametrizations(module)
    if base is kind:
        return other(kind)
    base = other(base)
    own = {name: value for name, value in vars(kind).items() if name not in ("__dict__", "__weakref__")}
    return type(kind)(f"Parametrized{base.__name__}", (base,), own)


def _own(module: Any, original: Any) -> None:
    """Give a module what torch's do not have."""
    module.__dict__[owners.PACKING] = packing = Packing()
    if original is not None:
        packing.original = weakref.ref(original)
    owners.live[id(module)] = module


def _is_leaf(module: Any) -> bool:
    """Return whether nothing but our forward happens in a call of a module."""
    everywhere = torch.nn.modules.module
    return type(module) in _STOOD_FOR and not (
        module._forward_hooks
        or module._forward_pre_hooks
        or everywhere._global_forward_hooks
        or everywhere._global_forward_pre_hooks
    )


def accelerated(module: Any, form: str | None) -> Any:
    """Return a module of ours over the attributes of one of torch's, which keeps weights in a form, if there is one."""
    made = object.__new__(_exchanged_class(module, accelerated_class))
    made.__dict__ = module.__dict__
    owners.set_form(made, form)
    _own(made, module)
    return made


def as_torch(module: Any) -> Any:
    """Return torch's module over the attributes of one of ours: the one that there was before, or else a new one."""
    kind = _exchanged_class(module, stands_for)
    plain = owners.packing_in(module).original()
    if plain is None or plain.__dict__ is not module.__dict__:
        plain = object.__new__(kind)
        plain.__dict__ = module.__dict__
    del plain.__dict__[owners.PACKING]
    owners.set_form(plain, None)
    plain.__dict__.pop("_compiled_call_impl", None)  # of a call of ours
    plain.__class__ = kind
    return plain
