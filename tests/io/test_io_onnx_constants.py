"""What ONNX nodes read beside X: weights, states and lengths that the operator takes or not, branches, stacks.

ONNX Runtime says what is right.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import onnx_files
from support.onnx_files import helper
from support.onnx_runtime import theirs
from support.onnx_states import FIXED, HIDDEN, ROWS, STATE_SHAPE, STEPS, WIDTH, ZERO_STATE, Built, batch, op, weights

from numba_lstm.io import onnx as ours

pytestmark = pytest.mark.usefixtures("threads")


# --- what the operator does not take ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        ("c", np.zeros((1, ROWS, 5), np.float32), r"its initial_c has shape \(1, 3, 5\), not \(1, batch, 4\)"),
        ("h", np.zeros((2, ROWS, HIDDEN), np.float32), r"its initial_h has shape \(2, 3, 4\), not \(1, batch, 4\)"),
        ("h", np.zeros((ROWS, HIDDEN), np.float32), r"its initial_h has shape \(3, 4\), not"),
        ("h", np.float32(0), r"its initial_h has shape \(\), not"),
        ("h", ZERO_STATE.astype(np.float64), "its initial_h holds float64, not float32"),
        ("h", ZERO_STATE.astype(np.float16), "its initial_h holds float16, not float32"),
        ("h", ZERO_STATE.astype(np.int32), "its initial_h holds int32, not float32"),
        ("lengths", np.full(ROWS, 2), "its sequence_lens holds int64, not int32"),
        ("lengths", np.full(ROWS, 2, np.float32), "its sequence_lens holds float32, not int32"),
        ("lengths", np.full((ROWS, 1), 2, np.int32), r"its sequence_lens has shape \(3, 1\), not \(batch,\)"),
        ("lengths", np.int32(2), r"its sequence_lens has shape \(\), not \(batch,\)"),
        ("lengths", np.array([1, -1, 2], np.int32), "its sequence_lens is -1 for a sequence"),
    ],
)
@pytest.mark.parametrize("made", [False, True], ids=["constant", "computed"])
def test_states_and_lengths_that_the_operator_does_not_take(
    name: str, array: np.ndarray, words: str, made: bool, tmp_path: Path
) -> None:
    nodes = [op("Identity", "source", name)] if made else []
    built = Built(nodes, {"source" if made else name: array}, tmp_path)
    built.refuses_to_load(words)
    with pytest.raises(Exception, match="ONNXRuntimeError"):
        theirs(built.model, {"X": batch(np.random.default_rng(0))})


def test_states_for_another_batch_have_to_be_given(tmp_path: Path) -> None:
    built = Built([], {"h": ZERO_STATE + 1, "lengths": np.array([1, 6, 2], np.int32)}, tmp_path)
    built.refuses_a_call(
        r"sequence_lens has to be given: that of the file has shape \(3,\), not \(2,\)",
        batch(np.random.default_rng(0), 2),
    )
    built.refuses_a_call("sequence_lens should be from 0 to 5, got: 1 to 6", batch(np.random.default_rng(0)))
    built.check(batch(np.random.default_rng(0), steps=6))


@pytest.mark.parametrize("name", ["B", "R"])
def test_weights_of_other_types_are_refused(name: str, tmp_path: Path) -> None:
    arrays = weights(np.random.default_rng(1))
    arrays[name] = arrays[name].astype(np.float64)
    built = Built([], {}, tmp_path, arrays=arrays)
    built.refuses_to_load(
        r"LSTM of opset 17 does not take tensor\((float|double)\) and tensor\((float|double)\) together"
    )


def test_the_operator_by_the_letter_of_its_opset(tmp_path: Path) -> None:
    Built([], {}, tmp_path, opset=7, layout=1).refuses_to_load("LSTM of opset 7 has no attribute 'layout'")
    Built([], {}, tmp_path, opset=17, output_sequence=1).refuses_to_load("has no attribute 'output_sequence'")
    Built([], {}, tmp_path, opset=1000).refuses_to_load("is of opset 1000, and the installed onnx knows")
    built = Built([], {}, tmp_path)
    del built.model.opset_import[:]
    onnx_files.save(built.model, tmp_path)
    built.refuses_to_load("does not say which opset")


def test_functions_that_hide_operators_are_refused(tmp_path: Path) -> None:
    """A model may define an operator of ONNX's own anew."""
    built = Built([op("Neg", "h0", "h")], {"h0": ZERO_STATE + 1}, tmp_path)
    body = [op("Abs", "a", "b")]
    built.model.functions.append(helper.make_function("", "Neg", ["a"], ["b"], body, [helper.make_opsetid("", 17)]))
    onnx_files.save(built.model, tmp_path)
    built.refuses_a_call("initial_h has to be given: ai.onnx.Neg computes it", batch(np.random.default_rng(0)))


