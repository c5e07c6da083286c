"""Damage files and command lines in thousands of ways: ``python tests/fuzz.py 20000``.

Whatever the damage, a loader answers with an array, or with the exceptions that its documentation names; within a
second of computing, and without memory for what is only declared.  Hypothesis chooses the damage and, when something
is wrong, looks for the least that shows it.  ``package/test_fuzz.py`` runs a cut of it.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import io as standard_io
import json
import logging
import os
import sys
import tempfile
import time
import tracemalloc
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file
from support import torch_files
from support.places import GOLDEN_KERAS

import numba_lstm
from numba_lstm import cli, demo, io
from numba_lstm.io import keras

try:
    from support import onnx_files

    from numba_lstm.io import onnx
except ModuleNotFoundError:  # an extra: its files are damaged where it is
    onnx = None


SECONDS = 1.0
BYTES = 64 << 20
"""What a file may take beside its arrays; the arrays of all files here are below a megabyte, and count in it."""

HANG = 120
"""Seconds after which the process ends itself, with a traceback of where it is."""

NUMBERS = [b"0", b"-1", b"1e9", b"4294967296", b"9223372036854775807", b"18446744073709551616", b"9" * 400, b"true"]
PIECES = [
    b"\x00", b"\xff" * 8, b"\xff" * 4, b"{", b"}", b"[" * 50, b'"', b"(", b",)", b"NaN", b"null", b"PK\x01\x02", b"|O",
    b"PK\x05\x06", b"\x93NUMPY\x03\x00", b"'", b"\n", b">", b"<U0", b"V", b">c16", b"F8_E4M3", b"BF16", b"\xed\xa0\x80",
]  # fmt: skip
WORDS = [
    "run", "info", "demo", "warmup", "--help", "--version", "-o", "--output", "--prefix", "--h0", "--c0", "--dtype",
    "--batch-first", "--threads", "--limit", "--fasta", "--plot", "float32", "float64", "lstm.", "0", "1", "2", "-1",
    "1e3", "9" * 5000, "\uff11", "", "-", "--", "\0", "\udc80", "a" * 5000, "x.npy", "out.npz", "w.npz", "p.fasta",
    "w.safetensors", "out.png", ".", "--dtype=float64", "--threads=1", "@x.npy", "--no", "none/out.npz", "%s", "{}",
    "--weights", "int8", "--check", "--resume", "out.csv", "out.parquet",
]  # fmt: skip

COMMANDS = [
    "run w.safetensors x.npy -o out.npz --force",
    "run w.npz x.npy -o out.npz --h0 h.npy --c0 h.npy --batch-first --dtype float64 --threads 1 --force",
    "run w.safetensors x.npy --prefix lstm. --output out.npz --force",
    "info w.safetensors --prefix lstm.",
    "info w.npz",
    "convert w.npz out.npz --weights int8 --check x.npy --force",
    "demo --fasta p.fasta --limit 2 --threads 1",
    "demo --fasta p.fasta -o out.csv --force",
    "demo --fasta p.fasta -o out.csv --resume",
    "warmup --dtype float32 float64",
]

# Headers stand at the beginning of files, and at the end of archives.
_place = st.integers(0, 400) | st.integers(-200, -1) | st.integers(0, 1 << 20)
_piece = st.sampled_from(PIECES) | st.binary(min_size=1, max_size=8)
_edit = st.one_of(
    st.tuples(st.just("replace"), _place, _piece),
    st.tuples(st.just("insert"), _place, _piece),
    st.tuples(st.just("number"), _place, st.sampled_from(NUMBERS)),
    st.tuples(st.just("delete"), _place, st.integers(1, 64)),
    st.tuples(st.just("repeat"), _place, st.integers(1, 64)),
    st.tuples(st.just("cut"), _place, st.none()),
)
_edits = st.lists(_edit, min_size=1, max_size=4)


def damaged(content: bytes, edits: list[Any]) -> bytes:
    """Return a file with some edits."""
    for kind, place, what in edits:
        at = place % (len(content) + 1)
        before, after = content[:at], content[at:]
        if kind == "replace":
            content = before + what + after[len(what) :]
        elif kind == "insert":
            content = before + what + after
        elif kind == "number":  # the next digits, such as a size
            start = next((n for n, byte in enumerate(after) if 48 <= byte < 58), len(after))
            rest = after[start:].lstrip(b"0123456789")
            content = before + after[:start] + what + rest
        elif kind == "delete":
            content = before + after[what:]
        elif kind == "repeat":
            content = before + after[:what] * 2 + after[what:]
        else:
            content = before
    return content


def npy(array: np.ndarray) -> bytes:
    """Return an npy file."""
    file = standard_io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def computed_onnx_model() -> bytes:
    """Return a model of one node, what it reads made of constants and of the sizes of its input."""
    helper, arrays = onnx_files.helper, onnx_files.random_arrays(np.random.default_rng(5), (3, 5), 2)
    lstm = onnx_files.node(["X", "W", "R", "sequence_lens", "initial_h", "initial_c"], direction="bidirectional")
    made = {"R": "R12", "sequence_lens": "lengths", "initial_h": "h", "initial_c": "c"}
    lstm.input[:] = [made.get(name, name) for name in lstm.input]
    nodes = [
        helper.make_node("Shape", ["X"], ["rows"], start=1, end=2),
        helper.make_node("Concat", ["two", "rows", "five"], ["target"], axis=0),
        helper.make_node("Expand", ["h0", "target"], ["h"]),
        helper.make_node("ConstantOfShape", ["target"], ["zeros"]),
        helper.make_node("Pad", ["zeros", "pads"], ["padded"]),
        helper.make_node("Slice", ["padded", "zero", "five", "last"], ["c"]),
        helper.make_node("Tile", ["two", "rows"], ["times"]),
        helper.make_node("Cast", ["times"], ["lengths"], to=onnx_files.onnx.TensorProto.INT32),
        helper.make_node("DequantizeLinear", ["R8", "scale", "zeros8"], ["R9"], axis=1),
        helper.make_node("Split", ["R9"], ["R10", "R11"], axis=0, num_outputs=2),
        helper.make_node("Concat", ["R11", "R10"], ["R12"], axis=0),
        lstm,
    ]
    constants = {
        "W": arrays["W"], "R8": (arrays["R"] * 50).astype(np.int8), "scale": np.full(20, 0.02, np.float32),
        "zeros8": np.zeros(20, np.int8), "h0": arrays["B"][:, None, :5], "pads": np.array([0, 0, 0, 0, 0, 1]),
        "two": np.array([2]), "five": np.array([5]), "zero": np.array([0]), "last": np.array([-1]),
    }  # fmt: skip
    inputs = [onnx_files.value("X", ["steps", "rows", 3])]
    return bytes(onnx_files.model(nodes, constants, inputs, opset=18).SerializeToString())


def onnx_model_of_8_bits() -> bytes:
    """Return a model of a DynamicQuantizeLSTM, and of an LSTM whose weights are dequantised and put in order."""
    helper, generator = onnx_files.helper, np.random.default_rng(6)
    constants: dict[str, np.ndarray] = {"B": generator.standard_normal((1, 40)).astype(np.float32)}
    roles = ["X"]
    for role, depth in (("W", 3), ("R", 5)):
        whole = generator.integers(0, 256, (1, 20, depth)).astype(np.uint8)
        scale, zero = generator.uniform(0.001, 0.01, 20).astype(np.float32), np.full(20, 128, np.uint8)
        constants |= {f"{role}q": whole, f"{role}s": scale, f"{role}z": zero}
        constants |= {f"{role}t": whole.transpose(0, 2, 1), f"{role}r": scale[None], f"{role}p": zero[None]}
        roles.append(f"{role}t")
    inputs = [*roles, "B", "", "", "", "", "Wr", "Wp", "Rr", "Rp"]
    nodes = [helper.make_node("DynamicQuantizeLSTM", inputs, ["Y"], "first", domain="com.microsoft", hidden_size=5)]
    for role in ("W", "R"):
        dequantised = [f"{role}{part}" for part in "qsz"]
        nodes.append(helper.make_node("DequantizeLinear", dequantised, [f"{role}d"], axis=1))
        gates = [f"{role}{gate}" for gate in range(4)]
        nodes.append(helper.make_node("Split", [f"{role}d"], gates, axis=1))
        nodes.append(helper.make_node("Concat", gates[::-1], [role], axis=1))
    nodes.append(helper.make_node("LSTM", ["X", "W", "R", "B"], ["Y1"], "alone", hidden_size=5))
    made = onnx_files.model(nodes, constants, [onnx_files.value("X", ["steps", "rows", 3])])
    made.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return bytes(made.SerializeToString())


def torch_pickle() -> bytes:
    """Return the pickle of a file of torch."""
    state = numba_lstm.LSTM(3, 5, seed=3).state_dict()
    with zipfile.ZipFile(standard_io.BytesIO(torch_files.checkpoint(state))) as archive:
        return archive.read("archive/data.pkl")


def numpy_pickle() -> bytes:
    """Return a pickle of torch with arrays of NumPy in it, in an object of some class."""
    state = numba_lstm.LSTM(3, 5, seed=3).state_dict()
    arrays = {name: torch_files.numpy_array(np.array(array)) for name, array in state.items()}
    made = torch_files.called(torch_files.named("types", "SimpleNamespace"))
    return b"\x80\x02" + made + torch_files.pickled(arrays) + b"b."


PROGRAM = {
    "target": "torch.ops.aten.lstm.input",
    "inputs": [{"name": "num_layers", "arg": {"as_int": 1}}, {"name": "batch_first", "arg": {"as_bool": True}}],
    "metadata": {"nn_module_stack": "L__self__,,torch.nn.modules.rnn.LSTM"},
}
"""The one node of an exported LSTM."""


def exported(state: Mapping[str, np.ndarray], change: Callable[[bytes], bytes] = lambda index: index) -> bytes:
    """Return an archive of ``torch.export``, with a change of its index."""
    config = {}
    for name, array in state.items():
        sizes, strides = ([{"as_int": n} for n in numbers] for numbers in (array.shape, np.array(array.strides) // 4))
        meta = {"dtype": 7, "sizes": sizes, "strides": strides, "storage_offset": {"as_int": 0}, "layout": 7}
        config[name] = {"path_name": name, "is_param": True, "use_pickle": False, "tensor_meta": meta}
    index = json.dumps({"config": config}, default=int).encode()
    file = standard_io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("m/archive_format", "pt2")
        archive.writestr("m/data/weights/model_weights_config.json", change(index))
        archive.writestr("m/models/model.json", json.dumps({"nodes": [PROGRAM]}))
        for name, array in state.items():
            archive.writestr(f"m/data/weights/{name}", array.tobytes())
    return file.getvalue()


def shards(state: Mapping[str, np.ndarray]) -> bytes:
    """Return the index of a checkpoint in two files."""
    return json.dumps({"weight_map": {name: f"{n % 2}.safetensors" for n, name in enumerate(state)}}).encode()


def exported_index(state: Mapping[str, np.ndarray]) -> bytes:
    """Return the index of such an archive."""
    with zipfile.ZipFile(standard_io.BytesIO(exported(state))) as archive:
        return archive.read("m/data/weights/model_weights_config.json")


def originals(folder: Path) -> dict[str, list[bytes]]:
    """Write undamaged files into a folder and return, for every kind, what is to be damaged."""
    lstm = numba_lstm.LSTM(3, 5, 2, bidirectional=True, proj_size=2, batch_first=True, seed=1)
    lstm.save(folder / "w.safetensors")
    numba_lstm.LSTM(3, 5, seed=2).save(folder / "w.npz")
    for form, name in (("int8", "int8"), ("bfloat16", "halves")):
        small = numba_lstm.LSTM(3, 5, seed=4).quantize(form)
        small.save(folder / f"{name}.safetensors")
        small.save(folder / f"{name}.npz")
    state = {name: np.array(array) for name, array in numba_lstm.LSTM(3, 5, seed=3).state_dict().items()}
    save_file(state | {"ids": np.arange(3)}, folder / "plain.safetensors")
    np.savez_compressed(folder / "packed.npz", **state)
    x = np.random.default_rng(0).standard_normal((4, 2, 3), np.float32)
    np.save(folder / "x.npy", x)
    np.save(folder / "h.npy", np.zeros((1, 4, 5)))
    (folder / "p.fasta").write_text(">one first\nMSSSSSQAAAGGGG\nMA-BX*\n\n>two\nacdefghiklmnpqrstvwy\n")
    weight = state["weight_ih_l0"]
    arrays = [x, np.asfortranarray(weight), weight.astype(">f8"), np.ones((), "?"), np.zeros((0, 3), np.float16)]
    files = {
        "safetensors": [(folder / f"{name}.safetensors").read_bytes() for name in ("w", "plain", "int8", "halves")],
        "npz": [(folder / f"{name}.npz").read_bytes() for name in ("w", "packed", "int8", "halves")],
        "npz member": [npy(weight), npy(np.asfortranarray(weight)), npy(weight.astype(">f8"))],
        "npy": [npy(array) for array in arrays],
        "torch": [torch_files.checkpoint(state), torch_files.old_checkpoint(state)],
        "torch pickle": [torch_pickle(), numpy_pickle()],
        "exported": [exported(state)],
        "exported index": [exported_index(state)],
        "index": [shards(state)],
        "keras": [(GOLDEN_KERAS / "model.keras").read_bytes()],
        "keras member": [(GOLDEN_KERAS / "model.weights.h5").read_bytes()],
        "keras h5": [(GOLDEN_KERAS / "model.h5").read_bytes()],
        "fasta": [(folder / "p.fasta").read_bytes()],
    }
    if onnx is not None:
        files["onnx"] = [onnx_files.layers_and_a_general_node(), computed_onnx_model(), onnx_model_of_8_bits()]
    return files


class Record:
    """What became of the damaged inputs of a kind, and what they took."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.seconds, self.bytes = 0.0, 0

    def measure(self, call: Callable[[], str]) -> None:
        """Call, and count; raise if it took too much."""
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        start = time.thread_time()
        outcome = call()
        seconds, taken = time.thread_time() - start, tracemalloc.get_traced_memory()[1] - before
        self.outcomes[outcome] += 1
        self.seconds, self.bytes = max(self.seconds, seconds), max(self.bytes, taken)
        assert seconds <= SECONDS, f"{seconds:.1f} s"
        assert taken <= BYTES, f"{taken:,} bytes"


