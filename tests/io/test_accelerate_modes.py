"""Accelerated modules where torch is in some mode, here or in another thread, and calls that are refused."""

from __future__ import annotations

import contextlib
import copy
import re
import sys
import threading
from typing import Any

import numpy as np
import pytest
from support.processes import run

torch = pytest.importorskip("torch")

from torch.nn.utils import prune  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from numba_lstm.io.torch import accelerate, operators, owners, tensors  # noqa: E402

nn = torch.nn
rnn = torch.nn.utils.rnn


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def pair(kind: Any = nn.LSTM, *sizes: int, weights: Any = None, **options: Any) -> tuple[Any, Any]:
    """Return an accelerated module and torch's with the same numbers."""
    theirs = kind(*(sizes or (3, 5)), **options)
    return accelerate(copy.deepcopy(theirs), weights=weights), theirs


def counting() -> Any:
    """Return a mode that sees every operator."""
    return FlopCounterMode(display=False)


def same_bits(ours: Any, theirs: Any) -> None:
    np.testing.assert_array_equal(ours.detach().numpy(), theirs.detach().numpy())


# --- gradients that are enabled where nothing is recorded -------------------------------------------------------
@pytest.mark.parametrize("weights", [None, "int8"])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.LSTMCell])
def test_gradients_in_inference_mode_are_none(kind: Any, weights: str | None) -> None:
    ours, theirs = pair(kind, weights=weights)
    x = torch.randn(4, 3) if kind is nn.LSTMCell else torch.randn(4, 2, 3)
    with torch.no_grad():
        expected = ours(x)[0]
    with torch.inference_mode(), torch.enable_grad():
        y, of_torch = ours(x)[0], theirs(x)[0]
        with counting():
            seen = ours(x)[0]
    same_bits(y, expected)
    same_bits(seen, expected)
    assert (y.requires_grad, y.is_inference()) == (of_torch.requires_grad, of_torch.is_inference()) == (False, True)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.LSTMCell])
@pytest.mark.parametrize("wanted", ["input", "weights", "packed"])
def test_a_mode_gives_no_gradients_to_weights_in_a_form(wanted: str, kind: Any) -> None:
    """It had torch's own module compute the call, in float32, where one without a mode is refused."""
    ours, _ = pair(kind, weights="int8")
    ours.requires_grad_(wanted != "input")
    x = torch.randn(4, 3) if kind is nn.LSTMCell else torch.randn(4, 2, 3)
    x.requires_grad_(wanted == "input")
    given = rnn.pack_padded_sequence(x, [4, 3]) if wanted == "packed" and kind is nn.LSTM else x
    for mode in (contextlib.nullcontext(), counting()):
        with mode, pytest.raises(RuntimeError, match="with weights in int8 would need gradients, and has none"):
            ours(given)


@pytest.mark.parametrize("what", ["packed", "pruned", "autocast"])
def test_a_mode_says_that_torch_computes_in_float32(what: str) -> None:
    """Where a call cannot be an operator."""
    theirs = nn.LSTM(3, 5).requires_grad_(False)
    if what == "pruned":
        prune.l1_unstructured(theirs, "weight_hh_l0", 0.5)
    ours, x = accelerate(copy.deepcopy(theirs), weights="int8"), torch.randn(4, 2, 3)
    given = rnn.pack_padded_sequence(x, [4, 3]) if what == "packed" else x
    cast = torch.autocast("cpu") if what == "autocast" else contextlib.nullcontext()
    with torch.no_grad(), cast:
        expected = theirs(given)[0]
        with counting(), pytest.warns(UserWarning, match=r"LSTM with weights in int8: a mode of torch sees this call"):
            found = ours(given)[0]
    one, other = (each.data if what == "packed" else each for each in (found, expected))
    same_bits(one.float(), other.float())


def test_nothing_is_recorded_within_an_operator() -> None:
    """Where gradients are enabled as well."""
    with torch._C._AutoDispatchBelowAutograd():
        assert [lstm(torch.ones(4, 2, 3))[0].requires_grad for lstm in pair()] == [False, False]


