"""Training of accelerated modules: gradients of torch in float64, whatever its graph is asked for, and nothing left."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from numba_lstm import LSTM, LSTMCell  # noqa: E402
from numba_lstm.io.torch import accelerate, restore  # noqa: E402

nn = torch.nn
rnn = torch.nn.utils.rnn
TOLERANCE = 1e-11  # relative to the largest number of a gradient, in float64

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")

OPTIONS: list[dict[str, Any]] = [
    {},
    {"bias": False, "batch_first": True},
    {"num_layers": 2, "bidirectional": True},
    {"num_layers": 3, "dropout": 0.4, "proj_size": 2},
    {"num_layers": 2, "dropout": 0.5, "proj_size": 2, "bidirectional": True, "batch_first": True},
]
options = pytest.mark.parametrize("options", OPTIONS, ids=str)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def pair(kind: Any = nn.LSTM, *sizes: int, dtype: Any = torch.float64, **options: Any) -> tuple[Any, Any]:
    """Return an accelerated module in train mode, and torch's with the same numbers."""
    theirs = kind(*(sizes or (3, 5)), **options, dtype=dtype)
    return accelerate(copy.deepcopy(theirs)), theirs


def flat(result: Any) -> list[Any]:
    """Return what a call returned, in a row."""
    if isinstance(result, torch.Tensor):
        return [result]
    parts = [result.data] if isinstance(result, rnn.PackedSequence) else result
    return [tensor for part in parts for tensor in flat(part)]


def loss_of(result: Any) -> Any:
    """Return a number to which every element of every result adds in another way."""
    tensors = flat(result)
    weights = [torch.linspace(1, 2, tensor.numel()).view(tensor.shape) for tensor in tensors]
    return sum((tensor.sin() * weight).sum() for tensor, weight in zip(tensors, weights, strict=True))


def gradients(module: Any, call: Callable[..., Any], *leaves: Any, seed: int = 1) -> list[Any]:
    """Return what a call gives and the gradients of all that needs one."""
    torch.manual_seed(seed)
    leaves = tuple(leaf.detach().clone().requires_grad_(leaf.requires_grad) for leaf in leaves)
    result = call(module, *leaves)
    needed = [tensor for tensor in (*leaves, *module.parameters()) if tensor.requires_grad]
    return [*flat(result), *torch.autograd.grad(loss_of(result), needed)]


def same(ours: list[Any], theirs: list[Any], tolerance: float = TOLERANCE) -> None:
    for one, other in zip(ours, theirs, strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        scale = max(1.0, float(other.detach().abs().max())) if other.numel() else 1.0
        np.testing.assert_allclose(one.detach().numpy(), other.detach().numpy(), rtol=0, atol=tolerance * scale)


def needed(*shape: int, dtype: Any = torch.float64) -> Any:
    return torch.randn(shape, dtype=dtype, requires_grad=True)


def states_of(lstm: Any, *rows: int, dtype: Any = torch.float64) -> tuple[Any, Any]:
    cells = lstm.num_layers * (1 + lstm.bidirectional)
    sizes = lstm.proj_size or lstm.hidden_size, lstm.hidden_size
    h, c = (needed(cells, *rows, size, dtype=dtype) for size in sizes)
    return h, c


# --- torch's gradients --------------------------------------------------------------------------------------


def _plain(lstm: Any, x: Any, *hx: Any) -> Any:
    return lstm(x, hx or None)


def _packed(lstm: Any, x: Any, *hx: Any) -> Any:
    lengths = torch.tensor([2, 4, 3])
    return lstm(rnn.pack_padded_sequence(x, lengths, lstm.batch_first, enforce_sorted=False), hx or None)


def _packed_even(lstm: Any, x: Any, *hx: Any) -> Any:
    return lstm(rnn.pack_padded_sequence(x, torch.tensor([4, 4, 4]), lstm.batch_first), hx or None)


@options
@pytest.mark.parametrize("call", [_plain, _packed, _packed_even])
@pytest.mark.parametrize("with_states", [False, True])
@pytest.mark.parametrize("training", [True, False])
def test_gradients_are_those_of_torch(options: dict[str, Any], call: Any, with_states: bool, training: bool) -> None:
    """With dropout too: its masks are those that torch's own module draws from the same state of the generator."""
    ours, theirs = (lstm.train(training) for lstm in pair(**options))
    x = needed(3, 4, 3) if ours.batch_first else needed(4, 3, 3)
    given = x, *(states_of(ours, 3) if with_states else ())
    same(gradients(ours, call, *given), gradients(theirs, call, *given))


@options
def test_a_sequence_without_a_batch(options: dict[str, Any]) -> None:
    ours, theirs = pair(**options)
    given = needed(4, 3), *states_of(ours)
    same(gradients(ours, _plain, *given), gradients(theirs, _plain, *given))
    same(gradients(ours, _plain, given[0]), gradients(theirs, _plain, given[0]))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [(), (4,)])
