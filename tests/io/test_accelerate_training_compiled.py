"""Training through graphs of torch.compile: operators with a backward pass, whatever partitions and recomputes them."""

from __future__ import annotations

import copy
import gc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", minversion="2.4")

from support.torch_models import Parts  # noqa: E402
from torch._dynamo import config, testing  # noqa: E402

from numba_lstm.io.torch import accelerate, operators  # noqa: E402
from numba_lstm.io.torch import gradients as passes  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # in torch's partitioner, about torch

nn = torch.nn
BACKENDS = ["eager", "aot_eager", "aot_eager_decomp_partition"]
"""Operators called one by one; forward and backward as graphs; these cut where least is saved, as inductor has it."""


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    torch.manual_seed(0)
    torch._dynamo.reset()
    with config.patch(allow_rnn=True):
        yield


@pytest.fixture
def _kept_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No call is done a second time for its backward pass."""
    monkeypatch.delattr(passes, "_kept_again")


class Model(Parts):
    """Operators of torch around layers and a loop over a cell; some of them may be computed again."""

    def forward(self, x: Any) -> Any:
        output, (h, _) = self.lstm(x * 2)
        hx = None
        for step in (x.relu() + 1).unbind(1):
            hx = self.cell(step, hx)
        return self.head(torch.relu(output) + 1), h.tanh(), hx[0]


def steps_of(model: Any, called: Any, xs: list[Any], **adam: Any) -> list[Any]:
    """Return results and gradients of some steps of training."""
    torch.manual_seed(1)
    optimizer, found = torch.optim.Adam(model.parameters(), lr=1e-2, **adam), []
    for x in xs:
        leaf = x.clone().requires_grad_()
        results = called(leaf)
        optimizer.zero_grad()
        sum(result.sin().sum() for result in results).backward()
        found += [*results, leaf.grad, *(parameter.grad.clone() for parameter in model.parameters())]
        optimizer.step()
    return [tensor.detach().numpy() for tensor in found]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True, "dropout": 0.5}], ids=str)
@pytest.mark.usefixtures("_kept_once")
def test_one_graph_trains(options: dict[str, Any], backend: str) -> None:
    """For all lengths, with optimizers of both kinds, and nothing of it left."""
    theirs = Model(**options).double()
    ours = accelerate(copy.deepcopy(theirs))
    counter = testing.CompileCounterWithBackend(backend)
    compiled = torch.compile(ours, backend=counter, fullgraph=True, dynamic=True)
    xs = [torch.randn(steps, 2, 3, dtype=torch.float64) for steps in (4, 9, 5)]
    expected = steps_of(theirs, theirs, xs)
    for one, other in zip(steps_of(ours, compiled, xs, fused=True), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-9)
    assert sum(bool(graph.graph.nodes) for graph in counter.graphs) == 1  # torch tries some with an empty one before
    gc.collect()
    assert not passes._handles
    with torch.no_grad():
        results = zip(compiled.eval()(xs[0]), theirs.eval()(xs[0]), strict=True)
        assert all(torch.allclose(*each) for each in results)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_needs_no_gradient_in_a_graph(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted: list[Any] = []
    original = operators.gradients

    def watched(*arguments: Any) -> Any:
        wanted.append(list(arguments[-1]))
        return original(*arguments)

    monkeypatch.setattr(operators, "gradients", watched)
    ours = accelerate(nn.LSTM(3, 5))
    for name, parameter in ours.named_parameters():
        parameter.requires_grad_(name == "bias_hh_l0")
    torch.compile(ours, backend=backend, fullgraph=True)(torch.randn(4, 2, 3))[0].sum().backward()
    assert wanted == [[False] * 3 + [False, False, False, True]]
    assert [parameter.grad is not None for parameter in ours.parameters()] == [False, False, False, True]


def test_checkpoints_in_a_graph() -> None:
    """The call is done again there because the program says so, with the masks of the first one."""
    theirs = nn.LSTM(3, 5, 2, dropout=0.5).double()
    ours = accelerate(copy.deepcopy(theirs))
    x = torch.randn(4, 2, 3, dtype=torch.float64)

    def run(lstm: Any) -> Any:
        return torch.utils.checkpoint.checkpoint(lambda x: lstm(x.relu())[0] * 2, x, use_reentrant=False)

    found = []
    for lstm, call in ((theirs, run), (ours, torch.compile(run, backend="aot_eager_decomp_partition", fullgraph=True))):
        torch.manual_seed(1)
        call(lstm).sin().sum().backward()
        found.append([parameter.grad for parameter in lstm.parameters()])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-11)


def test_operators_are_as_torch_wants_them() -> None:
    """Fakes, functionalization, and gradients in graphs and out of them; of parameters that are no module's."""
    ops = torch.ops.numba_lstm
    options = False, 3, 5, 2, True, True, 2, 0.25
    lstm = nn.LSTM(3, 5, 2, bidirectional=True, proj_size=2)
    weights = [parameter.detach().clone().requires_grad_() for parameter in lstm.parameters()]
    x, h, c = (torch.randn(size, requires_grad=True) for size in ((4, 2, 3), (4, 2, 2), (4, 2, 5)))
    masks = [torch.ones(4, 2, 4, dtype=torch.bool)]
    torch.library.opcheck(ops.lstm_vjp.default, (x, [h, c], weights, masks, *options, False))
    torch.library.opcheck(ops.lstm_vjp.default, (x, [], weights, [], *options, False))
    cell = [parameter.detach().clone().requires_grad_() for parameter in nn.LSTMCell(3, 5).parameters()]
    sizes = False, 3, 5, 1, True, False, 0, 0.0
    torch.library.opcheck(ops.lstm_vjp.default, (x[0].detach(), [], cell, [], *sizes, True))
    with torch.no_grad():
        *results, kept = ops.lstm_vjp(x, [h, c], weights, masks, *options, False)
        tensors = x.detach(), [h.detach(), c.detach()], [weight.detach() for weight in weights], masks
        d_results = [torch.ones_like(results[0]), None, torch.ones_like(results[2])]
        wanted = [True, False, True, *[True] * len(weights)]
        torch.library.opcheck(ops.lstm_backward.default, (kept, d_results, wanted, *tensors, *options, False))


@pytest.mark.parametrize("kind", [nn.LSTM, nn.LSTMCell])
def test_gradients_of_a_graph_that_was_made_without_are_an_error(kind: Any) -> None:
    from torch.fx.experimental.proxy_tensor import make_fx

    ours = accelerate(kind(3, 5))
    x = torch.randn(4, 2, 3) if kind is nn.LSTM else torch.randn(4, 3)
    with torch.no_grad():
        graph = make_fx(lambda x: ours(x)[0], _allow_non_fake_inputs=True)(x)
    assert torch.equal(graph(x), ours(x)[0])
    with pytest.raises(RuntimeError, match=r"a graph that was made under torch.no_grad\(\)"):
        graph(x).sum().backward()
    trains = make_fx(lambda x: ours(x)[0], _allow_non_fake_inputs=True)(x)
    trains(x).sum().backward()
    assert all(parameter.grad is not None for parameter in ours.parameters())


def test_second_derivatives_are_refused_in_graphs() -> None:
    ours, x = accelerate(nn.LSTM(3, 5)), torch.randn(4, 2, 3, requires_grad=True)
    result = torch.compile(ours, backend="eager", fullgraph=True)(x)[0]
    (d_x,) = torch.autograd.grad(result.sin().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match=r"no gradients themselves \(create_graph=True\): restore\(model\)"):
        d_x.sum().backward()
