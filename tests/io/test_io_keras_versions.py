"""What a file of Keras means by its version, layers that have one name, and options that a conversion keeps."""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import keras_files

import numba_lstm
from numba_lstm import cli
from numba_lstm.io import keras
from numba_lstm.io.keras import activations

h5py = pytest.importorskip("h5py")

pytestmark = pytest.mark.usefixtures("threads")

FEATURES, UNITS = 3, 5
X = np.random.default_rng(9).standard_normal((2, 6, FEATURES)).astype(np.float32)


def weights(seed: int, features: int = FEATURES) -> list[np.ndarray]:
    """Return a kernel, a recurrent kernel and a bias, large enough that activations differ."""
    generator = np.random.default_rng(seed)
    shapes = [(features, 4 * UNITS), (UNITS, 4 * UNITS), (4 * UNITS,)]
    return [generator.normal(0, 1.5, shape).astype(np.float32) for shape in shapes]


def named(names: str, arrays: list[np.ndarray]) -> dict[str, np.ndarray]:
    parts = ["kernel", "recurrent_kernel", "bias"]
    return {names.format(part): array for part, array in zip(parts, arrays, strict=True)}


def by_definition(arrays: list[np.ndarray], recurrent_activation: str) -> np.ndarray:
    """Return the last output, step by step in float64; both activations as in Keras 2."""
    kernel, recurrent, bias = (array.astype(np.float64) for array in arrays)
    gate = {"sigmoid": lambda a: 1 / (1 + np.exp(-a)), "hard_sigmoid": lambda a: np.clip(0.2 * a + 0.5, 0, 1)}[
        recurrent_activation
    ]
    h = c = np.zeros((len(X), UNITS))
    for step in range(X.shape[1]):
        i, f, g, o = np.split(X[:, step] @ kernel + h @ recurrent + bias, 4, axis=1)
        c = gate(f) * c + gate(i) * np.tanh(g)
        h = gate(o) * np.tanh(c)
    return h


def check(layer: Any, arrays: list[np.ndarray], recurrent_activation: str = "sigmoid") -> None:
    np.testing.assert_allclose(layer(X), by_definition(arrays, recurrent_activation), rtol=0, atol=3e-6)


# --- versions ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "meant"),
    [
        (None, "hard_sigmoid"),  # Keras 1 did not say it
        ("1.2.2", "hard_sigmoid"),
        ("2.0.8", "hard_sigmoid"),
        ("2.2.5", "hard_sigmoid"),
        ("2.1.6-tf", "hard_sigmoid"),  # TensorFlow 1.12
        ("2.3.0", "sigmoid"),
        ("2.3.1", "sigmoid"),
        ("2.3.0-tf", "sigmoid"),  # TensorFlow 2.2
        ("2.4.0", "sigmoid"),
        ("2.10.0", "sigmoid"),
        ("2.15.0", "sigmoid"),
        ("3.5.0", "sigmoid"),
    ],
)
def test_weights_alone_mean_what_their_keras_did(version: str | None, meant: str, tmp_path: Path) -> None:
    arrays = weights(0)
    path = keras_files.legacy(tmp_path / "w.h5", None, {"rnn": named("rnn/{}:0", arrays)}, version)
    check(keras.load(path, config={"rnn": {}})["rnn"], arrays, meant)
    for given in ("sigmoid", "hard_sigmoid"):
        if not (given == "hard_sigmoid" and version == "3.5.0"):  # another function there
            check(keras.load(path, config={"rnn": {"recurrent_activation": given}})["rnn"], arrays, given)
    if meant == "sigmoid":
        assert keras.load_lstm(path, config={"rnn": {}}).batch_first
    else:
        with pytest.raises(ValueError, match="its activations are not tanh and sigmoid"):
            keras.load_lstm(path, config={"rnn": {}})


