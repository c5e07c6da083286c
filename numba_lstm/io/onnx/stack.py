"""A run of nodes as one stacked LSTM: each has to read what the one before has computed, and nothing else."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ...contract.architecture import Architecture
from ...lstm import LSTM
from .attributes import INSTEAD, Refusal
from .constants.deferred import at
from .constants.graph import Graph, Place, inner_graphs
from .constants.sizes import Size
from .constants.tensors import NotConstant
from .constants.values import Values
from .node import Node

_SIZES = (3, 2)
"""Steps and rows of a probe, where the model leaves them open, and the other of them is the one in question."""
_MOST = 2**24
"""Numbers of a probe."""
_PARTS = {"Expand", "Gather", "GatherElements", "Slice", "Split", "Tile"}
"""Operations that leave out a part of their first input, or repeat one: the other inputs say which."""
_LARGEST, _FEW = 2**31 - 1, 16
"""Integers from here on mean "to the end"; tensors of more of them than this are no sizes or places."""


def join(places: list[Place], nodes: list[Node]) -> LSTM:
    """Return the LSTM whose layers are some nodes, the first one first; or raise Refusal."""
    for place, node in zip(places, nodes, strict=True):
        obstacle = node.beyond_lstm(place.graph.model.tries)
        if obstacle:
            raise Refusal(f"{node.name!r} {obstacle}: onnx.load gives a node that does it")
    first = nodes[0]
    for node in nodes[1:]:
        for name in ("direction", "hidden_size", "layout", "dtype", "form"):
            mine, other = getattr(node, name), getattr(first, name)
            if mine != other:
                both = f"{node.name!r} has {name} {mine}, {first.name!r} {other}"
                instead = ": weights= says which one all should have" if name == "form" else ""
                raise Refusal(f"layers of an LSTM are alike, and {both}{instead}")
        if first.supplies["sequence_lens"].given_as != node.supplies["sequence_lens"].given_as:
            both = f"{node.name!r} is given others than {first.name!r}"
            raise Refusal(f"layers of an LSTM have the same lengths, and {both}")
    for (place, node), (after, above) in itertools.pairwise(zip(places, nodes, strict=True)):
        _check_chain(place, node, after, above)
    bias, both_ways = any(node.weights.B is not None for node in nodes), first.directions == 2
    architecture = Architecture(first.input_size, first.hidden_size, len(nodes), bias, both_ways)
    # A layer without bias among others with one has zeros.
    shapes = architecture.shapes()
    parameters = {name: np.zeros(shape, first.dtype) for name, shape in shapes.items() if name.startswith("bias")}
    for layer, node in enumerate(nodes):
        parameters |= node.weights.parameters(node.dtype, layer)
    batch_first, form = bool(first.layout), first.weights.form
    if form is not None:
        return LSTM._of_form(architecture, parameters, form, batch_first=batch_first)
    return LSTM._of(architecture, parameters, batch_first=batch_first, dtype=first.dtype, seed=0).eval()


def _check_chain(place: Place, node: Node, after: Place, above: Node) -> None:
    """Raise Refusal unless a node's input is the output of the one before, directions side by side.

    What lies between may only move numbers, and does so with some that are all different: whatever way an exporter has
    taken, what arrives tells.
    """
    between = f"{above.name!r} does not read the output of {node.name!r}"
    output = place.node.output[0] if place.node.output else ""
    if not output or after.graph is not place.graph:
        raise Refusal(f"{between}: {INSTEAD}, or take them one by one")
    cut = _computed_cut(place, after)
    if cut is not None:
        which = f"{cut.op_type} {cut.name!r} on the way takes what a computation says"
        raise Refusal(f"{between}, as far as can be seen: {which}; take them one by one")
    reasons = []
    for pairs in _sizes(place, node, after):
        try:
            for steps, rows in pairs:
                _check_passage(place, node, after, steps, rows)
        except NotConstant as reason:
            reasons.append(str(reason))
        else:
            return
    raise Refusal(f"{between}, as far as can be seen: {reasons[0]}; take them one by one")


def _check_passage(place: Place, node: Node, after: Place, steps: int, rows: int) -> None:
    """Raise NotConstant unless what a node computes of so many steps and rows arrives at another one as it is."""
    shape = (steps, rows, node.directions, node.hidden_size)
    count = math.prod(shape)  # of any size, unlike NumPy's
    if count > _MOST:
        raise NotConstant(f"{steps} steps of {rows} rows are too many to see what is done to them on the way")
    # With a third, so that neither float16 nor an integer on the way has them; of both signs, which Relu does not keep.
    y = np.arange(count) + 1 / 3
    y[1::2] *= -1
    y = y.astype(node.dtype).reshape(shape)
    inward = y.reshape(steps, rows, -1)
    probe = y.transpose(0, 2, 1, 3)
    if node.layout:
        inward, probe = inward.transpose(1, 0, 2), y.transpose(1, 0, 2, 3)
    arrived = _arrived(place, after.node.input[0], probe, (rows, steps) if node.layout else (steps, rows))
    if arrived.shape != inward.shape or not (arrived == inward).all():
        raise NotConstant("something is done to it on the way")


def _arrived(place: Place, name: str, probe: np.ndarray, sizes: tuple[int, int]) -> np.ndarray:
    """Return what a tensor is if the output of a node is some numbers, and its input has axes of some sizes."""
    budget = place.graph.model.budget
    values = Values(place.graph, {place.node.output[0]: probe})
    shape = values.shape_of_rank(place.node.input[0], 3)
    known = {size: length for size, length in zip(shape, sizes, strict=False) if isinstance(size, Size)}
    return at(values.value(name), known, budget, place.graph.model.tries)


def _sizes(place: Place, lower: Node, after: Place) -> Iterator[list[tuple[int, int]]]:
    """Yield lists of steps and rows: what passes in all of one list passes always.

    Sizes that follow from what the model is given are tried alone.  Those that it leaves open are tried beyond every
    number on the way, so that no cut leaves them whole.  Where a model declares nothing of what it is given, sizes
    that a reshape on the way has fixed, both of them, are as good.
    """
    sizes = _of_X(place)
    steps, rows = sizes.known[1::-1] if lower.layout else sizes.known[:2]
    producers = _between(place, after)
    beyond = max(_numbers(producers), default=0) + 2
    yield [(steps or beyond, rows or _SIZES[1]), (steps or _SIZES[0], rows or beyond)]
    for graph, node in producers if sizes.undeclared else ():
        if node.op_type != "Reshape" or len(node.input) != 2:
            continue
        target = _constant(graph, node.input[1])
        if target is not None and target.ndim == 1 and target.size in (3, 4) and target.dtype.kind in "iu":
            first, second = (int(size) for size in target[:2])
            # A size that is fixed beside an open one would have the numbers of other sizes divided anew.
            if first > 0 and second > 0:
                yield [(second, first) if lower.layout else (first, second)]


class _SizesOfX(NamedTuple):
    """What is known of the first two axes of a node's X."""

    known: list[int | None]
    undeclared: bool
    """Whether the model declares nothing of what it is given."""


