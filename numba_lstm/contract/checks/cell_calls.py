"""The arguments of calls of a cell."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..architecture import Architecture
from .arrays import given_array, match_dtype, readable_input, ready
from .calls import no_pair, readable_states


def cell_call(
    architecture: Architecture, dtype: np.dtype[Any], input: Any, hx: Any
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None, bool]:
    """Check the arguments of a call of a cell and convert what the kernels cannot read in place.

    Parameters
    ----------
    architecture, dtype
        The module's.
    input : array
        (N, H_in) or (H_in,).
    hx : pair of arrays, or None
        (h_0, c_0).

    Returns
    -------
    x, h_0, c_0, batched
        As `lstm_call` returns them, for a sequence of one step.

    Raises
    ------
    RuntimeError, ValueError
        As torch does, in its words, or where these name nothing of the caller's, in those of `lstm_call`.
    TypeError
        If the input or a state is no array.
    """
    # A call takes some microseconds: what a loop over steps passes is let through first.
    if hx is None:
        if ready(input, dtype) and input.ndim == 2 and input.shape[1] == architecture.input_size:
            return input[None], None, None, True
    elif (
        type(hx) is tuple
        and len(hx) == 2
        and ready(input, dtype)
        and ready(hx[0], dtype)
        and ready(hx[1], dtype)
        and input.ndim == 2
        and input.shape[1] == architecture.input_size
        and hx[0].shape == hx[1].shape == (input.shape[0], architecture.hidden_size)
    ):
        return input[None], hx[0][None], hx[1][None], True
    x = given_array("input", input, dtype)
    if x.ndim not in (1, 2):
        raise ValueError(f"LSTMCell: Expected input to be 1D or 2D, got {x.ndim}D instead")
    states = None if hx is None else _cell_states(hx, dtype)
    if x.shape[-1] != architecture.input_size:
        raise RuntimeError(f"input has inconsistent input_size: got {x.shape[-1]} expected {architecture.input_size}")
    batched = x.ndim == 2
    if states is not None:
        _cell_state_sizes(architecture, states, x.shape[0] if batched else None)
    # Unlike those of an LSTM, torch's cell looks at sizes before it meets the dtypes.
    match_dtype("RNN input", "input", x, dtype)
    step = (None,) if batched else (None, None)
    h_0 = c_0 = None
    if states is not None:
        h_0, c_0 = readable_states((states[0][step], states[1][step]), dtype)
    return readable_input(x[step], dtype), h_0, c_0, batched


def _cell_states(hx: Any, dtype: np.dtype[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return a cell's h_0 and c_0 as arrays, of one axis or two each."""
    if not isinstance(hx, (tuple, list)):
        raise no_pair(hx)
    states = [given_array(f"hx[{index}]", state, dtype) for index, state in enumerate(hx)]
    for index, state in enumerate(states):
        if state.ndim not in (1, 2):
            raise ValueError(f"LSTMCell: Expected hx[{index}] to be 1D or 2D, got {state.ndim}D instead")
    if len(states) != 2:
        raise RuntimeError("lstm_cell expects two hidden states")
    return states[0], states[1]


def _cell_state_sizes(architecture: Architecture, states: tuple[np.ndarray, np.ndarray], rows: int | None) -> None:
    """Raise if h_0 and c_0 do not have the shapes that ``rows`` rows need; None is an input without that axis."""
    hidden = architecture.hidden_size
    kind, axes = ("unbatched", 1) if rows is None else ("batched", 2)
    for index, state in enumerate(states):
        if rows is not None and len(state) != rows:
            raise RuntimeError(f"Input batch size {rows} doesn't match hidden{index} batch size {len(state)}")
        # torch reads the size off this axis, also where a state has an axis too many or too few.
        size = state.shape[axes - 1 :]
        if size and size[0] != hidden:
            raise RuntimeError(f"hidden{index} has inconsistent hidden_size: got {size[0]}, expected {hidden}")
        if state.ndim != axes:
            raise ValueError(f"For {kind} {axes}-D input, hx[{index}] should also be {axes}-D, got {state.ndim}-D")
