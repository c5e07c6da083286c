"""Layouts of files that older versions of Keras wrote, made by hand, and HDF5 files that are not taken."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import keras_files, oracle

from numba_lstm.formats import hdf5
from numba_lstm.io import keras

h5py = pytest.importorskip("h5py")

UNITS, FEATURES = 5, 3
GATES = "ifco"


def _arrays(seed: int, features: int = FEATURES) -> list[np.ndarray]:
    """Return a kernel, a recurrent kernel and a bias."""
    generator = np.random.default_rng(seed)
    shapes = [(features, 4 * UNITS), (UNITS, 4 * UNITS), (4 * UNITS,)]
    return [generator.normal(0, 0.6, shape).astype(np.float32) for shape in shapes]


def _expected(arrays: list[np.ndarray], x: np.ndarray, activation: Any = None) -> np.ndarray:
    """Return the outputs of an LSTM, step by step from its definition, in float64."""
    kernel, recurrent, bias = (array.astype(np.float64) for array in arrays)
    sigmoid = activation or (lambda a: 1 / (1 + np.exp(-a)))
    h = c = np.zeros((len(x), UNITS))
    outputs = []
    for step in range(x.shape[1]):
        i, f, g, o = np.split(x[:, step] @ kernel + h @ recurrent + bias, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        outputs.append(h)
    return np.stack(outputs, axis=1)


def _named(names: str, arrays: list[np.ndarray]) -> dict[str, np.ndarray]:
    parts = ["kernel", "recurrent_kernel", "bias"]
    return {names.format(part): array for part, array in zip(parts, arrays, strict=True)}


def _x(seed: int = 9) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((2, 4, FEATURES)).astype(np.float32)


def _check(layer: Any, arrays: list[np.ndarray], **options: Any) -> None:
    x = _x()
    np.testing.assert_allclose(layer(x), _expected(arrays, x, **options), rtol=0, atol=3e-6)


def test_the_definition_is_that_of_the_oracle() -> None:
    arrays, x = _arrays(0), _x()
    kernel, recurrent, bias = arrays
    parameters = {"weight_ih_l0": kernel.T, "weight_hh_l0": recurrent.T, "bias_ih_l0": bias, "bias_hh_l0": 0 * bias}
    whole = oracle.lstm(parameters, x.transpose(1, 0, 2))[0].transpose(1, 0, 2)
    np.testing.assert_allclose(_expected(arrays, x), whole, rtol=0, atol=1e-12)


# --- layouts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", ["lstm_1/{}:0", "lstm_1/lstm_cell_3/{}:0", "sequential/lstm_1/lstm_cell/{}", "{}"])
@pytest.mark.parametrize("old", [False, True])
def test_names_in_old_files(names: str, old: bool, tmp_path: Path) -> None:
    layer = keras_files.layer("LSTM", "lstm_1", units=UNITS, return_sequences=True)
    model = keras_files.sequential(layer)
    if old:  # a list of layers, without a name
        model["config"] = model["config"]["layers"]
    arrays = _arrays(1)
    path = keras_files.legacy(tmp_path / "a.h5", model, {"lstm_1": _named(names, arrays)})
    _check(keras.load(path)["lstm_1"], arrays)


@pytest.mark.parametrize("name", ["layers", "_layer_checkpoint_dependencies"])
def test_groups_of_keras_files(name: str, tmp_path: Path) -> None:
    """Those of Keras 2.12 and 2.13 have another name."""
    layers = [keras_files.layer("LSTM", name, units=UNITS, return_sequences=True) for name in ("one", "two")]
    one, two = _arrays(1), _arrays(2, UNITS)
    weights = keras_files.grouped({f"{name}/lstm/cell": one, f"{name}/lstm_1/cell": two})
    found = keras.load(keras_files.keras(tmp_path / "a.keras", keras_files.sequential(*layers), weights, "2.12.0"))
    _check(found["one"], one)
    assert found["two"].input_size == UNITS


@pytest.mark.parametrize("wrapped", [False, True])
def test_cudnn(wrapped: bool, tmp_path: Path) -> None:
    """Each gate's kernel is stored as the matrix that cuDNN multiplies with, and there are two biases."""
    sides, stored = [_arrays(3), _arrays(4)][: 1 + wrapped], []
    for kernel, recurrent, bias in sides:
        kernels = [gate.T.copy().reshape(FEATURES, UNITS) for gate in np.split(kernel, 4, axis=1)]
        recurrents = [gate.T for gate in np.split(recurrent, 4, axis=1)]
        part = np.random.default_rng(5).normal(size=bias.shape).astype(np.float32)
        stored.append([np.hstack(kernels), np.hstack(recurrents), np.concatenate([part, bias - part])])
    layer = keras_files.layer("CuDNNLSTM", "rnn", units=UNITS, return_sequences=True)
    values = _named("rnn/{}:0", stored[0])
    if wrapped:
        layer = keras_files.layer("Bidirectional", "rnn", layer=layer, merge_mode="ave")
        values = _named("rnn/forward_rnn/{}:0", stored[0]) | _named("rnn/backward_rnn/{}:0", stored[1])
    model = keras_files.sequential(layer)
    path = keras_files.legacy(tmp_path / "a.h5", model, {"rnn": values})
    got, x = keras.load(path)["rnn"](_x()), _x()
    expected = _expected(sides[0], x)
    if wrapped:
        expected = (expected + _expected(sides[1], x[:, ::-1])[:, ::-1]) / 2
    np.testing.assert_allclose(got, expected, rtol=0, atol=3e-6)
    # Weights alone show it too, by the length of the bias.
    path = keras_files.legacy(tmp_path / "w.h5", None, {"rnn": values})
    options = {"rnn": {"return_sequences": True} | ({"merge_mode": "ave"} if wrapped else {})}
    np.testing.assert_array_equal(keras.load(path, config=options)["rnn"](x), got)


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("end", ["", ":0"])
def test_keras_1(wrapped: bool, end: str, tmp_path: Path) -> None:
    """An array for each gate; no version; other names for options."""

    def gates(name: str, arrays: list[np.ndarray]) -> dict[str, np.ndarray]:
        split = [np.split(array, 4, axis=-1) for array in arrays]
        return {
            f"{name}_{letter}_{gate}{end}": split[index][GATES.index(gate)]
            for gate in "icfo"
            for index, letter in enumerate("WUb")
        }

    one, two = _arrays(6), _arrays(7)
    options = {"output_dim": UNITS, "inner_activation": "sigmoid", "activation": "tanh", "return_sequences": True}
    layer = keras_files.layer("LSTM", "lstm_1", **options, consume_less="cpu", stateful=False, go_backwards=False)
    values = gates("lstm_1", one)
    if wrapped:
        layer = keras_files.layer("Bidirectional", "lstm_1", layer=layer, merge_mode="concat")
        values = gates("forward_lstm_1", one) | gates("backward_lstm_1", two)
    model = {"class_name": "Sequential", "config": [layer]}
    path = keras_files.legacy(tmp_path / "a.h5", model, {"lstm_1": values}, version=None)
    got, x = keras.load(path)["lstm_1"](_x()), _x()
    expected = _expected(one, x)
    if wrapped:
        expected = np.concatenate([expected, _expected(two, x[:, ::-1])[:, ::-1]], axis=-1)
    np.testing.assert_allclose(got, expected, rtol=0, atol=3e-6)


