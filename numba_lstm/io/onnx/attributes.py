"""What the attributes of an LSTM node say; an operator of opset 1 to 22."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from ...kernels.cells.cell_rule import Activation, CellRule, Function
from .constants.operation import Operation

DIRECTIONS = {"forward": 1, "reverse": 1, "bidirectional": 2}
"""Directions, and how many of them there are."""

INSTEAD = "run this node with ONNX Runtime"

_NEWEST = 22
"""The opset that brought the newest LSTM that is known here."""

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
    for name in Function.__members__
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


def read(operation: Operation) -> Attributes:
    """Return the attributes of an operator LSTM, or raise Refusal."""
    if operation.version > _NEWEST:
        raise Refusal(f"LSTM of opset {operation.version} is newer than the one that is computed here")
    given = operation.attributes
    direction = given.get("direction", b"forward").decode(errors="replace").lower()
    if direction not in DIRECTIONS:
        raise Refusal(f"its direction is {direction[:40]!r}")
    clip = given.get("clip", math.inf)
    if not clip > 0:
        raise Refusal(f"its clip is {clip}")
    layout = given.get("layout", 0)
    if layout not in (0, 1):
        raise Refusal(f"its layout is {layout}")
    return Attributes(
        direction,
        given.get("hidden_size"),
        _activations(given, DIRECTIONS[direction]),
        clip,
        bool(given.get("input_forget", False)),
        layout,
    )


def _activations(given: Mapping[str, Any], directions: int) -> tuple[tuple[Activation, Activation, Activation], ...]:
    names = [name.decode(errors="replace") for name in given.get("activations", ())]
    names = names or ["Sigmoid", "Tanh", "Tanh"] * directions
    if len(names) != 3 * directions:
        raise Refusal(f"it has {len(names)} activations, and {directions} directions need {3 * directions}")
    # Values are taken in turn by the activations that have such a one.
    streams = [iter(given.get(name, ())) for name in ("activation_alpha", "activation_beta")]
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
