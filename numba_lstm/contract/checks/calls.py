"""The arguments of calls of an LSTM, and arrays as the kernels take them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..architecture import Architecture
from .arrays import given_array, match_dtype, readable_input, ready
from .sequences import check_lengths, check_packing, integers


def lstm_call(
    architecture: Architecture, dtype: np.dtype[Any], batch_first: bool, input: Any, hx: Any, lengths: Any
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None, bool, np.ndarray | None]:
    """Check the arguments of a call and convert what the kernels cannot read in place.

    Parameters
    ----------
    architecture, dtype, batch_first
        The module's.
    input : array
        (L, N, H_in), (N, L, H_in) with ``batch_first``, or (L, H_in).
    hx : pair of arrays, or None
        (h_0, c_0).
    lengths : integers, or None
        Real steps of each sequence of a batch.

    Returns
    -------
    x : ndarray
        3-D, unit stride in the last axis; (L, 1, H_in) for a sequence without the batch axis.
    h_0, c_0 : ndarray
        3-D and C-order, or both None.
    batched : bool
        Whether the caller's arrays have the batch axis.
    lengths : (N,) int64 array, or None

    Raises
    ------
    RuntimeError, ValueError
        As torch does, in its words, with NumPy's names.
    TypeError
        If the input or a state is no array.
    """
    x, states, batched = checked_lstm_call(architecture, dtype, batch_first, input, hx)
    rows_first = batch_first and batched
    h_0, c_0 = (None, None) if states is None else _in_c_order(states, dtype)
    x = readable_input(x, dtype)
    if lengths is None:
        return x, h_0, c_0, batched, None
    if not batched:
        raise ValueError("lengths is for batches: the input is a single sequence")
    steps, rows = x.shape[rows_first], x.shape[not rows_first]
    real = integers(lengths, "lengths")
    check_lengths(real, rows, steps)
    return x, h_0, c_0, batched, real


def checked_lstm_call(
    architecture: Architecture, dtype: np.dtype[Any], batch_first: bool, input: Any, hx: Any
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray] | None, bool]:
    """Check input and states of a call as `lstm_call` does, by what their shapes and dtypes say.

    Returns
    -------
    x : ndarray
        3-D; a view where it is an array already.
    states : pair of ndarray, or None
        3-D.
    batched : bool
        Whether the caller's arrays have the batch axis.
    """
    x = given_array("input", input, dtype)
    if x.ndim not in (2, 3):
        raise ValueError(f"LSTM: Expected input to be 2D or 3D, got {x.ndim}D instead")
    batched = x.ndim == 3
    if not batched:
        x, batch_first = x[:, None], False
    states = None if hx is None else _states(hx, dtype, batched)
    match_dtype("RNN input", "input", x, dtype)
    if x.shape[2] != architecture.input_size:
        raise RuntimeError(
            f"input.size(-1) must be equal to input_size. Expected {architecture.input_size}, got {x.shape[2]}"
        )
    steps, rows = (x.shape[1], x.shape[0]) if batch_first else x.shape[:2]
    if states is not None:
        _state_sizes(architecture, states, rows)
    if steps == 0:
        raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
    if states is not None:
        _state_dtypes(states, dtype)
    return x, states, batched


def packed_call(
    architecture: Architecture, dtype: np.dtype[Any], fields: Sequence[Any], hx: Any, lengths: Any
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Check the fields of a packed batch and its states, and convert what kernels cannot read in place."""
    if lengths is not None:
        raise ValueError("lengths is for padded batches: a PackedSequence has its own")
    data, batch_sizes, *orders = fields
    total = check_packing(batch_sizes, *orders)
    match_dtype("RNN input", "input", data, dtype)
    if data.ndim != 2:
        raise RuntimeError(f"input must have 2 dimensions, got {data.ndim}")
    if data.shape[1] != architecture.input_size:
        raise RuntimeError(
            f"input.size(-1) must be equal to input_size. Expected {architecture.input_size}, got {data.shape[1]}"
        )
    if len(data) != total:  # it has been reshaped since it was packed
        raise ValueError(f"data should have as many rows as batch_sizes add up to, {total}, got {len(data)}")
    data = np.require(data, dtype, ["C", "A"])
    if hx is None:
        return data, None, None
    return data, *batch_states(architecture, dtype, hx, int(batch_sizes[0]))


def batch_states(
    architecture: Architecture, dtype: np.dtype[Any], hx: Any, rows: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the states (h, c) of ``rows`` rows, in C order."""
    states = _states(hx, dtype, True)
    _state_sizes(architecture, states, rows)
    return readable_states(states, dtype)


def sequence_states(
    architecture: Architecture, dtype: np.dtype[Any], hx: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Return the states (h, c) of one sequence, given without the axis of rows, with it."""
    states = _states(hx, dtype, False)
    _state_sizes(architecture, states, 1)
    return readable_states(states, dtype)


def _state_sizes(architecture: Architecture, states: tuple[np.ndarray, np.ndarray], rows: int) -> None:
    """Raise if h_0 and c_0 do not have the shapes that ``rows`` rows need."""
    cells = architecture.num_layers * architecture.num_directions
    for index, size in enumerate((architecture.output_size, architecture.hidden_size)):
        if states[index].shape != (cells, rows, size):
            raise RuntimeError(
                f"Expected hidden[{index}] size {cells, rows, size}, got {list(states[index].shape)}"
            )


def readable_states(states: tuple[np.ndarray, np.ndarray], dtype: np.dtype[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return h_0 and c_0 in C order; raise if their dtype is not the module's."""
    _state_dtypes(states, dtype)
    return _in_c_order(states, dtype)


def _state_dtypes(states: tuple[np.ndarray, np.ndarray], dtype: np.dtype[Any]) -> None:
    for index, (name, state) in enumerate(zip(("h_0", "c_0"), states, strict=True)):
        match_dtype(f"hx[{index}]", name, state, dtype)


def _in_c_order(states: tuple[np.ndarray, np.ndarray], dtype: np.dtype[Any]) -> tuple[np.ndarray, np.ndarray]:
    h_0, c_0 = (np.require(state, dtype, ["C", "A"]) for state in states)
    return h_0, c_0


def ready_states(hx: Any, hidden: tuple[int, ...], cell: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    """Return whether hx is a pair of such shapes that kernels can read in place."""
    return (
        type(hx) is tuple
        and len(hx) == 2
        and ready(hx[0], dtype)
        and ready(hx[1], dtype)
        and hx[0].shape == hidden
        and hx[1].shape == cell
    )


def _states(hx: Any, dtype: np.dtype[Any], batched: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return (h_0, c_0) with their batch axis."""
    if not isinstance(hx, (tuple, list)):
        raise no_pair(hx)
    if len(hx) != 2:
        raise ValueError(f"hx should be a tuple (h_0, c_0) of two arrays, got {len(hx)}")
    h_0, c_0 = given_array("hx[0]", hx[0], dtype), given_array("hx[1]", hx[1], dtype)
    expected = 3 if batched else 2
    if h_0.ndim != expected or c_0.ndim != expected:
        kind = "batched" if batched else "unbatched"
        raise RuntimeError(
            f"For {kind} {expected}-D input, hx and cx should also be {expected}-D "
            f"but got ({h_0.ndim}-D, {c_0.ndim}-D) tensors"
        )
    return (h_0, c_0) if batched else (h_0[:, None], c_0[:, None])


def no_pair(hx: Any) -> TypeError:
    """Return the error for states that are no pair."""
    return TypeError(f"hx should be a tuple (h_0, c_0) of two arrays, got: {type(hx).__name__}")