def test_functional_models_and_wrappers_in_old_files(tmp_path: Path) -> None:
    inner = keras_files.sequential(
        keras_files.layer("Dense", "dense"), keras_files.layer("LSTM", "lstm_2", units=UNITS, return_sequences=True)
    )
    inner["config"]["name"] = "inner"
    distributed = keras_files.layer(
        "TimeDistributed", "many", layer=keras_files.layer("LSTM", "lstm_3", units=UNITS, return_sequences=True)
    )
    model = keras_files.sequential(inner, distributed)
    model["class_name"] = "Model"
    one, two = _arrays(1), _arrays(2)
    values = {"dense/kernel:0": np.ones((2, 2)), "dense/bias:0": np.ones(2)} | _named("lstm_2/{}:0", one)
    stored = {"inner": values, "many": _named("many/{}:0", two)}
    layers = keras.load(keras_files.legacy(tmp_path / "a.h5", model, stored))
    assert set(layers) == {"inner/lstm_2", "many/lstm_3"}
    _check(layers["inner/lstm_2"], one)
    _check(layers["many/lstm_3"], two)


@pytest.mark.parametrize(
    "described",
    [
        {"class_name": "Addons>WeightNormalization"},
        {"class_name": "SpectralNormalization", "module": "keras.layers", "registered_name": None},
        {"class_name": "TimeDistributed", "module": "mine", "registered_name": "Mine>TimeDistributed"},
        {"class_name": "TimeDistributed", "module": "mine", "registered_name": "TimeDistributed"},
    ],
)
def test_wrappers_that_may_change_weights(described: dict[str, Any], tmp_path: Path) -> None:
    """WeightNormalization stores ``g`` and, as the layer's kernel, a matrix that it scales before the layer uses it."""

    def wrapped(name: str, layer: dict[str, Any]) -> dict[str, Any]:
        return keras_files.layer("", name, layer=layer) | described

    lstm, plain = (keras_files.layer("LSTM", name, units=UNITS, return_sequences=True) for name in ("lstm", "plain"))
    both = keras_files.layer("Bidirectional", "both", layer=lstm)
    model = keras_files.sequential(
        wrapped("wrapper", lstm),
        wrapped("around", keras_files.sequential(both, name="model")),
        wrapped("other", keras_files.layer("Dense", "dense")),
        keras_files.layer("TimeDistributed", "many", layer=wrapped("inner", lstm)),
        plain,
    )
    values = {name: _named(f"{name}/lstm/{{}}:0", _arrays(1)) for name in ("wrapper", "around", "many")}
    values["wrapper"]["wrapper/g:0"] = np.ones(4 * UNITS, np.float32)
    values["plain"] = _named("plain/{}:0", _arrays(2))
    path = keras_files.legacy(tmp_path / "a.h5", model, values, "2.15.0")
    layers = keras.load(path)
    assert set(layers) == {"plain"}
    _check(layers["plain"], _arrays(2))
    assert set(layers.obstacles) == {"wrapper/lstm", "around/model/both", "many/inner/lstm"}
    for obstacle in layers.obstacles.values():
        assert f"the {described['class_name']} around it is not Keras's TimeDistributed, and may change" in obstacle
    assert [one.kind for one in keras.describe(path)] == ["LSTM", "Bidirectional(LSTM)", "LSTM", "LSTM"]