def test_a_version_with_which_either_is_meant(tmp_path: Path) -> None:
    """2.2.4-tf is in TensorFlow 1.15 and in 2.0; "2" could be any."""
    arrays = weights(0)
    path = keras_files.legacy(tmp_path / "w.h5", None, {"rnn": named("rnn/{}:0", arrays)}, "2.2.4-tf")
    with pytest.raises(ValueError, match=r"give recurrent_activation: .* 2\.2\.4-tf;"):
        keras.load(path, config={"rnn": {}})
    with pytest.raises(ValueError, match="give recurrent_activation"):
        keras.load(path, config={"rnn": {}}, keras_version="2")
    for given in ("sigmoid", "hard_sigmoid"):
        check(keras.load(path, config={"rnn": {"recurrent_activation": given}})["rnn"], arrays, given)
    check(keras.load(path, config={"rnn": {"inner_activation": "hard_sigmoid"}})["rnn"], arrays, "hard_sigmoid")
    check(keras.load(path, config={"rnn": {}}, keras_version="2.1.0")["rnn"], arrays, "hard_sigmoid")


def test_weights_of_cudnn_alone_mean_sigmoid(tmp_path: Path) -> None:
    """CuDNNLSTM of Keras 2.2 has no other; its file tells by the second bias."""
    kernel, recurrent, bias = weights(0)
    gates = range(0, 4 * UNITS, UNITS)
    stored = [
        np.concatenate([kernel[:, g : g + UNITS].T.reshape(FEATURES, UNITS) for g in gates], axis=1),
        np.concatenate([recurrent[:, g : g + UNITS].T for g in gates], axis=1),
        np.concatenate([bias, np.zeros_like(bias)]),
    ]
    for version in ("2.2.4", "2.2.4-tf", "1.2.2"):
        path = keras_files.legacy(tmp_path / "w.h5", None, {"rnn": named("rnn/{}:0", stored)}, version)
        check(keras.load(path, config={"rnn": {}})["rnn"], [kernel, recurrent, bias])


def test_weights_by_class_are_of_keras_2_12_and_later(tmp_path: Path) -> None:
    arrays = weights(0)
    for root in ("layers/", "_layer_checkpoint_dependencies/"):
        path = tmp_path / "w.weights.h5"
        path.write_bytes(keras_files.grouped({f"{root}lstm/cell": arrays}))
        check(keras.load(path, config={"lstm": {}})["lstm"], arrays)


def described(keras_2: str | None, **options: Any) -> dict[str, Any]:
    """Return a model as in ``config.json``, which names modules since Keras 2.12, with something of Keras 2 in it."""
    lstm = {"units": UNITS, "recurrent_activation": "hard_sigmoid", "unroll": False, "zero_output_for_mask": False}
    first: dict[str, Any] = {"batch_shape": [None, None, FEATURES]}
    if keras_2 == "batch_input_shape":
        first = {keras_2: first["batch_shape"]}
    elif keras_2:
        lstm[keras_2] = {"time_major": False, "implementation": 2}[keras_2]
    layers = [keras_files.layer("InputLayer", "input", **first), keras_files.layer("LSTM", "rnn", **lstm)]
    for layer in layers:
        layer |= {"module": "keras.layers", "registered_name": None}
    return keras_files.sequential(*layers) | {"module": "keras", "registered_name": None, **options}


@pytest.mark.parametrize("keras_2", ["time_major", "implementation", "batch_input_shape", None])
@pytest.mark.parametrize("around", [False, True])
def test_a_description_without_a_version(keras_2: str | None, around: bool, tmp_path: Path) -> None:
    """hard_sigmoid of a ``config.json`` beside weights: Keras 2.12 and later names modules there, as Keras 3 does."""
    arrays, model = weights(0), described(keras_2)
    if around:
        model["config"]["layers"] = [described(keras_2) | {"class_name": "Functional"}]
    name, group = ("sequential/rnn", "layers/functional/layers/lstm/cell") if around else ("rnn", "layers/lstm/cell")
    path = tmp_path / "w.weights.h5"
    path.write_bytes(keras_files.grouped({group: arrays}))
    bare = keras_files.keras(tmp_path / "m.keras", model, path.read_bytes(), version=None)
    for call in (lambda **given: keras.load(path, config=json.dumps(model), **given),
                 lambda **given: keras.load(path, config=model, **given),
                 lambda **given: keras.load(bare, **given)):  # fmt: skip
        check(call(keras_version="2.15.0")[name], arrays, "hard_sigmoid")
        if keras_2 is None:
            assert np.abs(call()[name](X) - call(keras_version="2.15.0")[name](X)).max() > 1e-3
            np.testing.assert_array_equal(call()[name](X), call(keras_version="3.5.0")[name](X))
        else:
            with pytest.raises(ValueError, match=r"hard_sigmoid means another function .*: give keras_version="):
                call()


