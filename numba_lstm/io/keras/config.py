"""What a model's configuration says about its recurrent layers.

A configuration is data: names of classes and their arguments.  Nothing is imported or built from it, so a Lambda
layer's code, a custom class or a function's name stay what they are in the file: text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ...kernels.cells.cell_rule import SIGMOID, TANH, Activation
from . import versions
from .activations import activation
from .classes import Refusal, is_custom, known_options

INSTEAD = "run this layer with Keras, or export the model to ONNX and run it with ONNX Runtime"

_RECURRENT = re.compile(r"LSTM|GRU|RNN|ConvLSTM|Recurrent", re.IGNORECASE)
_MOST, _LONGEST = 10_000, 1000
"""Recurrent layers, and characters in the names and places of one: what has more does not describe a model."""


class Options(NamedTuple):
    """The arguments of one LSTM layer that say what it computes."""

    units: int | None
    use_bias: bool | None
    activation: Activation
    recurrent_activation: Activation
    return_sequences: bool
    return_state: bool
    go_backwards: bool
    stateful: bool
    zero_output_for_mask: bool
    unroll: bool

    @property
    def plain(self) -> bool:
        """Whether the gates are those of torch's LSTM."""
        return (self.activation, self.recurrent_activation) == (TANH, SIGMOID)


class Entry(NamedTuple):
    """A recurrent layer of a configuration."""

    names: tuple[str, ...]
    """Its own name, after those of the models and wrappers around it."""
    kind: str
    """``"LSTM"``, ``"Bidirectional(LSTM)"``, ``"GRU"``."""
    group: str
    """Where Keras 3 puts its weights, such as ``"layers/lstm"``."""
    directions: tuple[Options, ...] = ()
    """One, or forward and backward; none if there is an obstacle."""
    merge_mode: str | None = None
    input_size: int | None = None
    obstacle: str | None = None

    @property
    def name(self) -> str:
        """All names in one."""
        return "/".join(self.names)


def entries(model: Mapping[str, Any], version: str | None) -> list[Entry]:
    """Return the recurrent layers of a model.

    Parameters
    ----------
    model : mapping
        As ``model.to_json()`` describes it: ``class_name`` and ``config``.
    version : str, optional
        Of the Keras that wrote it.
    """
    found = []
    for count, entry in enumerate(_walk(_layers(model), (), "", version)):
        if count == _MOST:
            raise ValueError(f"it describes more than {_MOST:,} recurrent layers")
        found.append(entry)
    return found


def snake_case(name: str) -> str:
    """Return what Keras 3 calls a class in files of weights.

    Examples
    --------
    >>> snake_case("TimeDistributed"), snake_case("LSTM"), snake_case("MyPackage>MyLSTMModel")
    ('time_distributed', 'lstm', 'my_lstm_model')
    """
    name = re.sub(r"\W+", "", name.rpartition(">")[2])
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def _layers(model: Any) -> list[Mapping[str, Any]] | None:
    """Return the layers of a model's description; None if it is not one."""
    config = model.get("config")
    layers = config if isinstance(config, list) else config.get("layers") if isinstance(config, dict) else None
    if not isinstance(layers, list):
        return None
    return [layer for layer in layers if isinstance(layer, dict) and isinstance(layer.get("class_name"), str)]


def _walk(layers: Any, names: tuple[str, ...], group: str, version: str | None) -> Iterator[Entry]:
    """Yield what is recurrent among layers, in models and wrappers among them too."""
    used: dict[str, int] = {}
    for layer in layers or ():
        # Keras numbers the layers of each class in a model from the second on.
        base = snake_case(layer["class_name"])
        count = used[base] = used.get(base, -1) + 1
        place = f"{group}layers/{base}_{count}" if count else f"{group}layers/{base}"
        yield from _layer(layer, names, place, version)


def _layer(layer: Mapping[str, Any], names: tuple[str, ...], group: str, version: str | None) -> Iterator[Entry]:
    inner = _layers(layer)
    config = layer.get("config")
    name = layer.get("name") or (config.get("name") if isinstance(config, dict) else None)
    names = (*names, str(name or group.rpartition("/")[2]))
    if sum(map(len, names)) + len(group) > _LONGEST:
        raise ValueError("its models and layers have names that are too long")
    if inner is not None:
        yield from _walk(inner, names, f"{group}/", version)
        return
    kind, wrapped = layer["class_name"], config.get("layer") if isinstance(config, dict) else None
    if isinstance(wrapped, dict) and isinstance(wrapped.get("class_name"), str):
        if kind != "Bidirectional":
            # Others may store what they compute weights from, in the place of the weights.
            trusted = kind == "TimeDistributed" and not is_custom(layer)
            reason = f"the {kind} around it is not Keras's TimeDistributed, and may change its weights: {INSTEAD}"
            for entry in _layer(wrapped, names, f"{group}/layer", version):
                yield entry if trusted else Entry(entry.names, entry.kind, entry.group, obstacle=reason)
            return
        kind = f"Bidirectional({_kind(wrapped)})"
    elif kind == "RNN":
        kind = _kind(layer)
    if not _RECURRENT.search(kind):
        return
    try:
        directions, merge_mode = _read(layer, version)
        yield Entry(names, kind, group, directions, merge_mode, _input_size(layer))
    except Refusal as refusal:
        yield Entry(names, kind, group, obstacle=f"{refusal}: {INSTEAD}")


