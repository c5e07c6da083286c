"""LSTM cells with a rule of their own in float64, plain and slow: what the tests believe.

It imports nothing of the package.  The equations are those of the ONNX operator LSTM.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

Function = Callable[[np.ndarray], np.ndarray]


def function(name: str, alpha: float = 0.0, beta: float = 0.0) -> Function:
    """Return an activation in float64, by its definition."""
    known: dict[str, Function] = {
        "Sigmoid": lambda x: np.exp(-np.logaddexp(0.0, -x)),
        "Tanh": np.tanh,
        "Relu": lambda x: np.maximum(x, 0.0),
        "Affine": lambda x: alpha * x + beta,
        "LeakyRelu": lambda x: np.where(x < 0, alpha * x, x),
        "ThresholdedRelu": lambda x: np.where(x > alpha, x, np.where(np.isnan(x), x, 0.0)),
        "ScaledTanh": lambda x: alpha * np.tanh(beta * x),
        "HardSigmoid": lambda x: np.clip(alpha * x + beta, 0.0, 1.0),
        "Elu": lambda x: beta * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0))),
        "Softsign": lambda x: x / (1 + np.abs(x)),
        "Softplus": lambda x: np.logaddexp(0.0, x),
        "Clip": lambda x: np.clip(x, alpha, beta),
        "Silu": lambda x: x * np.exp(-np.logaddexp(0.0, -x)),
        "Exp": np.exp,
    }
    return known[name]


def lstm(
    parameters: Mapping[str, np.ndarray],
    x: np.ndarray,
    activations: Sequence[tuple[Function, Function, Function]],
    clip: float = np.inf,
    input_forget: bool = False,
    peepholes: Sequence[np.ndarray] | None = None,
    h_0: np.ndarray | None = None,
    c_0: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Run layers over (T, B, I); parameters by torch's names, activations by direction."""
    p = {name: np.asarray(value, np.float64) for name, value in parameters.items()}
    x = np.asarray(x, np.float64)
    suffixes = ("", "_reverse") if "weight_ih_l0_reverse" in p else ("",)
    layers = sum(name.startswith("weight_ih") for name in p) // len(suffixes)
    h_n, c_n = [], []
    for layer in range(layers):
        outputs = []
        for direction, suffix in enumerate(suffixes):
            index = layer * len(suffixes) + direction
            w_ih, w_hh, b_ih, b_hh = (
                p[f"{kind}_l{layer}{suffix}"] for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
            hidden = w_hh.shape[1]
            h = np.zeros((x.shape[1], hidden)) if h_0 is None else np.asarray(h_0[index], np.float64)
            c = np.zeros((x.shape[1], hidden)) if c_0 is None else np.asarray(c_0[index], np.float64)
            look = np.zeros((3, hidden)) if peepholes is None else np.asarray(peepholes[index], np.float64)
            f, g, h_of = activations[direction]
            output = np.empty((*x.shape[:2], hidden))
            for t in range(len(x)) if not direction else reversed(range(len(x))):
                i_sum, f_sum, g_sum, o_sum = np.split(x[t] @ w_ih.T + h @ w_hh.T + b_ih + b_hh, 4, axis=1)
                entering = f(np.clip(i_sum + look[0] * c, -clip, clip))
                kept = 1 - entering if input_forget else f(np.clip(f_sum + look[1] * c, -clip, clip))
                c = kept * c + entering * g(np.clip(g_sum, -clip, clip))
                h = f(np.clip(o_sum + look[2] * c, -clip, clip)) * h_of(c)
                output[t] = h
            outputs.append(output)
            h_n.append(h)
            c_n.append(c)
        x = np.concatenate(outputs, axis=2)
    return x, np.stack(h_n), np.stack(c_n)
