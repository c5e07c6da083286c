"""What names and shapes of arrays tell: which LSTM or cell there is under a prefix, or what there is instead."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..formats.printable import MOST_LISTED, listed
from .architecture import CELL_NAME, CELL_SUFFIX, GATES, NAME, Architecture

_NAME = re.compile(NAME)
_CELL_NAME = re.compile(CELL_NAME)
OTHERS = {3: "GRU", 1: "RNN"}
"""What has so many rows in weight_hh for each of its columns; an LSTM has four."""


def first_name(cell: bool = False) -> str:
    """Return the name that every LSTM has, or every cell."""
    return "weight_ih" if cell else "weight_ih_l0"


def prefixes(names: Iterable[str], cell: bool = False) -> list[str]:
    """Return what stands before ``weight_ih_l0`` in some names, one for each LSTM; ``weight_ih`` for cells.

    Examples
    --------
    >>> prefixes(["encoder.lstm.weight_ih_l0", "encoder.lstm.weight_hh_l0", "linear.weight"])
    ['encoder.lstm.']
    """
    first = first_name(cell)
    return sorted(name.removesuffix(first) for name in names if name.endswith(first))


def infer_cell(mapping: Mapping[str, Any], prefix: str = "", names: Iterable[str] | None = None) -> Architecture:
    """Work out the sizes of a cell, as `infer` does for an LSTM.

    Examples
    --------
    >>> import numpy as np
    >>> infer_cell({"weight_ih": np.zeros((20, 3)), "weight_hh": np.zeros((20, 5))}).hidden_size
    5
    """
    cells = {
        name: value
        for name, value in mapping.items()
        if name.startswith(prefix) and _CELL_NAME.fullmatch(name[len(prefix) :])
    }
    if not cells:
        raise ValueError(nothing_under(prefix, mapping if names is None else names, cell=True))
    try:
        return infer({f"{name}{CELL_SUFFIX}": value for name, value in cells.items()}, prefix)
    except ValueError as error:
        raise ValueError(str(error).replace(CELL_SUFFIX, "")) from None


def infer(mapping: Mapping[str, Any], prefix: str = "", names: Iterable[str] | None = None) -> Architecture:
    """Work out the sizes of an LSTM from its parameters' names and shapes.

    Parameters
    ----------
    mapping : mapping of str to array
        Anything with a ``shape``; names that are not an LSTM's are ignored.
    prefix : str
        What precedes the names, such as ``"encoder.lstm."``.
    names : iterable of str, optional
        All that a message about an unknown prefix should look through; those of ``mapping`` by default.

    Returns
    -------
    Architecture

    Raises
    ------
    ValueError
        If there is no LSTM under the prefix (the message lists where there are), or if parameters are missing or
        do not fit together (it lists all of them).

    Examples
    --------
    >>> import numpy as np
    >>> infer({"a.weight_ih_l0": np.zeros((20, 3)), "a.weight_hh_l0": np.zeros((20, 5))}, "a.")
    Architecture(input_size=3, hidden_size=5, num_layers=1, bias=False, bidirectional=False, proj_size=0)
    """
    shapes: dict[str, tuple[int, ...]] = {}
    parts: list[tuple[str, int, bool]] = []
    for name, value in mapping.items():
        match = _NAME.fullmatch(name[len(prefix) :]) if name.startswith(prefix) else None
        if match:
            shapes[match[0]] = tuple(value.shape)
            parts.append((match[1], int(match[2]), match[3] is not None))
    if not shapes:
        raise ValueError(nothing_under(prefix, mapping if names is None else names))

    kinds = {kind for kind, _, _ in parts}
    layers = {layer for _, layer, _ in parts}
    problems = []
    gaps = sorted(set(range(len(layers))) - layers)
    if gaps:  # then the layers are numbered beyond their count
        problems.append(f"there is no layer {gaps[0]}, but a layer {max(layers)}")
    needed = ["weight_ih_l0", "weight_hh_l0"] + ["weight_hr_l0"] * ("weight_hr" in kinds)
    for name in needed:
        if name not in shapes:
            problems.append(f"{name} is missing")
        elif len(shapes[name]) != 2 or 0 in shapes[name]:
            problems.append(f"{name} has shape {shapes[name]}, not that of a matrix")
    if not problems:
        rows, width = shapes["weight_hh_l0"]
        if rows % GATES or ("weight_hr" not in kinds and rows != GATES * width):
            other = f", but of a {OTHERS[rows // width]}" if rows in (3 * width, width) else ""
            problems.append(
                f"weight_hh_l0 has shape {rows, width}, not (4 * hidden_size, hidden_size): "
                f"not the weights of an LSTM{other}"
            )
    if not problems:
        architecture = Architecture(
            input_size=shapes["weight_ih_l0"][1],
            hidden_size=rows // GATES,
            num_layers=len(layers),
            bias=bool(kinds & {"bias_ih", "bias_hh"}),
            bidirectional=any(reverse for _, _, reverse in parts),
            proj_size=shapes["weight_hr_l0"][0] if "weight_hr" in kinds else 0,
        )
        problems = _misfits(architecture, shapes)
    if problems:
        raise ValueError(f"the parameters under prefix {prefix!r} do not fit together: {'; '.join(problems)}")
    return architecture


def _misfits(architecture: Architecture, shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Return what is wrong with shapes, given the sizes that the first layer has."""
    problems = []
    for name, expected in architecture.shapes().items():
        if name not in shapes:
            problems.append(f"{name} is missing")
        elif shapes[name] != expected:
            problems.append(f"{name} has shape {shapes[name]}, expected {expected}")
    if architecture.proj_size >= architecture.hidden_size:
        problems.append("proj_size has to be smaller than hidden_size")
    return problems


