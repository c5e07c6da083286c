"""Make the files of this folder with Keras on torch: ``KERAS_BACKEND=torch python tests/golden_keras/make_golden.py``.

One model in the three formats of Keras 3, and what its layers give: a mask, and for every layer its
input ``x.<name>`` and its output ``<name>``, with the mask where ``masked.`` stands before.
"""

from __future__ import annotations

import json
import platform
from pathlib import Path

import keras
import numpy as np
import torch

HERE = Path(__file__).parent


def main() -> None:
    """Write the files."""
    generator = np.random.default_rng(11)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((6, 4)),
            layers.LSTM(5, return_sequences=True, name="lstm"),
            layers.Bidirectional(layers.LSTM(3, return_sequences=True), merge_mode="sum", name="both"),
            layers.GRU(3, return_sequences=True, name="gru"),
            layers.LSTM(2, go_backwards=True, use_bias=False, recurrent_activation="hard_sigmoid", name="last"),
        ],
        name="golden",
    )
    for layer in model.layers:
        layer.set_weights([generator.normal(0, 0.5, weight.shape) for weight in layer.get_weights()])
    model.save(HERE / "model.keras")
    model.save(HERE / "model.h5")
    model.save_weights(HERE / "model.weights.h5")
    mask = np.array([[1, 1, 0, 1, 1, 0], [0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0]], bool)
    about = {"keras": keras.__version__, "torch": torch.__version__, "python": platform.python_version()}
    arrays = {"about": np.array(json.dumps(about)), "mask": mask}
    for layer in model.layers:
        x = generator.standard_normal((3, 6, layer.input.shape[-1]), np.float32)
        arrays[f"x.{layer.name}"] = x
        for prefix, given in (("", None), ("masked.", torch.tensor(mask))):
            arrays[prefix + layer.name] = keras.ops.convert_to_numpy(layer(x, mask=given))
    np.savez_compressed(HERE / "layers.npz", **arrays)


if __name__ == "__main__":
    main()
