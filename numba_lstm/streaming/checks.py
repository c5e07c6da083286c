"""Checks of what streams and sliding windows are given."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..contract.architecture import Architecture
from ..contract.checks.arrays import DTYPES, as_array, given_array, match_dtype, native, readable_input, ready
from ..contract.checks.constructor import integer, not_too_long


def positive(name: str, value: Any) -> int:
    """Return an integer above zero, or raise in the words of a constructor."""
    if isinstance(value, np.integer):
        value = int(value)
    if isinstance(value, bool):
        raise TypeError(f"{name} should be of type int, got: bool")
    if integer(name, value) <= 0:
        raise ValueError(f"{name} must be greater than zero, got: {value}")
    not_too_long(name, value)
    return int(value)


REVERSE = {"stream": "which is not there yet", "sliding window": "anew with every input"}


def streamable(name: str, architecture: Architecture, dropout: bool) -> None:
    """Raise if a network cannot be fed step by step."""
    if architecture.bidirectional:
        raise ValueError(
            f"a bidirectional LSTM has no {name}: its reverse direction starts at the last step, {REVERSE[name]}"
        )
    if dropout:
        raise RuntimeError(f"a {name} has no dropout: call eval() first")


def rows(values: Any, batch_size: int) -> np.ndarray:
    """Return different row numbers as int64."""
    try:
        array = as_array(values, "rows")
    except ValueError:  # ragged
        raise TypeError(f"rows should be a sequence of integers, got: {values!r}") from None
    if array.size == 0:
        array = array.astype(np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise TypeError(f"rows should be a sequence of integers, got: {values!r}")
    if array.size and not (array.min() >= 0 and array.max() < batch_size):
        wrong = array[(array < 0) | (array >= batch_size)][0]
        raise ValueError(f"rows should be from 0 to {batch_size - 1}, the last of the batch, got: {wrong}")
    chosen = array.astype(np.int64)
    counts = np.bincount(chosen, minlength=1)
    if counts.max() > 1:
        raise ValueError(f"rows should differ, but {counts.argmax()} comes {counts.max()} times")
    return chosen


def input_array(
    architecture: Architecture, dtype: np.dtype[Any], batch_first: bool, x: Any, rows: int, axes: tuple[int, ...]
) -> np.ndarray:
    """Return the input of one step (N, H_in) or of several, whichever ``axes`` allow, as kernels can read it."""
    array = _input(architecture.input_size, dtype, x, axes)
    axis = 0 if array.ndim == 2 or batch_first else 1
    if array.shape[axis] != rows:
        raise RuntimeError(f"Expected x to have {rows} rows, got {array.shape[axis]}")
    if array.ndim == 3 and array.shape[1 - axis] == 0:
        raise RuntimeError(_NO_STEPS)
    return readable_input(array, dtype)


def sequence_input(size: int, dtype: np.dtype[Any], x: Any) -> np.ndarray:
    """Return the input of one step (H_in,) or of several (L, H_in) of one sequence; H_in is the size."""
    array = _input(size, dtype, x, (1, 2))
    if array.ndim == 2 and not len(array):
        raise RuntimeError(_NO_STEPS)
    return array


_NO_STEPS = "Expected sequence length to be larger than 0 in RNN"


def _input(size: int, dtype: np.dtype[Any], x: Any, axes: tuple[int, ...]) -> np.ndarray:
    """Return an input whose axes, dtype and features are right."""
    array = given_array("x", x, dtype)
    if array.ndim not in axes:
        allowed = " or ".join(f"{n}D" for n in axes)
        raise ValueError(f"LSTM: Expected x to be {allowed}, got {array.ndim}D instead")
    if dtype in DTYPES:
        match_dtype("RNN input", "x", array, dtype)
    # Somebody's own function makes the input of it.  To turn a dtype round takes longer than to compare two.
    elif array.dtype != dtype and native("x", array.dtype) != dtype:
        raise ValueError(f"x should have dtype {dtype}, got: {array.dtype}")
    if array.shape[-1] != size:
        raise RuntimeError(f"x.size(-1) must be equal to input_size. Expected {size}, got {array.shape[-1]}")
    return array


def output_array(out: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """Return an output as a plain array, or raise unless it can be written in place."""
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out should be a NumPy array, got: {type(out).__name__}")
    array = as_array(out, "out")  # a subclass may say of its shape what it likes, and kernels would write beyond it
    if array.shape != shape:
        raise ValueError(f"out should have shape {shape}, got: {array.shape}")
    if array.dtype != dtype:
        raise ValueError(f"out should have dtype {dtype.name}, got: {array.dtype}")
    if not array.flags.carray:
        raise ValueError("out should be a writable array in C order")
    return array


def readable(x: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    """Return whether kernels can read x in place; False for some wrappings of the dtype that they could."""
    return ready(x, dtype) and x.shape == shape


def writable(out: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    """Return whether kernels can write into ``out``; False for some wrappings of the dtype that they could."""
    return type(out) is np.ndarray and out.dtype is dtype and out.shape == shape and out.flags.carray
