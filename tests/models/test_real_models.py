"""Trained networks of other packages, taken from their own files: Silero VAD 6.2.3 and metapredict 3.1.1 (both MIT)."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from support import oracle, package_index
from support.places import ROOT

import numba_lstm
from numba_lstm import io


@pytest.fixture(scope="module")
def silero(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return package_index.download("silero-vad==6.2.3", tmp_path_factory.mktemp("silero")) / "silero_vad" / "data"


@pytest.fixture(scope="module")
def metapredict(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return package_index.download("metapredict==3.1.1", tmp_path_factory.mktemp("metapredict"))


@pytest.fixture(scope="module")
def features(monkeypatch_module: pytest.MonkeyPatch) -> np.ndarray:
    """What the LSTM of Silero VAD is given, chunk by chunk, for a recording."""
    monkeypatch_module.syspath_prepend(ROOT / "docs" / "examples" / "silero_vad")
    example = importlib.import_module("silero_vad")
    network, samples = example.VoiceNetwork(), example.read_wav(example.SPEECH)
    padded = np.concatenate([np.zeros(example.CONTEXT), samples[: 40 * example.CHUNK]])
    size = example.CONTEXT + example.CHUNK
    windows = [padded[start : start + size] for start in range(0, len(padded) - size + 1, example.CHUNK)]
    return np.stack([network.features(window) for window in windows])


@pytest.fixture(scope="module")
def monkeypatch_module() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def bundled() -> numba_lstm.LSTM:
    return numba_lstm.LSTM.load(ROOT / "docs/examples/silero_vad/silero_vad_16k.safetensors", prefix="lstm.").eval()


def test_silero_torchscript(silero: Path) -> None:
    """Its cell is under torch's names, beside that for 8 kHz."""
    cell = numba_lstm.LSTMCell.load(silero / "silero_vad.jit", prefix="_model.decoder.rnn.")
    ours = bundled().state_dict()
    for name, array in cell.state_dict().items():
        np.testing.assert_array_equal(array, ours[f"{name}_l0"])
    other = numba_lstm.LSTMCell.load(silero / "silero_vad.jit", prefix="_model_8k.decoder.rnn.")
    assert not np.array_equal(other.weight_hh, cell.weight_hh)
    with pytest.raises(ValueError, match=r"_model\.decoder\.rnn\."):
        numba_lstm.LSTMCell.load(silero / "silero_vad.jit")


ONNX_FILES = [
    ("silero_vad_16k_op15.onnx", "/model/decoder/rnn/LSTM"),
    ("silero_vad_16k_sequence.onnx", "/recurrent/LSTM"),
    ("silero_vad.onnx", "If_0_then_branch__Inline_0__/decoder/rnn/LSTM"),
]


@pytest.mark.parametrize(("name", "node"), ONNX_FILES)
def test_silero_onnx(name: str, node: str, silero: Path, features: np.ndarray) -> None:
    """Weights in the branches of an If, which the file puts together from torch's; and a plain node."""
    pytest.importorskip("onnx")
    from numba_lstm.io import onnx

    nodes = onnx.load(silero / name)
    expected, (h_n, c_n) = bundled()(features)
    zeros = np.zeros((1, features.shape[1], 128), np.float32)
    with pytest.raises(ValueError, match="initial_h has to be given"):  # the model computes it from its input
        nodes[node](features)
    Y, Y_h, Y_c = nodes[node](features, None, zeros, zeros)
    for mine, other in ((Y[:, 0], expected), (Y_h, h_n), (Y_c, c_n)):
        np.testing.assert_allclose(mine, other, rtol=0, atol=1e-5)
    assert np.abs(expected).max() > 0.5
    if name == "silero_vad_16k_sequence.onnx":  # the states are inputs of the model
        np.testing.assert_array_equal(onnx.load_lstm(silero / name, node)(features)[0], Y[:, 0])
    else:
        with pytest.raises(ValueError, match="has an initial_h that the model computes"):
            onnx.load_lstm(silero / name, node)


def test_silero_onnx_beside_onnx_runtime(silero: Path, features: np.ndarray) -> None:
    """The probabilities that the file's own graph makes of our node's output, from those of the whole graph."""
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    from numba_lstm.io import onnx as ours

    path = silero / "silero_vad_16k_sequence.onnx"
    model = onnx.load(path)
    (lstm,) = (node for node in model.graph.node if node.op_type == "LSTM")
    model.graph.output.append(onnx.helper.make_tensor_value_info(lstm.input[0], onnx.TensorProto.FLOAT, None))
    model.graph.output.append(onnx.helper.make_tensor_value_info(lstm.output[0], onnx.TensorProto.FLOAT, None))
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {}
    for each in session.get_inputs():
        shape = [size if isinstance(size, int) and size > 0 else 1 for size in each.shape]
        feeds[each.name] = np.random.default_rng(0).standard_normal(shape).astype(np.float32) * (each.name == "input")
    x, expected = session.run([lstm.input[0], lstm.output[0]], feeds)
    got = ours.load(path)["/recurrent/LSTM"](x, None, feeds["h"], feeds["c"]).Y
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)


def test_metapredict(metapredict: Path) -> None:
    """Every network of the package; one is that of the demo."""
    networks = sorted(path for path in metapredict.rglob("networks/*") if path.suffix in (".pt", ".ckpt"))
    assert {path.suffix for path in networks} == {".pt", ".ckpt"}
    assert len(networks) == 16
    for path in networks:
        prefixes = {name.removesuffix("weight_ih_l0") for name in io.describe(path) if name.endswith("weight_ih_l0")}
        assert prefixes
        for prefix in prefixes:
            lstm = numba_lstm.LSTM.load(path, prefix=prefix).eval()
            assert np.isfinite(lstm(np.ones((3, 2, lstm.input_size), lstm.dtype))[0]).all()
    (path,) = (path for path in networks if path.name == "epoch099_val_loss1107.08.ckpt")
    ours = load_file(ROOT / "numba_lstm" / "demo" / "metapredict_v3.safetensors")
    loaded = numba_lstm.LSTM.load(path, prefix="lstm.").state_dict()
    for name, array in loaded.items():
        np.testing.assert_array_equal(array, ours[f"lstm.{name}"])


def test_metapredict_beside_torch(metapredict: Path) -> None:
    torch = pytest.importorskip("torch")
    for path in sorted(metapredict.rglob("networks/*.pt")):
        state = torch.load(path, map_location="cpu", weights_only=True)
        prefix = next(name.removesuffix("weight_ih_l0") for name in state if name.endswith("weight_ih_l0"))
        lstm = numba_lstm.LSTM.load(path, prefix=prefix).eval()
        theirs = torch.nn.LSTM(lstm.input_size, lstm.hidden_size, lstm.num_layers, bidirectional=lstm.bidirectional)
        theirs.load_state_dict({name.removeprefix(prefix): state[name] for name in state if name.startswith(prefix)})
        x = np.random.default_rng(0).standard_normal((20, 3, lstm.input_size)).astype(np.float32)
        with torch.inference_mode():
            output = theirs(torch.from_numpy(x))[0].numpy()
        # One of these networks makes a hundredfold of what is rounded, in torch as here.
        exact = oracle.lstm({name: np.asarray(array) for name, array in lstm.state_dict().items()}, x)[0]
        assert np.abs(lstm(x)[0] - exact).max() <= 2 * np.abs(output - exact).max()