def refusal(path: Path, error: ValueError) -> str:
    """Say that a file was refused, if the message says which."""
    assert str(error).startswith(f"{path}: "), error
    return "refused"


def load(path: Path) -> str:
    """Load weights, and use them."""
    try:
        lstm = numba_lstm.LSTM.load(path).eval()
    except ValueError as error:
        return refusal(path, error)
    output, _ = lstm(np.ones((2, lstm.input_size), lstm.dtype))
    assert len(output) == 2
    return "taken"


def load_member(path: Path) -> str:
    """Load weights, one of which is the npy file at a path, in a sound archive."""
    archive = path.with_suffix(".npz")
    state = numba_lstm.LSTM(3, 5, seed=3).state_dict()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for name, array in state.items():
            file.writestr(name + ".npy", path.read_bytes() if name == "weight_ih_l0" else npy(array))
    return load(archive)


def load_torch_pickle(path: Path) -> str:
    """Load weights that the pickle at a path describes, in a sound archive."""
    archive = path.with_suffix(".pt")
    whole = torch_files.checkpoint(numba_lstm.LSTM(3, 5, seed=3).state_dict())
    with zipfile.ZipFile(standard_io.BytesIO(whole)) as sound, zipfile.ZipFile(archive, "w") as file:
        for name in sound.namelist():
            file.writestr(name, path.read_bytes() if name.endswith(".pkl") else sound.read(name))
    return load(archive)


