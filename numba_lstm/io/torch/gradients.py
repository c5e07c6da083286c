"""Gradients of accelerated modules: what a forward pass keeps for the backward pass, as tensors of torch can carry it.

What is kept is an object of ours.  torch lets go of a tensor that was saved for a backward pass as soon as that is
done, or when the graph goes that it belongs to, be there a backward pass or not; it says so if somebody wants it once
more, and hands it to those who move or recompute what is saved.  So the object belongs to the memory of a tensor.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ...contract.packed_sequence import PackedSequence
from ...execution.output_panels import pack_outputs
from .dropout import with_masks
from .tensors import array_in, in_place, torch, uncompiled
from .weights import CELL, Kind, Packed, Packing, shapes_of

_NAMES = "input", "h_0", "c_0"
"""Of what gradients are wanted for, beside parameters."""


class Call(NamedTuple):
    """What a call is, beside its tensors."""

    kind: Kind
    sizes: tuple[Any, ...]
    """What ``kind.sizes`` gives."""
    batch_first: bool = False
    dropout: float = 0.0
    batch_sizes: np.ndarray | None = None
    """Those of a packed sequence, whose rows are sorted."""


class Given(NamedTuple):
    """The tensors of a call."""

    input: Any
    hx: Sequence[Any]
    """h_0 and c_0, or nothing for zeros."""
    weights: Sequence[Any]
    masks: Sequence[Any]
    """What dropout keeps of the output of each layer but the last, or nothing."""


def kept(call: Call, packed: Packed, given: Given) -> tuple[list[np.ndarray], Any]:
    """Do a call, and return its results and the backward pass that belongs to it, which is of nobody else's memory."""
    core = _differentiable(call, packed)
    if given.masks:
        core = with_masks(core, call.dropout, given.masks)
    x, *states = map(array_in, (given.input, *given.hx))
    sequence = x if call.batch_sizes is None else PackedSequence(x, call.batch_sizes)
    (result, after), backward = core.vjp(sequence, states or None)
    if call.kind is CELL:
        return [result, after], backward
    return [result if call.batch_sizes is None else result.data, *after], backward


def _differentiable(call: Call, packed: Packed) -> Any:
    """Return the module of ours that does a call, which knows its parameters too."""
    network, arrays = packed.network, packed.seen.arrays
    architecture = network.architecture
    core = call.kind.cores[-1 if call.batch_first else 0](architecture, network)
    core._weights.parameters = dict(zip(packed.shapes, arrays, strict=True))
    if network.outputs is None:  # now, as long as they are what the network was packed of
        named = dict(zip(architecture.shapes(), arrays, strict=True))
        network.outputs = pack_outputs(architecture, named, network.dtype)
    return core


def gradients(
    call: Call, given: Given, handle: Any, d_results: Sequence[Any], wanted: Sequence[bool]
) -> list[Any]:
    """Return gradients of a call.

    Parameters
    ----------
    call : Call
    given : Given
        With which it was done.
    handle : Tensor
        What `handle_of` gave for its backward pass, or a copy.  What was kept does not go with copies, as those that
        are made where saved tensors are to be elsewhere until the backward pass; it is made once more then.
    d_results : Tensors, or None for zeros
        Gradients of its results.
    wanted : bools
        Whether there shall be one for the input, h_0, c_0 and each of the weights.

    Returns
    -------
    list of Tensor
        Those that are wanted.
    """
    backward = _behind(handle) or _kept_again(call, given)
    d_result, *d_states = [None if d is None else _array_of_gradient(d) for d in d_results]
    names = [*_NAMES, *shapes_of(call.kind, call.sizes)]
    wrt = [name for name, wants in zip(names, wanted, strict=True) if wants]
    found = backward(d_result, *(d_states if call.kind is CELL else [d_states]), wrt=wrt)
    d_input = found.input.data if isinstance(found.input, PackedSequence) else found.input
    by_name = {"input": d_input, "h_0": found.h_0, "c_0": found.c_0, **found.parameters}
    return [torch.from_numpy(by_name[name]) for name in wrt]


