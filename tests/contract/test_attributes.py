"""Attributes that modules are given: misspelt ones are refused, and whatever else somebody has is left alone."""

from __future__ import annotations

import copy
import pickle
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import numba_lstm as nl
from numba_lstm.contract.checks.attributes import meant
from numba_lstm.contract.weights import changing

MODULES: dict[str, Any] = {
    "one layer": lambda: nl.LSTM(3, 5, seed=0),
    "without bias": lambda: nl.LSTM(3, 5, bias=False, seed=0),
    "all": lambda: nl.LSTM(3, 5, 2, bidirectional=True, proj_size=2, seed=0),
    "int8": lambda: nl.LSTM(3, 5, seed=0).quantize("int8"),
    "cell": lambda: nl.LSTMCell(3, 5, seed=0),
    "cell without bias": lambda: nl.LSTMCell(3, 5, bias=False, seed=0),
}

MISSPELT = [
    ("one layer", "wieght_ih_l0", "weight_ih_l0"),
    ("one layer", "weigth_hh_l0", "weight_hh_l0"),
    ("one layer", "weight_ihl0", "weight_ih_l0"),
    ("one layer", "weight_il_l0", "weight_ih_l0"),
    ("one layer", "weights_hh_l0", "weight_hh_l0"),
    ("one layer", "Bias_ih_l0", "bias_ih_l0"),
    ("one layer", "WEIGHT_IH_L0", "weight_ih_l0"),
    ("one layer", "bais_hh_l0", "bias_hh_l0"),
    ("one layer", "bias_l0", "bias_ih_l0"),
    ("one layer", "weight_l0", "weight_ih_l0"),
    ("one layer", "weight_ih", "weight_ih_l0"),  # of a cell
    ("one layer", "weight_hr_l0", "weight_ih_l0"),  # of one with a projection
    ("one layer", "weight_hh_l1", "weight_hh_l0"),  # of one with more layers
    ("one layer", "weight_hh_l10", "weight_hh_l0"),
    ("one layer", "weight_ih_l0_reverse", "weight_ih_l0"),  # of one with two directions
    ("one layer", "weight_ih_l0_scale", "weight_ih_l0"),  # of one in int8
    ("without bias", "bias_hh_l0", "weight_hh_l0"),
    ("all", "weight_hr_l2", "weight_hr_l1"),
    ("all", "weight_ih_l1_revers", "weight_ih_l1_reverse"),
    ("all", "bias_hh_l0_revrese", "bias_hh_l0_reverse"),
    ("int8", "weight_ih_l0_scales", "weight_ih_l0_scale"),
    ("cell", "wieght_ih", "weight_ih"),
    ("cell", "weight_hh_l0", "weight_hh"),  # of an LSTM
    ("cell", "bias_i", "bias_ih"),
    ("cell without bias", "bais_ih", "weight_ih"),
    ("one layer", "batchfirst", "batch_first"),
    ("one layer", "batch_frist", "batch_first"),
    ("one layer", "drop_out", "dropout"),
    ("one layer", "trainning", "training"),
    ("cell", "traning", "training"),
]

OWN = """
    note vocabulary embedding weights weight weight_decay weight_norm weight_drop weight_init weight_path bias_init
    weight_hh_l0_raw weight_hh_l0_mask weight_hh_l0_orig bias_ih_l0_velocity weight_ih_mask mask_hh_l0
    dropout_rate dropout1 dropouti dropouth input_dropout drop batch_size batch_firsts training_step trained
    hidden_sizes     h_0 c0 hx scale gradients state names device _weight_ih_l1 _wieght_ih_l0 _batchfirst
"""