def load_exported_index(path: Path) -> str:
    """Load weights that the index at a path describes, in a sound archive of ``torch.export``."""
    archive = path.with_suffix(".pt2")
    archive.write_bytes(exported(numba_lstm.LSTM(3, 5, seed=3).state_dict(), lambda index: path.read_bytes()))
    return load(archive)


def load_shards(path: Path) -> str:
    """Load weights from two sound files, through the index at a path."""
    state = numba_lstm.LSTM(3, 5, seed=3).state_dict()
    for part in (0, 1):
        save_file({name: np.array(array) for name, array in [*state.items()][part::2]}, f"{part}.safetensors")
    return load(path)


def load_onnx(path: Path) -> str:
    """Load nodes of ONNX and use them, each and together."""
    try:
        for found in onnx.describe(path):
            assert found.name
        nodes = [*onnx.load(path).values(), *onnx.load(path, weights="float32").values()]
    except ValueError as error:
        return refusal(path, error)
    for node in nodes:
        with contextlib.suppress(ValueError):  # states or lengths in the file, for another batch
            node(np.ones((2, 1, node.input_size), node.dtype))
    for names in (None, ["first", "second"]):
        try:
            lstm = onnx.load_lstm(path, names)
        except ValueError as error:
            refusal(path, error)
        else:
            lstm(np.ones((2, 1, lstm.input_size), lstm.dtype))
    return "taken"


