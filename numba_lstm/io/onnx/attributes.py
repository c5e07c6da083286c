"""What the attributes of an LSTM node say; an operator of opset 1 to 22."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from ...cell_rule import ACTIVATIONS, Activation, CellRule

DIRECTIONS = {"forward": 1, "reverse": 1, "bidirectional": 2}
"""Directions, and how many of them there are."""

INSTEAD = "run this node with ONNX Runtime"

_DEFAULTS: dict[str, tuple[float | None, ...]] = {
    "Affine": (None, 0.0),
    "LeakyRelu": (0.01,),
    "ThresholdedRelu": (1.0,),
    "ScaledTanh": (None, None),
    "HardSigmoid": (0.2, 0.5),
    "Elu": (1.0,),
}
"""alpha, and beta, of the activations that have them, where a node does not say; None where ONNX does not either."""

_OF_ONNX = {
    name.lower(): name
    for name in ACTIVATIONS
    if name in {*_DEFAULTS, "Sigmoid", "Tanh", "Relu", "Softsign", "Softplus"}
}


class Refusal(ValueError):
    """What stands in the way of a node."""


class Attributes(NamedTuple):
    """What a node does."""

    direction: str
    hidden_size: int | None
    activations: tuple[tuple[Activation, Activation, Activation], ...]
    clip: float
    input_forget: bool
    layout: int

    @property
    def directions(self) -> int:
        """1 or 2: D."""
        return DIRECTIONS[self.direction]

    @property
    def rule(self) -> CellRule:
        """What its cells do, without peepholes."""
        return CellRule(self.activations, self.clip, self.input_forget)


def read(node: Any) -> Attributes:
    """Return the attributes of a node, or raise Refusal."""
    given = {attribute.name: attribute for attribute in node.attribute}
    direction = given["direction"].s.decode(errors="replace").lower() if "direction" in given else "forward"
    if direction not in DIRECTIONS:
        raise Refusal(f"its direction is {direction!r}")
    clip = float(given["clip"].f) if "clip" in given else math.inf
    if not clip > 0:
        raise Refusal(f"its clip is {clip}")
    layout = given["layout"].i if "layout" in given else 0
    if layout not in (0, 1):
        raise Refusal(f"its layout is {layout}")
    return Attributes(
        direction,
        given["hidden_size"].i if "hidden_size" in given else None,
        _activations(given, DIRECTIONS[direction]),
        clip,
        bool(given["input_forget"].i) if "input_forget" in given else False,
        layout,
    )


def _activations(given: dict[str, Any], directions: int) -> tuple[tuple[Activation, Activation, Activation], ...]:
    names = [name.decode(errors="replace") for name in given["activations"].strings] if "activations" in given else []
    names = names or ["Sigmoid", "Tanh", "Tanh"] * directions
    if len(names) != 3 * directions:
        raise Refusal(f"it has {len(names)} activations, and {directions} directions need {3 * directions}")
    # Values are taken in turn by the activations that have such a one.
    numbers = ("activation_alpha", "activation_beta")
    streams = [iter(given[name].floats if name in given else ()) for name in numbers]
    found = []
    for name in names:
        known = _OF_ONNX.get(name.lower())
        if known is None:
            raise Refusal(f"its activation {name[:40]!r} is not known here")
        defaults = _DEFAULTS.get(known, ())
        own: list[Any] = [next(stream, default) for stream, default in zip(streams, defaults, strict=False)]
        if None in own:
            raise Refusal(f"its activation {known} comes without alpha or beta, and ONNX has no default for it")
        alpha, beta = [*map(float, own), 0.0, 0.0][:2]
        found.append(Activation(known, alpha, 1.0 if known == "Elu" else beta))
    return tuple((found[n], found[n + 1], found[n + 2]) for n in range(0, len(found), 3))
