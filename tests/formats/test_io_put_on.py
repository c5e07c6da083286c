"""Modules of torch's own classes that compute something else, in files with a program: TorchScript and torch.export."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import numba_lstm
from numba_lstm import io
from numba_lstm.formats.torch import own_calls

torch: Any = pytest.importorskip("torch")
prune: Any = pytest.importorskip("torch.nn.utils.prune")
rnn: Any = pytest.importorskip("torch.nn.utils.rnn")

pytestmark = pytest.mark.filterwarnings("ignore")  # of exporters and traces

SIZES = 3, 5
STEPS, ROWS = 4, 2
X = torch.linspace(-1, 1, STEPS * ROWS * SIZES[0]).reshape(STEPS, ROWS, SIZES[0])


class Around(torch.nn.Module):  # type: ignore[misc]
    """A model with a module in it, all of whose results count."""

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.inner = module

    def forward(self, x: Any) -> Any:
        return self.inner(x)


class WithStates(Around):
    def forward(self, x: Any, h: Any, c: Any) -> Any:
        return self.inner(x, (h, c))


class OfPacked(Around):
    def forward(self, x: Any, lengths: Any) -> Any:
        packed = rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
        output, states = self.inner(packed)
        return rnn.pad_packed_sequence(output)[0], states


class OfPackedWithStates(Around):
    def forward(self, x: Any, lengths: Any, h: Any, c: Any) -> Any:
        packed = rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
        return self.inner(packed, (h, c))[1]


class Twice(Around):
    def forward(self, x: Any) -> Any:
        output, states = self.inner(x)
        return self.inner(x + output.mean(), states)


def lstm(**options: Any) -> Any:
    return torch.nn.LSTM(*SIZES, **options)


def states(*shape: int) -> tuple[Any, Any]:
    return torch.ones(shape), torch.ones(shape)


def pruned(module: Any) -> Any:
    return prune.l1_unstructured(module, "weight_hh_l0", 2)


LENGTHS = torch.tensor([STEPS - 1, STEPS])
PLAIN: dict[str, tuple[Any, Any, str]] = {
    "alone": (lstm, (X,), ""),
    "alone and evaluated": (lambda: lstm().eval(), (X,), ""),
    "in a model": (lambda: Around(lstm()), (X,), "inner."),
    "batch first": (lambda: Around(lstm(batch_first=True)), (X,), "inner."),
    "many options": (lambda: Around(lstm(num_layers=2, dropout=0.5, bidirectional=True, bias=False)), (X,), "inner."),
    "projection": (lambda: Around(lstm(proj_size=2)), (X,), "inner."),
    "one sequence": (lambda: Around(lstm(batch_first=True)), (X[0],), "inner."),
    "states": (lambda: WithStates(lstm()), (X, *states(1, ROWS, 5)), "inner."),
    "states of one sequence": (lambda: WithStates(lstm()), (X[:, 0], *states(1, 5)), "inner."),
    "packed": (lambda: OfPacked(lstm()), (X, LENGTHS), "inner."),
    "packed with states": (lambda: OfPackedWithStates(lstm()), (X, LENGTHS, *states(1, ROWS, 5)), "inner."),
    "called twice": (lambda: Twice(lstm()), (X,), "inner."),
    "float64": (lambda: Around(lstm().double()), (X.double(),), "inner."),
    "bfloat16": (lambda: Around(lstm().bfloat16()), (X.bfloat16(),), "inner."),
    "pruned": (lambda: pruned(lstm()), (X,), ""),
    "pruned in a model": (lambda: Around(pruned(lstm())), (X,), "inner."),
    "weight norm": (lambda: torch.nn.utils.weight_norm(lstm(), "weight_hh_l0"), (X,), ""),
    "weight norm in a model": (lambda: Around(torch.nn.utils.weight_norm(lstm(), "weight_hh_l0")), (X,), "inner."),
    "cell": (lambda: torch.nn.LSTMCell(*SIZES), (X[0],), ""),
    "cell in a model": (lambda: Around(torch.nn.LSTMCell(*SIZES)), (X[0],), "inner."),
    "cell without bias": (lambda: torch.nn.LSTMCell(*SIZES, bias=False), (X[0],), ""),
    "cell of one row": (lambda: torch.nn.LSTMCell(*SIZES), (X[0, 0],), ""),
    "cell with states": (lambda: WithStates(torch.nn.LSTMCell(*SIZES)), (X[0], *states(ROWS, 5)), "inner."),
}
NO_SCRIPT = {*PLAIN} - {"alone", "alone and evaluated", "cell", "cell without bias", "cell of one row"}
NO_EXPORT = {"packed", "packed with states"}


def saved(model: Any, given: tuple[Any, ...], way: str, folder: Path) -> Path:
    path = folder / f"model.{'pt2' if way.startswith('export') else 'pt'}"
    if way == "script":
        torch.jit.script(model).save(str(path))
    elif way == "trace":
        torch.jit.trace(model, given, check_trace=False).save(str(path))
    elif way == "whole":
        torch.save(model, path)
    else:
        open_sizes = tuple({0: torch.export.Dim.AUTO} if each.ndim > 2 else None for each in given)
        more = {"dynamic_shapes": (open_sizes if len(given) > 1 or type(model) is Around else None)}
        program = torch.export.export(model, given, **(more if way == "export with open sizes" else {}))
        torch.export.save(program, path)
    return path


@pytest.mark.parametrize("way", ["script", "trace", "whole", "export", "export with open sizes"])
@pytest.mark.parametrize("case", PLAIN)
def test_what_torch_computes_itself_is_taken(case: str, way: str, tmp_path: Path) -> None:
    make, given, prefix = PLAIN[case]
    if (way == "script" and case in NO_SCRIPT) or (way.startswith("export") and case in NO_EXPORT):
        pytest.skip("torch does not write it")
    torch.manual_seed(0)
    model = make()
    path = saved(model, given, way, tmp_path)
    loader: Any = numba_lstm.LSTMCell if case.startswith("cell") else numba_lstm.LSTM
    loaded = loader.load(path, prefix)
    module = model.inner if prefix else model
    for name, array in loaded.state_dict().items():
        np.testing.assert_allclose(array, getattr(module, name).detach().double().numpy(), rtol=0, atol=1e-7)


def scaled(module: Any) -> Any:
    forward = module.forward
    module.forward = lambda x: forward(3 * x)
    return module


def within(module: Any) -> Any:
    """Put the operation into a module of its own."""
    forward = module.forward
    module.activation = torch.nn.ReLU()
    module.forward = lambda x: forward(module.activation(x))
    return module


def turned(module: Any) -> Any:
    forward = module.forward
    module.forward = lambda x: forward(x.transpose(0, 1))
    return module


def rounded(module: Any) -> Any:
    forward = module.forward
    module.forward = lambda x: forward(x.to(torch.int32).to(torch.float32))
    return module


def called_twice(module: Any) -> Any:
    forward = module.forward
    module.forward = lambda x: forward(x, forward(x)[1] if isinstance(module, torch.nn.LSTM) else forward(x))
    return module


def without_it(module: Any) -> Any:
    module.forward = lambda x: x
    return module


def doubled(module: Any) -> Any:
    module.register_forward_hook(lambda module, given, made: (2 * made[0], made[1]))
    return module


def shifted(module: Any) -> Any:
    module.register_forward_pre_hook(lambda module, given: (given[0] + 1,))
    return module


@pytest.mark.parametrize("cell", [False, True], ids=["LSTM", "LSTMCell"])
@pytest.mark.parametrize("way", ["trace", "export"])
@pytest.mark.parametrize("change", [scaled, within, turned, rounded, called_twice, without_it, doubled, shifted])
def test_what_is_put_on_is_refused(change: Any, way: str, cell: bool, tmp_path: Path) -> None:
    """A program has it in what it does in the call of the module."""
    # Without an operation of an LSTM nothing tells that a program was not decomposed; and older versions of torch write
    # two calls of a module as two in one.
    if way == "export" and change in (without_it, called_twice):
        pytest.skip("a program of torch.export does not show it")
    loader: Any = numba_lstm.LSTMCell if cell else numba_lstm.LSTM
    kind, x = (torch.nn.LSTMCell, torch.ones(3, 3)) if cell else (torch.nn.LSTM, torch.ones(3, 3, 3))
    for model, prefix in (
        (change(kind(3, 3)), ""),
        (Around(change(kind(3, 3))), "inner."),
        (Around(change(pruned(kind(3, 3)))) if not cell else None, "inner."),
    ):
        # A trace has hooks in what is around the module, which does no more than torch's itself then.
        if model is None or (way == "trace" and prefix and change in (doubled, shifted)):
            continue
        path = saved(model, (x,), way, tmp_path)
        with pytest.raises(ValueError, match=r"it is a torch\S*LSTM(Cell)? with hooks or a forward that was put on"):
            loader.load(path, prefix)
        assert io.read(path)


def other(self: Any, input: torch.Tensor) -> torch.Tensor:
    return input * 2


@pytest.mark.parametrize("kind", [torch.nn.LSTM, torch.nn.LSTMCell])
def test_a_scripted_forward_that_was_put_on(kind: Any, tmp_path: Path) -> None:
    module, path = kind(*SIZES), tmp_path / "model.pt"
    module.forward = types.MethodType(other, module)
    module.own = 1  # else torch may take what it compiled for another one
    torch.jit.script(module).save(str(path))
    loader: Any = getattr(numba_lstm, kind.__name__)
    with pytest.raises(ValueError, match="with hooks or a forward that was put on, not torch"):
        loader.load(path)


HOOKED = 'class LSTM(Module):\n  __parameters__ = ["weight_ih_l0", ]\n  __forward{}_hooks__ = ["mine", ]\n'


@pytest.mark.parametrize("when", ["", "_pre"])
def test_scripted_hooks(when: str) -> None:
    assert own_calls.of_script(HOOKED.format(when), cell=False) == " with hooks"


OLDER_CELL = """\
  weight_ih : Tensor
  def forward(self: __torch__.torch.nn.modules.rnn.LSTMCell,
    input: Tensor) -> Tensor:
    _0 = ops.prim.NumToTensor(torch.size(input, 0))
    hx = torch.zeros([int(_0), 5], dtype=6, layout=0, device=torch.device("cpu"), pin_memory=False)
    _1 = torch.addmm(self.bias_ih, input, torch.t(self.weight_ih), beta=1, alpha=1)
    _2 = torch.addmm(self.bias_hh, hx, torch.t(self.weight_hh), beta=1, alpha=1)
    ingate, forgetgate, cellgate, outgate, = torch.chunk(torch.add(_1, _2, alpha=1), 4, 1)
    _3 = torch.mul(torch.sigmoid(forgetgate), hx)
    _4 = torch.mul(torch.sigmoid(ingate), torch.tanh(cellgate))
    _5 = torch.add(_3, _4, alpha=1)
    return torch.mul(torch.sigmoid(outgate), torch.tanh(_5))
"""


def test_traces_of_older_torch() -> None:
    assert own_calls.of_script(OLDER_CELL, cell=True) == ""
    scaled_input = OLDER_CELL.replace("self.bias_ih, input", "self.bias_ih, torch.mul(input, 2)")
    moved_output = OLDER_CELL.replace("torch.tanh(_5))", "torch.tanh(torch.add(_5, 1)))")
    for changed in (scaled_input, moved_output):
        assert changed != OLDER_CELL
        assert own_calls.of_script(changed, cell=True) == own_calls.PUT_ON
