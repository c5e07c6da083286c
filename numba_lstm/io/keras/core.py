"""One LSTM layer on the kernels: one direction, or two that run over the same sequences."""

from __future__ import annotations

import numpy as np

from ...contract.architecture import Architecture
from ...contract.checks.arrays import readable_input
from ...execution.network import Network
from ...execution.variable_length import run_padded
from ...kernels.cells.cell_rule import CellRule
from ...lstm import LSTM
from .config import Options
from .weights import Weights

State = tuple[np.ndarray, np.ndarray]


class Core:
    """Sequences to outputs and states.

    Parameters
    ----------
    weights : list of Weights
        Of one direction, or of both; of the same sizes.
    options : Options
        Whose activations both have.
    """

    def __init__(self, weights: list[Weights], options: Options) -> None:
        self.architecture = architecture_of(weights)
        self.count = self.architecture.num_directions
        self.units = self.architecture.hidden_size
        parameters = parameters_of(weights)
        self.dtype = np.result_type(*parameters.values())
        # Copies, so that the file's bytes can go.
        self._parameters = {name: np.array(array, self.dtype, order="C") for name, array in parameters.items()}
        gates, cell = options.recurrent_activation, options.activation
        self._rule = CellRule(((gates, cell, cell),) * self.count)
        self._network: Network | None = None  # packed when it is first used

    def __call__(
        self, x: np.ndarray, state: State | None, lengths: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Run a batch.

        Parameters
        ----------
        x : (N, L, F) array
            In this dtype.
        state : two (count, N, units) arrays, optional
            Initial states.
        lengths : (N,) array of int, optional
            Of sequences that are padded at their ends.

        Returns
        -------
        output : (N, L, count * units) array
            Zeros where padded.
        h, c : (count, N, units) arrays
        """
        x = readable_input(x, self.dtype)
        h, c = (None, None) if state is None else map(np.ascontiguousarray, state)
        network = self._network
        if network is None:
            network = self._network = Network(self.architecture, self._parameters, self.dtype, self._rule)
        if lengths is None:
            return network(x, h, c, batch_first=True)
        return run_padded(network, True, x, lengths, h, c, None)


def architecture_of(weights: list[Weights]) -> Architecture:
    """Return the sizes of one direction or two."""
    first = weights[0]
    return Architecture(first.input_size, first.units, bias=first.bias is not None, bidirectional=len(weights) == 2)


def parameters_of(weights: list[Weights]) -> dict[str, np.ndarray]:
    """Return arrays by torch's names."""
    parameters = {}
    for side, suffix in zip(weights, ("", "_reverse"), strict=False):
        parameters[f"weight_ih_l0{suffix}"], parameters[f"weight_hh_l0{suffix}"] = side.weight_ih, side.weight_hh
        if side.bias is not None:
            parameters[f"bias_ih_l0{suffix}"] = side.bias
            parameters[f"bias_hh_l0{suffix}"] = np.zeros_like(side.bias)
    return parameters


def lstm_of(weights: list[Weights]) -> LSTM:
    """Return an LSTM; with ``batch_first``, for inference."""
    parameters = parameters_of(weights)
    dtype = np.result_type(*parameters.values())
    return LSTM._of(architecture_of(weights), parameters, batch_first=True, dtype=dtype, seed=0).eval()
