"""Weights in 16 or 8 bits, in files: those that are there, and others that become so as they are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...formats.contents import Declared
from ...formats.printable import listed
from ..parameter import Shapes, as_it_is, cast
from ..weight_form import check_described, check_kept, from_file, is_weight, kept_shapes, quantized
from .reparametrized import Source

_HALVES = ("bfloat16", "uint16")
"""What files say of arrays that `from_file` makes float32 of."""


def read(
    arrays: Mapping[str, np.ndarray], prefix: str, sources: Mapping[str, Source], shapes: Shapes, form: str
) -> dict[str, np.ndarray]:
    """Return what a form keeps of parameters, by their own names, from the arrays under a prefix of a file.

    Raises
    ------
    ValueError
        If it is not all there, or is something else.
    """
    found = _found(arrays, prefix, sources, shapes, form)
    kept: dict[str, np.ndarray] = {name: as_it_is(array) for name, array in from_file(found, form).items()}
    check_kept(kept, shapes, form)
    return kept


def check_declared(
    declared: Mapping[str, Declared], prefix: str, sources: Mapping[str, Source], shapes: Shapes, form: str
) -> None:
    """Raise as `read` would, as far as names, shapes and dtypes tell."""
    found = _found(declared, prefix, sources, shapes, form)
    as_read = {name: each._replace(dtype=_dtype_read(each.dtype, form)) for name, each in found.items()}
    check_described(as_read, shapes, form)


def _dtype_read(dtype: str, form: str) -> str:
    """Return the dtype that an array has when it was read."""
    if form == "bfloat16" and dtype in _HALVES:
        return "float32"
    try:
        return np.dtype(dtype).newbyteorder("=").name
    except TypeError:  # in the words of a format
        return dtype


def _found(
    arrays: Mapping[str, Any], prefix: str, sources: Mapping[str, Source], shapes: Shapes, form: str
) -> dict[str, Any]:
    for name in shapes:
        parts = sources[name].parts
        if parts != (prefix + name,):
            raise ValueError(f"{name} would be computed from {listed([*parts])}, and weights in {form} never are")
    return {name: arrays[prefix + name] for name in kept_shapes(shapes, form) if prefix + name in arrays}


def check_asked(form: str, asked: str | None, dtype: np.dtype[Any] | None) -> None:
    """Raise ValueError if something else is asked for than weights in the form that a file has."""
    if asked not in (None, form):
        raise ValueError(f"its weights are in {form} already: make {asked} of the file of float32 weights")
    if dtype == np.float64:
        raise ValueError(f"its weights are in {form}, which belongs to float32, not {dtype}")


def made(arrays: dict[str, np.ndarray], dtype: np.dtype[Any], form: str) -> dict[str, np.ndarray]:
    """Return what a form keeps of parameters in a dtype, and let go of each as soon as its turn is over.

    Raises
    ------
    ValueError
        If they are float64, or beyond the numbers of the form.
    """
    if dtype != np.float32:
        raise ValueError(f"its weights are {dtype}, and what is quantized is float32: load them with dtype='float32'")
    kept: dict[str, np.ndarray] = {}
    for name in list(arrays):
        array = arrays.pop(name)
        if is_weight(name):
            with np.errstate(all="ignore"):  # to infinity and zero, as parameters
                kept |= quantized({name: np.asarray(array, dtype, order="C")}, form)
        else:
            kept[name] = cast(array, dtype)
    return kept
