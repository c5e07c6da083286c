"""What the program in an archive of ``torch.export`` tells of modules.

It is JSON, of which little is needed and which may be far larger than the weights.  So its bytes are searched: every
node names the modules in whose call it was made, and an LSTM of torch's is one node with its options.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any

from ..contents import OPTIONS, WholeModule
from . import own_calls

_STACK = b'"nn_module_stack": "'
_TARGET = b'{"target": "'
_NODE = _TARGET + b'torch.ops.aten.lstm.input"'
_CELL = _TARGET + b'torch.ops.aten.lstm_cell.default"'

_OF_TORCH = "torch.nn.modules.rnn."

_PARAMETER = re.compile(rb'"parameter_name": "((?:[^"\\]|\\.){0,1000})"')
_FIRST = re.compile(r"(?:^|(?<=\.))weight_ih(?:_l0)?(?:_orig|_v)?$")
"""The name of an LSTM's or a cell's first parameter, or of what it is computed from."""
_UNCALLED = "module that its program calls by another name, or by none"

_TEXT = re.compile(rb'(?:[^"\\]|\\.)*"', re.DOTALL)

_LONGEST, _MOST = 1 << 16, 1 << 16
"""Bytes of a stack, and modules in a program: many times those of published models."""

_PIECE = 1 << 20
"""Bytes that are looked at as text at a time."""

_NODES = 1 << 13, 1 << 17
"""Bytes of most nodes, and of the longest."""

_CALL = re.compile(r"@\d+$")
"""At the end of a module's path, from its second call on."""

_ARGUMENTS = {
    "has_biases": "bias", "num_layers": "num_layers", "dropout": "dropout", "bidirectional": "bidirectional",
    "batch_first": "batch_first",
}  # fmt: skip
"""Arguments of the operation, and the options that they come from."""


def modules(program: bytes) -> dict[str, WholeModule]:
    """Return the modules that a program was made of, by prefix.

    Raises
    ------
    ValueError
        If it is damaged, calls an LSTM in two ways, or is far larger than that of any model.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()  # raises UnicodeDecodeError, which is a ValueError
    for first in range(0, len(program), _PIECE):
        decoder.decode(program[first : first + _PIECE], final=first + _PIECE >= len(program))
    classes: dict[str, str] = {}
    for stack in _stacks(program):
        for prefix, kind in _entries(stack):
            classes.setdefault(prefix, kind)
        if len(classes) > _MOST:
            raise ValueError("its program has too many modules")
    for prefix in _prefixes_of_parameters(program):
        classes.setdefault(prefix, _UNCALLED)
    options: dict[str, dict[str, Any]] = {}
    for found in _nodes(program, _NODE):
        prefix = _innermost(found)
        if not classes.get(prefix, "").startswith(_OF_TORCH):
            continue  # what is left where no_grad or autocast has been taken out
        if options.setdefault(prefix, _options(found)) != _options(found):
            raise ValueError(f"its program calls the LSTM under prefix {prefix!r} in two ways")
    called = {*options, *map(_innermost, _nodes(program, _CELL))}
    for prefix in _changed(program, {prefix for prefix in called if classes.get(prefix, "").startswith(_OF_TORCH)}):
        classes[prefix] += own_calls.PUT_ON
    return {prefix: WholeModule(kind, options.get(prefix, {})) for prefix, kind in classes.items()}


def _prefixes_of_parameters(program: bytes) -> set[str]:
    """Return the prefixes of LSTMs and cells among all that the program has parameters of."""
    names = (str(json.loads(b'"' + match[1] + b'"')) for match in _PARAMETER.finditer(program))
    return {name[: match.start()] for name in names if (match := _FIRST.search(name))}


def _changed(program: bytes, prefixes: set[str]) -> set[str]:
    """Return those of modules of torch's in which something else is done than torch does."""
    found: set[str] = set()
    made: set[str] = set()
    end, place = 0, program.find(_STACK)
    while place >= 0 and prefixes:
        match = _text_of_stack(program, place)
        entries = _entries(json.loads(b'"' + match[0]))
        begin = program.rfind(_TARGET, end, place)
        # What lies in another module within it counts as well: torch's own have none.
        around = next((prefix for prefix, _ in entries if prefix in prefixes), None)
        if around is not None and begin >= 0:
            node = _node(program, begin)
            inputs = _tensors(each["arg"] for each in node["inputs"])
            if own_calls.depends_on_parameters_alone(inputs, made):
                made.update(_tensors(iter(node["outputs"])))
            elif not own_calls.is_own_export(node):
                found.add(around)
        end, place = match.end(), program.find(_STACK, match.end())
    return found


def _tensors(values: Iterator[Any]) -> list[str]:
    """Return the names of tensors among the inputs or outputs of a node."""
    each = [tensor for value in values for tensor in (value.get("as_tensor"), *value.get("as_tensors", ()))]
    return [tensor["name"] for tensor in each if tensor is not None]


def _nodes(program: bytes, start: bytes) -> Iterator[Any]:
    place = program.find(start)
    while place >= 0:
        yield _node(program, place)
        place = program.find(start, place + len(start))


def _innermost(node: Any) -> str:
    """Return the prefix of the module in whose call a node was made."""
    return _entries(node["metadata"]["nn_module_stack"])[-1][0]


def _stacks(program: bytes) -> Iterator[str]:
    """Yield what nodes say of the modules around them, without those that follow which are the same."""
    last, place = b"", program.find(_STACK)
    while place >= 0:
        match = _text_of_stack(program, place)
        if match[0] != last:
            yield str(json.loads(b'"' + match[0]))
        last, place = match[0], program.find(_STACK, match.end())


def _text_of_stack(program: bytes, place: int) -> re.Match[bytes]:
    first = place + len(_STACK)
    match = _TEXT.match(program, first, first + _LONGEST)
    if not match:
        raise ValueError("its program has a node in too many modules")
    return match


def _node(program: bytes, place: int) -> Any:
    """Return what begins at a place."""
    for length in _NODES:
        text = program[place : place + length].decode(errors="replace")  # a character may be cut, behind the node
        try:
            return json.JSONDecoder().raw_decode(text)[0]
        except ValueError:
            if length == _NODES[-1]:
                raise


def _entries(stack: str) -> list[tuple[str, str]]:
    """Return prefix and class of the modules that a node names, from the outermost one on."""
    entries = []
    for entry in stack.split(";"):
        key, _, rest = entry.partition(",")
        path, comma, kind = rest.rpartition(",")
        if key and comma:
            path = _CALL.sub("", path)
            entries.append((f"{path}." if path else "", kind))
    return entries


def _options(node: Any) -> dict[str, Any]:
    """Return the options of an LSTM's call."""
    options = {}
    for argument in node["inputs"]:
        name = _ARGUMENTS.get(argument["name"])
        (value,) = argument["arg"].values()
        if name is not None and type(value) in OPTIONS[name]:
            options[name] = value
    return options
