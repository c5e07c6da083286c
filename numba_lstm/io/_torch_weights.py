"""Parameters of torch's modules in the kernels' order, packed anew when their contents have changed, and only then."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..lstm import LSTM
from ..lstm_cell import LSTMCell
from ..network import Network
from ..parameters import CELL_SUFFIX, Architecture
from ._torch_tensors import DTYPES, array_of, torch

_SAMPLED = {1: (16,), 2: (8, 2)}
"""Places along the axes of a parameter that are compared before a call: some for each gate."""

_BITS = {4: np.uint32, 8: np.uint64}
"""Integers of the size of a number, as which numbers are compared: -0 is another number than 0, and nan is itself."""


class Kind(NamedTuple):
    """One of torch's two modules."""

    called: str
    """What errors call the one that stands for it."""
    core: type[LSTM] | type[LSTMCell]
    """Ours."""
    suffix: str
    """What our names of parameters have, and its names do not."""


LAYERS = Kind("an accelerated LSTM", LSTM, "")
CELL = Kind("an accelerated LSTMCell", LSTMCell, CELL_SUFFIX)


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


class Packed(NamedTuple):
    """Parameters in the kernels' order."""

    sizes: tuple[Any, ...]
    """The module's own, when they were packed."""
    shapes: dict[str, tuple[int, ...]]
    """What they ask of the parameters."""
    seen: list[_Seen]
    contents: list[np.ndarray] | None
    """Copies of the parameters, from the second time on that they were packed.  Most are packed once."""
    core: Any
    """A module of ours that is good for calls."""
    dtype: Any
    """torch's."""


class Packing:
    """What a module has packed, if anything; replaced as a whole, so that threads see all of it or nothing."""

    __slots__ = ("__weakref__", "now")

    def __init__(self) -> None:
        self.now: Packed | None = None

    def __reduce__(self) -> tuple[type[Packing], tuple[()]]:
        return Packing, ()  # a copy is of other parameters

    def ready(
        self, kind: Kind, sizes: tuple[Any, ...], parameters: Callable[[dict[str, tuple[int, ...]]], list[Any]]
    ) -> Packed:
        """Return the parameters, packed.

        Parameters
        ----------
        kind : Kind
            Of the module.
        sizes : tuple
            The arguments of an `Architecture`, as the module has them now, in every type that torch takes.
        parameters : callable
            From the shapes that these ask for, by torch's names, to tensors.
        """
        packed = self.now
        if packed is None or packed.sizes != sizes:
            packed, shapes = None, _shapes(kind, sizes)
        else:
            shapes = packed.shapes
        tensors = parameters(shapes)
        if packed is None or not _looks_unchanged(tensors, packed.seen):
            packed = self.now = _repacked(packed, kind, sizes, shapes, tensors)
            _BY_MEMORY[_memory(tensors)] = self
        return packed


_BY_MEMORY: weakref.WeakValueDictionary[tuple[int, ...], Packing] = weakref.WeakValueDictionary()

_UNOWNED: list[Packing] = []
"""Of parameters that no module has which lives here, as where a compiler has copied them; the last few."""

_KEPT_UNOWNED = 16


def packing_of(tensors: list[Any]) -> Packing:
    """Return what the module with these parameters has packed."""
    packing = _BY_MEMORY.get(_memory(tensors))
    if packing is None:
        packing = Packing()
        _UNOWNED.append(packing)
        del _UNOWNED[:-_KEPT_UNOWNED]
    return packing


def _memory(tensors: list[Any]) -> tuple[int, ...]:
    return tuple([tensor.data_ptr() for tensor in tensors])


def _architecture(sizes: tuple[Any, ...]) -> Architecture:
    input_size, hidden_size, num_layers, bias, bidirectional, proj_size = sizes
    return Architecture(
        int(input_size), int(hidden_size), int(num_layers), bool(bias), bool(bidirectional), int(proj_size)
    )


def _shapes(kind: Kind, sizes: tuple[Any, ...]) -> dict[str, tuple[int, ...]]:
    return {name.removesuffix(kind.suffix): shape for name, shape in _architecture(sizes).shapes().items()}