def test_cells(bias: bool, rows: tuple[int, ...]) -> None:
    ours, theirs = pair(nn.LSTMCell, bias=bias)
    given = needed(*rows, 3), needed(*rows, 5), needed(*rows, 5)
    same(gradients(ours, _plain, *given), gradients(theirs, _plain, *given))
    same(gradients(ours, _plain, given[0]), gradients(theirs, _plain, given[0]))


def _decode(cell: Any, x: Any) -> Any:
    hx, outputs = None, []
    for step in x:
        hx = cell(step, hx)
        outputs.append(hx[0])
    return torch.stack(outputs)


def test_a_loop_over_cells() -> None:
    ours, theirs = pair(nn.LSTMCell)
    x = needed(7, 2, 3)
    same(gradients(ours, _decode, x), gradients(theirs, _decode, x))


@options
def test_float32(options: dict[str, Any]) -> None:
    ours, theirs = pair(dtype=torch.float32, **options)
    x = needed(4, 4, 3, dtype=torch.float32)
    same(gradients(ours, _plain, x), gradients(theirs, _plain, x), 1e-5)


@options
@pytest.mark.parametrize("call", [_plain, _packed])
def test_gradcheck(options: dict[str, Any], call: Any) -> None:
    """Numerical gradients of everything, and no gradient of some results."""
    ours, _ = pair(**options)
    names = list(ours.state_dict())
    x = needed(3, 4, 3) if ours.batch_first else needed(4, 3, 3)

    def run(*given: Any) -> Any:
        torch.manual_seed(1)
        weights = dict(zip(names, given[3:], strict=True))
        return tuple(flat(torch.func.functional_call(_Called(ours, call), weights, given[:3])))

    weights = [parameter.detach().clone().requires_grad_() for parameter in ours.parameters()]
    names = [f"module.{name}" for name in names]
    assert torch.autograd.gradcheck(run, (x, *states_of(ours, 3), *weights), fast_mode=True)


def test_gradcheck_of_a_cell() -> None:
    ours, _ = pair(nn.LSTMCell)
    assert torch.autograd.gradcheck(lambda x, *hx: ours(x, hx), (needed(2, 3), needed(2, 5), needed(2, 5)))


class _Called(nn.Module):
    """A module that calls another one in some way."""

    def __init__(self, module: Any, call: Any) -> None:
        super().__init__()
        self.module, self.call = module, call

    def forward(self, *given: Any) -> Any:
        return self.call(self.module, *given)


@pytest.mark.parametrize(
    "make", [lambda x: x.transpose(0, 1), lambda x: x.flip(2)[..., ::2], lambda x: x.expand(4, 4, 6)]
)
def test_gradients_of_any_strides(make: Any) -> None:
    """Of the input and of what comes back: the gradient of a sum is one number, seen as many."""
    x = torch.randn(4, 1, 6, dtype=torch.float64)
    sizes = make(x).shape
    ours, theirs = pair(nn.LSTM, sizes[2], 5)
    results = []
    for lstm in (ours, theirs):
        leaf = x.clone().requires_grad_()
        lstm(make(leaf))[0].sum().backward()
        results.append([leaf.grad, *(parameter.grad for parameter in lstm.parameters())])
    same(*results)


