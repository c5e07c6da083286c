"""The recurrent layers of a file: what each is by its configuration, and where its arrays are."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ...formats.printable import printable
from .._taken import whole_names
from . import activations, file, versions, weights
from . import config as configs
from .classes import Refusal
from .config import Entry

_WEIGHTS_ONLY = (
    "the file does not say what its layers do: give config= (numba-lstm: --config and a file of JSON), what "
    "model.to_json() returns, or a mapping from layers' names to options that differ from Keras's defaults, such as "
    '{"lstm": {"activation": "relu"}}'
)
_OPTIONS = {
    "units", "activation", "recurrent_activation", "return_sequences", "return_state", "go_backwards", "stateful",
    "zero_output_for_mask", "unroll", "merge_mode", "use_bias", "unit_forget_bias", "inner_activation",
}  # fmt: skip

Named = TypeVar("Named", Entry, weights.Stored)


class Place(NamedTuple):
    """A recurrent layer of a file."""

    entry: Entry
    arrays: list[weights.Arrays]


def places_in(path: Path, config: str | Mapping[str, Any] | None, version: str | None) -> list[Place]:
    """Return the recurrent layers of a file, with their arrays where these were found."""
    if not isinstance(config, str | Mapping | None):
        raise TypeError(f"config should be a text of JSON or a mapping, got: {type(config).__name__}")
    saved = file.read(path)
    try:
        given = None if config is None else _given(config)
        if version is not None and versions.known(version) is None:
            raise ValueError(f"keras_version should be a version such as '2.15.0', got: {version!r}")
        model = given if given is not None and _is_model(given) else saved.config if given is None else None
        if model is not None:
            shown = versions.shown_by(model)
            of_model = versions.common(saved.version, shown) if given is not None else saved.version or shown
            found = configs.entries(model, version or of_model)
            if found:
                return _own([_with_arrays(saved, entry) for entry in _told_apart(found, saved.by_name)], saved.size)
        stored = _told_apart(weights.discover(saved.root, saved.by_name), saved.by_name)
        if given is None or model is not None:
            return _own([_unknown(one) for one in stored], saved.size)
        return _optional(stored, given, version or saved.version)
    except MemoryError:
        raise
    except Exception as error:  # parsers raise whatever the bytes of a damaged file happen to mean
        raise file_error(path, str(error)) from error


def _told_apart(found: list[Named], by_name: bool) -> list[Named]:
    """Return layers of which those that have one name are called by their places, where arrays do not lie by name."""
    names = Counter("/".join(each.names) for each in found)
    twice = {name for name, count in names.items() if count > 1}
    if twice and not by_name:
        found = [each._replace(names=(each.group,)) if "/".join(each.names) in twice else each for each in found]
        twice = twice if len({each.names for each in found}) < len(found) else set()
    if twice:
        raise ValueError(f"it has several layers of one name, which cannot be told apart: {whole_names(sorted(twice))}")
    return found


def _own(places: list[Place], size: int) -> list[Place]:
    """Return layers whose arrays are together no larger than the file: one array for a thousand layers is a trap."""
    total = sum(node.array().nbytes for place in places for side in place.arrays for node in side.nodes.values())
    if total > size:
        raise ValueError(f"its layers share their arrays, {total:,} bytes together")
    return places


def _given(config: str | Mapping[str, Any]) -> Mapping[str, Any]:
    return file.parse(config) if isinstance(config, str) else config


def _is_model(config: Mapping[str, Any]) -> bool:
    return isinstance(config.get("class_name"), str) and "config" in config


def _with_arrays(saved: file.Saved, entry: Entry) -> Place:
    if entry.obstacle is not None:
        return Place(entry, [])
    try:
        return Place(entry, weights.locate(saved.root, saved.by_name, entry))
    except Refusal as refusal:
        return Place(entry._replace(obstacle=f"{refusal}; is this the configuration of this file?"), [])


def _unknown(stored: weights.Stored) -> Place:
    """Return a layer of which only the weights are known."""
    kind = "Bidirectional(LSTM)" if len(stored.arrays) == 2 else "LSTM"
    return Place(Entry(stored.names, kind, stored.group, obstacle=_WEIGHTS_ONLY), stored.arrays)


def _optional(stored: list[weights.Stored], given: Mapping[str, Any], version: str | None) -> list[Place]:
    """Return the layers that are named with their options."""
    by_name = {"/".join(one.names): one for one in stored}
    places = []
    for name, extra in given.items():
        if name not in by_name:
            raise ValueError(f"no weights of an LSTM under {name!r}; found: {whole_names(list(by_name))}")
        if not isinstance(extra, Mapping) or not extra.keys() <= _OPTIONS:
            raise ValueError(f"options of {name} should be some of {', '.join(sorted(_OPTIONS))}; got: {extra}")
        place = _unknown(by_name[name])
        layer: dict[str, Any] = {"class_name": "LSTM", "config": dict(extra)}
        if not extra.keys() & {"recurrent_activation", "inner_activation"}:
            cudnn = any(side.of_cudnn for side in place.arrays)  # CuDNNLSTM has no other
            default = "sigmoid" if cudnn else activations.default_recurrent_activation(version)
            layer["config"] |= {"recurrent_activation": default}
        directions: tuple[configs.Options, ...] = (configs.options(layer, version),)
        merge_mode = None
        if len(place.arrays) == 2:
            merge_mode = extra.get("merge_mode", "concat")
            backward = directions[0]._replace(go_backwards=not directions[0].go_backwards)
            directions, merge_mode = configs.bidirectional(directions[0], backward, merge_mode, version)
        entry = place.entry._replace(directions=directions, merge_mode=merge_mode, obstacle=None)
        places.append(Place(entry, place.arrays))
    return places


def chosen_place(path: Path, name: str | None, config: str | Mapping[str, Any] | None, version: str | None) -> Place:
    """Return the layer of a name, or the only one; raise ValueError if it cannot be taken."""
    places = places_in(path, config, version)
    names = [place.entry.name for place in places]
    chosen = [place for place in places if name in (None, place.entry.name)]
    if len(chosen) != 1:
        what = "which layer?" if name is None else f"no recurrent layer {name!r};"
        raise file_error(path, f"{what} found: {whole_names(names)}")
    if chosen[0].entry.obstacle is not None:
        raise file_error(path, f"{names[0] if name is None else name} cannot be taken: {chosen[0].entry.obstacle}")
    return chosen[0]


def file_error(path: str | os.PathLike[str], text: str) -> ValueError:
    """Return an error about a file, whose names in the text steer no terminal."""
    return ValueError(f"{path}: {printable(text)}")
