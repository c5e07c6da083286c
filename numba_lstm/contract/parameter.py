"""Parameters, arrays that are only assigned to and never written into; and those that a new module begins with."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager
from numbers import Real
from typing import Any

import numpy as np

from ..host.forks import wait_for
from .checks.arrays import as_array

_READ_ONLY = (
    "parameters are read-only: assign a new array to the module's attribute instead of writing into this one, "
    "such as lstm.weight_ih_l0 = array"
)

_LAYOUT = ("shape", "dtype", "strides")
"""Attributes of an array that NumPy lets anybody assign to, also where its numbers are read-only."""

_PIECE = 1 << 16
"""Numbers that are drawn at a time where none of them is kept."""

Shapes = Mapping[str, tuple[int, ...]]
Layouts = Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]
"""Shapes and dtypes of arrays, by their names."""


class Parameter(np.ndarray):
    """A read-only array whose error says what to do instead; whatever is computed from it is a plain array."""

    _fixed = False
    """Whether it is what a module keeps: views of that are of this class too, and NumPy itself sets the dtype of one
    that `view` has just made."""

    def __setattr__(self, name: str, value: Any) -> None:
        if self._fixed and name in _LAYOUT:
            raise AttributeError(
                f"{name} of a parameter cannot be assigned to: take what reshape, view or astype return, "
                "or assign a new array to the module's attribute"
            )
        super().__setattr__(name, value)

    def __setstate__(self, state: Any) -> None:
        if self._fixed:
            raise ValueError(_READ_ONLY)
        super().__setstate__(state)

    def __setitem__(self, key: Any, value: Any) -> None:
        if not self.flags.writeable:  # copies, such as those of astype, are like any array
            raise ValueError(_READ_ONLY)
        super().__setitem__(key, value)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        out = options.pop("out", ())
        # What `at` changes comes first; NumPy does not always ask whether that may be written to.
        changed = inputs[:1] if method == "at" else out
        if any(isinstance(array, Parameter) and not array.flags.writeable for array in changed):
            raise ValueError(_READ_ONLY)
        # All of them: whatever option NumPy finds a parameter in, such as `where`, it would ask this method again.
        plain = {name: _plain(value) for name, value in options.items()}
        if out:
            plain["out"] = tuple(map(_plain, out))
        return getattr(ufunc, method)(*map(_plain, inputs), **plain)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return np.array(self).__reduce_ex__(protocol)  # protocol 5 would make a read-only array of a view of this one

    def __deepcopy__(self, memo: Any) -> Any:
        return np.array(self)

    def copy(self, order: Any = "C") -> Any:
        """Return a plain array that may be written to."""
        return np.array(self, order=order)

    def __copy__(self) -> Any:
        return np.array(self)


def _plain(value: Any) -> Any:
    return np.asarray(value) if isinstance(value, Parameter) else value


def cast(value: Any, dtype: np.dtype[Any]) -> Parameter:
    """Return a read-only C-order copy in another dtype, rounded as torch rounds: silently, to infinity if too large.

    Parameters
    ----------
    value : array_like
        Real numbers.
    dtype : float32 or float64
        Of the result.

    Raises
    ------
    TypeError
        If these are not real numbers.

    Examples
    --------
    >>> weight = cast([1, 2], np.dtype(np.float32))
    >>> weight[0] = 3
    Traceback (most recent call last):
        ...
    ValueError: parameters are read-only: assign a new array to the module's attribute instead of writing into this \
one, such as lstm.weight_ih_l0 = array
    """
    array = as_array(value)
    if isinstance(value, Parameter) and value.dtype == np.int8:
        raise TypeError("holds int8 weights, which are nothing without their scales: take those of dequantize()")
    kind = array.dtype.kind
    # bfloat16 of other libraries is of the kind of records, too.  None would become a nan, and text what it spells.
    number = kind in "biufOV" and type(array.dtype) is not np.dtypes.VoidDType
    if not number or (kind == "O" and not all(isinstance(element, Real) for element in array.flat)):
        raise TypeError(f"should hold real numbers, got: {array.dtype}")
    with np.errstate(all="ignore"):
        try:
            return frozen(np.array(array, dtype, order="C"))
        except OverflowError:  # of integers of Python, or fractions, that no float holds
            made = [_as_float(element) for element in array.flat]
            return frozen(np.array(made, dtype).reshape(array.shape))


def _as_float(number: Any) -> float:
    """Return a real number as a float, or infinity if it is too large."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def as_it_is(array: np.ndarray) -> Parameter:
    """Return a read-only C-order copy of the same dtype, in native byte order."""
    return frozen(np.array(array, array.dtype.newbyteorder("="), order="C"))


