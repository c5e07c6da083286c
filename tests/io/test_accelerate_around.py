"""What else torch does to a module that is ours: the numbers of torch, or a sentence that says what to do."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support.places import TESTS

torch = pytest.importorskip("torch")

from support.torch_models import same, tensors  # noqa: E402
from torch.nn.utils import parametrize, prune  # noqa: E402

from numba_lstm.io.torch import AcceleratedLSTM, accelerate, from_module, restore  # noqa: E402

HALF_TOLERANCE = 3e-2  # of torch's bfloat16; ours is float32 that is rounded at the end
nn = torch.nn
rnn = torch.nn.utils.rnn
forward_ad = torch.autograd.forward_ad

pytestmark = pytest.mark.usefixtures("seeded_without_gradients")


def pair(kind: Any = nn.LSTM, **options: Any) -> tuple[Any, Any]:
    """Return a module and an accelerated one with the same numbers, which has been called."""
    theirs = kind(3, 5, **options).eval()
    ours = accelerate(copy.deepcopy(theirs))
    ours(inputs(kind))
    return ours, theirs


def inputs(kind: Any = nn.LSTM) -> Any:
    return torch.randn(4, 2, 3) if kind is nn.LSTM else torch.randn(4, 3)


# --- parameters that are others -----------------------------------------------------------------------------


def _replace(value: Any) -> Callable[[Any], None]:
    def change(lstm: Any) -> None:
        lstm.weight_ih_l0 = value

    return change


def _set_data(value: Any) -> Callable[[Any], None]:
    def change(lstm: Any) -> None:
        lstm.weight_ih_l0.data = value

    return change


def _resize(lstm: Any) -> None:
    lstm.requires_grad_(False).weight_ih_l0.resize_(4, 1)


def _delete(name: str) -> Callable[[Any], None]:
    return lambda lstm: delattr(lstm, name)


def _parameter(tensor: Any) -> Any:
    return nn.Parameter(tensor, requires_grad=False)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_replace(_parameter(torch.ones(4, 1))), r"weight_ih_l0 of an accelerated LSTM should have shape \(20, 3\)"),
        (_set_data(torch.ones(4, 1)), r"weight_ih_l0 .* should have shape \(20, 3\).*got: \(4, 1\)"),
        (_resize, r"weight_ih_l0 of an accelerated LSTM should have shape \(20, 3\)"),
        (_replace(_parameter(torch.ones(20))), r"weight_ih_l0 .* shape \(20, 3\).*got: \(20,\)"),
        (_replace(_parameter(torch.ones(20, 3).double())), "different dtypes: weight_ih_l0 is torch.float64"),
        (_replace(_parameter(torch.ones(20, 3).half())), "weight_ih_l0 is torch.float16 on cpu: call model.float"),
        (_replace(_parameter(torch.ones(20, 3, dtype=torch.complex64))), "weight_ih_l0 is torch.complex64"),
        (_replace(_parameter(torch.ones(20, 3).to_sparse())), r"weight_ih_l0 has layout torch.sparse_coo"),
        (_replace(None), "weight_ih_l0 of an accelerated LSTM should be a Tensor.*there is none.*restore"),
        (_delete("weight_hh_l0"), "weight_hh_l0 of an accelerated LSTM should be a Tensor.*there is none.*restore"),
        (_delete("bias_hh_l0"), r"bias_hh_l0 of an accelerated LSTM should be a Tensor of shape \(20,\)"),
        (lambda lstm: setattr(lstm, "hidden_size", 7), r"weight_ih_l0 .* shape \(28, 3\), which its sizes ask for"),
        (lambda lstm: setattr(lstm, "input_size", 2), r"weight_ih_l0 .* shape \(20, 2\)"),
        (lambda lstm: setattr(lstm, "num_layers", 2), "weight_ih_l1 .* there is none"),
        (lambda lstm: setattr(lstm, "proj_size", 2), "weight_h[hr]_l0 "),
        (lambda lstm: setattr(lstm, "bidirectional", True), "weight_ih_l0_reverse .* there is none"),
    ],
)
@pytest.mark.filterwarnings("ignore:Sparse:UserWarning")
def test_parameters_that_do_not_fit(change: Any, words: str) -> None:
    ours, _ = pair()
    x = inputs()
    change(ours)
    for _ in range(2):  # and the second call does not take what the first one refused
        with pytest.raises((RuntimeError, ValueError), match=words):
            ours(x)


def test_memory_is_not_read_beyond_a_parameter() -> None:
    code = """
