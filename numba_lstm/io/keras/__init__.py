"""LSTM layers of Keras models, without Keras.

``.keras``, ``.weights.h5`` and ``.h5`` files of Keras 1 to 3 are read with a reader of our own, so that no package is
needed, nothing in a file is run, and a damaged file is an error.  What a layer computes at inference is what it
computes in Keras: dropout does not apply.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ... import public
from ...lstm import LSTM
from .._found import Found, Runner, State
from .._taken import Taken
from . import config as configs
from . import core, layers, weights
from .classes import Refusal
from .config import Entry
from .described import found_at
from .layers import Layer
from .places import Place, chosen_place, file_error, places_in

__all__ = ["Layer", "Layers", "describe", "load", "load_lstm", "runner"]

StrPath = str | os.PathLike[str]


class Layers(Taken[Layer]):
    """The layers of a file by name; asking for one that cannot be taken raises ValueError with the reason.

    Attributes
    ----------
    obstacles : dict of str to str
        What stands in the way of the others that are recurrent, by name.
    """


def load(path: StrPath, config: str | Mapping[str, Any] | None = None, keras_version: str | None = None) -> Layers:
    """Load the LSTM and Bidirectional layers of a Keras model.

    Parameters
    ----------
    path : path
        ``.keras``, ``.weights.h5`` or ``.h5``.  Nothing in it is executed.
    config : str or mapping, optional
        For files of weights, which do not say what layers do: what ``model.to_json()`` returns, as text or mapping;
        or a mapping from layers' names to options that differ from the defaults of the Keras that wrote the file, empty
        where none does.
    keras_version : str, optional
        For files that do not say which Keras wrote them.  What ``hard_sigmoid`` is depends on it, and that it was the
        ``recurrent_activation`` of layers that were given none, before Keras 2.3 and TensorFlow 2.

    Returns
    -------
    Layers
        A dict from names to `Layer` objects.  The name of a layer within another model or wrapper comes after that
        one's, as in ``"encoder/lstm"``.  Layers of one name have that of their place in the file, as in
        ``"layers/lstm_1"``.

    Raises
    ------
    OSError
        If the file cannot be opened.
    ValueError
        If it is damaged, no file of Keras, or has no layer that can be taken; the message begins with the path.
    TypeError
        If ``config`` is neither a text nor a mapping.
    MemoryError
        If there is no room for the weights twice: those of the file, and the layers'.

    Examples
    --------
    Given a model of a Bidirectional layer "both" of LSTM(3), with merge_mode "sum", and others:

    >>> import numpy as np
    >>> from numba_lstm.io.keras import load
    >>> layers = load("model.keras")
    >>> list(layers)
    ['lstm', 'both', 'last']
    >>> layers["both"](np.zeros((2, 6, 5), np.float32), mask=[[True] * 6, [True] * 4 + [False] * 2]).shape
    (2, 6, 3)
    >>> layers.obstacles["gru"]
    'GRU is not an LSTM layer: ...'
    """
    found = Layers(os.fspath(path))
    for place in places_in(Path(path), config, keras_version):
        name = place.entry.name
        if place.entry.obstacle is not None:
            found.obstacles[name] = place.entry.obstacle
            continue
        try:
            found[name] = _layer(place)
        except Refusal as refusal:
            found.obstacles[name] = f"{refusal}: {configs.INSTEAD}"
    found.complain_if_empty()
    return found


def load_lstm(
    path: StrPath,
    layer: str | None = None,
    config: str | Mapping[str, Any] | None = None,
    keras_version: str | None = None,
) -> LSTM:
    """Load a plain layer as an `LSTM`: with ``batch_first``, for inference.

    Parameters
    ----------
    path, config, keras_version
        As for `load`.
    layer : str, optional
        Its name; not needed if the file has one only.

    Returns
    -------
    LSTM
        Its output is that of the layer with ``return_sequences``; a Bidirectional layer's that of ``merge_mode``
        "concat".  What the layer returns without ``return_sequences`` is h_n, directions side by side.  Its states are
        (D, N, units) arrays; those that a stateful layer keeps are the caller's to keep.

    Raises
    ------
    OSError, ValueError, TypeError, MemoryError
        As `load` does; also if the layer does more than an `LSTM`, with the reason.

    Examples
    --------
    >>> from numba_lstm.io.keras import load_lstm
    >>> lstm = load_lstm("model.keras", "lstm")
    >>> lstm
    LSTM(4, 5, batch_first=True)
    >>> stream = lstm.stream()
    """
    place = chosen_place(Path(path), layer, config, keras_version)
    entry = place.entry
    try:
        obstacle = _beyond_lstm(entry)
        parameters = _parameters(place)
        if not obstacle and len(parameters) == 2 and not layers.joinable(entry.directions, parameters):
            obstacle = "its two directions differ"
    except Refusal as refusal:
        raise file_error(path, f"{entry.name} cannot be taken: {refusal}: {configs.INSTEAD}") from None
    if obstacle:
        raise file_error(path, f"{entry.name} is no plain LSTM: {obstacle}; keras.load gives a layer that does it")
    return core.lstm_of(parameters)


def describe(path: Path, config: str | None = None, keras_version: str | None = None) -> list[Found]:
    """Return what is recurrent in a file."""
    return [found_at(place) for place in places_in(path, config, keras_version)]


def runner(
    path: Path, name: str, dtype: Any = None, config: str | None = None, keras_version: str | None = None
) -> Runner:
    """Return a layer made ready to run; ``dtype`` is the one to compute in."""
    place = chosen_place(path, name, config, keras_version)
    try:
        layer = _layer(place, dtype)
    except Refusal as refusal:
        raise file_error(path, f"{name} cannot be taken: {refusal}: {configs.INSTEAD}") from None

    def run(x: np.ndarray, state: State | None) -> dict[str, np.ndarray]:
        # States come as torch has them, (D, N, units).
        initial = None if state is None else [part for pair in zip(*state, strict=True) for part in pair]
        layer.reset_state()  # Each input is a call of its own, also where the layer is stateful.
        result = layer(x, initial_state=initial)
        parts = result if isinstance(result, tuple) else (result,)
        return dict(zip(_result_names(layer), parts, strict=True))

    return Runner(layer.dtype, run)


def _parameters(place: Place) -> list[weights.Weights]:
    sides = zip(place.arrays, place.entry.directions, strict=True)
    return [weights.read(arrays, options.units, options.use_bias) for arrays, options in sides]


def _layer(place: Place, dtype: Any = None) -> Layer:
    entry = place.entry
    parameters = _parameters(place)
    if dtype is not None:
        parameters = [side.astype(dtype) for side in parameters]
    return layers.make(entry.name, entry.kind, entry.directions, entry.merge_mode, parameters)


def _beyond_lstm(entry: Entry) -> str | None:
    """Return what a layer does that an LSTM does not."""
    first = entry.directions[0]
    if not all(options.plain for options in entry.directions):
        return "its activations are not tanh and sigmoid"
    if first.go_backwards:
        return "it runs from the end to the start, and its output is in that order"
    if len(entry.directions) == 2 and entry.merge_mode != "concat":
        return f"its merge_mode is {entry.merge_mode!r}"
    return None


def _result_names(layer: Layer) -> list[str]:
    both = layer.kind.startswith("Bidirectional")
    names = ["output_forward", "output_backward"] if both and layer.merge_mode is None else ["output"]
    if layer.return_state:
        sides = ("forward_", "backward_") if both else ("",)
        names += [f"state_{side}{letter}" for side in sides for letter in "hc"]
    return names


public.publish(globals())
