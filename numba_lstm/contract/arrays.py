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
        If it is a tensor that cannot become an array of NumPy, such as one with gradients.

    Examples
    --------
    >>> as_array(np.ma.masked_less([3, -1], 0), "lengths")
    Traceback (most recent call last):
        ...
    numba_lstm.MaskedArrayError: lengths is a masked array, and which of its numbers count would be forgotten: \
call filled(value), or give the real steps of each sequence as lengths
    """
    if _masked(value):
        raise MaskedArrayError(f"{name} {_MASKED}".lstrip())
    try:
        array = np.asanyarray(value)  # what another library makes of it may be masked as well
    except Exception as error:
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        if not kind.startswith("torch."):
            raise
        text = f"{name} is a {kind} that cannot become a NumPy array ({error}); numba_lstm.io.torch takes tensors"
        raise TypeError(text.lstrip()) from error
    if _masked(array):
        raise MaskedArrayError(f"{name} {_MASKED}".lstrip())
    return np.asarray(array)


def _masked(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(map(_masked, value))
    return isinstance(value, np.ma.MaskedArray)
