"""LSTM layers of Keras models, without Keras.

``.keras``, ``.weights.h5`` and ``.h5`` files of Keras 1 to 3 are read with a reader of our own, so that no package is
needed, nothing in a file is run, and a damaged file is an error.  What a layer computes at inference is what it
computes in Keras: dropout does not apply.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ... import public
from ...formats.printable import printable
from ...lstm import LSTM
from .._found import Found, Runner, State
from .._taken import Taken, listed
from . import config as configs
from . import core, file, layers, weights
from .config import Entry, Refusal
from .layers import Layer

__all__ = ["Layer", "Layers", "describe", "load", "load_lstm", "runner"]

_WEIGHTS_ONLY = (
    "the file does not say what its layers do: give config= (numba-lstm: --config and a file of JSON), what "
    "model.to_json() returns, or a mapping from layers' names to options that differ from Keras's defaults, such as "
    '{"lstm": {"activation": "relu"}}'
)
_OPTIONS = {
    "units", "activation", "recurrent_activation", "return_sequences", "return_state", "go_backwards", "stateful",
    "zero_output_for_mask", "merge_mode", "use_bias", "unit_forget_bias", "inner_activation",
}  # fmt: skip

StrPath = str | os.PathLike[str]
Named = TypeVar("Named", Entry, weights.Stored)


class Layers(Taken[Layer]):
    """The layers of a file by name; asking for one that cannot be taken raises ValueError with the reason.

    Attributes
    ----------
    obstacles : dict of str to str
        What stands in the way of the others that are recurrent, by name.
    """


class _Place(NamedTuple):
    """A recurrent layer of a file."""

    entry: Entry
    arrays: list[weights.Arrays]


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
    MemoryError
        If there is no room for the weights twice: those of the file, and the layers'.

    Examples
    --------
    Given a model of a Bidirectional layer "both" of LSTM(3), with merge_mode "sum", and others:

    >>> layers = load("model.keras")
    >>> list(layers)
    ['lstm', 'both', 'last']
    >>> layers["both"](np.zeros((2, 6, 5), np.float32), mask=[[True] * 6, [True] * 4 + [False] * 2]).shape
    (2, 6, 3)
    >>> layers.obstacles["gru"]
    'GRU is not an LSTM layer: ...'
    """
    found = Layers(os.fspath(path))
    for place in _places(Path(path), config, keras_version):
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
    OSError, ValueError, MemoryError
        As `load` does; also if the layer does more than an `LSTM`, with the reason.

    Examples
    --------
    >>> lstm = load_lstm("model.keras", "lstm")
    >>> lstm
    LSTM(4, 5, batch_first=True)
    >>> stream = lstm.stream()
    """
    place = _chosen(Path(path), layer, config, keras_version)
    entry = place.entry
    try:
        obstacle = _beyond_lstm(entry)
        parameters = _parameters(place)
        if not obstacle and len(parameters) == 2 and not layers.joinable(entry.directions, parameters):
            obstacle = "its two directions differ"
    except Refusal as refusal:
        raise _error(path, f"{entry.name} cannot be taken: {refusal}: {configs.INSTEAD}") from None
    if obstacle:
        raise _error(path, f"{entry.name} is no plain LSTM: {obstacle}; keras.load gives a layer that does it")
    return core.lstm_of(parameters)


def describe(path: Path, config: str | None = None, keras_version: str | None = None) -> list[Found]:
    """Return what is recurrent in a file."""
    return [_found(place) for place in _places(path, config, keras_version)]


def runner(
    path: Path, name: str, dtype: Any = None, config: str | None = None, keras_version: str | None = None
) -> Runner:
    """Return a layer made ready to run; ``dtype`` is the one to compute in."""
    place = _chosen(path, name, config, keras_version)
    try:
        layer = _layer(place, dtype)
    except Refusal as refusal:
        raise _error(path, f"{name} cannot be taken: {refusal}: {configs.INSTEAD}") from None

    def run(x: np.ndarray, state: State | None) -> dict[str, np.ndarray]:
        # States come as torch has them, (D, N, units).
        initial = None if state is None else [part for pair in zip(*state, strict=True) for part in pair]
        result = layer(x, initial_state=initial)
        parts = result if isinstance(result, tuple) else (result,)
        return dict(zip(_result_names(layer), parts, strict=True))

    return Runner(layer.dtype, run)


# --- what is in a file ------------------------------------------------------------------------------------


def _places(path: Path, config: str | Mapping[str, Any] | None, version: str | None) -> list[_Place]:
    """Return the recurrent layers of a file, with their arrays where these were found."""
    saved = file.read(path)
    try:
        given = None if config is None else _given(config)
        version = version or saved.version
        model = given if given is not None and _is_model(given) else saved.config if given is None else None
        if model is not None:
            found = configs.entries(model, version or _version_of(model))
            if found:
                return _own([_with_arrays(saved, entry) for entry in _told_apart(found, saved.by_name)], saved.size)
        stored = _told_apart(weights.discover(saved.root, saved.by_name), saved.by_name)
        if given is None or model is not None:
            return _own([_unknown(one) for one in stored], saved.size)
        return _optional(stored, given, version)
    except MemoryError:
        raise
    except Exception as error:  # parsers raise whatever the bytes of a damaged file happen to mean
        raise _error(path, str(error)) from error


def _error(path: StrPath, text: str) -> ValueError:
    """Return an error about a file, whose names in the text steer no terminal."""
    return ValueError(f"{path}: {printable(text)}")


def _told_apart(found: list[Named], by_name: bool) -> list[Named]:
    """Return layers of which those that have one name are called by their places, where arrays do not lie by name."""
    names = Counter("/".join(each.names) for each in found)
    twice = {name for name, count in names.items() if count > 1}
    if twice and not by_name:
        found = [each._replace(names=(each.group,)) if "/".join(each.names) in twice else each for each in found]
        twice = twice if len({each.names for each in found}) < len(found) else set()
    if twice:
        raise ValueError(f"it has several layers of one name, which cannot be told apart: {listed(sorted(twice))}")
    return found


def _own(places: list[_Place], size: int) -> list[_Place]:
    """Return layers whose arrays are together no larger than the file: one array for a thousand layers is a trap."""
    total = sum(node.array().nbytes for place in places for side in place.arrays for node in side.nodes.values())
    if total > size:
        raise ValueError(f"its layers share their arrays, {total:,} bytes together")
    return places


def _given(config: str | Mapping[str, Any]) -> Mapping[str, Any]:
    return file.parse(config) if isinstance(config, str) else config


def _is_model(config: Mapping[str, Any]) -> bool:
    return isinstance(config.get("class_name"), str) and "config" in config


def _version_of(model: Mapping[str, Any]) -> str | None:
    """Return the version of Keras that a description shows: 3 names modules, 2 its number."""
    version = model.get("keras_version")
    return version if isinstance(version, str) else "3" if "module" in model else None


def _with_arrays(saved: file.Saved, entry: Entry) -> _Place:
    if entry.obstacle is not None:
        return _Place(entry, [])
    try:
        return _Place(entry, weights.locate(saved.root, saved.by_name, entry))
    except Refusal as refusal:
        return _Place(entry._replace(obstacle=f"{refusal}; is this the configuration of this file?"), [])


def _unknown(stored: weights.Stored) -> _Place:
    """Return a layer of which only the weights are known."""
    kind = "Bidirectional(LSTM)" if len(stored.arrays) == 2 else "LSTM"
    return _Place(Entry(stored.names, kind, stored.group, obstacle=_WEIGHTS_ONLY), stored.arrays)


def _optional(stored: list[weights.Stored], given: Mapping[str, Any], version: str | None) -> list[_Place]:
    """Return the layers that are named with their options."""
    by_name = {"/".join(one.names): one for one in stored}
    places = []
    for name, extra in given.items():
        if name not in by_name:
            raise ValueError(f"no weights of an LSTM under {name!r}; found: {listed(list(by_name))}")
        if not isinstance(extra, Mapping) or not extra.keys() <= _OPTIONS:
            raise ValueError(f"options of {name} should be some of {', '.join(sorted(_OPTIONS))}; got: {extra}")
        place = _unknown(by_name[name])
        layer: dict[str, Any] = {"class_name": "LSTM", "config": dict(extra)}
        if not extra.keys() & {"recurrent_activation", "inner_activation"}:
            cudnn = any(side.of_cudnn for side in place.arrays)  # CuDNNLSTM has no other
            default = "sigmoid" if cudnn else configs.default_recurrent_activation(version)
            layer["config"] |= {"recurrent_activation": default}
        directions: tuple[configs.Options, ...] = (configs.options(layer, version),)
        merge_mode = None
        if len(place.arrays) == 2:
            merge_mode = extra.get("merge_mode", "concat")
            backward = directions[0]._replace(go_backwards=not directions[0].go_backwards)
            directions, merge_mode = configs.bidirectional(directions[0], backward, merge_mode, version)
        entry = place.entry._replace(directions=directions, merge_mode=merge_mode, obstacle=None)
        places.append(_Place(entry, place.arrays))
    return places


def _chosen(path: Path, name: str | None, config: str | Mapping[str, Any] | None, version: str | None) -> _Place:
    """Return the layer of a name, or the only one; raise ValueError if it cannot be taken."""
    places = _places(path, config, version)
    names = [place.entry.name for place in places]
    chosen = [place for place in places if name in (None, place.entry.name)]
    if len(chosen) != 1:
        what = "which layer?" if name is None else f"no recurrent layer {name!r};"
        raise _error(path, f"{what} found: {listed(names)}")
    if chosen[0].entry.obstacle is not None:
        raise _error(path, f"{names[0] if name is None else name} cannot be taken: {chosen[0].entry.obstacle}")
    return chosen[0]


def _parameters(place: _Place) -> list[weights.Weights]:
    sides = zip(place.arrays, place.entry.directions, strict=True)
    return [weights.read(arrays, options.units) for arrays, options in sides]


def _layer(place: _Place, dtype: Any = None) -> Layer:
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


def _found(place: _Place) -> Found:
    entry = place.entry
    sizes: dict[str, object] = {}
    shapes: dict[str, tuple[tuple[int, ...], str]] = {}
    obstacle = entry.obstacle
    try:
        for side in place.arrays:
            shapes.update(side.described())
        if place.arrays:
            first = weights.read(place.arrays[0], entry.directions[0].units if entry.directions else None)
            sizes |= {"input_size": first.input_size, "units": first.units}
        if entry.directions:
            options = entry.directions[0]
            if len(entry.directions) == 2:
                sizes["merge_mode"] = entry.merge_mode
            for name in ("return_sequences", "return_state", "go_backwards", "stateful"):
                if getattr(options, name):
                    sizes[name] = True
            if not options.plain:
                sizes["activation"] = options.activation.name
                sizes["recurrent_activation"] = options.recurrent_activation.name
    except Refusal as refusal:
        obstacle = obstacle or f"{refusal}: {configs.INSTEAD}"
    return Found(entry.name, entry.kind, sizes, shapes, obstacle, _left(entry))


def _left(entry: Entry) -> dict[str, tuple[object, str]]:
    """Return the options that `load_lstm` leaves to the caller."""
    if not entry.directions:
        return {}
    options, left = entry.directions[0], dict[str, tuple[object, str]]()
    if not options.return_sequences:
        left["return_sequences"] = (False, "what the layer returns is h_n, directions side by side")
    if options.stateful:
        left["stateful"] = (True, "give (h_n, c_n) to the next call, or use a stream")
    return left


def _result_names(layer: Layer) -> list[str]:
    both = layer.kind.startswith("Bidirectional")
    names = ["output_forward", "output_backward"] if both and layer.merge_mode is None else ["output"]
    if layer.return_state:
        sides = ("forward_", "backward_") if both else ("",)
        names += [f"state_{side}{letter}" for side in sides for letter in "hc"]
    return names


public.publish(globals())
