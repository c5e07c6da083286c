"""The front end of Silero VAD for many chunks at a time, each of them computed as if it were alone.

`silero_vad.py` says what is computed, with one product of NumPy for each layer.  How such a product adds up may depend
on how many rows it has; here the order of the sums is written down, and is the same for a chunk among others.
"""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

import numba
import numpy as np
from safetensors.numpy import load_file

sys.path.append(str(Path(__file__).resolve().parents[1] / "silero_vad"))
from silero_vad import CHUNK, CONTEXT, FRAME, HOP, STRIDES, WEIGHTS, VoiceNetwork

DTYPE = np.float64
"""Of all that lies between the samples and the LSTM, as in `silero_vad.py`."""

WINDOW = CONTEXT + CHUNK
"""Samples that the network sees of a chunk: the last ones before it come first."""

FRAMES = (WINDOW + CONTEXT - FRAME) // HOP + 1
HALF = FRAME // 2

BINS = 136
"""Numbers of a spectrum: 129, and zeros so that they fill vectors of any width."""

GROUP = 4
"""Chunks that go through all layers together; what lies between the layers stays in the cache."""


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
        weights = {name: array.astype(DTYPE) for name, array in load_file(path).items()}
        cosine, sine = np.split(weights["stft.weight"][:, 0], 2)
        if not (_is_mirrored(cosine, 1) and _is_mirrored(sine, -1)):
            raise ValueError(f"{path}: stft.weight should be a Fourier transform, symmetric around a frame's middle")
        # The two halves of a frame meet the same weights: one product for their sum, one for their difference.
        self._transform = _transform_weight(cosine), _transform_weight(sine)
        self._layers = []
        for layer in range(len(STRIDES)):
            kernel, bias = weights[f"encoder.{layer}.weight"], weights[f"encoder.{layer}.bias"]
            taps = kernel.transpose(2, 1, 0)  # (3, in, out)
            if layer == 0:
                taps = np.pad(taps, ((0, 0), (0, BINS - taps.shape[1]), (0, 0)))
            self._layers.append((np.ascontiguousarray(taps.reshape(-1, bias.size)), bias))

    def front_end(self, windows: np.ndarray) -> np.ndarray:
        """Return the LSTM's inputs (n, 128) float32 for n windows (n, WINDOW) int16."""
        return _front_end(np.multiply(windows, 1 / 32768, dtype=DTYPE), *self._transform, *self._layers)

    def probabilities(self, hidden: np.ndarray) -> np.ndarray:
        """Return the probabilities of speech (n, 1) for the LSTM's outputs (n, 128), float32."""
        return _probabilities(hidden, self._decoder, self._decoder_bias)

    def features(self, window: np.ndarray) -> np.ndarray:
        """Return the LSTM's input (1, 128) for one window."""
        return _front_end(window[None].astype(DTYPE), *self._transform, *self._layers)

    def probability(self, hidden: np.ndarray) -> float:
        """Return the probability of speech for the LSTM's output (1, 128)."""
        return float(self.probabilities(hidden)[0, 0])


def _is_mirrored(weight: np.ndarray, sign: int) -> bool:
    """Whether sample HALF + n of a frame has the weight of HALF - n, but for the sign, and the first has none."""
    return bool((weight[:, 1:] == sign * weight[:, :0:-1]).all()) and not weight[:, 0].any()


def _transform_weight(weight: np.ndarray) -> np.ndarray:
    """Return the weights of samples 1 to HALF, (HALF, BINS)."""
    return np.pad(weight[:, 1 : HALF + 1].T, ((0, 0), (0, BINS - len(weight))))


# --- kernels ----------------------------------------------------------------------------------------------


def _compiled(function):
    """Compile on first use; a product is added in one instruction, and Python's lock is free meanwhile."""
    return numba.njit(nogil=True, cache=True, fastmath={"contract"})(function)


@_compiled
def _add_one(x, weight, y):
    """Add to y the product of x (K,) and a weight (K, N), whose K is a multiple of 4, from the first term on."""
    for k in range(0, len(weight), 4):
        a, b, c, d = x[k], x[k + 1], x[k + 2], x[k + 3]
        for n in range(weight.shape[1]):
            y[n] = (((y[n] + a * weight[k, n]) + b * weight[k + 1, n]) + c * weight[k + 2, n]) + d * weight[k + 3, n]


@_compiled
def _add_four(x0, x1, x2, x3, weight, y0, y1, y2, y3):
    """Do the same for four x: the weight is read once for all of them."""
    for k in range(0, len(weight), 4):
        a0, b0, c0, d0 = x0[k], x0[k + 1], x0[k + 2], x0[k + 3]
        a1, b1, c1, d1 = x1[k], x1[k + 1], x1[k + 2], x1[k + 3]
        a2, b2, c2, d2 = x2[k], x2[k + 1], x2[k + 2], x2[k + 3]
        a3, b3, c3, d3 = x3[k], x3[k + 1], x3[k + 2], x3[k + 3]
        for n in range(weight.shape[1]):
            a, b, c, d = weight[k, n], weight[k + 1, n], weight[k + 2, n], weight[k + 3, n]
            y0[n] = (((y0[n] + a0 * a) + b0 * b) + c0 * c) + d0 * d
            y1[n] = (((y1[n] + a1 * a) + b1 * b) + c1 * c) + d1 * d
            y2[n] = (((y2[n] + a2 * a) + b2 * b) + c2 * c) + d2 * d
            y3[n] = (((y3[n] + a3 * a) + b3 * b) + c3 * c) + d3 * d


