"""Weights under other names: what weight drop, pruning and norms leave in files, and what only resembles an LSTM."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import numba_lstm
from numba_lstm import cli

SIZES = (3, 5)
Arrays = dict[str, np.ndarray]


def state(kind: Any = numba_lstm.LSTM, prefix: str = "", **options: Any) -> Arrays:
    return {name: np.array(array) for name, array in kind(*SIZES, seed=0, **options).state_dict(prefix=prefix).items()}


def save(arrays: Arrays, folder: Path) -> Path:
    path = folder / "model.npz"
    np.savez(path, **arrays)
    return path


def dropped(array: np.ndarray) -> np.ndarray:
    """Return what weight drop leaves of an array."""
    return np.where(np.random.default_rng(1).random(array.shape) < 0.5, 2 * array, 0).astype(array.dtype)


# --- made by hand: the same everywhere --------------------------------------------------------------------


@pytest.mark.parametrize("copied", [True, False], ids=["with the dropped one", "alone"])
@pytest.mark.parametrize(
    ("wrapper", "prefix"),
    [("", ""), ("rnn.", "rnn."), ("rnn.", "rnn.module."), ("", "module."), ("0.rnns.1.", "0.rnns.1.inner.")],
)
@pytest.mark.parametrize("name", ["weight_hh_l0", "weight_ih_l0", "bias_hh_l1", "weight_hh_l1_reverse", "weight_hr_l0"])
def test_weight_drop(name: str, wrapper: str, prefix: str, copied: bool, tmp_path: Path) -> None:
    """Beside the parameter, and in the module around it."""
    arrays = state(num_layers=2, bidirectional=True, proj_size=2)
    held = {prefix + key: array for key, array in arrays.items()} | {f"{wrapper}{name}_raw": arrays[name]}
    held[prefix + name] = dropped(arrays[name])
    if not copied:
        del held[prefix + name]
    lstm = numba_lstm.LSTM.load(save(held, tmp_path), prefix)
    for key, array in lstm.state_dict().items():
        np.testing.assert_array_equal(array, arrays[key])


def test_weight_drop_of_a_cell(tmp_path: Path) -> None:
    arrays = state(numba_lstm.LSTMCell)
    held = {**arrays, "weight_hh_raw": arrays["weight_hh"], "weight_hh": dropped(arrays["weight_hh"])}
    cell = numba_lstm.LSTMCell.load(save(held, tmp_path))
    np.testing.assert_array_equal(cell.weight_hh, arrays["weight_hh"])


def test_weights_that_two_modules_might_have(tmp_path: Path) -> None:
    """A wrapper around two LSTMs."""
    arrays = {**state(prefix="both.a."), **state(prefix="both.b.")}
    arrays["both.weight_hh_l0_raw"] = arrays["both.a.weight_hh_l0"]
    path = save(arrays, tmp_path)
    for prefix in ("both.a.", "both.b."):
        with pytest.raises(ValueError, match=r"computed from 'both\.weight_hh_l0_raw'"):
            numba_lstm.LSTM.load(path, prefix)


@pytest.mark.parametrize("axes", [(1,), (0,), (0, 1)], ids=["rows", "columns", "whole"])
def test_weight_norm_rounds_once(axes: tuple[int, ...], tmp_path: Path) -> None:
    """g v / ||v||, with a norm for each row, for each column, or one; in either spelling."""
    arrays, random = state(), np.random.default_rng(2)
    v = random.standard_normal((20, 5)).astype(np.float32)
    wide = np.sqrt(np.sum(v.astype(np.float64) ** 2, axes, keepdims=True))
    g = random.standard_normal(wide.shape).astype(np.float32)
    if len(axes) == 2:
        g = g.reshape(())
    # NumPy 1 would multiply an array of float32 by a single float64 in float32.
    expected = (g.astype(np.float64) * v.astype(np.float64) / wide).astype(np.float32)
    del arrays["weight_hh_l0"]
    for names in (
        ("weight_hh_l0_v", "weight_hh_l0_g"),
        ("parametrizations.weight_hh_l0.original1", "parametrizations.weight_hh_l0.original0"),
    ):
        path = save({**arrays, **dict(zip(names, (v, g), strict=True))}, tmp_path)
        np.testing.assert_array_equal(numba_lstm.LSTM.load(path).weight_hh_l0, expected)


def test_pruning(tmp_path: Path) -> None:
    """What is pruned is a zero with the weight's sign, as in torch."""
    arrays = state()
    original = arrays.pop("weight_hh_l0")
    mask = (np.random.default_rng(3).random(original.shape) < 0.5).astype(np.float32)
    path = save({**arrays, "weight_hh_l0_orig": original, "weight_hh_l0_mask": mask}, tmp_path)
    loaded = numba_lstm.LSTM.load(path).weight_hh_l0
    np.testing.assert_array_equal(np.asarray(loaded).view(np.uint32), (original * mask).view(np.uint32))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"weight_hh_l0_orig": (20, 5), "weight_hh_l0_u": (20,), "weight_hh_l0_v": (5,)}, "remove_spectral_norm"),
        ({"weight_hh_l0_orig": (20, 5), "weight_hh_l0_u": (20,)}, "remove_spectral_norm"),
        ({"weight_hh_l0_orig": (20, 5)}, r"prune\.remove"),
        ({"weight_hh_l0_mask": (20, 5)}, r"prune\.remove"),
        ({"weight_hh_l0_g": (20, 1)}, "remove_weight_norm"),
        ({"bias_hh_l0_v": (20,)}, "remove_weight_norm"),
        ({"parametrizations.weight_hh_l0.original": (20, 5)}, "remove_parametrizations"),
        (
            {"parametrizations.weight_hh_l0.original": (20, 5), "parametrizations.weight_hh_l0.0._u": (20,)},
            "spectral norm: call torch.nn.utils.parametrize.remove_parametrizations",
        ),
        ({"parametrizations.weight_hh_l0.0.base": (20, 5)}, "computed from"),
        ({"weight_hh_l0_bar": (20, 5), "weight_hh_l0_u": (20,)}, "which torch has not"),
        ({"weight_hh_l0_raw": (20, 5), "weight_hh_l0_mask": (20, 5)}, r"weight_hh_l0_mask', '.*weight_hh_l0_raw'"),
        ({"weight_hh_l0.lora_A": (2, 5), "weight_hh_l0.lora_B": (20, 2)}, "which torch has not"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "a.b."])