def frozen(owner: np.ndarray) -> Parameter:
    """Return what cannot be written to, of an array that nobody else has."""
    owner.flags.writeable = False
    # NumPy lets the owner of memory switch writing on again, a view of a read-only owner cannot.
    parameter = owner.view(Parameter)
    parameter._fixed = True
    return parameter


def plain_arrays(parameters: Mapping[str, np.ndarray], layouts: Layouts) -> dict[str, np.ndarray]:
    """Return plain arrays of parameters; raise RuntimeError if one is laid out in another way than it was made.

    ``np.ndarray.shape.__set__`` does that, whatever a subclass forbids.  Kernels read as many weights as a module's
    sizes ask for, wherever these end.

    Parameters
    ----------
    parameters : mapping of str to array
        Plain ones among them are nobody else's, and may be in any order.
    layouts : mapping of str to (shape, dtype)
        What they were.

    Examples
    --------
    >>> float32 = np.dtype(np.float32)
    >>> plain_arrays({"bias_ih": cast([1, 2], float32)}, {"bias_ih": ((2,), float32)})
    {'bias_ih': array([1., 2.], dtype=float32)}
    """
    arrays = {}
    for name, parameter in parameters.items():
        shape, dtype = layouts[name]
        array = np.asarray(parameter)  # a view, which stays as it is whatever becomes of the other from now on
        in_order = array is parameter or array.flags.c_contiguous
        if array.shape != shape or array.dtype != dtype or not in_order:
            raise RuntimeError(
                f"{name} should be a {dtype} array of shape {shape} in C order, and somebody has changed it in place: "
                f"it has dtype {array.dtype}, shape {array.shape} and strides {array.strides}. Undo that, or assign a "
                "new array to the module's attribute"
            )
        arrays[name] = array
    return arrays


_drawing = tuple(threading.RLock() for _ in range(16))
"""Several, for threads that draw from generators of their own need not wait for each other, most of the time."""

for _lock in _drawing:
    wait_for(_lock)


def drawing(generator: np.random.Generator) -> AbstractContextManager[Any]:
    """Return a lock to draw under, for which a fork waits.

    A generator has one of its own while it draws.  In a child that is forked meanwhile nobody would give that back.
    """
    return _drawing[hash(generator.bit_generator) % len(_drawing)]


def drawn(
    shapes: Shapes, hidden_size: int, dtype: np.dtype[Any], generator: np.random.Generator
) -> dict[str, Parameter]:
    """Return parameters by name, uniform in +-1 / sqrt(hidden_size)."""
    bound = 1 / math.sqrt(hidden_size)
    made = {}
    for name, shape in shapes.items():
        with drawing(generator):
            array = generator.random(shape, dtype)
        array *= 2 * bound
        array -= bound
        made[name] = frozen(array)
    return made


def skip_drawing(shapes: Shapes, dtype: np.dtype[Any], generator: np.random.Generator) -> None:
    """Move a generator as far as `drawn` would: masks of dropout come after."""
    bits, count = generator.bit_generator, sum(map(math.prod, shapes.values()))
    # NumPy's own can leap.  It makes words of 64 bits, one for a float64 or two float32, and keeps a half left over.
    with drawing(generator):
        if type(bits) is np.random.PCG64 and not bits.state["has_uint32"]:
            words, count = divmod(count, 8 // dtype.itemsize)
            bits.advance(words)
    for first in range(0, count, _PIECE):
        with drawing(generator):
            generator.random(min(_PIECE, count - first), dtype)
