"""What programs do with their LSTMs beside calling them: small modules that behave like published ones."""

from __future__ import annotations

import copy
import io as standard_io
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from support.torch_models import TOLERANCE, same  # noqa: E402

from numba_lstm.io.torch import accelerate, repack, report, restore  # noqa: E402

nn = torch.nn
rnn = torch.nn.utils.rnn

pytestmark = pytest.mark.usefixtures("seeded_without_gradients")


def packed(module: Any) -> Any:
    """Return the object that changes when parameters are packed."""
    return module._numba_lstm_packing.now.cores[0]


# --- parameters that are the same as before -----------------------------------------------------------------


class LanguageModel(nn.Module):
    """A loop over characters that flattens parameters at every call, as taggers' models do."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(4, 6)

    def forward(self, x: Any, hx: Any = None) -> Any:
        self.rnn.flatten_parameters()
        return self.rnn(x, hx)


def test_flattening_packs_nothing() -> None:
    theirs = LanguageModel().eval()
    ours = accelerate(copy.deepcopy(theirs))
    hx = expected = None
    cores = []
    for x in torch.randn(5, 1, 1, 4):
        (y, hx), (want, expected) = ours(x, hx), theirs(x, expected)
        same((y, hx), (want, expected))
        cores.append(packed(ours.rnn))
    assert all(core is cores[0] for core in cores)


SAME_WEIGHTS: dict[str, Callable[[Any], Any]] = {
    "to": lambda lstm: lstm.to("cpu"),
    "float": lambda lstm: lstm.float(),
    "load_state_dict": lambda lstm: lstm.load_state_dict(copy.deepcopy(lstm.state_dict())),
    "load_state_dict with assign": lambda lstm: lstm.load_state_dict(copy.deepcopy(lstm.state_dict()), assign=True),
    "copy_": lambda lstm: lstm.weight_hh_l0.copy_(lstm.weight_hh_l0.clone()),
    "other memory": lambda lstm: setattr(lstm.weight_hh_l0, "data", lstm.weight_hh_l0.clone()),
    "other strides": lambda lstm: setattr(lstm.weight_hh_l0, "data", lstm.weight_hh_l0.t().contiguous().t()),
    "another parameter": lambda lstm: setattr(lstm, "bias_hh_l0", nn.Parameter(lstm.bias_hh_l0.clone())),
}


@pytest.mark.parametrize("change", SAME_WEIGHTS.values(), ids=SAME_WEIGHTS)
def test_equal_weights_are_not_packed_again(change: Any) -> None:
    theirs = nn.LSTM(3, 5).eval()
    ours, x = accelerate(copy.deepcopy(theirs)), torch.randn(4, 2, 3)
    for _ in range(2):  # the second time copies are kept
        change(ours)
        same(ours(x), theirs(x))
    first = packed(ours)
    for _ in range(3):
        change(ours)
        same(ours(x), theirs(x))
        assert packed(ours) is first


@pytest.mark.parametrize("value", [float("nan"), -0.0, 1e-45])
def test_every_bit_of_a_weight_counts(value: float) -> None:
    """Where a change was counted, contents are compared as bits."""
    ours = accelerate(nn.LSTM(3, 5).eval())
    x = torch.randn(4, 2, 3)
    ours.weight_ih_l0[7, 1] = 0.0
    for _ in range(2):
        ours.weight_ih_l0.add_(0)
        ours(x)
    first = packed(ours)
    ours.weight_ih_l0[7, 1] = value
    ours(x)
    assert packed(ours) is not first
    second = packed(ours)
    ours.weight_ih_l0[7, 1] = value
    ours(x)
    assert packed(ours) is second


def test_weights_that_do_change_are_packed() -> None:
    """Training between predictions, and one element at a time."""
    theirs = nn.LSTM(3, 5, 2, bidirectional=True).eval()
    ours, x = accelerate(copy.deepcopy(theirs)), torch.randn(4, 2, 3)
    for step in range(6):
        for lstm in (ours, theirs):
            parameter = list(lstm.parameters())[step]
            parameter.view(-1)[step] += 1
        same(ours(x), theirs(x))
    ours.double()
    same(ours(x.double()), copy.deepcopy(theirs).double()(x.double()))
    ours.float()
    same(ours(x), theirs(x))


def test_old_parameters_are_not_kept() -> None:
    import weakref

    ours, x = accelerate(nn.LSTM(3, 5).eval()), torch.randn(4, 2, 3)
    ours(x)
    old = weakref.ref(ours.weight_hh_l0)
    ours.weight_hh_l0 = nn.Parameter(ours.weight_hh_l0.clone())
    ours(x)
    assert old() is None


def test_converting_may_exchange_parameters() -> None:
    """torch does so where it is asked to, and only where nothing refers to a parameter weakly."""
    theirs, x = nn.Sequential(nn.LSTM(3, 5)).eval(), torch.randn(4, 2, 3)
    ours = accelerate(copy.deepcopy(theirs))
    same(ours(x), theirs(x))
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        same(ours.double()(x.double()), theirs.double()(x.double()))
    finally:
        torch.__future__.set_swap_module_params_on_conversion(False)


def test_repack() -> None:
    model = accelerate(nn.Sequential(nn.LSTM(64, 64))).eval()
    x = torch.randn(4, 2, 64)
    model(x)
    model[0].weight_ih_l0.data[0, 1] += 5
    repack(model)
    same(model(x), restore(copy.deepcopy(model))(x))
    with pytest.raises(TypeError, match=r"should be a torch\.nn\.Module, got: str"):
        repack("model")


class WeightDrop(nn.Module):
    """Drop connect on recurrent weights: what the LSTM uses is computed before every call."""

    def __init__(self, lstm: Any, rate: float) -> None:
        super().__init__()
        self.module, self.rate = lstm, rate
        raw = lstm._parameters.pop("weight_hh_l0")
        self.register_parameter("weight_hh_l0_raw", nn.Parameter(raw.data))
        self._set()

    def _set(self) -> None:
        dropped = nn.functional.dropout(self.weight_hh_l0_raw, self.rate, training=self.training)
        setattr(self.module, "weight_hh_l0", dropped.clone())  # noqa: B010

    def forward(self, x: Any) -> Any:
        self._set()
        return self.module(x)


def test_weight_drop() -> None:
    theirs = WeightDrop(nn.LSTM(3, 5), 0.5).eval()
    ours = accelerate(copy.deepcopy(theirs))
    assert [module.accelerated for module in report(ours)] == [True]
    x = torch.randn(4, 2, 3)
    for _ in range(3):
        same(ours(x), theirs(x))
    first = packed(ours.module)
    same(ours(x), theirs(x))
    assert packed(ours.module) is first
    for model in (ours, theirs):
        torch.manual_seed(1)
        model.train()
        model(x)  # with masks of torch's
    torch.manual_seed(1)
    mine = ours(x)
    torch.manual_seed(1)
    same(mine, theirs(x))


NORMED: dict[str, Callable[[Any], Any]] = {
    "weight_norm": lambda lstm: nn.utils.parametrizations.weight_norm(lstm, "weight_hh_l0"),
    "weight_norm of hooks": lambda lstm: nn.utils.weight_norm(lstm, "weight_hh_l0"),
    "prune": lambda lstm: nn.utils.prune.l1_unstructured(lstm, "weight_hh_l0", 0.5),
}


@pytest.mark.parametrize("put", NORMED.values(), ids=NORMED)
@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_computed_before_accelerate(put: Any) -> None:
    import torch.nn.utils.prune

    theirs = nn.LSTM(3, 5).eval()
    put(theirs)
    assert report(theirs)[0].kind == "torch.nn.modules.rnn.LSTM"
    model = accelerate(nn.Sequential(copy.deepcopy(theirs)))
    ours, x = model[0], torch.randn(4, 2, 3)
    assert report(model)[0].accelerated
    for _ in range(3):
        same(ours(x), theirs(x))
        for lstm in (ours, theirs):
            for parameter in lstm.parameters():
                parameter.mul_(1.5)
    same(copy.deepcopy(ours)(x), theirs(x))
    same(restore(model)[0](x), theirs(x))
    if nn.utils.parametrize.is_parametrized(theirs):
        assert type(model[0]).__name__ == type(theirs).__name__
        with torch.enable_grad():
            nn.utils.parametrize.remove_parametrizations(accelerate(model)[0], "weight_hh_l0")
        same(model(x), theirs(x))
        assert type(restore(model)[0]) is nn.LSTM


class Adapted(nn.LSTM):
    """One with adapters of low rank, which are put where torch has its list of weights for a call."""

    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.a, self.b = nn.Parameter(torch.randn(4 * sizes[1], 1)), nn.Parameter(torch.randn(1, sizes[1]))

    def forward(self, x: Any, hx: Any = None) -> Any:
        weights = [getattr(self, name) for name in self._flat_weights_names]
        weights[1] = weights[1] + self.a @ self.b
        self._flat_weights = weights
        return super().forward(x, hx)


def test_adapters() -> None:
    theirs, x = Adapted(3, 5).eval(), torch.randn(4, 2, 3)
    ours = accelerate(copy.deepcopy(theirs), strict=True)
    for _ in range(2):
        same(ours(x), theirs(x))
        for lstm in (ours, theirs):
            lstm.a.add_(1)
    assert report(ours)[0].accelerated


def _in_list(lstm: Any, tensor: Any) -> None:
    lstm._flat_weights[1] = tensor


def _in_parameters(lstm: Any, tensor: Any) -> None:
    lstm._parameters["weight_hh_l0"] = nn.Parameter(tensor)


def _in_both(lstm: Any, tensor: Any) -> None:
    lstm._parameters["weight_hh_l0"] = lstm._flat_weights[1] = tensor


def _in_list_then_another_as_attribute(lstm: Any, tensor: Any) -> None:
    lstm._flat_weights[1] = tensor
    lstm.bias_hh_l0 = nn.Parameter(tensor[:, 0].clone())


@pytest.mark.parametrize("put", [_in_list, _in_parameters, _in_both, _in_list_then_another_as_attribute])
def test_weights_in_the_list_that_torch_has_for_a_call(put: Any) -> None:
    theirs, x = nn.LSTM(3, 5).eval(), torch.randn(4, 2, 3)
    ours, tensor = accelerate(copy.deepcopy(theirs)), torch.randn(20, 5)
    same(ours(x), theirs(x))
    for lstm in (ours, theirs):
        put(lstm, tensor)
    same(ours(x), theirs(x))


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_a_norm_that_is_removed_in_between_is_gone_after_restore() -> None:
    lstm, x = nn.LSTM(3, 5).eval(), torch.randn(4, 2, 3)
    nn.utils.weight_norm(lstm, "weight_hh_l0")
    model = accelerate(nn.Sequential(lstm))
    model(x)
    nn.utils.remove_weight_norm(model[0], "weight_hh_l0")
    restore(model)
    other = nn.Sequential(nn.LSTM(3, 5)).eval()
    model.load_state_dict(other.state_dict())
    same(model(x), other(x))
    assert model[0].weight_hh_l0 is dict(model.named_parameters())["0.weight_hh_l0"]


# --- train mode ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"num_layers": 2}, {"num_layers": 2, "dropout": 0.5}], ids=str)
def test_train_mode(options: dict[str, Any]) -> None:
    """A speaker encoder that never calls eval; and dropout that is kept on: the masks of torch."""
    theirs = nn.LSTM(3, 5, **options)
    ours, x = accelerate(copy.deepcopy(theirs)), torch.randn(4, 2, 3)
    results = []
    for lstm in (ours, theirs):
        torch.manual_seed(3)
        results.append([lstm(x), lstm(x)])
    same(*results)
    cell = nn.LSTMCell(3, 5)
    same(accelerate(copy.deepcopy(cell))(x[0]), cell(x[0]))


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.LSTMCell(np.int64(3), torch.tensor(5), 1),
        lambda: nn.LSTMCell(3, np.int32(5), 0),
        lambda: nn.LSTMCell(3, 5, bias=np.bool_(True)),
    ],
)
def test_sizes_of_every_type(make: Any) -> None:
    theirs, x = make(), torch.randn(4, 3)
    same(accelerate(copy.deepcopy(theirs))(x), theirs(x))


@pytest.mark.parametrize("bias", [1, 0])
def test_lstm_attributes_of_every_type(bias: Any) -> None:
    theirs = nn.LSTM(3, 5, bias=bool(bias))
    ours, x = accelerate(copy.deepcopy(theirs)), torch.randn(2, 4, 3)
    theirs.batch_first = True
    ours.bias, ours.hidden_size, ours.bidirectional, ours.batch_first = bias, np.int64(5), 0, 1
    same(ours(x), theirs(x))


# --- whoever else has the module ----------------------------------------------------------------------------


class Beside(nn.Module):
    """A program that keeps its LSTM a second time, where torch does not find it."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(3, 5, 2, dropout=0.5)
        self.steps = [self.rnn]

    def forward(self, x: Any) -> Any:
        for step in self.steps:
            x = step(x)[0]
        return x