def test_gradients_with_batch_sizes_of_any_strides() -> None:
    """Of which torch's own module reads the memory between them."""
    lstm, x = accelerate(nn.LSTM(3, 5)), needed(3, 3, dtype=torch.float32)
    expected, found = (
        gradients(lstm, lambda lstm, data, sizes=sizes: lstm(rnn.PackedSequence(data, sizes)), x)
        for sizes in (torch.tensor([2, 1]), torch.tensor([[2, 0], [1, 0]])[:, 0])
    )
    same(found, expected)


# --- training -----------------------------------------------------------------------------------------------


class Tagger(nn.Module):
    """An embedding, two layers both ways over packed sequences, and a linear layer."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 6)
        self.lstm = nn.LSTM(6, 8, num_layers=2, bidirectional=True, batch_first=True, dropout=dropout)
        self.linear = nn.Linear(16, 4)

    def forward(self, words: Any, lengths: Any) -> Any:
        packed = rnn.pack_padded_sequence(self.embedding(words), lengths, batch_first=True, enforce_sorted=False)
        output, _ = rnn.pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        return self.linear(output)


def _adam(model: Any) -> Any:
    return torch.optim.Adam(model.parameters(), lr=1e-2)


def _fused_adam(model: Any) -> Any:
    return torch.optim.Adam(model.parameters(), lr=1e-2, fused=True)


class _ThroughData(torch.optim.Optimizer):
    """An optimizer of the old kind: torch counts no change."""

    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.data.add_(parameter.grad, alpha=-0.3)


def trained(model: Any, make: Any, steps: int) -> list[float]:
    """Return the losses of a training loop with clipping and a hook."""
    torch.manual_seed(5)
    optimizer, losses = make(model), []
    model.lstm.weight_hh_l1.register_hook(lambda gradient: gradient * 2)
    for _ in range(steps):
        words, lengths = torch.randint(0, 20, (6, 9)), torch.randint(1, 10, (6,))
        lengths[0] = 9
        optimizer.zero_grad()
        scores = model(words, lengths)
        loss = nn.functional.cross_entropy(scores.flatten(0, 1), (words % 4).flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_two_hundred_steps_of_adam(dropout: float) -> None:
    theirs = Tagger(dropout)
    ours = accelerate(copy.deepcopy(theirs))
    expected, losses = trained(theirs, _adam, 200), trained(ours, _adam, 200)
    assert expected[-1] < expected[0] / 2
    np.testing.assert_allclose(losses[-1], expected[-1], rtol=0, atol=1e-4)
    plain = restore(ours).eval()
    words, lengths = torch.randint(0, 20, (6, 9)), torch.full((6,), 9)
    with torch.no_grad():
        same([plain(words, lengths)], [theirs.eval()(words, lengths)], 1e-3)


@pytest.mark.parametrize("make", [_fused_adam, lambda model: _ThroughData(model.parameters(), {})])
def test_optimizers_whose_changes_torch_does_not_count(make: Any) -> None:
    """They are seen: parameters change once their gradients were made.  Between calls without gradients, too."""
    theirs = Tagger()
    ours = accelerate(copy.deepcopy(theirs))
    np.testing.assert_allclose(trained(ours, make, 10), trained(theirs, make, 10), rtol=0, atol=1e-4)
    ours.lstm.weight_hh_l0.grad.zero_()
    words, lengths = torch.randint(0, 20, (6, 9)), torch.full((6,), 9)
    with torch.no_grad():
        same([ours(words, lengths)], [theirs(words, lengths)], 1e-4)


def test_one_element_that_torch_does_not_count() -> None:
    """Written where none is compared, after a backward pass and after none for others."""
    ours, theirs = pair(nn.LSTM, 64, 64)
    x = torch.randn(3, 2, 64, dtype=torch.float64)
    for _ in range(2):
        for lstm in (ours, theirs):
            loss_of(lstm(x)).backward()
            lstm.weight_ih_l0.data[0, 1] += 5
        same(flat(ours(x)), flat(theirs(x)))


def test_gradients_accumulate() -> None:
    ours, theirs = pair(num_layers=2)
    for lstm in (ours, theirs):
        torch.manual_seed(2)
        for _ in range(3):
            loss_of(lstm(torch.randn(4, 2, 3, dtype=torch.float64))).backward()
    same([p.grad for p in ours.parameters()], [p.grad for p in theirs.parameters()])


def test_a_module_that_is_called_twice_in_a_graph() -> None:
    ours, theirs = pair(nn.LSTM, 3, 3)
    x = needed(4, 2, 3)

    def call(lstm: Any, x: Any) -> Any:
        output, hx = lstm(x)
        return lstm(output * 2, hx)

    same(gradients(ours, call, x), gradients(theirs, call, x))


def test_hooks() -> None:
    """Of modules, in both directions, and of what comes out."""
    results = []
    for lstm in pair():
        seen: list[Any] = []
        lstm.register_full_backward_hook(
            lambda module, d_input, d_output, seen=seen: seen.extend(flat((d_input, d_output[0])))
        )
        x = needed(4, 2, 3)
        with torch.no_grad():
            x.copy_(torch.linspace(-1, 1, 24).view(4, 2, 3))
        output, _ = lstm(x)
        output.register_hook(lambda gradient, seen=seen: seen.append(gradient) or gradient * 3)
        output.sin().sum().backward()
        results.append([*seen, x.grad, *(parameter.grad for parameter in lstm.parameters())])
    same(*results)


# --- what needs no gradient ---------------------------------------------------------------------------------


class Watched:
    """Counts forward passes that keep something, and what backward passes were asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kept: list[weakref.ref[Any]] = []
        self.wanted: list[set[str]] = []
        for kind in (LSTM, LSTMCell):
            monkeypatch.setattr(kind, "vjp", self._around(kind.vjp))

    def _around(self, original: Any) -> Any:
        def vjp(core: Any, *arguments: Any, **options: Any) -> Any:
            result, backward = original(core, *arguments, **options)

            def watched(*given: Any, wrt: Any = None) -> Any:
                self.wanted.append(set(wrt))
                return backward(*given, wrt=wrt)

            self.kept.append(weakref.ref(watched))
            return result, watched

        return vjp

    def alive(self) -> int:
        gc.collect()
        return sum(reference() is not None for reference in self.kept)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(monkeypatch)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_nothing_is_kept_where_no_gradient_may_be_asked_for(mode: Any, watched: Watched) -> None:
    ours, _ = pair(num_layers=2, dropout=0.5)
    x = torch.randn(4, 2, 3, dtype=torch.float64)
    with mode():
        output, _ = ours(x)
    assert not output.requires_grad
    ours.requires_grad_(False)
    output, _ = ours(x)
    assert output.grad_fn is None
    assert not watched.kept


