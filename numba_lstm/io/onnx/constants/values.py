"""What tensors of a model are before it runs: numbers, or what they depend on.

Whatever a node reads is looked up here, by one mechanism.  It is an array if it follows from the constants of the file;
it is `Deferred` if it follows from them and from sizes of what the model is given, which are known when a node is
called; in all other cases `NotConstant` says why nobody but the caller can know it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Set
from typing import Any

import numpy as np

from . import operations, shapes
from .deferred import DEEPEST, TOO_LONG, Deferred, Value
from .graph import Graph
from .moves import MOVES, data_inputs
from .operation import QUANTIZED_LSTM
from .sizes import Size, Sizes, Unbound, vector
from .tensors import NotConstant, array


class Values:
    """The tensors of a graph, those of the graphs around it too.

    Parameters
    ----------
    graph : Graph
    given : mapping of str to ndarray, optional
        Numbers of tensors that are known beforehand, to see where they go: they stand for any others, and what computes
        with them is refused.
    anew : set of str, optional
        Constants that are made of those tensors, and would be others.
    """

    def __init__(
        self, graph: Graph, given: Mapping[str, np.ndarray] | None = None, anew: Set[str] = frozenset()
    ) -> None:
        self.graph, self._anew = graph, anew
        self._known: dict[str, Value] = dict(given or {})
        self._moved = set(self._known)
        self._tries = None if given is None else graph.model.tries
        self._shapes: dict[str, Sizes | str] = {}
        self._around = None if graph.parent is None else Values.of(graph.parent)

    @staticmethod
    def of(graph: Graph) -> Values:
        """Return the one that is kept with a graph."""
        if graph.values is None:
            graph.values = Values(graph)
        return graph.values  # type: ignore[no-any-return]

    # --- numbers ------------------------------------------------------------------------------------------

    def value(self, name: str) -> Value:
        """Return a tensor, or raise NotConstant."""
        if name not in self._known:
            own = None if name in self._anew else self.graph.values
            known = None if own is None or own is self else own._known.get(name)
            # Any other constant is one whatever else is given, and made once.
            if isinstance(known, np.ndarray) and known.dtype != object:
                self._known[name] = known
            else:
                self._known[name] = self._look(name)
        return self._known[name]

    def _look(self, name: str) -> Value:
        graph = self.graph
        if name in graph.tensors:
            return array(graph.tensors[name], graph.model.files)
        if name in graph.producers:
            node = graph.producers[name]
            self._known.update(self._deeper(self._computed, node))
            if name not in self._known:
                raise NotConstant(f"this output of {node.op_type} is not computed here")
            return self._known[name]
        if name in graph.inputs:
            raise NotConstant(f"{name!r} is given when the model runs")
        if name in graph.sparse:
            raise NotConstant(f"{name!r} is a sparse tensor")
        if self._around is None:
            raise NotConstant(f"{name!r} is not in the file")
        return self._around.value(name)

    def _deeper(self, function: Any, *arguments: Any) -> Any:
        """Follow a tensor to what it is made of, not too far."""
        model = self.graph.model
        if model.depth >= DEEPEST:
            raise NotConstant(TOO_LONG)
        model.depth += 1
        try:
            return function(*arguments)
        finally:
            model.depth -= 1

    def _computed(self, node: Any) -> dict[str, Value]:
        model = self.graph.model
        kind = model.kind(node)
        if kind == "If":
            return self._branch(node)
        if kind not in operations.KNOWN:  # before its inputs are, which may be large
            raise NotConstant(f"{kind} computes it")
        if self._tries is not None:
            self._tries.take(len(node.input))
        operation = model.operation(node)
        inputs: list[Value | None]
        if kind in operations.OF_SIZES:
            inputs = [vector(self.shape(name)) for name in node.input[:1]]
        else:
            inputs = [self.value(name) if name else None for name in node.input]
        moved = {place for place, name in enumerate(node.input) if name in self._moved}
        if kind not in operations.OF_SIZES and moved:
            if kind not in MOVES.keys() | {"Cast"}:
                raise NotConstant(f"{kind} is done to it on the way")
            if not moved.issubset(data_inputs(kind, len(node.input))):
                raise NotConstant(f"{kind} depends on it on the way")
            self._moved.update(node.output)
        made: list[Value]
        arrays = [each for each in inputs if not isinstance(each, Deferred)]
        try:
            if len(arrays) < len(inputs):
                raise Unbound(())
            made = [*operations.compute(operation, arrays, model.budget)]
        except Unbound:
            made = [Deferred(operation, inputs, output) for output in range(len(node.output))]
        return {name: each for name, each in zip(node.output, made, strict=False) if name}

    def _branch(self, node: Any) -> dict[str, Value]:
        """Return the outputs of an If whose condition is known."""
        model = self.graph.model
        attributes = model.operation(node).attributes
        condition = self.value(node.input[0]) if len(node.input) == 1 else None
        if not isinstance(condition, np.ndarray) or condition.dtype != np.bool_ or condition.size != 1:
            raise NotConstant("If computes it")
        if node.input[0] in self._moved:
            raise NotConstant("If depends on it on the way")
        proto = attributes["then_branch" if condition.reshape(()) else "else_branch"]
        graph = Graph(proto, self.graph.path, self.graph, model)
        inner = Values(graph)
        # What is moved about here is it in the branch too, and what the branch has moved is it behind the If.
        inner._around, inner._moved, inner._tries = self, self._moved, self._tries
        outputs = [(name, own) for name, own in zip(node.output, graph.outputs, strict=False) if name]
        made = {name: inner.value(own) for name, own in outputs}
        self._moved.update(name for name, own in outputs if own in self._moved)
        return made

    def passes_an_input(self, name: str) -> bool:
        """Whether a tensor has the numbers of an input of the model, moved about at most."""
        for _ in range(DEEPEST):
            graph = self.graph.home(name)
            if graph is None:
                return False
            node = graph.producers.get(name)
            if node is None:
                return graph.parent is None and name in graph.inputs
            kind = graph.model.kind(node)
            if kind not in MOVES.keys() - {"Concat", "Shape"} | {"Cast"} or not node.input:
                return False
            name = node.input[0]
        return False

    # --- shapes -------------------------------------------------------------------------------------------

    def shape(self, name: str) -> Sizes:
        """Return a tensor's shape, with open sizes as such; raise NotConstant if not even its rank is known."""
        if name not in self._shapes:
            try:
                self._shapes[name] = self._shape(name)
            except NotConstant as reason:
                self._shapes[name] = str(reason)
        found = self._shapes[name]
        if isinstance(found, str):
            raise NotConstant(found)
        return found

    def shape_of_rank(self, name: str, rank: int) -> Sizes:
        """Return the shape of a tensor that has so many axes, whatever else is known of it."""
        with contextlib.suppress(NotConstant):
            found = self.shape(name)
            if len(found) == rank:
                return found
        owner = self
        while owner._around is not None and owner.graph.home(name) is not owner.graph:
            owner = owner._around
        sizes = tuple(Size(name, axis) for axis in range(rank))
        self._shapes[name] = owner._shapes[name] = sizes
        return sizes

    def _shape(self, name: str) -> Sizes:
        known, graph = self._known.get(name), self.graph.home(name)
        if isinstance(known, np.ndarray):
            return known.shape
        if graph is None:
            raise NotConstant(f"{name!r} is not in the file")
        if graph is not self.graph and self._around is not None:
            return self._around.shape(name)
        if name in graph.tensors:
            return tuple(graph.tensors[name].dims)
        declared = graph.shapes.get(name)
        if name in graph.producers:
            follows: Sizes | None = self._deeper(self._followed, name, graph.producers[name])
            if follows is not None:
                return follows
            # What a model says of what it computes itself may be wrong in all but how many axes there are.
            declared = None if declared is None else [None] * len(declared)
        if declared is None:
            raise NotConstant(f"the rank of {name!r} is not known")
        return tuple(Size(name, axis, size) for axis, size in enumerate(declared))

    def _followed(self, name: str, node: Any) -> Sizes | None:
        model = self.graph.model
        kind = model.kind(node)
        try:
            known = kind == node.op_type or (kind == QUANTIZED_LSTM and not model.has_function(node))
            if known and kind != "If":
                outputs, inputs = list(node.output), list(node.input)
                producer = shapes.Producer(
                    model.operation(node), outputs,
                    lambda place: self.shape(inputs[place]), lambda place: self._partly(inputs[place]), len(inputs),
                )  # fmt: skip
                follows = shapes.follow(producer, outputs.index(name))
                if follows is not None:
                    return follows
        except (NotConstant, ValueError, IndexError):
            pass
        if kind not in operations.KNOWN:
            return None
        try:
            value = self.value(name)
        except NotConstant:
            return None
        return value.shape if isinstance(value, np.ndarray) else None

    def _partly(self, name: str) -> np.ndarray:
        value = self.value(name)
        if isinstance(value, Deferred):
            raise NotConstant(f"{name!r} depends on sizes")
        return value
