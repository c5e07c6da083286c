"""Whether a module that lies in a program computes what its class of torch's does, and nothing beside it.

A forward that was put on a module, or a hook, is not in the name of the class.  It is in what was recorded of a call:
there are operations that torch's own forward does not do.  Two things cannot be seen: hooks of a module within a traced
model, which a trace has in the code around the module, and what is put on a module of which a program of
``torch.export`` has no operation of an LSTM.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

PUT_ON = " with hooks or a forward that was put on"
HOOKS = " with hooks"

REPARAMETRIZED = re.compile(r"(?:weight|bias)_(?:ih|hh|hr)(?:_l\d+(?:_reverse)?)?_(?:orig|mask|g|v|u)$")
"""Names of what `torch.nn.utils` computes parameters from (weight norm, spectral norm, pruning)."""

_HOOKS = re.compile(r"^  __forward_(?:pre_)?hooks__ = \[\"", re.MULTILINE)
_METHOD = re.compile(r"^  def (\w+)\(", re.MULTILINE)
_FORWARD = re.compile(r"forward\d*")
"""One of a trace for each call of the module; torch's own LSTM has others when it is scripted."""

_DECLARED = re.compile(r"^  (\w+) : ", re.MULTILINE)
_ARGUMENT = re.compile(r"(\w+): ")
_NAME = re.compile(r"[A-Za-z_]\w*")
_CALLED = re.compile(r"([A-Za-z_][\w.]*)\(")

_ANY = {
    "annotate", "int", "ops.prim.NumToTensor", "torch.contiguous", "torch.detach", "torch.device", "torch.new_zeros",
    "torch.size", "torch.squeeze", "torch.to", "torch.unsqueeze", "torch.zeros",
}  # fmt: skip
"""What is done about states, batches of one sequence and types."""
_PACKED = {"torch.index_select", "torch.select"}
"""What is done about states of packed sequences."""
_CHECKS = {
    "check_forward_hidden", "check_forward_input", "ops.prim.RaiseException", "ops.prim.device", "ops.prim.dtype",
    "torch.__and__", "torch.__contains__", "torch.__is__", "torch.__isnot__", "torch.__not__", "torch.__or__",
    "torch.dim", "torch.eq", "torch.format", "torch.ge", "torch.gt", "torch.le", "torch.len", "torch.list", "torch.lt",
    "torch.ne", "torch.str", "unchecked_cast", "uninitialized",
}  # fmt: skip
"""What scripts have beside."""

_LSTM, _CELLS = "torch.lstm", ("torch.lstm_cell", "torch._thnn_fused_lstm_cell")
_PRODUCTS = ("linear", "addmm", "matmul")
_OF_CELL = {"sigmoid": 3, "tanh": 2, "mul": 3}
"""How often a cell that is traced does what."""
_FREE_IN_CELL = {"torch.t", "torch.chunk", "torch.unsafe_chunk", "torch.unsafe_split"}
"""What a traced cell may do any number of times: it moves numbers, and computes none."""

_CONVERSION = re.compile(r"torch\.to\((?!\w+, (?:dtype=)?(?:5|6|7|15)\b)")
"""One to anything but half, float, double and bfloat16, between which mixed precision converts: in TorchScript's
numbers of dtypes."""

_EXPORTED = re.compile(
    r"torch\.ops\.aten\.(?:lstm\.input|lstm_cell\.default|zeros\.\w+|new_zeros\.\w+|squeeze\.dims?|unsqueeze\.\w+|to\.\w+|"
    r"_to_copy\.\w+|detach\.\w+|alias\.\w+|sym_\w+\.\w+|_assert\w*\.\w+)|_operator\.\w+|torch\.sym_\w+"
)
"""Operations of torch's own modules in programs of ``torch.export``, with those on open sizes."""
_EXPORTED_FLOATS = {6, 7, 8, 13}
"""The same four dtypes in the numbers of ``torch.export``, which has its own."""


def of_script(body: str, cell: bool) -> str:
    """Return what a class of a TorchScript program does beside torch's LSTM or LSTMCell, as words behind its name.

    Parameters
    ----------
    body : str
        Of the class, whose name is torch's.
    cell : bool
        Whether it is LSTMCell.
    """
    if _HOOKS.search(body):
        return HOOKS
    head, *parts = _METHOD.split(body)
    made_of_others = any(REPARAMETRIZED.search(name) for name in _DECLARED.findall(head))
    for name, text in zip(parts[::2], parts[1::2], strict=True):
        if _FORWARD.fullmatch(name) and not _is_own(text, cell, made_of_others):
            return PUT_ON
    return ""


def is_own_export(node: Mapping[str, Any]) -> bool:
    """Return whether a node of ``torch.export`` is one of torch's own modules."""
    types = {each["arg"]["as_scalar_type"] for each in node["inputs"] if "as_scalar_type" in each["arg"]}
    return _EXPORTED.fullmatch(node["target"]) is not None and types <= _EXPORTED_FLOATS


def depends_on_parameters_alone(inputs: Iterable[str], made: set[str]) -> bool:
    """Return whether all tensors that a node of ``torch.export`` reads are parameters to compute others from."""
    names = [*inputs]
    return bool(names) and all(
        name in made or (name.startswith(("p_", "b_")) and REPARAMETRIZED.search(name)) for name in names
    )


def _is_own(text: str, cell: bool, made_of_others: bool) -> bool:
    """Return whether a method does what torch's own forward does."""
    arguments, _, statements = text.partition(":\n")
    given = {*_ARGUMENT.findall(arguments)} - {"self"}
    called: Counter[str] = Counter()
    for line in statements.splitlines():
        made, equals, expression = line.partition(" = ")
        names = {*_NAME.findall(expression if equals else line)}
        # Parameters that are computed from others, their names tell.
        if made_of_others and equals and not names & given:
            continue
        given.update(_NAME.findall(made) if equals and names & given else ())
        if _CONVERSION.search(line):
            return False
        called.update(_CALLED.findall(expression if equals else line))
    return _is_a_cells(called) if cell else _is_an_lstms(called)


def _is_an_lstms(called: Counter[str]) -> bool:
    return called[_LSTM] == 1 and called.keys() <= {_LSTM, *_ANY, *_PACKED, *_CHECKS}


def _is_a_cells(called: Counter[str]) -> bool:
    others = called.keys() - _ANY - _CHECKS
    if others & {*_CELLS}:
        return len(others) == 1 and called.total() - sum(called[each] for each in _ANY | _CHECKS) == 1
    # With a bias or without; in place or not.
    plain = Counter({name: called[f"torch.{name}"] + called[f"torch.{name}_"] for name in [*_OF_CELL, "add"]})
    products = sum(called[f"torch.{name}"] for name in _PRODUCTS)
    known = {f"torch.{name}{end}" for name in plain for end in ("", "_")} | {f"torch.{name}" for name in _PRODUCTS}
    sums = 2 + (called["torch.matmul"] if plain["add"] > 2 else 0)
    return (
        others <= known | _FREE_IN_CELL
        and products == 2
        and plain["add"] == sums
        and all(plain[name] == count for name, count in _OF_CELL.items())
    )
