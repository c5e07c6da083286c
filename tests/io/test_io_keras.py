"""Files of Keras without Keras: layouts, options, refusals, masks, and files that are not what they should be."""

from __future__ import annotations

import json
import threading
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.places import GOLDEN_KERAS

from numba_lstm import LSTM
from numba_lstm.io import keras

SUFFIXES = [".keras", ".h5", ".weights.h5"]


def _config() -> str:
    with zipfile.ZipFile(GOLDEN_KERAS / "model.keras") as archive:
        return archive.read("config.json").decode()


def _load(suffix: str) -> keras.Layers:
    return keras.load(GOLDEN_KERAS / f"model{suffix}", config=_config() if suffix == ".weights.h5" else None)


# --- what Keras wrote, without Keras and h5py -----------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_golden_files(suffix: str) -> None:
    layers = _load(suffix)
    assert {"lstm", "both"} <= set(layers)
    with np.load(GOLDEN_KERAS / "layers.npz") as arrays:
        for name, layer in layers.items():
            for prefix, mask in (("", None), ("masked.", arrays["mask"])):
                expected = arrays[prefix + name]
                got = layer(arrays[f"x.{name}"], mask=mask)
                assert got.shape == expected.shape
                np.testing.assert_allclose(got, expected, rtol=0, atol=2e-6)


def test_what_a_file_holds() -> None:
    found = {one.name: one for one in keras.describe(GOLDEN_KERAS / "model.keras")}
    assert [one.kind for one in found.values()] == ["LSTM", "Bidirectional(LSTM)", "GRU", "LSTM"]
    assert found["lstm"].sizes == {"input_size": 4, "units": 5, "return_sequences": True}
    assert found["lstm"].parameters["layers/lstm/cell/vars/0"] == ((4, 20), "float32")
    assert found["both"].sizes == {"input_size": 5, "units": 3, "merge_mode": "sum", "return_sequences": True}
    assert len(found["both"].parameters) == 6
    assert found["gru"].obstacle is not None
    assert "export the model to ONNX" in found["gru"].obstacle
    for one in keras.describe(GOLDEN_KERAS / "model.weights.h5"):
        assert one.sizes["units"]
        assert one.obstacle is not None
        assert "give config=" in one.obstacle


def test_weights_without_options() -> None:
    path = GOLDEN_KERAS / "model.weights.h5"
    with pytest.raises(ValueError, match=r"model\.weights\.h5: no LSTM layer .* 'lstm', .*: the file does not say"):
        keras.load(path)
    with pytest.raises(ValueError, match="which layer"):
        keras.load_lstm(path)
    with pytest.raises(ValueError, match="lstm cannot be taken: the file does not say"):
        keras.load_lstm(path, "lstm")
    layers = keras.load(path, config={"lstm": {"return_sequences": True}, "both": {"merge_mode": "sum"}})
    assert set(layers) == {"lstm", "both"}
    whole = _load(".keras")
    x = np.random.default_rng(0).standard_normal((2, 5, 4), np.float32)
    np.testing.assert_array_equal(layers["lstm"](x), whole["lstm"](x))
    assert layers["both"](whole["lstm"](x)).shape == (2, 3)
    np.testing.assert_array_equal(keras.load_lstm(path, "lstm", config={"lstm": {}})(x)[0], whole["lstm"](x))
    with pytest.raises(ValueError, match=r"under 'other'; found: .*'lstm'"):
        keras.load(path, config={"other": {}})
    with pytest.raises(ValueError, match="options of lstm should be some of activation, "):
        keras.load(path, config={"lstm": {"return_sequence": True}})
    with pytest.raises(ValueError, match="give keras_version"):
        keras.load(path, config={"lstm": {"recurrent_activation": "hard_sigmoid"}})