def _kind(layer: Mapping[str, Any]) -> str:
    """Return the class of a layer, with its cell's."""
    cell = layer["config"].get("cell") if isinstance(layer.get("config"), dict) else None
    if layer["class_name"] == "RNN" and isinstance(cell, dict):
        return f"RNN({cell.get('class_name')})"
    return str(layer["class_name"])


def _input_size(layer: Mapping[str, Any]) -> int | None:
    built = layer.get("build_config")
    shape = built.get("input_shape") if isinstance(built, dict) else None
    return shape[-1] if isinstance(shape, list) and shape and type(shape[-1]) is int else None


# --- one layer --------------------------------------------------------------------------------------------


def _read(layer: Mapping[str, Any], version: str | None) -> tuple[tuple[Options, ...], str | None]:
    """Return what a layer computes: one direction or two, and how these are merged."""
    config = known_options(layer)
    if layer["class_name"] != "Bidirectional":
        return (options(layer, version),), None
    forward_layer, merge_mode = config["layer"], config.get("merge_mode", "concat")
    backward_layer = config.get("backward_layer")
    forward = options(forward_layer, version)
    backward = options(backward_layer, version) if isinstance(backward_layer, dict) else forward
    if not isinstance(backward_layer, dict):
        backward = forward._replace(go_backwards=not forward.go_backwards)
    return bidirectional(forward, backward, merge_mode, version)


def bidirectional(
    forward: Options, backward: Options, merge_mode: Any, version: str | None
) -> tuple[tuple[Options, Options], str | None]:
    """Return the two directions as the wrapper has them."""
    if merge_mode not in ("concat", "sum", "mul", "ave", None):
        raise Refusal(f"its merge_mode is {merge_mode!r}")
    if forward.go_backwards == backward.go_backwards:
        raise Refusal("both of its directions go the same way")
    for name in ("return_sequences", "return_state", "stateful"):
        if getattr(forward, name) != getattr(backward, name):
            raise Refusal(f"its directions differ in {name}")
    if merge_mode != "concat" and merge_mode is not None and forward.units != backward.units:
        raise Refusal(f"its directions differ in units, and merge_mode is {merge_mode!r}")
    if not versions.before_tensorflow(version):
        zeros = forward.return_sequences  # whatever the layers inside say
        forward, backward = (side._replace(zero_output_for_mask=zeros) for side in (forward, backward))
    return (forward, backward), merge_mode


def options(layer: Mapping[str, Any], version: str | None) -> Options:
    """Return what one LSTM layer computes, or refuse it.

    Parameters
    ----------
    layer : mapping
        ``class_name`` and ``config``.
    version : str, optional
        Of the Keras that wrote it.
    """
    config, kind = known_options(layer), layer["class_name"]
    cell = config
    if kind == "RNN":
        inner = config.get("cell")
        if not isinstance(inner, dict) or inner.get("class_name") != "LSTMCell":
            name = inner.get("class_name") if isinstance(inner, dict) else "unknown"
            raise Refusal(f"its cell is of class {name}; LSTMCell is the one that can be taken")
        cell = known_options(inner)
    elif kind not in ("LSTM", "CuDNNLSTM"):
        raise Refusal(f"{kind} is not an LSTM layer")
    if config.get("time_major"):
        raise Refusal("it is time_major, which Keras 3 has given up (make it batch-major: the weights are the same)")
    cudnn = kind == "CuDNNLSTM"
    inner_name = "inner_activation" if "inner_activation" in cell else "recurrent_activation"
    units = cell.get("units", cell.get("output_dim"))  # output_dim: Keras 1
    if units is not None and (type(units) is not int or units < 1):
        raise Refusal(f"its units are {units!r}")
    use_bias = cell.get("use_bias")
    return Options(
        units,
        None if use_bias is None else _truth("use_bias", use_bias),
        TANH if cudnn else activation(cell.get("activation", "tanh"), version),
        SIGMOID if cudnn else activation(cell.get(inner_name, "sigmoid"), version),
        *(
            _truth(name, config.get(name, False))
            for name in (
                "return_sequences", "return_state", "go_backwards", "stateful", "zero_output_for_mask", "unroll"
            )
        ),
    )


def _truth(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise Refusal(f"its {name} is {value!r}")
    return value
