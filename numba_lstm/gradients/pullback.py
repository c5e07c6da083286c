"""What `vjp` returns beside the result: a function from gradients of outputs to those of all that went in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, NoReturn, TypeVar

import numpy as np

from ..contract.checks.arrays import given_array, match_dtype
from ..contract.packed_sequence import PackedSequence
from ..contract.weight_form import in_layer
from ..execution.gradients.backward import C_0, H_0, INPUT, Found, backward
from ..execution.gradients.forward import Kept
from ..execution.output_panels import pack_outputs
from .layouts import Layout

Self = TypeVar("Self")


class Gradients(NamedTuple):
    """Gradients of one number, such as a loss, with respect to all that a call was given.

    What was not wanted is None, or no key of the dict.

    Attributes
    ----------
    input : array of the shape of the input
        Zero in padding.  For a `PackedSequence` it is one.
    h_0, c_0 : arrays of the shapes of the first states
        Also where none were given.
    parameters : dict of str to array
        By torch's names, in the order of `LSTM.state_dict`.
    """

    input: Any
    h_0: np.ndarray | None
    c_0: np.ndarray | None
    parameters: dict[str, np.ndarray]


class _Immutable:
    """What copies need not double, and what cannot leave its process: the kept memory is laid out for its kernels."""

    def __copy__(self: Self) -> Self:
        return self

    def __deepcopy__(self: Self, memo: Any) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} cannot be pickled: send what it returns, or call vjp where gradients are wanted"
        )


class Backward(_Immutable):
    """The backward pass of one call, see `LSTM.vjp`; immutable, and good for any number of calls."""

    def __init__(
        self,
        kept: Kept,
        layout: Layout,
        parameters: Mapping[str, np.ndarray],
        shapes: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]],
    ) -> None:
        self._kept = kept
        self._layout = layout
        self._parameters = parameters
        self._shapes = shapes

    @property
    def nbytes(self) -> int:
        """Bytes that are kept for it, beside those of the input and the output."""
        return self._kept.nbytes

    def __call__(self, d_output: Any, d_states: Any = None, *, wrt: Iterable[str] | None = None) -> Gradients:
        """Return gradients.

        Parameters
        ----------
        d_output : array of the output's shape, or None for zeros
            The gradient of the number in question with respect to the output.  For a packed output a `PackedSequence`
            of the same batch, or its data.
        d_states : (d_h_n, d_c_n), optional
            The same for the last states; either may be None.
        wrt : iterable of str, optional
            What gradients are wanted for: "input", "h_0", "c_0" and names of parameters.  All by default.  What is not
            wanted is None, or no key of the dict, and is not computed where it can be left out.

        Returns
        -------
        Gradients
            Fresh C-order arrays of the module's dtype.

        Raises
        ------
        RuntimeError
            If a shape is another than that of the output or of the states.
        ValueError
            If a dtype is not the module's, a packed gradient is of another batch, or nothing of a name in wrt went in.
        TypeError
            If something is no array.
        """
        wanted, layout, dtype = _wanted(wrt, self._parameters), self._layout, self._kept.network.dtype
        d_output = layout.plain(d_output)
        names = ("output", "h_n", "c_n")
        given = [
            None if value is None else _fitting(name, value, shape, dtype)
            for name, value, shape in zip(names, (d_output, *_pair(d_states)), self._shapes, strict=True)
        ]
        d_output = None if given[0] is None else layout.take(given[0])
        d_h_n, d_c_n = (None if state is None else layout.take_state(state) for state in given[1:])
        found = _found(self._kept, self._parameters, d_output, d_h_n, d_c_n, wanted)
        return Gradients(
            None if found.input is None else layout.give(found.input),
            layout.give_state(found.h_0) if H_0 in wanted else None,
            layout.give_state(found.c_0) if C_0 in wanted else None,
            found.parameters,
        )


class CellBackward(_Immutable):
    """The backward pass of one step, see `LSTMCell.vjp`; immutable, and good for any number of calls."""

    def __init__(self, kept: Kept, shape: tuple[int, ...], parameters: Mapping[str, np.ndarray]) -> None:
        self._kept = kept
        self._shape = shape
        self._parameters = parameters

    @property
    def nbytes(self) -> int:
        """Bytes that are kept for it, beside those of the input."""
        return self._kept.nbytes

    def __call__(self, d_h_1: Any, d_c_1: Any = None, *, wrt: Iterable[str] | None = None) -> Gradients:
        """Return gradients.

        Parameters
        ----------
        d_h_1, d_c_1 : arrays of the states' shape, or None for zeros
            The gradient of the number in question with respect to h_1 and c_1.
        wrt : iterable of str, optional
            What gradients are wanted for: "input", "h_0", "c_0" and names of parameters.  All by default.

        Returns
        -------
        Gradients
            Fresh C-order arrays of the cell's dtype.

        Raises
        ------
        RuntimeError, ValueError, TypeError
            As `Backward`.
        """
        wanted, dtype = _wanted(wrt, self._parameters), self._kept.network.dtype
        d_h_n, d_c_n = (
            None if value is None else _fitting(name, value, self._shape, dtype).reshape(1, -1, self._shape[-1])
            for name, value in (("h_1", d_h_1), ("c_1", d_c_1))
        )
        in_layers = {in_layer(name): array for name, array in self._parameters.items()}
        inner = wanted & {INPUT, H_0, C_0} | {in_layer(name) for name in wanted & self._parameters.keys()}
        found = _found(self._kept, in_layers, None, d_h_n, d_c_n, inner)
        rows = self._shape[:-1]
        return Gradients(
            None if found.input is None else found.input.reshape(*rows, found.input.shape[2]),
            found.h_0.reshape(self._shape) if H_0 in wanted else None,
            found.c_0.reshape(self._shape) if C_0 in wanted else None,
            {name: found.parameters[in_layer(name)] for name in self._parameters if name in wanted},
        )


def _found(
    kept: Kept,
    parameters: Mapping[str, np.ndarray],
    d_output: np.ndarray | None,
    d_h_n: np.ndarray | None,
    d_c_n: np.ndarray | None,
    wanted: frozenset[str],
) -> Found:
    """Go back through what was kept; the weights are packed for it when that is first done with them."""
    network = kept.network
    if network.outputs is None:
        network.outputs = pack_outputs(network.architecture, parameters, network.dtype)
    return backward(kept, network.outputs, d_output, d_h_n, d_c_n, wanted)


def _wanted(wrt: Iterable[str] | None, parameters: Mapping[str, np.ndarray]) -> frozenset[str]:
    known = [INPUT, H_0, C_0, *parameters]
    if wrt is None:
        return frozenset(known)
    if isinstance(wrt, (str, bytes)) or not isinstance(wrt, Iterable):
        example = wrt if isinstance(wrt, str) else INPUT
        raise TypeError(f"wrt should be a collection of names, such as [{example!r}], got: {wrt!r}")
    names = tuple(wrt)  # once: an iterator has nothing left the second time
    for name in names:
        if not (isinstance(name, str) and name in known):
            raise ValueError(f"wrt has {name!r}, and gradients are with respect to {', '.join(known)}")
    return frozenset(names)


def _pair(states: Any) -> tuple[Any, Any]:
    if states is None:
        return None, None
    if not isinstance(states, (tuple, list)):
        raise TypeError(f"d_states should be a tuple (d_h_n, d_c_n) of two arrays, got: {type(states).__name__}")
    if len(states) != 2:
        raise ValueError(f"d_states should be a tuple (d_h_n, d_c_n) of two arrays, got {len(states)}")
    return states[0], states[1]


def _fitting(of: str, value: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """Return the gradient of something, as an array of the dtype in native order."""
    name = f"d_{of}"
    if type(value) in (tuple, list) and len(value) == 2:
        call = "backward(d_h_1, d_c_1)" if of.endswith("_1") else "backward(d_output, (d_h_n, d_c_n))"
        raise TypeError(f"{name} should be a NumPy array, got: {type(value).__name__} of two. The call is {call}")
    if isinstance(value, PackedSequence):
        raise TypeError(f"{name} should be a NumPy array, as {of} is, got: PackedSequence")
    array = given_array(name, value, dtype)
    match_dtype(name, name, array, dtype)
    if array.shape != shape:
        raise RuntimeError(f"Mismatch in shape: {name} has a shape of {array.shape} and {of} has a shape of {shape}.")
    return array.astype(dtype, copy=False)
