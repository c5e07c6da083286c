"""What an LSTM computes, by plain NumPy in float64."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

Hidden = tuple[np.ndarray, np.ndarray]
Result = tuple[np.ndarray, Hidden]


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 + 0.5 * np.tanh(0.5 * x)


def reference(parameters: Mapping[str, np.ndarray], x: np.ndarray, hx: Hidden, lengths: Sequence[int]) -> Result:
    """Return what an LSTM computes, in float64 and step by step.

    Parameters
    ----------
    parameters : mapping
        Arrays by torch's names, with biases.
    x : (T, B, I) array
        Input.
    hx : (layers * D, B, H_out) and (layers * D, B, H) arrays
        Initial states.
    lengths : sequence of B ints
        Real steps of each row.  Output beyond them is zero; the reverse direction begins at the last one.

    Returns
    -------
    output, (h_n, c_n)
        As of the module.
    """
    p = {name: np.asarray(array, np.float64) for name, array in parameters.items()}
    suffixes = ["", "_reverse"] if "weight_ih_l0_reverse" in p else [""]
    real = np.arange(len(x))[:, None, None] < np.asarray(lengths)[:, None]
    h_n, c_n = (np.array(state, np.float64) for state in hx)
    source, outputs = np.asarray(x, np.float64), list[np.ndarray]()
    for index in range(len(h_n)):
        layer, direction = divmod(index, len(suffixes))
        if direction == 0 and layer > 0:
            source, outputs = np.concatenate(outputs, -1), []
        end = f"_l{layer}{suffixes[direction]}"
        w_ih, w_hh, w_hr = p["weight_ih" + end], p["weight_hh" + end], p.get("weight_hr" + end)
        inputs = source @ w_ih.T + p["bias_ih" + end] + p["bias_hh" + end]
        h, c, output = h_n[index], c_n[index], np.zeros((*x.shape[:2], h_n.shape[2]))
        for t in range(len(x))[:: -1 if direction else 1]:
            i, f, g, o = np.split(inputs[t] + h @ w_hh.T, 4, axis=-1)
            new_c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
            new_h = _sigmoid(o) * np.tanh(new_c)
            if w_hr is not None:
                new_h = new_h @ w_hr.T
            h, c = np.where(real[t], new_h, h), np.where(real[t], new_c, c)
            output[t] = np.where(real[t], new_h, 0.0)
        h_n[index], c_n[index] = h, c
        outputs.append(output)
    return np.concatenate(outputs, -1), (h_n, c_n)


def distance(actual: Result, expected: Result) -> float:
    """Return the largest difference of two results; inf where shapes differ or a number is NaN."""
    pairs = [(actual[0], expected[0]), *zip(actual[1], expected[1], strict=True)]
    if any(a.shape != b.shape or np.isnan(a).any() for a, b in pairs):
        return float("inf")
    return max(float(np.max(np.abs(a - b), initial=0.0)) for a, b in pairs)
