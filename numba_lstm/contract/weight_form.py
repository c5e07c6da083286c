"""Forms of weights that take fewer bytes than float32: what is kept of a parameter, and which numbers that stands for.

==========  ==============================================================  =====================================
form        what is kept of a weight matrix                                 what it stands for
==========  ==============================================================  =====================================
float16     a float16 array                                                 its numbers
bfloat16    a float32 array whose numbers are bfloat16, which NumPy lacks   its numbers
int8        an int8 array, -127 to 127, and under its name with ``_scale``  each row times its scale
            a float32 array with a number for each of its rows
==========  ==============================================================  =====================================

A row of ``weight_ih`` or ``weight_hh`` belongs to one gate of one unit.  Biases stay float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..formats import bfloat16, float16
from ..simd.weights.dot_products import LARGEST
from .architecture import CELL_SUFFIX

FORMS = ("float16", "bfloat16", "int8")

SCALE = "_scale"
"""What is put behind the name of an int8 array for that of its scales."""

_KEPT: dict[str, Any] = {"float16": np.float16, "bfloat16": np.float32, "int8": np.int8}
"""The dtype of a weight; scales and biases are float32."""

SMALLEST_SCALE = np.finfo(np.float32).tiny
"""Kernels take smaller numbers for zero."""

LARGEST_SCALE = np.nextafter(np.finfo(np.float32).max / np.float32(LARGEST), np.float32(0))
"""With the next one, which is what the division gives, 127 stands for more than float32 has."""

MOST_TERMS = (2**31 - 1) // LARGEST**2
"""Products of two int8 whose sum is an int32, whatever they are."""

_LARGEST_BFLOAT16 = float(bfloat16.widened(np.array([0x7F7F], np.uint16))[0])

_PIECE = 1 << 18
"""Numbers that are rounded at a time, so that what lies in between stays in cache."""


def quantized(parameters: Mapping[str, np.ndarray], form: str) -> dict[str, np.ndarray]:
    """Return what is kept of parameters in a form.

    Parameters
    ----------
    parameters : mapping of str to array
        float32, by torch's names.
    form : {"float16", "bfloat16", "int8"}

    Raises
    ------
    ValueError
        If a weight is beyond float16, or is not finite, which no scale could be made of.

    Examples
    --------
    >>> import numpy as np
    >>> kept = quantized({"weight_hh_l0": np.float32([[127, 64.4], [-0.5, 0.25]])}, "int8")
    >>> kept["weight_hh_l0"].tolist(), kept["weight_hh_l0_scale"].tolist()
    ([[127, 64], [-127, 64]], [1.0, 0.003937007859349251])
    """
    kept: dict[str, np.ndarray] = {}
    with np.errstate(all="ignore"):  # of numbers that round to zero nobody is told, as where parameters are cast
        for name, array in parameters.items():
            if not is_weight(name):
                kept[name] = array
            elif form == "int8":
                kept[name], kept[_scale_name(name)] = _to_int8(name, array)
            elif form == "float16":
                kept[name] = _to_float16(name, array)
            else:
                kept[name] = _to_bfloat16(name, array)
    return kept


def dequantized(kept: Mapping[str, np.ndarray], form: str) -> dict[str, np.ndarray]:
    """Return the float32 numbers that what is kept stands for, by torch's names.

    Examples
    --------
    >>> import numpy as np
    >>> dequantized({"weight_hh_l0": np.int8([[127]]), "weight_hh_l0_scale": np.float32([0.5])}, "int8")
    {'weight_hh_l0': array([[63.5]], dtype=float32)}
    """
    if form != "int8":
        return {name: array.astype(np.float32) for name, array in kept.items()}
    scales = {name: kept[_scale_name(name)] for name in kept if _scale_name(name) in kept}
    with np.errstate(all="ignore"):
        return {
            name: array * scales[name][:, None] if name in scales else array.astype(np.float32)
            for name, array in kept.items()
            if not name.endswith(SCALE)
        }


def check_form(form: object) -> None:
    """Raise ValueError unless this is one of the forms."""
    if not (isinstance(form, str) and form in FORMS):
        raise ValueError(f"weights should be kept in {', '.join(FORMS[:-1])} or {FORMS[-1]}, got: {form!r}")


def kept_shapes(shapes: Mapping[str, tuple[int, ...]], form: str) -> dict[str, tuple[int, ...]]:
    """Return the shape of every array that is kept of parameters, given theirs.

    Examples
    --------
    >>> kept_shapes({"weight_hh_l0": (20, 5), "bias_hh_l0": (20,)}, "int8")
    {'weight_hh_l0': (20, 5), 'weight_hh_l0_scale': (20,), 'bias_hh_l0': (20,)}
    """
    kept: dict[str, tuple[int, ...]] = {}
    for name, shape in shapes.items():
        kept[name] = shape
        if form == "int8" and is_weight(name):
            kept[_scale_name(name)] = shape[:1]
    return kept


def layouts(
    shapes: Mapping[str, tuple[int, ...]], dtype: np.dtype[Any], form: str | None
) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Return shape and dtype of every array of a module, given the shapes of its parameters.

    Examples
    --------
    >>> layouts({"weight_hh_l0": (20, 5)}, np.dtype(np.float32), "float16")
    {'weight_hh_l0': ((20, 5), dtype('float16'))}
    """
    if form is None:
        return {name: (shape, dtype) for name, shape in shapes.items()}
    return {name: (shape, _kept_dtype(name, form)) for name, shape in kept_shapes(shapes, form).items()}