def _looks_unchanged(tensors: list[Any], seen: list[_Seen]) -> bool:
    """Return whether parameters are as they were, as far as can be seen in about a microsecond."""
    for tensor, (was, version, alias, sample, content) in zip(tensors, seen, strict=True):
        if (
            tensor is not was
            or (version is not None and tensor._version != version)
            or not tensor.is_set_to(alias)
            or tensor.is_neg()  # then the sample is of a copy
            or sample.tobytes() != content
        ):
            return False
    return True


def _repacked(
    before: Packed | None, kind: Kind, sizes: tuple[Any, ...], shapes: dict[str, tuple[int, ...]], tensors: list[Any]
) -> Packed:
    """Return parameters packed, or what was packed before if their contents are still the same."""
    seen, arrays, dtype = _look(kind, shapes, tensors)
    kept = None
    if before is not None and before.dtype is dtype:
        if before.contents is not None and all(map(_same_bits, arrays.values(), before.contents)):
            return before._replace(seen=seen)
        # They do change: from now on it pays to know whether they have.
        kept = [array.copy() for array in arrays.values()]
    architecture = _architecture(sizes)
    named = {name + kind.suffix: array for name, array in arrays.items()}
    network = Network(architecture, named, np.dtype(DTYPES[dtype]))
    return Packed(sizes, shapes, seen, kept, kind.core._calling(architecture, network), dtype)


def _same_bits(one: np.ndarray, other: np.ndarray) -> bool:
    bits = _BITS[one.itemsize]
    return np.array_equal(one.view(bits), other.view(bits))


def _look(
    kind: Kind, shapes: dict[str, tuple[int, ...]], tensors: list[Any]
) -> tuple[list[_Seen], dict[str, np.ndarray], Any]:
    """Return how parameters are, the arrays of their memory, and their dtype; raise if a kernel cannot take them."""
    seen, arrays, dtypes = [], {}, {}
    for (name, shape), tensor in zip(shapes.items(), tensors, strict=True):
        if tensor.device.type not in ("cpu", "meta") or tensor.dtype not in DTYPES:
            raise ValueError(
                f"{kind.called} computes in float32 or float64 on CPUs, and {name} is {tensor.dtype} on "
                f"{tensor.device}: call model.float() or model.cpu()"
            )
        if tensor.shape != shape:
            raise RuntimeError(
                f"{name} of {kind.called} should have shape {shape}, which its sizes ask for, got: "
                f"{tuple(tensor.shape)}"
            )
        array = array_of(name, tensor, kind.called)
        version = None if tensor.is_inference() else tensor._version
        steps = [max(1, size // count) for size, count in zip(shape, _SAMPLED[array.ndim], strict=True)]
        sample = array[tuple(slice(step // 2, None, step) for step in steps)]
        seen.append(_Seen(tensor, version, tensor.detach(), sample, sample.tobytes()))
        arrays[name] = array
        dtypes[tensor.dtype] = name
    if len(dtypes) != 1:
        found = ", ".join(f"{name} is {dtype}" for dtype, name in dtypes.items())
        raise ValueError(f"{kind.called} has parameters of different dtypes: {found}")
    return seen, arrays, next(iter(dtypes))


def tensors_of(module: Any, called: str, shapes: dict[str, tuple[int, ...]]) -> list[Any]:
    """Return the parameters of a module, or what has taken their places: whatever its attributes are, as torch does.

    Those of pruning, weight norm and parametrizations are computed, and are no parameters of the module.
    """
    own, found = module._parameters, []
    for name, shape in shapes.items():
        parameter = own.get(name)
        if parameter is None:
            parameter = getattr(module, name, None)  # which takes longer
            if not isinstance(parameter, torch.Tensor):
                raise RuntimeError(
                    f"{name} of {called} should be a Tensor of shape {shape}, and "
                    f"{'there is none' if parameter is None else f'it is a {type(parameter).__name__}'}: assign one, "
                    "or restore(model)"
                )
        found.append(parameter)
    return found