def test_gradients_that_nobody_needs_are_not_asked_for(watched: Watched) -> None:
    ours, theirs = pair(num_layers=2)
    x = torch.randn(4, 2, 3, dtype=torch.float64)
    names = [name for name, _ in ours.named_parameters()]
    ours(x)[0].sum().backward()
    assert watched.wanted[-1] == set(names)
    for lstm in (ours, theirs):
        for name, parameter in lstm.named_parameters():
            parameter.requires_grad_(name in ("weight_hh_l1", "bias_ih_l0"))
            parameter.grad = None
    for lstm in (ours, theirs):
        loss_of(lstm(x, (torch.ones(2, 2, 5, dtype=torch.float64),) * 2)).backward()
    assert watched.wanted[-1] == {"weight_hh_l1", "bias_ih_l0"}
    assert [p.grad is None for p in ours.parameters()] == [p.grad is None for p in theirs.parameters()]
    same(*[[p.grad for p in lstm.parameters() if p.grad is not None] for lstm in (ours, theirs)])
    ours.requires_grad_(False)
    inputs = needed(4, 2, 3), needed(2, 2, 5), needed(2, 2, 5)
    theirs.requires_grad_(False)
    same(gradients(ours, _plain, *inputs), gradients(theirs, _plain, *inputs))
    assert watched.wanted[-1] == {"input", "h_0", "c_0"}
    cell, _ = pair(nn.LSTMCell)
    cell.bias_ih.requires_grad_(False)
    cell(x[0])[0].sum().backward()
    assert watched.wanted[-1] == {"weight_ih", "weight_hh", "bias_hh"}