# --- what other threads do ---------------------------------------------------------------------------------------
@pytest.mark.skipif(not operators.DEFINED, reason="torch is older")
@pytest.mark.parametrize("weights", [None, "int8"])
def test_an_export_in_another_thread_changes_nothing(weights: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch has one flag for all threads."""
    ours, _ = pair(nn.LSTM, 64, 64, weights=weights)
    x = torch.randn(50, 1, 64)
    with torch.inference_mode():
        expected = ours(x)[0]
        monkeypatch.setattr(torch.compiler, "_is_compiling_flag", True)
        monkeypatch.setattr(torch.compiler, "_is_exporting_flag", True)
        same_bits(ours(x)[0], expected)
        same_bits(ours(x, (torch.zeros(1, 1, 64),) * 2)[0], expected)


def test_modules_that_are_made_meanwhile_disturb_nobody() -> None:
    """A module is looked for among all others while other threads make more."""
    (plain, _), failures, end = pair(), [], threading.Event()
    made = nn.LSTM(3, 5)

    def make() -> None:
        while not end.is_set():
            [accelerate(copy.copy(made)) for _ in range(20)]

    def look() -> None:
        try:
            for _ in range(3000):
                assert owners.accelerated_over(plain) is plain
        except Exception as error:
            failures.append(repr(error))

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        makers, looker = [threading.Thread(target=make) for _ in range(2)], threading.Thread(target=look)
        for thread in (*makers, looker):
            thread.start()
        looker.join()
        end.set()
        for thread in makers:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert not failures


def test_parametrizations_of_others_are_not_computed() -> None:
    """A call of an operator looks for the module of its weights; a power iteration would go on."""
    theirs = nn.utils.parametrizations.spectral_norm(nn.LSTM(3, 5), "weight_hh_l0")
    others, (ours, _) = accelerate(theirs), pair()
    others.train()
    before = [each.clone() for each in others.buffers()]
    strangers = [torch.zeros_like(parameter) for parameter in ours.parameters()]
    for kind in {module._numba_lstm_kind for module in (ours, others)}:
        owners.packing_of(kind, strangers, None)
    assert before
    for one, other in zip(before, others.buffers(), strict=True):
        assert torch.equal(one, other)


# --- autocast ----------------------------------------------------------------------------------------------------
def test_autocast_with_and_without_gradients_is_asked_for_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """On some CPUs torch has half precision without gradients only."""
    ours, _ = pair()

    def ask(*case: Any) -> tuple[Any, ...]:
        return (torch.zeros(1, dtype=torch.float32 if torch.is_grad_enabled() else torch.float16),) * 3

    monkeypatch.setattr(tensors, "_ask", ask)
    monkeypatch.setattr(tensors, "_outcomes", {})
    with torch.autocast("cpu", torch.bfloat16):
        x = torch.zeros(4, 2, 3)
        with torch.no_grad():
            assert ours(x)[0].dtype is torch.float16
        assert ours(x)[0].dtype is torch.float32


# --- calls that are refused --------------------------------------------------------------------------------------
@pytest.mark.parametrize("mode", [contextlib.nullcontext, counting], ids=["", "mode"])
@pytest.mark.parametrize("wrong", ["features", "axes", "states", "packed"])
def test_a_call_that_is_refused_draws_nothing(wrong: str, mode: Any) -> None:
    ours, theirs = pair(num_layers=2, dropout=0.5)
    x, h = torch.zeros(4, 2, 3), torch.zeros(2, 2, 5)
    arguments: Any = {
        "features": (torch.zeros(4, 2, 7),),
        "axes": (torch.zeros(4, 2, 3, 1),),
        "states": (x, (h, torch.zeros(2, 3, 5))),
        "packed": (rnn.pack_padded_sequence(torch.zeros(4, 2, 7), [4, 2]),),
    }[wrong]
    for lstm in (ours, theirs):
        state = torch.get_rng_state()
        with pytest.raises((RuntimeError, ValueError)), mode():
            lstm(*arguments)
        assert torch.equal(state, torch.get_rng_state())


def test_int8_that_would_need_gradients_draws_nothing() -> None:
    ours, _ = pair(num_layers=2, dropout=0.5, weights="int8")
    state = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="weights in int8 would need gradients"):
        ours(torch.zeros(4, 2, 3))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("gradients", [True, False])
def test_states_of_more_sequences_than_are_packed(gradients: bool) -> None:
    """torch takes some of them where sequences are not sorted; so nobody would see that they are others'."""
    ours, _ = pair()
    packed = rnn.pack_padded_sequence(torch.zeros(4, 3, 3), [2, 4, 1], enforce_sorted=False)
    with (
        torch.set_grad_enabled(gradients),
        pytest.raises(RuntimeError, match=re.escape("Expected hidden[0] size (1, 3, 5), got [1, 5, 5]")),
    ):
        ours(packed, (torch.zeros(1, 5, 5), torch.zeros(1, 5, 5)))


def test_another_form_of_a_copy_with_parametrizations_is_refused() -> None:
    """torch copies those without asking the module."""
    lstm = accelerate(nn.LSTM(3, 5)).eval()
    with torch.no_grad():
        nn.utils.parametrize.register_parametrization(lstm, "weight_ih_l0", nn.Identity())
        copied = copy.deepcopy(lstm)
    with pytest.raises(ValueError, match="is accelerated already, with weights in its dtype"):
        accelerate(copied, weights="int8")


def test_words() -> None:
    ours, _ = pair()
    x, h = torch.zeros(4, 2, 3), torch.zeros(1, 2, 5)
    with pytest.raises(ValueError, match=re.escape("hx should be a tuple (h_0, c_0) of two Tensors, got 3")):
        ours(x, (h, h, h))
    with pytest.raises(TypeError, match=re.escape("hx should be a tuple (h_0, c_0) of two Tensors, got: Tensor")):
        ours(x, h)
    with pytest.raises(ValueError, match=r"^RNN input dtype \(torch\.float64\) does not match weight dtype"):
        ours(x.double())


# --- backward passes that a compiler follows ---------------------------------------------------------------------
BACKWARD = """
import copy, sys, warnings
import numpy as np
import torch
from numba_lstm.io.torch import accelerate

warnings.simplefilter("ignore")  # of the compiler, about what it does not follow
theirs, x, found = torch.nn.LSTM(3, 5), torch.randn(4, 2, 3), []
for lstm in accelerate(copy.deepcopy(theirs)), theirs:
    torch._dynamo.reset()
    with torch._dynamo.config.patch(compiled_autograd=bool(sys.argv[1:])):
        loss = lstm(x)[0].sum()
        torch.compile(lambda loss=loss: loss.backward(), backend="eager")()
    found.append(lstm.weight_ih_l0.grad.numpy())
np.testing.assert_allclose(*found, rtol=0, atol=1e-5)
"""


@pytest.mark.skipif(not operators.DEFINED, reason="torch is older")
@pytest.mark.parametrize("options", [(), ("compiled autograd",)], ids=["", "compiled autograd"])
def test_a_backward_pass_in_a_compiled_function(options: tuple[str, ...]) -> None:
    """In a process of its own: compiled autograd keeps the graph of its loss."""
    run(BACKWARD, *options)