def test_many_names_are_in_parts(tmp_path: Path) -> None:
    layer = keras_files.layer("LSTM", "lstm", units=UNITS, return_sequences=True)
    arrays = _arrays(8)
    path = keras_files.legacy(tmp_path / "a.h5", keras_files.sequential(layer), {"lstm": _named("lstm/{}:0", arrays)})
    with h5py.File(path, "r+") as file:
        group = file["model_weights/lstm"]
        names = list(group.attrs["weight_names"])
        del group.attrs["weight_names"]
        group.attrs["weight_names0"], group.attrs["weight_names1"] = names[:2], names[2:]
    _check(keras.load(path)["lstm"], arrays)


def test_a_bidirectional_layer_before_tensorflow_repeats_masked_outputs(tmp_path: Path) -> None:
    """Keras of several backends did not zero them."""
    inner = keras_files.layer("LSTM", "lstm", units=UNITS, return_sequences=True)
    model = keras_files.sequential(keras_files.layer("Bidirectional", "both", layer=inner))
    values = _named("both/forward_lstm/{}:0", _arrays(1)) | _named("both/backward_lstm/{}:0", _arrays(2))
    mask = np.array([[1, 0, 1, 1], [1, 1, 0, 0]])
    outputs = {}
    for version in ("2.2.4", "2.2.4-tf"):
        path = keras_files.legacy(tmp_path / "a.h5", model, {"both": values}, version)
        outputs[version] = keras.load(path)["both"](_x(), mask=mask)
    old, new = outputs.values()
    assert not new[mask == 0].any()
    np.testing.assert_array_equal(old[0, 1, :UNITS], old[0, 0, :UNITS])
    np.testing.assert_array_equal(old[0, 1, UNITS:], old[0, 2, UNITS:])
    assert not old[1, 2:, UNITS:].any()  # before the first step of the backward direction
    np.testing.assert_allclose(old[mask == 1], new[mask == 1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"go_backwards": True}, {"return_sequences": True}])
