"""What the documentation shows is run: the examples of every docstring, and the README's path from torch."""
from __future__ import annotations

import doctest
import gzip
import importlib
import pkgutil
import re
import runpy
import shlex
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from support.places import GOLDEN_KERAS, ROOT

import numba_lstm
import numba_lstm.io
from numba_lstm import cli

README = ROOT / "README.md"
PAGES = sorted(
    page.relative_to(ROOT).as_posix()
    for page in (ROOT / "docs").rglob("*.md")
    if "_build" not in page.parts and "```python" in page.read_text(encoding="utf-8")
)
COMMANDS = sorted(
    {
        command
        for page in (README, *(ROOT / "docs").rglob("*.md"))
        for block in re.findall(r"^```console\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
        for command in re.findall(r"^\$ (?:.* && )?numba-lstm ([^#\n]*[^#\s])", block, re.MULTILINE)
    }
)
PUBLIC = {
    name if name.startswith("numba_lstm.") else f"numba_lstm.{name}"
    for page in (ROOT / "docs" / "reference").glob("*.md")
    for name in re.findall(
        r"^\.\. auto(?:function|class|exception):: ([\w.]+)", page.read_text(encoding="utf-8"), re.MULTILINE
    )
}
"""Names that the reference describes."""
SIZES: tuple[int, int, int] = (40, 256, 3)
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(numba_lstm.__path__, "numba_lstm.")
    if module.name != "numba_lstm.demo.plot"  # needs matplotlib, has no example
)

pytestmark = pytest.mark.usefixtures("threads")


def python_blocks() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("name", ["numba_lstm", *MODULES])
def test_docstring_examples(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder with the models that some of them load."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(GOLDEN_KERAS / "model.keras", tmp_path)
    if name.startswith("numba_lstm.io.onnx"):
        write_onnx_model()
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:  # what needs an extra says which
        if "numba-lstm[" not in str(error):
            raise
        pytest.skip(str(error))
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for examples in doctest.DocTestFinder().find(module):
        if is_public(module, examples.name):
            examples.globs = {"__name__": "__main__"}  # a reader has what is imported there, and nothing else
        runner.run(examples)
    assert runner.failures == 0


def is_public(module: ModuleType, name: str) -> bool:
    """Return whether a function, a class or a method of this name, which begins with the module's, is public."""
    first = name.removeprefix(module.__name__).lstrip(".").partition(".")[0]
    found = getattr(module, first, None)
    return f"{getattr(found, '__module__', None)}.{first}" in PUBLIC


def write_onnx_model() -> None:
    """Write ``model.onnx`` with a node LSTM named "encoder", of 3 inputs and hidden_size 5."""
    pytest.importorskip("onnx")
    from support import onnx_files

    arrays = onnx_files.random_arrays(np.random.default_rng(0), (3, 5), 1)
    node = onnx_files.node(("X", "W", "R", "B", "sequence_lens"), name="encoder", hidden_size=5)
    constants = {name: arrays[name] for name in ("W", "R", "B")}
    inputs = [onnx_files.value("X", ("T", "B", 3)), onnx_files.value("sequence_lens", ("B",), np.int32)]
    onnx_files.save(onnx_files.model([node], constants, inputs), Path())


def test_reference_has_an_example_of_each() -> None:
    """Of what is called or made by the reader; classes with () after their names come from a function that has one."""
    lacking = []
    for page in (ROOT / "docs" / "reference").glob("*.md"):
        text = page.read_text(encoding="utf-8")
        for name in re.findall(r"^\.\. auto(?:function|class):: ([\w.]+)$", text, re.MULTILINE):
            *modules, last = name.split(".")
            try:
                module = importlib.import_module(".".join(modules or ["numba_lstm"]))
            except ModuleNotFoundError as error:
                if "numba-lstm[" not in str(error):
                    raise
                continue
            if ">>> " not in (getattr(module, last).__doc__ or ""):
                lacking.append(name)
    assert not lacking


def in_tables(page: str) -> list[str]:
    """Return the names in the tables of a page of the reference."""
    text = (ROOT / "docs" / "reference" / page).read_text(encoding="utf-8")
    tables = re.findall(r"^\.\. autosummary::\n((?:   .*\n|\n)+)", text, re.MULTILINE)
    return [name for table in tables for name in re.findall(r"^   (\w[\w.]*)$", table, re.MULTILINE)]


def described(page: str) -> list[str]:
    """Return the names that a page of the reference describes, without the package's."""
    text = (ROOT / "docs" / "reference" / page).read_text(encoding="utf-8")
    names = re.findall(r"^\.\. auto(?:function|class|exception):: ([\w.]+)", text, re.MULTILINE)
    return [name.removeprefix("numba_lstm.") for name in names]


def test_reference_begins_with_a_table_of_all_names() -> None:
    """In the order of the pages."""
    folder = ROOT / "docs" / "reference"
    toctree = (folder / "index.md").read_text(encoding="utf-8").split(":maxdepth: 1")[1]
    pages = [f"{name}.md" for name in re.findall(r"^(\w+)$", toctree, re.MULTILINE)]
    assert {path.name for path in folder.glob("*.md")} == {"index.md", *pages}
    assert in_tables("index.md") == [name for page in pages for name in described(page)]


@pytest.mark.parametrize(("page", "kind"), [("lstm.md", numba_lstm.LSTM), ("lstm_cell.md", numba_lstm.LSTMCell)])
def test_reference_begins_with_a_table_of_all_methods(page: str, kind: type) -> None:
    listed = in_tables(page)
    methods = [name for name in dir(kind) if not name.startswith("_") and callable(getattr(kind, name))]
    assert {f"{kind.__name__}.{name}" for name in methods} <= {*listed}
    assert len({*listed}) == len(listed)


def test_readme_loads_and_runs_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("lstm.npz", **numba_lstm.LSTM(*SIZES, seed=0).state_dict())
    names: dict[str, Any] = {}
    _, load, quantize, *_ = python_blocks()
    run(load, names)
    assert names["output"].shape == (8, 160, 256)
    assert names["h_n"].shape == names["c_n"].shape == (3, 8, 256)
    run(quantize, names)
    assert names["small"].form == "int8"


def test_readme_from_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    trained = torch.nn.LSTM(*SIZES, batch_first=True)
    save, load, *_ = python_blocks()
    names: dict[str, Any] = {"lstm": trained}
    run(save, names)
    run(load, names)
    with torch.no_grad():
        zeros = torch.zeros(8, 160, SIZES[0])
        expected, _ = trained(zeros, trained(zeros)[1])
    np.testing.assert_allclose(names["output"], expected.numpy(), rtol=0, atol=2e-6)


def test_readme_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"np": np, "nl": numba_lstm}
    run(python_blocks()[3], names)
    assert names["ys"].shape == (64, 1, 128)
    assert not names["pool"].state[0][:, 4].any()
    assert names["pool"].state[0][:, 902].any()
    assert names["h"].shape == (1, 128)


