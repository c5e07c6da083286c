"""torch modules replaced by ours: the same numbers, the same parameters, and a clear no to what they do not take."""

from __future__ import annotations

import copy
import io as standard_io
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from support.places import ROOT

if not (ROOT / "asv_bench").is_dir():
    pytest.skip("no benchmarks beside the tests", allow_module_level=True)
torch = pytest.importorskip("torch")
sys.path.append(str(ROOT))  # at the end: an installed numba_lstm goes before the sources

from asv_bench.shapes import PUBLIC, Shape  # noqa: E402
from numba_lstm import LSTM, LSTMCell  # noqa: E402
from numba_lstm.io.torch import AcceleratedLSTM, AcceleratedLSTMCell, accelerate, from_module, repack, restore  # noqa: E402

TOLERANCE = 1e-5
nn = torch.nn
rnn = torch.nn.utils.rnn

pytestmark = pytest.mark.usefixtures("seeded_without_gradients")


class Tagger(nn.Module):
    """An embedding, two bidirectional layers, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 12)
        self.lstm = nn.LSTM(12, 20, num_layers=2, bidirectional=True, batch_first=True, dropout=0.3)
        self.linear = nn.Linear(40, 7)

    def forward(self, words: Any) -> Any:
        return self.linear(self.lstm(self.embedding(words))[0])


def close(ours: Any, theirs: Any) -> None:
    """Compare outputs of any structure, and their types and shapes."""
    assert type(ours) is type(theirs)
    if isinstance(ours, torch.Tensor):
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=0, atol=TOLERANCE)
    elif ours is not None:
        for one, other in zip(ours, theirs, strict=True):
            close(one, other)


# --- the same numbers -------------------------------------------------------------------------------------


def test_tagger() -> None:
    theirs = Tagger().eval()
    ours = copy.deepcopy(theirs)
    assert accelerate(ours) is ours
    assert type(ours.lstm) is AcceleratedLSTM
    words = torch.randint(0, 50, (3, 11))
    close(ours(words), theirs(words))
    with torch.inference_mode():
        close(ours(words), theirs(words))


@pytest.mark.parametrize("shape", PUBLIC.values(), ids=PUBLIC)
@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")
def test_public_shapes(shape: Shape) -> None:
    """Some steps and rows of each, which are enough for every route through the kernels."""
    lstm = nn.LSTM(
        shape.input_size, shape.hidden_size, shape.num_layers, bidirectional=shape.bidirectional,
        proj_size=shape.proj_size,
    ).eval()  # fmt: skip
    x = torch.randn(min(shape.steps, 12), min(shape.batch, 20), shape.input_size)
    ours = accelerate(lstm)
    assert ours is not lstm
    close(ours(x), lstm(x))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"batch_first": True, "bias": False},
        {"num_layers": 3, "bidirectional": True, "proj_size": 2, "dropout": 0.5},
    ],
    ids=str,
)
def test_every_call(options: dict[str, Any], dtype: str) -> None:
    kind = getattr(torch, dtype)
    lstm = nn.LSTM(3, 5, **options, dtype=kind).eval()
    ours = accelerate(lstm)
    assert repr(ours) == repr(lstm).replace("LSTM(", "AcceleratedLSTM(")
    x = torch.randn(4, 4, 3, dtype=kind)
    states = lstm(x)[1]
    close(ours(x), lstm(x))
    close(ours(x, states), lstm(x, states))
    close(ours(x, list(states)), lstm(x, states))
    close(ours(x.transpose(0, 1)), lstm(x.transpose(0, 1)))
    single = tuple(state[:, 0] for state in states)
    close(ours(x[0]), lstm(x[0]))
    close(ours(x[0], single), lstm(x[0], single))
    close(ours(input=x, hx=states), lstm(input=x, hx=states))
    close(ours(x.expand(4, 4, 3)[:, :1].expand(4, 6, 3)), lstm(x[:, :1].expand(4, 6, 3)))


@pytest.mark.parametrize("order", ["sorted", "unsorted", "even"])
def test_packed_sequences(order: str) -> None:
    lstm = nn.LSTM(3, 5, 2, bidirectional=True).eval()
    ours = accelerate(lstm)
    lengths = {"sorted": [7, 5, 5, 1], "unsorted": [5, 1, 7, 5], "even": [7] * 4}[order]
    sort = order == "sorted"
    packed = rnn.pack_padded_sequence(torch.randn(7, 4, 3), lengths, enforce_sorted=sort)
    result, expected = ours(packed), lstm(packed)
    close(tuple(result[0]), tuple(expected[0]))
    close(result[1], expected[1])
    close(ours(packed, expected[1])[0].data, lstm(packed, expected[1])[0].data)
    close(rnn.pad_packed_sequence(result[0]), rnn.pad_packed_sequence(expected[0]))
    states = torch.randn(4, 4, 5), torch.randn(4, 4, 5)
    close(ours(packed, states)[1], lstm(packed, states)[1])
    for wrong in (torch.zeros(4, 6, 5), torch.zeros(4, 3, 5), torch.zeros(4, 5)):
        with pytest.raises(RuntimeError, match=r"Expected hidden\[0\]|hx"):
            ours(packed, (wrong, wrong))
    with pytest.raises(RuntimeError, match="Expected 3, got 2"):
        ours(rnn.PackedSequence(packed.data[:, :2], *packed[1:]))
    with pytest.raises(ValueError, match=r"never increase|rows"):
        ours(rnn.PackedSequence(packed.data[:9], torch.tensor([4, 1, 4]), None, None))


@pytest.mark.parametrize("bias", [True, False])
def test_cells(bias: bool) -> None:
    cell = nn.LSTMCell(3, 5, bias=bias).eval()
    ours = accelerate(cell)
    assert type(ours) is AcceleratedLSTMCell
    x = torch.randn(4, 3)
    states = cell(x)
    close(ours(x), states)
    close(ours(x, states), cell(x, states))
    close(ours(x[0]), cell(x[0]))


def test_tensors_are_not_copied() -> None:
    """An input is read in place, and what comes out is the memory that the kernels wrote to."""
    ours = accelerate(nn.LSTM(3, 5).eval())
    seen = []
    ours(torch.zeros(2, 1, 3))
    core = ours._numba_lstm_packing.now.cores[0]

    def spy(x: np.ndarray, hx: Any) -> Any:
        seen.extend([x, core(x, hx)])
        return seen[-1]

    spy.batch_first = False  # type: ignore[attr-defined]
    ours._numba_lstm_packing.now = ours._numba_lstm_packing.now._replace(cores=(spy,))
    x = torch.randn(2, 1, 3)
    output, (h_n, _) = ours(x)
    assert seen[0].__array_interface__["data"][0] == x.data_ptr()
    assert seen[1][0].__array_interface__["data"][0] == output.data_ptr()
    assert seen[1][1][0].__array_interface__["data"][0] == h_n.data_ptr()


def test_inputs_and_weights_of_inference_mode() -> None:
    with torch.inference_mode():
        lstm = nn.LSTM(3, 5).eval()
        x = torch.randn(2, 1, 3)
        ours = accelerate(lstm)
        close(ours(x), lstm(x))
        lstm.weight_hh_l0.mul_(2)
        close(ours(x), lstm(x))


# --- models -----------------------------------------------------------------------------------------------


class Pair(nn.Module):
    """An LSTM in two places, another in a list, and a cell in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.LSTM(3, 3)
        self.decoder = self.encoder
        self.many = nn.ModuleList([nn.Sequential(nn.LSTM(3, 4))])
        self.named = nn.ModuleDict({"cell": nn.LSTMCell(3, 5), "gru": nn.GRU(3, 3)})

    def forward(self, x: Any) -> Any:
        x = self.decoder(self.encoder(x)[0])[0]
        return self.many[0](x), self.named["cell"](x[0]), self.named["gru"](x)


