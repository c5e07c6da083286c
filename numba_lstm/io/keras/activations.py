"""What an activation that a configuration names computes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...kernels.cells.cell_rule import SIGMOID, TANH, Activation
from . import versions
from .classes import Refusal, is_custom, known_options

_VERSION = "give keras_version= (numba-lstm: --keras-version)"

_ACTIVATIONS = {
    "sigmoid": SIGMOID,
    "tanh": TANH,
    "linear": Activation("Affine", 1.0, 0.0),
    "relu": Activation("Relu"),
    "relu6": Activation("Clip", 0.0, 6.0),
    "hard_tanh": Activation("Clip", -1.0, 1.0),
    "leaky_relu": Activation("LeakyRelu", 0.2),
    "elu": Activation("Elu", 1.0, 1.0),
    "celu": Activation("Elu", 1.0, 1.0),
    "selu": Activation("Elu", 1.6732632423543772, 1.0507009873554805),
    "silu": Activation("Silu"),
    "swish": Activation("Silu"),
    "exponential": Activation("Exp"),
    "softplus": Activation("Softplus"),
    "softsign": Activation("Softsign"),
    "sparse_sigmoid": Activation("HardSigmoid", 0.5, 0.5),
}

_SINCE = {
    "selu": (2, 0, 6),
    "exponential": (2, 2, 3),
    "swish": (2, 4),
    "leaky_relu": (2, 6),
    "relu6": (2, 6),
    "silu": (2, 6),
    "celu": (3,),
    "hard_tanh": (3,),
    "sparse_sigmoid": (3,),
}
"""The first Keras in which a name is that of one of its own functions, for those that the first Keras 2 did not have.
Before, it is that of a function of the file's author, of which Keras wrote the bare name."""

_HARD_SIGMOID = {True: Activation("HardSigmoid", 0.2, 0.5), False: Activation("HardSigmoid", 1 / 6, 0.5)}
"""By whether it is that of Keras 1 and 2."""


def activation(value: Any, version: str | None) -> Activation:
    """Return an activation by what stands for it in a configuration, or refuse it."""
    arguments: Mapping[str, Any] = {}
    if isinstance(value, dict):
        kind, inner = value.get("class_name"), value.get("config")
        if kind == "function" and isinstance(inner, str):
            # Keras 3 writes its own functions as texts, and a function of its user's like this, whatever its name.
            if value.get("module") in (None, "builtins") or is_custom(value):
                raise Refusal(f"its activation is {inner!r}, a custom function, whose code is not in the file")
            value = inner
        elif kind in ("LeakyReLU", "ELU") and isinstance(inner, dict):
            arguments = {"negative_slope": 0.3} | known_options(value)
            value = {"LeakyReLU": "leaky_relu", "ELU": "elu"}[kind]
        elif kind == "Activation" and isinstance(inner, dict):
            return activation(known_options(value).get("activation"), version)
        else:
            raise Refusal(f"its activation is of class {kind!r}, which is not known here")
    if value is None:
        value = "linear"
    if value == "hard_sigmoid":
        if version is None:
            raise Refusal(f"hard_sigmoid means another function in Keras 2 than in Keras 3: {_VERSION}")
        return _HARD_SIGMOID[versions.is_old(version)]
    if not isinstance(value, str) or value not in _ACTIVATIONS:
        raise Refusal(f"its activation is {value!r}, which is not known here")
    if value in _SINCE and version is None:
        first = ".".join(map(str, _SINCE[value]))
        raise Refusal(f"{value} is Keras's own from Keras {first} on, and before one of the file's author: {_VERSION}")
    if value in _SINCE and version is not None and not versions.has(version, _SINCE[value]):
        raise Refusal(
            f"its activation is {value!r}, which Keras {version} did not have: a custom function, whose code is not in "
            "the file"
        )
    found = _ACTIVATIONS[value]
    for name in ("alpha", "negative_slope") if found.name == "LeakyRelu" else ("alpha",):
        if name in arguments:
            alpha = arguments[name]
            if isinstance(alpha, bool) or not isinstance(alpha, int | float):
                raise Refusal(f"its {name} is {alpha!r}")
            return found._replace(alpha=float(alpha))
    return found


def default_recurrent_activation(version: str | None) -> str:
    """Return that of a layer that was made without one, or refuse it if that cannot be known.

    Keras 2.3 changed it; in TensorFlow, whose versions end in "-tf" until 2.3, TensorFlow 2 did, which begins with
    2.2.4-tf, as TensorFlow 1 ends.  A model's configuration always has it.

    Examples
    --------
    >>> default_recurrent_activation("2.2.4"), default_recurrent_activation("2.3.1")
    ('hard_sigmoid', 'sigmoid')
    """
    if version is None:
        return "sigmoid"
    numbers = versions.numbers(version)
    if numbers == (2,) or (numbers == (2, 2) and "tf" in version):
        raise Refusal(
            f"give recurrent_activation: that of layers that were made without is hard_sigmoid or sigmoid in Keras "
            f"{version}; it changed with Keras 2.3 and with TensorFlow 2"
        )
    return "hard_sigmoid" if numbers < (2, 3) else "sigmoid"
