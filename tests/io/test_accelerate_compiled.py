"""Accelerated modules in graphs of torch.compile: operators, one graph for all lengths, and what is not for graphs."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", minversion="2.4")

from support.torch_models import Parts  # noqa: E402
from torch._dynamo import config, testing  # noqa: E402

from numba_lstm.io.torch import accelerate, repack, restore  # noqa: E402

nn = torch.nn
TOLERANCE = 1e-5


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    torch.manual_seed(0)
    torch._dynamo.reset()
    with torch.no_grad(), config.patch(allow_rnn=True):
        yield


class Model(Parts):
    """Operators of torch around an LSTM and a cell."""

    def forward(self, x: Any) -> Any:
        return self.head(torch.relu(self.lstm(x * 2)[0]) + 1), self.cell(x[0])[0]


def close(ours: Any, theirs: Any) -> None:
    for one, other in zip(ours, theirs, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("whole", [True, False])
def test_one_graph_for_all_lengths(whole: bool) -> None:
    """The whole model where the compiler may look at LSTMs; else nothing, as it skips what has one, torch's too."""
    theirs = Model(num_layers=2, bidirectional=True).eval()
    ours = accelerate(copy.deepcopy(theirs))
    counter = testing.CompileCounter()
    compiled = torch.compile(ours, backend=counter, fullgraph=whole, dynamic=True)
    with config.patch(allow_rnn=whole):
        for steps in (4, 9, 30, 17):
            x = torch.randn(steps, 2, 3)
            close(compiled(x), theirs(x))
    assert counter.frame_count == whole
    ours.lstm.weight_hh_l1.mul_(2)
    theirs.lstm.weight_hh_l1.mul_(2)
    close(compiled(x), theirs(x))


def test_the_graph_uses_what_the_module_has_packed() -> None:
    ours = accelerate(Model()).eval()
    x = torch.randn(4, 2, 3)
    expected = ours(x)
    core = ours.lstm._numba_lstm_packing.now.cores[0]
    compiled = torch.compile(ours, backend="aot_eager", fullgraph=True)
    for one, other in zip(compiled(x), expected, strict=True):
        assert torch.equal(one, other)  # bit for bit
    assert ours.lstm._numba_lstm_packing.now.cores[0] is core


def test_repeated_modules_share_a_graph() -> None:
    """One graph for the cells of a decoder, each with its own weights."""
    cells = [nn.LSTMCell(3, 3).eval() for _ in range(3)]
    counter = testing.CompileCounter()

    def step(cell: Any, x: Any) -> Any:
        return cell(x)[0] + 1

    compiled = torch.compile(step, backend=counter, fullgraph=True)
    x = torch.randn(2, 3)
    for cell in cells:
        close([compiled(accelerate(cell), x)], [step(cell, x)])
    assert counter.frame_count == 1


@pytest.mark.parametrize(
    "options",
    [{}, {"bias": False, "batch_first": True}, {"num_layers": 2, "bidirectional": True, "proj_size": 2}],
    ids=str,
)
@pytest.mark.parametrize("shape", [(4, 2, 3), (4, 3)])
@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")
def test_operator(options: dict[str, Any], shape: tuple[int, ...]) -> None:
    theirs = nn.LSTM(3, 5, **options).eval()
    ours = accelerate(copy.deepcopy(theirs))
    compiled = torch.compile(ours, backend="aot_eager", fullgraph=True)
    x = torch.randn(shape)
    for hx in (None, theirs(x)[1]):
        want, got = theirs(x, hx), compiled(x, hx)
        close([got[0], *got[1]], [want[0], *want[1]])
    empty = x[:0] if ours.batch_first else x[:, :0]
    if empty.ndim == 3:
        close([compiled(empty)[0]], [theirs(empty)[0]])


def test_operators_are_as_torch_wants_them() -> None:
    """Of parameters that are no module's."""
    options = False, 3, 5, 1, True, False, 0, 0.0
    weights = list(nn.LSTM(3, 5).state_dict().values())
    torch.library.opcheck(torch.ops.numba_lstm.lstm.default, (torch.randn(4, 2, 3), [], weights, [], *options, None))
    cell = list(nn.LSTMCell(3, 5).state_dict().values())
    torch.library.opcheck(torch.ops.numba_lstm.lstm_cell.default, (torch.randn(2, 3), [], cell, None))