# --- conditions, and graphs in graphs -----------------------------------------------------------------------


@pytest.mark.parametrize("condition", [True, False])
def test_a_branch_whose_condition_is_known_is_taken(condition: bool, tmp_path: Path) -> None:
    values = {"then_branch": op("Expand", "learned target", "a"), "else_branch": op("Expand", "half target", "b")}
    branches = {
        name: helper.make_graph([node], name, [], [onnx_files.value(node.output[0], None)])
        for name, node in values.items()
    }
    nodes = [*STATE_SHAPE, op("Not", "no", "yes"), op("If", "yes", "h", **branches)]
    constants = FIXED | {"half": np.float32(0.5), "no": np.array(not condition)}
    built = Built(nodes, constants, tmp_path)
    for rows in (2, 3):
        built.check(batch(np.random.default_rng(rows), rows))


def test_a_branch_whose_condition_depends_on_the_input_is_not(tmp_path: Path) -> None:
    branch = [helper.make_graph([op("Identity", "learned", n)], n, [], [onnx_files.value(n, None)]) for n in "ab"]
    choice = op("If", "given", "h", then_branch=branch[0], else_branch=branch[1])
    built = Built([choice], FIXED, tmp_path, inputs={"given": np.array(True)})
    built.refuses_a_call(
        "initial_h has to be given: 'given' is given when the model runs", batch(np.random.default_rng(0))
    )


def test_a_node_in_a_branch_reads_what_is_around_it(tmp_path: Path) -> None:
    arrays = weights(np.random.default_rng(1))
    inner = onnx_files.node(["X", "W", "R", "B", "initial_h"], hidden_size=HIDDEN)
    inner.input[5] = "h"
    graphs = [
        helper.make_graph([node], "inner", [], [onnx_files.value("Y", None)]) for node in (inner, op("Relu", "X", "Y"))
    ]
    choice = op("If", "flag", "out", then_branch=graphs[0], else_branch=graphs[1])
    nodes = [*STATE_SHAPE, op("Expand", "learned target", "h"), choice]
    inputs = [onnx_files.value("X", ["steps", "rows", WIDTH]), onnx_files.value("flag", [], np.bool_)]
    made = onnx_files.model(
        nodes, FIXED | {name: arrays[name] for name in "WRB"}, inputs, [onnx_files.value("out", None)]
    )
    node = ours.load(onnx_files.save(made, tmp_path))["lstm"]
    for rows in (2, 3):
        x = batch(np.random.default_rng(rows), rows)
        (y,) = theirs(made, {"X": x, "flag": np.array(True)})
        np.testing.assert_allclose(node(x).Y, y, rtol=0, atol=2e-6)