def test_nested_and_shared_modules() -> None:
    theirs = Pair().eval()
    ours = accelerate(copy.deepcopy(theirs))
    assert ours.encoder is ours.decoder
    assert isinstance(ours.many[0][0], AcceleratedLSTM)
    assert isinstance(ours.named["cell"], AcceleratedLSTMCell)
    assert type(ours.named["gru"]) is nn.GRU
    x = torch.randn(4, 2, 3)
    close(ours(x), theirs(x))
    assert accelerate(ours) is ours
    close(ours(x), theirs(x))


def test_restore() -> None:
    model = Pair().eval()
    before = dict(model.named_parameters())
    modules = dict(model.named_modules())
    accelerate(model)
    after = dict(model.named_parameters())
    assert list(after) == list(before)
    assert all(after[name] is before[name] for name in before)
    model.train()
    assert restore(model) is model
    assert all(module is modules[name] for name, module in model.named_modules())
    assert model.encoder.training
    assert restore(model) is model
    lstm = nn.LSTM(3, 5)
    fast = accelerate(lstm)
    assert restore(fast) is lstm
    # A copy has no module to go back to, and gets a new one.
    other = restore(copy.deepcopy(fast))
    assert type(other) is nn.LSTM
    x = torch.randn(2, 1, 3)
    close(other(x), lstm(x))
    with torch.enable_grad():  # trains as ever
        other.train()(x)[0].sum().backward()
    assert other.weight_ih_l0.grad is not None


