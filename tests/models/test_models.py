"""Two real networks on real inputs (``../shared/data``; skipped where it is absent)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import numba_lstm

RESIDUES = "ACDEFGHIKLMNPQRSTVWY"


def _proteins(path: Path) -> list[str]:
    return ["".join(record.splitlines()[1:]) for record in path.read_text().split(">")[1:]]


def _metapredict_error(folder: Path, chosen: Iterable[int] | None) -> float:
    """Return the largest difference from the published scores, over some proteins or all."""
    weights = load_file(folder / "metapredict_v3.safetensors")
    lstm = numba_lstm.LSTM(20, 52, 2, bidirectional=True).eval()
    lstm.load_state_dict({n.removeprefix("lstm."): v for n, v in weights.items() if n.startswith("lstm.")})
    with np.load(folder / "expected_v3.npz", allow_pickle=False) as file:
        scores, lengths = file["scores"], file["lengths"]
    proteins = _proteins(folder / "proteins.fasta")
    assert [len(p) for p in proteins] == list(lengths)
    ends = np.cumsum(lengths)
    worst = 0.0
    for index in range(len(proteins)) if chosen is None else chosen:
        letters = np.array([RESIDUES.index(letter) for letter in proteins[index]])
        hidden = lstm(np.eye(20, dtype=np.float32)[letters])[0].astype(np.float64)
        hidden -= hidden.mean(-1, keepdims=True)
        hidden /= np.sqrt(np.square(hidden).mean(-1, keepdims=True) + 1e-5)
        hidden = hidden * weights["layer_norm.weight"] + weights["layer_norm.bias"]
        score = (hidden @ weights["linear_layers.0.weight"].T + weights["linear_layers.0.bias"])[:, 0]
        published = scores[ends[index] - lengths[index] : ends[index]]
        worst = max(worst, float(np.abs(np.clip(score, 0, 1) - published).max()))
    return worst


def test_metapredict_short_proteins(shared: Path) -> None:
    folder = shared / "data" / "metapredict"
    with np.load(folder / "expected_v3.npz", allow_pickle=False) as file:
        shortest = np.argsort(file["lengths"], kind="stable")[:60]
    assert _metapredict_error(folder, shortest) < 2e-5


@pytest.mark.slow
def test_metapredict_all_proteins(shared: Path) -> None:
    error = _metapredict_error(shared / "data" / "metapredict", None)
    print(f"largest difference from the published scores of 500 proteins: {error:.2e}")
    assert error < 2e-5


@pytest.mark.parametrize("chunk", [188, 1, 50])
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=("float32", "float64"))
def test_silero(shared: Path, dtype: type, chunk: int) -> None:
    folder = shared / "data" / "silero_vad"
    lstm = numba_lstm.LSTM(128, 128, dtype=dtype).eval()
    weights = load_file(folder / "silero_vad_16k.safetensors")
    lstm.load_state_dict({n.removeprefix("lstm."): v for n, v in weights.items() if n.startswith("lstm.")})
    with np.load(folder / "expected.npz", allow_pickle=False) as file:
        x, expected = file["lstm_input"].astype(dtype), file["lstm_output"]
    assert len(x) == 188
    hx, parts = None, []
    for start in range(0, len(x), chunk):
        output, hx = lstm(x[start : start + chunk], hx)
        parts.append(output)
    np.testing.assert_allclose(np.concatenate(parts), expected, rtol=0, atol=1e-5)


def test_silero_by_load(shared: Path) -> None:
    """Sizes come from the file's names and shapes."""
    lstm = numba_lstm.LSTM.load(shared / "data" / "silero_vad" / "silero_vad_16k.safetensors", prefix="lstm.")
    assert (lstm.input_size, lstm.hidden_size, lstm.num_layers, lstm.bias) == (128, 128, 1, True)
    deep = numba_lstm.LSTM.load(
        shared / "data" / "metapredict" / "metapredict_v3.safetensors", prefix="lstm."
    )
    assert (deep.input_size, deep.hidden_size, deep.num_layers, deep.bidirectional) == (20, 52, 2, True)
