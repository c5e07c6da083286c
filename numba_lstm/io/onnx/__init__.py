"""LSTM nodes of ONNX models, as callables or as one LSTM.

The operator is taken whole, opsets 1 to 22, and DynamicQuantizeLSTM, what ONNX Runtime makes of it.  All that a node
reads beside its X is one of three: it follows from the constants of the file, and maybe from the sizes of X (`values`);
it has to be given by the caller; or the node is refused. Nothing in a file is run.  Tensors that lie in other files
have to be beside the model.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ... import public
from ...contract.weight_form import FORMS
from ...formats.kinds import opened
from ...formats.printable import printable
from ...kernels.cells.cell_rule import Activation
from ...lstm import LSTM
from .._found import Found, Runner, State
from .._taken import Taken, whole_names
from . import attributes as attribute_reader
from . import stack
from . import weights as weight_reader
from .attributes import INSTEAD, Attributes, Refusal
from .constants.deferred import Deferred
from .constants.graph import Place, read
from .constants.operation import OWN, QUANTIZED_LSTM, Operation
from .constants.sizes import Size
from .constants.tensors import NotConstant
from .constants.values import Values
from .external import files
from .node import Node, Outputs
from .supplies import NAMES, Supply
from .weights import AS_NUMBERS, Weights

__all__ = ["Node", "Nodes", "Outputs", "describe", "files", "load", "load_lstm", "runner"]

JOINS = True
"""`load_lstm` makes one LSTM of all nodes of a file."""

_RECURRENT = {"LSTM", "GRU", "RNN", "DynamicQuantizeLSTM", "QLinearLSTM", "AttnLSTM"}

StrPath = str | os.PathLike[str]


class Nodes(Taken[Node]):
    """The LSTM nodes of a file by name; asking for one that cannot be taken raises ValueError with the reason.

    Attributes
    ----------
    obstacles : dict of str to str
        What stands in the way of the others that are recurrent, by name.
    """

    noun = "node"


def load(path: StrPath, *, weights: str | None = None) -> Nodes:
    """Load the LSTM nodes of an ONNX model.

    Parameters
    ----------
    path : path
        ``.onnx``.  Nothing in it is executed.
    weights : {"float32", "float16", "bfloat16", "int8"}, optional
        In which form to keep them, see `LSTM.quantize`.  If not given, those of 8 bits are kept in int8 where the cells
        are those of torch's LSTM, and all others are as they are; ``"float32"`` is for the numbers that they stand for.

    Returns
    -------
    Nodes
        A dict from names to `Node` objects.  A node without a name has that of its first output; one whose name is not
        the only one of its kind, say in both branches of an If, has the names of the nodes around it before its own.

    Raises
    ------
    OSError
        If the file cannot be opened.
    ValueError
        If it is damaged, no ONNX model, or has no LSTM that can be taken, or not with such weights; the message begins
        with the path.
    MemoryError
        If there is no room for its weights.

    Examples
    --------
    Given a model with a node LSTM named "encoder", of 3 inputs and hidden_size 5:

    >>> import numpy as np
    >>> from numba_lstm.io.onnx import load
    >>> nodes = load("model.onnx")
    >>> Y, Y_h, Y_c = nodes["encoder"](np.zeros((7, 2, 3), np.float32), sequence_lens=[7, 4])
    >>> Y.shape, Y_h.shape
    ((7, 1, 2, 5), (1, 2, 5))
    """
    _check_form(weights)
    found = Nodes(os.fspath(path))
    for place in _places(Path(path)):
        try:
            found[place.name] = _node(path, place, weights)
        except Refusal as refusal:
            found.obstacles[place.name] = str(refusal)
    found.complain_if_empty()
    return found


def load_lstm(path: StrPath, nodes: str | Sequence[str] | None = None, *, weights: str | None = None) -> LSTM:
    """Load nodes that are the layers of a plain stacked LSTM as one `LSTM`, for inference.

    Parameters
    ----------
    path : path
        ``.onnx``.  Nothing in it is executed.
    nodes : str or sequence of str, optional
        Their names, the lowest layer first; all of the file if not given, in the file's order.
    weights : {"float32", "float16", "bfloat16", "int8"}, optional
        As for `load`.

    Returns
    -------
    LSTM
        ``batch_first`` if the nodes have layout 1.  States and lengths that are inputs of the model are for the caller
        to give.

    Raises
    ------
    OSError, MemoryError
        As `load` does.
    ValueError
        As `load` does; also if a node does more than a layer of an `LSTM`, has states or lengths of its own, or does
        not read what the one before has computed, with the reason.
    TypeError
        If ``nodes`` are no names.

    Examples
    --------
    >>> from numba_lstm.io.onnx import load_lstm
    >>> load_lstm("model.onnx", "encoder")
    LSTM(3, 5)
    """
    _check_form(weights)
    names = None if nodes is None else _names(nodes)
    places = _places(Path(path))
    if names is None:
        chosen = places
        if not chosen:
            raise ValueError(f"{path}: no LSTM node that can be taken: none is in it")
    else:
        chosen = [_chosen(path, places, name) for name in names]
    try:
        taken = [_node(path, place, weights) for place in chosen]
    except Refusal as refusal:
        raise ValueError(f"{path}: {printable(str(refusal))}") from None
    try:
        return stack.join(chosen, taken)
    except ValueError as error:  # a Refusal, or damage of what lies between layers
        raise ValueError(f"{path}: {printable(str(error))}") from error


def describe(path: Path) -> list[Found]:
    """Return what is recurrent in a file."""
    return [_found(path, place) for place in _places(path)]


def runner(path: Path, name: str, dtype: Any = None) -> Runner:
    """Return a node made ready to run; ``dtype`` is the one to compute in."""
    try:
        node = _node(path, _chosen(path, _places(path), name), None, dtype)
    except Refusal as refusal:
        raise ValueError(f"{path}: {printable(str(refusal))}") from None
    needed = node.supplies["sequence_lens"].needed
    if needed is not None:
        reason = printable(f"{name!r} needs its sequence_lens ({needed})")
        raise ValueError(f"{path}: {reason}: call the node that onnx.load gives")

    def run(x: np.ndarray, state: State | None) -> dict[str, np.ndarray]:
        h, c = (None, None) if state is None else state
        return node(x, None, h, c)._asdict()

    return Runner(node.dtype, run, node.form)


def _check_form(weights: object) -> None:
    if weights not in (None, "float32", *FORMS):
        raise ValueError(f"weights should be 'float32', {', '.join(map(repr, FORMS))} or None, got: {weights!r}")


def _names(nodes: Any) -> list[str]:
    """Return what `load_lstm` is given as names; raise TypeError if they are none, ValueError if one is there twice."""
    names = [nodes] if isinstance(nodes, str) else list(nodes) if isinstance(nodes, Iterable) else [nodes]
    for name in names:
        if not isinstance(name, str):
            what = type(nodes if isinstance(nodes, bytes | bytearray) else name).__name__
            raise TypeError(f"nodes should be a name, or names in a sequence, of type str, got: {what}")
    if not names or len({*names}) != len(names):
        raise ValueError(f"nodes should be names, each once, got: {names}")
    return names


def _places(path: Path) -> list[Place]:
    """Return the recurrent nodes of a file."""
    with opened(path) as (stream, _):
        content = stream.read()
    try:
        return read(content, path.parent, _RECURRENT)
    except (MemoryError, OSError):
        raise
    except Exception as error:  # parsers raise whatever the bytes of a damaged file happen to mean
        raise ValueError(f"{path}: {printable(str(error))}") from error


def _chosen(path: StrPath, places: list[Place], name: str) -> Place:
    for place in places:
        if place.name == name:
            return place
    raise ValueError(f"{path}: no recurrent node {name!r}; found: {whole_names([place.name for place in places])}")


def _node(path: StrPath, place: Place, weights: str | None = None, dtype: Any = None) -> Node:
    """Return a node; raise Refusal if it cannot be taken, ValueError if the file is damaged."""
    obstacle = _foreign(place)
    if obstacle:
        raise Refusal(obstacle)
    try:
        return _read(place, weights, dtype)
    except (Refusal, NotConstant) as refusal:
        raise Refusal(f"{place.name!r} cannot be taken: {refusal}; {INSTEAD}") from refusal
    except MemoryError:
        raise
    except Exception as error:
        raise ValueError(f"{path}: {printable(f'{place.name}: {error}')}") from error


def _read(place: Place, asked: str | None, dtype: Any) -> Node:
    """Return a node with all that it reads."""
    node, values = place.node, Values.of(place.graph)
    operation = place.graph.model.operation(node)
    attributes = attribute_reader.read(operation)
    if asked is None and dtype == np.float64:  # of which int8 would leave nothing
        asked = AS_NUMBERS
    weights, kind = weight_reader.read(node, values, operation, attributes, asked)
    tensors = weight_reader.wired(node)
    supplies = {name: Supply(name, attributes, weights.R.shape[2], kind) for name in NAMES}
    for name, supply in supplies.items():
        if name in tensors:
            supply.find(tensors[name], tensors["X"], values)
    return Node(place.name, attributes, weights, supplies, dtype)


def _foreign(place: Place) -> str | None:
    """Return what keeps a node from being the operator LSTM, or its variant with weights of 8 bits."""
    node, kind = place.node, _kind(place.node)
    if place.graph.model.has_function(node):
        return f"{kind} is a function of the model: inline it with onnx.inliner, or {INSTEAD}"
    if kind == "LSTM" or (kind == QUANTIZED_LSTM and node.domain):
        return None
    if "Quant" in kind or "QLinear" in kind:
        return f"{kind} has weights of 8 bits: export or keep the model before it was quantised, or {INSTEAD}"
    return f"{kind} is not the operator LSTM, and only that one is computed here: {INSTEAD}"


def _kind(node: Any) -> str:
    return str(node.op_type) if node.domain in OWN else f"{node.domain}.{node.op_type}"


def _found(path: Path, place: Place) -> Found:
    node, kind = place.node, _kind(place.node)
    shapes = weight_reader.described(node, place.graph)
    try:
        taken = _node(path, place)
    except (Refusal, ValueError) as reason:
        return Found(place.name, kind, {}, shapes, str(reason).removeprefix(f"{path}: "))
    return Found(place.name, kind, taken.described(), shapes)


public.publish(globals(), Activation, Attributes, Deferred, Operation, Size, Supply, Weights)  # of pickled nodes
