"""LSTMs of programs that are subclasses: those that go up to torch's forward are accelerated, others left and named."""

from __future__ import annotations

import abc
import copy
import io as standard_io
import re
import warnings
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from support.torch_models import same  # noqa: E402

from numba_lstm.io.torch import accelerate, from_module, report, restore  # noqa: E402

nn = torch.nn
rnn = torch.nn.utils.rnn

pytestmark = pytest.mark.usefixtures("seeded_without_gradients")


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