def test_state_dicts() -> None:
    theirs, other = Tagger().eval(), Tagger().eval()
    ours = accelerate(copy.deepcopy(theirs))
    state = ours.state_dict()
    assert list(state) == list(theirs.state_dict())
    words = torch.randint(0, 50, (2, 5))
    close(ours(words), theirs(words))
    assert str(ours.load_state_dict(other.state_dict())) == "<All keys matched successfully>"
    close(ours(words), other(words))
    ours.load_state_dict(theirs.state_dict(), assign=True)
    close(ours(words), theirs(words))


def test_copies_and_pickles() -> None:
    theirs = Tagger().eval()
    ours = accelerate(copy.deepcopy(theirs))
    words = torch.randint(0, 50, (2, 5))
    ours(words)
    other = copy.deepcopy(ours)
    assert type(other.lstm) is AcceleratedLSTM
    assert other.lstm.weight_ih_l0 is not ours.lstm.weight_ih_l0
    with torch.no_grad():
        ours.lstm.weight_ih_l0.zero_()
    close(other(words), theirs(words))
    file = standard_io.BytesIO()
    torch.save(other.lstm, file)
    assert len(file.getvalue()) < 1.5 * sum(p.nbytes for p in theirs.lstm.parameters()) + 10_000
    file.seek(0)
    read = torch.load(file, weights_only=False)
    assert type(read) is AcceleratedLSTM
    x = torch.randn(2, 5, 12)
    close(read(x), theirs.lstm(x))
    cell = accelerate(nn.LSTMCell(3, 5).eval())
    close(copy.deepcopy(cell)(torch.ones(1, 3)), cell(torch.ones(1, 3)))


def test_hooks() -> None:
    lstm = nn.LSTM(3, 5).eval()
    calls = []
    handle = lstm.register_forward_hook(lambda *_: calls.append(1))
    ours = accelerate(lstm)
    ours(torch.zeros(1, 1, 3))
    handle.remove()
    ours(torch.zeros(1, 1, 3))
    assert calls == [1]


# --- changes of parameters --------------------------------------------------------------------------------


def _optimizer_step(lstm: Any) -> None:
    optimizer = torch.optim.SGD(lstm.parameters(), lr=1.0)
    for parameter in lstm.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()


def _through_data(lstm: Any) -> None:
    for parameter in lstm.parameters():
        parameter.data.copy_(torch.randn_like(parameter))


def _forget_bias(lstm: Any) -> None:
    lstm.bias_ih_l0.data[5:10].fill_(1)


def _through_numpy(lstm: Any) -> None:
    lstm.weight_hh_l1.detach().numpy()[...] *= 2


def _another_tensor(lstm: Any) -> None:
    lstm.weight_hh_l1.data = torch.randn(20, 5)


def _another_parameter(lstm: Any) -> None:
    lstm.weight_hh_l1 = nn.Parameter(torch.randn(20, 5))


def _one_element(lstm: Any) -> None:
    lstm.weight_ih_l0[3, 1] += 1


def _load(lstm: Any) -> None:
    lstm.load_state_dict(nn.LSTM(3, 5, 2).state_dict())


def _double(lstm: Any) -> None:
    lstm.double()
    lstm.float()
    lstm.bias_hh_l0 += 1