def test_a_head_on_frozen_layers(watched: Watched) -> None:
    model = accelerate(nn.ModuleDict({"lstm": nn.LSTM(3, 5).requires_grad_(False), "head": nn.Linear(5, 2)}))
    model["head"](model["lstm"](torch.randn(4, 2, 3))[0]).sum().backward()
    assert model["head"].weight.grad is not None
    assert not watched.kept


# --- what is kept, and for how long ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [nn.LSTM, nn.LSTMCell])
def test_what_is_kept_goes_with_the_graph(kind: Any, watched: Watched) -> None:
    from numba_lstm.io.torch import gradients as module

    ours, _ = pair(kind)
    x = torch.randn(4, 2, 3, dtype=torch.float64) if kind is nn.LSTM else torch.randn(4, 3, dtype=torch.float64)
    for _ in range(50):
        result = ours(x)  # no backward pass
    assert watched.alive() == 1
    del result
    assert watched.alive() == 0
    results = [loss_of(ours(x)) for _ in range(3)]
    assert watched.alive() == 3
    results[1].backward()
    assert watched.alive() == 2  # though there is its result still
    results[0].backward(retain_graph=True)
    assert watched.alive() == 2
    del results
    assert watched.alive() == 0
    assert not module._handles


def test_a_graph_that_is_retained() -> None:
    ours, theirs = pair(num_layers=2, dropout=0.5)
    x = needed(4, 2, 3)
    found = []
    for lstm in (ours, theirs):
        torch.manual_seed(3)
        loss = loss_of(lstm(x))
        first = torch.autograd.grad(loss, list(lstm.parameters()), retain_graph=True)
        second = torch.autograd.grad(loss, [x, *lstm.parameters()])
        same(list(first), list(second[1:]), 0)
        found.append([*first, *second])
        with pytest.raises(RuntimeError, match="backward through the graph a second time"):
            loss.backward()
    same(*found)


def test_results_in_parts() -> None:
    """Each of three results alone, then two that share one pass."""
    ours, theirs = pair(num_layers=2)
    x = needed(4, 2, 3)
    found = []
    for lstm in (ours, theirs):
        results = flat(lstm(x))
        found.append([
            gradient
            for some in ([0], [1], [2], [1, 2])
            for gradient in torch.autograd.grad(
                [results[i].sin().sum() for i in some], [x, *lstm.parameters()], retain_graph=True
            )
        ])  # fmt: skip
    same(*found)


def test_weights_that_are_computed_are_not_kept() -> None:
    """With them there is the graph in which they are computed."""
    ours, _ = pair()
    nn.utils.parametrizations.weight_norm(ours, "weight_hh_l0")
    x = torch.randn(4, 2, 3, dtype=torch.float64)
    ours(x)
    assert ours._numba_lstm_packing.now is None
    with torch.no_grad():
        ours(x)
    assert ours._numba_lstm_packing.now is not None


# --- changes between the two passes -------------------------------------------------------------------------


def _write_into_input(lstm: Any, x: Any) -> None:
    x.mul_(2)


def _write_into_weight(lstm: Any, x: Any) -> None:
    with torch.no_grad():
        lstm.weight_hh_l0.mul_(2)


@pytest.mark.parametrize("write", [_write_into_input, _write_into_weight])
def test_writing_into_what_is_saved_is_an_error_of_torch(write: Any) -> None:
    for lstm in pair():
        x = torch.randn(4, 2, 3, dtype=torch.float64)
        loss = loss_of(lstm(x))
        write(lstm, x)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


@pytest.mark.parametrize("batch_first", [False, True])
def test_writing_into_results(batch_first: bool) -> None:
    """Programs reset states in place, and apply what follows in place.  Gradients do not depend on it."""
    ours, theirs = pair(num_layers=2, batch_first=batch_first)
    x = needed(4, 4, 3)

    def in_place(lstm: Any, x: Any) -> Any:
        output, (h, c) = lstm(x)
        kept = h.detach().clone(), c.detach().clone()
        h.detach().zero_()
        c.detach().zero_()
        return output.mul_(2).relu_(), kept

    def out_of_place(lstm: Any, x: Any) -> Any:
        output, states = lstm(x)
        return (output * 2).relu(), [state.detach() for state in states]

    same(gradients(ours, in_place, x), gradients(theirs, out_of_place, x))