@_compiled
def _row(array, item, step, size):
    """Return ``size`` numbers of array (items, steps, channels) from a step of an item on."""
    start = step * array.shape[2]
    return array[item].reshape(-1)[start : start + size]


@_compiled
def _multiply(x, stride, weight, y, first, count, items):
    """Add products to ``count`` steps of each item of y from ``first`` on; one with as much of x as the weight takes.

    Step t meets what begins with step t * stride of x.
    """
    size, columns = weight.shape
    rows = items * count
    fours = rows - rows % 4
    for r in range(0, fours, 4):
        i0, t0 = divmod(r, count)
        i1, t1 = divmod(r + 1, count)
        i2, t2 = divmod(r + 2, count)
        i3, t3 = divmod(r + 3, count)
        _add_four(
            _row(x, i0, t0 * stride, size),
            _row(x, i1, t1 * stride, size),
            _row(x, i2, t2 * stride, size),
            _row(x, i3, t3 * stride, size),
            weight,
            _row(y, i0, t0 + first, columns),
            _row(y, i1, t1 + first, columns),
            _row(y, i2, t2 + first, columns),
            _row(y, i3, t3 + first, columns),
        )
    for r in range(fours, rows):
        i, t = divmod(r, count)
        _add_one(_row(x, i, t * stride, size), weight, _row(y, i, t + first, columns))


@_compiled
def _convolve(x, stride, layer, y, items):
    """Fill the steps of y between its margins: a convolution of three taps over x, which has margins, and a ReLU."""
    weight, bias = layer
    count = y.shape[1] - 2
    for item in range(items):
        for t in range(1, count + 1):
            y[item, t] = bias
    _multiply(x, stride, weight, y, 1, count, items)
    for item in range(items):
        for t in range(1, count + 1):
            for n in range(y.shape[2]):
                y[item, t, n] = max(y[item, t, n], DTYPE(0))


@_compiled
def _frames(window, sums, differences):
    """Fill what a window's frames are to the transform, (FRAMES, HALF): sums and differences around their middles."""
    last = 2 * (WINDOW - 1)
    for t in range(FRAMES):
        for n in range(1, HALF + 1):
            left, right = t * HOP + n, t * HOP + FRAME - n
            a = window[left if left < WINDOW else last - left]  # mirrored at the end
            b = window[right if right < WINDOW else last - right]
            sums[t, n - 1] = a + b if n < HALF else a
            differences[t, n - 1] = a - b


@_compiled
def _front_end(windows, cosine, sine, first, second, third, fourth):
    """Return (n, 128) float32 for windows (n, WINDOW) between -1 and 1."""
    out = np.empty((len(windows), len(fourth[1])), np.float32)
    sums = np.empty((GROUP, FRAMES, HALF), DTYPE)
    differences = np.empty_like(sums)
    real = np.empty((GROUP, FRAMES, BINS), DTYPE)
    imaginary = np.empty_like(real)
    # A step of zeros before the first and after the last: what convolutions see beyond the ends.
    spectrum = np.zeros((GROUP, FRAMES + 2, BINS), DTYPE)
    x1 = np.zeros((GROUP, FRAMES + 2, len(first[1])), DTYPE)
    x2 = np.zeros((GROUP, FRAMES // 2 + 2, len(second[1])), DTYPE)
    x3 = np.zeros((GROUP, FRAMES // 4 + 2, len(third[1])), DTYPE)
    x4 = np.zeros((GROUP, FRAMES // 4 + 2, len(fourth[1])), DTYPE)
    for begin in range(0, len(windows), GROUP):
        items = min(GROUP, len(windows) - begin)
        for item in range(items):
            _frames(windows[begin + item], sums[item], differences[item])
        real[:items] = 0.0
        imaginary[:items] = 0.0
        _multiply(sums, 1, cosine, real, 0, FRAMES, items)
        _multiply(differences, 1, sine, imaginary, 0, FRAMES, items)
        for item in range(items):
            for t in range(FRAMES):
                for n in range(BINS):
                    spectrum[item, t + 1, n] = math.sqrt(real[item, t, n] ** 2 + imaginary[item, t, n] ** 2)
        _convolve(spectrum, STRIDES[0], first, x1, items)
        _convolve(x1, STRIDES[1], second, x2, items)
        _convolve(x2, STRIDES[2], third, x3, items)
        _convolve(x3, STRIDES[3], fourth, x4, items)
        out[begin : begin + items] = x4[:items, 1]
    return out


@_compiled
def _probabilities(hidden, weight, bias):
    """Return (n, 1) float32 for hidden (n, 128)."""
    out = np.empty((len(hidden), 1), np.float32)
    for i in range(len(hidden)):
        logit = bias
        for n in range(len(weight)):
            logit += max(hidden[i, n], 0.0) * weight[n]
        out[i, 0] = 0.5 + 0.5 * math.tanh(0.5 * logit)  # the sigmoid, in a form that cannot overflow
    return out
