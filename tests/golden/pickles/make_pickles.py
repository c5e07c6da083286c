"""Make the pickles of this folder: ``python make_pickles.py [torch | onnx]``, with the package of long ago.

They were made with the last commit before the package had wings, f789919, so that they name modules that are no more.
Those of ``things`` with NumPy 1.26, for NumPy 2 reads what that has pickled and not the other way round; those of
``things_of_torch`` and ``things_of_onnx`` in other runs, with these packages.  ``test_old_pickles`` makes the same
things anew to compare them.
"""

from __future__ import annotations

import copy
import pickle
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import numpy as np

import numba_lstm as nl

HERE = Path(__file__).parent


def things() -> dict[str, Any]:
    """Return what people may have pickled, by name."""
    lstm = nl.LSTM(3, 5, num_layers=2, batch_first=True, dropout=0.25, bidirectional=True, proj_size=2, seed=1)
    lstm(np.ones((2, 4, 3), np.float32))  # which packs its weights, and draws a mask
    cell = nl.LSTMCell(3, 5, bias=False, dtype=np.float64, seed=2)
    sequences = [np.arange(2.0), np.arange(3.0)]
    return {
        "lstm": lstm,
        "eval": nl.LSTM(1, 4, bias=False, dtype=np.float64, seed=3).eval(),
        "cell": cell,
        "copies": [copy.copy(cell), copy.deepcopy(cell)],
        "dict": {"encoder": lstm, "sizes": (3, 5), "again": lstm},
        "sorted": nl.pack_sequence(sequences[::-1]),
        "unsorted": nl.pack_sequence(sequences, enforce_sorted=False),
        "keys": cell.load_state_dict({**cell.state_dict(), "other": 0}, strict=False),
        "parameters": {**lstm.state_dict(), "one": cell.weight_ih},
        "error": masked_error(),
        "declared": nl.io.Declared((2, 3), "F32"),
        "contents": nl.io.Contents({"a": np.arange(3)}, ["a", "b"], {"trained": "on Monday"}),
        "names": [nl.LSTM, nl.PackedSequence, nl.pack_sequence, nl.pad_packed_sequence, nl.set_num_threads, nl.warmup],
    }


def masked_error() -> Exception:
    """Return an error as it comes out of another process."""
    try:
        nl.LSTMCell(1, 1)(np.ma.ones((1, 1)))
    except TypeError as error:
        return error
    raise AssertionError


def things_of_torch() -> dict[str, Any]:
    """Return models with accelerated modules in them; one is of a subclass in a module ``users``."""
    import torch

    class Doubled(torch.nn.LSTM):  # type: ignore[misc]
        def forward(self, x: Any, hx: Any = None) -> Any:
            return super().forward(2 * x, hx)

    users: Any = ModuleType("users")
    users.Doubled, Doubled.__module__, Doubled.__qualname__ = Doubled, "users", "Doubled"
    sys.modules["users"] = users
    torch.manual_seed(0)
    plain = torch.nn.ModuleDict({"lstm": torch.nn.LSTM(3, 5, batch_first=True), "cell": torch.nn.LSTMCell(3, 5)})
    return {
        "model": nl.io.torch.accelerate(plain.eval()),
        "subclass": nl.io.torch.accelerate(Doubled(3, 5, bidirectional=True).eval()),
    }


def things_of_onnx() -> dict[str, Any]:
    """Return the node of a model, with an activation that is not the usual one and a state made for each batch."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(4)
    arrays = {key: rng.uniform(-1, 1, shape).astype("f4") for key, shape in (("W", (1, 20, 3)), ("R", (1, 20, 5)))}
    arrays |= {"one": np.array([1]), "five": np.array([5])}
    nodes = [
        helper.make_node("Shape", ["X"], ["sizes"]),
        helper.make_node("Gather", ["sizes", "one"], ["rows"]),
        helper.make_node("Concat", ["one", "rows", "five"], ["shape"], axis=0),
        helper.make_node("ConstantOfShape", ["shape"], ["h"], value=numpy_helper.from_array(np.array([0.5], "f4"))),
        helper.make_node(
            "LSTM", ["X", "W", "R", "", "", "h"], ["Y"], "lstm", hidden_size=5, activations=["Sigmoid", "Relu", "Tanh"]
        ),
    ]
    x = helper.make_tensor_value_info("X", TensorProto.FLOAT, ("T", "B", 3))
    y = helper.make_tensor_value_info("Y", TensorProto.FLOAT, None)
    constants = [numpy_helper.from_array(array, key) for key, array in arrays.items()]
    graph = helper.make_graph(nodes, "g", [x], [y], constants)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        opset = helper.make_opsetid("", 14)
        path.write_bytes(helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString())
        return {"node": nl.io.onnx.load(path)["lstm"]}


if __name__ == "__main__":
    if sys.argv[1:] == ["onnx"]:
        (HERE / "node.onnx_pickle").write_bytes(pickle.dumps(things_of_onnx()["node"], 4))
    elif sys.argv[1:] == ["torch"]:
        import torch

        for name, model in things_of_torch().items():
            torch.save(model, HERE / f"{name}.pt")
            torch.save(model, HERE / f"{name}_before_zip.pt", _use_new_zipfile_serialization=False)
            torch.save(model.state_dict(), HERE / f"{name}_state.pt")
    else:
        for name, thing in things().items():
            (HERE / f"{name}.pickle").write_bytes(pickle.dumps(thing, 4))
        (HERE / "all.pickle").write_bytes(pickle.dumps(things(), 2))