@pytest.mark.parametrize("zeros", [False, True])
def test_masks_of_unrolled_layers(options: dict[str, Any], zeros: bool, tmp_path: Path) -> None:
    """Backends of Keras agree on them, except for those that give zeros where the mask is False."""
    rolled, unrolled = (
        keras.load(
            keras_files.legacy(
                tmp_path / f"{unroll}.h5",
                keras_files.sequential(
                    keras_files.layer("LSTM", "l", units=UNITS, unroll=unroll, zero_output_for_mask=zeros, **options)
                ),
                {"l": _named("l/{}:0", _arrays(8))},
                "3.5.0",
            )
        )["l"]
        for unroll in (False, True)
    )
    x, mask = _x(), np.array([[1, 0, 1, 1], [1, 1, 0, 0]])
    for all_steps in (None, np.ones_like(mask)):
        np.testing.assert_array_equal(unrolled(x, mask=all_steps), rolled(x, mask=all_steps))
    if zeros:
        with pytest.raises(ValueError, match="l has unroll=True and gives zeros where the mask is False"):
            unrolled(x, mask=mask)
    else:
        np.testing.assert_array_equal(unrolled(x, mask=mask), rolled(x, mask=mask))


@pytest.mark.parametrize("sequences", [False, True])
def test_masks_of_unrolled_bidirectional_layers(sequences: bool, tmp_path: Path) -> None:
    """The wrapper makes layers that return sequences give zeros, whatever they say."""
    inner = keras_files.layer("LSTM", "lstm", units=UNITS, return_sequences=sequences, unroll=True)
    model = keras_files.sequential(keras_files.layer("Bidirectional", "both", layer=inner))
    values = _named("both/forward_lstm/{}", _arrays(1)) | _named("both/backward_lstm/{}", _arrays(2))
    layer = keras.load(keras_files.legacy(tmp_path / "a.h5", model, {"both": values}, "3.5.0"))["both"]
    mask = np.array([[1, 0, 1, 1], [1, 1, 0, 0]])
    if sequences:
        with pytest.raises(ValueError, match="both has unroll=True"):
            layer(_x(), mask=mask)
    assert layer(_x(), mask=None if sequences else mask).shape[-1] == 2 * UNITS


def test_inputs_of_a_runner_know_nothing_of_each_other(tmp_path: Path) -> None:
    """Of a stateful layer either, whose calls in Keras go on from where the last one ended."""
    layer = keras_files.layer("LSTM", "lstm", units=UNITS, stateful=True, return_state=True)
    arrays = {"lstm": _named("lstm/{}:0", _arrays(8))}
    path = keras_files.legacy(tmp_path / "a.h5", keras_files.sequential(layer), arrays)
    runner = keras.runner(path, "lstm")
    first, other, again = (runner.run(x, None) for x in (_x(), _x()[:1], _x()))
    for name, value in first.items():
        np.testing.assert_array_equal(again[name], value)
        np.testing.assert_allclose(other[name], value[:1], rtol=0, atol=0)


