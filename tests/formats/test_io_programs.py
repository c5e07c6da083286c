"""Modules in files with a program, TorchScript and torch.export, that it does not call, or calls in an unusual way."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import pytest

from numba_lstm import LSTM, io

torch: Any = pytest.importorskip("torch")

pytestmark = pytest.mark.filterwarnings("ignore")  # of exporters and traces

X = torch.linspace(-1, 1, 2 * 5 * 3).reshape(2, 5, 3)


def lstm(**options: Any) -> Any:
    return torch.nn.LSTM(3, 4, **{"batch_first": True, **options})


class OneUnused(torch.nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = lstm(), lstm()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.used(x)[0]


class Alike(torch.nn.Module):  # type: ignore[misc]
    """Two that differ in an option, and one that is not used."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.unused = lstm(num_layers=2, dropout=0.5), lstm(), lstm()

    def forward(self, x: Any) -> Any:
        return self.first(x)[0].sum() + self.second(x)[0]


class TwoNames(torch.nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.a = lstm()
        self.b = self.a

    def forward(self, x: Any) -> Any:
        return self.b(x)


class WithoutGradients(torch.nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = lstm(num_layers=2), lstm()

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def forward(self, x: Any) -> Any:
        return self.first(x)[0].sum() + self.second(x)[0]


class Rounded(WithoutGradients):
    def forward(self, x: Any) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            return self.first(x)[0].sum() + self.second(x)[0]


def traced(model: Any, path: Path) -> Path:
    torch.jit.trace(model.eval(), X).save(str(path))
    return path


def exported(model: Any, path: Path, decomposed: bool = False) -> Path:
    program = torch.export.export(model.eval(), (X,))
    torch.export.save(program.run_decompositions({}) if decomposed else program, path)
    return path


def test_traced_modules_that_are_not_called(tmp_path: Path) -> None:
    """Nothing tells the options of those, and those of others are their own."""
    path = traced(OneUnused(), tmp_path / "model.pt")
    assert repr(LSTM.load(path, "used.")) == "LSTM(3, 4, batch_first=True)"
    with pytest.raises(ValueError, match="that its program does not call, not torch"):
        LSTM.load(path, "unused.")
    path = traced(Alike(), tmp_path / "alike.pt")
    assert repr(LSTM.load(path, "first.")) == "LSTM(3, 4, num_layers=2, batch_first=True, dropout=0.5)"
    assert repr(LSTM.load(path, "second.")) == "LSTM(3, 4, batch_first=True)"
    with pytest.raises(ValueError, match="that its program does not call, not torch"):
        LSTM.load(path, "unused.")
    assert len(io.read(path)) == 16


def test_scripted_modules_that_are_not_called(tmp_path: Path) -> None:
    """Their options are constants of their classes."""
    torch.jit.script(OneUnused()).save(str(tmp_path / "model.pt"))
    assert repr(LSTM.load(tmp_path / "model.pt", "unused.")) == "LSTM(3, 4, batch_first=True)"


@pytest.mark.parametrize("decomposed", [False, True])
def test_exported_modules_that_are_not_called(decomposed: bool, tmp_path: Path) -> None:
    path = exported(OneUnused(), tmp_path / "model.pt2", decomposed)
    assert repr(LSTM.load(path, "used.")) == "LSTM(3, 4, batch_first=True)"
    with pytest.raises(ValueError, match="a module that its program calls by another name, or by none, not torch"):
        LSTM.load(path, "unused.")


def test_exported_modules_with_two_names(tmp_path: Path) -> None:
    path = exported(TwoNames(), tmp_path / "model.pt2")
    assert repr(LSTM.load(path, "b.")) == "LSTM(3, 4, batch_first=True)"
    with pytest.raises(ValueError, match="by another name, or by none"):
        LSTM.load(path, "a.")


@pytest.mark.parametrize("model", [WithoutGradients, Rounded])
def test_exported_modules_of_which_only_the_operation_is_left(model: Any, tmp_path: Path) -> None:
    """As where the block of no_grad or autocast is taken out: nothing tells what belongs to which module."""
    path = exported(model(), tmp_path / "model.pt2")
    assert repr(LSTM.load(path, "second.")) == "LSTM(3, 4, batch_first=True)"
    path = exported(model(), tmp_path / "flat.pt2", decomposed=True)
    for prefix in ("first.", "second."):
        with pytest.raises(ValueError, match="by another name, or by none"):
            LSTM.load(path, prefix)
    assert len(io.read(path)) == 12


def test_weights_that_a_buffer_changes(tmp_path: Path) -> None:
    """A name that ends as those of pruning does is not one of them."""

    def forward(self: Any, x: Any, hx: Any = None) -> Any:
        zeros = x.new_zeros(1, 2, 4)
        weights = [self.weight_ih_l0, self.weight_hh_l0 * self.gain_mask, self.bias_ih_l0, self.bias_hh_l0]
        output, h, c = torch._VF.lstm(x, (zeros, zeros), weights, True, 1, 0.0, False, False, True)
        return output, (h, c)

    module = lstm()
    module.register_buffer("gain_mask", torch.rand(16, 4) * 2)
    module.forward = types.MethodType(forward, module)
    model = torch.nn.Sequential(module)
    for path in (traced(model, tmp_path / "model.pt"), exported(model, tmp_path / "model.pt2")):
        with pytest.raises(ValueError, match="a forward that was put on, not torch"):
            LSTM.load(path, "0.")