def packings(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return a list that grows with every packing."""
    from numba_lstm.io.torch import weights

    made: list[Any] = []
    original = weights.Network
    monkeypatch.setattr(weights, "Network", lambda *a, **o: made.append(1) or original(*a, **o))
    return made


def test_many_modules_in_a_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is packed once, and again when it is asked for; what is gone is not kept."""
    made = packings(monkeypatch)
    theirs = nn.Sequential(*[nn.LSTM(3, 3) for _ in range(20)]).eval()

    def run(model: Any, x: Any) -> Any:
        for lstm in model:
            x, _ = lstm(x)
        return x

    ours = accelerate(copy.deepcopy(theirs))
    compiled = torch.compile(run, backend="aot_eager", fullgraph=True)
    x = torch.randn(4, 2, 3)
    for _ in range(3):
        close([compiled(ours, x)], [run(theirs, x)])
    assert len(made) == 20
    for model in (ours, theirs):
        model[7].weight_hh_l0.data[0, 1] += 5
    repack(ours)
    close([compiled(ours, x)], [run(theirs, x)])
    assert len(made) == 40
    gone = weakref.ref(ours[3].weight_hh_l0)
    del ours, compiled, model
    torch._dynamo.reset()
    gc.collect()
    assert gone() is None


def test_biases_that_a_cell_was_given_later_in_a_graph() -> None:
    theirs = nn.LSTMCell(3, 5, bias=False).eval()
    theirs.bias_ih, theirs.bias_hh = (nn.Parameter(torch.arange(20.0) / 10) for _ in range(2))
    theirs.bias = True
    ours = accelerate(nn.LSTMCell(3, 5, bias=False)).eval()
    ours.weight_ih, ours.weight_hh, ours.bias_ih, ours.bias_hh = theirs.parameters()
    x = torch.randn(2, 3)
    close(torch.compile(ours, backend="eager", fullgraph=True)(x), theirs(x))


def test_modules_that_share_parameters() -> None:
    """An LSTM, another that has the batch first, and a cell; in graphs and not, in any order."""
    lstm, first, cell = nn.LSTM(3, 5), nn.LSTM(3, 5, batch_first=True), nn.LSTMCell(3, 5)
    for name, parameter in list(lstm.named_parameters()):
        setattr(first, name, parameter)
        setattr(cell, name.removesuffix("_l0"), parameter)
    x = torch.randn(2, 3)
    modules = [(lstm, x), (first, x[None]), (cell, x), (lstm, x[None]), (cell, x[0])]
    expected = [module(given) for module, given in modules]
    ours = {module: accelerate(module) for module in (lstm, first, cell)}
    graphs = {module: torch.compile(ours[module], backend="eager") for module in ours}
    for calls in (ours, graphs, ours):
        for (module, given), (output, after) in zip(modules, expected, strict=True):
            got, state = calls[module](given)
            close([got], [output])
            close(state if isinstance(state, tuple) else [state], after if isinstance(after, tuple) else [after])


def test_weights_that_are_computed_are_not_for_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    made = packings(monkeypatch)
    theirs = nn.LSTM(3, 5).eval()
    nn.utils.parametrizations.weight_norm(theirs, "weight_hh_l0")
    ours, x = accelerate(copy.deepcopy(theirs)), torch.randn(4, 2, 3)
    compiled = torch.compile(ours, backend="eager")
    for _ in range(4):
        close([compiled(x)[0]], [theirs(x)[0]])
    assert len(made) <= 2


class Adapted(nn.LSTM):
    """One that puts a weight where torch has its list for a call."""

    def forward(self, x: Any, hx: Any = None) -> Any:
        self._flat_weights = [weight * 2 for weight in self._flat_weights_of_attributes()]
        return super().forward(x, hx)

    def _flat_weights_of_attributes(self) -> list[Any]:
        return [getattr(self, name) for name in self._flat_weights_names]


def test_weights_in_the_list_that_torch_has_for_a_call() -> None:
    theirs, x = Adapted(3, 5).eval(), torch.randn(4, 2, 3)
    ours = accelerate(copy.deepcopy(theirs))
    compiled = torch.compile(ours, backend="aot_eager")
    for _ in range(2):
        close([compiled(x)[0], ours(x)[0]], [theirs(x)[0]] * 2)
        for lstm in (ours, theirs):
            lstm.weight_hh_l0.mul_(-1)
    compiled, theirs = torch.compile(accelerate(nn.LSTM(3, 5)).eval(), backend="aot_eager"), nn.LSTM(3, 5).eval()
    compiled(x)
    close([torch.func.functional_call(compiled._orig_mod, theirs.state_dict(), (x,))[0]], [theirs(x)[0]])
    compiled._orig_mod._parameters["weight_hh_l0"] = theirs.weight_hh_l0
    close([compiled(x)[0]], [restore(copy.deepcopy(compiled._orig_mod))(x)[0]])


def test_calls_that_are_not_for_graphs() -> None:
    """They are made between graphs: the errors, dropout and dtypes of a call without a compiler."""
    theirs = nn.LSTM(3, 5, 2, dropout=0.5)
    ours, x = accelerate(copy.deepcopy(theirs)), torch.randn(4, 2, 3)
    compiled = torch.compile(ours, backend="eager")
    results = []
    for lstm in (compiled, theirs):
        torch.manual_seed(1)
        results.append(lstm(x)[0])
    close(*[[result] for result in results])
    ours.eval()
    theirs.eval()
    packed = nn.utils.rnn.pack_padded_sequence(x, [4, 2])
    close([compiled(packed)[0].data], [theirs(packed)[0].data])
    with torch.autocast("cpu", torch.bfloat16):
        assert compiled(x)[0].dtype is theirs(x)[0].dtype
    with pytest.raises(RuntimeError, match="Expected 3, got 2"):
        compiled(x[..., :2])
    with pytest.raises(RuntimeError, match=r"Expected hidden\[0\] size"):
        compiled(x, (torch.zeros(2, 3, 5), torch.zeros(2, 2, 5)))
    with pytest.raises(ValueError, match="does not match weight dtype"):
        compiled(x.double())
    ours.requires_grad_(True)
    with torch.enable_grad(), torch.autocast("cpu", torch.bfloat16):
        compiled(x)[0].sum().backward()
    assert all(parameter.grad is not None for parameter in ours.parameters())
