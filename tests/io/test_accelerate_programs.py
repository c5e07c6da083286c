"""What programs do with their LSTMs beside calling them: small modules that behave like published ones."""

from __future__ import annotations

import abc
import copy
import io as standard_io
import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from numba_lstm.io.torch import accelerate, from_module, repack, report, restore  # noqa: E402

TOLERANCE = 1e-5
nn = torch.nn
rnn = torch.nn.utils.rnn


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    torch.manual_seed(0)
    with torch.no_grad():
        yield


def same(ours: Any, theirs: Any) -> None:
    if isinstance(theirs, torch.Tensor):
        assert (type(ours), ours.dtype, ours.shape) == (type(theirs), theirs.dtype, theirs.shape)
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=0, atol=TOLERANCE)
    elif theirs is not None:
        for one, other in zip(ours, theirs, strict=True):
            same(one, other)


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


# --- subclasses ---------------------------------------------------------------------------------------------


class Initialised(nn.LSTM):
    """One that only sets its weights."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.forget_bias = 1.0
        self.bias_hh_l0.data[5:10] = self.forget_bias


class Longest(abc.ABC, nn.Module):
    """A mixin with an abstract method, as packages for time series have."""

    @abc.abstractmethod
    def no_steps(self, x: Any) -> Any: ...


class ZeroLengths(Longest, nn.LSTM):
    """One that takes sequences without steps, and hands the others on."""

    def no_steps(self, x: Any) -> Any:
        return x.new_zeros(1, x.shape[1], self.hidden_size)

    def forward(self, x: Any, hx: Any = None, lengths: Any = None) -> Any:
        if lengths is None:
            return super().forward(x, hx)
        packed = rnn.pack_padded_sequence(x, lengths.clamp(min=1), enforce_sorted=False)
        output, (h, c) = super().forward(packed, hx)
        empty = (lengths == 0)[None, :, None]
        initial = self.no_steps(x)
        state = torch.where(empty, initial, h), torch.where(empty, initial, c)
        return rnn.pad_packed_sequence(output)[0], state


class OldStyle(nn.LSTM):
    """``super`` with arguments."""

    def forward(self, x: Any, hx: Any = None) -> Any:
        output, hx = super(OldStyle, self).forward(x * 2, hx)  # noqa: UP008
        return output + 1, hx


class ThroughHelper(OldStyle):
    """The call is in another method, of a class between."""

    def forward(self, x: Any, hx: Any = None) -> Any:
        return self.twice(x, hx)

    def twice(self, x: Any, hx: Any) -> Any:
        return super().forward(super().forward(x[..., :3], hx)[0][..., :3], hx)


class Gated(nn.LSTMCell):
    """A cell with something around it."""

    def forward(self, x: Any, hx: Any = None) -> Any:
        h, c = super().forward(x, hx)
        return torch.tanh(h), c


SUBCLASSES: dict[str, tuple[Any, Callable[[], tuple[Any, ...]]]] = {
    "Initialised": (Initialised, lambda: (torch.randn(4, 2, 3),)),
    "ZeroLengths": (ZeroLengths, lambda: (torch.randn(4, 3, 3), None, torch.tensor([4, 0, 2]))),
    "OldStyle": (OldStyle, lambda: (torch.randn(4, 2, 3),)),
    "ThroughHelper": (ThroughHelper, lambda: (torch.randn(4, 2, 3),)),
    "Gated": (Gated, lambda: (torch.randn(4, 3),)),
}


@pytest.mark.parametrize(("kind", "arguments"), SUBCLASSES.values(), ids=SUBCLASSES)
def test_subclasses_that_go_up(kind: Any, arguments: Any) -> None:
    theirs, given = kind(3, 5).eval(), arguments()
    model = accelerate(nn.ModuleList([copy.deepcopy(theirs), nn.LSTM(3, 5)]), strict=True)
    ours = model[0]
    assert isinstance(ours, kind)
    same(ours(*given), theirs(*given))
    assert ours._numba_lstm_packing.now is not None  # it was called
    assert report(model)[0][:3] == ("0", f"{__name__}.{kind.__name__}", True)
    same(copy.deepcopy(ours)(*given), theirs(*given))
    file = standard_io.BytesIO()
    torch.save(ours, file)
    file.seek(0)
    read = torch.load(file, weights_only=False)
    assert type(read) is type(ours)
    same(read(*given), theirs(*given))
    with pytest.raises(TypeError, match="module should be"):
        from_module(ours)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert type(restore(model)[0]) is kind
    same(model[0](*given), theirs(*given))
    assert type(restore(read)) is kind


class Regularized(nn.LSTMCell):
    """A cell whose own attributes have the names of options that only layers have."""

    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.dropout, self.num_layers, self.batch_first = nn.Dropout(0.5), 2, True

    def forward(self, x: Any, hx: Any = None) -> Any:
        return super().forward(self.dropout(x), hx)


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("compiled", [False, True])
def test_a_cell_with_dropout_of_its_own(gradients: bool, compiled: bool) -> None:
    theirs, x = Regularized(3, 5), torch.randn(4, 3)
    model = accelerate(nn.ModuleList([copy.deepcopy(theirs)]), strict=True)
    found = []
    for lstm in (theirs, model[0]):
        torch.manual_seed(1)
        with torch.set_grad_enabled(gradients):
            call = torch.compile(lstm, backend="eager") if compiled else lstm
            results = call(x)
            if gradients:
                sum(results).sum().backward()
                results = *results, lstm.weight_hh.grad
        found.append(results)
    same(*found)


class Remade(nn.LSTM):
    """One whose copies are made by its own class."""

    def __deepcopy__(self, memo: Any) -> Any:
        made = type(self)(self.input_size, self.hidden_size)
        made.load_state_dict(self.state_dict())
        return made


def test_modules_that_copy_themselves() -> None:
    model, x = accelerate(nn.Sequential(Remade(3, 5))).eval(), torch.randn(4, 2, 3)
    other = copy.deepcopy(model)
    same(other(x), model(x))
    assert type(restore(other)[0]) is Remade


class Normed(nn.LSTM):
    """One that computes something else."""

    def forward(self, x: Any, hx: Any = None) -> Any:
        return torch.layer_norm(x, x.shape[-1:]), hx


class Above(Normed):
    """One that goes up to it."""

    def forward(self, x: Any, hx: Any = None) -> Any:
        return super().forward(x + 1, hx)


class ByName(nn.LSTM):
    """One that calls torch's by its name, where ours cannot be."""

    def forward(self, x: Any, hx: Any = None) -> Any:
        return nn.LSTM.forward(self, x, hx)