def load_keras(path: Path) -> str:
    """Load layers of Keras, and use them."""
    try:
        for found in keras.describe(path):
            assert found.name
        layers = keras.load(path)
    except ValueError as error:
        return refusal(path, error)
    for layer in layers.values():
        mask = [[True, False, True]]
        layer(np.ones((1, 3, layer.input_size), layer.dtype), mask=mask)
    return "taken"


def load_keras_member(path: Path) -> str:
    """Load layers, the arrays of which are in the file at a path, in a sound archive."""
    model = path.with_suffix(".keras")
    with zipfile.ZipFile(GOLDEN_KERAS / "model.keras") as sound, zipfile.ZipFile(model, "w") as file:
        for name in ("config.json", "metadata.json"):
            file.writestr(name, sound.read(name))
        file.writestr("model.weights.h5", path.read_bytes())
    return load_keras(model)


def read_array(path: Path) -> str:
    """Read an array."""
    try:
        io.read_array(path)
    except ValueError:
        return "refused"
    return "taken"


def read_fasta(path: Path) -> str:
    """Read proteins."""
    try:
        demo.read_fasta(path)
    except ValueError as error:
        return refusal(path, error)
    return "taken"


def command(arguments: list[str]) -> str:
    """Run a command; its files are in the current folder."""
    out, err = standard_io.StringIO(), standard_io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = cli.main(arguments)
        except SystemExit as stop:  # argparse, after --help and --version
            status = int(stop.code or 0)
            assert status == 0, arguments
    assert status in (0, 1, 2), status
    if status == 1:  # some proteins were scored, or some of several inputs computed
        reasons = ("numba-lstm: p.fasta: record ", "numba-lstm: error: ")
        assert any(line.startswith(reasons) for line in err.getvalue().splitlines()), err.getvalue()
        assert "Traceback" not in err.getvalue()
    if status < 2:
        return "taken"
    if not arguments:  # the help, which is no error of words that were given
        assert out.getvalue().startswith("usage: numba-lstm"), out.getvalue()
        assert not err.getvalue(), err.getvalue()
        return "refused"
    assert err.getvalue().splitlines()[-1].strip().startswith("numba-lstm: error: "), err.getvalue()
    assert "Traceback" not in err.getvalue()
    return "refused"


