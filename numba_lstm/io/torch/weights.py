"""Parameters of torch's modules in the kernels' order, packed anew when their contents have changed, and only then."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ...contract.architecture import CELL_SUFFIX, Architecture
from ...contract.weight_form import in_layer, quantized
from ...execution.network import Network
from ...lstm import LSTM
from ...lstm_cell import LSTMCell
from .tensors import DTYPES, array_in, dense, torch

_SAMPLES = 16
"""About as many elements of a parameter are compared before a call, from all of its rows and columns."""

_SAMPLED = {1: (16,), 2: (8, 2)}
"""Places along the axes where rows do not follow each other in memory."""


class Kind(NamedTuple):
    """One of torch's two modules."""

    called: str
    """What errors call the one that stands for it."""
    cores: tuple[Callable[[Architecture, Network], Any], ...]
    """Make a module of ours that is good for calls: without and with ``batch_first``."""
    suffix: str
    """What our names of parameters have, and its names do not."""
    sizes: Callable[[Any], tuple[Any, ...]]
    """From a module to the arguments of an `Architecture`, as it has them now, in every type that torch takes."""


LAYERS = Kind(
    "an accelerated LSTM",
    (
        lambda architecture, network: LSTM._calling(architecture, network, batch_first=False, dropout=0.0),
        lambda architecture, network: LSTM._calling(architecture, network, batch_first=True, dropout=0.0),
    ),
    "",
    lambda m: (m.input_size, m.hidden_size, m.num_layers, m.bias, m.bidirectional, m.proj_size),
)
CELL = Kind(
    "an accelerated LSTMCell",
    (LSTMCell._calling,),
    CELL_SUFFIX,
    # A cell that was made without biases uses those that it has been given since.
    lambda m: (m.input_size, m.hidden_size, 1, m.bias or m._parameters.get("bias_ih") is not None, False, 0),
)


class _Seen(NamedTuple):
    """Parameters as they were when they were packed; a list of each, which takes less time to compare."""

    tensors: list[Any]
    counted: list[Any]
    """Those of which torch counts the changes, as it does not of parameters made in inference mode."""
    versions: list[int]
    """How many these were."""
    aliases: list[Any]
    """Tensors of the same storage, sizes and strides."""
    addresses: list[int]
    """Where the storage had it: ``share_memory`` moves a storage, and samples stay at the old place."""
    arrays: list[np.ndarray]
    """In torch's memory."""
    samples: list[np.ndarray]
    """Views of some elements of them."""
    content: list[bytes]
    """What these were."""


class Packed(NamedTuple):
    """Parameters in the kernels' order."""

    sizes: tuple[Any, ...]
    """The module's own, when they were packed."""
    form: str | None
    """The one in which they are kept, if that is not their dtype."""
    shapes: dict[str, tuple[int, ...]]
    """What they ask of the parameters."""
    seen: _Seen
    contents: list[bytearray] | None
    """What all of them was, in C order, from the second time on that they were packed.  Most are packed once."""
    network: Network
    cores: tuple[Any, ...]
    """Modules of ours that call it, as a `Kind` makes them."""
    dtype: Any
    """torch's."""


def _none() -> None:
    return None


class Packing:
    """What a module has packed, if anything; replaced as a whole, so that threads see all of it or nothing."""

    __slots__ = ("now", "original", "trained")

    def __init__(self) -> None:
        self.now: Packed | None = None
        self.trained = False
        """Whether gradients of the parameters were made since: then they are about to change, in whatever way."""
        self.original: Callable[[], Any] = _none
        """A weak reference to torch's module that there was before, if somebody still has it."""

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        return type(None), ()  # a copy is of other parameters, and torch's module may be read without this package

    def ready(
        self,
        kind: Kind,
        sizes: tuple[Any, ...],
        form: str | None,
        parameters: Callable[[dict[str, tuple[int, ...]]], list[Any]],
    ) -> Packed:
        """Return the parameters, packed.

        Parameters
        ----------
        kind : Kind
            Of the module, always the same one.
        sizes : tuple
            What ``kind.sizes`` gives for it.
        form : {"float16", "bfloat16", "int8"}, optional
            In which weights are kept.
        parameters : callable
            From the shapes that these ask for, by torch's names, to tensors.
        """
        if self.trained:
            self.now, self.trained = None, False  # before parameters are read: another thread may be training
        packed = self.now
        if packed is None or packed.sizes != sizes or packed.form != form:
            packed, shapes = None, shapes_of(kind, sizes)
        else:
            shapes = packed.shapes
        tensors = parameters(shapes)
        in_place = packed is not None and _is_in_place(tensors, packed.seen)
        if packed is None or not in_place or list(map(_version, packed.seen.counted)) != packed.seen.versions:
            self.now = None  # what cannot be packed is not kept either
            packed = self.now = _repacked(packed, in_place, kind, sizes, form, shapes, tensors)
        return packed


def _architecture(sizes: tuple[Any, ...]) -> Architecture:
    input_size, hidden_size, num_layers, bias, bidirectional, proj_size = sizes
    return Architecture(
        int(input_size), int(hidden_size), int(num_layers), bool(bias), bool(bidirectional), int(proj_size)
    )


