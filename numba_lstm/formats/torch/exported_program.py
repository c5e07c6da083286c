"""What the program in an archive of ``torch.export`` tells of modules.

It is JSON, of which little is needed and which may be far larger than the weights.  So it is searched: every node names
the modules in whose call it was made, and an LSTM of torch's is one node with its options.
"""

from __future__ import annotations

import json
import re
from typing import Any

from ..contents import OPTIONS, WholeModule

_STACK = re.compile(r'"nn_module_stack": "((?:[^"\\]|\\[^"])+)"')
_NODE = re.compile(r'\{"target": "torch\.ops\.aten\.lstm\.input"')

_CALL = re.compile(r"@\d+$")
"""At the end of a module's path, from its second call on."""

_ARGUMENTS = {
    "has_biases": "bias", "num_layers": "num_layers", "dropout": "dropout", "bidirectional": "bidirectional",
    "batch_first": "batch_first",
}  # fmt: skip
"""Arguments of the operation, and the options that they come from."""


def modules(program: bytes) -> dict[str, WholeModule]:
    """Return the modules that a program was made of, by prefix."""
    text = program.decode()
    classes: dict[str, str] = {}
    for stack in {match[1] for match in _STACK.finditer(text)}:
        for prefix, kind in _entries(json.loads(f'"{stack}"')):
            classes.setdefault(prefix, kind)
    options: dict[str, dict[str, Any]] = {}
    node, end = _NODE.search(text), 0
    while node:
        found, end = json.JSONDecoder().raw_decode(text, node.start())
        prefix, _ = _entries(found["metadata"]["nn_module_stack"])[-1]
        if options.setdefault(prefix, _options(found)) != _options(found):
            raise ValueError(f"its program calls the LSTM under prefix {prefix!r} in two ways")
        node = _NODE.search(text, end)
    return {prefix: WholeModule(kind, options.get(prefix, {})) for prefix, kind in classes.items()}


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