# --- the HDF5 reader --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["earliest", "latest", ("v108", "v110")])
def test_what_h5py_writes_is_read(version: Any) -> None:
    content = io.BytesIO()
    few = version != "earliest"  # newer versions store more than eight of a kind in another way
    with h5py.File(content, "w", libver=version) as file:
        for index in range(5 if few else 60):
            kind = ["f2", ">f8", "<f4", "i8", "u1"][index % 5]
            file.create_dataset(f"g{index}/in/d", data=np.arange(2 * index).reshape(2, index).astype(kind))
        file["scalar"], file["empty"] = np.float64(3.5), np.zeros((0, 3), np.float32)
        file["truth"] = np.array([True, False])
        file.attrs["text"], file.attrs["bytes"] = "härter", b"plain"
        file.attrs["names"] = [b"a", b"bcd"]
        file.attrs["texts"] = ["x", "yz" * 3000]
        file["g1"].attrs["number"] = 5.0
    root = hdf5.File(content.getvalue()).root
    with h5py.File(content) as file:
        count = 0

        def compare(name: str, item: Any) -> None:
            nonlocal count
            node = root.find(name)
            assert node is not None
            if isinstance(item, h5py.Dataset):
                count += 1
                np.testing.assert_array_equal(node.array(), item[()])
                assert node.array().dtype.newbyteorder("=") in (item.dtype.newbyteorder("="), np.dtype("i1"))
            else:
                assert sorted(node.names()) == sorted(item)

        file.visititems(compare)
        assert count == (8 if few else 63)
    assert root.attribute("text") == "härter"
    assert root.attribute("bytes") == "plain"
    assert root.attribute("names") == ["a", "bcd"]
    assert root.attribute("texts") == ["x", "yz" * 3000]
    group = root.find("g1")
    assert group is not None
    assert group.attribute("number") == 5.0
    assert root.attribute("none") is None
    assert root.find("g1/none") is None


def _file(make: Any) -> bytes:
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        make(file)
    return content.getvalue()


def _external_data(file: Any) -> None:
    file.create_dataset("a", shape=(4,), dtype="f4", external=[("/etc/passwd", 0, 16)])


def _virtual(file: Any) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "a", (4,))
    file.create_virtual_dataset("a", layout)


def _bfloat16(file: Any, big_endian: bool) -> None:
    """Store 1.0, 2.0 as a type that has bfloat16's bits."""
    kind = (h5py.h5t.IEEE_F16BE if big_endian else h5py.h5t.IEEE_F16LE).copy()
    kind.set_fields(15, 7, 8, 0, 7)
    kind.set_ebias(127)
    array = h5py.h5d.create(file.id, b"a", kind, h5py.h5s.create_simple((2,)))
    array.write(h5py.h5s.ALL, h5py.h5s.ALL, np.array([0x3F80, 0x4000], ">u2" if big_endian else "<u2"), mtype=kind)


def test_bfloat16_as_a_type() -> None:
    node = hdf5.File(_file(lambda file: _bfloat16(file, big_endian=False))).root.find("a")
    assert node is not None
    assert node.is_bfloat16
    assert node.array().tolist() == [0x3F80, 0x4000]


@pytest.mark.parametrize("kind", ["V2", "<u2", ">u2", "<f2", "<f4", "<u4"])
def test_bfloat16_as_an_attribute(kind: str, tmp_path: Path) -> None:
    """Keras stores the bits as bytes without a meaning, and says in an attribute what they are."""
    arrays = [np.full(shape, 0x3F80, "<u2") for shape in ((FEATURES, 4 * UNITS), (UNITS, 4 * UNITS), (4 * UNITS,))]

    def make(file: Any) -> None:
        for index, array in enumerate(arrays):
            stored = array.view("V2") if kind == "V2" else array.astype(kind)
            file.create_dataset(f"layers/lstm/cell/vars/{index}", data=stored).attrs["dtype"] = "bfloat16"

    model = keras_files.sequential(keras_files.layer("LSTM", "lstm", units=UNITS, return_sequences=True))
    path = keras_files.keras(tmp_path / "a.keras", model, _file(make))
    if kind in ("V2", "<u2", ">u2"):
        _check(keras.load(path)["lstm"], [np.ones(array.shape) for array in arrays])
        return
    with pytest.raises(ValueError, match=r"vars/0 holds .*, and is said to be bfloat16"):
        keras.load(path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda file: _bfloat16(file, big_endian=True), "big-endian bfloat16 is not read"),
        (lambda file: file.__setitem__("a", h5py.SoftLink("/b")), "a is a link to another place"),
        (lambda file: file.__setitem__("a", h5py.ExternalLink("/etc/passwd", "/")), "a is a link to another place"),
        (_external_data, "a lies in another file"),
        (_virtual, "a is stored in pieces or elsewhere"),
        (lambda file: file.create_dataset("a", data=np.zeros(99), chunks=(9,)), "a is stored in pieces"),
        (lambda file: file.create_dataset("a", data=np.zeros(99), compression="gzip"), "a is compressed"),
        (lambda file: file.create_dataset("a", shape=(1 << 40,), dtype="f8"), "a declares 8,796,093,022,208 bytes"),
        (lambda file: file.__setitem__("a", "text"), "a holds texts"),
        (lambda file: file.__setitem__("a", np.zeros(3, complex)), "values of class 6"),
        (lambda file: file.create_group("a"), "a is no array"),
    ],
)
def test_what_is_not_read(make: Any, message: str) -> None:
    root = hdf5.File(_file(make)).root
    with pytest.raises(ValueError, match=message):
        root.find("a").array()  # type: ignore[union-attr]


