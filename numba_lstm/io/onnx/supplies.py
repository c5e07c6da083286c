"""States and lengths of sequences of a node: from the file, whatever the batch, or from the caller."""

from __future__ import annotations

from typing import Any

import numpy as np

from .attributes import Attributes, Refusal
from .constants.deferred import Deferred, Value, at, everywhere
from .constants.operations import Budget, Tries
from .constants.sizes import Size, Sizes, Unbound
from .constants.tensors import NotConstant, name_of, wide
from .constants.values import Values

NAMES = ("sequence_lens", "initial_h", "initial_c")
"""Inputs of the operator that a model may fix, compute, or be given."""

_PROBE = (3, 2)
"""Steps and rows with which to try, where the model leaves them open."""

_SPARE = 2**16
"""Bytes that a call may take for tensors made from sizes, beside some times what its states take."""

_TIMES = 32
"""All layers of a network often have their states in one tensor."""

_MOST = 2**25
"""Bytes that may be taken for them to try a node when it is loaded, whatever sizes the model declares."""


class Supply:
    """What a node reads as one of its states, or as lengths.

    Parameters
    ----------
    name : {"sequence_lens", "initial_h", "initial_c"}
    attributes : Attributes
        Of the node.
    hidden_size : int
    dtype : dtype
        Of the weights in the file, which states have to have as well.
    """

    def __init__(self, name: str, attributes: Attributes, hidden_size: int, dtype: np.dtype[Any]) -> None:
        self.name, self._attributes, self._hidden_size = name, attributes, hidden_size
        self.dtype = np.dtype(np.int32) if name == "sequence_lens" else dtype
        self.tensor = ""
        self.value: Value | None = None
        """None where the node leaves it out, which means zeros or the full length, or only the caller can give it."""
        self.needed: str | None = None
        """Why only the caller can give it."""
        self.passed = False
        """If so: whether it is an input of the model."""
        self.X: Sizes = ()
        """Of the node's X, as far as the model tells."""

    def find(self, tensor: str, X: str, values: Values) -> Supply:
        """Look a tensor up; raise Refusal if it is not what the operator takes."""
        self.tensor, self.X = tensor, values.shape_of_rank(X, 3)
        try:
            self.value = values.value(tensor)
        except NotConstant as reason:
            self.needed, self.passed = str(reason), values.passes_an_input(tensor)
            return self
        try:
            probe = self.at(self._probe(), values.graph.model.tries)
        except NotConstant:  # for other sizes it may be right
            return self
        obstacle = self._misfit(probe, None)
        if obstacle is None and self.name == "sequence_lens" and probe.size and probe.min() < 0:
            obstacle = f"is {probe.min()} for a sequence"
        if obstacle is not None:
            raise Refusal(f"its {self.name} {obstacle}")
        return self

    def _probe(self) -> tuple[int, int, int]:
        steps, rows, _ = sizes = [size.declared if isinstance(size, Size) else size for size in self.X]
        first, second = _PROBE[::-1] if self._attributes.layout else _PROBE
        return steps or first, rows or second, sizes[2] or 1

    def read(self, X: tuple[int, ...]) -> np.ndarray | None:
        """Return it for an X of some shape; raise ValueError if the caller has to give it, or it does not fit."""
        if self.needed is not None:
            raise ValueError(f"{self.name} has to be given: {self.needed}")
        if self.value is None:
            return None
        try:
            found = self.at(X)
        except NotConstant as reason:
            raise ValueError(f"{self.name} has to be given: {reason}") from reason
        obstacle = self._misfit(found, self._rows(X))
        if obstacle is not None:
            raise ValueError(f"{self.name} has to be given: that of the file {obstacle}")
        return wide(found)

    def at(self, X: tuple[int, ...], tries: Tries | None = None) -> np.ndarray:
        """Return the tensor for an X of some shape; raise NotConstant if that is not enough to know it."""
        assert self.value is not None
        if isinstance(self.value, np.ndarray) and self.value.dtype != object:
            return self.value
        known: dict[Size, int] = {}
        for size, length in zip(self.X, X, strict=True):
            if isinstance(size, Size) and known.setdefault(size, length) != length:
                raise NotConstant(f"X of shape {X} does not fit the model")
        rows = self._rows(X)
        # There is an X of this shape where a node is called; where one is loaded, a file has declared it.
        most = None if tries is None else _MOST
        steps = X[0] * X[1]
        try:
            return at(self.value, known, self._budget(rows, steps, most), tries)
        except Unbound as missing:
            if len(missing.sizes) != 1:
                raise
            (size,) = missing.sizes
        # The one size that is not known is the number of rows if the tensor has as many: the operator takes no other.
        for count in (rows + 1, rows):
            found = at(self.value, known | {size: count}, self._budget(count, steps, most), tries)
            if found.ndim <= self._row_axis() or found.shape[self._row_axis()] != count:
                raise Unbound([size])
        return found

    def _budget(self, rows: int, steps: int, most: int | None) -> Budget:
        numbers = rows * self._attributes.directions * self._hidden_size + steps
        limit = _SPARE + _TIMES * 8 * numbers
        return Budget(limit if most is None else min(limit, most))

    def _rows(self, X: tuple[int, ...]) -> int:
        return X[0] if self._attributes.layout else X[1]

    def _row_axis(self) -> int:
        return 0 if self.name == "sequence_lens" or self._attributes.layout else 1

    def _misfit(self, found: np.ndarray, rows: int | None) -> str | None:
        """Return what keeps a tensor from being this input, of so many rows or any."""
        wanted: list[int] = [] if self.name == "sequence_lens" else [self._attributes.directions, self._hidden_size]
        axis = self._row_axis()
        there = list(found.shape)
        wanted.insert(axis, there[axis] if rows is None and len(there) > axis else rows or 0)
        if there != wanted:
            sizes = [str(size) for size in wanted]
            if rows is None:
                sizes[axis] = "batch"
            return f"has shape {found.shape}, not ({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"
        return None if found.dtype == self.dtype else f"holds {name_of(found.dtype)}, not {name_of(self.dtype)}"

    # --- for whatever the sizes -------------------------------------------------------------------------------

    def beyond_lstm(self, tries: Tries) -> str | None:
        """Return what an `LSTM`, whose states are zeros and lengths full unless they are given, has no place for."""
        if self.needed is not None:
            some = self.name if self.name == "sequence_lens" else f"an {self.name}"
            return None if self.passed else f"has {some} that the model computes ({self.needed})"
        if self.value is None:
            return None
        try:
            whole = everywhere(self.value, Budget(_SPARE + _TIMES * 8 * (self._size() + 1)), tries)
        except NotConstant as reason:
            return f"has {self.name} that cannot be told: {reason}"
        if self.name == "sequence_lens":
            steps = self.X[1 if self._attributes.layout else 0]
            return None if isinstance(whole, Size) and whole == steps else "has fixed lengths of sequences"
        if isinstance(whole, Size) or whole is None or wide(np.asarray(whole)):
            return f"has an {self.name} of its own"
        try:
            self.at(self._probe(), tries)
        except NotConstant as reason:
            return f"has an {self.name} that cannot be told: {reason}"
        return None

    @property
    def given_as(self) -> str | None:
        """The tensor as which the model is given it; None if the file has it, or the node leaves it out."""
        return self.tensor if self.needed is not None else None

    def _size(self) -> int:
        return self.value.size if isinstance(self.value, np.ndarray) else 0

    def described(self) -> str | None:
        """Return where it comes from, for a reader; None if it is left out."""
        if self.needed is not None:
            return f"to be given: {self.needed}"
        if self.value is None:
            return None
        if isinstance(self.value, Deferred) or self.value.dtype == object:
            return "from the file, for any batch"
        return f"from the file, {self.value.shape}"