class Permuted(nn.LSTM):
    """One that overrides a part of torch's."""

    def permute_hidden(self, hx: Any, permutation: Any) -> Any:
        return hx


class Slotted(nn.LSTM):
    """One that keeps something beside its attributes."""

    __slots__ = ("scale",)

    def forward(self, x: Any, hx: Any = None) -> Any:
        output, state = super().forward(x, hx)
        return output * getattr(self, "scale", 1), state


class LSTM(nn.Module):
    """Another one of the name."""

    def forward(self, x: Any) -> Any:
        return x, None


class Registered(nn.LSTM):
    """One whose subclasses have to say something."""

    asked = 0

    def __init_subclass__(cls, *, name: str = "") -> None:
        Registered.asked += 1
        if not name:
            raise TypeError("a subclass needs a name")


def _hooked() -> Any:
    """Return an LSTM whose forward a serving library has wrapped."""
    lstm = nn.LSTM(3, 5)
    before = lstm.forward
    lstm.forward = lambda x, hx=None: before(x, hx)
    return lstm


def _unchecked() -> Any:
    """Return an LSTM whose checks a deployment has taken away."""
    lstm = nn.LSTM(3, 5)
    lstm.check_forward_args = lambda *arguments: None
    return lstm


def _compiled() -> Any:
    lstm = nn.LSTM(3, 5)
    lstm.compile(backend="eager")
    return lstm


LEFT: dict[str, tuple[Callable[[], Any], str]] = {
    "Normed": (lambda: Normed(3, 5), r"\d \(Normed\), because the forward of Normed computes by itself"),
    "Above": (lambda: Above(3, 5), "the forward of Normed computes by itself"),
    "ByName": (lambda: ByName(3, 5), "the forward of ByName computes by itself: it does not call super"),
    "Permuted": (lambda: Permuted(3, 5), "Permuted has a permute_hidden of its own"),
    "Slotted": (lambda: Slotted(3, 5), "Slotted has __slots__"),
    "Registered": (lambda: Registered(3, 5), "no class can be made of Registered: a subclass needs a name"),
    "a hook": (_hooked, "something has put another forward on this instance"),
    "unchecked": (_unchecked, "something has put another check_forward_args on this instance"),
    "compiled": (_compiled, "it was compiled by itself: accelerate the model before"),
    "bfloat16": (lambda: nn.LSTM(3, 5).bfloat16(), r"because kernels are for float32.*is torch.bfloat16 on"),
    "own": (lambda: LSTM(), r"1 \(LSTM\), because it is no torch\.nn\.LSTM or torch\.nn\.LSTMCell"),
    "script": (lambda: torch.jit.trace(nn.LSTM(3, 5).eval(), torch.zeros(4, 2, 3)), "it is TorchScript"),
}