def test_writing_into_what_torch_does_not_count() -> None:
    """Through ``data`` and NumPy, between the two passes: gradients are those of the forward pass."""
    ours, theirs = pair(num_layers=2)
    x = torch.randn(4, 2, 3, dtype=torch.float64)
    results = []
    for lstm in (ours, theirs):
        loss = loss_of(lstm(x))
        if lstm is ours:
            for tensor in (x, *lstm.parameters()):
                tensor.data.mul_(2)
        results.append(list(torch.autograd.grad(loss, list(lstm.parameters()))))
        x.div_(2)
    same(*results)


# --- dropout ------------------------------------------------------------------------------------------------


def test_dropout_of_torch() -> None:
    """Repeatable by torch's seed, another one at every call, and of the right share and mean."""
    ours, _ = pair(nn.LSTM, 3, 64, num_layers=2, dropout=0.25)
    with torch.no_grad():
        # The upper layer hands on what it gets, times a small number: sigmoid(0) twice and tanh.
        for name, parameter in ours.named_parameters():
            if name.endswith("l1"):
                parameter.zero_()
        ours.weight_ih_l1[128:192] = torch.eye(64)
    x = torch.randn(5, 40, 3, dtype=torch.float64)
    torch.manual_seed(1)
    first, second = ours(x)[0], ours(x)[0]
    torch.manual_seed(1)
    assert torch.equal(ours(x)[0], first)
    with torch.no_grad():
        torch.manual_seed(1)
        assert torch.equal(ours(x)[0], first)  # and the same numbers without gradients
    assert not torch.equal(first, second)
    dropped = (first[0] == 0).double().mean().item()  # of the first step, which has no step before
    deviation = (0.25 * 0.75 / first[0].numel()) ** 0.5
    assert abs(dropped - 0.25) < 5 * deviation
    ours.dropout = 1.0
    assert not ours(x)[0].any()
    ours.dropout = 0.0
    state = torch.get_rng_state()
    ours(x)
    ours.dropout = 0.25
    ours.eval()(x)
    assert torch.equal(torch.get_rng_state(), state)
    ours.train().dropout = 1.5
    with pytest.raises(RuntimeError, match="p"):
        ours(x)


@pytest.mark.filterwarnings("ignore:LSTM with projections")  # torch's, that they are slow
def test_dropout_of_inf_is_no_reason_to_warn() -> None:
    """Torch says nothing either; warnings are errors here."""
    for module in pair(nn.LSTM, 3, 5, num_layers=2, proj_size=2, dropout=0.5):
        with torch.no_grad():
            module.weight_hr_l0.zero_()
            module.weight_hr_l0[:, 0] = torch.inf
            module(torch.ones(9, 4, 3, dtype=torch.float64))
        module(torch.ones(9, 4, 3, dtype=torch.float64))[0].sum().backward()


# --- what torch does with a graph -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [nn.LSTM, nn.LSTMCell])
def test_second_derivatives_are_refused(kind: Any) -> None:
    ours, _ = pair(kind)
    x = needed(4, 2, 3) if kind is nn.LSTM else needed(4, 3)
    (d_x,) = torch.autograd.grad(ours(x)[0].sin().sum(), x, create_graph=True)
    assert d_x.requires_grad
    with pytest.raises(RuntimeError, match=r"no gradients themselves \(create_graph=True\): restore\(model\)"):
        d_x.sum().backward()


def test_gradients_in_batches_are_refused() -> None:
    ours, _ = pair()
    output = ours(needed(4, 2, 3))[0]
    with pytest.raises(RuntimeError, match=r"none in batches.*restore\(model\)"):
        torch.autograd.grad(output, list(ours.parameters()), torch.ones(2, *output.shape), is_grads_batched=True)


def _checkpointed(lstm: Any, x: Any) -> Any:
    return torch.utils.checkpoint.checkpoint(lambda x: lstm(x.relu())[0] * 2, x, use_reentrant=False)


def _checkpointed_reentrant(lstm: Any, x: Any) -> Any:
    return torch.utils.checkpoint.checkpoint(lambda x: lstm(x.relu())[0] * 2, x, use_reentrant=True)


