"""Numbers that other projects published for LSTMs (``../shared/conformance``; skipped where it is absent)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.cases import both_dtypes
from support.places import SHARED

import numba_lstm

FOLDER = SHARED / "conformance"


def _read(name: str) -> Any:
    path = FOLDER / name
    return json.loads(path.read_text()) if path.exists() else {"cases": []}


def test_the_tables_are_whole(shared: Path) -> None:
    """An empty table would pass in silence."""
    assert shared / "conformance" == FOLDER
    assert len(MISC) == 7
    assert len({case["distinct"] for case in ORT}) == 13


# --- candle, burn, PyTorch C++, ONNX Runtime training -------------------------------------------------------
MISC = _read("misc_lstm_cases.json")["cases"]


@both_dtypes
@pytest.mark.parametrize("case", MISC, ids=lambda case: case["name"])
def test_misc(case: dict[str, Any], dtype: type) -> None:
    lstm = numba_lstm.LSTM(**case["config"], dtype=dtype).eval()
    lstm.load_state_dict({name: np.array(value) for name, value in case["state_dict"].items()})
    hx = None if case["h0"] is None else (np.array(case["h0"], dtype), np.array(case["c0"], dtype))
    output, (h_n, c_n) = lstm(np.array(case["x"], dtype), hx)
    assert case["expected"]
    got = {"output": output, "h_n": h_n, "c_n": c_n}
    for name, value in case["expected"].items():
        assert got[name].shape == np.shape(value)
        np.testing.assert_allclose(got[name], value, rtol=0, atol=case["atol"], err_msg=name)


# --- ONNX Runtime -------------------------------------------------------------------------------------------
_ORT_FILE = _read("ort_lstm_cases.json")
ORT = [case for case in _ORT_FILE["cases"] if case["torch_expressible"]]
STALE = _ORT_FILE.get("known_bad_literals", [])


def _array(entry: dict[str, Any]) -> np.ndarray:
    return np.array(entry["data"], entry["dtype"]).reshape(entry["shape"])


def _torch_order(iofc: np.ndarray) -> np.ndarray:
    """Reorder the gates of the first axis from ONNX's i, o, f, c to i, f, g, o."""
    i, o, f, c = np.split(iofc, 4)
    return np.concatenate([i, f, c, o])


def _state_dict(inputs: dict[str, np.ndarray], direction: str) -> dict[str, np.ndarray]:
    """Return ONNX weights as torch's; a lone reverse direction becomes a forward one."""
    result = {}
    for d, suffix in enumerate(("_l0", "_l0_reverse")[: 1 + (direction == "bidirectional")]):
        result["weight_ih" + suffix] = _torch_order(inputs["W"][d])
        result["weight_hh" + suffix] = _torch_order(inputs["R"][d])
        if "B" in inputs:
            for name, bias in zip(("bias_ih", "bias_hh"), np.split(inputs["B"][d], 2), strict=True):
                result[name + suffix] = _torch_order(bias)
    return result


@both_dtypes
@pytest.mark.parametrize("case", ORT, ids=lambda case: case["name"])
def test_onnx_runtime(case: dict[str, Any], dtype: type) -> None:
    direction = case["attributes"]["direction"]
    inputs = {name: _array(entry) for name, entry in case["inputs"].items()}
    steps, rows, input_size = inputs["X"].shape
    hidden = case["attributes"]["hidden_size"]
    bidirectional = direction == "bidirectional"
    lstm = numba_lstm.LSTM(
        input_size, hidden, bias="B" in inputs, bidirectional=bidirectional, dtype=dtype
    ).eval()
    lstm.load_state_dict(_state_dict(inputs, direction))
    zeros = np.zeros((1 + bidirectional, rows, hidden))
    h_0, c_0 = (inputs.get(name, zeros).astype(dtype) for name in ("initial_h", "initial_c"))

    got = {name: np.zeros((1 + bidirectional, rows, hidden), dtype) for name in ("Y_h", "Y_c")}
    got["Y"] = np.zeros((steps, 1 + bidirectional, rows, hidden), dtype)
    lengths = inputs.get("sequence_lens", np.full(rows, steps))
    for row, length in enumerate(lengths):  # each sequence alone: its length is then the whole
        x = inputs["X"][:length, row : row + 1].astype(dtype)
        if direction == "reverse":
            x = x[::-1]
        one = slice(row, row + 1)
        output, (got["Y_h"][:, one], got["Y_c"][:, one]) = lstm(x, (h_0[:, one], c_0[:, one]))
        if direction == "reverse":
            output = output[::-1]
        got["Y"][:length, :, one] = output.reshape(length, 1, -1, hidden).swapaxes(1, 2)

    for name, entry in case["expected"].items():
        expected = _array(entry).astype(np.float64)
        for stale in STALE:
            if case["name"] in stale["tests"] and name == stale["output"]:
                assert expected[tuple(stale["index"])] == pytest.approx(stale["literal"])
                expected[tuple(stale["index"])] = stale["ort_and_numpy"]
        assert got[name].shape == expected.shape
        np.testing.assert_allclose(got[name], expected, rtol=0, atol=1e-5, err_msg=name)


# --- RTNeural -----------------------------------------------------------------------------------------------
@both_dtypes
def test_rtneural(shared: Path, dtype: type) -> None:
    """1 -> 8, three layers of 8, a dense head; 1,000 samples, whole and one by one."""
    folder = shared / "conformance" / "rtneural"
    weights = {n: np.array(v) for n, v in json.loads((folder / "lstm_torch.json").read_text()).items()}
    x = np.loadtxt(folder / "lstm_torch_x_python.csv")
    expected = np.loadtxt(folder / "lstm_torch_y_python.csv")

    first = numba_lstm.LSTM(1, 8, dtype=dtype).eval()
    second = numba_lstm.LSTM(8, 8, 3, dtype=dtype).eval()
    for lstm, prefix in ((first, "lstm."), (second, "lstm2.")):
        lstm.load_state_dict({n.removeprefix(prefix): v for n, v in weights.items() if n.startswith(prefix)})

    def head(h: np.ndarray) -> np.ndarray:
        return (h @ weights["dense.weight"].T + weights["dense.bias"])[:, 0]

    samples = x[:, None].astype(dtype)
    whole = head(second(first(samples)[0])[0])
    np.testing.assert_allclose(whole, expected, rtol=0, atol=2e-7)
    state_1 = state_2 = None
    stepped = []
    for sample in samples:
        h, state_1 = first(sample[None], state_1)
        h, state_2 = second(h, state_2)
        stepped.append(h)
    np.testing.assert_array_equal(head(np.concatenate(stepped)), whole)
