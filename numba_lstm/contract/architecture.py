"""The sizes of an LSTM, and the names and shapes of torch's parameters that follow from them."""

from __future__ import annotations

from dataclasses import dataclass

CELL_SUFFIX = "_l0"
"""What an LSTM's first layer has after the names of a cell."""

GATES = 4
"""Stacked along the first axis of parameters, in torch's order: input, forget, cell, output (i, f, g, o)."""

MOST_LAYERS = 1_000_000
"""Names of parameters have at most six digits."""

NAME = r"(weight_ih|weight_hh|bias_ih|bias_hh|weight_hr)_l(0|[1-9]\d{0,5})(_reverse)?"
CELL_NAME = r"weight_ih|weight_hh|bias_ih|bias_hh"
"""Patterns of the parameters' names."""


@dataclass(frozen=True)
class Architecture:
    """The sizes of a stack of LSTM layers, named as the arguments of ``torch.nn.LSTM``.

    Examples
    --------
    >>> Architecture(3, 5, proj_size=2).shapes()
    {'weight_ih_l0': (20, 3), 'weight_hh_l0': (20, 2), 'bias_ih_l0': (20,), 'bias_hh_l0': (20,), 'weight_hr_l0': (2, 5)}
    """

    input_size: int
    hidden_size: int
    num_layers: int = 1
    bias: bool = True
    bidirectional: bool = False
    proj_size: int = 0

    @property
    def num_directions(self) -> int:
        """1, or 2 if bidirectional: D."""
        return 2 if self.bidirectional else 1

    @property
    def output_size(self) -> int:
        """Size of h: proj_size if there is a projection, else hidden_size: H_out."""
        return self.proj_size or self.hidden_size

    def layer_input_size(self, layer: int) -> int:
        """Return the width of a layer's input: input_size, then D * H_out."""
        return self.input_size if layer == 0 else self.num_directions * self.output_size

    def names(self, layer: int, direction: int) -> tuple[str, ...]:
        """Return the names of one layer and direction, in torch's order."""
        kinds: tuple[str, ...] = ("weight_ih", "weight_hh")
        if self.bias:
            kinds += ("bias_ih", "bias_hh")
        if self.proj_size:
            kinds += ("weight_hr",)
        suffix = f"_l{layer}_reverse" if direction else f"_l{layer}"
        return tuple(kind + suffix for kind in kinds)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every parameter by its name, in torch's order."""
        rows = GATES * self.hidden_size
        result: dict[str, tuple[int, ...]] = {}
        for layer in range(self.num_layers):
            shapes = {
                "weight_ih": (rows, self.layer_input_size(layer)),
                "weight_hh": (rows, self.output_size),
                "bias_ih": (rows,),
                "bias_hh": (rows,),
                "weight_hr": (self.proj_size, self.hidden_size),
            }
            for direction in range(self.num_directions):
                result.update((name, shapes[name.split("_l")[0]]) for name in self.names(layer, direction))
        return result
