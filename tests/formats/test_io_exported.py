"""Archives of ``torch.export``, read without torch: weights in a zip with an index, and the two older layouts."""

from __future__ import annotations

import io as standard_io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import torch_files
from support.allocations import at_most

from numba_lstm import LSTM, cli, io
from numba_lstm.formats.torch import exported_program

FLOAT32 = 7


def state(seed: int = 0, **options: Any) -> dict[str, np.ndarray]:
    return {f"rnn.{name}": np.array(a) for name, a in LSTM(3, 5, seed=seed, **options).state_dict().items()}


def described(array: np.ndarray, path: str, **change: Any) -> dict[str, Any]:
    """Return the entry of an array in an index."""
    strides = [stride // array.itemsize for stride in array.strides]
    meta = {
        "dtype": FLOAT32,
        "sizes": [{"as_int": length} for length in array.shape],
        "requires_grad": True,
        "device": {"type": "cpu", "index": None},
        "strides": [{"as_int": stride} for stride in strides],
        "storage_offset": {"as_int": 0},
        "layout": 7,
    }
    entry = {"path_name": path, "is_param": True, "use_pickle": False, "tensor_meta": meta}
    for key, value in change.items():
        (entry if key in entry else meta)[key] = value
    return entry


def archive(members: dict[str, bytes], root: str = "model/") -> bytes:
    file = standard_io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        for name, content in members.items():
            made.writestr(root + name, content)
    return file.getvalue()


def exported(arrays: dict[str, np.ndarray], changes: dict[str, Any] | None = None, **more: bytes) -> bytes:
    """Return an archive as torch 2.13 writes it, with other entries for some names."""
    config = {name: described(array, f"weight_{number}") for number, (name, array) in enumerate(arrays.items())}
    index = json.dumps({"config": config | (changes or {})})
    weights = {f"data/weights/weight_{number}": array.tobytes() for number, array in enumerate(arrays.values())}
    return archive(
        weights
        | {"data/weights/model_weights_config.json": index.encode(), "archive_format": b"pt2", "byteorder": b"little"}
        | more
    )


def assert_same(lstm: LSTM, arrays: dict[str, np.ndarray]) -> None:
    assert lstm.state_dict(prefix="rnn.").keys() == arrays.keys()
    for name, array in lstm.state_dict(prefix="rnn.").items():
        np.testing.assert_array_equal(array, arrays[name])


@pytest.mark.parametrize("name", ["model.pt2", "model.bin", "model"])
def test_weights_with_an_index(tmp_path: Path, name: str, capsys: Any) -> None:
    path, arrays = tmp_path / name, state(bidirectional=True, num_layers=2)
    path.write_bytes(exported(arrays | {"head": np.ones((2, 3), np.float32)}))
    assert_same(LSTM.load(path, "rnn."), arrays)
    assert list(io.read(path)) == [*arrays, "head"]
    assert {key: each.shape for key, each in io.describe(path).items() if key != "head"} == {
        key: array.shape for key, array in arrays.items()
    }
    assert cli.main(["info", str(path)]) == 0
    assert "LSTM under prefix 'rnn.'" in capsys.readouterr().out
    assert cli.main(["convert", str(path), str(tmp_path / "out.safetensors")]) == 0
    assert LSTM.load(tmp_path / "out.safetensors").num_layers == 2


def test_big_endian(tmp_path: Path) -> None:
    arrays = state()
    content = exported({name: array.astype(">f4") for name, array in arrays.items()}, byteorder=b"big")
    (tmp_path / "a.pt2").write_bytes(content)
    assert_same(LSTM.load(tmp_path / "a.pt2", "rnn."), arrays)


def test_tensors_that_share_a_storage(tmp_path: Path) -> None:
    """With offsets and strides, as views have them."""
    arrays = state()
    both = np.concatenate([arrays["rnn.bias_ih_l0"], arrays["rnn.bias_hh_l0"]])
    turned = np.ascontiguousarray(arrays["rnn.weight_ih_l0"].T)
    changes = {
        "rnn.bias_ih_l0": described(arrays["rnn.bias_ih_l0"], "both"),
        "rnn.bias_hh_l0": described(arrays["rnn.bias_hh_l0"], "both", storage_offset={"as_int": 20}),
        "rnn.weight_ih_l0": described(turned.T, "turned"),
    }
    more = {"data/weights/both": both.tobytes(), "data/weights/turned": turned.tobytes()}
    (tmp_path / "a.pt2").write_bytes(exported(arrays, changes, **more))
    assert_same(LSTM.load(tmp_path / "a.pt2", "rnn."), arrays)


def test_several_models(tmp_path: Path) -> None:
    """Their names come after those of the models."""
    first, second = state(0), state(1)
    members, configs = {"archive_format": b"pt2"}, {}
    for model, arrays in (("encoder", first), ("decoder", second)):
        configs[model] = {name: described(array, f"{model}_{name}") for name, array in arrays.items()}
        members |= {f"data/weights/{model}_{name}": array.tobytes() for name, array in arrays.items()}
        members[f"data/weights/{model}_weights_config.json"] = json.dumps({"config": configs[model]}).encode()
    path = tmp_path / "a.pt2"
    path.write_bytes(archive(members))
    for model, arrays in (("encoder", first), ("decoder", second)):
        np.testing.assert_array_equal(LSTM.load(path, f"{model}.rnn.").weight_ih_l0, arrays["rnn.weight_ih_l0"])


def checkpoint(arrays: dict[str, np.ndarray]) -> bytes:
    made = torch_files.Archive()
    return made.finish({name: made.tensor(array) for name, array in arrays.items()})


@pytest.mark.parametrize(
    ("root", "member", "others"),
    [
        ("model/", "data/weights/model.pt", ["archive_format", "data/constants/model.pt"]),
        ("", "serialized_state_dict.pt", ["version", "serialized_exported_program.json", "serialized_constants.pt"]),
        ("", "serialized_state_dict.json", ["version", "serialized_exported_program.json"]),
    ],
)
def test_older_layouts(tmp_path: Path, root: str, member: str, others: list[str]) -> None:
    """torch 2.8, 2.2 to 2.7, and 2.1 put a checkpoint into the archive."""
    arrays, path = state(), tmp_path / "a.pt2"
    content = archive({**dict.fromkeys(others, b"pt2"), member: checkpoint(arrays)}, root)
    path.write_bytes(content)
    assert_same(LSTM.load(path, "rnn."), arrays)
    assert {name: each.shape for name, each in io.describe(path).items()} == {n: a.shape for n, a in arrays.items()}
    path.write_bytes(archive({**dict.fromkeys(others, b"pt2"), member: b"{}"}, root))
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: not a complete .pt2 file of numbers: "):
        LSTM.load(path, "rnn.")
    path.write_bytes(archive({**dict.fromkeys(others, b"pt2"), member: content}, root))  # in itself
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: not a complete .pt2 file of numbers: "):
        LSTM.load(path, "rnn.")


# --- what is not taken --------------------------------------------------------------------------------------


def complaint(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: ") as caught:
        LSTM.load(path, "rnn.")
    return str(caught.value)


def test_compiled_programs(tmp_path: Path) -> None:
    """Their weights lie within a library, or beside it in another layout."""
    members = {"archive_format": b"pt2", "data/aotinductor/model/c.wrapper.so": b"\x7fELF"}
    assert "a program that AOTInductor has compiled: save the model with torch.export.save" in complaint(
        tmp_path / "a.pt2", archive(members)
    )
    members["data/weights/weight_0"] = checkpoint(state())
    members["data/aotinductor/model/weights_config.json"] = b'{"rnn.weight_ih_l0": ["weight_0", [20, 3], [3, 1], 0]}'
    assert "AOTInductor" in complaint(tmp_path / "a.pt2", archive(members))


def test_constants_only(tmp_path: Path) -> None:
    members = {"archive_format": b"pt2", "models/model.json": b"{}", "data/constants/tensor_0": bytes(12)}
    assert "an archive of torch.export without weights" in complaint(tmp_path / "a.pt2", archive(members))
    empty = members | {"data/weights/model_weights_config.json": b'{"config": {}}'}
    assert "no LSTM under prefix 'rnn.'" in complaint(tmp_path / "a.pt2", archive(empty))


WRONG = {
    "beyond": ({"storage_offset": {"as_int": 1}}, "reaches beyond"),
    "negative": ({"storage_offset": {"as_int": -1}}, "in a way that is not known"),
    "a symbol": ({"sizes": [{"as_expr": {"expr_str": "s0"}}, {"as_int": 3}]}, "in a way that is not known"),
    "a truth": ({"sizes": [{"as_int": True}, {"as_int": 3}]}, "in a way that is not known"),
    "large": ({"sizes": [{"as_int": 1 << 62}, {"as_int": 1 << 62}]}, "share their memory, and would be"),
    "no stride": ({"strides": []}, "in a way that is not known"),
    "zero strides": ({"strides": [{"as_int": 0}, {"as_int": 1}]}, "only 3 different elements"),
    "many axes": ({"sizes": [{"as_int": 1}] * 40, "strides": [{"as_int": 1}] * 40}, "in a way that is not known"),
    "float8": ({"dtype": 29}, "holds float8_e4m3fn"),
    "of tomorrow": ({"dtype": 99}, "holds dtype 99"),
    "of no kind": ({"dtype": []}, "in a way that is not known"),
    "integers": ({"dtype": 4}, "holds int32, integers, as of quantized weights"),
    "a pickle": ({"use_pickle": True}, "holds a subclass of tensors of float32, as quantizers make them"),
    "sparse": ({"layout": 1}, "holds sparse float32"),
    "no member": ({"path_name": "weight_99"}, "the numbers of rnn.weight_ih_l0 are missing"),
    "elsewhere": ({"path_name": "../../byteorder"}, "the numbers of rnn.weight_ih_l0 are missing"),
    "no path": ({"path_name": 3}, "in a way that is not known"),
    "no meta": ({"tensor_meta": None}, "in a way that is not known"),
}


@pytest.mark.parametrize(("change", "words"), WRONG.values(), ids=WRONG)
def test_wrong_indices(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    arrays = state()
    entry = described(arrays["rnn.weight_ih_l0"], "weight_0", **change)
    assert words in complaint(tmp_path / "a.pt2", exported(arrays, {"rnn.weight_ih_l0": entry}))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "Expecting value"),
        (b"[]", "its index of weights has no config"),
        (b'{"config": []}', "its index of weights has no config"),
        (b'{"config": {"a": 1}}', "describes 'a' in a way that is not known"),
        (b'{"config": {"a": 1, "a": 2}}', "it has the name 'a' twice"),
        (b"[" * 100_000, "too deep"),
        (b'"' + b"x" * (4 << 20) + b'"', "is the most for this file"),
    ],
    ids=lambda text: repr(text[:16]),
)
def test_damaged_indices(tmp_path: Path, text: bytes, words: str) -> None:
    members = {"archive_format": b"pt2", "data/weights/model_weights_config.json": text}
    file = standard_io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in members.items():
            made.writestr(f"m/{name}", content)
    assert words in complaint(tmp_path / "a.pt2", file.getvalue())