FILES: dict[str, tuple[str, Callable[[Path], str]]] = {
    "safetensors": ("bad.safetensors", load),
    "npz": ("bad.npz", load),
    "npz member": ("member.npy", load_member),
    "npy": ("bad.npy", read_array),
    "torch": ("bad.pt", load),
    "torch pickle": ("data.pkl", load_torch_pickle),
    "exported": ("bad.pt2", load),
    "exported index": ("weights_config.json", load_exported_index),
    "index": ("bad.index.json", load_shards),
    "keras": ("bad.keras", load_keras),
    "keras member": ("member.h5", load_keras_member),
    "keras h5": ("bad.h5", load_keras),
    "fasta": ("bad.fasta", read_fasta),
}
if onnx is not None:
    FILES["onnx"] = "bad.onnx", load_onnx


def fuzz_files(kind: str, files: list[bytes], count: int) -> Record:
    """Damage the files of a kind so many times, in the current folder."""
    name, read = FILES[kind]
    path, record = Path(name), Record()
    for file in files:  # without damage: counts as well, and does what is done once
        path.write_bytes(file)
        assert read(path) == "taken"

    @_repeated(count)
    @given(file=st.sampled_from(files), edits=_edits)
    def check(file: bytes, edits: list[Any]) -> None:
        path.write_bytes(damaged(file, edits))
        record.measure(lambda: read(path))

    check()
    return record


