"""Sizes that a model leaves open, and tensors that depend on them: both are known when a node is called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from .tensors import NotConstant


@dataclass(frozen=True)
class Size:
    """How long an axis of a tensor is that the model computes or is given."""

    tensor: str
    axis: int
    declared: int | None = None
    """What the model says of it; what an input really has comes first."""

    def __str__(self) -> str:
        return f"the size of axis {self.axis} of {self.tensor!r}"


Sizes = tuple[int | Size, ...]
"""A shape."""


class Unbound(NotConstant):
    """A tensor depends on sizes that are not known yet."""

    def __init__(self, sizes: Iterable[Size]) -> None:
        self.sizes = frozenset(sizes)
        super().__init__(f"it depends on {' and '.join(sorted(map(str, self.sizes)))}")


def vector(sizes: Iterable[int | Size]) -> np.ndarray:
    """Return sizes as the operator Shape does: int64, or objects if some are open."""
    sizes = list(sizes)
    found = np.empty(len(sizes), object)
    found[:] = sizes
    return settled(found)


def settled(array: np.ndarray) -> np.ndarray:
    """Return an array of objects as int64 if all sizes in it are known."""
    return array if array.dtype != object or open_sizes(array) else array.astype(np.int64)


def open_sizes(array: np.ndarray) -> list[Size]:
    """Return the sizes in an array of objects that are not known."""
    return [each for each in array.flat if isinstance(each, Size)]


def bound(array: np.ndarray, known: Mapping[Size, int]) -> np.ndarray:
    """Return an array with sizes in place of those that are known, or declared."""
    if array.dtype != object:
        return array
    found = np.empty(array.shape, object)
    for place, each in np.ndenumerate(array):
        value = known.get(each, each.declared) if isinstance(each, Size) else each
        found[place] = each if value is None else value
    return settled(found)
