"""A run of nodes as one stacked LSTM: each has to read what the one before has computed, and nothing else."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from ...lstm import LSTM
from .attributes import INSTEAD, Refusal
from .graph import Graph, Place
from .node import Node
from .sizes import Size
from .tensors import NotConstant
from .values import Values, at

_SIZES = (3, 2)
"""Steps and rows of a probe, where the model leaves them open."""
_MOST = 2**22
"""Numbers of a probe."""


def join(places: list[Place], nodes: list[Node]) -> LSTM:
    """Return the LSTM whose layers are some nodes, the first one first; or raise Refusal."""
    for node in nodes:
        obstacle = node.beyond_lstm()
        if obstacle:
            raise Refusal(f"{node.name!r} {obstacle}: onnx.load gives a node that does it")
    first = nodes[0]
    for node in nodes[1:]:
        for name in ("direction", "hidden_size", "layout", "dtype"):
            mine, other = getattr(node, name), getattr(first, name)
            if mine != other:
                both = f"{node.name!r} has {name} {mine}, {first.name!r} {other}"
                raise Refusal(f"layers of an LSTM are alike, and {both}")
        if first.supplies["sequence_lens"].given_as != node.supplies["sequence_lens"].given_as:
            both = f"{node.name!r} is given others than {first.name!r}"
            raise Refusal(f"layers of an LSTM have the same lengths, and {both}")
    for (place, node), (after, above) in itertools.pairwise(zip(places, nodes, strict=True)):
        _check_chain(place, node, after, above)
    lstm = LSTM(
        first.input_size, first.hidden_size, len(nodes), bias=any(node.weights.B is not None for node in nodes),
        batch_first=bool(first.layout), bidirectional=first.directions == 2, dtype=first.dtype, seed=0,
    )  # fmt: skip
    # A layer without bias among others with one has zeros.
    shapes = {name: array.shape for name, array in lstm.state_dict().items()}
    parameters = {name: np.zeros(shape, lstm.dtype) for name, shape in shapes.items() if name.startswith("bias")}
    for layer, node in enumerate(nodes):
        parameters |= node.weights.parameters(node.dtype, layer)
    lstm.load_state_dict(parameters)
    return lstm.eval()


def _check_chain(place: Place, node: Node, after: Place, above: Node) -> None:
    """Raise Refusal unless a node's input is the output of the one before, directions side by side.

    What lies between may only move numbers, and does so with some that are all different: whatever way an exporter has
    taken, what arrives tells.
    """
    between = f"{above.name!r} does not read the output of {node.name!r}"
    output = place.node.output[0] if place.node.output else ""
    if not output or after.graph is not place.graph:
        raise Refusal(f"{between}: {INSTEAD}, or take them one by one")
    reasons = []
    for steps, rows in _sizes(place.graph, place.node.input[0], node):
        count, shape = node.directions, (steps, rows, node.directions, node.hidden_size)
        y = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
        inward = y.reshape(steps, rows, count * node.hidden_size)
        probe = y.transpose(0, 2, 1, 3)
        if node.layout:
            inward, probe = inward.transpose(1, 0, 2), y.transpose(1, 0, 2, 3)
        try:
            arrived = _arrived(place, after.node.input[0], probe, (rows, steps) if node.layout else (steps, rows))
        except NotConstant as reason:
            reasons.append(str(reason))
            continue
        if arrived.shape == inward.shape and (arrived == inward).all():
            return
        reasons.append("something is done to it on the way")
    raise Refusal(f"{between}, as far as can be seen: {reasons[0]}; take them one by one")


def _arrived(place: Place, name: str, probe: np.ndarray, sizes: tuple[int, int]) -> np.ndarray:
    """Return what a tensor is if the output of a node is some numbers, and its input has axes of some sizes."""
    budget = place.graph.model.budget
    values = Values(place.graph, {place.node.output[0]: probe})
    shape = values.shape_of_rank(place.node.input[0], 3)
    known = {size: length for size, length in zip(shape, sizes, strict=False) if isinstance(size, Size)}
    return at(values.value(name), known, budget)


def _sizes(graph: Graph, name: str, lower: Node) -> Iterator[tuple[int, int]]:
    """Yield steps and rows with which to try: any; those that the model declares; those of its reshapes."""
    yield _SIZES
    fixed = [graph.shapes.get(name)]
    for node in graph.nodes:
        if node.op_type == "Reshape" and len(node.input) == 2:
            try:
                target = Values.of(graph).value(node.input[1])
            except (NotConstant, ValueError):
                continue
            if isinstance(target, np.ndarray) and target.ndim == 1 and target.dtype != object:
                fixed.append([int(size) for size in target])
    seen: set[tuple[int, int]] = set()
    for shape in fixed:
        if shape is not None and len(shape) in (3, 4):
            steps, rows = (shape[1], shape[0]) if lower.layout else (shape[0], shape[1])
            pair = (_SIZES[0] if not steps or steps < 0 else steps, _SIZES[1] if not rows or rows < 0 else rows)
            numbers = pair[0] * pair[1] * lower.directions * lower.hidden_size
            if pair not in seen and numbers <= _MOST and len(seen) < 10:
                seen.add(pair)
                yield pair