def test_what_cannot_be_computed(more: dict[str, Any], words: str, prefix: str, tmp_path: Path) -> None:
    """It is said what it is, and what to do, whether a copy of the parameter is there or not."""
    numbers = {f"{prefix}{name}": np.ones(shape, np.float32) for name, shape in more.items()}
    arrays = {**state(prefix=prefix), **numbers}
    for _ in range(2):
        path = save(arrays, tmp_path)
        with pytest.raises(ValueError, match=words) as raised:
            numba_lstm.LSTM.load(path, prefix)
        assert f"{prefix}{next(iter(more))}" in str(raised.value)
        arrays.pop(f"{prefix}weight_hh_l0", None)


def test_shapes_that_do_not_go_together(tmp_path: Path) -> None:
    arrays = state()
    original = arrays.pop("weight_hh_l0")
    for more in (
        {"weight_hh_l0_orig": original, "weight_hh_l0_mask": np.ones(5, np.float32)},
        {"weight_hh_l0_v": original, "weight_hh_l0_g": np.ones((20, 2), np.float32)},
        {"weight_hh_l0_v": original, "weight_hh_l0_g": np.ones(20, np.float32)},
    ):
        with pytest.raises(ValueError, match="cannot be computed"):
            numba_lstm.LSTM.load(save({**arrays, **more}, tmp_path))


