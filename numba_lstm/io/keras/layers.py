"""Layers that compute what those of Keras compute, at inference."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...contract.checks.arrays import as_array
from ...streaming.exclusive import Exclusive
from .._shapes import check_shape
from . import masks
from .config import Options
from .core import Core, State
from .weights import Weights


class _Side:
    """One direction of a layer, or both where one core can be both."""

    def __init__(self, core: Core, options: Options) -> None:
        self._core, self._options = core, options
        self.count = core.count

    def run(self, x: np.ndarray, mask: np.ndarray | None, state: State | None) -> tuple[np.ndarray, np.ndarray, State]:
        """Return outputs (N, L, features), or the last ones (N, features), and states (count, N, units)."""
        options = self._options
        if options.go_backwards:
            x, mask = x[:, ::-1], None if mask is None else mask[:, ::-1]
        if mask is None or mask.all():
            outputs, h, c = self._core(x, state)
            return outputs, np.concatenate(list(h), axis=-1), (h, c)
        outputs, h, c = masks.run(self._core, x, mask, state)
        last = np.concatenate(list(h), axis=-1)
        last[~mask.any(axis=1)] = 0  # before the first step outputs are zeros, whatever the state is
        if options.zero_output_for_mask:
            last[~mask[:, -1]] = 0
        elif options.return_sequences:
            masks.repeat(outputs, mask)
        return outputs, last, (h, c)


class Layer(Exclusive):
    """An LSTM or Bidirectional layer of a Keras model.

    Call it as in Keras, ``layer(x, mask=None, initial_state=None)``.  Many threads may do so at a time, unless it is
    stateful.

    Attributes
    ----------
    name : str
        In the model.
    kind : str
        ``"LSTM"``, ``"Bidirectional(LSTM)"``, and the like.
    input_size, units : int
        Features of the input, and of each direction's state.
    dtype : dtype
        Of weights, inputs and results: float32, or float64 if the weights are.
    return_sequences, return_state, stateful : bool
        As in the model.
    merge_mode : str or None
        Of a Bidirectional layer.
    """

    def __init__(self, name: str, kind: str, sides: list[tuple[Core, Options]], merge_mode: str | None) -> None:
        super().__init__()
        first, options = sides[0]
        self.name, self.kind, self.merge_mode = name, kind, merge_mode
        self.input_size, self.units, self.dtype = first.architecture.input_size, first.units, first.dtype
        self.return_sequences, self.return_state = options.return_sequences, options.return_state
        self.stateful = options.stateful
        self._sides = [_Side(core, options) for core, options in sides]
        self._units = [core.units for core, _ in sides for _ in range(core.count)]
        # Keras's backends differ here: where steps are unrolled, one repeats masked outputs instead of giving zeros,
        # one reverses the mask together with the input, and one fails.
        self._mask_is_ambiguous = any(side.unroll and side.zero_output_for_mask for _, side in sides)
        self._states: list[np.ndarray] | None = None

    def __call__(self, x: Any, mask: Any = None, initial_state: Any = None) -> Any:
        """Run the layer.

        Parameters
        ----------
        x : (N, L, F) array
            Sequences.
        mask : (N, L) array of bool, optional
            False where a step is to be skipped: the state stays, and the output is repeated, or zero with
            ``zero_output_for_mask``.
        initial_state : list of (N, units) arrays, optional
            h and c; of a Bidirectional layer h and c of the forward direction, then of the backward one.

        Returns
        -------
        array, or tuple of arrays
            The output, (N, L, features) with ``return_sequences`` and (N, features) without; two of them with
            ``merge_mode`` None.  With ``return_state`` the final states follow, in the order of ``initial_state``.

        Raises
        ------
        ValueError
            If a shape does not fit, or there is a mask for an unrolled layer that gives zeros where it is False.
        TypeError
            If these are not real numbers.
        RuntimeError
            If the layer is stateful and another thread is in it.
        """
        x = self._array("x", x, (None, None, self.input_size))
        if not x.shape[1]:
            raise ValueError("x has no steps")
        rows, steps = x.shape[:2]
        mask = None if mask is None else masks.checked(mask, rows, steps)
        if self._mask_is_ambiguous and mask is not None and not mask.all():
            raise ValueError(
                f"{self.name} has unroll=True and gives zeros where the mask is False, which the backends of Keras do "
                "in different ways: run it with Keras, or make the layer with unroll=False"
            )
        if not self.stateful:
            return self._run(x, mask, self._given(initial_state, rows))[0]
        with self._free_lock():
            states = self._given(initial_state, rows)
            kept = self._states
            if kept is not None and len(kept[0]) != rows:
                raise ValueError(
                    f"{self.name} is stateful and holds the states of {len(kept[0])} sequences, x has {rows}: "
                    "call reset_state() first"
                )
            result, self._states = self._run(x, mask, kept if states is None else states)
            return result

    def reset_state(self) -> None:
        """Forget the states that a stateful layer keeps from call to call."""
        with self._free_lock():
            self._states = None

    def _run(
        self, x: np.ndarray, mask: np.ndarray | None, states: list[np.ndarray] | None
    ) -> tuple[Any, list[np.ndarray]]:
        """Return the result, and the final states."""
        outputs, final, used = [], [], 0
        for side in self._sides:
            mine = None if states is None else states[used : used + 2 * side.count]
            used += 2 * side.count
            pair = None if mine is None else (np.stack(mine[::2]), np.stack(mine[1::2]))
            whole, last, (h, c) = side.run(x, mask, pair)
            output = whole if self.return_sequences else last
            final += [state for both in zip(h, c, strict=True) for state in both]
            outputs += np.split(output, side.count, axis=-1) if self.merge_mode != "concat" else [output]
        if self.return_sequences and len(self._sides) == 2:
            outputs[1] = outputs[1][:, ::-1]
        merged = self._merged(outputs)
        if self.return_state:
            return (*merged, *(state.copy() for state in final)), final
        return merged if len(merged) > 1 else merged[0], final

    def _merged(self, outputs: list[np.ndarray]) -> tuple[np.ndarray, ...]:
        if len(self._units) == 1 or self.merge_mode == "concat":
            return (outputs[0] if len(outputs) == 1 else np.concatenate(outputs, axis=-1),)
        if self.merge_mode is None:
            return tuple(np.ascontiguousarray(output) for output in outputs)
        with np.errstate(all="ignore"):
            forward, backward = outputs
            if self.merge_mode == "mul":
                return (forward * backward,)
            merged = forward + backward
            return (merged / 2 if self.merge_mode == "ave" else merged,)

    def _given(self, states: Any, rows: int) -> list[np.ndarray] | None:
        if states is None:
            return None
        if isinstance(states, np.ndarray) or not hasattr(states, "__len__") or len(states) != 2 * len(self._units):
            words = "h and c" if len(self._units) == 1 else "h and c of each direction"
            raise ValueError(f"initial_state should be a list of {2 * len(self._units)} arrays: {words}")
        sizes = [size for size in self._units for _ in range(2)]
        return [
            self._array(f"initial_state[{index}]", state, (rows, size))
            for index, (state, size) in enumerate(zip(states, sizes, strict=True))
        ]

    def _array(self, name: str, value: Any, shape: tuple[int | None, ...]) -> np.ndarray:
        """Return an array in the layer's dtype, as Keras casts what it is given."""
        array = as_array(value, name)
        if array.dtype.kind not in "biuf":
            raise TypeError(f"{name} should hold real numbers, got: {array.dtype}")
        check_shape(name, array, shape)
        with np.errstate(all="ignore"):
            return array.astype(self.dtype, copy=False)

    def __repr__(self) -> str:
        merge = f", merge_mode={self.merge_mode!r}" if len(self._units) == 2 else ""
        options = (name for name in ("return_sequences", "return_state", "stateful") if getattr(self, name))
        return ", ".join([f"<{self.kind} {self.name!r}: {self.input_size} -> {self.units}{merge}", *options]) + ">"


def make(name: str, kind: str, options: tuple[Options, ...], merge_mode: str | None, weights: list[Weights]) -> Layer:
    """Return the layer of some weights."""
    if joinable(options, weights):
        return Layer(name, kind, [(Core(weights, options[0]), options[0])], merge_mode)
    sides = [(Core([side], option), option) for side, option in zip(weights, options, strict=True)]
    return Layer(name, kind, sides, merge_mode)


def joinable(options: tuple[Options, ...], weights: list[Weights]) -> bool:
    """Return whether two directions are those of one bidirectional core."""
    if len(options) == 1:
        return False
    forward, backward = options
    one, other = weights
    return (
        forward == backward._replace(go_backwards=False)
        and forward.zero_output_for_mask == forward.return_sequences
        and [a.shape for a in (one.weight_ih, one.weight_hh)] == [a.shape for a in (other.weight_ih, other.weight_hh)]
        and (one.bias is None) == (other.bias is None)
    )
