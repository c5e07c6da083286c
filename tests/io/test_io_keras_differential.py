"""Layers that Keras itself saves, against Keras on torch: random options, masks and states, in every file format."""

from __future__ import annotations

import json
import operator
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("h5py")
pytest.importorskip("torch")
if os.environ.setdefault("KERAS_BACKEND", "torch") != "torch":
    pytest.skip("Keras is set to another backend", allow_module_level=True)
pytest.importorskip("keras")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import keras

from numba_lstm.io import keras as ours
from numba_lstm.io.keras import versions

pytestmark = pytest.mark.filterwarnings("ignore")  # Keras and torch have their own

SUFFIXES = (".keras", ".weights.h5", ".h5")


def _loaded(model: Any, folder: Path, suffix: str) -> ours.Layers:
    path = folder / f"model{suffix}"
    if suffix == ".weights.h5":
        model.save_weights(path)
        return ours.load(path, config=model.to_json())
    model.save(path)
    return ours.load(path)


def _numpy(value: Any) -> list[np.ndarray]:
    values = value if isinstance(value, list | tuple) else [value]
    return [keras.ops.convert_to_numpy(one) for one in values]


def _random_weights(layer: Any, generator: np.random.Generator, size: float = 0.6) -> None:
    layer.set_weights([generator.normal(0, size, weight.shape) for weight in layer.get_weights()])


def _activations(layer: Any) -> str:
    config = layer.get_config()
    inner = config.get("layer") or config.get("cell") or {"config": config}
    return repr((inner["config"]["activation"], inner["config"]["recurrent_activation"]))


def _mask(generator: np.random.Generator, rows: int, steps: int) -> np.ndarray | None:
    kind = generator.integers(5)
    if kind == 0:
        return None
    lengths = generator.integers(0, steps + 1, rows)[:, None]
    padded = np.arange(steps) < lengths
    masks = [padded, padded[:, ::-1], generator.random((rows, steps)) < 0.6, np.ones((rows, steps), bool)]
    mask = masks[kind - 1].copy()
    if generator.random() < 0.3:
        mask[generator.integers(rows)] = False
    return mask


def _compare(theirs: Any, mine: Any, *, x: np.ndarray, mask: Any, states: Any, wide: bool) -> None:
    tensor = keras.ops.convert_to_tensor  # arrays in lists it would round to float32
    expected = _numpy(
        theirs(
            tensor(x),
            mask=None if mask is None else tensor(mask),
            initial_state=None if states is None else [tensor(state, x.dtype) for state in states],
        )
    )
    got = mine(x, mask=mask, initial_state=states)
    got = got if isinstance(got, tuple) else (got,)
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        assert one.shape == other.shape
        assert one.dtype == other.dtype
        # On torch Keras rounds what its own steps add up to float32, in float64 layers too.  Activations without bounds
        # make large numbers, with errors of their size.
        largest = max(1.0, *(float(np.abs(each).max(initial=0.0)) for each in expected))
        np.testing.assert_allclose(one, other, rtol=0, atol=(3e-7 if wide else 3e-6) * largest)


ACTIVATIONS: list[Any] = [
    None, "linear", "relu", "relu6", "leaky_relu", "elu", "celu", "selu", "silu", "softplus", "softsign", "hard_tanh",
    "hard_sigmoid", "sparse_sigmoid", "sigmoid",
]  # fmt: skip
RECURRENT: list[Any] = ["hard_sigmoid", "sparse_sigmoid", "softsign", "hard_tanh", "tanh", "sigmoid"]


def _layer(generator: np.random.Generator, name: str) -> Any:
    def truth() -> bool:
        return bool(generator.random() < 0.5)

    general = truth()
    options: dict[str, Any] = {
        "units": int(generator.integers(1, 20)),
        "return_sequences": truth(),
        "return_state": truth(),
        "use_bias": truth(),
        "unit_forget_bias": truth(),
        "dropout": 0.3 if truth() else 0.0,
        "recurrent_dropout": 0.2 if truth() else 0.0,
        "activation": ACTIVATIONS[generator.integers(len(ACTIVATIONS))] if general else "tanh",
        "recurrent_activation": RECURRENT[generator.integers(len(RECURRENT))] if general else "sigmoid",
        "dtype": "float64" if generator.random() < 0.3 else "float32",
    }
    outer = {"zero_output_for_mask": truth(), "go_backwards": truth()}
    kind = generator.integers(4)
    if kind == 0:
        own = ("return_sequences", "return_state")
        cell = {name: value for name, value in options.items() if name not in own}
        return keras.layers.RNN(
            keras.layers.LSTMCell(**cell),
            **{name: options[name] for name in own},
            **outer,
            name=name,
            dtype=cell["dtype"],
        )
    if kind == 1:
        return keras.layers.LSTM(**options, **outer, name=name)
    merge_mode = ["concat", "sum", "mul", "ave", None][generator.integers(5)]
    backward = None
    if generator.random() < 0.4:
        other = {"use_bias": truth(), "go_backwards": True}
        if merge_mode in ("concat", None):
            other["units"] = int(generator.integers(1, 20))
        backward = keras.layers.LSTM(**options | other, name="other")
    inner = keras.layers.LSTM(**options)
    return keras.layers.Bidirectional(
        inner, merge_mode=merge_mode, backward_layer=backward, name=name, dtype=options["dtype"]
    )


