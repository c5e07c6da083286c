"""Which classes that a configuration names are Keras's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_OF_KERAS = ("keras", "tf_keras", "tensorflow", "builtins")


class Refusal(ValueError):
    """What stands in the way of a layer."""


def known_options(layer: Mapping[str, Any]) -> dict[str, Any]:
    """Return a layer's options, or refuse it if its class is not one of Keras."""
    config = layer.get("config")
    if is_custom(layer):
        raise Refusal(f"{layer['class_name']} is a custom class, whose code is not in the file")
    if not isinstance(config, dict):
        raise Refusal("its options are missing")
    return config


def is_custom(layer: Mapping[str, Any]) -> bool:
    """Return whether the class of a layer is not one of Keras.

    Keras names the modules of its own classes since 2.12; that of a class which is made in a script or notebook, and
    not registered, is null.

    Examples
    --------
    >>> is_custom({"class_name": "LSTM"}), is_custom({"class_name": "LSTM", "module": None, "registered_name": "LSTM"})
    (False, True)
    """
    module, registered = layer.get("module", "keras"), layer.get("registered_name")
    of_keras = isinstance(module, str) and module.split(".")[0] in _OF_KERAS
    return not of_keras or (isinstance(registered, str) and ">" in registered and not registered.startswith("Keras>"))
