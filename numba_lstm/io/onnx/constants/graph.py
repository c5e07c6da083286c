"""ONNX files as graphs: nodes by name, and where tensors come from.

A file is data: its nodes are looked at, and only a few operations on constants are done, with NumPy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from .operation import OWN, Operation
from .operation import read as read_operation
from .operations import Budget, Tries
from .tensors import Files, external_bytes, onnx

T = TypeVar("T")

_MOST_NODES = 1_000_000
_DEEPEST = 50
"""Graphs in graphs."""

_GROWTH = 32
"""How many times as large as its file what is made of a model's constants may be: four bits become 32, a few times."""

_LOCATION = b"location"
"""What a model has that names other files."""

_TRIES = 100_000
"""Inputs of operations that are tried, which takes less than a second."""


@dataclass
class Model:
    """What holds for all graphs of a file."""

    files: Files
    """Where tensors lie that are kept in other files."""
    budget: Budget
    opsets: Mapping[str, int]
    """Of domains, where the model says one; that of ONNX's own operators is ``""``."""
    functions: frozenset[tuple[str, str]]
    """Domains and names of its own functions."""
    search: Budget
    """For seeing which numbers weights were before they were dequantised: where it ends, they stay as they are."""
    tries: Tries
    depth: int = 0
    """Of the computation that is under way."""
    made: dict[Hashable, Any] = field(default_factory=dict)
    """What `once` has made."""

    def once(self, key: Hashable, size: int, make: Callable[[], T]) -> T:
        """Return what several nodes may share, which takes so many bytes when it is first made."""
        if key not in self.made:
            self.budget.take(size)
            self.made[key] = make()
        found: T = self.made[key]
        return found

    def kind(self, node: Any) -> str:
        """Return the operator of a node: its name alone if it is one of ONNX's own."""
        own = node.domain in OWN
        if own and not self.has_function(node):
            return str(node.op_type)
        return f"{'ai.onnx' if own else node.domain}.{node.op_type}"

    def has_function(self, node: Any) -> bool:
        """Return whether what a node does is a function of the model, whatever its name."""
        return _called(node) in self.functions

    def operation(self, node: Any) -> Operation:
        """Return what a node does; raise NotConstant if it is not by the letter of its opset."""
        return read_operation(node, self.opsets.get(_domain(node)), self.files)


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
    model : Model
        The file.

    Raises
    ------
    ValueError
        If two of its tensors have one name.
    """

    def __init__(self, proto: Any, path: str, parent: Graph | None, model: Model) -> None:
        self.nodes = list(proto.node)
        self.path, self.parent, self.model = path, parent, model
        self.shapes = {value.name: _shape(value) for value in (*proto.input, *proto.value_info, *proto.output)}
        self.tensors = {tensor.name: tensor for tensor in proto.initializer}
        self.sparse = {tensor.values.name for tensor in proto.sparse_initializer}
        self.producers = {name: node for node in self.nodes for name in node.output if name}
        self.inputs = {value.name for value in proto.input}
        self.outputs = [value.name for value in proto.output]
        self.values: Any = None  # what is known of its tensors, see `values`
        # An initializer may have the name of an input, whose default it is.
        dense, sparse = proto.initializer, proto.sparse_initializer
        constants = [*(tensor.name for tensor in dense), *(tensor.values.name for tensor in sparse)]
        given, outputs = [value.name for value in proto.input], [name for node in self.nodes for name in node.output]
        for names in (given + outputs, constants + outputs):
            for name, count in Counter(names).items():
                if name and count > 1:
                    raise ValueError(f"more than one tensor is named {name!r}")

    def home(self, name: str) -> Graph | None:
        """Return the graph where a tensor is made or given, this one or one around it."""
        graph: Graph | None = self
        while graph is not None:
            if any(name in each for each in (graph.tensors, graph.sparse, graph.producers, graph.inputs)):
                return graph
            graph = graph.parent
        return None


class Place(NamedTuple):
    """A node and where it is."""

    name: str
    """Unique in the file: its own, or what was made up for it."""
    node: Any
    graph: Graph


def read(content: bytes, folder: Path, kinds: Set[str]) -> list[Place]:
    """Return the nodes of a file that are of some kinds or functions with such nodes, those of inner graphs too.

    Raises
    ------
    ValueError
        If it is damaged; without the path.
    """
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's own exceptions
        raise ValueError("not a complete ONNX model") from error
    if not model.HasField("graph"):
        raise ValueError("not an ONNX model: it has no graph")
    # Small files have small constants.
    beside = external_bytes(model, folder) if _LOCATION in content else 0
    limit = _GROWTH * (len(content) + beside) + 2**16
    functions = frozenset((_domain(each), each.name) for each in model.functions)
    whole = Model(Files(folder), Budget(limit), _opsets(model), functions, Budget(limit), Tries(_TRIES))
    found: list[tuple[Any, Graph]] = []
    for node, graph in _walk(Graph(model.graph, "", None, whole), 0):
        if len(found) == _MOST_NODES:
            raise ValueError(f"it has more than {_MOST_NODES:,} nodes")
        found.append((node, graph))
    holding = _holding(model.functions, kinds)
    return [each for each in _named(found) if each.node.op_type in kinds or _called(each.node) in holding]


def inner_graphs(attributes: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    """Yield the graphs in attributes with their names; files of the first version of the format have no types."""
    for attribute in attributes:
        if attribute.HasField("g"):
            yield attribute.name, attribute.g
        yield from ((f"{attribute.name}_{index}", graph) for index, graph in enumerate(attribute.graphs))


def _holding(functions: Iterable[Any], kinds: Set[str]) -> set[tuple[str, str]]:
    """Return domains and names of the functions with nodes of some kinds: in graphs within them, or by calls too."""
    callers: dict[tuple[str, str], set[tuple[str, str]]] = {}
    pending = []
    for function in functions:
        name = _domain(function), function.name
        for node in _within(function):
            callers.setdefault(_called(node), set()).add(name)
            if node.op_type in kinds:
                pending.append(name)
    found: set[tuple[str, str]] = set()
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending += callers.get(name, ())
    return found


def _within(function: Any) -> Iterator[Any]:
    """Yield the nodes of a function, those of inner graphs too."""
    graphs = [function, *(graph for _, graph in inner_graphs(function.attribute_proto))]
    while graphs:
        for node in graphs.pop().node:
            yield node
            graphs += [graph for _, graph in inner_graphs(node.attribute)]


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
        for name, inner in inner_graphs(node.attribute):
            path = f"{graph.path}{node.name or f'{node.op_type}_{index}'}/{name}/"
            yield from _walk(Graph(inner, path, graph, graph.model), depth + 1)


def _opsets(model: Any) -> dict[str, int]:
    """Return the opsets of domains; the first version of the format had but one."""
    given: dict[str, set[int]] = {}
    for entry in model.opset_import:
        given.setdefault(_domain(entry), set()).add(entry.version)
    if model.ir_version < 3:
        given.setdefault("", {1})
    return {domain: min(versions) for domain, versions in given.items() if len(versions) == 1 and min(versions) > 0}


def _domain(entry: Any) -> str:
    """Return the one name of the domain that a node, a function or an opset is of."""
    return "" if entry.domain in OWN else str(entry.domain)


def _called(node: Any) -> tuple[str, str]:
    """Return the domain and the name of what a node does."""
    return _domain(node), node.op_type


def _shape(value: Any) -> list[int | None] | None:
    """Return the shape that is declared of a tensor, None where a size is open; None if no shape is."""
    if not value.type.tensor_type.HasField("shape"):
        return None
    sizes = value.type.tensor_type.shape.dim
    return [size.dim_value if size.HasField("dim_value") and size.dim_value > 0 else None for size in sizes]
