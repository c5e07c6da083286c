"""Accelerated modules of torch whose weights the kernels have in 16 or 8 bits."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn.utils import prune, rnn  # noqa: E402

from numba_lstm import LSTM  # noqa: E402
from numba_lstm.contract.weight_form import FORMS  # noqa: E402
from numba_lstm.io.torch import accelerate, from_module, repack, report, restore  # noqa: E402
from numba_lstm.io.torch.operators import DEFINED  # noqa: E402

forms = pytest.mark.parametrize("form", FORMS)


@pytest.fixture(autouse=True)
def inference() -> Any:
    torch.manual_seed(0)
    with torch.no_grad():
        yield


def flat(result: Any) -> list[Any]:
    """Return the tensors of a result."""
    if isinstance(result, torch.Tensor):
        return [result]
    if isinstance(result, rnn.PackedSequence):
        return [result.data]
    return [tensor for part in result for tensor in flat(part)]


def same(actual: Any, expected: Any) -> None:
    """Check that results have the same bits; those of ours are arrays."""
    for one, other in zip(flat(actual), [torch.as_tensor(each) for each in arrays(expected)], strict=True):
        assert torch.equal(one, other)


def arrays(result: Any) -> list[Any]:
    return [each for part in result for each in arrays(part)] if isinstance(result, tuple) else [result]


def quantized(module: Any, form: str) -> Any:
    """Return ours of a module of torch, quantized."""
    return from_module(module).quantize(form)


# --- results ----------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True, "proj_size": 2, "batch_first": True}])
@forms
def test_the_bits_of_a_quantized_module(form: str, options: dict[str, Any]) -> None:
    lstm = nn.LSTM(3, 5, **options).eval()
    ours, expected = accelerate(lstm, weights=form), quantized(lstm, form)
    x = torch.randn(4, 4, 3)
    same(ours(x), expected(x.numpy()))
    states = ours(x)[1]
    same(ours(x, states), expected(x.numpy(), tuple(state.numpy() for state in states)))
    assert repr(ours) == repr(lstm).replace("LSTM(", "AcceleratedLSTM(").replace(")", f", form='{form}')")
    assert not torch.equal(ours(x)[0], accelerate(copy.deepcopy(lstm))(x)[0])
    assert all(parameter.dtype is torch.float32 for parameter in ours.parameters())


@forms
def test_cells_and_packed_sequences(form: str) -> None:
    model = nn.ModuleDict({"lstm": nn.LSTM(3, 5), "cell": nn.LSTMCell(3, 5)}).eval()
    lstm, cell = (quantized(module, form) for module in model.values())
    accelerate(model, weights=form)
    x = torch.randn(4, 3, 3)
    same(model["cell"](x[0]), cell(x[0].numpy()))
    packed = rnn.pack_padded_sequence(x, [4, 2, 1])
    output, _ = rnn.pad_packed_sequence(model["lstm"](packed)[0])
    assert torch.equal(output, torch.from_numpy(lstm(x.numpy(), lengths=[4, 2, 1])[0]))


CHANGES: dict[str, Callable[[Any], Any]] = {
    "in place": lambda m: m.weight_hh_l0.mul_(2),
    "a state dict": lambda m: m.load_state_dict(nn.LSTM(3, 5).state_dict()),
    "another parameter": lambda m: setattr(m, "weight_ih_l0", nn.Parameter(torch.randn(20, 3))),
    "a bias": lambda m: m.bias_ih_l0.add_(1),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@forms
def test_changes_are_quantized_anew(form: str, change: Callable[[Any], Any]) -> None:
    ours, x = accelerate(nn.LSTM(3, 5).eval(), weights=form), torch.randn(4, 2, 3)
    before = ours(x)
    for _ in range(3):
        change(ours)
        same(ours(x), quantized(ours, form)(x.numpy()))
        assert not torch.equal(ours(x)[0], before[0])
        before = ours(x)
    ours.weight_hh_l0.data[0, 1] += 5
    repack(ours)
    same(ours(x), quantized(ours, form)(x.numpy()))


@forms
def test_computed_weights(form: str) -> None:
    """Those of a pruned module are quantized after the mask."""
    lstm, x = nn.LSTM(3, 5).eval(), torch.randn(4, 2, 3)
    prune.random_unstructured(lstm, "weight_hh_l0", 0.5)
    ours = accelerate(lstm, weights=form)
    masked = nn.LSTM(3, 5).eval()
    masked.load_state_dict({name: getattr(lstm, name) for name in masked.state_dict()})
    same(ours(x), quantized(masked, form)(x.numpy()))


@forms
def test_train_mode_without_dropout(form: str) -> None:
    ours, x = accelerate(nn.LSTM(3, 5), weights=form), torch.randn(4, 2, 3)
    assert ours.training
    same(ours(x), ours.eval()(x))


@forms
def test_gradients_are_refused(form: str) -> None:
    """And dropout is not: it has torch's masks, and weights of the form."""
    ours, x = accelerate(nn.LSTM(3, 5, 2, dropout=0.5), weights=form), torch.randn(4, 2, 3)
    cell = accelerate(nn.LSTMCell(3, 5), weights=form)
    ours(x)
    words = f"an accelerated LSTM.* with weights in {form} would need gradients.*no_grad.*restore"
    with torch.enable_grad():
        for call in (ours, lambda x: cell(x[0]), lambda x: ours(nn.utils.rnn.pack_padded_sequence(x, [4, 2]))):
            with pytest.raises(RuntimeError, match=words):
                call(x)
        ours.requires_grad_(False)(x)
        with pytest.raises(RuntimeError, match=words):
            ours(x.clone().requires_grad_())