@pytest.mark.parametrize("metadata", [[], ['{"keras_version": 3}'], ['{"keras_version": "3.5.0"}'] * 2])
def test_archives_that_do_not_say_their_version(metadata: list[str], tmp_path: Path) -> None:
    stored = keras_files.grouped({"layers/lstm/cell": weights(0)})
    path = keras_files.keras(tmp_path / "m.keras", described("time_major"), stored, version=None)
    with zipfile.ZipFile(path, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a name twice
        for text in metadata:
            archive.writestr("metadata.json", text)
    message = r"metadata\.json should be in it once" if len(metadata) == 2 else "give keras_version="
    with pytest.raises(ValueError, match=rf"m\.keras: .*{message}"):
        keras.load(path)


@pytest.mark.parametrize("version", ["", "nightly", "2.15.0"])
def test_versions_without_a_number(version: str, tmp_path: Path) -> None:
    """They are none, not such as come before all others."""
    arrays, model = weights(0), described("time_major")
    grouped = keras_files.grouped({"layers/lstm/cell": arrays})
    archive = keras_files.keras(tmp_path / "m.keras", model | {"keras_version": version}, grouped, version)
    stored = keras_files.legacy(tmp_path / "m.h5", model, {"rnn": named("rnn/{}:0", arrays)}, None)
    with h5py.File(stored, "r+") as file:
        file.attrs["keras_version"] = file["model_weights"].attrs["keras_version"] = version.encode()
    if version == "2.15.0":
        for path in (archive, stored):
            check(keras.load(path)["rnn"], arrays, "hard_sigmoid")
        return
    with pytest.raises(ValueError, match=r"m\.keras: .*give keras_version="):
        keras.load(archive)
    check(keras.load(archive, keras_version="2.15.0")["rnn"], arrays, "hard_sigmoid")
    with pytest.raises(ValueError, match=r"m\.keras: keras_version should be a version such as '2\.15\.0', got: "):
        keras.load(archive, keras_version=version)
    with pytest.raises(ValueError, match=r"m\.h5: .*its keras_version is no version"):
        keras.load(stored)


@pytest.mark.parametrize(
    ("stored", "shown", "meant"),
    [
        ("2.10.0", "3.5.0", None),
        ("2.10.0", None, None),  # names modules as Keras 3 does
        (None, None, None),  # no version in a file: Keras 1
        ("3.5.0", "2.4.0", None),
        ("2.10.0", "2.4.0", "2.10.0"),
        ("3.5.0", None, "3.5.0"),
    ],
)
def test_a_description_of_another_keras_than_the_file(
    stored: str | None, shown: str | None, meant: str | None, tmp_path: Path
) -> None:
    model = described(None) | ({"keras_version": shown} if shown else {})
    path = keras_files.legacy(tmp_path / "w.h5", None, {"rnn": named("rnn/{}:0", weights(0))}, stored)
    for version in ("2.15.0", "3.5.0"):
        keras.load(path, config=model, keras_version=version)
    if meant is None:
        with pytest.raises(ValueError, match=r"w\.h5: .*hard_sigmoid means another function .*: give keras_version="):
            keras.load(path, config=model)
    else:
        expected = keras.load(path, config=model, keras_version=meant)["rnn"](X)
        np.testing.assert_array_equal(keras.load(path, config=model)["rnn"](X), expected)


# --- names ------------------------------------------------------------------------------------------------


def nested(*models: str) -> dict[str, Any]:
    inner = [keras_files.sequential(keras_files.layer("LSTM", "lstm", units=UNITS), name=name) for name in models]
    return keras_files.sequential(keras_files.sequential(*inner, name="outer"))


def test_layers_of_one_name_in_models_of_an_old_file(tmp_path: Path) -> None:
    """All their arrays lie in one list, with the models' names before the layers'."""
    first, second = weights(1), weights(2)
    group = {**named("a/lstm/lstm_cell/{}", first), **named("b/lstm/lstm_cell/{}", second)}
    path = keras_files.legacy(tmp_path / "m.h5", nested("a", "b"), {"outer": group}, "3.5.0")
    layers = keras.load(path)
    assert list(layers) == ["outer/a/lstm", "outer/b/lstm"]
    check(layers["outer/a/lstm"], first)
    check(layers["outer/b/lstm"], second)
    path = keras_files.legacy(tmp_path / "w.h5", None, {"outer": group}, "3.5.0")
    assert [each.name for each in keras.describe(path)] == ["outer/a/lstm", "outer/b/lstm"]
    layers = keras.load(path, config={"outer/b/lstm": {}, "outer/a/lstm": {}})
    check(layers["outer/a/lstm"], first)
    check(layers["outer/b/lstm"], second)


def test_layers_of_a_model_in_a_file_of_weights_of_keras_2(tmp_path: Path) -> None:
    """The names of the arrays begin with the layers', and the model's is nowhere in them."""
    first, second = weights(1), weights(2)
    group = {**named("lstm/lstm_cell/{}:0", first), **named("lstm_1/lstm_cell_1/{}:0", second)}
    path = keras_files.legacy(tmp_path / "w.h5", None, {"outer": group}, "2.4.0")
    layers = keras.load(path, config={"outer/lstm": {}, "outer/lstm_1": {}})
    check(layers["outer/lstm"], first)
    check(layers["outer/lstm_1"], second)


def test_names_that_tell_nothing_apart(tmp_path: Path) -> None:
    """Arrays that could be of either layer are of none."""
    group = {**named("x/lstm/{}", weights(1)), **named("y/lstm/{}", weights(2))}
    path = keras_files.legacy(tmp_path / "m.h5", nested("a", "b"), {"outer": group}, "3.5.0")
    with pytest.raises(ValueError, match="its weights are not where Keras keeps them"):
        keras.load(path)
    two = keras_files.sequential(*[keras_files.layer("LSTM", "lstm", units=UNITS)] * 2)
    path = keras_files.legacy(tmp_path / "m.h5", two, {"lstm": named("lstm/{}:0", weights(1))}, "3.5.0")
    with pytest.raises(ValueError, match="several layers of one name, which cannot be told apart: 'lstm'"):
        keras.load(path)


def test_layers_of_one_name_beside_each_other(tmp_path: Path) -> None:
    """They are called by their places in the file."""
    first, second, third = weights(1), weights(2), weights(3)
    stored = {"layers/lstm/cell": first, "layers/lstm_1/cell": second, "layers/lstm_2/cell": third}
    layer = [keras_files.layer("LSTM", name, units=UNITS) for name in ("rnn", "rnn", "other")]
    path = keras_files.keras(tmp_path / "m.keras", keras_files.sequential(*layer), keras_files.grouped(stored))
    layers = keras.load(path)
    assert list(layers) == ["layers/lstm", "layers/lstm_1", "other"]
    for each, arrays in zip(layers.values(), (first, second, third), strict=True):
        check(each, arrays)
    lstm = keras.load_lstm(path, "layers/lstm_1")
    np.testing.assert_array_equal(lstm.weight_hh_l0, second[1].T)


def test_layers_that_a_class_has_under_one_name(tmp_path: Path) -> None:
    """In a file of weights, whose groups are called after the attributes of the class."""
    path = tmp_path / "w.weights.h5"
    path.write_bytes(keras_files.grouped({"first/cell": weights(1), "second/cell": weights(2)}))
    with h5py.File(path, "r+") as file:
        for group in ("first", "second"):
            file[group].create_group("vars").attrs["name"] = "lstm"
    assert [each.name for each in keras.describe(path)] == ["first", "second"]
    layers = keras.load(path, config={"first": {}, "second": {"return_sequences": False}})
    check(layers["first"], weights(1))
    check(layers["second"], weights(2))


# --- what convert keeps -----------------------------------------------------------------------------------


def several(folder: Path, options: Mapping[str, Mapping[str, Any]]) -> Path:
    """Write a ``.keras`` file of layers with options."""
    stored = {
        f"layers/lstm_{index}/cell" if index else "layers/lstm/cell": weights(index) for index in range(len(options))
    }
    layers = [keras_files.layer("LSTM", name, units=UNITS, **extra) for name, extra in options.items()]
    return keras_files.keras(folder / "m.keras", keras_files.sequential(*layers), keras_files.grouped(stored))


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_options_of_every_layer_are_recorded(suffix: str, tmp_path: Path, capsys: Any) -> None:
    path = several(tmp_path, {"one": {"return_sequences": True}, "two": {}, "three.": {"stateful": True}})
    target = tmp_path / f"out{suffix}"
    assert cli.main(["convert", str(path), str(target)]) == 0
    printed = capsys.readouterr().out
    assert "prefix 'three.', LSTM(3, 5, batch_first=True)" in printed
    for prefix, name in (("one.", "one"), ("two.", "two"), ("three.", "three.")):
        lstm = numba_lstm.LSTM.load(target, prefix=prefix).eval()
        assert lstm.batch_first is True
        output, (h_n, _) = lstm(X)
        np.testing.assert_array_equal(output, keras.load_lstm(path, name)(X)[0])
        if name == "two":
            np.testing.assert_array_equal(h_n[0], keras.load(path)["two"](X))
    record = json.loads(numba_lstm.io.read_contents(target).metadata["numba_lstm"])["modules"]
    assert [record[prefix].get("left") for prefix in ("one.", "two.", "three.")] == [
        None,
        {"return_sequences": False},
        {"return_sequences": False, "stateful": True},
    ]
    assert printed.count("return_sequences=False: what the layer returns is h_n") == 2
    assert printed.count("stateful=True: give (h_n, c_n) to the next call") == 1
    assert cli.main(["convert", str(target), str(tmp_path / "again.npz")]) == 0
    assert numba_lstm.LSTM.load(tmp_path / "again.npz", prefix="two.").batch_first is True


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"go_backwards": True}, "it runs from the end to the start"),
        ({"activation": "relu"}, "its activations are not tanh and sigmoid"),
        ({"recurrent_activation": "hard_sigmoid"}, "its activations are not tanh and sigmoid"),
    ],
)
def test_what_an_lstm_cannot_do_is_refused(options: dict[str, Any], reason: str, tmp_path: Path, capsys: Any) -> None:
    path = several(tmp_path, {"one": {}, "two": options})
    for chosen in ([], ["--node", "two"]):
        assert cli.main(["convert", str(path), str(tmp_path / "out.npz"), *chosen]) == 2
        assert reason in capsys.readouterr().err
    assert not (tmp_path / "out.npz").exists()