# --- what the program tells ---------------------------------------------------------------------------------


LSTM_CLASS = "torch.nn.modules.rnn.LSTM"


def node(kind: str = LSTM_CLASS, path: str = "rnn", **options: Any) -> dict[str, Any]:
    """Return the node of an LSTM's call."""
    given = {"has_biases": True, "num_layers": 1, "dropout": 0.0, "train": False, "bidirectional": False} | options
    types = {bool: "as_bool", int: "as_int", float: "as_float", str: "as_string", list: "as_ints"}
    arguments = [{"name": name, "arg": {types[type(value)]: value}, "kind": 1} for name, value in given.items()]
    stack = f"L__self__,,my.Tagger;L__self__rnn,{path},{kind}"
    metadata = {"stack_trace": 'File "a.py", line 3\n    "nn_module_stack": "x,rnn,y"', "nn_module_stack": stack}
    return {"target": "torch.ops.aten.lstm.input", "inputs": arguments, "metadata": metadata}


def program(*nodes: dict[str, Any]) -> bytes:
    return json.dumps({"graph_module": {"graph": {"nodes": nodes}}, "torch_version": "2.13.0"}).encode()


LAYOUTS = ["index", "checkpoint", "older"]


def with_program(layout: str, content: bytes, **options: Any) -> bytes:
    arrays = state(**options)
    if layout == "index":
        return exported(arrays, **{"models/model.json": content})
    if layout == "checkpoint":
        members = {"archive_format": b"pt2", "data/weights/model.pt": checkpoint(arrays), "models/model.json": content}
        return archive(members)
    return archive({"serialized_state_dict.pt": checkpoint(arrays), "serialized_exported_program.json": content}, "")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("batch_first", [True, False])
