"""Numbers that others published for Keras's LSTM layers (``../shared/conformance``; skipped where it is absent)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import keras_files
from support.places import SHARED

from numba_lstm.io import keras

FOLDER = SHARED / "conformance"


def _cases() -> list[dict[str, Any]]:
    path = FOLDER / "keras_lstm_cases.json"
    return json.loads(path.read_text())["cases"] if path.exists() else []


CASES = _cases()


def test_the_table_is_whole(shared: Path) -> None:
    assert len(CASES) == 23


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_cases_of_keras(case: dict[str, Any], suffix: str, tmp_path: Path) -> None:
    inner = keras_files.layer("LSTM", "lstm", **case["layer"])
    arrays = [np.array(case[name], np.float32) for name in ("kernel", "recurrent_kernel", "bias") if case[name]]
    names = ["kernel:0", "recurrent_kernel:0", "bias:0"]
    path = tmp_path / f"model{suffix}"
    if case["bidirectional"]:
        inner = keras_files.layer("Bidirectional", "lstm", layer=inner, merge_mode="concat")
        groups = ["layers/bidirectional/forward_layer/cell", "layers/bidirectional/backward_layer/cell"]
        prefixes = ["lstm/forward_lstm/lstm_cell/", "lstm/backward_lstm/lstm_cell/"]
    else:
        groups, prefixes = ["layers/lstm/cell"], ["lstm/lstm_cell/"]
    if suffix == ".keras":
        weights = keras_files.grouped(dict.fromkeys(groups, arrays))
        keras_files.keras(path, keras_files.sequential(inner), weights)
    else:
        values = {prefix + name: array for prefix in prefixes for name, array in zip(names, arrays, strict=False)}
        keras_files.legacy(path, keras_files.sequential(inner), {"lstm": values}, "2.15.0")
    layer = keras.load(path)["lstm"]
    for _ in range(case["calls"]):
        result = layer(case["x"], mask=case["mask"], initial_state=case["initial_state"])
    parts = result if isinstance(result, tuple) else (result,)
    got = parts[case["output_index"]]
    if case["batch_index"] is not None:
        got = got[case["batch_index"]]
    assert got.shape == np.shape(case["expected"])
    np.testing.assert_allclose(got, case["expected"], rtol=case["rtol"], atol=case["atol"])


@pytest.mark.parametrize(("name", "bound"), [("lstm", 2e-7), ("lstm_1d", 2e-7)])
def test_rtneural(name: str, bound: float, shared: Path, tmp_path: Path) -> None:
    """Models that RTNeural trained with Keras, with samples in and out."""
    folder = shared / "conformance" / "rtneural"
    layers = json.loads((folder / f"{name}.json").read_text())["layers"]
    x, expected = (np.loadtxt(folder / f"{name}_{side}_python.csv", np.float32) for side in "xy")
    y = x.reshape(1, -1, 1)
    for index, layer in enumerate(layers):
        arrays = [np.array(array, np.float32) for array in layer["weights"]]
        if layer["type"] == "lstm":
            model = keras_files.sequential(keras_files.layer("LSTM", "lstm", return_sequences=True))
            weights = keras_files.grouped({"layers/lstm/cell": arrays})
            y = keras.load(keras_files.keras(tmp_path / f"{index}.keras", model, weights))["lstm"](y)
        else:
            y = y @ arrays[0] + arrays[1]
            y = np.tanh(y) if layer["activation"] == "tanh" else y
    np.testing.assert_allclose(y.reshape(expected.shape), expected, rtol=0, atol=bound)