def test_a_module_that_is_kept_beside_the_model_has_its_mode() -> None:
    model, x = accelerate(Beside()), torch.randn(4, 2, 3)
    model.eval()
    same(model(x), model.rnn(x)[0])
    model.double()
    model.load_state_dict(Beside().state_dict())
    same(model(x.double()), model.rnn(x.double())[0])
    restore(model)
    assert model.steps[0] is model.rnn


def test_torch_module_is_copied_and_saved_without_ours() -> None:
    lstm, x = nn.LSTM(3, 5).eval(), torch.randn(4, 2, 3)
    fast = accelerate(lstm)
    same(fast(x), lstm(x))
    file = standard_io.BytesIO()
    torch.save(lstm, file)
    assert b"numba_lstm.io" not in file.getvalue()  # nothing to import
    file.seek(0)
    for other in (copy.deepcopy(lstm), copy.copy(lstm), torch.load(file, weights_only=False)):
        assert type(other) is nn.LSTM
        same(other(x), lstm(x))
        again = accelerate(other)
        same(again(x), lstm(x))
        assert restore(again) is other
    assert restore(copy.copy(fast)) is not lstm
    assert restore(fast) is lstm
    same(fast(x), lstm(x))


# --- what is done to a module afterwards ---------------------------------------------------------------------


