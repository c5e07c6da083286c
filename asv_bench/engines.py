"""numba_lstm and its peers behind one name each: what runs a shape.  As a command: times one engine in this process.

Used by `turns`, which starts it with the interpreter that has the engine.  Prints one JSON object a line.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import report, shapes, timing
from .shapes import Case, Shape

Arrays = dict[str, np.ndarray]

STATE_NAMES = "h", "c"
"""Of the graph's inputs, in torch's order, each with its layer behind it."""


class Unsupported(Exception):
    """The engine cannot run this shape."""


class Runner(NamedTuple):
    """A network, ready to run."""

    call: Callable[[], Any]
    output: Callable[[Any], np.ndarray]
    """Takes what ``call`` returns; the output of the last layer, (L, N, D * H_out)."""


def numba_lstm_module(case: Case, form: str | None = None) -> Any:
    """Return our module with the weights of a case, of their dtype, or quantized to a form."""
    import numba_lstm

    inputs, hidden, layers, both, projection, *_ = case.shape
    lstm = numba_lstm.LSTM(inputs, hidden, layers, bidirectional=both, proj_size=projection, dtype=case.x.dtype)
    lstm.load_state_dict(case.weights)
    return lstm.quantize(form) if form else lstm.eval()


def numba_lstm_call(case: Case, form: str | None = None) -> Callable[[], Any]:
    """Return a call of our module, for the threads that are set."""
    lstm, x, hx = numba_lstm_module(case, form), case.x, case.hx
    return lambda: lstm(x, hx)


def _ours(case: Case, threads: int, form: str | None = None) -> Runner:
    import numba_lstm

    numba_lstm.set_num_threads(threads)
    return Runner(numba_lstm_call(case, form), lambda result: result[0])


def _our_stream(case: Case, threads: int, form: str | None = None) -> Runner:
    import numba_lstm

    if not case.shape.streams():
        raise Unsupported("for single steps")
    numba_lstm.set_num_threads(threads)
    stream, x = numba_lstm_module(case, form).stream(case.shape.batch), case.x[0]
    stream.state = case.hx

    def from_first_states(_: Any) -> np.ndarray:
        stream.state = case.hx
        output: np.ndarray = stream.step(case.x)
        return output

    return Runner(lambda: stream.step(x), from_first_states)


def _our_first_step(case: Case, threads: int) -> Runner:
    if not case.shape.streams():
        raise Unsupported("for single steps")
    return _ours(case._replace(hx=None), threads)


def _our_form(case: Case, threads: int, form: str | None) -> Runner:
    """Return a step of a stream where the shape is one, a call elsewhere."""
    return (_our_stream if case.shape.streams() else _ours)(case, threads, form)


def torch_module(case: Case) -> Any:
    """Return torch's module with the weights of a case."""
    import torch

    inputs, hidden, layers, both, projection, *_ = case.shape
    lstm = torch.nn.LSTM(inputs, hidden, layers, bidirectional=both, proj_size=projection)
    lstm.load_state_dict({name: torch.from_numpy(array) for name, array in case.weights.items()})
    return lstm


def _torch(case: Case, threads: int, int8: bool = False) -> Runner:
    import torch

    torch.set_num_threads(threads)
    # Nothing is recorded for gradients; to enter a mode within each call would count.
    lstm = torch_module(case).eval().requires_grad_(False)
    if int8:
        lstm = _torch_int8(lstm)
    x, hx = torch.from_numpy(case.x), case.hx and tuple(map(torch.from_numpy, case.hx))
    return Runner(lambda: lstm(x, hx), lambda result: result[0].numpy())


def _torch_int8(lstm: Any) -> Any:
    """Return the module with weights in int8, quantized as torch does it by default."""
    import torch

    if lstm.proj_size:
        raise Unsupported("torch has no int8 with a projection")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that all of it will be in another package one day
        return torch.ao.quantization.quantize_dynamic(
            torch.nn.Sequential(lstm), {torch.nn.LSTM}, dtype=torch.qint8
        )[0]


def _torch_without_onednn(case: Case, threads: int) -> Runner:
    import torch

    # For the process: within a call it would count.
    torch.backends.mkldnn.enabled = False
    return _torch(case, threads)


def _onnxruntime(case: Case, threads: int, int8: bool = False) -> Runner:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    model = _onnx_int8(_onnx_model(case)) if int8 else _onnx_model(case)
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feed = _onnx_inputs(case)
    return Runner(lambda: session.run(None, feed), lambda result: result[0])


def _openvino(case: Case, threads: int) -> Runner:
    import openvino

    core = openvino.Core()
    model = core.read_model(_onnx_model(case))
    # By default it computes in bfloat16 where the CPU can.
    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    inputs = _onnx_inputs(case)
    for name, array in inputs.items():
        request.set_tensor(name, openvino.Tensor(array, shared_memory=True))

    def output(_: Any, inputs_in_use: Any = inputs) -> np.ndarray:
        """Return the output; the default keeps the inputs, to which the request has no more than pointers."""
        copied: np.ndarray = request.get_output_tensor(0).data.copy()
        return copied

    return Runner(request.infer, output)


def _onnx_inputs(case: Case) -> Arrays:
    """Return what the graph is given: the sequence and, for a single step, every layer's states."""
    inputs = {"input": case.x}
    for name, states in zip(STATE_NAMES, case.hx or (), strict=False):
        parts = np.split(states, case.shape.num_layers)
        inputs |= {f"{name}{layer}": np.ascontiguousarray(part) for layer, part in enumerate(parts)}
    return inputs