def shapes_of(kind: Kind, sizes: tuple[Any, ...]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a module's parameters by torch's names, in the order of a state dict."""
    return {name.removesuffix(kind.suffix): shape for name, shape in _architecture(sizes).shapes().items()}


_version, _is_set_to = torch._C.TensorBase._version.__get__, torch.Tensor.is_set_to
_data_ptr, _is_neg = torch.Tensor.data_ptr, torch.Tensor.is_neg


def _is_in_place(tensors: list[Any], seen: _Seen) -> bool:
    """Return whether parameters are where they were, and some elements as they were, in about two microseconds."""
    return (
        all(map(operator.is_, tensors, seen.tensors))
        and all(map(_is_set_to, tensors, seen.aliases))
        and list(map(_data_ptr, tensors)) == seen.addresses
        and not any(map(_is_neg, tensors))  # then samples are of copies
        and list(map(np.ndarray.tobytes, seen.samples)) == seen.content
    )


def _repacked(
    before: Packed | None,
    in_place: bool,
    kind: Kind,
    sizes: tuple[Any, ...],
    form: str | None,
    shapes: dict[str, tuple[int, ...]],
    tensors: list[Any],
) -> Packed:
    """Return parameters packed, or what was packed before if their contents are still the same."""
    if before is not None and before.contents is not None and in_place:
        # Versions come before contents: who writes in between is noticed at the next call.
        seen = before.seen._replace(versions=list(map(_version, before.seen.counted)))
        if all(map(_same_bits, seen.arrays, before.contents)):
            return before._replace(seen=seen)
    seen, dtype = _look(kind, shapes, tensors)
    arrays, kept = seen.arrays, None
    if before is not None and before.dtype is dtype:
        if before.contents is not None and all(map(_same_bits, arrays, before.contents)):
            return before._replace(seen=seen)
        # They do change: from now on it pays to know whether they have.
        arrays = [array.copy() for array in arrays]
        kept = list(map(bytearray, arrays))
    architecture = _architecture(sizes)
    named = dict(zip(shapes, arrays, strict=True))
    if form is not None:
        _check_float32(kind, form, dtype)
        named = quantized(named, form)
    if kind is CELL:
        named = {in_layer(name): array for name, array in named.items()}
    network = Network(architecture, named, np.dtype(DTYPES[dtype]), form=form)
    cores = tuple(make(architecture, network) for make in kind.cores)
    return Packed(sizes, form, shapes, seen, kept, network, cores, dtype)


def _check_float32(kind: Kind, form: str, dtype: Any) -> None:
    if dtype is not torch.float32:
        raise ValueError(
            f"{kind.called} with weights in {form} computes in float32, and its parameters are {dtype}: call "
            "model.float()"
        )


def _same_bits(array: np.ndarray, content: bytearray) -> bool:
    # A bytearray compares itself with whatever lies in one piece as memory, without a copy.  Bits are what counts:
    # -0 is another number than 0, and nan is itself.
    now: object = array.data if array.flags.c_contiguous else array.tobytes()
    return content == now


def _sample(array: np.ndarray) -> np.ndarray:
    """Return a view of some elements, spread over all gates and, where they lie together, over all columns."""
    if array.flags.c_contiguous and array.size:
        step = max(1, array.size // _SAMPLES)
        while math.gcd(step, array.shape[-1]) > 1:
            step -= 1
        return array.reshape(-1)[step // 2 :: step]
    steps = [max(1, size // count) for size, count in zip(array.shape, _SAMPLED[array.ndim], strict=True)]
    return array[tuple(slice(step // 2, None, step) for step in steps)]


def _look(kind: Kind, shapes: dict[str, tuple[int, ...]], tensors: list[Any]) -> tuple[_Seen, Any]:
    """Return how parameters are, and their dtype; raise if a kernel cannot take them."""
    arrays, dtypes = [], {}
    counted = [tensor for tensor in tensors if not tensor.is_inference()]
    versions = list(map(_version, counted))
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
        arrays.append(array_in(dense(name, tensor, kind.called)))
        dtypes[tensor.dtype] = name
    if len(dtypes) != 1:
        found = ", ".join(f"{name} is {dtype}" for dtype, name in dtypes.items())
        raise ValueError(f"{kind.called} has parameters of different dtypes: {found}")
    samples = list(map(_sample, arrays))
    aliases, addresses = [tensor.detach() for tensor in tensors], list(map(_data_ptr, tensors))
    content = [sample.tobytes() for sample in samples]
    return _Seen(tensors, counted, versions, aliases, addresses, arrays, samples, content), next(iter(dtypes))


def _has(module: Any, name: str) -> bool:
    """Return whether there is such an attribute, without having it computed."""
    return any(name in names for names in (module._parameters, module.__dict__, module._buffers)) or hasattr(
        type(module), name
    )


def tensors_of(module: Any, called: str, shapes: dict[str, tuple[int, ...]]) -> list[Any]:
    """Return the parameters of a module, or what has taken their places, as torch has it for a call.

    Those of pruning, weight norm and parametrizations are computed, and are no parameters of the module.  And for an
    LSTM torch has a list, which follows the attributes when these are others; until then a program may have put other
    tensors there.
    """
    own = module._parameters
    found = [own.get(name) for name in shapes]
    flat = module.__dict__.get("_flat_weights")  # which cells do not have
    same = flat is None or (len(flat) == len(found) and all(map(operator.is_, flat, found)))
    if not same and hasattr(module, "_update_flat_weights"):  # in an older torch only the attributes are up to date
        module._update_flat_weights()
        listed = dict(zip(module._flat_weights_names, module._flat_weights, strict=False))
        found = [listed.get(name) if _has(module, name) else None for name in shapes]
    for i, (name, shape) in enumerate(shapes.items()):
        if found[i] is None:
            found[i] = getattr(module, name, None)  # which takes longer
        if not isinstance(found[i], torch.Tensor):
            raise RuntimeError(
                f"{name} of {called} should be a Tensor of shape {shape}, and "
                f"{'there is none' if found[i] is None else f'it is a {type(found[i]).__name__}'}: assign one, "
                "or restore(model)"
            )
    return found
