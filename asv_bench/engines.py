"""numba_lstm and its peers behind one name each: what runs a shape.  As a command: times one engine in this process.

Used by ``peers``, which starts it with the interpreter that has the engine.  Prints one JSON object a line.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import report, shapes, timing
from .shapes import Shape

Arrays = dict[str, np.ndarray]


class Unsupported(Exception):
    """The engine cannot run this shape."""


class Runner(NamedTuple):
    """A network, ready to run."""

    call: Callable[[], Any]
    output: Callable[[Any], np.ndarray]
    """Takes what ``call`` returns; the output of the last layer, (L, N, D * H_out)."""


def numba_lstm_module(shape: Shape, weights: Arrays) -> Any:
    """Return our module with these weights, of their dtype."""
    import numba_lstm

    dtype = weights["weight_ih_l0"].dtype
    inputs, hidden, layers, both, projection, *_ = shape
    lstm = numba_lstm.LSTM(inputs, hidden, layers, bidirectional=both, proj_size=projection, dtype=dtype)
    lstm.load_state_dict(weights)
    return lstm.eval()


def _ours(shape: Shape, weights: Arrays, x: np.ndarray, threads: int) -> Runner:
    import numba_lstm

    numba_lstm.set_num_threads(threads)
    lstm = numba_lstm_module(shape, weights)
    return Runner(lambda: lstm(x), lambda result: result[0])


def _our_stream(shape: Shape, weights: Arrays, x: np.ndarray, threads: int) -> Runner:
    import numba_lstm

    if shape.steps > 1 or shape.bidirectional:
        raise Unsupported("for single steps")
    numba_lstm.set_num_threads(threads)
    stream, step = numba_lstm_module(shape, weights).stream(shape.batch), x[0]

    def from_zero(_: Any) -> np.ndarray:
        stream.reset()
        output: np.ndarray = stream.step(x)
        return output

    return Runner(lambda: stream.step(step), from_zero)


def _torch(shape: Shape, weights: Arrays, x: np.ndarray, threads: int) -> Runner:
    import torch

    torch.set_num_threads(threads)
    inputs, hidden, layers, both, projection, *_ = shape
    lstm = torch.nn.LSTM(inputs, hidden, layers, bidirectional=both, proj_size=projection).eval()
    lstm.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    tensor = torch.from_numpy(x)

    def call() -> Any:
        with torch.inference_mode():
            return lstm(tensor)

    return Runner(call, lambda result: result[0].numpy())


def _torch_without_onednn(shape: Shape, weights: Arrays, x: np.ndarray, threads: int) -> Runner:
    import torch

    # For the process: within a call it would count.
    torch.backends.mkldnn.enabled = False
    return _torch(shape, weights, x, threads)


def _onnxruntime(shape: Shape, weights: Arrays, x: np.ndarray, threads: int) -> Runner:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    model = _onnx_model(shape, weights)
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feed = {"input": x}
    return Runner(lambda: session.run(None, feed), lambda result: result[0])


def _openvino(shape: Shape, weights: Arrays, x: np.ndarray, threads: int) -> Runner:
    import openvino

    core = openvino.Core()
    model = core.read_model(_onnx_model(shape, weights))
    # By default it computes in bfloat16 where the CPU can.
    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    request.set_input_tensor(openvino.Tensor(x, shared_memory=True))

    def output(_: Any, input_in_use: np.ndarray = x) -> np.ndarray:
        """Return the output; the default keeps the input, to which the request has no more than a pointer."""
        copied: np.ndarray = request.get_output_tensor(0).data.copy()
        return copied

    return Runner(request.infer, output)


def _onnx_model(shape: Shape, weights: Arrays) -> bytes:
    """Return the network as a serialised ONNX graph: an LSTM node and a change of axes for each layer."""
    import onnx
    from onnx import helper, numpy_helper

    if shape.proj_size:
        raise Unsupported("ONNX has no projection")
    steps, batch, width = shape.steps, shape.batch, shape.directions * shape.hidden_size
    constants = {"joined": np.array([steps, batch, width], np.int64)}
    nodes, given = [], "input"

    def gates(name: str, layer: int) -> np.ndarray:
        """Return a parameter of both directions, gates in ONNX's order i, o, f, g."""
        suffixes = (f"_l{layer}", f"_l{layer}_reverse")[: shape.directions]
        i, f, g, o = np.split(np.stack([weights[name + suffix] for suffix in suffixes]), shapes.GATES, axis=1)
        return np.concatenate([i, o, f, g], axis=1)

    for layer in range(shape.num_layers):
        w, r, b, y, apart, output = (f"{kind}{layer}" for kind in ("w", "r", "b", "y", "apart", "output"))
        constants[w], constants[r] = gates("weight_ih", layer), gates("weight_hh", layer)
        constants[b] = np.concatenate([gates("bias_ih", layer), gates("bias_hh", layer)], axis=1)
        direction = "bidirectional" if shape.bidirectional else "forward"
        nodes += [
            helper.make_node("LSTM", [given, w, r, b], [y], hidden_size=shape.hidden_size, direction=direction),
            helper.make_node("Transpose", [y], [apart], perm=[0, 2, 1, 3]),  # from (L, D, N, H) to (L, N, D, H)
            helper.make_node("Reshape", [apart, "joined"], [output]),
        ]
        given = output
    float32 = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "lstm",
        [helper.make_tensor_value_info("input", float32, [steps, batch, shape.input_size])],
        [helper.make_tensor_value_info(given, float32, [steps, batch, width])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    serialised: bytes = model.SerializeToString()
    return serialised


ENGINES: dict[str, Callable[[Shape, Arrays, np.ndarray, int], Runner]] = {
    "numba_lstm": _ours,
    "stream": _our_stream,
    "torch": _torch,
    "torch without oneDNN": _torch_without_onednn,
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
}

OURS = ("numba_lstm", "stream")


def packages(engine: str) -> tuple[str, ...]:
    """Return the packages whose versions matter."""
    return ("numba", "numpy") if engine in OURS else (engine.split()[0],)


def make(engine: str, shape: Shape, threads: int) -> Runner:
    """Return an engine with the weights and the input that all engines get for a shape.

    Raises
    ------
    Unsupported
        If the engine cannot run the shape.
    ModuleNotFoundError
        If it is not installed.
    """
    return ENGINES[engine](shape, shapes.parameters(shape), shapes.sequence(shape), threads)


def main() -> None:
    """Time an engine; save its outputs if a folder is given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--budget", type=float, required=True, metavar="SECONDS")
    parser.add_argument("--shapes", nargs="+", required=True)
    parser.add_argument("--outputs", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    timing.pin(options.threads)
    for name, shape in shapes.select(options.shapes).items():
        try:
            runner = make(options.engine, shape, options.threads)
        except Unsupported:
            continue
        except ModuleNotFoundError as error:
            print(json.dumps({"missing": error.name}))
            return
        if options.outputs:
            np.save(options.outputs / f"{options.engine}.{name}.npy", runner.output(runner.call()))
        taken = timing.seconds_per_call(runner.call, options.budget).median
        print(json.dumps({"shape": name, "seconds": taken}), flush=True)
    print(json.dumps({"versions": report.versions(*packages(options.engine))}))


if __name__ == "__main__":
    main()
