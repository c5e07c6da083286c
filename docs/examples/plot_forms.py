"""
Make steps faster with small weights, and see the error
=======================================================

A network that computes one step at a time waits for its weights more than for arithmetic. In 16 bits or in 8 there are
fewer bytes to wait for. What it costs is accuracy: :meth:`numba_lstm.LSTM.quantize` rounds the weights, and for 8 bits
inputs and states as well. Draw both for your own network, as here, before you decide; :doc:`/howto/weights` says which
form to take when.

Here the LSTM of Silero VAD hears a recording step by step. Errors are those of its output, root mean squares against
float64: what is best is at the lower left. torch and ONNX Runtime with their own int8, quantized as they do it by
default, are drawn where they are installed. The times are of the machine that built this page, whether it was idle or
not; :doc:`/performance` has those of an idle one.
Its network and the recording are in ``docs/examples/silero_vad`` of the repository: run this in ``docs/examples``.
"""

import logging
import runpy
import tempfile
import warnings
from pathlib import Path
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np

import numba_lstm as nl

nl.set_num_threads(1)
vad = runpy.run_path(str(Path("silero_vad", "silero_vad.py")))
network, samples = vad["VoiceNetwork"](), vad["read_wav"](vad["SPEECH"])
lstm, width = network.lstm, vad["CONTEXT"] + vad["CHUNK"]
x = np.stack([network.features(samples[at : at + width]) for at in range(0, samples.size - width, vad["CHUNK"])])
size = lstm.hidden_size


def with_stream(module):
    stream = module.stream()

    def step(x_t, state):
        if state is None:
            stream.reset()
        return stream.step(x_t), True

    return step


# What takes a row of the input, and the state before it, to the output and the next state.
engines = {"float32": with_stream(lstm)}
engines |= {form: with_stream(lstm.quantize(form)) for form in ("float16", "bfloat16", "int8")}

# %%
# The peers get the same weights.

weights = {name: np.array(array) for name, array in lstm.state_dict().items()}
try:
    import torch
except ModuleNotFoundError:
    print("torch is not installed here")
else:
    torch.set_num_threads(1)
    module = torch.nn.LSTM(lstm.input_size, size)
    module.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it will move to another package
        small = torch.ao.quantization.quantize_dynamic(torch.nn.Sequential(module), {torch.nn.LSTM})[0]

    def with_torch(x_t, state):
        with torch.inference_mode():
            y, state = small(torch.from_numpy(x_t[None]), state)
        return y.numpy()[0], state

    engines["torch int8"] = with_torch

try:
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper
    from onnxruntime.quantization import quantize_dynamic
except ModuleNotFoundError:
    print("onnx and ONNX Runtime are not installed here")
else:

    def in_order(name):
        i, f, g, o = np.split(weights[name], 4)
        return np.concatenate([i, o, f, g])[None]  # of one direction

    arrays = {"W": in_order("weight_ih_l0"), "R": in_order("weight_hh_l0")}
    arrays["B"] = np.concatenate([in_order("bias_ih_l0"), in_order("bias_hh_l0")], axis=1)
    shapes = {"X": [1, 1, lstm.input_size], "h": [1, 1, size], "c": [1, 1, size]}
    results = {"Y": [1, 1, 1, size], "h_n": [1, 1, size], "c_n": [1, 1, size]}
    graph = helper.make_graph(
        [helper.make_node("LSTM", ["X", "W", "R", "B", "", "h", "c"], [*results], hidden_size=size)],
        "lstm",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in results.items()],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    logging.getLogger().setLevel(logging.ERROR)  # it recommends what changes nothing here
    with tempfile.TemporaryDirectory() as folder:
        quantize_dynamic(model, f"{folder}/int8.onnx")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(f"{folder}/int8.onnx", options, providers=["CPUExecutionProvider"])

    def with_onnxruntime(x_t, state):
        h, c = state or (np.zeros((1, 1, size), np.float32),) * 2
        y, *state = session.run(None, {"X": x_t[None], "h": h, "c": c})
        return y[0, 0], state

    engines["ONNX Runtime int8"] = with_onnxruntime

# %%
# All of them hear the recording, again and again.

exact = nl.LSTM(lstm.input_size, size, dtype=np.float64).eval()
exact.load_state_dict(lstm.state_dict())
expected, _ = exact(x.astype(np.float64))

figure, axes = plt.subplots(figsize=(4, 2.8), dpi=150, layout="constrained")
for name, step in engines.items():
    outputs, state = [], None
    for x_t in x:
        y, state = step(x_t, state)
        outputs.append(y)
    error = np.sqrt(np.mean(np.square(np.stack(outputs) - expected)))
    seconds = []
    for _ in range(5):
        start = perf_counter()
        for x_t in x:
            _, state = step(x_t, state)
        seconds.append((perf_counter() - start) / len(x))
    time = min(seconds) * 1e6
    axes.loglog(time, error, "s" if " " in name else "o", markersize=10)
    axes.annotate(name, (time, error), xytext=(9, 0), textcoords="offset points", va="center")
axes.set(xlabel="µs a step", ylabel="rms error", ylim=(1e-9, 1e-1), yticks=[1e-8, 1e-6, 1e-4, 1e-2])
left, right = axes.get_xlim()
axes.set(xticks=[1, 2, 5, 10, 20, 50, 100], xlim=(left / 1.2, right * 2))  # with room for names
axes.xaxis.set_major_formatter("{x:g}")
axes.minorticks_off()
axes.grid(linewidth=0.4)
plt.show()