def _elsewhere(lstm: Any, x: Any) -> Any:
    with torch.autograd.graph.save_on_cpu():
        return lstm(x)[0]


def _saved_as_bytes(lstm: Any, x: Any) -> Any:
    """What is saved goes to NumPy and back, as it might to a file."""
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.detach().numpy().copy(), torch.from_numpy):
        return lstm(x)[0]


@pytest.mark.parametrize("call", [_checkpointed, _elsewhere, _saved_as_bytes])
@options
def test_saved_tensors_that_are_recomputed_or_moved(call: Any, options: dict[str, Any]) -> None:
    ours, theirs = pair(**options)
    x = needed(4, 4, 3)
    same(gradients(ours, call, x), gradients(theirs, call, x))


def test_reentrant_checkpoints() -> None:
    results = []
    for lstm in pair(num_layers=2, dropout=0.5):
        torch.manual_seed(1)
        x = torch.linspace(-1, 1, 24, dtype=torch.float64).view(4, 2, 3).requires_grad_()
        loss_of(_checkpointed_reentrant(lstm, x)).backward()
        results.append([x.grad, *(parameter.grad for parameter in lstm.parameters())])
    same(*results)


def test_autocast() -> None:
    """torch's dtypes, gradients of the parameters' dtype, computed in it."""
    ours, theirs = pair(dtype=torch.float32)
    results = []
    for lstm in (ours, theirs):
        x = torch.linspace(-1, 1, 24).view(4, 2, 3).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            output, (h, c) = lstm(x)
            loss = output.float().sin().sum() + c.float().sum()
        loss.backward()
        results.append([output, h, c, x.grad, *(parameter.grad for parameter in lstm.parameters())])
    for one, other in zip(*results, strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        largest = float(other.detach().abs().max())
        np.testing.assert_allclose(one.detach().float(), other.detach().float(), rtol=0, atol=3e-2 * largest)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # in torch, about itself
def test_forward_mode_is_that_of_torch() -> None:
    ours, theirs = pair(nn.LSTMCell)
    x, forward_ad = needed(4, 3), torch.autograd.forward_ad
    tangents = []
    for cell in (ours, theirs):
        with forward_ad.dual_level():
            h, _ = cell(forward_ad.make_dual(x, torch.ones_like(x)))
            tangents.append(forward_ad.unpack_dual(h).tangent)
    same(tangents[:1], tangents[1:])


def test_transforms_are_those_of_torch() -> None:
    ours, theirs = pair()
    x = torch.randn(4, 2, 3, dtype=torch.float64)
    found = [torch.func.grad(lambda x, lstm=lstm: lstm(x)[0].sin().sum())(x) for lstm in (ours, theirs)]
    same(found[:1], found[1:])


def test_threads_train_at_a_time() -> None:
    """One module, several graphs: each has what it has kept."""
    import concurrent.futures

    ours, theirs = pair(num_layers=2)
    xs = [needed(4, 2, 3) for _ in range(8)]
    expected = [gradients(theirs, _plain, x) for x in xs]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for got, want in zip(pool.map(lambda x: gradients(ours, _plain, x), xs), expected, strict=True):
            same(got, want)


def test_restored_models_train_on() -> None:
    ours, theirs = pair()
    x = needed(4, 2, 3)
    result = ours(x)
    plain = restore(ours)
    assert type(plain) is nn.LSTM
    found = torch.autograd.grad(loss_of(result), list(plain.parameters()))  # of a call before
    same(list(found), list(torch.autograd.grad(loss_of(theirs(x)), list(theirs.parameters()))))
    same(gradients(plain, _plain, x), gradients(theirs, _plain, x), 0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_exported_programs_have_operators_of_torch() -> None:
    """In train mode as well, and where parameters need gradients."""
    model = accelerate(nn.Sequential(nn.ReLU(), nn.LSTM(3, 5)))
    x = torch.randn(4, 2, 3)
    exported = torch.export.export(model, (x,))
    assert not any("numba" in str(node.target) for node in exported.graph.nodes)
    module = exported.module()
    module(x)[0].sum().backward()
    found = [parameter.grad for parameter in module.parameters()]
    model(x)[0].sum().backward()
    same([parameter.grad for parameter in model.parameters()], found, 1e-5)