def test_groups_in_circles_end(tmp_path: Path) -> None:
    """A group that holds itself, among weights that are looked through."""

    def make(file: Any) -> None:
        group = file.create_group("layers/lstm/cell/vars")
        for index, array in enumerate(_arrays(0)):
            group[str(index)] = array
        file["layers/again"] = file["layers"]
        file["layers/root"] = file["/"]

    path = tmp_path / "a.weights.h5"
    path.write_bytes(_file(make))
    assert [one.name for one in keras.describe(path)] == ["lstm"]


def test_links_in_a_file_of_weights(tmp_path: Path) -> None:
    def make(file: Any) -> None:
        file["layers/lstm/cell/vars/0"] = h5py.ExternalLink("other.h5", "/a")
        for index, array in enumerate(_arrays(0)[1:]):
            file[f"layers/lstm/cell/vars/{index + 1}"] = array

    model = keras_files.sequential(keras_files.layer("LSTM", "lstm", units=UNITS))
    path = keras_files.keras(tmp_path / "a.keras", model, _file(make))
    with pytest.raises(ValueError, match=r"a\.keras: layers/lstm/cell/vars/0 is a link to another place"):
        keras.load(path)


def test_one_array_for_many_layers(tmp_path: Path) -> None:
    """A small file that would take hundreds of times its size."""
    arrays = [np.zeros(shape, np.float32) for shape in ((5000, 4), (1, 4), (4,))]
    layers = [keras_files.layer("LSTM", f"l{index}", units=1) for index in range(500)]

    def make(file: Any) -> None:
        for index, array in enumerate(arrays):
            file[f"layers/lstm/cell/vars/{index}"] = array
        for index in range(1, 500):
            file[f"layers/lstm_{index}"] = file["layers/lstm"]

    path = keras_files.keras(tmp_path / "a.keras", keras_files.sequential(*layers), _file(make))
    with pytest.raises(ValueError, match=r"a\.keras: its layers share their arrays, 40,\d+,\d+ bytes together"):
        keras.load(path)


def test_one_text_for_many_names(tmp_path: Path) -> None:
    """All names of a list are the same long text, which is in the file once."""
    length, count = 4_001, 4_000

    def make(file: Any) -> None:
        names = ["a" * length] + ["x"] * (count - 1)
        file.attrs.create("layer_names", np.array(names, dtype=object), dtype=h5py.string_dtype())

    content = bytearray(_file(make))
    place = content.find(length.to_bytes(4, "little"))
    content[place : place + 16 * count] = content[place : place + 16] * count
    path = tmp_path / "a.h5"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.h5: .* lie over each other"):
        keras.describe(path)


def test_headers_over_each_other() -> None:
    """Continuations of continuations, each a little further: a header of a square of the file's bytes."""
    content = bytearray(_file(lambda file: file.create_group("a")))
    root = hdf5.File(bytes(content)).root.address
    start, count = -(-len(content) // 8) * 8, 20_000
    content += bytes(start - len(content))
    end = start + 24 * count
    for index in range(count):
        place = start + 24 * index
        message = (0x10).to_bytes(2, "little") + (16).to_bytes(2, "little") + bytes(4)
        content += message + (place + 24).to_bytes(8, "little") + (end - place - 24).to_bytes(8, "little")
    content[root + 16 : root + 40] = content[start : start + 24]
    with pytest.raises(ValueError, match="lie over each other"):
        hdf5.File(bytes(content)).root.names()