def check_kept(kept: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]], form: str) -> None:
    """Raise ValueError unless this is what a form keeps of parameters, as when somebody else has made it.

    Parameters
    ----------
    kept : mapping of str to array
        In native byte order.
    shapes : mapping of str to tuple of int
        Of the parameters, by the same names.
    form : {"float16", "bfloat16", "int8"}

    Examples
    --------
    >>> import numpy as np
    >>> kept = {"weight_hh_l0": np.int8([[127]]), "weight_hh_l0_scale": np.float32([0])}
    >>> check_kept(kept, {"weight_hh_l0": (1, 1)}, "int8")
    Traceback (most recent call last):
        ...
    ValueError: weight_hh_l0_scale has 0, and scales are from 1.17549e-38 to 2.67939e+36
    """
    check_described(kept, shapes, form)
    for name, array in kept.items():
        if name.endswith(SCALE):
            wrong = ~((array >= SMALLEST_SCALE) & (array <= LARGEST_SCALE))  # of which nan is none
            if wrong.any():
                first = f"{array[wrong][0]:g}"
                raise ValueError(f"{name} has {first}, and scales are from {SMALLEST_SCALE:g} to {LARGEST_SCALE:g}")
        elif array.dtype == np.int8 and array.min() < -LARGEST:
            raise ValueError(f"{name} has {array.min()}, and weights in int8 are from {-LARGEST} to {LARGEST}")
        elif form == "bfloat16" and is_weight(name) and not bfloat16.exact(array):
            raise ValueError(f"{name} has numbers that bfloat16 has not")


def check_described(kept: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], form: str) -> None:
    """Raise ValueError unless these have the names, shapes and dtypes that `check_kept` asks of arrays."""
    wanted = kept_shapes(shapes, form)
    for name in [*wanted, *kept]:
        if name not in kept or name not in wanted:
            state = "is missing" if name in wanted else "is none of the arrays"
            raise ValueError(f"{name} {state} that {form} keeps of weights")
    for name, shape in wanted.items():
        if form == "int8" and len(shape) == 2:  # not scales and biases
            check_row_length(name, shape[1])
        dtype, found = _kept_dtype(name, form), tuple(kept[name].shape)
        if str(kept[name].dtype) != str(dtype) or found != shape:
            raise ValueError(
                f"{name} is a {kept[name].dtype} array of shape {found}, and weights in {form} have a {dtype} array of "
                f"shape {shape} there"
            )


def check_row_length(name: str, columns: int) -> None:
    """Raise ValueError if rows of int8 weights are so long that a sum of products may be beyond 32 bits."""
    if columns > MOST_TERMS:
        raise ValueError(
            f"{name} has rows of {columns:,} numbers, and sums of int8 products are sure to stay within 32 bits for "
            f"{MOST_TERMS:,}: keep these weights in 16 bits"
        )


