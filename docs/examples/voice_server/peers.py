"""The same server with other networks, for the load test: torch or ONNX Runtime, one call for each chunk.

    python peers.py torch|onnxruntime [options of voice_server.py]

Both compute the whole of Silero VAD, from the same weights, in float32 and with one thread a call.  With two threads
or more, calls run in as many beside the thread of the connections; otherwise in that one, which costs less.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from front_end import CONTEXT, HOP, STRIDES, WEIGHTS, WINDOW
from safetensors.numpy import load_file
from voice_server import main, parser

from numba_lstm.serving import FullError

State = tuple[np.ndarray, np.ndarray]
Call = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]
"""A function of a window (1, WINDOW), h and c (1, 128) that returns the probability and the next h and c."""

HIDDEN = 128


def torch_call() -> Call:
    """Return a call of torch."""
    import torch
    from torch.nn import functional

    torch.set_num_threads(1)
    weights = {name: torch.from_numpy(array) for name, array in load_file(WEIGHTS).items()}
    transform = weights["stft.weight"]
    encoder = [(weights[f"encoder.{n}.weight"], weights[f"encoder.{n}.bias"], s) for n, s in enumerate(STRIDES)]
    decoder = weights["decoder.weight"], weights["decoder.bias"]
    cell = torch.nn.LSTMCell(HIDDEN, HIDDEN).eval()
    cell.load_state_dict({name: weights[f"lstm.{name}_l0"] for name, _ in cell.named_parameters()})

    @torch.inference_mode()
    def call(window: np.ndarray, h: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        x = functional.pad(torch.from_numpy(window)[:, None], (0, CONTEXT), mode="reflect")
        real, imaginary = functional.conv1d(x, transform, stride=HOP).chunk(2, 1)
        x = torch.sqrt(real * real + imaginary * imaginary)
        for kernel, bias, stride in encoder:
            x = torch.relu_(functional.conv1d(x, kernel, bias, stride=stride, padding=1))
        h, c = cell(x[:, :, 0], (torch.from_numpy(h), torch.from_numpy(c)))
        y = torch.sigmoid(functional.conv1d(torch.relu(h)[:, :, None], *decoder))
        return y.view(1).numpy(), h.numpy(), c.numpy()

    return call


def onnxruntime_call() -> Call:
    """Return a call of ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(onnx_model(), options, providers=["CPUExecutionProvider"])

    def call(window: np.ndarray, h: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        y, h, c = session.run(None, {"window": window, "h": h[None], "c": c[None]})
        return y.reshape(1), h[0], c[0]

    return call


def onnx_model() -> bytes:
    """Return the network as an ONNX model."""
    from onnx import TensorProto, helper, numpy_helper

    weights = load_file(WEIGHTS)
    constants: dict[str, Any] = {name: array for name, array in weights.items() if not name.startswith("lstm.")}
    # ONNX has its gates in the order i, o, f, c, where torch has i, f, c, o.
    lstm = {name: np.stack(np.split(weights[f"lstm.{name}_l0"], 4))[[0, 3, 1, 2]] for name in (
        "weight_ih", "weight_hh", "bias_ih", "bias_hh"
    )}
    constants["W"] = lstm["weight_ih"].reshape(1, 4 * HIDDEN, HIDDEN)
    constants["R"] = lstm["weight_hh"].reshape(1, 4 * HIDDEN, HIDDEN)
    constants["B"] = np.concatenate([lstm["bias_ih"].ravel(), lstm["bias_hh"].ravel()])[None]
    constants["pads"] = np.array([0, 0, 0, 0, 0, CONTEXT])
    constants["channel"] = np.array([1])
    nodes = [
        helper.make_node("Unsqueeze", ["window", "channel"], ["samples"]),
        helper.make_node("Pad", ["samples", "pads"], ["padded"], mode="reflect"),
        helper.make_node("Conv", ["padded", "stft.weight"], ["spectrum"], strides=[HOP]),
        helper.make_node("Split", ["spectrum"], ["real", "imaginary"], axis=1, num_outputs=2),
        helper.make_node("Mul", ["real", "real"], ["real2"]),
        helper.make_node("Mul", ["imaginary", "imaginary"], ["imaginary2"]),
        helper.make_node("Add", ["real2", "imaginary2"], ["power"]),
        helper.make_node("Sqrt", ["power"], ["x0"]),
    ]
    for n, stride in enumerate(STRIDES):
        inputs = [f"x{n}", f"encoder.{n}.weight", f"encoder.{n}.bias"]
        nodes.append(helper.make_node("Conv", inputs, [f"y{n}"], strides=[stride], pads=[1, 1]))
        nodes.append(helper.make_node("Relu", [f"y{n}"], [f"x{n + 1}"]))
    nodes += [
        helper.make_node("Transpose", [f"x{len(STRIDES)}"], ["steps"], perm=[2, 0, 1]),
        helper.make_node("LSTM", ["steps", "W", "R", "B", "", "h", "c"], ["", "h_n", "c_n"], hidden_size=HIDDEN),
        helper.make_node("Transpose", ["h_n"], ["hidden"], perm=[1, 2, 0]),
        helper.make_node("Relu", ["hidden"], ["positive"]),
        helper.make_node("Conv", ["positive", "decoder.weight", "decoder.bias"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["probability"]),
    ]
    number = TensorProto.FLOAT
    inputs = [helper.make_tensor_value_info("window", number, (1, WINDOW))]
    inputs += [helper.make_tensor_value_info(name, number, (1, 1, HIDDEN)) for name in ("h", "c")]
    outputs = [helper.make_tensor_value_info("probability", number, (1, 1, 1))]
    outputs += [helper.make_tensor_value_info(name, number, (1, 1, HIDDEN)) for name in ("h_n", "c_n")]
    initializers = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "silero", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return bytes(model.SerializeToString())


CALLS = {"torch": torch_call, "onnxruntime": onnxruntime_call}


class OneByOne:
    """Sessions that a network hears one call at a time."""

    def __init__(self, call: Call, max_sessions: int, threads: int) -> None:
        self._call, self._most = call, max_sessions
        self.pool = ThreadPoolExecutor(threads) if threads > 1 else None
        self.open_sessions = self.steps = 0

    async def open(self, state: State | None = None) -> Session:
        """Return a new session."""
        if self.open_sessions == self._most:
            raise FullError("all sessions are open")
        self.open_sessions += 1
        return Session(self, self._call, state)

    def counters(self) -> dict[str, Any]:
        """Return what has been done."""
        return {"sessions": self.open_sessions, "steps": self.steps}

    async def __aenter__(self) -> OneByOne:
        zeros = np.zeros((1, HIDDEN), np.float32)
        self._call(np.zeros((1, WINDOW), np.float32), zeros, zeros)
        return self

    async def __aexit__(self, *error: object) -> None:
        if self.pool is not None:
            self.pool.shutdown()


class Session:
    """One caller."""

    def __init__(self, owner: OneByOne, call: Call, state: State | None) -> None:
        zeros = np.zeros((1, HIDDEN), np.float32)
        self._owner, self._call = owner, call
        self.state: State = (zeros, zeros) if state is None else state

    async def step(self, x: np.ndarray) -> np.ndarray:
        """Return the probability (1,) for a window (WINDOW,) int16."""
        window = x[None].astype(np.float32)
        window *= 1 / 32768
        if self._owner.pool is None:
            y, *state = self._call(window, *self.state)
        else:
            loop = asyncio.get_running_loop()
            y, *state = await loop.run_in_executor(self._owner.pool, self._call, window, *self.state)
        self.state = state[0], state[1]
        self._owner.steps += 1
        return y

    async def close(self) -> None:
        """Give the place to others."""
        self._owner.open_sessions -= 1


if __name__ == "__main__":
    engine, *arguments = sys.argv[1:]
    threads = parser().parse_args(arguments).threads
    sys.exit(main(arguments, lambda most: OneByOne(CALLS[engine](), most, threads)))