@pytest.mark.parametrize("seed", range(60))
def test_random_layers(seed: int, tmp_path: Path) -> None:
    generator = np.random.default_rng(seed)
    rows, steps, features = (int(generator.integers(1, top)) for top in (6, 9, 12))
    layer = _layer(generator, "layer")
    layer_dtype = layer.compute_dtype
    model = keras.Sequential([keras.Input((None, features), dtype=layer_dtype), layer])
    # Activations without bounds amplify what was rounded before, in Keras as here; small weights keep that out.
    _random_weights(layer, generator, 0.6 if "'tanh', 'sigmoid'" in _activations(layer) else 0.2)
    mine = _loaded(model, tmp_path, SUFFIXES[seed % 3])["layer"]
    assert repr(mine).startswith(f"<{mine.kind} 'layer': {features} -> ")
    for _ in range(4):
        x = generator.standard_normal((rows, steps, features)).astype(layer_dtype)
        units = mine._units
        states = [generator.standard_normal((rows, size)).astype(layer_dtype) for size in units for _ in range(2)]
        given = states if generator.random() < 0.5 else None
        mask = _mask(generator, rows, steps)
        _compare(layer, mine, x=x, mask=mask, states=given, wide=layer_dtype == "float64")


def test_what_keras_3_writes_has_nothing_of_keras_2() -> None:
    """So that its descriptions need no version."""
    layers = keras.layers
    recurrent = [layers.LSTM(5), layers.RNN(layers.LSTMCell(5)), layers.Bidirectional(layers.LSTM(5))]
    inputs = keras.Input((None, 3))
    model = keras.Model(inputs, [layer(inputs) for layer in recurrent])
    assert versions.shown_by(json.loads(model.to_json())) == "3"


@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if name] + ["exponential"])
def test_every_activation(name: str, tmp_path: Path) -> None:
    """Of the cell, and of the gates."""
    generator = np.random.default_rng(3)
    for options in ({"activation": name}, {"recurrent_activation": name}):
        layer = keras.layers.LSTM(5, return_sequences=True, name="layer", **options)
        model = keras.Sequential([keras.Input((None, 3)), layer])
        _random_weights(layer, generator, 0.1 if name == "exponential" else 0.3)
        mine = _loaded(model, tmp_path, ".keras")["layer"]
        x = generator.standard_normal((4, 5, 3)).astype(np.float32)
        _compare(layer, mine, x=x, mask=None, states=None, wide=False)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("wrapped", [False, True])