# --- stacks -------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")  # of the exporters
@pytest.mark.parametrize("dynamo", [False, True], ids=["TorchScript", "dynamo"])
def test_torchs_states_that_are_given(dynamo: bool, tmp_path: Path) -> None:
    """Each layer has a slice of what the model is given."""
    torch = pytest.importorskip("torch")
    if dynamo:
        pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    trained = torch.nn.LSTM(WIDTH, HIDDEN, 2, bidirectional=True).eval()
    x, h, c = torch.randn(STEPS, ROWS, WIDTH), *torch.randn(2, 4, ROWS, HIDDEN)
    torch.onnx.export(trained, (x, (h, c)), tmp_path / "m.onnx", dynamo=dynamo, verbose=False)
    expected = trained(x, (h, c))[0].detach().numpy()
    output, _ = ours.load_lstm(tmp_path / "m.onnx")(x.numpy(), (h.numpy(), c.numpy()))
    np.testing.assert_allclose(output, expected, rtol=0, atol=1e-6)
    for node in ours.load(tmp_path / "m.onnx").values():
        with pytest.raises(ValueError, match="initial_h has to be given"):
            node(np.zeros((STEPS, ROWS, node.input_size), np.float32))


@pytest.mark.filterwarnings("ignore")  # of the exporters
@pytest.mark.parametrize("dynamo", [False, True], ids=["TorchScript", "dynamo"])
def test_torchs_learned_states(dynamo: bool, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    if dynamo:
        pytest.importorskip("onnxscript")

    class Learned(torch.nn.Module):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__()
            self.lstm = torch.nn.LSTM(WIDTH, HIDDEN, batch_first=True)
            self.h0, self.c0 = (torch.nn.Parameter(torch.randn(1, 1, HIDDEN)) for _ in range(2))

        def forward(self, x: Any) -> Any:
            rows = x.shape[0]
            return self.lstm(x, (self.h0.expand(-1, rows, -1).contiguous(), self.c0.repeat(1, rows, 1)))[0]

    torch.manual_seed(0)
    module, x = Learned().eval(), torch.randn(ROWS, STEPS, WIDTH)
    more: dict[str, Any] = {"input_names": ["x"], "dynamic_axes": {"x": {0: "rows", 1: "steps"}}}
    if dynamo:
        more = {"dynamic_shapes": ({0: torch.export.Dim("rows", min=2), 1: torch.export.Dim("steps", min=2)},)}
    torch.onnx.export(module, (x,), tmp_path / "m.onnx", dynamo=dynamo, verbose=False, **more)
    (node,) = ours.load(tmp_path / "m.onnx").values()
    for rows in (2, 6):
        x = torch.randn(rows, STEPS + 1, WIDTH)
        Y = node(x.numpy().transpose(1, 0, 2)).Y
        np.testing.assert_allclose(Y[:, 0].transpose(1, 0, 2), module(x).detach().numpy(), rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="has an initial_h of its own"):
        ours.load_lstm(tmp_path / "m.onnx")


def test_layers_that_are_given_other_lengths_are_no_lstm(tmp_path: Path) -> None:
    arrays = weights(np.random.default_rng(1)) | {"W1": np.ones((1, 16, HIDDEN), np.float32), "one": np.array([1])}
    nodes = [
        helper.make_node("LSTM", ["X", "W", "R", "", "n"], ["Y"], name="lower", hidden_size=HIDDEN),
        op("Squeeze", "Y one", "X1"),
        helper.make_node("LSTM", ["X1", "W1", "R"], ["Y1"], name="upper", hidden_size=HIDDEN),
    ]
    inputs = [onnx_files.value("X", ["t", "b", WIDTH]), onnx_files.value("n", ["b"], np.int32)]
    path = onnx_files.save(onnx_files.model(nodes, arrays, inputs), tmp_path)
    with pytest.raises(ValueError, match="'upper' is given others than 'lower'"):
        ours.load_lstm(path)
    nodes[2].input.extend(["", "n"])
    path = onnx_files.save(onnx_files.model(nodes, arrays, inputs), tmp_path)
    assert ours.load_lstm(path).num_layers == 2
