"""The parameters that a new module begins with, and the place where they leave its generator."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from .parameter import Parameter, frozen

_PIECE = 1 << 16
"""Numbers that are drawn at a time where none of them is kept."""

Shapes = Mapping[str, tuple[int, ...]]


def drawn(
    shapes: Shapes, hidden_size: int, dtype: np.dtype[Any], generator: np.random.Generator
) -> dict[str, Parameter]:
    """Return parameters by name, uniform in +-1 / sqrt(hidden_size)."""
    bound = 1 / math.sqrt(hidden_size)
    made = {}
    for name, shape in shapes.items():
        array = generator.random(shape, dtype)
        array *= 2 * bound
        array -= bound
        made[name] = frozen(array)
    return made


def undrawn(shapes: Shapes, dtype: np.dtype[Any], generator: np.random.Generator | None) -> dict[str, Parameter]:
    """Return zeros that take no memory, and move a generator as far as `drawn` would: masks of dropout come after."""
    if generator is not None:
        _skip(sum(map(math.prod, shapes.values())), dtype, generator)
    return {name: np.broadcast_to(np.zeros((), dtype), shape).view(Parameter) for name, shape in shapes.items()}


def _skip(count: int, dtype: np.dtype[Any], generator: np.random.Generator) -> None:
    """Move a generator behind so many numbers."""
    bits = generator.bit_generator
    # NumPy's own can leap.  It makes words of 64 bits, one for a float64 or two float32, and keeps a half left over.
    if type(bits) is np.random.PCG64 and not bits.state["has_uint32"]:
        words, count = divmod(count, 8 // dtype.itemsize)
        bits.advance(words)
    for first in range(0, count, _PIECE):
        generator.random(min(_PIECE, count - first), dtype)
