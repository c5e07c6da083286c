"""LSTM nodes with random attributes, beside ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import onnx_files
from support.onnx_runtime import theirs

from numba_lstm.io import onnx as ours

pytestmark = pytest.mark.usefixtures("threads")

ACTIVATIONS = [
    "Sigmoid", "Tanh", "Relu", "Affine", "LeakyRelu", "ThresholdedRelu", "ScaledTanh", "HardSigmoid", "Elu", "Softsign",
    "Softplus",
]  # fmt: skip
# ONNX Runtime takes 0 where these say nothing; ONNX says 1 for ThresholdedRelu, and nothing for the others.
WITHOUT_DEFAULTS = {"Affine", "ScaledTanh", "ThresholdedRelu"}
WITH_ALPHA = {"Affine", "LeakyRelu", "ThresholdedRelu", "ScaledTanh", "HardSigmoid", "Elu"}
WITH_BETA = {"Affine", "ScaledTanh", "HardSigmoid"}


def compare(
    arrays: dict[str, np.ndarray], attributes: dict[str, Any], folder: Path, opset: int = 14, atol: float = 2e-6
) -> None:
    """Compare all outputs of a node whose inputs, those of its weights aside, are the model's."""
    weights = {name: arrays[name] for name in ("W", "R", "B", "P") if name in arrays}
    fed = {name: array for name, array in arrays.items() if name not in weights}
    inputs = [onnx_files.value(name, array.shape, array.dtype) for name, array in fed.items()]
    outputs = [onnx_files.value(name, None, arrays["X"].dtype) for name in onnx_files.OUTPUTS]
    node = onnx_files.node(list(arrays), hidden_size=arrays["R"].shape[2], **attributes)
    made = onnx_files.model([node], weights, inputs, outputs, opset)
    expected = theirs(made, fed)
    loaded = ours.load(onnx_files.save(made, folder))["lstm"]
    got = loaded(*(fed.get(name) for name in ("X", "sequence_lens", "initial_h", "initial_c")))
    largest = max(1.0, *(float(np.abs(array).max()) for array in expected))
    for name, one, other in zip(onnx_files.OUTPUTS, got, expected, strict=True):
        assert one.shape == other.shape, name
        assert one.dtype == other.dtype, name
        assert one.flags.c_contiguous
        np.testing.assert_allclose(one, other, rtol=0, atol=atol * largest, err_msg=name)


def _attributes(generator: np.random.Generator, directions: int, general: bool) -> dict[str, Any]:
    attributes: dict[str, Any] = {}
    if directions == 2:
        attributes["direction"] = "bidirectional"
    elif generator.random() < 0.5:
        attributes["direction"] = ["forward", "reverse"][generator.integers(2)]
    if not general:
        return attributes
    names = [ACTIVATIONS[n] for n in generator.integers(len(ACTIVATIONS), size=3 * directions)]
    attributes["activations"] = names
    if generator.random() < 0.7 or WITHOUT_DEFAULTS & {*names}:
        alphas = [float(generator.uniform(0.3, 1)) for name in names if name in WITH_ALPHA]
        betas = [float(generator.uniform(0.2, 0.8)) for name in names if name in WITH_BETA]
        numbers = {"activation_alpha": alphas, "activation_beta": betas}
        attributes |= {name: values for name, values in numbers.items() if values}
    if generator.random() < 0.4:
        attributes["clip"] = float(generator.uniform(0.2, 3))
    if generator.random() < 0.3:
        attributes["input_forget"] = 1
    return attributes


@pytest.mark.parametrize("seed", range(120))
def test_random_nodes(seed: int, tmp_path: Path) -> None:
    generator = np.random.default_rng(seed)
    directions, general = int(generator.integers(1, 3)), bool(generator.random() < 0.6)
    steps, rows, width, hidden = (int(generator.integers(1, top)) for top in (8, 6, 12, 40))
    # Activations without bounds amplify what was rounded before; small weights keep that out.
    arrays = onnx_files.random_arrays(generator, (width, hidden), directions, size=0.1 if general else 0.4)
    arrays["X"] = generator.standard_normal((steps, rows, width)).astype(np.float32)
    for name in ("initial_h", "initial_c"):
        if generator.random() < 0.5:
            arrays[name] = generator.standard_normal((directions, rows, hidden)).astype(np.float32)
    if generator.random() < 0.5:
        arrays["sequence_lens"] = generator.integers(1, steps + 1, rows).astype(np.int32)
    for name in ("B", "P"):
        if generator.random() < 0.5:
            del arrays[name]
    compare(arrays, _attributes(generator, directions, general), tmp_path, int(generator.choice([7, 14, 22])))


@pytest.mark.parametrize("given", [False, True], ids=["defaults", "given"])
@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("place", range(3), ids=["gates", "candidate", "cell"])
def test_every_activation(name: str, place: int, given: bool, tmp_path: Path) -> None:
    generator = np.random.default_rng(5)
    names = ["Sigmoid", "Tanh", "Tanh"]
    names[place] = name
    attributes: dict[str, Any] = {"activations": names}
    if given and name in WITH_ALPHA:
        attributes["activation_alpha"] = [0.7]
    if given and name in WITH_BETA:
        attributes["activation_beta"] = [0.3]
    if not given and name in WITHOUT_DEFAULTS:
        pytest.skip("has no default that all agree on")
    arrays = onnx_files.random_arrays(generator, (3, 5), 1, size=0.3)
    arrays["X"] = generator.standard_normal((6, 4, 3)).astype(np.float32)
    compare(arrays, attributes, tmp_path)


def test_an_empty_sequence(tmp_path: Path) -> None:
    generator = np.random.default_rng(6)
    for directions in (1, 2):
        arrays = onnx_files.random_arrays(generator, (3, 5), directions)
        arrays["X"] = generator.standard_normal((4, 3, 3)).astype(np.float32)
        arrays["sequence_lens"] = np.array([4, 0, 2], np.int32)
        for name in ("initial_h", "initial_c"):
            arrays[name] = generator.standard_normal((directions, 3, 5)).astype(np.float32)
        compare(arrays, {"direction": "bidirectional"} if directions == 2 else {}, tmp_path)