def fuzz_commands(contents: dict[str, list[bytes]], count: int) -> Record:
    """Damage commands, and the files that they read, so many times, in the current folder."""
    record = Record()
    readable = {"w.safetensors": "safetensors", "w.npz": "npz", "x.npy": "npy", "p.fasta": "fasta"}
    whole = {name: Path(name).read_bytes() for name in [*readable, "h.npy"]}
    sample = st.sampled_from(WORDS)
    word_edit = st.tuples(st.sampled_from(["insert", "replace", "delete"]), st.integers(0, 20), sample)
    some_file = st.none() | st.tuples(st.sampled_from(sorted(readable)), _edits)
    # What is done once does not count: Parquet needs a library whose import takes more than a second.
    for line in (*COMMANDS, "demo --fasta p.fasta -o out.parquet --force"):
        command(line.split())

    @_repeated(count)
    @given(line=st.sampled_from(COMMANDS), edits=st.lists(word_edit, max_size=3), file=some_file)
    def check(line: str, edits: list[Any], file: Any) -> None:
        words = line.split()
        for kind, place, word in edits:
            at = place % (len(words) + 1)
            words[at : at + (kind != "insert")] = [] if kind == "delete" else [word]
        if "demo" in words and "--fasta" not in words:  # the bundled proteins, which take most of a second
            words += ["--limit", "1"]
        if "--plot" in words:  # nothing to read there, and a picture takes most of a second, too
            words = ["info", *words]
        for name, content in whole.items():
            Path(name).write_bytes(damaged(content, file[1]) if file and file[0] == name else content)
        record.measure(lambda: command(words))

    check()
    return record


def _repeated(count: int) -> Callable[[Any], Any]:
    return settings(
        max_examples=count, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )


def main(arguments: list[str] | None = None) -> None:
    """Do it, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, help="how many damaged inputs, of all kinds together")
    count = parser.parse_args(arguments).count
    logging.getLogger("numba_lstm").setLevel(logging.ERROR)
    for dtype in ("float32", "float64"):
        numba_lstm.warmup(dtype)
    records = {}
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        contents = originals(Path())
        tracemalloc.start()
        share = -(-count // (len(FILES) + 1))
        for kind in (*FILES, "commands"):
            faulthandler.dump_traceback_later(HANG + share * SECONDS, exit=True)
            start = time.perf_counter()
            run = fuzz_commands(contents, share) if kind == "commands" else fuzz_files(kind, contents[kind], share)
            records[kind] = run, time.perf_counter() - start
        os.chdir("/")
    print("| damaged | inputs | refused | taken | slowest, ms | most memory, MiB | seconds |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for kind, (record, seconds) in records.items():
        refused, taken = record.outcomes["refused"], record.outcomes["taken"]
        print(
            f"| {kind} | {refused + taken:,} | {refused:,} | {taken:,} | {record.seconds * 1e3:.1f} | "
            f"{record.bytes / 2**20:.1f} | {seconds:.0f} |"
        )
    done = sum(sum(record.outcomes.values()) for record, _ in records.values())
    if done < count:
        sys.exit(f"only {done:,} of {count:,}")


if __name__ == "__main__":
    main()
