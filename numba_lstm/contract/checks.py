"""torch's checks of arguments, in torch's order and words, and arrays as the kernels take them."""

from __future__ import annotations

import numbers
import warnings
from typing import Any, NamedTuple

import numpy as np

from .architecture import Architecture
from .arrays import as_array

DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


# --- constructors -------------------------------------------------------------------------------------------


def boolean(name: str, value: Any) -> bool:
    """Return a bool, or raise TypeError."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} should be of type bool, got: {type(value).__name__}")
    return value


def integer(name: str, value: Any) -> int:
    """Return an int, or raise TypeError."""
    if not isinstance(value, int):
        raise TypeError(f"{name} should be of type int, got: {type(value).__name__}")
    return int(value)


def probability(value: Any) -> float:
    """Return ``dropout`` as a float, or raise ValueError (TypeError for what is nothing like a number)."""
    words = "dropout should be a number in range [0, 1] representing the probability of an element being zeroed"
    try:
        result = float(value)
    except TypeError:
        raise TypeError(f"{words}, got: {type(value).__name__}") from None
    except ValueError:
        raise ValueError(words) from None
    if not isinstance(value, numbers.Number) or isinstance(value, bool) or not 0 <= result <= 1:
        raise ValueError(words)
    return result


def float_dtype(dtype: Any) -> np.dtype[Any]:
    """Return float32 or float64 in native byte order, whatever the spelling; None is torch's default, float32."""
    if dtype is None:
        return DTYPES[0]
    try:
        # NumPy's own object, which its arrays share: `is` compares it.
        return DTYPES[DTYPES.index(np.dtype(dtype).newbyteorder("="))]
    except (TypeError, ValueError, SyntaxError):  # no dtype at all, or not one of the two
        raise TypeError(f"dtype should be float32 or float64, got: {dtype!r}") from None


def generator(seed: Any) -> np.random.Generator:
    """Return a generator of random numbers, or raise an error that names ``seed``."""
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        raise type(error)(f"seed should be what numpy.random.default_rng takes, got: {seed!r} ({error})") from None


class Options(NamedTuple):
    """The arguments of a constructor, checked."""

    architecture: Architecture
    batch_first: bool
    dropout: float


def options(
    input_size: Any,
    hidden_size: Any,
    num_layers: Any,
    bias: Any,
    batch_first: Any,
    dropout: Any,
    bidirectional: Any,
    proj_size: Any,
) -> Options:
    """Check what ``torch.nn.LSTM`` takes.

    Raises
    ------
    TypeError, ValueError
        Of torch's type and in torch's words; also where torch takes, or trips over, what is of the wrong type.

    Warns
    -----
    UserWarning
        About dropout in a single layer, which does nothing.
    """
    rate = probability(dropout)
    if rate > 0 and num_layers == 1:
        warnings.warn(
            "dropout option adds dropout after all but last recurrent layer, so non-zero dropout expects "
            f"num_layers greater than 1, but got dropout={dropout} and num_layers={num_layers}",
            stacklevel=3,  # whoever makes the module
        )
    boolean("bias", bias)
    boolean("batch_first", batch_first)
    boolean("bidirectional", bidirectional)
    for name, value in (("input_size", input_size), ("hidden_size", hidden_size), ("num_layers", num_layers)):
        if integer(name, value) <= 0:
            raise ValueError(f"{name} must be greater than zero")
    if integer("proj_size", proj_size) < 0:
        raise ValueError("proj_size should be a positive integer or zero to disable projections")
    if proj_size >= hidden_size:
        raise ValueError("proj_size has to be smaller than hidden_size")
    sizes = Architecture(int(input_size), int(hidden_size), int(num_layers), bias, bidirectional, int(proj_size))
    return Options(sizes, batch_first, rate)


# --- calls --------------------------------------------------------------------------------------------------


Call = tuple[np.ndarray, np.ndarray | None, np.ndarray | None, bool]


def call(architecture: Architecture, dtype: np.dtype[Any], batch_first: bool, input: Any, hx: Any) -> Call:
    """Check the arguments of a call and convert what the kernels cannot read in place.

    Parameters
    ----------
    architecture, dtype, batch_first
        The module's.
    input : array
        (L, N, H_in), (N, L, H_in) with ``batch_first``, or (L, H_in).
    hx : pair of arrays, or None
        (h_0, c_0).

    Returns
    -------
    x : ndarray
        3-D, unit stride in the last axis; (L, 1, H_in) for a sequence without the batch axis.
    h_0, c_0 : ndarray
        3-D and C-order, or both None.
    batched : bool
        Whether the caller's arrays have the batch axis.

    Raises
    ------
    RuntimeError, ValueError
        As torch does, in its words, with NumPy's names.
    TypeError
        If the input or a state is no array.
    """
    x = array("input", input, dtype)
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
    h_0, c_0 = (None, None) if states is None else _readable_states(states, dtype)
    return readable_input(x, dtype), h_0, c_0, batched