def _of_X(place: Place) -> _SizesOfX:
    name, graph = place.node.input[0], place.graph
    shape = Values.of(graph).shape_of_rank(name, 3)[:2]
    inputs = _inputs(graph)
    places = [(each, axis, size) for each, sizes in inputs.items() for axis, size in enumerate(sizes or ())]
    given = {Size(each, axis) for each, axis, size in places if size is None}
    # What a model says of what it computes itself is asked last: an exporter may have left the sizes of its example.
    # They are not, if there is an open one for each that the model is given and that is not followed to here.
    home = graph.home(name)
    said = (None if home is None else home.shapes.get(name)) or []
    left = [number for number, size in zip(said, shape, strict=False) if size not in given]
    believed = len(said) == 3 and len(given.difference(shape)) <= left.count(None)
    known: list[int | None] = []
    for axis, size in enumerate(shape):
        number = size.declared if isinstance(size, Size) else size
        if number is None and size not in given and believed:
            number = said[axis]
        known.append(number if number and number > 0 else None)
    return _SizesOfX(known, not any(inputs.values()))


def _inputs(graph: Graph | None) -> dict[str, list[int | None] | None]:
    """Return what is given to a graph and those around it, and the shapes that are declared of it."""
    found: dict[str, list[int | None] | None] = {}
    while graph is not None:
        constants = graph.tensors.keys() | graph.sparse
        found |= {name: graph.shapes.get(name) for name in graph.inputs - constants if name}
        graph = graph.parent
    return found


