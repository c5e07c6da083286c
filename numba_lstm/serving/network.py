"""The network of a batcher with the states of all sessions, which one thread advances."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..contract.checks.arrays import as_array
from ..execution.entries import warmup
from ..lstm import LSTM
from .step import States, Step

CHUNK_STEPS = 16
"""Steps of a longer chunk that are taken before others get their turn again."""

Rowwise = Callable[[np.ndarray], np.ndarray]
"""A function of an (n, features) array that does the same for each of its rows."""


class ServedNetwork:
    """A stream with a row for each session, and what is done before and after its steps.

    Parameters
    ----------
    lstm : LSTM
        In eval mode, of one direction.
    rows : int
        How many there are.
    before, after : callable, optional
        What makes the LSTM's input, and something of its output.
    input_size, input_dtype : int, dtype
        Of what ``before`` takes; the LSTM's without it.
    """

    def __init__(
        self,
        lstm: LSTM,
        rows: int,
        before: Rowwise | None,
        after: Rowwise | None,
        input_size: int,
        input_dtype: np.dtype[Any],
    ) -> None:
        self._stream = lstm.stream(batch_size=rows)
        self._batch_first, self._form = lstm.batch_first, lstm.form
        self._before, self._after = before, after
        self.dtype = self._stream.dtype
        self.input_size, self.input_dtype = input_size, input_dtype
        hidden = np.zeros((1, lstm.proj_size or lstm.hidden_size), self.dtype)
        made = hidden if after is None else _applied("after", after, hidden)
        self.output_size, self.output_dtype = made.shape[1], made.dtype

    def prepare(self) -> None:
        """Compile what steps need, so that none waits for it."""
        warmup(self.dtype, weights=None if self._form == self.dtype.name else self._form)
        x = np.zeros((1, self.input_size), self.input_dtype)
        y = self._stream.step(self._prepared(x), rows=[0])
        self._finished(y)
        self._stream.reset([0])

    def state(self, row: int) -> States:
        """Return the states of one row."""
        return self._stream.get_state([row])

    def set_state(self, row: int, hx: States) -> None:
        """Replace the states of one row."""
        self._stream.set_state(hx, [row])

    def clear(self, row: int) -> None:
        """Set the states of one row to zero."""
        self._stream.reset([row])

    def take(self, steps: list[Step]) -> list[tuple[Step, Exception]]:
        """Take some steps, chunks only as far as they may come at a time; return those that failed, and why.

        Steps that are through have nothing left then; those that failed have not been taken.
        """
        states: States | None = None
        begun = [step.done for step in steps]
        try:
            if self._after is not None or max(step.left for step in steps) > 1:
                states = self._saved(steps)
            ends = [step.done + min(step.left, CHUNK_STEPS) for step in steps]
            going = list(zip(steps, ends, strict=True))
            while going:  # together as long as all go on, then those that still do
                self._advance([step for step, _ in going], min(end - step.done for step, end in going))
                going = [(step, end) for step, end in going if step.done < end]
        except Exception as raised:  # of the caller's own functions, or for want of memory
            error = raised
        else:
            return []
        failed = []
        for index, step in enumerate(steps):
            if step.left:
                if states is not None:
                    self.set_state(step.row, (states[0][:, index : index + 1], states[1][:, index : index + 1]))
                step.put_back(begun[index])
                failed.append(step)
        if len(failed) < 2 or isinstance(error, _NotRowwiseError):  # none, if it came after all were through
            for step in failed:
                self.drop(step)
            return [(step, error) for step in failed]
        # One of them is at fault, or there are too many: who is beside it should not feel it.
        half = len(failed) // 2
        return self.take(failed[:half]) + self.take(failed[half:])

    def drop(self, step: Step) -> None:
        """Have a step that may be partly taken not be taken."""
        if step.before is not None:
            self.set_state(step.row, step.before)

    def _saved(self, steps: list[Step]) -> States:
        """Return the states of these; those that begin a chunk of several turns keep their own."""
        h, c = self._stream.get_state([step.row for step in steps])
        for index, step in enumerate(steps):
            if not step.done and step.left > CHUNK_STEPS:
                step.before = h[:, index : index + 1].copy(), c[:, index : index + 1].copy()
        return h, c

    def _advance(self, steps: list[Step], count: int) -> None:
        """Take as many steps of each of these, in one launch."""
        rows = [step.row for step in steps]
        x = self._prepared(np.concatenate([step.inputs(count) for step in steps]))
        if count > 1:
            x = self._swapped(x.reshape(len(rows), count, -1))
        y = self._stream.step(x, rows=rows)
        if count > 1:
            y = self._swapped(y).reshape(len(rows) * count, -1)
        y = self._finished(y)
        for step, output in zip(steps, y.reshape(len(rows), count, -1), strict=True):
            step.take(output)

    def _prepared(self, x: np.ndarray) -> np.ndarray:
        """Return the LSTM's input."""
        return x if self._before is None else _applied("before", self._before, x)

    def _finished(self, y: np.ndarray) -> np.ndarray:
        """Return what callers get for an output of the LSTM."""
        if self._after is None:
            return y
        y = _applied("after", self._after, y)
        if (y.shape[1], y.dtype) != (self.output_size, self.output_dtype):
            first = f"{self.output_size} features of {self.output_dtype}"
            made = f"{y.shape[1]} of {y.dtype} for n = {len(y)}"
            raise _NotRowwiseError(f"after should make {first} as at first, got {made}")
        return y

    def _swapped(self, array: np.ndarray) -> np.ndarray:
        """Return (N, L, ...) as the stream has it, and the other way round."""
        return array if self._batch_first else array.transpose(1, 0, 2)


class _NotRowwiseError(ValueError):
    """A caller's function that does not do the same for each row, whichever they are."""


def _applied(name: str, function: Rowwise, rows: np.ndarray) -> np.ndarray:
    """Return what a caller's function makes of some rows, of which others would get a part if it were another shape."""
    n = len(rows)
    try:
        made: Any = function(rows)
    except StopIteration as error:  # which cannot be raised in tasks
        raise RuntimeError(f"{name} raised StopIteration") from error
    if isinstance(made, np.ndarray):
        made = as_array(made, f"what {name} makes")
    if not (isinstance(made, np.ndarray) and made.ndim == 2 and len(made) == n):
        shape = made.shape if isinstance(made, np.ndarray) else type(made).__name__
        raise _NotRowwiseError(f"{name} should make an (n, features) array of one of n rows, got {shape} for n = {n}")
    return made
