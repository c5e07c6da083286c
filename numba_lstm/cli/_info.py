"""The command ``numba-lstm info``."""

from __future__ import annotations

import argparse
import math
import os
from typing import Any

import numpy as np

from ..contract.weight_form import SCALE
from ..formats.printable import columns, listed, padded
from ..io import names
from ..io._found import Found
from ._console import InputError, check_shows, show, show_json, shown
from ._inputs import found_in, found_under, weights_of

_ITEM_SIZES = {"bfloat16": 2}
"""Bytes of numbers of dtypes that NumPy lacks."""


def info(options: argparse.Namespace) -> None:
    """Describe what is recurrent in a file."""
    path, module, more = weights_of(options)
    check_shows()
    found = found_in(path, module, more)
    if options.name is not None:
        there = [each.name for each in found]
        found = found_under(found, options.name)
        if not found:
            raise InputError(f"{path} holds nothing recurrent named {options.name!r}, but {listed(there)}")
    if options.json:
        show_json({"file": path, "bytes": os.path.getsize(path), "modules": [_figures(each) for each in found]})
        return
    show(f"{shown(path)}: {os.path.getsize(path):,} bytes")
    for each in found:
        show(f"\n{_described(each, module is names)}")


def _described(found: Found, prefixed: bool) -> str:
    """Return the lines about one of them: its sizes and its parameters, or why it cannot be taken."""
    kind = shown(found.kind)
    lines = [f"{kind} under prefix {found.name!r}" if prefixed else f"{kind} {found.name!r}"]
    if found.obstacle is not None:
        lines.append(f"  cannot be run: {shown(found.obstacle)}")
    width = max([14, *map(columns, found.sizes)])
    lines += [f"  {padded(name, width)} {shown(value)}" for name, value in found.sizes.items()]
    if found.parameters:
        lines.append("  parameters")
        parameters = {shown(name): declared for name, declared in found.parameters.items()}
        width = max(map(columns, parameters))
        for name, (shape, dtype) in parameters.items():
            lines.append(f"    {padded(name, width)}  {shape!s:<14}  {shown(dtype)}")
        count, size = _totals(found)
        lines.append(f"  {count:,} parameters, {size:,} bytes")
    return "\n".join(lines)


def _figures(found: Found) -> dict[str, Any]:
    """Return the same for a program."""
    count, size = _totals(found)
    return {
        "name": found.name,
        "kind": found.kind,
        "obstacle": found.obstacle,
        "sizes": dict(found.sizes),
        "parameters": {name: {"shape": shape, "dtype": dtype} for name, (shape, dtype) in found.parameters.items()},
        "parameter_count": count,
        "parameter_bytes": size,
    }


def _totals(found: Found) -> tuple[int, int]:
    """Return how many parameters it has, and their bytes."""
    size = sum(math.prod(shape) * _item_size(dtype) for shape, dtype in found.parameters.values())
    scales = found.sizes.get("form") == "int8"  # which are there besides, and are none
    own = [shape for name, (shape, _) in found.parameters.items() if not (scales and name.endswith(SCALE))]
    return sum(map(math.prod, own)), size


def _item_size(dtype: str) -> int:
    """Return the bytes of a number; one for those of formats that nothing here computes with."""
    try:
        return _ITEM_SIZES.get(dtype) or np.dtype(dtype).itemsize
    except TypeError:
        return 1