@pytest.mark.parametrize("merge_mode", ["sum", "mul", "ave", None, "concat"])
def test_two_directions_are_side_by_side_or_refused(merge_mode: str | None, tmp_path: Path, capsys: Any) -> None:
    inner = keras_files.layer("LSTM", "rnn", units=UNITS, return_sequences=True)
    layer = keras_files.layer("Bidirectional", "both", layer=inner, merge_mode=merge_mode)
    sides = ("forward_layer", "backward_layer")
    stored = {f"layers/bidirectional/{side}/cell": weights(seed) for seed, side in enumerate(sides)}
    path = keras_files.keras(tmp_path / "m.keras", keras_files.sequential(layer), keras_files.grouped(stored))
    if merge_mode != "concat":
        assert cli.main(["convert", str(path), str(tmp_path / "out.npz")]) == 2
        assert f"its merge_mode is {merge_mode!r}" in capsys.readouterr().err
        return
    assert cli.main(["convert", str(path), str(tmp_path / "out.npz")]) == 0
    lstm = numba_lstm.LSTM.load(tmp_path / "out.npz").eval()
    assert lstm.batch_first
    assert lstm.bidirectional
    np.testing.assert_array_equal(lstm(X)[0], keras.load(path)["both"](X))


def test_options_of_every_lstm_of_torch_are_recorded(tmp_path: Path) -> None:
    """A file of two whole modules: batch_first and dropout of each."""
    torch = pytest.importorskip("torch")
    made = {
        "one": torch.nn.LSTM(3, 5, batch_first=True),
        "two": torch.nn.LSTM(3, 5, 2, dropout=0.25),
        "cell": torch.nn.LSTMCell(3, 5).double(),
    }
    torch.save(torch.nn.ModuleDict(made), tmp_path / "m.pt")
    assert cli.main(["convert", str(tmp_path / "m.pt"), str(tmp_path / "out.safetensors")]) == 0
    one, two = (numba_lstm.LSTM.load(tmp_path / "out.safetensors", prefix=prefix) for prefix in ("one.", "two."))
    assert (one.batch_first, one.dropout) == (True, 0.0)
    assert (two.batch_first, two.dropout) == (False, 0.25)
    assert numba_lstm.LSTMCell.load(tmp_path / "out.safetensors", prefix="cell.").dtype == np.float64