def test_readme_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"np": np, "nl": numba_lstm}
    run(python_blocks()[4], names)
    before, lstm = names["output"], names["lstm"].eval()
    assert np.square(lstm(names["x"])[0]).mean() < np.square(before).mean()
    assert [layer.f.shape for layer in names["layers"]] == [(8, 160, 256)] * 3


def test_readme_on_dask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dask = pytest.importorskip("dask")
    pytest.importorskip("dask.array")
    pytest.importorskip("distributed")
    monkeypatch.chdir(tmp_path)
    lstm = numba_lstm.LSTM(40, 256, batch_first=True, seed=0)
    x = np.random.default_rng(0).standard_normal((8, 160, 40), np.float32)
    names: dict[str, Any] = {"nl": numba_lstm, "dask": dask, "lstm": lstm, "x": x}
    run(next(block for block in python_blocks() if "map_batches" in block), names)
    assert np.array_equal(names["y"].compute(scheduler="threads"), lstm(x)[0])
    first, second = names["outputs"].compute(scheduler="threads")
    assert np.array_equal(first, lstm(x[0])[0])
    assert np.array_equal(second, lstm(x[1, :20])[0])


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of what Dask ends in its own time
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("line", COMMANDS)
def test_command_lines(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of ``numba-lstm`` that README and pages show, with files of the names that they give."""
    arguments = shlex.split(line)
    if "--plot" in arguments:
        pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    Path("my.fasta").write_text(">one\nMKVLAAGIVGLLLAQWERTY\n", encoding="utf-8")
    Path("proteome.fasta.gz").write_bytes(gzip.compress(Path("my.fasta").read_bytes()))
    if "--workers" in arguments:
        pytest.importorskip("distributed")
        pytest.importorskip("pyarrow")
    lstm = numba_lstm.LSTM(3, 5, seed=0)
    numba_lstm.io.write("model.safetensors", {f"lstm.{name}": array for name, array in lstm.state_dict().items()})
    for name in ("input", "a", "b"):
        np.save(f"{name}.npy", np.zeros((2, 7, 3), np.float32))
    Path("results").mkdir()
    if "model.onnx" in arguments:
        pytest.importorskip("onnx")
        write_onnx_model()
    before = {*tmp_path.iterdir()}
    assert cli.main(arguments) == 0
    for named in re.findall(r"\b(?:profiles\.png|scores\.parquet|output\.npz|lstm\.safetensors)", line):
        assert tmp_path / named in {*tmp_path.iterdir()} - before
    assert len([*Path("results").iterdir()]) == (2 if "results/" in arguments else 0)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras on torch
@pytest.mark.parametrize("name", PAGES)
def test_blocks_of_pages(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, in one folder; a block that needs other packages says so in a comment above it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(ROOT / "docs" / "examples" / "silero_vad")
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    names: dict[str, Any] = {"samples": np.zeros(1000, np.float32)}  # the recording of the example
    for needs, block in re.findall(
        r"^(?:<!-- needs: ([^>\n]*) -->\n(?:[^`<\n][^\n]*\n|\n)*)?```python\n(.*?)^```",
        (ROOT / name).read_text(encoding="utf-8"),
        re.DOTALL | re.MULTILINE,
    ):
        for package in filter(None, needs.split(", ")):
            pytest.importorskip(package)
        run(block, names)


def run(block: str, names: dict[str, Any]) -> None:
    """Run a block in the current folder, with names that it may use; add what it defines."""
    path = Path("block.py").absolute()  # processes that it starts look for it elsewhere
    path.write_text(block, encoding="utf-8")
    names.update(runpy.run_path(str(path), names, "__main__"))


def test_documents_of_a_release() -> None:
    """They name the version, and are in the source archive."""
    version = re.escape(numba_lstm.__version__)
    assert re.search(rf"^version: {version}$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert re.fullmatch(rf"{version} - (?:not released yet|\d{{4}}-\d\d-\d\d)", headings[0])
    included = re.findall(r"\"/([\w.]+)\"", (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert {path.name for kind in ("*.md", "*.cff") for path in ROOT.glob(kind)} <= {*included}


def test_pictures_of_examples_are_drawn_for_either_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same colours of data that matplotlib knows by number, and with all else as the example has it."""
    matplotlib = pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(ROOT / "docs")
    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    from asv_bench.pictures import STYLES

    two_modes = importlib.import_module("two_modes")
    with matplotlib.rc_context():
        two_modes.style({}, "plot_some.py")
        _, axes = plt.subplots()
        (line,) = axes.plot([0, 1], color="C0", marker="o")
        filled = axes.fill_between([0, 1], [0, 1], color="C1", alpha=0.5)
        (other,) = axes.plot([1, 0], color="gray")
        images = tmp_path / "gallery" / "images"
        images.mkdir(parents=True)
        variables = {"src_file": "plot_some.py", "image_path_iterator": iter([str(images / "some_001.png"), "no more"])}
        shown = two_modes.scrape(None, variables, {"src_dir": str(tmp_path)})
        assert plt.get_fignums() == []
    for name, file in (("light", "some_001.png"), ("dark", "some_001_dark.png")):
        assert (images / file).stat().st_size > 1000
        assert re.search(rf"image:: /gallery/images/{file}\n.*\n    :class: .* only-{name}\n", shown)
    hexadecimal = matplotlib.colors.to_hex
    dark = STYLES["dark"]
    assert hexadecimal(line.get_color()) == hexadecimal(line.get_markerfacecolor()) == dark.drawn[0]
    assert hexadecimal(filled.get_facecolor()[0], keep_alpha=True) == f"{dark.drawn[1]}80"
    assert hexadecimal(axes.xaxis.label.get_color()) == dark.text
    assert hexadecimal(other.get_color()) == "#808080"


def test_thumbnails_are_the_pictures_of_either_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "docs")
    two_modes = importlib.import_module("two_modes")
    image = "  .. image:: /gallery/images/thumb/sphx_glr_plot_a_thumb.png\n    :alt:\n"
    thumbnail = f".. only:: html\n\n{image}\n  :doc:`a`\n"
    source = [thumbnail]
    two_modes.both_thumbnails(None, "gallery/index", source)
    images = re.findall(r"^  \.\. image:: (.*)\n    +:alt:.*\n    +:class: .*only-(\w+)$", source[0], re.MULTILINE)
    beginning = "/gallery/images/sphx_glr_plot_a_001"
    assert images == [(f"{beginning}.png", "light"), (f"{beginning}_dark.png", "dark")]
    source = [thumbnail]
    two_modes.both_thumbnails(None, "start", source)
    assert source == [thumbnail]