import torch
from numba_lstm.io.torch import accelerate
cell = accelerate(torch.nn.LSTMCell(2048, 2048).eval())
cell.weight_hh = torch.nn.Parameter(torch.ones(8, 2), requires_grad=False)
try:
    with torch.inference_mode():
        cell(torch.zeros(1, 2048))
except RuntimeError as error:
    assert "weight_hh of an accelerated LSTMCell should have shape (8192, 2048)" in str(error), error
    raise SystemExit(7)
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=300).returncode == 7


@pytest.mark.parametrize(
    "change",
    [
        _replace(_parameter(torch.randn(3, 20).t())),
        _replace(_parameter(torch.randn(20, 1).expand(20, 3))),
        _set_data(torch.randn(3, 20).t()),
        lambda lstm: lstm.requires_grad_(False).weight_ih_l0.set_(torch.ones(20, 3)),
        lambda lstm: setattr(lstm, "bias", False),
        lambda lstm: setattr(lstm, "bias_ih_l1", _parameter(torch.ones(20))),
        lambda lstm: setattr(lstm, "batch_first", True),
    ],
)
def test_parameters_of_other_memory(change: Any) -> None:
    ours, theirs = pair()
    change(ours)
    change(theirs)
    x = inputs()
    same(ours(x), theirs(x))


def test_the_same_memory_in_another_order() -> None:
    """Where the first byte and every element that is compared are the same, and torch has counted no change."""
    ours, theirs = pair()
    x = inputs()
    for lstm in (ours, theirs):
        lstm.weight_hh_l0.data = torch.arange(100.0).remainder(7).sub(3).view(20, 5)
    same(ours(x), theirs(x))
    for lstm in (ours, theirs):
        lstm.weight_hh_l0.data = lstm.weight_hh_l0.data.view(5, 20).t()
    same(ours(x), theirs(x))
    for lstm in (ours, theirs):
        lstm.weight_hh_l0.data = torch.complex(torch.zeros(20, 5), lstm.weight_hh_l0.data).imag
    same(ours(x), theirs(x))
    for lstm in (ours, theirs):
        whole = torch.zeros(20, 5, dtype=torch.complex64)
        lstm.weight_hh_l0.data = whole.imag
        ours(x)
        lstm.weight_hh_l0.data = whole.conj().imag
        whole.imag.copy_(torch.arange(100.0).remainder(7).sub(3).view(20, 5))
    same(ours(x), theirs(x))


def test_biases_that_a_cell_was_given_later() -> None:
    ours, theirs = pair(nn.LSTMCell, bias=False)
    x = inputs(nn.LSTMCell)
    for cell in (ours, theirs):
        cell.bias_ih, cell.bias_hh = (_parameter(torch.arange(20.0) / 10) for _ in range(2))
    same(ours(x), theirs(x))
    ours.bias_hh = None
    with pytest.raises(RuntimeError, match="bias_hh of an accelerated LSTMCell should be a Tensor"):
        ours(x)


def test_sizes_of_types_that_torch_takes() -> None:
    theirs = nn.LSTMCell(np.int64(3), 5, 1).eval()
    x = inputs(nn.LSTMCell)
    same(accelerate(theirs)(x), theirs(x))


# --- parameters that are computed ---------------------------------------------------------------------------


class Halved(nn.Module):
    """A parametrization."""

    def forward(self, weight: Any) -> Any:
        return weight / 2