def test_options_are_read_from_the_program(tmp_path: Path, layout: str, batch_first: bool) -> None:
    path = tmp_path / "a.pt2"
    called = node(num_layers=2, dropout=0.25, batch_first=batch_first, train=True)
    path.write_bytes(with_program(layout, program(called, node(path="other")), num_layers=2))
    lstm = LSTM.load(path, "rnn.")
    assert (lstm.batch_first, lstm.dropout, lstm.training) == (batch_first, 0.25, False)
    assert LSTM.load(path, "rnn.", batch_first=not batch_first).batch_first is not batch_first


@pytest.mark.parametrize("layout", LAYOUTS)
def test_other_classes_are_refused(tmp_path: Path, layout: str) -> None:
    content = with_program(layout, program(node("my.PeepholeLSTM", batch_first=True)))
    assert "it is a my.PeepholeLSTM, not torch.nn.LSTM, and may compute something else" in complaint(
        tmp_path / "a.pt2", content
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (program(node(num_layers=2)), "num_layers=2"),
        (program(node(bidirectional=True)), "bidirectional=True"),
        (program(node(batch_first=True), node(batch_first=False, path="rnn@1")), "calls the LSTM under prefix 'rnn.'"),
        (b"\xff", "not a complete .pt2 file of numbers"),
        (b'{"target": "torch.ops.aten.lstm.input", "inputs": 3}', "not a complete .pt2 file of numbers"),
        (b'{"target": "torch.ops.aten.lstm.input"' * 1000, "not a complete .pt2 file of numbers"),
    ],
    ids=["layers", "directions", "two ways", "no text", "no list", "no end"],
)
def test_programs_that_do_not_fit(tmp_path: Path, content: bytes, words: str) -> None:
    assert words in complaint(tmp_path / "a.pt2", with_program("index", content))


