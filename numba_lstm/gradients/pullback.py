"""What `vjp` returns beside the result: a function from gradients of outputs to those of all that went in."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..contract.checks.arrays import given_array, match_dtype
from ..contract.packed_sequence import PackedSequence
from ..execution.gradients.backward import C_0, H_0, INPUT, backward
from ..execution.gradients.forward import Kept
from ..execution.output_panels import pack_outputs
from .layouts import Layout


class Gradients(NamedTuple):
    """Gradients of one number, such as a loss, with respect to all that a call was given."""

    input: Any
    """Of the input: an array of its shape, zero in padding; a `PackedSequence` for one."""
    h_0: np.ndarray | None
    """Of the first states, also where none were given."""
    c_0: np.ndarray | None
    parameters: dict[str, np.ndarray]
    """By torch's names, in the order of `LSTM.state_dict`."""


class Backward:
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

    def __call__(self, d_output: Any, d_states: Any = None, *, wrt: Collection[str] | None = None) -> Gradients:
        """Return gradients.

        Parameters
        ----------
        d_output : array of the output's shape, or None for zeros
            The gradient of the number in question with respect to the output.  For a packed output a `PackedSequence`
            of the same batch, or its data.
        d_states : (d_h_n, d_c_n), optional
            The same for the last states; either may be None.
        wrt : collection of str, optional
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
            If a dtype is not the module's, or something of that name is not there.
        TypeError
            If something is no array.
        """
        wanted = self._wanted(wrt)
        layout, kept = self._layout, self._kept
        given = None if d_output is None else layout.take(self._output(d_output))
        d_h_n, d_c_n = self._states(d_states)
        network = kept.network
        if network.outputs is None:
            network.outputs = pack_outputs(network.architecture, self._parameters, network.dtype)
        found = backward(kept, network.outputs, given, d_h_n, d_c_n, wanted)
        return Gradients(
            None if found.input is None else layout.give(found.input),
            layout.give_state(found.h_0) if H_0 in wanted else None,
            layout.give_state(found.c_0) if C_0 in wanted else None,
            found.parameters,
        )

    def _wanted(self, wrt: Collection[str] | None) -> frozenset[str]:
        known = [INPUT, H_0, C_0, *self._parameters]
        if wrt is None:
            return frozenset(known)
        if isinstance(wrt, str):
            raise TypeError(f"wrt should be a collection of names, such as [{wrt!r}], got: {wrt!r}")
        for name in wrt:
            if name not in known:
                raise ValueError(f"wrt has {name!r}, and gradients are with respect to {', '.join(known)}")
        return frozenset(wrt)

    def _output(self, value: Any) -> np.ndarray:
        if isinstance(value, PackedSequence):
            value = value.data
        return self._fitting("d_output", "output", value, self._shapes[0])

    def _states(self, pair: Any) -> list[np.ndarray | None]:
        if pair is None:
            return [None, None]
        if not isinstance(pair, (tuple, list)):
            raise TypeError(f"d_states should be a tuple (d_h_n, d_c_n) of two arrays, got: {type(pair).__name__}")
        if len(pair) != 2:
            raise ValueError(f"d_states should be a tuple (d_h_n, d_c_n) of two arrays, got {len(pair)}")
        return [
            None if value is None else self._layout.take_state(self._fitting(f"d_{name}", name, value, shape))
            for name, value, shape in zip(("h_n", "c_n"), pair, self._shapes[1:], strict=True)
        ]

    def _fitting(self, name: str, of: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
        dtype = self._kept.network.dtype
        array = given_array(name, value, dtype)
        match_dtype(name, name, array, dtype)
        if array.shape != shape:
            raise RuntimeError(
                f"Mismatch in shape: {name} has a shape of {array.shape} and {of} has a shape of {shape}."
            )
        return array.astype(dtype, copy=False)