def in_layer(name: str) -> str:
    """Return what an LSTM calls an array that is kept of a cell.

    Examples
    --------
    >>> in_layer("weight_ih"), in_layer("weight_ih_scale")
    ('weight_ih_l0', 'weight_ih_l0_scale')
    """
    parameter = name.removesuffix(SCALE)
    return parameter + CELL_SUFFIX + name[len(parameter) :]


def to_file(kept: Mapping[str, np.ndarray], form: str | None) -> dict[str, np.ndarray]:
    """Return what a file gets of what is kept, in a form or without one: bfloat16 as the halves that it is."""
    if form != "bfloat16":
        return dict(kept)
    return {
        name: bfloat16.narrowed(array).view(bfloat16.DTYPE) if is_weight(name) else array
        for name, array in kept.items()
    }


def from_file(arrays: Mapping[str, np.ndarray], form: str) -> dict[str, np.ndarray]:
    """Return what `to_file` was given, of which npz has the halves, and readers of safetensors float32.

    Examples
    --------
    >>> import numpy as np
    >>> from_file({"weight_hh": np.uint16([[0x3F80]])}, "bfloat16")
    {'weight_hh': array([[1.]], dtype=float32)}
    """
    return {
        name: bfloat16.widened(array) if form == "bfloat16" and array.dtype.name == "uint16" else array
        for name, array in arrays.items()
    }


def _kept_dtype(name: str, form: str) -> np.dtype[Any]:
    return np.dtype(_KEPT[form] if is_weight(name) and not name.endswith(SCALE) else np.float32)


def is_weight(name: str) -> bool:
    """Return whether a parameter is a matrix, which a form is for."""
    return name.startswith("weight_")


def _scale_name(name: str) -> str:
    return name + SCALE


def _to_float16(name: str, array: np.ndarray) -> np.ndarray:
    kept, room = np.empty(array.shape, np.float16), float16.scratch(min(array.size, _PIECE))
    for source, target in _pieces(array, kept):
        if _within(source, float16.LARGEST):
            float16.round_within(source, target, room)
        else:
            target[:] = source
            reason = "float16 ends at 65504: take bfloat16, which ends where float32 does"
            _complain_of_overflow(name, source, target, reason)
    return kept


def _to_bfloat16(name: str, array: np.ndarray) -> np.ndarray:
    kept = np.empty(array.shape, np.float32)
    for source, target in _pieces(array, kept):
        if _within(source, _LARGEST_BFLOAT16):
            bfloat16.round_finite(source, target)
        else:
            target[:] = bfloat16.widened(bfloat16.narrowed(source))
            _complain_of_overflow(name, source, target, "bfloat16 ends at 3.39e38")
    return kept


def _pieces(array: np.ndarray, kept: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    source, target = array.reshape(-1), kept.reshape(-1)
    for first in range(0, array.size, _PIECE):
        yield source[first : first + _PIECE], target[first : first + _PIECE]


def _within(array: np.ndarray, largest: float) -> bool:
    """Return whether no number is beyond the largest or nan; to look at each takes several times as long."""
    return bool(array.max() <= largest and array.min() >= -largest)


def _complain_of_overflow(name: str, array: np.ndarray, kept: np.ndarray, reason: str) -> None:
    beyond = np.isfinite(array) & ~np.isfinite(kept)
    if beyond.any():
        raise ValueError(f"{name} has {array[beyond][0]:g}, and {reason}")


def _to_int8(name: str, array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = array.shape
    check_row_length(name, columns)
    kept, scales = np.empty(array.shape, np.int8), np.empty(rows, np.float32)
    step = max(1, _PIECE // columns)
    for first in range(0, rows, step):
        piece = array[first : first + step]
        largest = np.maximum(piece.max(axis=1), -piece.min(axis=1))
        if not np.isfinite(largest).all():
            raise ValueError(f"{name} has {piece[~np.isfinite(piece)][0]}, of which int8 has nothing")
        scale = np.clip(largest / np.float32(LARGEST), SMALLEST_SCALE, LARGEST_SCALE)
        scales[first : first + step] = scale
        quotient = piece / scale[:, None]
        kept[first : first + step] = np.rint(quotient, out=quotient)
    return kept, scales