@pytest.mark.parametrize("name", ['a"b', "a\\", 'a\\"b', "\N{GREEK SMALL LETTER LAMDA}"])
def test_modules_have_any_names(name: str) -> None:
    """As a dict of modules gives them."""
    assert exported_program.modules(program(node("my.LSTM", name)))[f"{name}."].kind == "my.LSTM"


@pytest.mark.parametrize("content", [b"{}", b"", program(node(batch_first="yes", dropout=[1]))])
def test_programs_that_tell_nothing(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.pt2"
    path.write_bytes(with_program("index", content))
    assert repr(LSTM.load(path, "rnn.")) == "LSTM(3, 5)"


# --- written by torch ---------------------------------------------------------------------------------------


@pytest.fixture
def torch() -> Any:
    found = pytest.importorskip("torch")
    pytest.importorskip("torch.export")
    return found


@pytest.mark.filterwarnings("ignore")  # of tensors that an LSTM keeps, which torch's exporter does not like
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_what_torch_exports(torch: Any, dtype: str, tmp_path: Path) -> None:
    class Tagger(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.embedding = torch.nn.Embedding(10, 3)
            self.rnn = torch.nn.LSTM(3, 5, 2, batch_first=True, bidirectional=True)
            self.register_buffer("shift", torch.ones(3), persistent=False)

        def forward(self, x: Any) -> Any:
            return self.rnn(self.embedding(x) + self.shift)[0]

    model = Tagger().to(getattr(torch, dtype)).eval()
    program = torch.export.export(model, (torch.zeros((2, 4), dtype=torch.long),))
    path = tmp_path / "model.pt2"
    torch.export.save(program, path)
    expected = {f"rnn.{name}": tensor.double().numpy() for name, tensor in model.rnn.state_dict().items()}
    lstm = LSTM.load(path, "rnn.")
    assert repr(lstm) == "LSTM(3, 5, num_layers=2, batch_first=True, bidirectional=True)"
    assert lstm.dtype == (np.float64 if dtype == "float64" else np.float32)
    assert_same(lstm, expected)
    assert [*io.describe(path)] == [*model.state_dict()]


@pytest.mark.filterwarnings("ignore")
def test_what_torch_exports_of_other_modules(torch: Any, tmp_path: Path) -> None:
    """The class is in the program, also where that was decomposed; so a subclass is not taken for an LSTM."""

    class Doubled(torch.nn.LSTM):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return super().forward(2 * x)

    class Both(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.doubled, self.plain = Doubled(3, 5), torch.nn.LSTM(3, 3)

        def forward(self, x: Any) -> Any:
            return self.doubled(self.plain(self.plain(x)[0])[0])[0]

    model = Both().eval()
    program = torch.export.export(model, (torch.zeros(4, 2, 3),))
    for number, each in enumerate((program, program.run_decompositions())):
        path = tmp_path / f"{number}.pt2"
        torch.export.save(each, path)
        with pytest.raises(ValueError, match=r"it is a .*\.Doubled, not torch\.nn\.LSTM, and may compute"):
            LSTM.load(path, "doubled.")
        assert repr(LSTM.load(path, "plain.")) == "LSTM(3, 3)"


@pytest.mark.parametrize(
    "stack",
    [
        "L__self__,,my.Tagger;" * 300_000,
        "x" * (5 << 20),
        ";".join(f"{number},a{number},b" for number in range(300_000)),
        "\\u0041" * 1_000_000,
    ],
    ids=["one module", "a name", "many modules", "escapes"],
)
def test_programs_of_many_modules(tmp_path: Path, stack: str) -> None:
    content = b'{"nn_module_stack": "' + stack.encode() + b'"}'
    with at_most(len(content) + (32 << 20)):
        assert "too many modules" in complaint(tmp_path / "a.pt2", with_program("index", content))


def test_nodes_of_many_modules(tmp_path: Path) -> None:
    """Each of them has few."""
    nodes = "".join(f'"nn_module_stack": "a,{number},b"' for number in range(100_000))
    with at_most(48 << 20):
        assert "too many modules" in complaint(tmp_path / "a.pt2", with_program("index", nodes.encode()))


@pytest.mark.parametrize("what", ["indices", "programs"])
def test_many_indices_and_programs(tmp_path: Path, what: str) -> None:
    """What one of them may have is what all of them may have: packed, a thousand fit where one does."""
    members = {"archive_format": b"pt2"}
    index = json.dumps({"config": {name: described(array, f"w_{name}") for name, array in state().items()}}).encode()
    for number in range(40):
        members[f"data/weights/m{number}_weights_config.json"] = index + b" " * (1 << 20) * (what == "indices")
        members[f"models/m{number}.json"] = b"{}" + b" " * (1 << 14) * (what == "programs")
    file = standard_io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in members.items():
            made.writestr(f"model/{name}", content)
    assert "is the most for this file" in complaint(tmp_path / "a.pt2", file.getvalue())