def test_names_that_are_not_there() -> None:
    layers = _load(".keras")
    with pytest.raises(KeyError, match=r"no recurrent layer 'dense'; found: 'lstm', 'both'"):
        layers["dense"]
    with pytest.raises(ValueError, match="gru cannot be taken: GRU is not an LSTM layer"):
        layers["gru"]
    assert "gru" not in layers
    with pytest.raises(ValueError, match=r"which layer\? found: 'lstm', 'both', 'gru', 'last'"):
        keras.load_lstm(GOLDEN_KERAS / "model.keras")
    with pytest.raises(ValueError, match="both is no plain LSTM: its merge_mode is 'sum'"):
        keras.load_lstm(GOLDEN_KERAS / "model.keras", "both")


def test_runner_and_plain_lstm() -> None:
    path = GOLDEN_KERAS / "model.keras"
    x = np.random.default_rng(0).standard_normal((2, 5, 4), np.float32)
    runner = keras.runner(path, "lstm")
    assert runner.dtype == np.float32
    state = np.ones((1, 2, 5), np.float32), np.full((1, 2, 5), 2, np.float32)
    lstm = keras.load_lstm(path, "lstm")
    assert isinstance(lstm, LSTM)
    assert not lstm.training
    np.testing.assert_array_equal(runner.run(x, state)["output"], lstm(x, state)[0])
    wide = keras.runner(path, "lstm", np.dtype(np.float64))
    assert wide.run(x.astype(np.float64), None)["output"].dtype == np.float64
    both = keras.runner(path, "both")
    state = np.ones((2, 2, 3), np.float32), np.zeros((2, 2, 3), np.float32)
    assert both.run(np.ones((2, 5, 5), np.float32), state)["output"].shape == (2, 5, 3)


# --- calls ----------------------------------------------------------------------------------------------------


def test_bad_calls() -> None:
    layer = _load(".keras")["lstm"]
    x = np.zeros((2, 5, 4), np.float32)
    for bad in (np.zeros((5, 4)), np.zeros((2, 5, 3)), np.zeros((2, 5, 4, 1))):
        with pytest.raises(ValueError, match=r"x should have shape \(any, any, 4\), got: "):
            layer(bad)
    with pytest.raises(ValueError, match="no steps"):
        layer(x[:, :0])
    for bad in (x.astype(complex), [[["a"]]], None):
        with pytest.raises(TypeError, match="x should hold real numbers"):
            layer(bad)
    with pytest.raises(ValueError, match=r"mask should have shape \(2, 5\), got: \(5, 2\)"):
        layer(x, mask=np.ones((5, 2)))
    with pytest.raises(TypeError, match="x is a masked array"):
        layer(np.ma.masked_array(x))
    with pytest.raises(TypeError, match="mask is a masked array"):
        layer(x, mask=np.ma.masked_array(np.ones((2, 5), bool)))
    with pytest.raises(TypeError, match="mask should hold truths"):
        layer(x, mask=np.full((2, 5), "a"))
    for state in (np.zeros((2, 2, 5)), [np.zeros((2, 5))], 3):
        with pytest.raises(ValueError, match="initial_state should be a list of 2 arrays: h and c"):
            layer(x, initial_state=state)
    with pytest.raises(ValueError, match=r"initial_state\[1\] should have shape \(2, 5\)"):
        layer(x, initial_state=[np.zeros((2, 5)), np.zeros((5, 2))])
    with pytest.raises(ValueError, match="should be a list of 4 arrays: h and c of each direction"):
        _load(".keras")["both"](np.zeros((2, 5, 5)), initial_state=[np.zeros((2, 3))] * 2)


def test_inputs_are_cast_and_left_alone() -> None:
    layer = _load(".keras")["lstm"]
    x = np.random.default_rng(0).integers(-3, 3, (4, 6, 4))
    plain = layer(x.astype(np.float32))
    frozen = x.astype(">f8")[::-1]
    frozen.flags.writeable = False
    for other in (x, x.tolist(), np.asfortranarray(x), frozen[::-1], x.astype(np.float16)):
        np.testing.assert_array_equal(layer(other), plain)
    mask = np.random.default_rng(1).random((4, 6)) < 0.5
    masked = layer(x, mask=mask)
    for other in (mask.tolist(), mask.astype(np.float32), np.asfortranarray(mask)):
        np.testing.assert_array_equal(layer(x, mask=other), masked)
    assert layer(np.zeros((0, 3, 4))).shape == (0, 3, 5)
    assert layer(np.zeros((0, 3, 4)), mask=np.zeros((0, 3))).shape == (0, 3, 5)


