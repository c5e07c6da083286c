"""ONNX files as graphs: nodes by name, and tensors that do not depend on the model's input.

A file is data: its nodes are looked at, and only a few operations on constants are done, with NumPy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import operations
from .tensors import NotConstant, array, external_bytes, onnx

OWN = ("", "ai.onnx")
"""Names of the domain of ONNX's own operators."""

_MOST_NODES = 1_000_000
_DEEPEST = 50
"""Graphs in graphs, and operations on constants that follow each other."""


class Budget:
    """Bytes that constants made from others may have together.

    A small file can ask for much: a thousand nodes that each convert the same weights.
    """

    def __init__(self, limit: int) -> None:
        self.limit = self.left = limit

    def take(self, size: int) -> None:
        """Count some bytes, or raise NotConstant if they are too many."""
        if size > self.left:
            raise NotConstant("the model's constants would be far larger than its file")
        self.left -= size


class Graph:
    """A graph of a model: its nodes and constants, with those of the graphs around it in reach.

    Parameters
    ----------
    proto : GraphProto
        What the file has.
    path : str
        Its nodes' names are preceded by it.
    parent : Graph or None
        The graph around it.
    folder : Path
        Where tensors lie that are kept in other files.
    budget : Budget
        Of the whole file.
    """

    def __init__(self, proto: Any, path: str, parent: Graph | None, folder: Path, budget: Budget) -> None:
        self.nodes = list(proto.node)
        self.path, self.parent, self.folder, self.budget = path, parent, folder, budget
        self.shapes = {value.name: _shape(value) for value in (*proto.input, *proto.value_info)}
        self.tensors = {tensor.name: tensor for tensor in proto.initializer}
        self.producers = {name: node for node in self.nodes for name in node.output if name}
        self._inputs = {value.name for value in proto.input}
        self._known: dict[str, np.ndarray] = {}

    def constant(self, name: str) -> np.ndarray:
        """Return a tensor's numbers, or raise NotConstant."""
        return self.value(name, {})

    def value(self, name: str, given: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return a tensor's numbers if some others are ``given``; raise NotConstant if that is not enough."""
        # What depends on those that are given is not kept for others.
        return self._value(name, dict(given) if given else self._known, 0)

    def _value(self, name: str, known: dict[str, np.ndarray], depth: int) -> np.ndarray:
        if name in known:
            return known[name]
        if depth > _DEEPEST:
            raise NotConstant("its computation is too long")
        if name in self.tensors:
            known[name] = array(self.tensors[name], self.folder)
        elif name in self.producers:
            known.update(self._computed(self.producers[name], known, depth))
        elif self.parent is not None and name not in self._inputs:
            return self.parent._value(name, self.parent._known, depth + 1)
        else:
            raise NotConstant(f"{name!r} is given when the model runs")
        return known[name]

    def _computed(self, node: Any, known: dict[str, np.ndarray], depth: int) -> dict[str, np.ndarray]:
        attributes = {each.name: each for each in node.attribute}
        kind = node.op_type if node.domain in OWN else f"{node.domain}.{node.op_type}"
        if kind == "Constant":
            return {node.output[0]: operations.constant(attributes, self.folder)}
        if kind not in operations.KNOWN:  # before its inputs are, which may be large
            raise NotConstant(f"{kind} computes it")
        inputs = [self._value(name, known, depth + 1) if name else None for name in node.input]
        made = operations.compute(kind, attributes, inputs, len(node.output), self.budget.limit)
        for result in made:
            if not any(each is not None and np.may_share_memory(result, each) for each in inputs):
                self.budget.take(result.nbytes)
        return dict(zip(node.output, made, strict=False))


class Place(NamedTuple):
    """A node and where it is."""

    name: str
    """Unique in the file: its own, or what was made up for it."""
    node: Any
    graph: Graph


def read(path: Path) -> tuple[list[Place], list[Any]]:
    """Return all nodes of a file, those of inner graphs too, and its functions.

    Raises
    ------
    OSError
        If the file cannot be opened.
    ValueError
        If it is damaged; without the path.
    """
    content = path.read_bytes()
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's own exceptions
        raise ValueError("not a complete ONNX model") from error
    if not model.HasField("graph"):
        raise ValueError("not an ONNX model: it has no graph")
    # Conversions may widen numbers, and small files have small constants.
    budget = Budget(4 * (len(content) + external_bytes(model.graph, path.parent)) + 2**16)
    found: list[tuple[Any, Graph]] = []
    for node, graph in _walk(Graph(model.graph, "", None, path.parent, budget), 0):
        if len(found) == _MOST_NODES:
            raise ValueError(f"it has more than {_MOST_NODES:,} nodes")
        found.append((node, graph))
    return _named(found), list(model.functions)


def _named(found: list[tuple[Any, Graph]]) -> list[Place]:
    """Return nodes with names that are unique: their own if they can be, else with those of the graphs around them."""
    own = [node.name or next((output for output in node.output if output), node.op_type) for node, _ in found]
    counts = Counter(own)
    places: dict[str, Place] = {}
    for index, (name, (node, graph)) in enumerate(zip(own, found, strict=True)):
        unique = name if counts[name] == 1 else f"{graph.path}{name}"
        while unique in places or (unique != name and unique in counts):
            unique = f"{unique}#{index}"
        places[unique] = Place(unique, node, graph)
    return list(places.values())


def _walk(graph: Graph, depth: int) -> Iterator[tuple[Any, Graph]]:
    if depth > _DEEPEST:
        raise ValueError("its graphs lie too deep in each other")
    for index, node in enumerate(graph.nodes):
        yield node, graph
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                path = f"{graph.path}{node.name or f'{node.op_type}_{index}'}/{attribute.name}/"
                yield from _walk(Graph(attribute.g, path, graph, graph.folder, graph.budget), depth + 1)


def _shape(value: Any) -> list[int | None]:
    """Return the shape that is declared of a tensor, None where a size is open."""
    sizes = value.type.tensor_type.shape.dim
    return [size.dim_value if size.HasField("dim_value") and size.dim_value > 0 else None for size in sizes]