def _onnx_model(case: Case) -> bytes:
    """Return the network as a serialised ONNX graph: an LSTM node and a change of axes for each layer.

    For a single step it takes states and returns them, as one who comes back with the next step needs it.
    """
    import onnx
    from onnx import helper, numpy_helper

    shape = case.shape
    if shape.proj_size:
        raise Unsupported("ONNX has no projection")
    steps, batch, width = shape.steps, shape.batch, shape.directions * shape.hidden_size
    constants = {"joined": np.array([steps, batch, width], np.int64)}
    nodes, given, last = [], "input", []

    def gates(name: str, layer: int) -> np.ndarray:
        """Return a parameter of both directions, gates in ONNX's order i, o, f, g."""
        suffixes = (f"_l{layer}", f"_l{layer}_reverse")[: shape.directions]
        i, f, g, o = np.split(np.stack([case.weights[name + suffix] for suffix in suffixes]), shapes.GATES, axis=1)
        return np.concatenate([i, o, f, g], axis=1)

    for layer in range(shape.num_layers):
        w, r, b, y, apart, output = (f"{kind}{layer}" for kind in ("w", "r", "b", "y", "apart", "output"))
        constants[w], constants[r] = gates("weight_ih", layer), gates("weight_hh", layer)
        constants[b] = np.concatenate([gates("bias_ih", layer), gates("bias_hh", layer)], axis=1)
        options = {"hidden_size": shape.hidden_size, "direction": "bidirectional" if shape.bidirectional else "forward"}
        inputs, outputs = [given, w, r, b], [y]
        if case.hx:
            inputs += ["", *(f"{state}{layer}" for state in STATE_NAMES)]  # without lengths of sequences
            outputs += [f"{state}{layer}_n" for state in STATE_NAMES]
        last += outputs[1:]
        nodes += [
            helper.make_node("LSTM", inputs, outputs, **options),
            helper.make_node("Transpose", [y], [apart], perm=[0, 2, 1, 3]),  # from (L, D, N, H) to (L, N, D, H)
            helper.make_node("Reshape", [apart, "joined"], [output]),
        ]
        given = output
    float32, state = onnx.TensorProto.FLOAT, [shape.directions, batch, shape.hidden_size]
    graph = helper.make_graph(
        nodes,
        "lstm",
        [helper.make_tensor_value_info(name, float32, array.shape) for name, array in _onnx_inputs(case).items()],
        [helper.make_tensor_value_info(given, float32, [steps, batch, width]),
         *(helper.make_tensor_value_info(name, float32, state) for name in last)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    serialised: bytes = model.SerializeToString()
    return serialised


def _onnx_int8(model: bytes) -> bytes:
    """Return the graph with weights in int8, quantized as ONNX Runtime does it by default."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        quantize_dynamic(onnx.load_from_string(model), path, weight_type=QuantType.QInt8)
        return path.read_bytes()


ENGINES: dict[str, Callable[[Case, int], Runner]] = {
    "numba_lstm": _ours,
    "stream": _our_stream,
    "first step": _our_first_step,
    "torch": _torch,
    "torch without oneDNN": _torch_without_onednn,
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
}
"""In float32."""

FORMS: dict[str, Callable[[Case, int], Runner]] = {
    "float32": partial(_our_form, form=None),
    "float16": partial(_our_form, form="float16"),
    "bfloat16": partial(_our_form, form="bfloat16"),
    "int8": partial(_our_form, form="int8"),
}
"""Ours, by the form of the weights."""

INT8_PEERS: dict[str, Callable[[Case, int], Runner]] = {
    "torch int8": partial(_torch, int8=True),
    "onnxruntime int8": partial(_onnxruntime, int8=True),
}

ALL = ENGINES | FORMS | INT8_PEERS

SAME = ("numba_lstm", "stream")
"""Engines of ours that compute what the peers do; the first step starts from zeros."""

OURS = (*SAME, "first step", *FORMS)


def packages(engine: str) -> tuple[str, ...]:
    """Return the packages whose versions matter."""
    return ("numba", "numpy") if engine in OURS else (engine.split()[0],)


def make(engine: str, shape: Shape, threads: int) -> Runner:
    """Return an engine with the weights, the input and the first states that all engines get for a shape.

    Raises
    ------
    Unsupported
        If the engine cannot run the shape.
    ModuleNotFoundError
        If it is not installed.
    """
    return ALL[engine](shapes.case(shape), threads)


def seconds(runner: Runner, budget: float) -> dict[str, float]:
    """Return what there is to say of a runner, by name: how long its call takes."""
    return {"seconds": timing.seconds_per_call(runner.call, budget).median}


def main(known: Mapping[str, Callable[[Case, int], Any]] = ALL, figures: Callable[[Any, float], Any] = seconds) -> None:
    """Time an engine; save its outputs if a folder is given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("engine", choices=known)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--budget", type=float, required=True, metavar="SECONDS")
    parser.add_argument("--shapes", nargs="+", required=True)
    parser.add_argument("--outputs", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    timing.pin(options.threads)
    for name, shape in shapes.select(options.shapes).items():
        try:
            runner = known[options.engine](shapes.case(shape), options.threads)
        except Unsupported:
            continue
        except ModuleNotFoundError as error:
            print(json.dumps({"missing": error.name}))
            return
        if options.outputs:
            np.save(options.outputs / f"{options.engine}.{name}.npy", runner.output(runner.call()))
        print(json.dumps({"shape": name, **figures(runner, options.budget)}), flush=True)
    print(json.dumps({"versions": report.versions(*packages(options.engine))}))


if __name__ == "__main__":
    main()
