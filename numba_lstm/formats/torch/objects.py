"""What torch's pickles are made of: storages, tensors, and the objects in which tensors are found by a name."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from ..bfloat16 import widened
from ..contents import OPTIONS, WholeModule
from .module_state import is_module, put_on
from .pickle_machine import Machine
from .pickled_arrays import ArrayInPickle, PickledArray, makes_array
from .pickled_objects import Global, Pairs, Placeholder, value_of
from .torchscript import SCRIPTED, class_name

NUMBERS = {
    "float64": "f8", "float32": "f4", "float16": "f2", "bfloat16": "u2", "int64": "i8", "int32": "i4", "int16": "i2",
    "int8": "i1", "uint64": "u8", "uint32": "u4", "uint16": "u2", "uint8": "u1", "bool": "?", "complex64": "c8",
    "complex128": "c16",
}  # fmt: skip
"""NumPy's code for torch's dtypes."""

_STORAGES = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "BoolStorage": "bool", "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128", "UntypedStorage": "uint8",
}  # fmt: skip

_CONTAINERS = "torch.nn.modules.container."
"""Has classes without a computation of their own."""

_QUANTIZED_SIZES = {
    "QInt8Storage": 1, "QUInt8Storage": 1, "QInt32Storage": 4, "QUInt4x2Storage": 1, "QUInt2x4Storage": 1,
}  # fmt: skip
"""Bytes of an element of storages that are not read."""

MOST_AXES = 32  # NumPy's oldest limit

_DEEPEST = 100
"""Containers within each other around a tensor that is to have a name."""

_VISITS, _CHARACTERS = 1_000_000, 1 << 24
"""Objects that are looked at for names, one that is found on two ways twice, and the length of all names together."""


class Storage(NamedTuple):
    """Numbers that lie beside the pickle."""

    key: str
    kind: str
    offset: int = 0
    """Where a part of it begins, which old files have as a storage of its own."""


class Tensor(NamedTuple):
    """A view of a storage."""

    key: str
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


SOUGHT = (Tensor, ArrayInPickle)
"""What has numbers."""


class Tree(NamedTuple):
    """The tensors of a file, by name."""

    tensors: dict[str, Tensor | PickledArray]
    inner: dict[str, str]
    """Names in a state dict, without the keys of dicts in which it lies, by whole name."""
    modules: dict[str, WholeModule]
    """Whole modules, by prefix."""
    storages: dict[str, str]
    """The type of their numbers, by key."""


# --- what a pickle may call -------------------------------------------------------------------------------------


def refer(reference: Any) -> Any:
    """Return the storage that a pickle refers to."""
    if isinstance(reference, tuple) and len(reference) >= 5 and reference[0] == "storage":
        _, kind, key, *_ = reference
        view = reference[5] if len(reference) > 5 else None
        offset = 0 if view is None else view[1]
        if isinstance(kind, Global) and type(key) is str and type(offset) is int and offset >= 0:
            return Storage(key, _STORAGES.get(kind.name, kind.name), offset)
    if isinstance(reference, tuple) and len(reference) >= 2 and reference[0] == "module":  # a class with its source
        return reference[1]
    raise ValueError("its pickle refers to something that is no storage")


def call(function: Any, arguments: Any) -> Any:
    """Return what the call of a name stands for: a tensor, a container, or a placeholder."""
    if function == ("collections", "OrderedDict") and len(arguments) < 2:
        return _ordered(arguments)
    if function in _FROM_TYPE:  # a subclass of tensors: what would be called, with what
        function, _, arguments, *_ = arguments
    if function in _REBUILD:
        return _tensor(function.name, *arguments)
    if function in _THEIR_ARGUMENT:
        return arguments[0]
    if function in _AROUND_A_TENSOR and arguments and isinstance(arguments[0], SOUGHT):
        return arguments[0]
    if makes_array(function):
        return ArrayInPickle(function, arguments)
    if function in _RECONSTRUCTOR:  # how protocol 1 makes objects, of a class, a base and what that is made from
        return Placeholder(arguments[0], arguments[2:])
    return Placeholder(function, arguments)


_RECONSTRUCTOR = [Global(module, "_reconstructor") for module in ("copyreg", "copy_reg")]
_AROUND_A_TENSOR = [
    Global("torch.autograd.variable", "Variable"),
    Global("torch.nn.parameter", "Parameter"),
    Global("torch._utils", "_rebuild_device_tensor_from_numpy"),
]
"""Of before version 0.4, and of devices that are no CPU or GPU."""


_FROM_TYPE = [Global("torch._tensor", name) for name in ("_rebuild_from_type", "_rebuild_from_type_v2")]
_REBUILD = [
    Global("torch._utils", name)
    for name in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_qtensor")
]
_THEIR_ARGUMENT = [
    Global("torch._utils", "_rebuild_parameter"),
    Global("torch._utils", "_rebuild_parameter_with_state"),
    *(
        Global("torch.jit._pickle", name)
        for name in ("build_intlist", "build_doublelist", "build_boollist", "build_tensorlist", "restore_type_tag")
    ),
]


def _ordered(arguments: tuple[Any, ...]) -> Pairs:
    """Return an OrderedDict; those of Python 2 are called with their pairs."""
    pairs = Pairs()
    for key, value in arguments[0] if arguments else ():
        pairs += [key, value]
    return pairs


def _tensor(name: str, storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> Tensor:
    if not isinstance(storage, Storage):
        raise ValueError("its pickle has a tensor without a storage")
    numbers = (offset, *shape, *strides)
    if any(type(number) is not int or number < 0 for number in numbers) or len(shape) != len(strides):
        raise ValueError(f"its pickle has a tensor of shape {shape}, strides {strides}, at {offset}")
    if len(shape) > MOST_AXES:
        raise ValueError(f"its pickle has a tensor of {len(shape)} axes")
    dtype = storage.kind
    if name == "_rebuild_qtensor":
        dtype = f"quantized {dtype}"
    elif name == "_rebuild_tensor_v3":
        dtype = rest[2].name
    metadata = rest[3:] if name == "_rebuild_tensor_v3" else rest[2:]
    if metadata and metadata[0]:  # conj and neg bits: the numbers are not those of the storage
        dtype = f"lazily changed {dtype}"
    return Tensor(storage.key, dtype, storage.offset + offset, tuple(shape), tuple(strides))


# --- names ------------------------------------------------------------------------------------------------------


def _by_name(kind: Global) -> WholeModule:
    return WholeModule(class_name(kind), {})


def read_tree(
    content: bytes, memory: int, position: int = 0, known: Callable[[Global], WholeModule] = _by_name
) -> tuple[Tree, int]:
    """Return the tensors of a pickle that begins at a position, and where it ends.

    ``known`` tells what is known of all modules of a class.
    """
    storages: dict[str, str] = {}

    def noted(reference: Any) -> Any:
        referred = refer(reference)
        if isinstance(referred, Storage):
            storages[referred.key] = referred.kind
        return referred

    machine = Machine(content, memory, call, noted, SOUGHT, position)
    root = machine.run()
    walk = _Walk(machine.holders, known)
    if id(root) in machine.holders:
        walk.visit(root, "", True, [])
    return Tree(walk.tensors, walk.inner, walk.modules, storages), machine.position


class _Walk:
    """Gives tensors names: what they are reached by, joined with dots."""

    def __init__(self, holders: set[int], known: Callable[[Global], WholeModule]) -> None:
        self.tensors: dict[str, Tensor | PickledArray] = {}
        self.inner: dict[str, str] = {}
        self.modules: dict[str, WholeModule] = {}
        self._holders, self._known = holders, known
        self._visits, self._characters = _VISITS, _CHARACTERS

    def visit(self, holder: Any, prefix: str, plain: bool, above: list[int]) -> None:
        """Take the tensors of a container; ``plain`` says that only dicts and lists are around it."""
        if len(above) >= _DEEPEST:
            raise ValueError(f"its tensors lie in more than {_DEEPEST} containers, one in the other")
        self._count(len(prefix))
        state = holder.state if isinstance(holder, Placeholder) else None
        plain = plain and state is None
        if isinstance(state, Pairs):
            self._visits -= len(state)
            self._note_module(holder.kind, state, prefix)
        above = [*above, id(holder)]
        inner = []
        for key, value in _children(holder, state):
            self._visits -= 1
            if isinstance(value, ArrayInPickle):
                value = value.described()
            if isinstance(value, (Tensor, PickledArray)):
                self._count(len(prefix) + len(key))
                if prefix + key in self.tensors:
                    raise ValueError(f"{prefix}{key} is there twice")
                self.tensors[prefix + key] = value
                if plain and prefix:
                    self.inner[prefix + key] = key
            elif id(value) in self._holders and id(value) not in above:
                inner.append((f"{prefix}{key}." if key else prefix, value))
        for name, value in inner:
            self.visit(value, name, plain, above)

    def _count(self, characters: int) -> None:
        self._characters -= characters
        if self._visits < 0 or self._characters < 0:
            raise ValueError("its pickle reaches its tensors on too many ways")

    def _note_module(self, kind: Any, state: Pairs, prefix: str) -> None:
        """Keep what a module's state tells beside its parameters: its class and its options."""
        if not isinstance(kind, Global) or not (is_module(state) or kind.module.startswith(SCRIPTED)):
            return
        known = self._known(kind)
        name = known.kind + put_on(state)
        if name.startswith(_CONTAINERS):
            return
        found = {key: value_of(state, key) for key in OPTIONS}
        options = {key: option for key, option in found.items() if type(option) in OPTIONS[key]}
        self.modules.setdefault(prefix, WholeModule(name, {**known.options, **options}))