def test_masked_steps_are_not_read() -> None:
    """NaN where masked; each row gives the bits that it gives alone, without its masked steps."""
    layers = _load(".keras")
    generator = np.random.default_rng(2)
    for name in ("lstm", "both"):
        layer = layers[name]
        x = generator.standard_normal((8, 9, layer.input_size)).astype(np.float32)
        mask = generator.random((8, 9)) < 0.5
        mask[3], mask[4] = False, True
        x[~mask] = np.nan
        output = layer(x, mask=mask)
        assert np.isfinite(output).all()
        for row in range(8):
            if mask[row].any():
                alone = layer(x[row : row + 1, mask[row]])[0]
                np.testing.assert_array_equal(output[row, mask[row]], alone)
        assert not output[3].any()
        if name == "lstm":  # the output before is repeated
            for row, step in zip(*np.nonzero(~mask[:, 1:]), strict=True):
                np.testing.assert_array_equal(output[row, step + 1], output[row, step])
        else:
            assert not output[~mask].any()


def test_many_threads() -> None:
    layer = _load(".keras")["lstm"]
    x = np.random.default_rng(0).standard_normal((3, 50, 4), np.float32)
    expected, wrong = layer(x), []

    def call() -> None:
        for _ in range(50):
            if not np.array_equal(layer(x), expected):
                wrong.append(True)

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong


# --- files that are not what they should be -------------------------------------------------------------------