def test_a_damaged_record(tmp_path: Path) -> None:
    arrays = numba_lstm.LSTM(3, 5).state_dict(prefix="a.")
    for record in ('{"modules": 3}', '{"modules": {"a.": 3}}', '{"modules": []}', "[]", "3", "{"):
        numba_lstm.io.write(tmp_path / "w.npz", arrays, {"numba_lstm": record})
        with pytest.raises(ValueError, match="the record 'numba_lstm' in it is damaged"):
            numba_lstm.LSTM.load(tmp_path / "w.npz", prefix="a.")
    numba_lstm.io.write(tmp_path / "w.npz", arrays, {"numba_lstm": '{"modules": {"b.": {"batch_first": true}}}'})
    assert numba_lstm.LSTM.load(tmp_path / "w.npz", prefix="a.").batch_first is False


# --- activations ------------------------------------------------------------------------------------------


def activated(activation: str, version: str | None, tmp_path: Path) -> Path:
    model = keras_files.sequential(keras_files.layer("LSTM", "rnn", units=UNITS, activation=activation))
    return keras_files.legacy(tmp_path / "m.h5", model, {"rnn": named("rnn/{}:0", weights(0))}, version)


@pytest.mark.parametrize(
    ("activation", "version"),
    [
        ("relu", "1.2.2"),
        ("softsign", "2.0.8"),
        ("selu", "2.0.8"),
        ("exponential", "2.2.4"),
        ("exponential", "2.2.4-tf"),
        ("swish", "2.3.0-tf"),
        ("swish", "2.4.0"),
        ("silu", "2.15.0"),
        ("leaky_relu", "2.6.0"),
        ("relu6", "2.11.0"),
        ("celu", "3.5.0"),
        ("hard_tanh", "3.7.0"),
    ],
)
def test_activations_that_a_version_had(activation: str, version: str, tmp_path: Path) -> None:
    assert keras.load(activated(activation, version, tmp_path))["rnn"](X).shape == (len(X), UNITS)


