"""What surrounds an LSTM, with results that do not depend on the batch either."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..contract.checks.arrays import as_array, float_dtype, match_dtype
from ..execution.entries import entry_for
from ..kernels.panels import output_panels
from ..simd.blocksizes import GATES, block_sizes


class Linear:
    """A linear layer whose result for a row does not depend on the other rows.

    BLAS adds the terms of a product in an order that depends on how many rows there are, so that a caller's result
    would differ in its last bits with who else is in the batch.  Here it depends on nothing.

    Parameters
    ----------
    weight : (N, K) array of float32 or float64
        As torch has it.  Packed at once: later changes of the array have no effect.
    bias : (N,) array, optional

    Raises
    ------
    TypeError, ValueError
        If weight or bias is no array of such a shape and dtype.

    Notes
    -----
    Denormal numbers count as zero.  A convolution is such a layer, of windows that overlap:
    ``numpy.lib.stride_tricks`` makes them without a copy.

    Examples
    --------
    >>> import numpy as np
    >>> from numba_lstm.serving import Linear
    >>> rng = np.random.default_rng(0)
    >>> layer = Linear(rng.standard_normal((3, 128), np.float32), np.ones(3, np.float32))
    >>> x = rng.standard_normal((64, 128), np.float32)
    >>> y = layer(x)
    >>> y.shape, all((layer(x[i : i + 1]) == y[i]).all() for i in range(64))
    ((64, 3), True)
    """

    def __init__(self, weight: np.ndarray, bias: np.ndarray | None = None) -> None:
        weight = as_array(weight, "weight")
        self._dtype = float_dtype(weight.dtype)
        if weight.ndim != 2 or 0 in weight.shape:
            raise ValueError(f"weight should have shape (N, K), got {weight.shape}")
        self._out_features, self._in_features = map(int, weight.shape)
        lanes = block_sizes().lanes(self._dtype)
        self._panels = output_panels(weight.T.astype(self._dtype), lanes)
        self._bias = np.zeros(self._panels.size // self._in_features, self._dtype)
        if bias is not None:
            bias = as_array(bias, "bias")
            match_dtype("bias", "bias", bias, self._dtype)
            if bias.shape != (self._out_features,):
                raise ValueError(f"bias should have shape ({self._out_features},), got {bias.shape}")
            self._bias[: self._out_features] = bias
        self._run: Any = entry_for("linear", self._dtype)

    @property
    def in_features(self) -> int:
        """Features of what it takes: K."""
        return self._in_features

    @property
    def out_features(self) -> int:
        """Features of what it returns: N."""
        return self._out_features

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of inputs and outputs."""
        return self._dtype

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return ``x @ weight.T + bias``.

        Parameters
        ----------
        x : (..., K) array
            Up to three axes, of any strides.

        Returns
        -------
        (..., N) array
            Of its own.

        Raises
        ------
        RuntimeError
            If the last axis is not K.
        ValueError, TypeError
            If x is no array of this dtype with one to three axes.
        """
        x = as_array(x, "x")
        match_dtype("x", "x", x, self._dtype)
        if not 1 <= x.ndim <= 3:
            raise ValueError(f"Linear: Expected x to be 1D, 2D or 3D, got {x.ndim}D instead")
        if x.shape[-1] != self._in_features:
            wanted, given = self._in_features, x.shape[-1]
            raise RuntimeError(f"x.size(-1) must be equal to in_features. Expected {wanted}, got {given}")
        rows = np.asarray(x, self._dtype)
        if rows.strides[-1] != rows.itemsize or not rows.flags.aligned:
            rows = np.ascontiguousarray(rows)
        rows = rows[(None,) * (3 - x.ndim)]
        made = np.empty((*rows.shape[:2], self._bias.size), self._dtype)
        y = made
        if rows.shape[0] > rows.shape[1]:  # the longer axis shares what is read of the weights
            rows, y = rows.transpose(1, 0, 2), made.transpose(1, 0, 2)
        self._run(rows, self._panels, self._bias, y)
        return np.ascontiguousarray(made[..., : self._out_features]).reshape(*x.shape[:-1], self._out_features)

    def __getstate__(self) -> dict[str, Any]:
        # The order of the panels depends on the machine, as the kernel does.
        state = {name: value for name, value in self.__dict__.items() if name not in ("_panels", "_run")}
        return {**state, "_weight": self._weight(), "_bias": self._bias[: self._out_features].copy()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        own = dict(state)
        Linear.__init__(self, own.pop("_weight"), own.pop("_bias"))
        self.__dict__.update({name: value for name, value in own.items() if name not in self.__dict__})

    def _weight(self) -> np.ndarray:
        """Return the matrix of which ``output_panels`` made panels."""
        depth, outputs = self._in_features, self._out_features
        width = GATES * block_sizes().lanes(self._dtype)
        whole = (outputs - 1) // width * width
        body = self._panels[: whole * depth].reshape(-1, depth, width).swapaxes(1, 2).reshape(whole, depth)
        tail = self._panels[whole * depth :].reshape(depth, -1).T[: outputs - whole]
        return np.concatenate([body, tail])

    def __repr__(self) -> str:
        return f"Linear({self._in_features}, {self._out_features})"