def nothing_under(prefix: str, names: Iterable[str], cell: bool = False) -> str:
    """Return what there is instead of an LSTM, or a cell, under a prefix of some names.

    Examples
    --------
    >>> nothing_under("rnn.", ["encoder.weight_ih_l0", "encoder.weight_hh_l0"])
    "no LSTM under prefix 'rnn.'; found: 'encoder.'"
    >>> nothing_under("", ["embedding.weight", "lstm.kernel", "lstm.recurrent_kernel"])
    "no LSTM under prefix '', and none under another: no name ends in weight_ih_l0; there are 3 arrays: \
'lstm.kernel', 'lstm.recurrent_kernel', 'embedding.weight'; a recurrent_kernel is what Keras and JAX call such weights"
    """
    kind, other, names = ("LSTMCell", "LSTM", list(names)) if cell else ("LSTM", "LSTMCell", list(names))
    found = prefixes(names, cell)
    if found:
        return f"no {kind} under prefix {prefix!r}; found: {listed(_nearest(prefix, found))}"
    parts = [f"no {kind} under prefix {prefix!r}, and none under another: no name ends in {first_name(cell)}"]
    others = prefixes(names, not cell)
    if others:
        parts.append(f"{other}.load would take {listed(others)}")
    elif names:
        likely = sorted(names, key=lambda name: (_LIKELY.search(name) is None, name))
        parts.append(f"there are {len(names):,} arrays: {listed(likely)}")
    else:
        parts.append("there is no array at all")
    if quantized_name(names) is not None:
        parts.append("these are the names of quantized weights, which are not taken: save the model from before")
    if any("recurrent_kernel" in name for name in names):
        parts.append("a recurrent_kernel is what Keras and JAX call such weights")
    return "; ".join(parts)


_LIKELY = re.compile(r"(?i)weight_[ih]h|bias_[ih]h|lstm|rnn|gru|recurrent")
"""In the names that tell most about what a file has instead of an LSTM."""

_QUANTIZED = re.compile(
    r"(?:^|[._])(?:qweight|qzeros|g_idx|absmax|quant_map|quant_state|SCB|_?packed_params|scale_inv)(?:$|[._])"
    r"|(?:weight|bias)_[ih]h\w{0,40}[._](?:scales?|zero_points?)$"
)
"""What quantizers (GPTQ, AWQ, bitsandbytes, float8) write beside weights, or instead.

A name may be as long as a file: what is open in length, and looked for at many places of it, would take hours.
"""


def quantized_name(names: Iterable[str]) -> str | None:
    """Return the first name that only quantized weights have, or None.

    Examples
    --------
    >>> quantized_name(["rnn.weight_ih_l0", "rnn.weight_ih_l0.absmax"])
    'rnn.weight_ih_l0.absmax'
    """
    return next((name for name in names if _QUANTIZED.search(name)), None)


def _nearest(prefix: str, found: list[str]) -> list[str]:
    """Return prefixes with those first that are most like one, if they are more than a message lists."""
    if len(found) <= MOST_LISTED:
        return found

    parts = {*prefix.split(".")} - {""}
    return sorted(found, key=lambda other: len(parts.intersection(other.split("."))), reverse=True)
