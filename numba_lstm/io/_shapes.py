"""Shapes of what callables of other libraries' layers are given."""

from __future__ import annotations

import numpy as np


def check_shape(name: str, array: np.ndarray, shape: tuple[int | None, ...]) -> None:
    """Raise ValueError unless an array has a shape, in which None is any size.

    Examples
    --------
    >>> check_shape("x", np.zeros((2, 3)), (None, 4))
    Traceback (most recent call last):
        ...
    ValueError: x should have shape (any, 4), got: (2, 3)
    """
    pairs = zip(shape, array.shape, strict=False)
    if array.ndim != len(shape) or any(want not in (None, have) for want, have in pairs):
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"{name} should have shape ({wanted}), got: {array.shape}")