def _array_of_gradient(tensor: Any) -> np.ndarray:
    if tensor.is_neg():
        tensor = tensor.resolve_neg()
    if not in_place(tensor):
        raise RuntimeError(
            "an accelerated module takes one gradient of each of its results, as a dense tensor, and none in batches "
            "(is_grads_batched, vmap): restore(model) for those"
        )
    return array_in(tensor)


# --- what carries a backward pass ------------------------------------------------------------------------------


class _Handle(np.ndarray):
    """The memory of a tensor, to which a backward pass belongs."""

    backward: Any


_handles: weakref.WeakValueDictionary[int, _Handle] = weakref.WeakValueDictionary()
"""By the address of that memory, which tensors that share it have, as after ``detach``."""


def handle_of(backward: Any) -> Any:
    """Return a tensor of a byte, with which a backward pass goes."""
    handle = np.zeros(1, np.uint8).view(_Handle)
    handle.backward = backward
    _handles[handle.ctypes.data] = handle
    return torch.from_numpy(handle)


def _behind(handle: Any) -> Any:
    """Return the backward pass that goes with a tensor, or None if it is a copy."""
    found = _handles.get(handle.data_ptr())
    return None if found is None else found.backward


def _kept_again(call: Call, given: Given) -> Any:
    """Do a call once more, for its backward pass."""
    packed = Packing().ready(call.kind, call.sizes, None, lambda shapes: list(given.weights))
    return kept(call, packed, given)[1]


# --- calls outside of graphs -----------------------------------------------------------------------------------


def recorded(call: Call, packing: Packing, packed: Packed, given: Given) -> tuple[Any, ...]:
    """Do a call of a module, with what that has packed, and return results that have gradients."""
    if any(weight.grad_fn is not None for weight in given.weights):
        packing.now = None  # it would keep the graph in which they are computed before every call
    results: tuple[Any, ...] = _Recorded.apply(
        (call, packing, packed, given), given.input, *(given.hx or (None, None)), *given.weights
    )
    return results


class _Recorded(torch.autograd.Function):
    """A call in torch's graph."""

    @staticmethod
    def forward(ctx: Any, other: Any, *tensors: Any) -> tuple[Any, ...]:
        ctx.call, ctx.packing, packed, given = other
        results, backward = kept(ctx.call, packed, given)
        ctx.save_for_backward(handle_of(backward), *tensors, *given.masks)
        ctx.weights = len(given.weights)
        ctx.set_materialize_grads(False)
        return tuple(map(torch.from_numpy, results))

    @staticmethod
    @uncompiled
    def backward(ctx: Any, *d_results: Any) -> tuple[Any, ...]:
        handle, input, h_0, c_0, *others = ctx.saved_tensors
        weights, masks = others[: ctx.weights], others[ctx.weights :]
        hx = () if h_0 is None else (h_0, c_0)
        _, *wanted = ctx.needs_input_grad
        if any(wanted[len(_NAMES) :]):
            ctx.packing.trained = True

        def compute() -> tuple[Any, ...]:
            found = iter(gradients(ctx.call, Given(input, hx, weights, masks), handle, d_results, wanted))
            return tuple(next(found) if wants else None for wants in wanted)

        if torch.is_grad_enabled():  # the graph of this pass is asked for
            sources = [tensor for tensor in (*d_results, input, *hx, *weights) if tensor is not None]
            found = _Once.apply(compute, *sources)
        else:
            found = compute()
        return None, *found


class _Once(torch.autograd.Function):
    """Gradients that have no gradients themselves."""

    @staticmethod
    def forward(ctx: Any, compute: Any, *sources: Any) -> Any:
        return compute()

    @staticmethod
    def backward(ctx: Any, *d_gradients: Any) -> Any:
        raise no_second_gradients()


def no_second_gradients() -> RuntimeError:
    """Return the error for a backward pass through a backward pass."""
    return RuntimeError(
        "gradients of an accelerated module have no gradients themselves (create_graph=True): restore(model) for those"
    )
