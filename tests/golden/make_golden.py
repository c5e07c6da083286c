"""Make the golden files of this folder with torch: ``python tests/golden/make_golden.py``.

Each file is one LSTM: its options and versions as JSON in ``about``, its parameters under ``p.<torch's
name>``, the input ``x``, the initial states ``h_0`` and ``c_0``, and torch's ``output``, ``h_n`` and ``c_n``.
float32 parameters and inputs; the results are torch's in float64 from the same numbers, stored in float64.
"""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import numpy as np
import torch

HERE = Path(__file__).parent

CASES: dict[str, dict[str, Any]] = {
    "plain": {"input_size": 7, "hidden_size": 17},
    "deep": {"input_size": 5, "hidden_size": 9, "num_layers": 3},
    "biasless": {"input_size": 4, "hidden_size": 33, "bias": False},
    "bidirectional": {"input_size": 6, "hidden_size": 16, "num_layers": 2, "bidirectional": True},
    "projected": {"input_size": 3, "hidden_size": 20, "num_layers": 2, "bidirectional": True, "proj_size": 7},
    "long": {"input_size": 1, "hidden_size": 3},
    "blocks": {"input_size": 150, "hidden_size": 5},  # more than one block of summation
}

CALLS = {
    "plain": (9, 3),
    "deep": (6, 7),
    "biasless": (5, 2),
    "bidirectional": (8, 5),
    "projected": (7, 2),
    "long": (250, 1),
    "blocks": (2, 2),
}
"""Steps and rows."""


def make(name: str, seed: int) -> None:
    """Write one file."""
    options = CASES[name]
    steps, rows = CALLS[name]
    rng = np.random.default_rng(seed)
    lstm = torch.nn.LSTM(**options)
    parameters = {}
    for key, value in lstm.state_dict().items():
        # Larger than torch's own, so that gates saturate now and then.
        parameters[key] = rng.normal(0, 1.5 / np.sqrt(options["hidden_size"]), tuple(value.shape)).astype(
            np.float32
        )
    lstm.load_state_dict({k: torch.from_numpy(v) for k, v in parameters.items()})
    lstm.double().eval()
    cells = lstm.num_layers * (1 + lstm.bidirectional)
    x = rng.standard_normal((steps, rows, lstm.input_size)).astype(np.float32)
    h_0 = rng.uniform(-1, 1, (cells, rows, lstm.proj_size or lstm.hidden_size)).astype(np.float32)
    c_0 = rng.standard_normal((cells, rows, lstm.hidden_size)).astype(np.float32)
    with torch.inference_mode():
        output, (h_n, c_n) = lstm(
            torch.from_numpy(x).double(), (torch.from_numpy(h_0).double(), torch.from_numpy(c_0).double())
        )
    about = {
        "options": options,
        "seed": seed,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
    np.savez_compressed(
        HERE / f"{name}.npz",
        about=np.array(json.dumps(about)),
        x=x,
        h_0=h_0,
        c_0=c_0,
        output=output.numpy(),
        h_n=h_n.numpy(),
        c_n=c_n.numpy(),
        **{f"p.{k}": v for k, v in parameters.items()},
    )


if __name__ == "__main__":
    for number, case in enumerate(CASES):
        make(case, number)
