"""Where the arrays of LSTM layers lie in a file, and how they are laid out.

Keras has ``kernel`` (F, 4 u), ``recurrent_kernel`` (u, 4 u) and ``bias`` (4 u,), with gates in the order i, f, c, o.
CuDNNLSTM keeps each gate of the kernel as the (u, F) matrix that cuDNN reads, in the place of an (F, u) one; each gate
of the recurrent kernel transposed; and a bias for each of the two products.  Keras 1 has an array for each gate:
``W_i``, ``U_i``, ``b_i``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ...formats.bfloat16 import widened
from ...formats.hdf5 import Node
from .classes import Refusal
from .config import Entry

_NAMES = ("kernel", "recurrent_kernel", "bias")
_GATES = "ifco"
_OF_GATE = re.compile(r"(?:.*_)?([WUb])_([ifco])")
_FORWARD, _BACKWARD = "forward_", "backward_"
"""What Bidirectional puts before the names of its two layers, the second only if that is not its user's."""

_CELL = re.compile(r"(?:.*_)?cell(?:_\d+)?")
_DEPTH = 32
"""Groups in groups: a model in a model has two each."""


class Arrays(NamedTuple):
    """The arrays of one direction, by Keras's names, those of Keras 1 by theirs."""

    nodes: dict[str, Node]

    def described(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Return shapes and dtypes by the names in the file."""
        return {
            node.path: (node.shape(), "bfloat16" if node.is_bfloat16 else node.array().dtype.newbyteorder("=").name)
            for node in self.nodes.values()
        }

    @property
    def of_cudnn(self) -> bool:
        """Whether they are those of CuDNNLSTM, which has two biases."""
        bias, kernel = self.nodes.get("bias"), self.nodes.get("recurrent_kernel")
        return bias is not None and kernel is not None and bias.shape() == (2 * kernel.shape()[-1],)


class Weights(NamedTuple):
    """The parameters of one direction in torch's layout; gates i, f, c, o are its i, f, g, o."""

    weight_ih: np.ndarray
    weight_hh: np.ndarray
    bias: np.ndarray | None

    def astype(self, dtype: Any) -> Weights:
        """Return them in another dtype."""
        bias = None if self.bias is None else self.bias.astype(dtype)
        return Weights(self.weight_ih.astype(dtype), self.weight_hh.astype(dtype), bias)

    @property
    def input_size(self) -> int:
        """Features of the input."""
        return int(self.weight_ih.shape[1])

    @property
    def units(self) -> int:
        """Features of the output."""
        return int(self.weight_hh.shape[1])


def read(arrays: Arrays, units: int | None, use_bias: bool | None = None) -> Weights:
    """Return the parameters of one direction.

    Parameters
    ----------
    arrays : Arrays
        Where they are.
    units, use_bias : int and bool, optional
        What the configuration says.

    Raises
    ------
    Refusal
        If they do not fit together.
    """
    if "W_i" in arrays.nodes:
        values = {name: _numbers(node) for name, node in arrays.nodes.items()}
        kernel, recurrent = _side_by_side(values, "W"), _side_by_side(values, "U")
        bias: np.ndarray | None = _side_by_side(values, "b")
    else:
        if not {"kernel", "recurrent_kernel"} <= arrays.nodes.keys():
            raise Refusal("its weights are not all there")
        kernel, recurrent = _numbers(arrays.nodes["kernel"]), _numbers(arrays.nodes["recurrent_kernel"])
        bias = _numbers(arrays.nodes["bias"]) if "bias" in arrays.nodes else None
    shapes = f"kernel {kernel.shape}, recurrent_kernel {recurrent.shape}, bias {None if bias is None else bias.shape}"
    size = recurrent.shape[0] if recurrent.ndim == 2 else 0
    fits = (
        size > 0 and (units is None or units == size) and kernel.ndim == 2 and kernel.shape[0] > 0
        and kernel.shape[1] == recurrent.shape[1] == 4 * size
        and (bias is None or bias.shape in ((4 * size,), (8 * size,)))
    )  # fmt: skip
    if not fits:
        raise Refusal(f"its weights are not those of an LSTM of {units or 'any'} units: {shapes}")
    if use_bias is not None and use_bias != (bias is not None):
        raise Refusal(f"use_bias is {use_bias}, and its weights are not those of such a layer: {shapes}")
    if bias is None or len(bias) == 4 * size:
        return Weights(kernel.T, recurrent.T, bias)
    gates = range(0, 4 * size, size)
    weight_ih = np.concatenate([kernel[:, g : g + size].reshape(size, -1) for g in gates])
    weight_hh = np.concatenate([recurrent[:, g : g + size] for g in gates])
    with np.errstate(all="ignore"):
        return Weights(weight_ih, weight_hh, bias[: 4 * size] + bias[4 * size :])


def _side_by_side(values: dict[str, np.ndarray], letter: str) -> np.ndarray:
    parts = [values.get(f"{letter}_{gate}") for gate in _GATES]
    if any(part is None for part in parts):
        raise Refusal("its weights are not all there")
    return np.concatenate(parts, axis=-1)  # type: ignore[arg-type]


def _numbers(node: Node) -> np.ndarray:
    """Return an array as float32 or float64."""
    array = node.array()
    if node.is_bfloat16:
        if (array.dtype.kind, array.dtype.itemsize) != ("u", 2):
            raise Refusal(f"{node.path} holds {array.dtype}, and is said to be bfloat16")
        return widened(array)
    if array.dtype.kind != "f":
        raise Refusal(f"{node.path} holds {array.dtype}, such as quantised weights, not real numbers")
    return array if array.dtype.itemsize == 8 else array.astype(np.float32, copy=False)


# --- where they are ---------------------------------------------------------------------------------------


def locate(root: Node, by_name: bool, entry: Entry) -> list[Arrays]:
    """Return the arrays of a layer, one for each direction.

    Raises
    ------
    Refusal
        If they are not where Keras keeps them.
    """
    if by_name:
        owned = _by_name(root, entry)
        found = _directions(owned) if len(owned) == len(entry.directions) else []
    else:
        found = _by_class(root, entry.group)
    if len(found) != len(entry.directions):
        raise Refusal("its weights are not where Keras keeps them")
    return found


def _by_class(root: Node, group: str) -> list[Arrays]:
    node = root.find(group)
    if node is None and group.startswith("layers/"):  # Keras 2.12 and 2.13
        node = root.find("_layer_checkpoint_dependencies" + group[len("layers") :])
    return [] if node is None else _in_group(node)


def _in_group(node: Node) -> list[Arrays]:
    """Return the arrays of a layer's group, without those of layers within it."""
    names = node.names()
    if "forward_layer" in names and "backward_layer" in names:
        sides = (node.find("forward_layer"), node.find("backward_layer"))
        return [arrays for side in sides if side for arrays in _in_group(side)]
    variables = node.find("cell/vars" if "cell" in names else "vars")
    found = set(variables.names()) if variables else set()
    nodes = [variables.find(name) for name in map(str, range(len(found))) if name in found] if variables else []
    if len(nodes) not in (2, 3):
        return []
    return [Arrays({name: node for name, node in zip(_NAMES, nodes, strict=False) if node and node.is_array})]


def _by_name(root: Node, entry: Entry) -> dict[tuple[str, ...], Arrays]:
    group = root.find(entry.names[0])
    if group is None:
        return {}
    paths = _paths(group, "weight_names")
    if len(entry.names) > 1:  # all arrays of a model or wrapper lie in one list
        paths = _within(paths, entry.names[1:]) or (paths if len(entry.names) == 2 else [])
    return _owned(group, paths)


def _within(paths: list[str], names: tuple[str, ...]) -> list[str]:
    """Return those paths that have a layer's names one after the other, as many of the last ones as any path has."""
    shared = [_shared(tuple(path.split("/")), names) for path in paths]
    most = max(shared, default=0)
    return [path for path, count in zip(paths, shared, strict=True) if count == most > 0]


def _shared(parts: tuple[str, ...], names: tuple[str, ...]) -> int:
    """Return how many of the last names stand in a path, one after the other."""
    most = 0
    for end in range(1, len(parts) + 1):
        while most < min(end, len(names)) and parts[end - most - 1 : end] == names[-most - 1 :]:
            most += 1
    return most


def _paths(group: Node, name: str) -> list[str]:
    """Return a list of names, which is in parts if it is long."""
    whole, part = group.attribute(name), 0
    if whole is not None:
        return [str(text) for text in whole]
    names: list[str] = []
    while (texts := group.attribute(f"{name}{part}")) is not None:
        names += map(str, texts)
        part += 1
    return names


def _owned(group: Node, paths: list[str]) -> dict[tuple[str, ...], Arrays]:
    """Return the arrays among those of a group, by the names before theirs, which are those of a layer."""
    found: dict[tuple[str, ...], Arrays] = {}
    for path in paths:
        *owner, name = path.split("/")
        name = name.partition(":")[0]
        gate = _OF_GATE.fullmatch(name)
        if gate:
            owner.append(name[: gate.start(1)])
            name = f"{gate[1]}_{gate[2]}"
        elif name not in _NAMES:
            continue
        node = group.find(path)
        if node is None or not node.is_array:
            raise Refusal(f"{path} is missing")
        nodes = found.setdefault(tuple(owner), Arrays({})).nodes
        if name in nodes:
            raise Refusal(f"several of its arrays are called {name}")
        nodes[name] = node
    return found


def _directions(found: dict[tuple[str, ...], Arrays]) -> list[Arrays]:
    """Return the arrays of a layer in the order forward, backward.

    They do not have it in the file: Keras lists what is trained before what is frozen, layers or single arrays.

    Raises
    ------
    Refusal
        If the names do not say which of two directions is forward.
    """
    if len(found) != 2:
        return list(found.values())
    around = set.intersection(*map(set, found))  # names of models, which may begin like those of directions
    forward = [owner for owner in found if any(part.startswith(_FORWARD) for part in set(owner) - around)]
    if len(forward) != 1:
        raise Refusal("the names of its arrays do not say which are those of the forward direction")
    return [found[forward[0]], *(arrays for owner, arrays in found.items() if owner != forward[0])]


# --- without a configuration ------------------------------------------------------------------------------


class Stored(NamedTuple):
    """What looks like the arrays of an LSTM, or of two directions."""

    names: tuple[str, ...]
    group: str
    arrays: list[Arrays]


def discover(root: Node, by_name: bool) -> list[Stored]:
    """Return all that look like the arrays of LSTMs."""
    found = list(_named(root) if by_name else _grouped(root, (), set(), 0))
    return [stored for stored in found if stored.arrays and all(map(_like_lstm, stored.arrays))]


def _layer_of(path: str) -> tuple[str, ...]:
    """Return the names before that of an array, without its cell's."""
    *parts, _ = path.split("/")
    return tuple(parts[:-1] if len(parts) > 1 and _CELL.fullmatch(parts[-1]) else parts)


def _sides(parts: tuple[str, ...]) -> list[str]:
    """Return the directions that names say."""
    return [side for side in (_FORWARD, _BACKWARD) if any(part.startswith(side) for part in parts)]


def _above(parts: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names without those of directions, above which their Bidirectional stands in newer files."""
    return tuple(part for part in parts if not _sides((part,)))


def _named(root: Node) -> Iterator[Stored]:
    for layer in _paths(root, "layer_names"):
        group = root.find(layer)
        owners: dict[tuple[str, ...], list[str]] = {}
        paths = {path: _layer_of(path) for path in (_paths(group, "weight_names") if group else [])}
        sides = Counter({(_above(parts), side) for parts in paths.values() for side in _sides(parts)})
        for path, parts in paths.items():
            both = all(sides[_above(parts), side] for side in (_FORWARD, _BACKWARD))
            owners.setdefault((_above(parts) if both else parts) or (layer,), []).append(path)
        inner = {names: names[names.index(layer) + 1 :] if layer in names else names[1:] for names in owners}
        counts = Counter(inner.values())
        for names, own in owners.items():
            # What stands first may be a name that only TensorFlow had for the layer, unless it tells some apart.
            alone = counts[inner[names]] == 1
            owned = _owned(group, own) if group else {}
            try:
                arrays = _directions(owned)
            except Refusal:  # which is forward nobody can say, and whoever names this layer is told that it is none
                arrays = []
            yield Stored((layer, *(inner[names] if alone else names)), "", arrays)


def _grouped(node: Node, names: tuple[str, ...], seen: set[int], depth: int) -> Iterator[Stored]:
    if node.is_array or node.address in seen or depth > _DEPTH:
        return
    seen.add(node.address)
    arrays = _in_group(node)
    if arrays and node.path:
        yield Stored(names, node.path, arrays)
        return
    for name in node.names():
        inner = node.find(name) if name not in ("vars", "optimizer", "seed_generator") else None
        if inner is not None:
            holder = name in ("layers", "_layer_checkpoint_dependencies")
            variables = None if holder or inner.is_array else inner.find("vars")
            own = variables.attribute("name") if variables else None
            inner_names = names if holder else (*names, own if isinstance(own, str) else name)
            yield from _grouped(inner, inner_names, seen, depth + 1)


def _like_lstm(arrays: Arrays) -> bool:
    try:
        read(arrays, None)
    except Refusal:
        return False
    return True