@pytest.mark.parametrize(("module", "name", "nearest"), MISSPELT, ids=lambda value: str(value))
def test_misspelt(module: str, name: str, nearest: str) -> None:
    made = MODULES[module]()
    before = dict(vars(made))
    words = rf"^{name} is no parameter of this {type(made).__name__}, .* Did you mean {nearest}\?"
    with pytest.raises(AttributeError, match=words):
        setattr(made, name, 3)
    assert vars(made) == before
    assert not hasattr(made, name)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_attributes_of_ones_own(module: str) -> None:
    """Also in copies and pickles, and when they are assigned to again."""
    made = MODULES[module]()
    for name in OWN.split():
        setattr(made, name, [name])
    for other in (made, copy.copy(made), copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert {name: getattr(other, name) for name in OWN.split()} == {name: [name] for name in OWN.split()}
        for name in OWN.split():
            setattr(other, name, 2)
    assert made.note == 2


def test_what_can_be_assigned_to_is_no_misspelling() -> None:
    for make in MODULES.values():
        made = make()
        for name, array in ([] if made.form == "int8" else made.named_parameters()):
            setattr(made, name, np.array(array))
        made.training = False
        if isinstance(made, nl.LSTM):
            made.batch_first, made.dropout = True, 0.0


class WithNames(nl.LSTM):
    """Has names like those of parameters, all of which it has declared before anybody assigns to them."""

    weight_lr = 1.0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.weight_id = "before there were parameters"
        super().__init__(*arguments, **options)
        self.weight_hh_l0_raw = np.array(self.weight_hh_l0)

    @property
    def weight_hh(self) -> np.ndarray:
        return np.array(self.weight_hh_l0)

    @weight_hh.setter
    def weight_hh(self, value: Any) -> None:
        self.weight_hh_l0 = value


def test_subclasses_declare_their_own() -> None:
    lstm = WithNames(3, 5, seed=0)
    lstm.weight_lr, lstm.weight_id, lstm.weight_hh = 2.0, "again", np.zeros((20, 5))
    assert (lstm.weight_lr, lstm.weight_id, lstm.weight_hh_l0.any()) == (2.0, "again", np.False_)
    assert lstm.weight_hh_l0_raw.any()
    with pytest.raises(AttributeError, match="of this WithNames"):
        lstm.weight_hl_l0 = 3
    again = pickle.loads(pickle.dumps(nl.LSTM(3, 5)))
    again.__dict__["weight_hl_l0"] = 3  # as pickles may have it, which were made when that was no error
    copied = pickle.loads(pickle.dumps(again))
    copied.weight_hl_l0 = 4
    assert copied.weight_hl_l0 == 4


def test_modules_without_parameters() -> None:
    """As they are while one is made of a file."""
    assert meant("wieght_ih_l0", [], ["training"]) == "weight_ih_l0"


class Changing:
    """A value that changes another parameter while it becomes an array, as another thread may."""

    def __init__(self, module: nl.LSTM, size: int) -> None:
        self._module, self._size = module, size

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        self._module.bias_hh_l0 = np.ones(20)
        return np.zeros(self._size)


@pytest.mark.parametrize("load", [False, True])
def test_a_change_of_another_parameter_meanwhile_is_kept(load: bool) -> None:
    lstm = nl.LSTM(3, 5, seed=0)
    value = Changing(lstm, 20)
    if load:
        lstm.load_state_dict({"bias_ih_l0": value}, strict=False)
    else:
        lstm.bias_ih_l0 = value  # type: ignore[assignment]
    assert not lstm.bias_ih_l0.any()
    assert (lstm.bias_hh_l0 == 1).all()


def test_parameters_are_not_drawn_anew_amid_another_change() -> None:
    """Whoever makes that has read the former ones, and would undo it."""
    lstm = nl.LSTM(3, 5, seed=0)
    former = lstm.weight_ih_l0
    thread = threading.Thread(target=lstm.reset_parameters)
    with changing():
        thread.start()
        thread.join(0.3)
        assert lstm.weight_ih_l0 is former
    thread.join()
    assert (lstm.weight_ih_l0 != former).any()


def test_threads_that_assign_different_parameters() -> None:
    """None undoes what another has just done, however often they take turns."""
    lstm = nl.LSTM(1, 1, num_layers=8)
    names = [name for name, array in lstm.named_parameters() if array.shape == (4,)]
    switches, often = sys.getswitchinterval(), 300

    def assign(name: str) -> None:
        for number in range(often):
            setattr(lstm, name, np.full(4, number))
            assert getattr(lstm, name)[0] == number

    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(len(names)) as pool:
            list(pool.map(assign, names))
    finally:
        sys.setswitchinterval(switches)