# --- copies, and back -------------------------------------------------------------------------------------


def saved(model: Any) -> Any:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


COPIES: list[Callable[[Any], Any]] = [copy.copy, copy.deepcopy, saved, lambda model: pickle.loads(pickle.dumps(model))]


@pytest.mark.parametrize("copied", COPIES)
@forms
def test_copies_have_the_form(form: str, copied: Callable[[Any], Any]) -> None:
    model, x = accelerate(nn.ModuleList([nn.LSTM(3, 5)]).eval(), weights=form), torch.randn(4, 2, 3)
    other = copied(model)
    same(other[0](x), quantized(model[0], form)(x.numpy()))
    assert [each.form for each in report(other)] == [form]


@forms
def test_restored(form: str) -> None:
    lstm, x = nn.LSTM(3, 5).eval(), torch.randn(4, 2, 3)
    before, names = lstm(x), set(vars(lstm))
    ours = accelerate(lstm, weights=form)
    ours(x)
    plain = restore(ours)
    assert plain is lstm
    assert set(vars(plain)) == names
    same(plain(x), tuple(before))
    again = accelerate(plain)
    assert report(again)[0].form is None
    same(again(x), from_module(plain)(x.numpy()))


def test_a_saved_model_is_read_as_float32(tmp_path: Any) -> None:
    """Its parameters are."""
    model = accelerate(nn.ModuleDict({"lstm": nn.LSTM(3, 5)}), weights="int8")
    torch.save(model, tmp_path / "a.pt")
    lstm = LSTM.load(tmp_path / "a.pt", "lstm.")
    assert lstm.form == "float32"
    np.testing.assert_array_equal(lstm.weight_ih_l0, model["lstm"].weight_ih_l0.numpy())


# --- reports and refusals ---------------------------------------------------------------------------------


@forms
def test_reported(form: str) -> None:
    model = nn.ModuleDict({"a": nn.LSTM(3, 5), "b": nn.LSTM(3, 5), "c": nn.GRU(3, 5)})
    accelerate(model, weights=form, skip=["b"])
    accelerate(model)  # the rest; what is accelerated stays
    assert [each.form for each in report(model)] == [form, None, None]
    assert str(report(model)[0]) == f"a (torch.nn.modules.rnn.LSTM): accelerated with weights in {form}"
    assert str(report(model)[1]) == "b (torch.nn.modules.rnn.LSTM): accelerated"


def test_one_form_at_a_time() -> None:
    model = nn.ModuleDict({"a": nn.LSTM(3, 5), "b": nn.LSTM(3, 5)}).eval()
    theirs = model["a"]
    accelerate(model, weights="int8", skip=["b"])
    accelerate(model, weights="int8", skip=["b"])
    for weights in ("float16", "bfloat16"):
        with pytest.raises(ValueError, match=r"^a is accelerated already, with weights in int8: call restore before"):
            accelerate(model, weights=weights)
    for weights in ("float16", None):  # whose attributes are those of the accelerated one
        with pytest.raises(ValueError, match="the model is accelerated already, with weights in int8"):
            accelerate(theirs, weights=weights)
    assert [each.form for each in report(model)] == ["int8", None]
    assert type(model["b"]) is nn.LSTM
    accelerate(model, weights="float16", skip=["a"])
    assert [each.form for each in report(model)] == ["int8", "float16"]
    kept = model["a"]
    accelerate(restore(model), weights="bfloat16")
    assert [each.form for each in report(model)] == ["bfloat16"] * 2
    assert kept is not model["a"]