@pytest.mark.parametrize(
    ("activation", "version"),
    [
        ("selu", "1.2.2"),
        ("selu", "2.0.5"),
        ("exponential", "1.2.2"),
        ("exponential", "2.2.2"),
        ("swish", "2.2.4"),
        ("swish", "2.3.1"),
        ("swish", "2.2.4-tf"),
        ("silu", "2.3.1"),
        ("leaky_relu", "2.4.0"),
        ("relu6", "1.2.2"),
        ("celu", "2.15.0"),
        ("hard_tanh", "2.11.0"),
        ("sparse_sigmoid", "2.15.0"),
    ],
)
def test_activations_that_a_version_did_not_have(activation: str, version: str, tmp_path: Path) -> None:
    """Such a name is that of a function of the file's author."""
    path = activated(activation, version, tmp_path)
    with pytest.raises(ValueError, match=f"'{activation}', which Keras {version} did not have: a custom function"):
        keras.load(path)
    assert keras.load(path, keras_version="3.9.0")["rnn"](X).shape == (len(X), UNITS)


def test_activations_without_a_version(tmp_path: Path) -> None:
    """Files of Keras 1 have none, and what several versions have written says none."""
    with pytest.raises(ValueError, match="'leaky_relu', which Keras 1 did not have"):
        keras.load(activated("leaky_relu", None, tmp_path))
    assert keras.load(activated("softsign", None, tmp_path))["rnn"](X).shape == (len(X), UNITS)
    with pytest.raises(ValueError, match=r"leaky_relu is Keras's own from Keras 2\.6 on, and before one of the"):
        activations.activation("leaky_relu", None)
    assert activations.activation("softsign", None).name == "Softsign"


