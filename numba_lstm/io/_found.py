"""What `numba-lstm` asks of every file format: what is in a file, and something of it made ready to run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

State = tuple[np.ndarray, np.ndarray]


class Found(NamedTuple):
    """Something recurrent in a file."""

    name: str
    """The name by which it is loaded: a prefix, a node's name, a layer's."""
    kind: str
    """Its type, in the words of the format: ``"LSTM"``, ``"Bidirectional(LSTM)"``, ``"GRU"``."""
    sizes: Mapping[str, object]
    """Sizes and options, in the order in which they are shown."""
    parameters: Mapping[str, tuple[tuple[int, ...], str]]
    """Shape and dtype of its arrays, by their names in the file."""
    obstacle: str | None = None
    """None if it can be run; otherwise what stands in the way, and what to do instead."""
    left: Mapping[str, tuple[object, str]] = {}
    """Options that an `LSTM` of it has not: values, and what the caller does instead."""


class Runner(NamedTuple):
    """Something of a file, made ready to run."""

    dtype: np.dtype[Any]
    """The dtype of input, states and results."""
    run: Callable[[np.ndarray, State | None], dict[str, np.ndarray]]
    """From input and initial states to results by name, in the shapes of the format."""
    form: str | None = None
    """In which weights are kept, see `LSTM.form`; None: as the dtype says."""