WAYS: dict[str, Callable[[Any], Any]] = {
    "prune": lambda lstm: prune.l1_unstructured(lstm, "weight_hh_l0", 0.5),
    "prune bias": lambda lstm: prune.l1_unstructured(lstm, "bias_hh_l0", 0.5),
    "weight_norm": lambda lstm: nn.utils.parametrizations.weight_norm(lstm, "weight_hh_l0"),
    "spectral_norm": lambda lstm: nn.utils.parametrizations.spectral_norm(lstm, "weight_hh_l0"),
    "weight_norm of hooks": lambda lstm: nn.utils.weight_norm(lstm, "weight_hh_l0"),
    "spectral_norm of hooks": lambda lstm: nn.utils.spectral_norm(lstm, "weight_hh_l0"),
    "parametrization": lambda lstm: parametrize.register_parametrization(lstm, "weight_ih_l0", Halved()),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.filterwarnings("ignore:.*(weight_norm|spectral_norm).*:FutureWarning")
def test_computed_after_accelerate(way: Any) -> None:
    ours, theirs = pair()
    x = inputs()
    for lstm in (ours, theirs):
        state = torch.get_rng_state()
        way(lstm)
        torch.set_rng_state(state)
        lstm.eval()
    same(ours(x), theirs(x))
    with torch.inference_mode():
        same(ours(x), theirs(x))
    same(copy.deepcopy(ours)(x), theirs(x))
    for lstm in (ours, theirs):
        for parameter in lstm.parameters():
            parameter.mul_(1.5)
    same(ours(x), theirs(x))
    with torch.enable_grad():
        for lstm in (ours, theirs):
            lstm(x)[0].square().sum().backward()
    gradients = [[parameter.grad for parameter in lstm.parameters()] for lstm in (ours, theirs)]
    same(*gradients)  # of what weights are computed from
    with pytest.raises(TypeError, match="from something else"):
        from_module(ours)
    assert accelerate(ours) is ours
    plain = restore(ours)
    assert isinstance(plain, nn.LSTM)
    assert not isinstance(plain, AcceleratedLSTM)
    same(plain(x), theirs(x))


def test_parametrizations_removed_on_both_sides_of_restore() -> None:
    for first in (lambda lstm: lstm, restore):
        ours, theirs = pair()
        x = inputs()
        for lstm in (ours, theirs):
            parametrize.register_parametrization(lstm, "weight_ih_l0", Halved())
        ours = first(ours)
        for lstm in (ours, theirs):
            with torch.enable_grad():
                parametrize.remove_parametrizations(lstm, "weight_ih_l0")
        same(ours(x), theirs(x))
        assert type(restore(ours)) is nn.LSTM


def test_functional_calls_use_the_parameters_they_are_given() -> None:
    ours, theirs = pair()
    x = inputs()
    others = {name: torch.randn_like(parameter) for name, parameter in theirs.named_parameters()}
    call = torch.func.functional_call
    same(call(ours, others, (x,)), call(theirs, others, (x,)))
    same(ours(x), theirs(x))
    others["weight_ih_l0"] = torch.ones(4, 1)
    with pytest.raises(RuntimeError, match="weight_ih_l0 of an accelerated LSTM should have shape"):
        call(ours, others, (x,))
    same(ours(x), theirs(x))


def test_replicas_and_shared_memory() -> None:
    ours, theirs = pair()
    x = inputs()
    replica = ours._replicate_for_data_parallel()
    for name, parameter in ours._parameters.items():
        setattr(replica, name, parameter.clone())  # as torch.nn.parallel.replicate does
    same(replica(x), theirs(x))
    ours.share_memory()
    same(ours(x), theirs(x))
    same(copy.copy(ours)(x), theirs(x))


def test_parameters_that_another_process_shares_after_a_call() -> None:
    """Sharing moves a storage to other memory; the tensor and its storage stay the same objects."""
    theirs = nn.LSTM(3, 64, bias=False).eval()
    ours, x = accelerate(copy.deepcopy(theirs)), inputs()
    ours(x)
    for lstm in (ours, theirs):
        lstm.share_memory()
        for parameter in lstm.parameters():
            parameter.data.mul_(3)
    same(ours(x), theirs(x))


# --- tensors that are more than memory ----------------------------------------------------------------------


def _negative(*shape: int) -> Any:
    """Return a view that negates what is in memory."""
    view = torch.complex(torch.randn(shape), torch.randn(shape)).conj().imag
    assert view.is_neg()
    return view


@pytest.mark.parametrize("kind", [nn.LSTM, nn.LSTMCell])
def test_negative_views(kind: Any) -> None:
    ours, theirs = pair(kind)
    x = _negative(*inputs(kind).shape)
    same(ours(x), theirs(x))
    shape = (1, 2, 5) if kind is nn.LSTM else (4, 5)
    states = _negative(*shape), _negative(*shape)
    same(ours(x, states), theirs(x, states))
    name = "weight_ih_l0" if kind is nn.LSTM else "weight_ih"
    weight = torch.complex(torch.randn(20, 3), torch.randn(20, 3)).conj()
    for lstm in (ours, theirs):
        setattr(lstm, name, _parameter(weight.imag))
    same(ours(x), theirs(x))
    weight.data.mul_(2)  # which nobody counts, in memory that no element was compared of
    same(ours(x), theirs(x))


def test_negative_views_of_a_packed_sequence() -> None:
    ours, theirs = pair()
    packed = rnn.pack_padded_sequence(torch.zeros(4, 2, 3), [4, 2])
    packed = rnn.PackedSequence(_negative(6, 3), packed.batch_sizes)
    same(ours(packed)[0].data, theirs(packed)[0].data)


class Tagged(torch.Tensor):
    """A subclass that adds nothing."""


class Counted(torch.Tensor):
    """A subclass that is asked about every function."""

    functions: list[str] = []  # noqa: RUF012

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        cls.functions.append(function.__name__)
        return super().__torch_function__(function, types, args, kwargs)


def test_subclasses_of_tensor() -> None:
    ours, theirs = pair()
    x, states = inputs(), (torch.zeros(1, 2, 5), torch.ones(1, 2, 5))
    same(ours(nn.Parameter(x)), theirs(nn.Parameter(x)))
    same(ours(x.as_subclass(Tagged)), theirs(x.as_subclass(Tagged)))
    tagged = states[0], states[1].as_subclass(Tagged)
    same(ours(x, tagged), theirs(x, tagged))
    ours(x.as_subclass(Counted))
    assert Counted.functions == ["forward"]
    with torch.device("cpu"):  # a mode that is asked about every function
        same(ours(x), theirs(x))
    cell, plain = pair(nn.LSTMCell)
    same(cell(x[0].as_subclass(Tagged)), plain(x[0].as_subclass(Tagged)))


@pytest.mark.parametrize("shape", [(4, 0, 3), (4, 2, 3), (1, 3)])
def test_strides_and_sizes_of_zero(shape: tuple[int, ...]) -> None:
    ours, theirs = pair()
    turned = torch.randn(shape[::-1]).permute(*reversed(range(len(shape))))
    for x in (torch.zeros(shape), torch.ones(3).expand(shape), turned):
        same(ours(x), theirs(x))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda x: x.to_sparse(), r"input has layout torch.sparse_coo.*input.to_dense\(\)"),
        (lambda x: x.to_mkldnn(), r"input has layout torch._mkldnn.*input.to_dense\(\)"),
        (lambda x: torch.nested.nested_tensor(list(x.unbind(1))), "input is nested"),
        (lambda x: torch.complex(x, x), r"input dtype \(torch.complex64\) does not match"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_tensors_that_are_no_dense_memory(make: Any, words: str) -> None:
    ours, _ = pair()
    with pytest.raises((RuntimeError, ValueError), match=words):
        ours(make(inputs()))


# --- tracers, transforms, compilers -------------------------------------------------------------------------


def _dual(lstm: Any, x: Any) -> Any:
    return lstm(forward_ad.make_dual(x, x))


def _dual_state(lstm: Any, x: Any) -> Any:
    state = torch.ones(1, 2, 5)
    return lstm(x, (state, forward_ad.make_dual(state, state)))


def _dual_parameter(lstm: Any, x: Any) -> Any:
    weight = lstm.weight_hh_l0.detach()
    return torch.func.functional_call(lstm, {"weight_hh_l0": forward_ad.make_dual(weight, weight)}, (x,))


def _tangents(result: Any) -> list[Any]:
    """Return the values and tangents of what a call returned, in a row."""
    return [part for tensor in tensors(result) for part in forward_ad.unpack_dual(tensor)]


@pytest.mark.parametrize("call", [_dual, _dual_state, _dual_parameter])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # in torch, about itself
def test_forward_mode_differentiation(call: Any) -> None:
    ours, theirs = pair()
    x = inputs()
    with forward_ad.dual_level(), torch.backends.mkldnn.flags(enabled=False):  # which has none, in no module
        same(_tangents(call(ours, x)), _tangents(call(theirs, x)))
        same(ours(x), theirs(x))  # of something else


def _make_fx(**options: Any) -> Callable[[Any, Any], Any]:
    from torch.fx.experimental.proxy_tensor import make_fx

    return lambda lstm, x: make_fx(lambda t: lstm(t)[0], **options)(x)


def _fake(lstm: Any, x: Any) -> Any:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(allow_non_fake_inputs=True):
        return lstm(x)


def _escaped_fake(lstm: Any, x: Any) -> Any:
    from torch._subclasses.fake_tensor import FakeTensorMode

    return lstm(FakeTensorMode(allow_non_fake_inputs=True).from_tensor(x))


def _escaped_functional(lstm: Any, x: Any) -> Any:
    kept = []
    torch.func.functionalize(lambda t: kept.append(t) or t)(x)
    return lstm(kept[0])


def _counting(lstm: Any, x: Any) -> Any:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False):
        return lstm(x)


