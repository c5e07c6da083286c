"""Parts of the library on their own: activations, as the kernels call them, and the packing of weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from numba_lstm.contract.architecture import Architecture
from numba_lstm.execution.packing import pack
from numba_lstm.kernels.cells import activations
from numba_lstm.simd.float_mode import flush_denormals, restore_mode
from numba_lstm.simd.vectors import lanes, load, pointer, store

from .. import shapes, timing
from ..machine import njit


def vectors_of(name: str) -> Callable[[np.ndarray, np.ndarray], None]:
    """Return a function that applies an activation to the vectors of an array."""
    function = getattr(activations, name)
    if name == "sigmoid_times_tanh":

        @njit
        def one(x):  # type: ignore[no-untyped-def]
            return function(x, x)
    else:
        one = function

    @njit
    def apply(x, out):  # type: ignore[no-untyped-def]
        source, target = pointer(x, 0), pointer(out, 0)
        mode = flush_denormals()
        for k in range(0, x.size, lanes(source)):
            store(target, k, one(load(source, k)))
        restore_mode(mode)

    compiled: Callable[[np.ndarray, np.ndarray], None] = apply
    return compiled


class Activations:
    """Vectors that lie in the cache, between -4 and 4."""

    params: ClassVar = [["exp", "sigmoid", "tanh", "sigmoid_times_tanh"], ["float32", "float64"]]
    param_names = ("function", "dtype")

    elements = 2048

    def setup(self, name: str, dtype: str) -> None:
        """Compile a loop over vectors."""
        self.apply = vectors_of(name)
        self.x: Any = np.linspace(-4, 4, self.elements, dtype=dtype)
        self.out = np.empty_like(self.x)
        self.apply(self.x, self.out)

    def track_time_per_element(self, name: str, dtype: str) -> float:
        """Return the time for a number."""
        return timing.seconds_per_call(lambda: self.apply(self.x, self.out)).median / self.elements * 1e9

    track_time_per_element.unit = "ns"  # type: ignore[attr-defined]


class Packing:
    """From torch's matrices to panels, which is done whenever weights change."""

    params: ClassVar = ["vad_step", "ge2e_b1", "rnnt_b1"]
    param_names = ("shape",)

    def setup(self, name: str) -> None:
        """Make weights."""
        inputs, hidden, layers, both, projection, *_ = shape = shapes.select([name])[name]
        self.architecture = Architecture(inputs, hidden, layers, True, both, projection)
        self.weights = shapes.parameters(shape)

    def time_pack(self, name: str) -> None:
        """Time the packing of all weights."""
        pack(self.architecture, self.weights, np.dtype(np.float32))