@pytest.mark.parametrize(
    "name",
    [
        "ln_hh.weight", "layernorm_i.gamma", "norms.0.bias", "h0", "peephole_i", "peephole.weight", "weight_ci", "h_0",
        "c_0", "initial_h", "init_c", "init_hidden", "initial_state", "state0", "hx", "hidden_state", "learned_h",
        "w_peep", "W_ci", "lnh.weight", "cell_clip",
    ],
)
@pytest.mark.parametrize("prefix", ["", "lstm."])
@pytest.mark.parametrize("kind", [numba_lstm.LSTM, numba_lstm.LSTMCell])
def test_what_computes_something_else(kind: Any, name: str, prefix: str, tmp_path: Path) -> None:
    """Beside the parameters is what torch's modules do not have."""
    arrays = {**state(kind, prefix=prefix), prefix + name: np.ones(20, np.float32)}
    with pytest.raises(ValueError, match="more than the parameters") as raised:
        kind.load(save(arrays, tmp_path), prefix)
    assert repr(prefix + name) in str(raised.value)


def test_what_is_beside_an_lstm(tmp_path: Path) -> None:
    """At the top of a file anything may stand, and outside of the prefix; under a prefix only the LSTM's own."""
    others = ["head.weight", "head.bias", "weight", "x", "step", "embedding.weight", "n_averaged", "ids"]
    path = save({**state(), **{name: np.ones(2, np.float32) for name in others}}, tmp_path)
    assert numba_lstm.LSTM.load(path).hidden_size == 5
    others = ["encoder.h0", "encoder.norm.weight", "lstm2.weight_ih_l0", "ln.weight", "encoder.lstm_norm.weight"]
    path = save({**state(prefix="encoder.lstm."), **{name: np.ones(2, np.float32) for name in others}}, tmp_path)
    assert numba_lstm.LSTM.load(path, "encoder.lstm.").hidden_size == 5
    path = save({**state(prefix="lstm."), "lstm.head.weight": np.ones(2, np.float32)}, tmp_path)
    with pytest.raises(ValueError, match="more than the parameters"):
        numba_lstm.LSTM.load(path, "lstm.")


def test_an_optimizer_beside_the_weights(tmp_path: Path) -> None:
    """What it keeps under the parameters' names is not taken for weights."""
    moments = {f"optimizer.exp_avg.{name}": array + 1 for name, array in state(prefix="lstm.").items()}
    path = save({**state(prefix="_orig_mod.lstm."), **moments}, tmp_path)
    np.testing.assert_array_equal(numba_lstm.LSTM.load(path, "lstm.").weight_hh_l0, state()["weight_hh_l0"])
    with pytest.raises(ValueError, match="no weights, but an optimizer's exp_avg"):
        numba_lstm.LSTM.load(path, "optimizer.exp_avg.lstm.")