_ARGUMENTS = {Global("torch._dynamo.eval_frame", "OptimizedModule"): ("_orig_mod",)}
"""Names of what classes are called with; others are numbered."""


def _children(holder: Any, state: Any) -> Iterator[tuple[str, Any]]:
    """Yield what is in a container, with the part of a name that leads to it; "" leads to what it is itself."""
    if isinstance(holder, Pairs):
        yield from _named(holder)
    elif isinstance(holder, (list, tuple)):
        yield from ((str(index), each) for index, each in enumerate(holder))
    elif isinstance(holder, Placeholder):
        yield from _arguments(holder)
        if is_module(state):
            yield from (("", value_of(state, name)) for name in ("_parameters", "_buffers", "_modules"))
            return
        yield from ((str(index), each) for index, each in enumerate(holder.items))
        yield from _named(holder.pairs)
        # Without slots the state is the dict of attributes, otherwise a pair of such dicts; or what a class makes it.
        slots = type(state) is tuple and all(each is None or isinstance(each, Pairs) for each in state)
        for attributes in state if slots else (state,):
            yield ("state" if isinstance(attributes, SOUGHT) else ""), attributes


def _arguments(holder: Placeholder) -> Iterator[tuple[str, Any]]:
    """Yield what a class was called with, which of a named tuple is all that there is."""
    known = _ARGUMENTS.get(holder.kind, ()) if isinstance(holder.kind, Global) else ()
    alone = not holder.items and not holder.pairs and holder.state is None
    for index, each in enumerate(holder.arguments if type(holder.arguments) is tuple else ()):
        yield known[index] if index < len(known) else f"{index}" if alone else f"arguments.{index}", each


