"""Whole modules and TorchScript in torch's files: what they compute, and with which options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import numba_lstm
from numba_lstm import cli

torch: Any = pytest.importorskip("torch")
prune: Any = pytest.importorskip("torch.nn.utils.prune")

pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit.*` is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
]

SIZES = (3, 5)


class NormedLSTM(torch.nn.LSTM):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__(*SIZES)
        self.norm = torch.nn.LayerNorm(5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(super().forward(x)[0])


class ScaledLSTM(torch.nn.LSTM):  # type: ignore[misc]
    """Has torch's parameters only."""

    def __init__(self) -> None:
        super().__init__(*SIZES)

    def forward(self, x: Any, hx: Any = None) -> Any:
        return super().forward(2 * x, hx)


class PeepholeCell(torch.nn.LSTMCell):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__(*SIZES)
        self.peephole = torch.nn.Parameter(torch.zeros(3, 5))


class OwnCell(torch.nn.Module):  # type: ignore[misc]
    """No subclass, but with torch's names, as in many repositories."""

    def __init__(self) -> None:
        super().__init__()
        for name, value in torch.nn.LSTMCell(*SIZES).named_parameters():
            self.register_parameter(name, value)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(x @ self.weight_ih.t())


class Tagger(torch.nn.Module):  # type: ignore[misc]
    """A container around anything."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder
        self.norm = torch.nn.LayerNorm(5)
        self.h0 = torch.nn.Parameter(torch.zeros(5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.encoder(x)[0])


def numbers(module: Any) -> dict[str, np.ndarray]:
    return {name: tensor.detach().numpy() for name, tensor in module.named_parameters()}


def assert_same(loaded: Any, module: Any) -> None:
    for name, array in numbers(module).items():
        np.testing.assert_array_equal(loaded.state_dict()[name], array)


@pytest.mark.parametrize("old", [False, True], ids=["new layout", "old layout"])
@pytest.mark.parametrize("kind", [NormedLSTM, ScaledLSTM, PeepholeCell, OwnCell, torch.nn.GRU])
def test_other_classes_are_refused(kind: Any, old: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """At the top, in a container, in a dict; what is printed names the class as well."""
    module = torch.nn.GRU(*SIZES) if kind is torch.nn.GRU else kind()
    loader: Any = numba_lstm.LSTMCell if "Cell" in kind.__name__ else numba_lstm.LSTM
    path = tmp_path / "model.pt"
    for value, prefix in (
        (module, ""),
        (Tagger(module), "encoder."),
        ({"epoch": 3, "model": Tagger(module)}, "model.encoder."),
    ):
        torch.save(value, path, _use_new_zipfile_serialization=not old)
        with pytest.raises(ValueError, match=rf"it is a \S*{kind.__name__}, not torch\.nn\.{loader.__name__}"):
            loader.load(path, prefix)
        cli.main(["info", str(path)])
        assert f"{kind.__name__}, not" in capsys.readouterr().out


def doubled(*arguments: Any) -> Any:
    """Stand for a hook, or a forward."""


class Hook:
    def __call__(self, *arguments: Any) -> Any:
        """Stand for one that is an object."""


@pytest.mark.parametrize("old", [False, True], ids=["new layout", "old layout"])
@pytest.mark.parametrize(
    ("put_on", "words"),
    [
        (lambda module: setattr(module, "forward", doubled), "a forward that was put on"),
        (lambda module: setattr(module, "_call_impl", doubled), "a forward that was put on"),
        (lambda module: module.register_forward_hook(doubled), "hooks"),
        (lambda module: module.register_forward_pre_hook(Hook()), "hooks"),
        (lambda module: module.register_forward_pre_hook(doubled, with_kwargs=True), "hooks"),
        (lambda module: torch.nn.utils.weight_norm(module, "weight_hh").register_forward_pre_hook(doubled), "hooks"),
    ],
    ids=["forward", "call", "hook", "object", "keywords", "weight norm"],
)
@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning")
def test_what_is_put_on_a_module(put_on: Any, words: str, old: bool, tmp_path: Path, capsys: Any) -> None:
    """Its class is torch's then, and what it computes is something else."""
    module, path = torch.nn.LSTMCell(*SIZES), tmp_path / "model.pt"
    put_on(module)
    for value, prefix in ((module, ""), (Tagger(module), "encoder.")):
        torch.save(value, path, _use_new_zipfile_serialization=not old)
        with pytest.raises(ValueError, match=rf"it is a torch\.nn\S*LSTMCell with {words}, not torch\.nn\.LSTMCell"):
            numba_lstm.LSTMCell.load(path, prefix)
        cli.main(["info", str(path)])
        assert f"LSTMCell with {words}, not" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning")
