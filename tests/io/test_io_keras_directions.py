"""Which arrays of a Bidirectional layer are those of the forward direction, in files that list them by name.

Keras lists what is trained before what is frozen, so a file may have the backward direction first, or arrays of both
mixed up.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import keras_files

from numba_lstm.io import keras

FEATURES, UNITS = 3, 5
X = np.random.default_rng(9).standard_normal((2, 6, FEATURES)).astype(np.float32)
NAMES = "kernel", "recurrent_kernel", "bias"


def side(seed: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    shapes = (FEATURES, 4 * UNITS), (UNITS, 4 * UNITS), (4 * UNITS,)
    return {
        name: generator.normal(0, 1, shape).astype(np.float32) for name, shape in zip(NAMES, shapes, strict=True)
    }


SIDES = {"forward": side(1), "backward": side(2)}


def bidirectional(name: str = "bi") -> dict[str, Any]:
    return keras_files.layer(
        "Bidirectional", name, layer=keras_files.layer("LSTM", "l", units=UNITS, return_sequences=True)
    )


def in_order(order: Sequence[tuple[str, str]], forward: str, backward: str) -> dict[str, np.ndarray]:
    """Return the arrays of both sides in an order of sides and names, with their paths."""
    paths = {"forward": forward, "backward": backward}
    return {f"{paths[which]}/lstm_cell/{name}": SIDES[which][name] for which, name in order}


def trained_first(frozen: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    every = list(itertools.product(SIDES, NAMES))
    return [each for each in every if each not in frozen] + [each for each in every if each in frozen]


ORDERS = {
    "nothing": [],
    "forward": [("forward", name) for name in NAMES],
    "backward": [("backward", name) for name in NAMES],
    "everything": list(itertools.product(SIDES, NAMES)),
    "a kernel": [("forward", "kernel")],
    "both kernels": [("forward", "kernel"), ("backward", "kernel")],
    "parts of both": [("forward", "bias"), ("forward", "kernel"), ("backward", "recurrent_kernel")],
}
PATHS = {
    "as made": ("model/bi/forward_l", "model/bi/backward_l"),
    "TensorFlow's": ("bi/forward_l", "bi/backward_l"),
    "a backward layer of its own": ("model/bi/forward_l", "model/bi/other"),
    "a backward layer called like the forward one": ("model/bi/forward_l", "model/bi/l"),
    "a model called like a direction": ("forward_model/bi/forward_l", "forward_model/bi/backward_l"),
}


def expected(tmp_path: Path) -> np.ndarray:
    """Return the output that the arrays have where a file says which are whose, in groups."""
    groups = {f"layers/bidirectional/{which}_layer/cell": list(SIDES[which].values()) for which in SIDES}
    model = keras_files.sequential(bidirectional())
    path = keras_files.keras(tmp_path / "groups.keras", model, keras_files.grouped(groups))
    output: np.ndarray = keras.load(path)["bi"](X)
    return output


@pytest.mark.parametrize("paths", PATHS)
@pytest.mark.parametrize("frozen", ORDERS)
def test_frozen_arrays_come_last(frozen: str, paths: str, tmp_path: Path) -> None:
    arrays = in_order(trained_first(ORDERS[frozen]), *PATHS[paths])
    path = keras_files.legacy(tmp_path / "m.h5", keras_files.sequential(bidirectional()), {"bi": arrays}, "3.5.0")
    assert np.array_equal(keras.load(path)["bi"](X), expected(tmp_path))


@pytest.mark.parametrize("names", [("x", "y"), ("forward_x", "forward_y"), ("backward_x", "backward_y")])
def test_names_that_do_not_say_which_is_forward(names: tuple[str, str], tmp_path: Path) -> None:
    arrays = in_order(trained_first([]), *(f"bi/{name}" for name in names))
    path = keras_files.legacy(tmp_path / "m.h5", keras_files.sequential(bidirectional()), {"bi": arrays}, "3.5.0")
    with pytest.raises(ValueError, match="do not say which are those of the forward direction"):
        keras.load(path)


def test_two_arrays_of_one_name(tmp_path: Path) -> None:
    arrays = {f"bi/{cell}/{name}": array for cell in ("cell", "cell_1") for name, array in SIDES["forward"].items()}
    doubled = {path.replace("bi/cell/", "bi/"): array for path, array in arrays.items()}
    doubled |= {"bi/bias:0": SIDES["backward"]["bias"]}
    model = keras_files.sequential(keras_files.layer("LSTM", "bi", units=UNITS))
    path = keras_files.legacy(tmp_path / "m.h5", model, {"bi": doubled}, "2.2.4")
    with pytest.raises(ValueError, match="several of its arrays are called bias"):
        keras.load(path)


@pytest.mark.parametrize("frozen", ORDERS)
@pytest.mark.parametrize("paths", ["as made", "TensorFlow's"])
def test_weights_without_a_configuration(frozen: str, paths: str, tmp_path: Path) -> None:
    arrays = in_order(trained_first(ORDERS[frozen]), *PATHS[paths])
    path = keras_files.legacy(tmp_path / "w.h5", None, {"bi": arrays}, "3.5.0")
    options: Mapping[str, Any] = {"return_sequences": True}
    assert np.array_equal(keras.load(path, config={"bi": options})["bi"](X), expected(tmp_path))


def test_directions_that_do_not_belong_together_keep_their_names(tmp_path: Path) -> None:
    """Half of a Bidirectional layer is not offered under the name of the whole."""
    arrays = in_order(trained_first([]), *PATHS["a backward layer of its own"])
    path = keras_files.legacy(tmp_path / "w.h5", None, {"bi": arrays}, "3.5.0")
    assert [each.name for each in keras.describe(path)] == ["bi/forward_l", "bi/other"]