def test_a_forward_that_was_put_on_afterwards_is_reported() -> None:
    model, calls = accelerate(nn.Sequential(nn.LSTM(3, 5))), []
    before = model[0].forward
    model[0].forward = lambda x: calls.append(1) or before(x)
    x = torch.randn(4, 2, 3)
    model(x)
    assert calls == [1]
    assert "another forward" in report(model)[0].why
    assert model[0]._numba_lstm_packing.now is not None
    with pytest.raises(TypeError, match=r"another forward on 0 since it was accelerated.*take it off"):
        restore(model)
    del model[0].forward
    model[0].compile(backend="eager")
    same(restore(model)(x), before(x))
    assert model[0]._compiled_call_impl is None


def test_restore_after_changes_of_attributes() -> None:
    """What was taken off since, as the mask of pruning, does not come back."""
    from torch.nn.utils import prune

    theirs = nn.LSTM(3, 5)
    prune.l1_unstructured(theirs, "weight_hh_l0", 0.5)
    model, x = accelerate(nn.Sequential(theirs)), torch.randn(4, 2, 3)
    model(x)
    prune.remove(model[0], "weight_hh_l0")
    model[0].weight_hh_l0.add_(1)
    expected = model(x)
    lstm = restore(model)[0]
    assert lstm is theirs
    same(lstm(x), expected)
    same(lstm.float()(x), expected)
    assert lstm.weight_hh_l0 is dict(lstm.named_parameters())["weight_hh_l0"]