def _named(pairs: Pairs) -> Iterator[tuple[str, Any]]:
    for key, value in zip(pairs[::2], pairs[1::2], strict=True):
        if type(key) in (str, int):
            yield str(key), value


def item_size(kind: str) -> int | None:
    """Return the bytes of an element of a storage, if its kind is known."""
    return np.dtype(NUMBERS[kind]).itemsize if kind in NUMBERS else _QUANTIZED_SIZES.get(kind)


# --- numbers ----------------------------------------------------------------------------------------------------


def read_tensor(file: BinaryIO, tensor: Tensor, start: int, size: int, order: str) -> np.ndarray:
    """Read a tensor of a storage that begins somewhere in a file, and has so many bytes, in a byte order.

    Raises
    ------
    ValueError
        If it reaches beyond the storage, or has elements more than once, or numbers that NumPy lacks.
    """
    if tensor.dtype not in NUMBERS:
        raise ValueError(f"holds {tensor.dtype}")
    code = np.dtype(order + NUMBERS[tensor.dtype])
    count = math.prod(tensor.shape)
    span = 1 + sum((length - 1) * stride for length, stride in zip(tensor.shape, tensor.strides, strict=True))
    if count == 0:
        return np.empty(tensor.shape, code)
    if (tensor.offset + span) * code.itemsize > size:
        raise ValueError(f"has shape {tensor.shape}, which reaches beyond the {size:,} bytes of its storage")
    if count > span:
        raise ValueError(f"has shape {tensor.shape}, and only {span:,} different elements")
    file.seek(start + tensor.offset * code.itemsize)
    flat = np.fromfile(file, code, span)
    if flat.size != span:
        raise ValueError("ends too early")
    strides = [stride * code.itemsize for stride in tensor.strides]
    array = np.lib.stride_tricks.as_strided(flat, tensor.shape, strides)
    if tensor.dtype == "bfloat16":
        return widened(array)
    return flat.reshape(tensor.shape) if array.flags.c_contiguous else np.array(array, order="C")