func = torch.func
LOOKERS: dict[str, Callable[[Any, Any], Any]] = {
    "jvp": lambda lstm, x: func.jvp(lambda t: lstm(t)[0], (x,), (x,)),
    "vjp": lambda lstm, x: func.vjp(lambda t: lstm(t)[0], x)[0],
    "grad": lambda lstm, x: func.grad(lambda t: lstm(t)[0].sum())(x),
    "jacrev": lambda lstm, x: func.jacrev(lambda t: lstm(t)[0])(x),
    "vmap": lambda lstm, x: func.vmap(lambda t: lstm(t)[0])(x),
    "vmap over weights": lambda lstm, x: func.vmap(
        lambda weight: func.functional_call(lstm, {next(iter(lstm.state_dict())): weight}, (x,))[0]
    )(torch.ones(2, 20, 3)),
    "functionalize": lambda lstm, x: func.functionalize(lambda t: lstm(t)[0])(x),
    "make_fx": lambda lstm, x: _make_fx()(lstm, x)(x + 1),
    "make_fx fake": lambda lstm, x: _make_fx(tracing_mode="fake", _allow_non_fake_inputs=True)(lstm, x)(x + 1),
    "make_fx symbolic": lambda lstm, x: _make_fx(tracing_mode="symbolic", _allow_non_fake_inputs=True)(lstm, x)(x + 1),
    "make_fx pre_dispatch": lambda lstm, x: _make_fx(pre_dispatch=True)(lstm, x)(x + 1),
    "FakeTensorMode": _fake,
    "fake tensor": _escaped_fake,
    "functional tensor": _escaped_functional,
    "mode": _counting,
    "meta": lambda lstm, x: copy.deepcopy(lstm).to("meta")(x.to("meta")),
    "jit.trace": lambda lstm, x: torch.jit.trace(lstm, x, check_trace=False)(x + 1),
    "fx of a model": lambda lstm, x: torch.fx.symbolic_trace(nn.Sequential(nn.ReLU(), lstm))(x),
    "export": lambda lstm, x: torch.export.export(lstm, (x,), strict=False).module()(x + 1),
    "export of a model": lambda lstm, x: torch.export.export(nn.Sequential(nn.ReLU(), lstm), (x,)).module()(x + 1),
    "strict export": lambda lstm, x: torch.export.export(nn.Sequential(lstm), (x,), strict=True).module()(x + 1),
}