def _between(place: Place, after: Place) -> list[tuple[Graph, Any]]:
    """Return the nodes through which the output of one comes to another, each with its graph; those in branches too."""
    found: dict[int, tuple[Graph, Any]] = {}
    pending = [(place.graph, after.node.input[0])]
    while pending:
        graph, name = pending.pop()
        home = graph.home(name)
        producer = None if home is None else home.producers.get(name)
        if home is None or producer is None or producer is place.node or id(producer) in found:
            continue
        home.model.tries.take(len(producer.input))
        found[id(producer)] = home, producer
        pending += [(home, each) for each in producer.input]
        for _, proto in inner_graphs(producer.attribute):
            inner = Graph(proto, home.path, home, home.model)
            pending += [(inner, each) for each in inner.outputs]
    return list(found.values())


def _computed_cut(place: Place, after: Place) -> Any:
    """Return a node on the way that takes or repeats what the sizes decide; None if there is none.

    It may leave all sizes whole that are tried, and not others.
    """
    found = _between(place, after)
    carrying, before = {id(place.node)}, 0
    while len(carrying) > before:
        before = len(carrying)
        place.graph.model.tries.take(len(found))
        for graph, node in reversed(found):  # from the lower one on, as far as that can be said
            if carrying & _read_by(graph, node):
                carrying.add(id(node))
    for graph, node in found:
        places = node.input[1:] if id(node) in carrying and node.op_type in _PARTS else ()
        if any(name and _constant(graph, name) is None for name in places):
            return node
    return None


def _read_by(graph: Graph, node: Any) -> set[int]:
    """Return which nodes' numbers a node passes on, those of branches as well; sizes and places are none."""
    if node.op_type in ("Shape", "Size"):
        return set()
    names = [(graph, name) for name in (node.input[:1] if node.op_type in _PARTS else node.input)]
    for _, proto in inner_graphs(node.attribute):
        inner = Graph(proto, graph.path, graph, graph.model)
        names += [(inner, name) for name in inner.outputs]
    homes = [(graph.home(name), name) for graph, name in names]
    return {id(home.producers[name]) for home, name in homes if home is not None and name in home.producers}


def _constant(graph: Graph, name: str) -> np.ndarray | None:
    try:
        value = Values.of(graph).value(name)
    except (NotConstant, ValueError):
        return None
    return value if isinstance(value, np.ndarray) and value.dtype != object else None


def _numbers(nodes: list[tuple[Graph, Any]]) -> Iterator[int]:
    """Yield numbers that nodes are given, whole: where to cut, what to take, how large something is or may be."""
    for graph, node in nodes:
        arrays = [array for name in node.input if name and (array := _constant(graph, name)) is not None]
        arrays += [np.array([attribute.i, *attribute.ints], np.int64) for attribute in node.attribute]
        arrays += [np.array([attribute.f, *attribute.floats]) for attribute in node.attribute]
        for array in arrays:
            if array.dtype.kind in "iuf" and array.size <= _FEW:
                numbers = (abs(number.item()) for number in array.ravel())
                yield from (math.ceil(number) for number in numbers if number < _LARGEST)  # and no NaN