def _archive(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(GOLDEN_KERAS / "model.keras") as archive:
        whole = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (whole | {name.replace("_", "."): value for name, value in members.items()}).items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "neither HDF5 nor a zip archive"),
        (b"\x80\x04K\x01.", "neither HDF5 nor a zip archive"),
        (b"\x89HDF\r\n\x1a\n", "the file ends at 8"),
        (b"PK\x03\x04", "zip"),
    ],
)
def test_other_files(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.keras"
    path.write_bytes(content)
    for call in (keras.load, keras.describe, keras.load_lstm):
        with pytest.raises(ValueError, match=rf"a\.keras: not a complete file of Keras: .*{message}"):
            call(path)


def test_folders_and_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a folder, such as TensorFlow's SavedModel"):
        keras.load(tmp_path)
    with pytest.raises(FileNotFoundError):
        keras.load(tmp_path / "none.keras")


def _edited(change: Any) -> bytes:
    model = json.loads(_config())
    change(model["config"]["layers"])
    return json.dumps(model).encode()


def _function(name: str, module: str | None = "builtins") -> dict[str, Any]:
    """Describe a function as Keras 3 does if it is not one of its activations."""
    return {"module": module, "class_name": "function", "config": name, "registered_name": "function"}


def _object(kind: str, module: str, registered: str | None, **options: Any) -> dict[str, Any]:
    return {"module": module, "class_name": kind, "config": options, "registered_name": registered}


@pytest.mark.parametrize(
    ("place", "change", "message"),
    [
        ("lstm", {"units": 6}, r"not those of an LSTM of 6 units: kernel \(4, 20\)"),
        ("lstm", {"units": -1}, "its units are -1"),
        ("lstm", {"units": True}, "its units are True"),
        ("lstm", {"return_sequences": 1}, "its return_sequences is 1"),
        ("lstm", {"activation": "softmax"}, "its activation is 'softmax', which is not known here"),
        ("lstm", {"activation": {"class_name": "__lambda__", "config": {"value": "4wEAAA"}}}, "of class '__lambda__'"),
        ("lstm", {"recurrent_activation": {"class_name": "function", "config": "mine"}}, "its activation is 'mine'"),
        ("lstm", {"activation": _function("swish")}, "its activation is 'swish', a custom function"),
        ("lstm", {"activation": _function("swish", "__main__")}, "'swish', a custom function"),
        ("lstm", {"activation": _function("tanh", None)}, "'tanh', a custom function"),
        ("lstm", {"activation": _function("mine>tanh")}, "'mine>tanh', a custom function"),
        ("lstm", {"activation": _function("mine>tanh", "keras.activations")}, "its activation is 'mine>tanh'"),
        ("lstm", {"recurrent_activation": _function("hard_sigmoid", "mine")}, "'hard_sigmoid', a custom"),
        ("lstm", {"activation": _function("tanh", "keras.src.activations.activations")}, None),
        ("lstm", {"activation": _object("LeakyReLU", "mine", "LeakyReLU")}, "LeakyReLU is a custom class"),
        ("lstm", {"activation": _object("ELU", "keras", "mine>ELU")}, "ELU is a custom class"),
        ("lstm", {"activation": _object("LeakyReLU", "keras.layers", None, negative_slope=0.1)}, None),
        ("lstm", {"activation": _object("LeakyReLU", "keras.layers", None)}, None),
        ("lstm", {"activation": _object("LeakyReLU", "keras.layers", None, negative_slope="0.1")}, "slope is '0.1'"),
        ("lstm", {"activation": _object("LeakyReLU", "keras.layers", None, alpha={"value": 0.1})}, "alpha is {'value'"),
        ("lstm", {"activation": _object("ELU", "keras.layers", None, alpha=[0.1])}, r"its alpha is \[0.1\]"),
        ("lstm", {"activation": _object("ELU", "keras.layers", None, alpha=True)}, "its alpha is True"),
        ("lstm", {"activation": _object("Activation", "mine", "Activation", activation="tanh")},
         "Activation is a custom class"),
        ("lstm", {"activation": _object("Activation", "keras.layers", None, activation="tanh")}, None),
        ("lstm", {"time_major": True}, "it is time_major"),
        ("both", {"merge_mode": "max"}, "its merge_mode is 'max'"),
        ("both", {"backward_layer": "gone"}, None),
    ],
)  # fmt: skip
def test_options_that_cannot_be_taken(place: str, change: Any, message: str | None, tmp_path: Path) -> None:
    def edit(layers: Any) -> None:
        next(layer for layer in layers if layer["config"]["name"] == place)["config"].update(change)

    layers = keras.load(_archive(tmp_path / "a.keras", config_json=_edited(edit)))
    if message is None:
        assert place in layers
        return
    with pytest.raises(ValueError, match=rf"a\.keras: {place} cannot be taken: .*{message}.*: run this layer with"):
        layers[place]


def test_classes_that_cannot_be_taken(tmp_path: Path) -> None:
    cell = {"class_name": "GRUCell", "config": {}}
    stacked = {"class_name": "StackedRNNCells", "config": {"cells": []}}
    custom = {"class_name": "LSTM", "module": "mine", "registered_name": "Mine>LSTM", "config": {}}
    added = [
        ("a", {"class_name": "RNN", "config": {"name": "a", "cell": cell}}, "its cell is of class GRUCell"),
        ("b", {"class_name": "RNN", "config": {"name": "b", "cell": stacked}}, "of class StackedRNNCells"),
        ("c", custom | {"name": "c"}, "LSTM is a custom class"),
        ("d", {"class_name": "ConvLSTM2D", "config": {"name": "d"}}, "ConvLSTM2D is not an LSTM layer"),
        ("e", {"class_name": "SimpleRNN", "config": {"name": "e"}}, "SimpleRNN is not an LSTM layer"),
        ("f", {"class_name": "Bidirectional", "config": {"name": "f", "layer": {"class_name": "GRU", "config": {}}}},
         "GRU is not an LSTM layer"),
        ("g", {"class_name": "LSTM", "config": {"name": "g"}}, "its weights are not where Keras keeps them"),
        ("h", {"class_name": "PeepholeLSTM", "config": {"name": "h"}}, "PeepholeLSTM is not an LSTM layer"),
        ("i", {"class_name": "LSTM", "config": 3, "name": "i"}, "its options are missing"),
    ]  # fmt: skip
    lambdas = {"class_name": "Lambda", "config": {"name": "lambda", "function": ["4wEAAAAAAAAA", None, None]}}
    content = _edited(lambda layers: layers.extend([layer for _, layer, _ in added] + [lambdas]))
    layers = keras.load(_archive(tmp_path / "a.keras", config_json=content))
    assert set(layers.obstacles) >= {name for name, _, _ in added}
    for name, _, message in added:
        with pytest.raises(ValueError, match=f"{name} cannot be taken: .*{message}"):
            layers[name]


def test_configurations_that_are_none(tmp_path: Path) -> None:
    for content in (b"[]", b"[" * 100_000, b'{"a": ' * 50_000, b"\xff", b"{}", b'{"class_name": 3, "config": 4}'):
        path = _archive(tmp_path / "a.keras", config_json=content)
        with pytest.raises(ValueError, match=r"a\.keras: "):
            keras.load(path)
    path = _archive(tmp_path / "a.keras", config_json=b'{"a": "' + b"a" * (3 << 20) + b'"}')
    with pytest.raises(ValueError, match=r"config\.json is too long: 3,"):
        keras.load(path)


@pytest.mark.parametrize("config", [5, [], b"{}", True])
@pytest.mark.parametrize("function", [keras.load, keras.load_lstm])
def test_configurations_of_other_types(function: Any, config: Any) -> None:
    with pytest.raises(TypeError, match=f"config should be a text of JSON or a mapping, got: {type(config).__name__}"):
        function(GOLDEN_KERAS / "model.keras", config=config)


def test_a_subclassed_model_needs_options(tmp_path: Path) -> None:
    """Its configuration names no layers; their weights are found."""
    path = _archive(tmp_path / "a.keras", config_json=b'{"class_name": "Mine", "module": "m", "config": {"a": 1}}')
    with pytest.raises(ValueError, match="the file does not say what its layers do: give config="):
        keras.load(path)
    layers = keras.load(path, config={"lstm": {"return_sequences": True}})
    x = np.ones((1, 3, 4), np.float32)
    np.testing.assert_array_equal(layers["lstm"](x), _load(".keras")["lstm"](x))


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_memory_while_a_large_file_is_loaded(suffix: str, tmp_path: Path) -> None:
    """Twice the arrays: the file's, and the layers'."""
    pytest.importorskip("h5py")
    from support import keras_files

    units, features, path = 256, 4000, tmp_path / f"a{suffix}"
    arrays = [np.zeros(shape, np.float32) for shape in ((features, 4 * units), (units, 4 * units), (4 * units,))]
    size = sum(array.nbytes for array in arrays)
    model = keras_files.sequential(keras_files.layer("LSTM", "lstm", units=units))
    if suffix == ".keras":
        keras_files.keras(path, model, keras_files.grouped({"layers/lstm/cell": arrays}))
    else:
        names = ("lstm/kernel:0", "lstm/recurrent_kernel:0", "lstm/bias:0")
        keras_files.legacy(path, model, {"lstm": dict(zip(names, arrays, strict=True))})
    del arrays
    tracemalloc.start()
    try:
        layers = keras.load(path)
        assert tracemalloc.get_traced_memory()[1] < 2 * size + (1 << 20)
        assert tracemalloc.get_traced_memory()[0] < size + (1 << 20)
        assert layers["lstm"].units == units
    finally:
        tracemalloc.stop()


def test_models_in_models_without_end(tmp_path: Path) -> None:
    model: Any = {"class_name": "LSTM", "config": {"name": "lstm"}}
    for _ in range(200):
        model = {"class_name": "Functional", "config": {"name": "model", "layers": [model]}}
    path = _archive(tmp_path / "a.keras", config_json=json.dumps(model).encode())
    with pytest.raises(ValueError, match=r"a\.keras: its models and layers have names that are too long"):
        keras.load(path)
    layers = [{"class_name": "GRU", "config": {}}] * 10_001
    path = _archive(tmp_path / "a.keras", config_json=_edited(lambda own: own.extend(layers)))
    with pytest.raises(ValueError, match="more than 10,000 recurrent layers"):
        keras.load(path)