@pytest.mark.parametrize(("make", "words"), LEFT.values(), ids=LEFT)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_others_are_left_and_named(make: Any, words: str) -> None:
    model, x = nn.ModuleList([nn.LSTM(3, 5), make(), nn.GRU(3, 5)]).eval(), torch.randn(4, 2, 3)
    left, gru = model[1], model[2]
    given = x.to(next(left.parameters(), x).dtype)
    expected = left(given)
    with pytest.raises(TypeError, match="cannot accelerate the model: .*" + words):
        accelerate(model, strict=True)
    with pytest.raises(UserWarning, match="accelerate leaves to torch"):  # warnings are errors here
        accelerate(model)
    assert type(model[0]) is nn.LSTM
    assert not any("numba" in name for name in vars(model[0]))  # nor anything in it
    with pytest.warns(UserWarning, match="accelerate leaves to torch: " + ".*" + words) as warned:
        assert accelerate(model) is model
    assert len(warned) == 1
    assert warned[0].filename == __file__
    assert model[1] is left
    assert model[2] is gru
    for one, other in zip(left(given), expected, strict=True):
        assert (one is other) or all(map(torch.equal, one, other))
    assert [module.accelerated for module in report(model)] == [True, False, False]
    assert re.search(words.rpartition("because ")[2], str(report(model)[1]))
    alone = nn.ModuleList([left])
    if isinstance(left, LSTM):
        with pytest.raises(ValueError, match=r"no torch\.nn\.LSTM or torch\.nn\.LSTMCell in the model"):
            accelerate(alone)
    else:
        with pytest.warns(UserWarning, match=words.replace("1 ", r"\d ")):
            assert accelerate(alone) is alone


def test_looking_makes_no_classes() -> None:
    class Told(nn.LSTM):
        made: list[str] = []  # noqa: RUF012

        def __init_subclass__(cls) -> None:
            Told.made.append(cls.__name__)

    model = nn.ModuleList([Told(3, 5), Told(3, 5)])
    report(model)
    accelerate(nn.ModuleList([*model, nn.LSTM(3, 5)]), skip=["0", "1"])
    assert Told.made == []
    accelerate(model)
    accelerate(copy.deepcopy(restore(model)))
    assert Told.made == ["AcceleratedTold"]


def test_names_of_users() -> None:
    """Attributes that others give a module or a subclass are not those that we need."""

    class Named(nn.LSTM):
        def _call(self, x: Any) -> Any:
            return super().forward(x)

        def forward(self, x: Any) -> Any:
            return self._call(x)

    theirs = Named(3, 5).eval()
    theirs.kind, theirs.called, theirs.core, theirs.now = "encoder", 1, 2, 3
    ours, x = accelerate(copy.deepcopy(theirs)), torch.randn(4, 2, 3)
    same(ours(x), theirs(x))
    assert ours._numba_lstm_packing.now is not None


def test_skip() -> None:
    model = nn.ModuleDict({"a": nn.Sequential(nn.LSTM(3, 5)), "b": nn.LSTM(3, 5), "c": Normed(3, 5)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        accelerate(model, skip=["a", "c"], strict=True)
    accelerated = [(module.name, module.accelerated) for module in report(model)]
    assert accelerated == [("a.0", False), ("b", True), ("c", False)]
    assert report(model)[0].why == "accelerate would replace it"
    with pytest.raises(ValueError, match="no module 'd' to skip"):
        accelerate(model, skip=["d"])
    with pytest.raises(TypeError, match="several names"):
        accelerate(model, skip="a")
    assert str(report(nn.LSTM(3, 5))[0]) == (
        "the model (torch.nn.modules.rnn.LSTM): torch's, accelerate would replace it"
    )


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