HAS_NOT = {
    nn.LSTM: {
        "jvp": "forward AD", "jacrev": "workspace", "vmap": "Batching rule", "vmap over weights": "Batching rule"
    },
    nn.LSTMCell: {
        "vmap": "Batching rule", "vmap over weights": "Batching rule", "functional tensor": "INTERNAL ASSERT"
    },
}  # fmt: skip
"""What torch's own modules cannot do either, and words of its error."""


@pytest.mark.parametrize("kind", [nn.LSTM, nn.LSTMCell])
@pytest.mark.parametrize("name", LOOKERS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::torch.jit.TracerWarning")
def test_what_looks_at_operators_sees_those_of_torch(name: str, kind: Any) -> None:
    """And gets what it would get of torch's own module, be it an error."""
    ours, theirs = pair(kind)
    x, look = inputs(kind), LOOKERS[name]
    if name in HAS_NOT[kind]:
        for lstm in (theirs, ours):
            with pytest.raises(RuntimeError, match=HAS_NOT[kind][name]) as raised:
                look(lstm, x)
        assert raised.value.__context__ is None or "LeftToTorch" not in repr(raised.value.__context__)
    else:
        expected, got = look(theirs, x), look(ours, x)
        for one, other in zip(tensors(got), tensors(expected), strict=True):
            assert (type(one), one.shape, one.device) == (type(other), other.shape, other.device)
        if type(tensors(got)[0]) is torch.Tensor and tensors(got)[0].device.type == "cpu":
            same(got, expected)
    same(ours(x), theirs(x))  # and nothing is left behind


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::torch.jit.TracerWarning")
def test_graphs_in_this_process_have_our_bits() -> None:
    """A mode in Python sees one operator, with the weights that there are."""
    ours, _ = pair()
    x = inputs()
    from torch.fx.experimental.proxy_tensor import make_fx

    for options in ({}, {"tracing_mode": "fake"}, {"tracing_mode": "symbolic"}, {"pre_dispatch": True}):
        graph = make_fx(lambda t: ours(t)[0], _allow_non_fake_inputs=True, **options)(torch.zeros_like(x))
        assert "numba_lstm.lstm" in graph.code, options
        assert torch.equal(graph(x), ours(x)[0])
        ours.weight_hh_l0.mul_(1.1)
        assert torch.equal(graph(x), ours(x)[0])


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::torch.jit.TracerWarning")
def test_programs_of_torch_are_without_ours() -> None:
    """What is traced or exported runs where this package is not, and an LSTM stays one module for ``torch.fx``."""
    model = accelerate(nn.Sequential(nn.ReLU(), nn.LSTM(3, 5))).eval()
    x = inputs()
    exported = torch.export.export(model, (x,), strict=False)
    assert not any("numba" in str(node.target) for node in exported.graph.nodes)
    assert "aten::lstm" in str(torch.jit.trace(model, x, check_trace=False).inlined_graph)
    graph = torch.fx.symbolic_trace(model).graph
    assert [node.target for node in graph.nodes if node.op == "call_module"] == ["0", "1"]


@pytest.mark.parametrize("kind", [nn.LSTM, nn.LSTMCell])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_script_is_refused_in_a_sentence(kind: Any) -> None:
    ours, theirs = pair(kind)
    for module in (ours, nn.Sequential(nn.ReLU(), ours)):
        with pytest.raises(RuntimeError, match=r"accelerated LSTM.* is no TorchScript.* after restore\(model\)"):
            torch.jit.script(module)
    x = inputs(kind)
    same(ours(x), theirs(x))


class Doubled(nn.LSTM):
    """A subclass with something around the call."""

    def forward(self, x: Any, hx: Any = None) -> Any:
        output, hx = super().forward(x * 2, hx)
        return output + 1, hx


def test_fx_does_nothing_twice() -> None:
    """What is around our forward would be in the graph, and in the module that the graph calls."""
    hooked = nn.Sequential(nn.ReLU(), nn.LSTM(3, 5)).eval()
    hooked[1].register_forward_hook(lambda module, given, result: (result[0] * 2, result[1]))
    for model in (nn.Sequential(nn.ReLU(), Doubled(3, 5)).eval(), hooked):
        with pytest.raises(torch.fx.proxy.TraceError, match="symbolically traced variables"):  # as torch's own
            torch.fx.symbolic_trace(accelerate(model))


def test_fx_of_an_lstm_alone_is_refused_in_a_sentence() -> None:
    ours, _ = pair()
    with pytest.raises(RuntimeError, match=r"torch\.fx cannot trace an LSTM by itself"):
        torch.fx.symbolic_trace(ours)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_model_is_left_alone_where_script_is_refused() -> None:
    model = accelerate(nn.Sequential(nn.ReLU(), nn.LSTM(3, 5))).eval()
    with pytest.raises(RuntimeError, match="is no TorchScript"):
        torch.jit.script(model)
    assert type(model[1]) is AcceleratedLSTM


COMPILED = """
import sys, warnings
warnings.simplefilter("error")
import torch
from support.torch_models import Both
from numba_lstm.io.torch import accelerate
import copy
assert "torch._dynamo" not in sys.modules, "the compiler is imported by those who want it"
theirs = Both().eval()
ours = accelerate(copy.deepcopy(theirs))
warnings.simplefilter("default")
for part in (lambda model: model, lambda model: model.lstm, lambda model: model.cell):
    compiled = torch.compile(part(ours), backend=sys.argv[1])
    for mode in (torch.inference_mode, torch.no_grad):
        for steps in (4, 1, 9, 30):
            x = torch.randn(steps, 2, 3)
            x = x[0] if part(ours) is ours.cell else x
            with mode():
                got, want = compiled(x), part(theirs)(x)
            for _ in range(2):
                got, want = (one if isinstance(one, torch.Tensor) else one[0] for one in (got, want))
            assert (got - want).abs().max() < 1e-5
    results = []
    for model in (compiled, part(theirs)):
        result = model(x)
        for _ in range(2):
            result = result if isinstance(result, torch.Tensor) else result[0]
        results.append(torch.autograd.grad(result.square().sum(), list(model.parameters())[:3]))
    assert all((got - want).abs().max() < 1e-4 for got, want in zip(*results))
from torch._dynamo.utils import counters
assert not any("numba_lstm" in reason for reason in counters["graph_break"]), counters["graph_break"]
"""


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_models_call_ours(backend: str) -> None:
    """With nothing on stderr, and nothing of the package looked at by the compiler."""
    done = subprocess.run(
        [sys.executable, "-c", COMPILED, backend], cwd=TESTS, capture_output=True, text=True,
        timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr in ("", "compiling kernels, once on this machine; numba_lstm.warmup() does it ahead of time\n")


# --- autocast -----------------------------------------------------------------------------------------------

FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def same_as_autocast(ours: Any, theirs: Any, *arguments: Any) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        try:
            expected = theirs(*arguments)
        except RuntimeError:
            with pytest.raises(RuntimeError, match="torch's own module does not take"):
                ours(*arguments)
        else:
            same(ours(*arguments), expected, HALF_TOLERANCE)


@pytest.mark.parametrize("weights", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize(
    "options", [{}, {"num_layers": 2, "bidirectional": True, "bias": False}, {"proj_size": 2}], ids=str
)
@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning", "ignore:CUDA is not available:UserWarning")
def test_autocast(options: dict[str, Any], dtype: Any, weights: Any) -> None:
    """torch's dtypes, which depend on everything; its numbers are of bfloat16 there, ours of float32."""
    ours, theirs = pair(**options)
    ours.to(weights)
    theirs.to(weights)
    x = inputs().to(dtype)
    cells, width = 4 if "num_layers" in options else 1, options.get("proj_size", 5)
    ragged, even = (rnn.pack_padded_sequence(x, lengths) for lengths in ([4, 2], [4, 4]))
    arguments: list[Any] = [(x,), (x[:, 0],), (x[:, :0],), (ragged,), (even,)]
    for state in FLOATS:
        arguments.append((x, (torch.zeros(cells, 2, width, dtype=state), torch.ones(cells, 2, 5))))
        arguments.append((x, (torch.zeros(cells, 2, width), torch.ones(cells, 2, 5, dtype=state))))
    for given in arguments:
        same_as_autocast(ours, theirs, *given)
    with torch.autocast("cpu", enabled=False), torch.autocast("cuda"):
        if dtype is weights:
            same(ours(x), theirs(x))
        else:
            with pytest.raises(ValueError, match="does not match weight dtype"):
                ours(x)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_autocast_of_cells(dtype: Any) -> None:
    ours, theirs = pair(nn.LSTMCell)
    x = inputs(nn.LSTMCell).to(dtype)
    arguments: list[Any] = [(x,), *((x, (torch.zeros(4, 5), torch.ones(4, 5, dtype=state))) for state in FLOATS)]
    for given in arguments:
        same_as_autocast(ours, theirs, *given)


def test_autocast_of_a_model() -> None:
    """What comes out of a linear layer is bfloat16 there."""
    theirs = nn.Sequential(nn.Linear(3, 3), nn.LSTM(3, 5)).eval()
    ours = accelerate(copy.deepcopy(theirs))
    state = torch.get_rng_state()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        x = inputs()
        before = torch.get_rng_state()
        same(ours(x), theirs(x), HALF_TOLERANCE)
        assert torch.equal(torch.get_rng_state(), before)  # asking torch draws no numbers
    torch.set_rng_state(state)


def test_hooks_run_around_the_call() -> None:
    ours, _ = pair()
    calls: list[str] = []
    ours.register_forward_pre_hook(lambda module, arguments: calls.append("before"))
    ours.register_forward_hook(lambda module, arguments, result: calls.append("after"))
    ours(inputs())
    assert calls == ["before", "after"]