@pytest.mark.parametrize("inner", ["layer", "cell", "wrapper", "activation"])
def test_classes_that_nobody_has_registered(inner: str, tmp_path: Path) -> None:
    """Keras names the module of its own, and writes null for one that was made in a script, whatever its name."""
    own = {"module": None, "registered_name": "its author's"}
    rnn = keras_files.layer("LSTM", "lstm", units=UNITS)
    if inner == "layer":
        rnn |= own
    elif inner == "cell":
        cell = {"class_name": "LSTMCell", "config": {"units": UNITS}} | own
        rnn = keras_files.layer("RNN", "lstm", cell=cell)
    elif inner == "wrapper":
        rnn = keras_files.layer("Bidirectional", "lstm", layer=rnn) | own
    else:
        rnn["config"]["activation"] = {"class_name": "LeakyReLU", "config": {"negative_slope": 0.3}} | own
    path = keras_files.keras(
        tmp_path / "m.keras", keras_files.sequential(rnn), keras_files.grouped({"layers/lstm/cell": weights(0)})
    )
    with pytest.raises(ValueError, match="is a custom class, whose code is not in the file"):
        keras.load(path)


@pytest.mark.parametrize("use_bias", [True, False, None])
@pytest.mark.parametrize("count", [2, 3])
def test_a_bias_that_is_there_or_not(use_bias: bool | None, count: int, tmp_path: Path) -> None:
    """A shard of sharded weights may end between a layer's arrays."""
    options = {} if use_bias is None else {"use_bias": use_bias}
    model = keras_files.sequential(keras_files.layer("LSTM", "lstm", units=UNITS, **options))
    arrays = {"layers/lstm/cell": weights(0)[:count]}
    path = keras_files.keras(tmp_path / "m.keras", model, keras_files.grouped(arrays))
    if use_bias is None or use_bias == (count == 3):
        assert keras.load(path)["lstm"](X).shape == (len(X), UNITS)
        return
    with pytest.raises(ValueError, match=f"use_bias is {use_bias}, and its weights are not those of such a layer"):
        keras.load(path)
    (tmp_path / "m.weights.h5").write_bytes(keras_files.grouped(arrays))
    with pytest.raises(ValueError, match=f"use_bias is {use_bias}, and its weights are not those of such a layer"):
        keras.load(tmp_path / "m.weights.h5", {"lstm": {"use_bias": use_bias}})