CHANGES = [
    _optimizer_step, _through_data, _forget_bias, _through_numpy, _another_tensor, _another_parameter, _one_element,
    _load, _double,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_changes_are_noticed(change: Any) -> None:
    lstm = nn.LSTM(3, 5, 2).eval()
    ours = accelerate(lstm)
    x = torch.randn(4, 2, 3)
    before = ours(x)[0].clone()
    packed = ours._numba_lstm_packing.now
    ours(x)
    assert ours._numba_lstm_packing.now is packed  # and what has not changed is not packed again
    change(ours)
    close(ours(x), lstm(x))
    assert not torch.equal(ours(x)[0], before)


def test_changes_that_torch_does_not_count() -> None:
    """A few elements, written through ``data``: seen when asked to look."""
    lstm = nn.LSTM(64, 64).eval()
    ours = accelerate(lstm)
    x = torch.randn(4, 2, 64)
    ours(x)
    lstm.weight_ih_l0.data[0, 1] += 5
    repack(ours)
    close(ours(x), lstm(x))


def test_dtype_changes() -> None:
    lstm = nn.LSTM(3, 5).eval()
    ours = accelerate(lstm)
    x = torch.randn(4, 2, 3)
    ours(x)
    ours.double()
    assert ours(x.double())[0].dtype == torch.float64
    with pytest.raises(ValueError, match=r"input dtype \(torch.float32\) does not match weight dtype \(torch.float64"):
        ours(x)
    ours.batch_first = True
    assert ours(x.double())[1][0].shape == (1, 4, 5)


# --- what is refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda m, x: m(x.double()), ValueError, r"Convert input: input.to\(torch.float32\)"),
        (lambda m, x: m(x.half()), ValueError, "torch.float16"),
        (lambda m, x: m(x.numpy()), TypeError, "input should be a Tensor, got: ndarray"),
        (lambda m, x: m(x, x), TypeError, "hx should be a tuple"),
        (lambda m, x: m(x, (x,)), ValueError, "hx should be a tuple"),
        (lambda m, x: m(x, (1, 2)), TypeError, r"hx\[0\] should be a Tensor"),
        (lambda m, x: m(x[..., :2]), RuntimeError, "Expected 3, got 2"),
        (lambda m, x: m(x, (x, x)), RuntimeError, r"Expected hidden\[0\] size"),
        (lambda m, x: m(x[None]), ValueError, "got 4D"),
        (lambda m, x: m(x[:0]), RuntimeError, "larger than 0"),
        (lambda m, x: m.half()(x.half()), ValueError, "weight_ih_l0 is torch.float16 on cpu: call model.float"),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_calls_that_are_refused(call: Any, error: type[Exception], words: str) -> None:
    ours = accelerate(nn.LSTM(3, 5).eval())
    with pytest.raises(error, match=words):
        call(ours, torch.zeros(2, 1, 3))


class Peephole(nn.LSTM):
    """A cell of one's own."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        return input, hx


def _pruned() -> Any:
    import torch.nn.utils.prune as prune

    lstm = nn.LSTM(3, 5)
    prune.random_unstructured(lstm, "weight_hh_l0", amount=0.5)
    return lstm


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: nn.Linear(3, 5), ValueError, "no torch.nn.LSTM or torch.nn.LSTMCell in the model"),
        (lambda: nn.Sequential(nn.GRU(3, 5)), ValueError, "0 is a torch.nn.modules.rnn.GRU"),
        (lambda: torch.jit.script(nn.LSTM(3, 5)), TypeError, "TorchScript, whose file LSTM.load reads"),
        (lambda: nn.ModuleDict({"a": nn.LSTM(3, 5), "b": Peephole(3, 5)}), TypeError, r"b \(Peephole\), because the"),
        (lambda: "model.pt", TypeError, "got: str"),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_models_that_are_refused(make: Any, error: type[Exception], words: str) -> None:
    model = make()
    with pytest.raises(error, match=words):
        accelerate(model, strict=True)
    if isinstance(model, nn.ModuleDict):
        assert type(model["a"]) is nn.LSTM  # nothing was replaced


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: nn.Linear(3, 5), "is a Linear"),
        (lambda: Peephole(3, 5), "is a Peephole, a subclass that may compute something else"),
        (_pruned, "computes its weight_hh_l0 from"),
        (lambda: "model.pt", "is a str"),
    ],
)
def test_modules_that_are_not_copied(make: Any, words: str) -> None:
    with pytest.raises(TypeError, match="module should be a torch.*" + words):
        from_module(make())


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_quantized_modules_are_refused() -> None:
    model = nn.Sequential(nn.LSTM(3, 5))
    try:
        model = torch.ao.quantization.quantize_dynamic(model, {nn.LSTM})
    except (RuntimeError, AttributeError):
        pytest.skip("this torch cannot quantize")
    with pytest.raises(ValueError, match=r"0 is a torch\.ao\..*LSTM"):
        accelerate(model)


# --- copies -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_from_module(dtype: str) -> None:
    trained = nn.LSTM(3, 5, 2, batch_first=True, dropout=0.25, bidirectional=True, proj_size=2).eval()
    trained = trained.to(getattr(torch, dtype))
    lstm = from_module(trained)
    assert repr(lstm) == repr(trained)
    assert isinstance(lstm, LSTM)
    assert not lstm.training
    assert lstm.dtype == (np.float64 if dtype == "float64" else np.float32)
    x = torch.randn(2, 4, 3, dtype=torch.float64)
    expected = trained.double()(x)[0]
    np.testing.assert_allclose(lstm(x.numpy().astype(lstm.dtype))[0], expected, rtol=0, atol=TOLERANCE)
    with torch.no_grad():
        trained.weight_ih_l0.zero_()
    assert lstm.weight_ih_l0.any()  # a copy
    cell = from_module(nn.LSTMCell(3, 5, bias=False))
    assert isinstance(cell, LSTMCell)
    assert repr(cell) == "LSTMCell(3, 5, bias=False)"
    assert repr(from_module(accelerate(nn.LSTM(3, 5)))) == "LSTM(3, 5)"


def test_torch_is_imported_by_those_who_want_it() -> None:
    code = "import sys, numba_lstm, numba_lstm.io; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
