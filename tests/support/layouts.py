"""Arrays that are equal and lie otherwise in memory, or are of another kind."""

from __future__ import annotations

from typing import Any

import numpy as np

from numba_lstm.contract.parameter import Parameter


def unaligned(array: np.ndarray) -> np.ndarray:
    """Return an equal array that begins one byte beside where it should."""
    buffer = np.zeros(array.nbytes + 1, np.uint8)
    result = buffer[1:].view(array.dtype).reshape(array.shape)
    result[...] = array
    assert not result.flags.aligned
    return result


def every_second(array: np.ndarray) -> np.ndarray:
    """Return an equal array between whose numbers others lie."""
    wide = np.full((*array.shape[:-1], 2 * array.shape[-1]), np.nan, array.dtype)
    wide[..., ::2] = array
    return wide[..., ::2]


def read_only(array: np.ndarray) -> np.ndarray:
    """Return an equal array that cannot be written to."""
    result = array.copy()
    result.flags.writeable = False
    return result


class Claiming(np.ndarray):
    """An array that says of its layout what is true of another one."""

    like: np.ndarray

    shape = property(lambda self: self.like.shape)  # type: ignore[assignment]
    dtype = property(lambda self: self.like.dtype)  # type: ignore[assignment]
    ndim = property(lambda self: self.like.ndim)  # type: ignore[assignment]
    flags = property(lambda self: self.like.flags)  # type: ignore[assignment]
    strides = property(lambda self: self.like.strides)  # type: ignore[assignment]


def claiming(array: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Return a view of an array that claims the layout of another one."""
    view = array.view(Claiming)
    view.like = like
    return view


class Foreign:
    """An array of another library."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.array(self._array, dtype)


KINDS: dict[str, Any] = {
    "other byte order": lambda a: a.astype(a.dtype.newbyteorder()),
    "Fortran order": np.asfortranarray,
    "every second": every_second,
    "backwards": lambda a: a[::-1].copy()[::-1],
    "last axis backwards": lambda a: a[..., ::-1].copy()[..., ::-1],
    "swapped": lambda a: a.swapaxes(0, 1).copy().swapaxes(0, 1),
    "padded rows": lambda a: np.concatenate([a, a], axis=-1)[..., : a.shape[-1]],
    "read-only": read_only,
    "unaligned": unaligned,
    "subclass": lambda a: a.view(Parameter),
    "another library's": Foreign,
    "equal dtype that is another object": lambda a: a.view(np.dtype(a.dtype, metadata={"unit": "V"})),
}
"""Arrays of any shape, by what they are."""


class _Subclass(np.ndarray):
    pass


def layouts(a: np.ndarray) -> dict[str, np.ndarray]:
    """Return arrays that are equal to ``a`` and lie otherwise in memory."""
    padded = np.full((a.shape[0] + 2, a.shape[1] + 3, a.shape[2] + 1), np.nan, a.dtype)
    padded[1:-1, 2:-1, :-1] = a
    return {
        "strided": every_second(a),
        "slice": padded[1:-1, 2:-1, :-1],
        "fortran": np.asfortranarray(a),
        "reversed": np.ascontiguousarray(a[::-1, ::-1, ::-1])[::-1, ::-1, ::-1],
        "rows reversed": np.ascontiguousarray(a[:, ::-1])[:, ::-1],
        "unaligned": unaligned(a),
        "readonly": read_only(a),
        "byteswapped": a.astype(a.dtype.newbyteorder()),
        "broadcast": np.broadcast_to(a[:1, :1], a.shape),
        "subclass": a.view(_Subclass),
    }