def test_stateful_layers(suffix: str, wrapped: bool, tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    layer = keras.layers.LSTM(5, stateful=True, return_sequences=True, name="layer")
    if wrapped:
        layer = keras.layers.Bidirectional(layer, name="layer")
    model = keras.Sequential([keras.Input((4, 3), batch_size=2), layer])
    _random_weights(layer, generator)
    mine = _loaded(model, tmp_path, suffix)["layer"]
    assert mine.stateful
    for call in range(6):
        if call == 4:
            layer.reset_state()
            mine.reset_state()
        x = generator.standard_normal((2, 4, 3)).astype(np.float32)
        mask = generator.random((2, 4)) < 0.7 if call == 2 else None
        states = [np.ones((2, 5), np.float32)] * (4 if wrapped else 2) if call == 3 else None
        _compare(layer, mine, x=x, mask=mask, states=states, wide=False)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_models_in_models(suffix: str, tmp_path: Path) -> None:
    """The whole model's output, with our layers in the place of Keras's."""
    layers = keras.layers
    inner = keras.Sequential(
        [
            keras.Input((7, 4)),
            layers.LSTM(5, return_sequences=True, name="first"),
            layers.Dense(3, name="between"),
            layers.Bidirectional(layers.LSTM(2, return_sequences=True), name="both"),
        ],
        name="inner",
    )
    x = keras.Input((7, 4), name="x")
    a = inner(x)
    b = layers.LSTM(6, return_sequences=True, name="first")(x)
    c = layers.LSTM(3, name="last")(layers.Concatenate(name="joined")([a, b]))
    d = layers.GRU(2, name="gru")(b)
    model = keras.Model(x, layers.Dense(2, name="out")(layers.Concatenate(name="all")([c, d])), name="outer")
    generator = np.random.default_rng(5)
    for layer in (inner, *model.layers[2:]):
        _random_weights(layer, generator)
    found = _loaded(model, tmp_path, suffix)
    assert set(found) == {"inner/first", "inner/both", "first", "last"}
    assert list(found.obstacles) == ["gru"]
    value = generator.standard_normal((3, 7, 4)).astype(np.float32)
    between = inner.get_layer("between").get_weights()
    mine_a = found["inner/both"](found["inner/first"](value) @ between[0] + between[1])
    mine_c = found["last"](np.concatenate([mine_a, found["first"](value)], axis=-1))
    expected = keras.Model(x, c)(value)
    np.testing.assert_allclose(mine_c, _numpy(expected)[0], rtol=0, atol=2e-6)
    with pytest.raises(ValueError, match="gru cannot be taken: GRU is not an LSTM layer: run this layer with Keras"):
        found["gru"]


def test_half_precision_is_widened(tmp_path: Path) -> None:
    for dtype in ("float16", "bfloat16"):
        layer = keras.layers.LSTM(4, name="layer", dtype=dtype, recurrent_initializer="glorot_uniform")
        model = keras.Sequential([keras.Input((5, 3)), layer])
        wide = keras.layers.LSTM(4)
        wide.build((None, 5, 3))
        weights = [np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(w, "float32"))) for w in layer.weights]
        wide.set_weights(weights)
        mine = _loaded(model, tmp_path, ".keras")["layer"]
        assert mine.dtype == np.float32
        x = np.random.default_rng(1).standard_normal((2, 5, 3)).astype(np.float32)
        _compare(wide, mine, x=x, mask=None, states=None, wide=False)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_plain_lstm(suffix: str, tmp_path: Path) -> None:
    generator = np.random.default_rng(7)
    layers = [
        keras.layers.LSTM(5, return_sequences=True, return_state=True, name="layer"),
        keras.layers.Bidirectional(keras.layers.LSTM(5, return_sequences=True, return_state=True), name="layer"),
    ]
    for layer in layers:
        model = keras.Sequential([keras.Input((6, 3)), layer])
        _random_weights(layer, generator)
        path = tmp_path / f"model{suffix}"
        config = None
        if suffix == ".weights.h5":
            model.save_weights(path)
            config = model.to_json()
        else:
            model.save(path)
        lstm = ours.load_lstm(path, config=config)
        x = generator.standard_normal((2, 6, 3)).astype(np.float32)
        expected = _numpy(layer(x))
        output, (h_n, c_n) = lstm(x)
        np.testing.assert_allclose(output, expected[0], rtol=0, atol=2e-6)
        np.testing.assert_allclose(np.stack([h_n, c_n], axis=1).reshape(-1, 2, 5), expected[1:], rtol=0, atol=2e-6)


@pytest.mark.parametrize("own", [False, True], ids=["as made", "a backward layer of its own"])
@pytest.mark.parametrize("frozen", ["forward_layer", "backward_layer", "forward_layer.cell.kernel"])
@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_frozen_directions(suffix: str, frozen: str, own: bool, tmp_path: Path) -> None:
    """What is frozen comes behind what is trained, in files that list arrays by name."""
    x = np.random.default_rng(0).standard_normal((2, 6, 3)).astype(np.float32)
    backward = keras.layers.LSTM(4, return_sequences=True, go_backwards=True, name="other") if own else None
    inner = keras.layers.LSTM(4, return_sequences=True)
    layer = keras.layers.Bidirectional(inner, backward_layer=backward, name="bi")
    model = keras.Sequential([keras.Input(x.shape[1:]), layer])
    operator.attrgetter(frozen)(layer).trainable = False
    path = tmp_path / f"m{suffix}"
    model.save(path)
    found = ours.load(path)["bi"](x)
    np.testing.assert_allclose(found, keras.ops.convert_to_numpy(layer(x)), rtol=0, atol=2e-6)
