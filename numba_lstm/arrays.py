"""Arrays as callers give them: everything that is not ours comes through here."""

from __future__ import annotations

from typing import Any

import numpy as np

_MASKED = (
    "is a masked array, and which of its numbers count would be forgotten: "
    "call filled(value), or give the real steps of each sequence as lengths"
)


class MaskedArrayError(TypeError):
    """A mask would be dropped."""


def as_array(value: Any, name: str = "") -> np.ndarray:
    """Return ``np.asarray`` of a value, if that loses nothing.

    Parameters
    ----------
    value : array_like
        An array, a list, or another library's array, such as a tensor of torch.
    name : str
        What an error begins with.

    Raises
    ------
    MaskedArrayError
        If it is a masked array, or a list with one in it.  Also if nothing is masked at the moment: what works must
        not depend on the data.
    TypeError
        If another library says that its array cannot become one of NumPy.

    Examples
    --------
    >>> as_array(np.ma.masked_less([3, -1], 0), "lengths")
    Traceback (most recent call last):
        ...
    numba_lstm.arrays.MaskedArrayError: lengths is a masked array, and which of its numbers count would be forgotten: \
call filled(value), or give the real steps of each sequence as lengths
    """
    if _masked(value):
        raise MaskedArrayError(f"{name} {_MASKED}".lstrip())
    if isinstance(value, np.ndarray) or not hasattr(value, "__array__"):
        return np.asarray(value)
    try:
        return np.asarray(value)
    except Exception as error:
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        advice = ""
        if kind.startswith("torch."):
            advice = "; numba_lstm.io.torch.accelerate has modules that take tensors"
        raise TypeError(f"{name} is a {kind} that cannot become a NumPy array ({error}){advice}".lstrip()) from error


def _masked(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(map(_masked, value))
    return isinstance(value, np.ma.MaskedArray)