def cell_call(architecture: Architecture, dtype: np.dtype[Any], input: Any, hx: Any) -> Call:
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
        As `call` returns them, for a sequence of one step.

    Raises
    ------
    RuntimeError, ValueError
        As torch does, in its words, or where these name nothing of the caller's, in those of `call`.
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
    x = array("input", input, dtype)
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
        h_0, c_0 = _readable_states((states[0][step], states[1][step]), dtype)
    return readable_input(x[step], dtype), h_0, c_0, batched


def packed_call(
    architecture: Architecture, dtype: np.dtype[Any], data: np.ndarray, rows: int, total: int, hx: Any
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Check a packed batch and its states, and convert what kernels cannot read in place.

    It has ``rows`` sequences and ``total`` steps in all.
    """
    if data.dtype.newbyteorder("=") != dtype or data.ndim != 2:
        match_dtype("RNN input", "input", data, dtype)
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
    return data, *batch_states(architecture, dtype, hx, rows)


def batch_states(
    architecture: Architecture, dtype: np.dtype[Any], hx: Any, rows: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the states (h, c) of ``rows`` rows, in C order."""
    states = _states(hx, dtype, True)
    _state_sizes(architecture, states, rows)
    return _readable_states(states, dtype)


def _state_sizes(architecture: Architecture, states: tuple[np.ndarray, np.ndarray], rows: int) -> None:
    """Raise if h_0 and c_0 do not have the shapes that ``rows`` rows need."""
    cells = architecture.num_layers * architecture.num_directions
    for index, size in enumerate((architecture.output_size, architecture.hidden_size)):
        if states[index].shape != (cells, rows, size):
            raise RuntimeError(
                f"Expected hidden[{index}] size {cells, rows, size}, got {list(states[index].shape)}"
            )


def _cell_states(hx: Any, dtype: np.dtype[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return a cell's h_0 and c_0 as arrays, of one axis or two each."""
    if not isinstance(hx, (tuple, list)):
        raise _no_pair(hx)
    states = [array(f"hx[{index}]", state, dtype) for index, state in enumerate(hx)]
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


def readable_input(x: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """Return an input, or a copy where kernels cannot read it in place."""
    if x.dtype is not dtype or not x.flags.aligned or (x.shape[-1] > 1 and x.strides[-1] != dtype.itemsize):
        return np.array(x, dtype, order="C")
    return x


def _readable_states(states: tuple[np.ndarray, np.ndarray], dtype: np.dtype[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return h_0 and c_0 in C order; raise if their dtype is not the module's."""
    for index, (name, state) in enumerate(zip(("h_0", "c_0"), states, strict=True)):
        match_dtype(f"hx[{index}]", name, state, dtype)
    h_0, c_0 = (np.require(state, dtype, ["C", "A"]) for state in states)
    return h_0, c_0


def ready(array: Any, dtype: np.dtype[Any]) -> bool:
    """Return whether kernels can read an array in place; False for some that they could."""
    if type(array) is not np.ndarray or array.dtype is not dtype:
        return False
    flags = array.flags
    return flags.c_contiguous and flags.aligned


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
        raise _no_pair(hx)
    if len(hx) != 2:
        raise ValueError(f"hx should be a tuple (h_0, c_0) of two arrays, got {len(hx)}")
    h_0, c_0 = array("hx[0]", hx[0], dtype), array("hx[1]", hx[1], dtype)
    expected = 3 if batched else 2
    if h_0.ndim != expected or c_0.ndim != expected:
        kind = "batched" if batched else "unbatched"
        raise RuntimeError(
            f"For {kind} {expected}-D input, hx and cx should also be {expected}-D "
            f"but got ({h_0.ndim}-D, {c_0.ndim}-D) tensors"
        )
    return (h_0, c_0) if batched else (h_0[:, None], c_0[:, None])


def _no_pair(hx: Any) -> TypeError:
    return TypeError(f"hx should be a tuple (h_0, c_0) of two arrays, got: {type(hx).__name__}")


def array(name: str, value: Any, dtype: np.dtype[Any]) -> np.ndarray:
    """Return an array, or raise TypeError for what is none: lists have no dtype to check."""
    if isinstance(value, np.ndarray) or (hasattr(value, "__array__") and not isinstance(value, type)):
        return as_array(value, name)
    advice = ""
    if hasattr(value, "batch_sizes"):
        advice = (
            f" of {type(value).__module__.partition('.')[0]}. LSTM takes numba_lstm.PackedSequence(*{name}), "
            "and numba_lstm.io.torch.accelerate has modules that take those of torch"
        )
    elif isinstance(value, (list, tuple)):
        advice = f". Convert it: np.asarray({name}, dtype=np.{dtype.name})"
    raise TypeError(f"{name} should be a NumPy array, got: {type(value).__name__}{advice}")


def match_dtype(subject: str, name: str, array: np.ndarray, dtype: np.dtype[Any]) -> None:
    """Raise torch's ValueError unless an array has the module's dtype, in either byte order."""
    if array.dtype == dtype or array.dtype.newbyteorder("=") == dtype:
        return
    given = array.dtype.name
    text = (
        f"{subject} dtype ({given}) does not match weight dtype ({dtype.name}). "
        f"Convert {name}: {name}.astype(np.{dtype.name})"
    )
    if array.dtype.newbyteorder("=") in DTYPES:
        text += f", or build the model with dtype=np.{given}"
    raise ValueError(text)