@pytest.mark.parametrize("weights", ["int4", "float32", torch.int8, np.int8])
def test_forms_that_there_are_not(weights: Any) -> None:
    model = nn.ModuleList([nn.LSTM(3, 5)])
    with pytest.raises(ValueError, match="weights should be kept in float16, bfloat16 or int8, got: "):
        accelerate(model, weights=weights)
    assert type(model[0]) is nn.LSTM


@forms
def test_float64(form: str) -> None:
    model = nn.ModuleDict({"a": nn.LSTM(3, 5), "b": nn.LSTM(3, 5).double()})
    words = rf"b \(LSTM\), because weights in {form} belong to float32, and its weight_ih_l0 is torch\.float64"
    with pytest.raises(TypeError, match=words):
        accelerate(model, weights=form, strict=True)
    with pytest.warns(UserWarning, match=words):
        accelerate(model, weights=form)
    assert [each.accelerated for each in report(model)] == [True, False]
    model.double()
    with pytest.raises(ValueError, match=rf"with weights in {form} computes in float32, and its parameters are torch"):
        model["a"](torch.zeros(4, 2, 3, dtype=torch.float64))
    same(model.float()["a"](torch.ones(4, 2, 3)), quantized(model["a"], form)(np.ones((4, 2, 3), np.float32)))


def test_a_weight_that_is_not_finite() -> None:
    cell = accelerate(nn.LSTMCell(3, 5), weights="int8")
    cell.weight_hh[3, 2] = torch.inf
    for _ in range(2):
        with pytest.raises(ValueError, match=r"^weight_hh has inf, of which int8 has nothing"):
            cell(torch.zeros(2, 3))
    cell.weight_hh[3, 2] = 0
    same(cell(torch.zeros(2, 3)), quantized(cell, "int8")(np.zeros((2, 3), np.float32)))


# --- graphs -----------------------------------------------------------------------------------------------


@pytest.mark.skipif(not DEFINED, reason="this torch has no operators of ours")
@forms
def test_operators(form: str) -> None:
    """Of graphs: of a module, and of parameters that are no module's."""
    lstm, cell = nn.LSTM(3, 5, 2).eval(), nn.LSTMCell(3, 5).eval()
    x, sizes = torch.randn(4, 2, 3), (False, 3, 5, 2, True, False, 0)
    expected = quantized(lstm, form)(x.numpy()), quantized(cell, form)(x[0].numpy())
    wide = from_module(lstm)(x.numpy())
    ours, cells = accelerate(lstm, weights=form), accelerate(cell, weights=form)
    for weights in (list(ours.parameters()), [parameter.clone() for parameter in ours.parameters()]):
        for _ in range(2):
            output, *states = torch.ops.numba_lstm.lstm(x, [], weights, [], *sizes, 0.0, form)
            same((output, tuple(states)), expected[0])
            output, *states = torch.ops.numba_lstm.lstm(x, [], weights, [], *sizes, 0.0, None)
            same((output, tuple(states)), wide)
    for weights in (list(cells.parameters()), [parameter.clone() for parameter in cells.parameters()]):
        same(torch.ops.numba_lstm.lstm_cell(x[0], [], weights, form), expected[1])
    torch.library.opcheck(torch.ops.numba_lstm.lstm.default, (x, [], list(ours.parameters()), [], *sizes, 0.0, form))
    torch.library.opcheck(torch.ops.numba_lstm.lstm_cell.default, (x[0], [], list(cells.parameters()), form))


@pytest.mark.skipif(not DEFINED, reason="this torch has no operators of ours")
@forms
def test_compiled(form: str) -> None:
    """A graph has the form in it, and a model of another form is another graph."""
    torch._dynamo.reset()
    lstm, cell, x = nn.LSTM(3, 5, 2).eval(), nn.LSTMCell(3, 5).eval(), torch.randn(4, 2, 3)
    models = [accelerate(copy.deepcopy(nn.ModuleList([lstm, cell])), weights=each) for each in (form, None)]

    def call(model: Any, x: Any) -> Any:
        return model[0](x), model[1](x[0])

    with torch._dynamo.config.patch(allow_rnn=True):
        compiled = torch.compile(call, backend="aot_eager", fullgraph=True)
        for model in (*models, *models):
            for one, other in zip(flat(compiled(model, x)), flat(call(model, x)), strict=True):
                assert torch.equal(one, other)
        models[0][0].weight_ih_l0.mul_(2)
        same(compiled(models[0], x)[0], quantized(models[0][0], form)(x.numpy()))
