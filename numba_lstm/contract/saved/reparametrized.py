"""Parameters that a module computes from others before every call, as with weight drop, pruning and weight norm.

Files have what they are computed from.  What is there under a parameter's own name besides is at best a copy, at worst
what one random mask has left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from ...formats.printable import listed

PLAIN = "{}"
"""The part of a recipe that is the parameter itself."""

SAVE_PLAIN = "if the module is torch's own all the same, save its parameters alone"

class Source(NamedTuple):
    """Where the numbers of a parameter are."""

    parts: tuple[str, ...]
    """Whole names; the first has the parameter's shape and dtype."""
    compute: Callable[..., np.ndarray]
    """From the arrays of these names to the parameter."""

    def read(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the parameter, given the arrays of a file by name."""
        try:
            return self.compute(*(arrays[part] for part in self.parts))
        except ValueError as error:
            raise ValueError(f"the parameter of {listed([*self.parts])} cannot be computed: {error}") from None


class _Recipe(NamedTuple):
    """How a parameter is computed; ``{}`` in names is the parameter's own."""

    parts: tuple[str, ...]
    compute: Callable[..., np.ndarray]


def _same(array: np.ndarray) -> np.ndarray:
    return array


def _masked(original: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return what ``torch.nn.utils.prune`` computes."""
    if original.shape != mask.shape:
        raise ValueError(f"it has shape {original.shape}, and its mask {mask.shape}")
    masked: np.ndarray = mask.astype(original.dtype) * original
    return masked


def _normed(direction: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Return g v / ||v||, with a norm for each element of g, rounded once."""
    if length.ndim not in (0, direction.ndim) or any(
        size not in (1, whole) for size, whole in zip(length.shape, direction.shape, strict=False)
    ):
        raise ValueError(f"its direction has shape {direction.shape}, and its length {length.shape}")
    v, g = direction.astype(np.float64), length.astype(np.float64)
    axes = tuple(axis for axis in range(v.ndim) if length.ndim == 0 or length.shape[axis] == 1)
    with np.errstate(all="ignore"):
        return np.asarray(g * v / np.sqrt(np.sum(v * v, axis=axes, keepdims=True))).astype(direction.dtype)


_RECIPES = [
    _Recipe((PLAIN,), _same),
    _Recipe(("{}_raw",), _same),
    _Recipe(("{}_orig", "{}_mask"), _masked),
    _Recipe(("{}_v", "{}_g"), _normed),
    _Recipe(("parametrizations.{}.original1", "parametrizations.{}.original0"), _normed),
]

ORIGINALS = {recipe.parts[0] for recipe in _RECIPES} | {"parametrizations.{}.original", "{}_bar"}
"""Parts by which a parameter is known to be there."""

_KINDS = [
    ({"{}_orig", "{}_u"}, "spectral norm: call torch.nn.utils.remove_spectral_norm"),
    ({"{}_orig"}, "pruning: call torch.nn.utils.prune.remove"),
    ({"{}_mask"}, "pruning: call torch.nn.utils.prune.remove"),
    ({"{}_g"}, "weight norm: call torch.nn.utils.remove_weight_norm"),
    ({"{}_v"}, "weight norm: call torch.nn.utils.remove_weight_norm"),
    ({"parametrizations.{}.0._u"}, "spectral norm: call torch.nn.utils.parametrize.remove_parametrizations"),
    ({"parametrizations.{}.original"}, "a parametrization: call torch.nn.utils.parametrize.remove_parametrizations"),
]
"""What some parts tell of, and what makes of them a parameter again."""


def source(name: str, found: Mapping[str, str]) -> Source:
    """Return where a parameter's numbers are.

    Parameters
    ----------
    name : str
        The parameter's, for messages.
    found : mapping of str to str
        Whole names by the parts of a recipe that they are, or seem to be.

    Raises
    ------
    ValueError
        If how it is computed cannot be known.

    Examples
    --------
    >>> source("weight_hh_l0", {"{}": "weight_hh_l0", "{}_raw": "weight_hh_l0_raw"}).parts
    ('weight_hh_l0_raw',)
    """
    parts = found.keys() - {PLAIN} or {PLAIN}
    for recipe in _RECIPES:
        if parts == {*recipe.parts}:
            return Source(tuple(found[part] for part in recipe.parts), recipe.compute)
    beside = listed(sorted(found[part] for part in parts))
    kind = next((f"which is {kind}, and save again" for needed, kind in _KINDS if needed <= parts), None)
    raise ValueError(f"{name} is computed from {beside}, {kind or f'which torch has not; {SAVE_PLAIN}'}")