@pytest.mark.parametrize("change", [
    lambda module: torch.nn.utils.weight_norm(module, "weight_hh_l0"),
    lambda module: prune.l1_unstructured(module, "weight_hh_l0", 0.3),
    lambda module: module.register_full_backward_hook(doubled),
    lambda module: module.register_state_dict_pre_hook(doubled),
], ids=["weight norm", "pruning", "backward", "state dict"])  # fmt: skip
def test_hooks_that_are_understood(change: Any, tmp_path: Path) -> None:
    """They make parameters, which their names tell as well, or have no part in a call."""
    module, path = torch.nn.LSTM(*SIZES), tmp_path / "model.pt"
    change(module)
    torch.save(module, path)
    x = torch.ones(2, 1, 3)
    with torch.no_grad():
        expected = module(x)[0].numpy()
    np.testing.assert_allclose(numba_lstm.LSTM.load(path)(x.numpy())[0], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", [torch.nn.LSTM, torch.nn.LSTMCell])
def test_containers_are_not_looked_at(kind: Any, tmp_path: Path) -> None:
    """Whatever is around torch's own module: a class of the user, DataParallel, Sequential, a dict."""
    module, path = kind(*SIZES), tmp_path / "model.pt"
    loader: Any = getattr(numba_lstm, kind.__name__)
    for value, prefix in (
        (Tagger(module), "encoder."),
        (torch.nn.DataParallel(Tagger(module)), "encoder."),
        (torch.nn.Sequential(torch.nn.Linear(3, 3), module), "1."),
        ({"model": torch.nn.ModuleDict({"a": module, "norm": torch.nn.LayerNorm(3)})}, "model.a."),
    ):
        torch.save(value, path)
        assert_same(loader.load(path, prefix), module)


def test_state_of_other_classes(tmp_path: Path) -> None:
    """Without the class, what is beside the parameters tells."""
    path = tmp_path / "model.pt"
    for module, loader in ((NormedLSTM(), numba_lstm.LSTM), (PeepholeCell(), numba_lstm.LSTMCell)):
        for value, prefix in ((module, ""), (Tagger(module), "encoder.")):
            torch.save(value.state_dict(), path)
            with pytest.raises(ValueError, match="more than the parameters of torch's module"):
                loader.load(path, prefix)  # type: ignore[attr-defined]


@pytest.mark.parametrize("trace", [False, True], ids=["script", "trace"])
def test_other_classes_in_torchscript(trace: bool, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    made = torch.jit.trace(OwnCell(), torch.zeros(2, 3)) if trace else torch.jit.script(OwnCell())
    made.save(str(path))
    with pytest.raises(ValueError, match=r"it is a \S*OwnCell, not torch\.nn\.LSTMCell"):
        numba_lstm.LSTMCell.load(path)


def test_accelerated_modules(tmp_path: Path) -> None:
    """What `accelerate` has put in place of torch's classes computes the same."""
    from numba_lstm.io.torch import accelerate

    module, path = torch.nn.LSTM(*SIZES, batch_first=True).eval(), tmp_path / "model.pt"
    torch.save(accelerate(torch.nn.Sequential(module)), path)
    loaded = numba_lstm.LSTM.load(path, "0.")
    assert_same(loaded, module)
    assert loaded.batch_first


def test_sizes_that_contradict_the_parameters(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    for name, value in (("num_layers", 2), ("hidden_size", 6), ("bias", False), ("proj_size", 2)):
        module = torch.nn.LSTM(*SIZES)
        module.__dict__[name] = value
        torch.save(module, path)
        with pytest.raises(ValueError, match=rf"the module has {name}={value}, and parameters for {name}="):
            numba_lstm.LSTM.load(path)


OPTIONS: list[dict[str, Any]] = [
    {},
    {"batch_first": True},
    {"num_layers": 2, "dropout": 0.25, "bias": False},
    {"num_layers": 2, "dropout": 1e-05, "bidirectional": True, "batch_first": True},
]


@pytest.mark.parametrize("trace", [False, True], ids=["script", "trace"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_options_of_torchscript(options: dict[str, Any], trace: bool, tmp_path: Path) -> None:
    """As attributes of classes, or in the call that was traced; each of two LSTMs has its own."""
    lstm, path, x = torch.nn.LSTM(*SIZES, **options).eval(), tmp_path / "model.pt", torch.zeros(2, 4, 3)
    other = torch.nn.LSTM(*SIZES, batch_first=not options.get("batch_first"))
    for module, prefix in ((lstm, ""), (Two(lstm, other).eval(), "a.")):
        made = torch.jit.trace(module, x) if trace else torch.jit.script(module)
        made.save(str(path))
        loaded = numba_lstm.LSTM.load(path, prefix)
        assert_same(loaded, lstm)
        assert (loaded.batch_first, loaded.dropout) == (lstm.batch_first, lstm.dropout)
        torch.jit.script(module.train()).save(str(path))
        assert not numba_lstm.LSTM.load(path, prefix).training
    assert numba_lstm.LSTM.load(path, "b.").batch_first is not loaded.batch_first
    assert numba_lstm.LSTM.load(path, "a.", batch_first=not loaded.batch_first).batch_first is not loaded.batch_first


class Two(torch.nn.Module):  # type: ignore[misc]
    def __init__(self, a: Any, b: Any) -> None:
        super().__init__()
        self.a, self.b = a, b

    def forward(self, x: torch.Tensor) -> Any:
        return self.a(x)[0], self.b(x)[0]


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")
def test_a_projection_in_torchscript(tmp_path: Path) -> None:
    lstm, path = torch.nn.LSTM(*SIZES, proj_size=2, batch_first=True).eval(), tmp_path / "model.torchscript"
    torch.jit.script(lstm).save(str(path))
    loaded = numba_lstm.LSTM.load(path)
    assert_same(loaded, lstm)
    assert loaded.batch_first


def test_cells_and_packed_sequences_in_torchscript(tmp_path: Path) -> None:
    cell, path = torch.nn.LSTMCell(*SIZES).eval(), tmp_path / "model.pt"
    for made in (torch.jit.script(cell), torch.jit.trace(cell, torch.zeros(2, 3))):
        made.save(str(path))
        assert_same(numba_lstm.LSTMCell.load(path), cell)
    packed = Packed()
    torch.jit.trace(packed, (torch.zeros(2, 4, 3), torch.tensor([4, 3])), check_trace=False).save(str(path))
    assert_same(numba_lstm.LSTM.load(path, "lstm."), packed.lstm)


class Packed(torch.nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(*SIZES)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> Any:
        packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
        return self.lstm(packed)[0].data


def test_frozen_torchscript(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says what it is, and how to save it."""
    path = tmp_path / "model.pt"
    for change in (torch.jit.freeze, torch.jit.optimize_for_inference):
        change(torch.jit.script(Two(torch.nn.LSTM(*SIZES), torch.nn.LSTM(*SIZES)).eval())).save(str(path))
        with pytest.raises(ValueError, match=r"was frozen: \d+ arrays are constants .* from before torch\.jit\.freeze"):
            numba_lstm.LSTM.load(path)
        assert cli.main(["info", str(path)]) == 2
        assert "was frozen" in capsys.readouterr().err


class Mixed(Two):
    """Freezing a trace of it leaves the LSTMs their parameters, though not their methods."""

    def __init__(self, a: Any, b: Any) -> None:
        super().__init__(a, b)
        self.cell = torch.nn.LSTMCell(*SIZES)

    def forward(self, x: torch.Tensor) -> Any:
        return super().forward(x), self.cell(x[:, 0])


def test_frozen_traces(tmp_path: Path) -> None:
    """Options are in calls that do not tell whose they are."""
    path, x = tmp_path / "model.pt", torch.zeros(2, 4, 3)
    first, same, other = (torch.nn.LSTM(*SIZES, batch_first=each) for each in (True, True, False))
    torch.jit.freeze(torch.jit.trace(Mixed(first, same).eval(), x)).save(str(path))
    loaded = numba_lstm.LSTM.load(path, "b.")
    assert_same(loaded, same)
    assert loaded.batch_first
    torch.jit.freeze(torch.jit.trace(Mixed(first, other).eval(), x)).save(str(path))
    with pytest.raises(ValueError, match="its LSTMs differ in batch_first"):
        numba_lstm.LSTM.load(path, "a.")


def test_options_of_whole_modules(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    for options in OPTIONS:
        lstm = torch.nn.LSTM(*SIZES, **options)
        for old in (False, True):
            torch.save({"model": torch.nn.Sequential(lstm)}, path, _use_new_zipfile_serialization=not old)
            loaded = numba_lstm.LSTM.load(path, "model.0.")
            assert_same(loaded, lstm)
            assert (loaded.batch_first, loaded.dropout) == (lstm.batch_first, lstm.dropout)


@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
@pytest.mark.parametrize("whole", [False, True], ids=["state", "module"])
def test_quantized_modules(whole: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What `info` knows of them, loading says as well."""
    parts = {"a": torch.nn.LSTM, "b": torch.nn.LSTMCell, "c": torch.nn.LSTM}
    model = torch.nn.ModuleDict({name: kind(*SIZES) for name, kind in parts.items()})
    quantized = torch.ao.quantization.quantize_dynamic(model, {torch.nn.LSTM, torch.nn.LSTMCell})
    path = tmp_path / "model.pt"
    torch.save(quantized if whole else quantized.state_dict(), path)
    words = r"torch\.ao\.nn\.quantized\.dynamic\.modules\.rnn\.LSTM" if whole else "quantized module"
    for loader in (numba_lstm.LSTM, numba_lstm.LSTMCell):
        for prefix in ("", "a.", "lstm."):
            with pytest.raises(ValueError, match=rf"under 'a\.' is a {words}; .*: save a torch\.nn\.LSTM"):
                loader.load(path, prefix)  # type: ignore[attr-defined]
    assert cli.main(["info", str(path)]) == 0
    assert capsys.readouterr().out.count("if it was quantized the one from before") == 3


def test_quantizable_modules(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Made of Linear modules, whose class is all that says LSTM."""
    path = tmp_path / "model.pt"
    torch.save(torch.ao.nn.quantizable.LSTM(*SIZES), path)
    with pytest.raises(ValueError, match=r"under '' is a torch\.ao\.nn\.quantizable\.modules\.rnn\.LSTM: save"):
        numba_lstm.LSTM.load(path)
    assert cli.main(["info", str(path)]) == 0
    assert capsys.readouterr().out.count("cannot be run") == 1


class LSTMTagger(Tagger):
    """A container, though its name says something else."""


def test_containers_that_are_called_lstm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.pt"
    torch.save(LSTMTagger(torch.nn.LSTM(*SIZES)), path)
    with pytest.raises(ValueError, match=r"no LSTM under prefix ''; found: 'encoder\.'"):
        numba_lstm.LSTM.load(path)
    assert cli.main(["info", str(path)]) == 0
    assert "cannot be run" not in capsys.readouterr().out


@pytest.mark.parametrize("old", [False, True], ids=["new layout", "old layout"])
def test_compiled_modules(old: bool, tmp_path: Path) -> None:
    """Which are saved as a class that is called with the module; states have its name in theirs."""
    lstm, path = torch.nn.LSTM(*SIZES, batch_first=True), tmp_path / "model.pt"
    for value, prefixes in (
        (torch.compile(lstm), ("", "_orig_mod.")),
        (torch.compile(torch.nn.Sequential(lstm)), ("0.", "_orig_mod.0.")),
        (torch.nn.Sequential(torch.compile(lstm)), ("0.", "0._orig_mod.")),
    ):
        torch.save(value, path, _use_new_zipfile_serialization=not old)
        for prefix in prefixes:
            loaded = numba_lstm.LSTM.load(path, prefix)
            assert_same(loaded, lstm)
            assert loaded.batch_first
        torch.save(value.state_dict(), path)
        for prefix in prefixes:
            assert_same(numba_lstm.LSTM.load(path, prefix), lstm)