def test_changes_that_no_counter_counts() -> None:
    """New weights are seen, of whatever pattern."""
    theirs = nn.LSTM(64, 64).eval()
    ours, x = accelerate(copy.deepcopy(theirs)), torch.randn(4, 2, 64)
    ours(x)
    for lstm in (ours, theirs):
        kept = lstm.weight_hh_l0[:, [16, 48]].clone()
        lstm.weight_hh_l0.data.zero_()
        lstm.weight_hh_l0.data[:, [16, 48]] = kept
    same(ours(x), theirs(x))


def test_threads_that_share_parameters() -> None:
    """Each call is of one layout and one set of weights, whatever other threads call."""
    lstm, first = nn.LSTM(6, 4).eval(), nn.LSTM(6, 4, batch_first=True).eval()
    for name, parameter in list(lstm.named_parameters()):
        setattr(first, name, parameter)
    x = torch.randn(4, 4, 6)
    expected = [module(x)[0] for module in (lstm, first)]
    ours = [accelerate(module) for module in (lstm, first)]
    failures: list[Any] = []

    def call(module: Any, want: Any) -> None:
        with torch.no_grad():
            for _ in range(300):
                got = module(x)[0]
                if not torch.allclose(got, want, atol=TOLERANCE):
                    failures.append(got)

    threads = [threading.Thread(target=call, args=pair) for pair in zip(ours, expected, strict=True)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not failures
