"""How gate sums become states in LSTMs that are not torch's: other activations, clipping, coupled gates, peepholes."""
from __future__ import annotations

import enum
import math
from typing import NamedTuple

import numpy as np


class Function(enum.IntEnum):
    """Activations, by the names that they have in ONNX; ``general_cell`` says what each is."""

    Sigmoid = 0
    Tanh = 1
    Relu = 2
    Affine = 3
    LeakyRelu = 4
    ThresholdedRelu = 5
    ScaledTanh = 6
    HardSigmoid = 7
    Elu = 8
    Softsign = 9
    Softplus = 10
    Clip = 11
    Silu = 12
    Exp = 13


class Activation(NamedTuple):
    """A function of one number.

    File formats have defaults of their own for ``alpha`` and ``beta``: who reads a file fills them in.
    """

    name: str
    """The name of a `Function`."""
    alpha: float = 0.0
    beta: float = 0.0


SIGMOID, TANH = Activation("Sigmoid"), Activation("Tanh")


class CellRule(NamedTuple):
    """What the cells of a network do with their gate sums.

    ::

        i = f(x_i + p_i * c)    f = f(x_f + p_f * c)    g = g(x_g)    c' = f * c + i * g    o = f(x_o + p_o * c')
        h' = o * h(c')

    where x are the sums of bias, input and recurrent part.
    """

    activations: tuple[tuple[Activation, Activation, Activation], ...]
    """For each direction those of the gates i, f and o; of the candidate g; of the cell state."""
    clip: float = math.inf
    """Sums are brought between -clip and clip before their activations."""
    input_forget: bool = False
    """Whether the forget gate is 1 - i."""
    peepholes: tuple[np.ndarray, ...] | None = None
    """For each layer and direction, in torch's order, (3, H): p_i, p_f, p_o."""

    @property
    def plain(self) -> bool:
        """Whether this is the LSTM of torch."""
        usual = all(functions == (SIGMOID, TANH, TANH) for functions in self.activations)
        return usual and math.isinf(self.clip) and not self.input_forget and self.peepholes is None