@pytest.mark.parametrize(
    "prefix", ["module.lstm.", "_orig_mod.lstm.", "lstm._orig_mod.", "module._orig_mod.lstm.module."]
)
def test_wrappers_may_be_left_out(prefix: str, tmp_path: Path) -> None:
    path = save({**state(prefix=prefix), "module.head.weight": np.ones(3, np.float32)}, tmp_path)
    assert numba_lstm.LSTM.load(path, "lstm.").hidden_size == 5
    assert numba_lstm.LSTM.load(path, prefix).hidden_size == 5


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`info` says what `load` does, `convert` writes plain parameters, `run` uses them."""
    arrays = state(prefix="a.")
    raw = arrays["a.weight_hh_l0"]
    drop = {**arrays, "a.weight_hh_l0_raw": raw, "a.weight_hh_l0": dropped(raw)}
    path = save({**drop, **state(prefix="b."), "b.weight_hh_l0_u": np.ones(5)}, tmp_path)
    assert cli.main(["info", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "weight_hh_l0_raw" in printed
    assert "cannot be run: b.weight_hh_l0 is computed from 'b.weight_hh_l0_u'" in printed
    target = tmp_path / "plain.safetensors"
    assert cli.main(["convert", str(path), str(target)]) == 0
    np.testing.assert_array_equal(numba_lstm.LSTM.load(target).weight_hh_l0, raw)
    x = np.ones((4, 3), np.float32)
    np.save(tmp_path / "x.npy", x)
    given = [str(tmp_path / "x.npy"), "-o", str(tmp_path / "y.npz")]
    assert cli.main(["run", str(path), *given, "--prefix", "a."]) == 0
    with np.load(tmp_path / "y.npz", allow_pickle=False) as results:
        np.testing.assert_array_equal(results["output"], numba_lstm.LSTM.load(target).eval()(x)[0])
    assert cli.main(["run", str(path), *given, "--prefix", "b.", "--force"]) == 2
    assert "b.weight_hh_l0_u" in capsys.readouterr().err


# --- written by torch -------------------------------------------------------------------------------------


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch")


def assert_output(lstm: Any, module: Any, torch: Any) -> None:
    """Compare with what torch computes with the module that the file is of."""
    x = np.random.default_rng(4).standard_normal((6, 2, 3), np.float32)
    with torch.inference_mode():
        expected, _ = module(torch.from_numpy(x))
    np.testing.assert_allclose(lstm.eval()(x)[0], expected.numpy(), rtol=0, atol=2e-6)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")
@pytest.mark.parametrize(
    ("name", "dim"),
    [
        *((name, dim) for name in ("weight_hh_l0", "weight_ih_l1", "weight_hr_l0") for dim in (0, 1, None)),
        *(("bias_hh_l0", dim) for dim in (0, None)),
    ],
)
def test_weight_norm_of_torch(name: str, dim: int | None, torch: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    for norm in (torch.nn.utils.weight_norm, torch.nn.utils.parametrizations.weight_norm):
        module = norm(torch.nn.LSTM(*SIZES, 2, proj_size=2), name, dim=dim).eval()
        with torch.no_grad():
            for key, tensor in module.named_parameters():
                if key.endswith(("_g", "original0")):
                    tensor.mul_(1.5)
        torch.save(module.state_dict(), path)
        lstm = numba_lstm.LSTM.load(path)
        assert_output(lstm, module, torch)  # which also computes the parameter anew
        np.testing.assert_allclose(getattr(lstm, name), getattr(module, name).detach().numpy(), rtol=5e-7)


def test_pruning_of_torch(torch: Any, tmp_path: Path) -> None:
    """As torch leaves it, to the bit."""
    prune = importlib.import_module("torch.nn.utils.prune")
    path = tmp_path / "model.pt"
    module = torch.nn.LSTM(*SIZES, 2)
    for name in ("weight_hh_l0", "bias_ih_l1"):
        prune.l1_unstructured(module, name, 0.4)
        prune.random_unstructured(module, name, 0.2)
    torch.save({"state_dict": {f"rnn.{name}": value for name, value in module.state_dict().items()}}, path)
    lstm = numba_lstm.LSTM.load(path, "rnn.")
    for name in ("weight_hh_l0", "bias_ih_l1"):
        prune.remove(module, name)
    for name, value in module.state_dict().items():
        np.testing.assert_array_equal(getattr(lstm, name), value.numpy())
    cell = torch.nn.LSTMCell(*SIZES)
    prune.l1_unstructured(cell, "weight_hh", 0.4)
    torch.save(cell.state_dict(), path)
    np.testing.assert_array_equal(numba_lstm.LSTMCell.load(path).weight_hh, cell.weight_hh.detach().numpy())


@pytest.mark.filterwarnings("ignore:.*spectral_norm.*is deprecated:FutureWarning")
def test_what_torch_computes_otherwise(torch: Any, tmp_path: Path) -> None:
    parametrizations = torch.nn.utils.parametrizations
    path = tmp_path / "model.pt"
    for change in (
        torch.nn.utils.spectral_norm, parametrizations.spectral_norm, parametrizations.orthogonal,
    ):  # fmt: skip
        torch.save(change(torch.nn.LSTM(*SIZES), "weight_hh_l0").state_dict(), path)
        with pytest.raises(ValueError, match=r"weight_hh_l0 is computed from .* call torch\.nn\.utils"):
            numba_lstm.LSTM.load(path)
