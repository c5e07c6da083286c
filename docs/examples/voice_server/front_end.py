"""The front end of Silero VAD for many chunks at a time, each of them computed as if it were alone.

`silero_vad.py` says what is computed, with one product of NumPy for each layer.  How such a product adds up may depend
on how many rows it has; `numba_lstm.serving.Linear` gives a chunk the same bits whoever its neighbours are, and what
else is done here treats every number alone.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from numba_lstm.serving import Linear

# At first: the package of the network's authors, which may be installed as well, has the same name.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "silero_vad"))
from silero_vad import CHUNK, CONTEXT, FRAME, HOP, STRIDES, WEIGHTS, VoiceNetwork

WINDOW = CONTEXT + CHUNK
"""Samples that the network sees of a chunk: the last ones before it come first."""

FRAMES = (WINDOW + CONTEXT - FRAME) // HOP + 1
HALF = FRAME // 2
TAPS = 3
"""Steps that a convolution sees at a time."""

GROUP = 32
"""Chunks that go through all layers together: so many that what lies between the layers stays in the cache, and is
small enough that the system is not asked for memory every time."""


class BatchedNetwork(VoiceNetwork):
    """Silero VAD for batches: the same network, with sums in an order that no neighbour changes.

    Parameters
    ----------
    path : path
        A safetensors file with the names of the bundled one.

    Examples
    --------
    >>> network = BatchedNetwork()
    >>> windows = np.random.default_rng(0).integers(-32768, 32768, (7, WINDOW), np.int16)
    >>> together = network.front_end(windows)
    >>> alone = network.features((windows[2] / 32768).astype(np.float32))
    >>> bool((together[2:3] == alone).all())
    True
    """

    def __init__(self, path: str | os.PathLike[str] = WEIGHTS) -> None:
        super().__init__(path)
        weights = load_file(path)
        cosine, sine = np.split(weights["stft.weight"][:, 0], 2)
        if not (_is_mirrored(cosine, 1) and _is_mirrored(sine, -1)):
            raise ValueError(f"{path}: stft.weight should be a Fourier transform, symmetric around a frame's middle")
        # The two halves of a frame meet the same weights: one product for their sum, one for their difference.
        self._cosine, self._sine = (Linear(weight[:, 1 : HALF + 1]) for weight in (cosine, sine))
        self._layers = []
        for layer, stride in enumerate(STRIDES):
            kernel, bias = weights[f"encoder.{layer}.weight"], weights[f"encoder.{layer}.bias"]
            # torch's (out, in, 3) becomes (out, 3 * in): a layer of three steps that lie one behind the other.
            self._layers.append((Linear(kernel.transpose(0, 2, 1).reshape(len(kernel), -1), bias), stride))
        self._last = Linear(weights["decoder.weight"][:, :, 0], weights["decoder.bias"])

    def front_end(self, windows: np.ndarray) -> np.ndarray:
        """Return the LSTM's inputs (n, 128) for n windows (n, WINDOW) int16."""
        groups = (windows[first : first + GROUP] for first in range(0, len(windows), GROUP))
        return np.concatenate([self._encoded(np.multiply(group, 1 / 32768, dtype=np.float32)) for group in groups])

    def probabilities(self, hidden: np.ndarray) -> np.ndarray:
        """Return the probabilities of speech (n, 1) for the LSTM's outputs (n, 128)."""
        logits = self._last(np.maximum(hidden, 0)).astype(np.float64)
        return (0.5 + 0.5 * np.tanh(0.5 * logits)).astype(np.float32)  # the sigmoid, in a form that cannot overflow

    def features(self, window: np.ndarray) -> np.ndarray:
        """Return the LSTM's input (1, 128) for one window."""
        return self._encoded(window[None])

    def probability(self, hidden: np.ndarray) -> float:
        """Return the probability of speech for the LSTM's output (1, 128)."""
        return float(self.probabilities(hidden)[0, 0])

    def _encoded(self, windows: np.ndarray) -> np.ndarray:
        """Return the LSTM's inputs (n, 128) for windows (n, WINDOW) between -1 and 1."""
        samples = np.concatenate([windows, windows[:, -2 : -2 - CONTEXT : -1]], axis=1)  # mirrored at the end
        frames = _overlapping(samples, FRAMES, HOP, FRAME)
        left, right = frames[:, :, 1 : HALF + 1], frames[:, :, : HALF - 1 : -1]
        sums, differences = left + right, left - right
        sums[:, :, -1] = differences[:, :, -1] = left[:, :, -1]  # the middle has no counterpart
        power, imaginary = self._cosine(sums), self._sine(differences)
        power *= power
        imaginary *= imaginary
        power += imaginary
        x, inside = _between_zeros(power.shape)
        np.sqrt(power, out=inside)
        for layer, stride in self._layers:
            n, steps, channels = x.shape
            count = (steps - TAPS) // stride + 1
            y = layer(_overlapping(x.reshape(n, -1), count, stride * channels, TAPS * channels))
            x, inside = _between_zeros(y.shape)
            np.maximum(y, 0, out=inside)
        return x[:, 1]


def _between_zeros(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return an array for (n, steps, channels) with a step of zeros before and after, and its part between them."""
    n, steps, channels = shape
    padded = np.empty((n, steps + 2, channels), np.float32)
    padded[:, 0] = padded[:, -1] = 0
    return padded, padded[:, 1:-1]


def _is_mirrored(weight: np.ndarray, sign: int) -> bool:
    """Whether sample HALF + n of a frame has the weight of HALF - n, but for the sign, and the first has none."""
    return bool((weight[:, 1:] == sign * weight[:, :0:-1]).all()) and not weight[:, 0].any()


def _overlapping(rows: np.ndarray, count: int, step: int, size: int) -> np.ndarray:
    """Return so many parts of each row, (n, count, size), of which each begins ``step`` numbers after the last.

    Rows lie one behind the other.  NumPy's `as_strided` does the same, and takes as long as a layer of a few rows.
    """
    shape, strides = (len(rows), count, size), (rows.strides[0], step * rows.itemsize, rows.itemsize)
    return np.ndarray(shape, rows.dtype, rows, strides=strides)
