"""The benchmarks run: every class of the asv suite once, and every command, on budgets too small to tell anything."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import os
import pkgutil
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from support import oracle
from support.places import ROOT

if not (ROOT / "asv_bench").is_dir():
    pytest.skip("no benchmarks beside the tests", allow_module_level=True)
sys.path.append(str(ROOT))  # at the end: an installed numba_lstm goes before the sources

from asv_bench import (
    benchmarks,
    busy,
    costs,
    disturbed,
    engines,
    forms,
    machine,
    neighbours,
    packing,
    peer_tables,
    peers,
    pictures,
    report,
    shapes,
    tables,
    timing,
    trainers,
    training,
    turns,
    voice,
)
from asv_bench.clients import programs

pytestmark = pytest.mark.usefixtures("threads")

SUITE = [importlib.import_module(f"asv_bench.benchmarks.{m.name}") for m in pkgutil.iter_modules(benchmarks.__path__)]

PREFIXES = ("time_", "timeraw_", "track_", "mem_", "peakmem_")
"""Of what asv takes for a benchmark."""

SLOW = {"Start"}
"""Compile kernels anew."""

CASES = [
    pytest.param(kind, method, id=f"{kind.__name__}.{method}", marks=[pytest.mark.slow] * (kind.__name__ in SLOW))
    for module in SUITE
    for _, kind in inspect.getmembers(module, inspect.isclass)
    if kind.__module__ == module.__name__ and not kind.__name__.startswith("_")
    for method, _ in inspect.getmembers(kind, inspect.isfunction)
    if method.startswith(PREFIXES)
]

@pytest.fixture(autouse=True)
def torch_as_it_was() -> Iterator[None]:
    """Put back what an engine, which has a process of its own elsewhere, sets for all of torch."""
    try:
        import torch
    except ImportError:
        yield
        return
    before = torch.backends.mkldnn.enabled, torch.get_num_threads()
    yield
    torch.backends.mkldnn.enabled = before[0]
    torch.set_num_threads(before[1])


LIMITS = machine.Machine(1e11, {1 << 14: 1e11, 1 << 20: 5e10, 1 << 26: 1e10}, 4)


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(timing, "BUDGET", 1e-4)
    affinity = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    yield
    if affinity:
        os.sched_setaffinity(0, affinity)


def first_arguments(kind: Any) -> tuple[Any, ...]:
    """Return the first combination of a benchmark's parameters; the shapes begin with the smallest."""
    choices = getattr(kind, "params", [])
    lists = choices if choices and isinstance(choices[0], list) else [choices]
    assert len(lists) == len(getattr(kind, "param_names", ())) or not choices
    return tuple(values[0] for values in lists if values)


@pytest.mark.parametrize(("kind", "method"), CASES)
def test_benchmarks_run(kind: Any, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(machine, "measure", lambda **_: LIMITS)
    benchmark, arguments = kind(), first_arguments(kind)
    if hasattr(benchmark, "setup_cache"):
        arguments = (benchmark.setup_cache(), *arguments)
    if hasattr(benchmark, "setup"):
        try:
            benchmark.setup(*arguments)
        except NotImplementedError as error:
            assert kind.__module__.endswith("peers")
            pytest.skip(str(error))
    result = getattr(benchmark, method)(*arguments)
    if method.startswith("track_"):
        assert result > 0
        assert isinstance(getattr(kind, method).unit, str)


def test_asv_finds_benchmarks_in_the_suite_alone() -> None:
    """It looks through the commands' modules too, for names like these."""
    import asv_bench

    for found in pkgutil.iter_modules(asv_bench.__path__, "asv_bench."):
        names = vars(importlib.import_module(found.name)) if not found.ispkg else {}
        assert not [name for name in names if name.lower().startswith(PREFIXES)], found.name


def test_suite_has_shapes_of_all_kinds() -> None:
    """Every parameter of the suite that is a shape makes one, and all shapes of the grid are there."""
    from asv_bench.benchmarks.calls import Calls

    assert set(shapes.select(Calls.params)) == set(shapes.PUBLIC) | set(shapes.ODD)


def run(command: str, *arguments: object) -> str:
    """Run a command in a process of its own and return what it prints."""
    words = [sys.executable, "-W", "error", "-m", f"asv_bench.{command}", *map(str, arguments)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def page_with(folder: Path, *names: str) -> Path:
    page = folder / "page.md"
    texts = {**dict.fromkeys(names, "old"), "measured": ""}
    blocks = [f"<!-- {name} -->\n{text}\n<!-- end of {name} -->\n" for name, text in texts.items()]
    page.write_text("\n".join(["before\n", *blocks, "after\n"]), encoding="utf-8")
    return page


def test_peers_with_our_engine_alone(tmp_path: Path) -> None:
    page, kept = page_with(tmp_path, "speed"), tmp_path / "kept.json"
    ours = ("--engines", *(engine for engine in engines.ENGINES if engine in engines.OURS))
    small = ("--shapes", "amp_step", "odd_13", "--rounds", 2, "--budget", 1e-3)
    printed = run("peers", *small, *ours, "--json", kept, "--readme", page)
    assert "There is no peer to compare with." in printed
    measured = json.loads(kept.read_text(encoding="utf-8"))
    seconds = {name: set(result["seconds"]) for name, result in measured["runs"]["1"].items()}
    assert seconds == {"amp_step": {"numba_lstm", "stream", "first step"}, "odd_13": {"numba_lstm"}}
    assert "A step of a stream takes at most" in page.read_text(encoding="utf-8")
    assert "A first step" in printed
    assert measured["versions"]["numba"] in page.read_text(encoding="utf-8")
    assert measured["date"] in printed


def fake_run(threads: str) -> dict[str, Any]:
    seconds = {"numba_lstm": 2e-6, "stream": 1e-6, "first step": 1.5e-6, "torch": 8e-6, "openvino": 4e-6}
    results = {
        "amp_step": {"seconds": seconds, "bound": 1e-6, "difference": 1e-7},
        "big_b64": {"seconds": {"numba_lstm": 3e-3, "torch": 24e-3}, "bound": 1e-3, "difference": 1e-7},
    }
    about = {"machine": "a CPU", "date": "2020-01-01", "versions": {"numba": "1"}, "rounds": 3, "shapes": ["public"]}
    return {**about, "runs": {threads: results}}


def test_peers_reads_runs_and_writes_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [tmp_path / f"{threads}.json" for threads in "12"]
    for path in paths:
        path.write_text(json.dumps(fake_run(path.stem)), encoding="utf-8")
    page = page_with(tmp_path, "speed")
    assert peers.main(["--read", *map(str, paths), "--readme", str(page)]) == 0
    # Ratios 4, of the stream, and 8.
    printed = capsys.readouterr().out
    assert "The geometric mean of 2 ratios is 5.66, and the smallest is 4.00 (guitar amplifier, 1 step). A" in printed
    assert "one core: guitar amplifier 0.75; 2 cores: guitar amplifier 0.75." in " ".join(printed.split())
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n\n<!-- speed -->\n")
    assert text.endswith("a CPU; 2020-01-01; numba 1.\n\n<!-- end of measured -->\n\nafter\n")
    assert "old" not in text
    row = next(line for line in text.splitlines() if line.startswith("| guitar amplifier, 1 step "))
    _, *cells = (cell.strip() for cell in row.split("|")[1:-1])
    assert cells == [*["4.00", "1.0 (2.0)", "4.0 openvino"] * 2, "1 to 40; L\xa0=\xa01, N\xa0=\xa01"]
    assert " ".join(text.split()).count("takes at most 0.50 of a call's time (guitar amplifier, 1 step).") == 2


def test_peers_writes_the_page_with_its_pictures(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    kept, plots = tmp_path / "kept.json", {name: tmp_path / f"{name}.png" for name in ("plot", "roofline")}
    kept.write_text(json.dumps(fake_run("1")), encoding="utf-8")
    page = page_with(tmp_path, "peers", "bound")
    options = [word for name, plot in plots.items() for word in (f"--{name}", str(plot))]
    assert peers.main(["--read", str(kept), "--page", str(page), *options]) == 0
    beside, bound = (report.read_block(page, name) for name in ("peers", "bound"))
    assert "is 5.66" in beside
    step, _ = cells_of(bound.partition("\n\n")[0])
    assert (step["One core: GFLOP/s"], step["time over bound"]) == ("13.1", "1.00")
    for text, name in ((beside, "plot"), (bound, "roofline")):
        for style, path in (("light", f"{name}.png"), ("dark", f"{name}_dark.png")):
            assert f"```{{image}} {path}\n" in text
            assert f":class: only-{style}\n" in text
            assert (tmp_path / path).stat().st_size > 1000


def test_each_group_has_its_place(tmp_path: Path) -> None:
    kept = tmp_path / "few.json"
    kept.write_text(json.dumps(fake_run("1") | {"shapes": ["few"]}), encoding="utf-8")
    page = page_with(tmp_path, "few")
    assert peers.main(["--read", str(kept), "--full", str(page)]) == 0
    assert "the smallest is 4.00 (guitar amplifier, 1 step)" in page.read_text(encoding="utf-8")
    for names in (["odd"], ["amp_step"], ["public", "few"]):
        with pytest.raises(SystemExit, match="has places for"):
            peers.main(["--shapes", *names, "--full", str(page)])
    other = tmp_path / "public.json"
    other.write_text(json.dumps(fake_run("2")), encoding="utf-8")
    with pytest.raises(SystemExit, match="of different shapes"):
        peers.main(["--read", str(kept), str(other)])


def test_few_rows_with_large_weights() -> None:
    few = shapes.select(["few"])
    assert len(few) == 20
    assert {shape.batch for shape in few.values()} == {2, 3, 4, 5, 6}
    assert {shape.hidden_size for shape in few.values()} == {512, 768, 1024, 1536}
    assert all(shape == shapes.Shape(h := shape.hidden_size, h, steps=50, batch=shape.batch) for shape in few.values())
    assert shapes.select(["few_6x1536"]) == {"few_6x1536": shapes.Shape(1536, 1536, steps=50, batch=6)}


def test_the_full_table_takes_the_stream_for_ours() -> None:
    lines = peer_tables.full_table(fake_run("1")["runs"]["1"]).splitlines()
    header, _, step, sequence = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines)
    figures = dict(zip(header, step, strict=True))
    assert "first step" not in figures
    assert (figures["stream"], figures["ratio"], figures["over bound"]) == ("1.0", "4.00", "1.00")
    assert (figures["openvino"], figures["torch"]) == ("**4.0**", "8.0")  # the best peer's is bold
    figures = dict(zip(header, sequence, strict=True))
    assert (figures["stream"], figures["over bound"]) == ("", "3.00")


STATEFUL = [shapes.Shape(3, 5, 2, steps=1, batch=2), shapes.Shape(3, 5, 2, bidirectional=True, batch=2)]
STATEFUL += [shapes.Shape(4, 6, proj_size=3), shapes.Shape(3, 5, 2, steps=4, batch=2)]


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("engine", [engine for engine in engines.ENGINES if engine != "first step"])
@pytest.mark.parametrize("shape", STATEFUL, ids=str)
def test_every_engine_starts_from_the_states(engine: str, shape: shapes.Shape) -> None:
    """A single step starts from states that are not zero, a sequence from zeros; against NumPy in float64."""
    given = shapes.case(shape)
    assert (given.hx is None) == (shape.steps > 1)
    try:
        runner = engines.ENGINES[engine](given, 1)
    except (ModuleNotFoundError, engines.Unsupported) as error:
        pytest.skip(str(error))
    expected = oracle.lstm(given.weights, given.x, *(given.hx or ())).output
    for _ in range(2):  # calls do not add up
        np.testing.assert_allclose(runner.output(runner.call()), expected, rtol=0, atol=1e-6)
    if given.hx:
        assert all(np.abs(state).min() > 0 for state in given.hx)


def test_a_first_step_starts_from_zeros() -> None:
    given = shapes.case(STATEFUL[0])
    first = engines.ENGINES["first step"](given, 1)
    zeros = engines.ENGINES["numba_lstm"](given._replace(hx=None), 1)
    np.testing.assert_array_equal(first.output(first.call()), zeros.output(zeros.call()))
    for shape in STATEFUL[1], STATEFUL[3]:
        with pytest.raises(engines.Unsupported):
            engines.make("first step", shape, 1)


def test_a_stream_is_timed_with_a_state() -> None:
    """Also when no output was asked for before."""
    given = shapes.case(STATEFUL[0])
    step = engines.ENGINES["stream"](given, 1).call()
    np.testing.assert_array_equal(step, engines.ENGINES["numba_lstm"](given, 1).call()[0][0])


@pytest.mark.parametrize("form", engines.FORMS)
def test_forms_take_streams_for_steps_and_calls_for_sequences(form: str) -> None:
    """With the numbers of a module that was quantized, from the states of the case."""
    for shape in STATEFUL:
        given = shapes.case(shape)
        lstm = engines.numba_lstm_module(given, None if form == "float32" else form)
        assert lstm.form == form
        runner = engines.FORMS[form](given, 1)
        streamed = isinstance(runner.call(), np.ndarray)
        assert streamed == shape.streams()
        np.testing.assert_array_equal(runner.output(runner.call()), lstm(given.x, given.hx)[0])


@pytest.mark.parametrize("engine", engines.INT8_PEERS)
@pytest.mark.parametrize("shape", STATEFUL, ids=str)
def test_int8_peers_compute_the_network(engine: str, shape: shapes.Shape) -> None:
    """Within what int8 costs, and not as exactly as float32, which would be no int8."""
    given = shapes.case(shape)
    try:
        runner = engines.INT8_PEERS[engine](given, 1)
    except (ModuleNotFoundError, engines.Unsupported) as error:
        pytest.skip(str(error))
    expected = oracle.lstm(given.weights, given.x, *(given.hx or ())).output
    error = np.abs(runner.output(runner.call()) - expected).max()
    assert 1e-5 < error < 0.05


def test_int8_with_a_projection_is_left_out() -> None:
    """By both: torch's cannot, and ONNX has no projection."""
    for engine in engines.INT8_PEERS:
        pytest.importorskip(engine.split()[0])
        pytest.importorskip("onnx")
        with pytest.raises(engines.Unsupported, match="projection"):
            engines.make(engine, shapes.Shape(4, 6, proj_size=3), 1)


def fake_forms() -> dict[str, Any]:
    step = {"float32": 12e-6, "float16": 8e-6, "int8": 4e-6, "torch int8": 20e-6, "onnxruntime int8": 10e-6}
    call = {"float32": 9e-3, "int8": 3e-3, "torch": 12e-3, "openvino": 15e-3}
    bounds = {"float32": 8e-6, "float16": 4e-6, "bfloat16": 4e-6, "int8": 2e-6}
    return {
        "stac_tiny": {"seconds": {**step, "onnxruntime": 30e-6, "torch": 60e-6}, "bounds": bounds},
        "elmo_b1": {"seconds": call, "bounds": dict.fromkeys(bounds, 2e-3)},
    }


def cells_of(tables: str) -> list[dict[str, str]]:
    """Return the lines of a table, or of several that go on with the same lines, by the names of the columns."""
    found: dict[str, dict[str, str]] = {}
    for table in tables.split("\n\n"):
        header, _, *lines = ([cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines())
        for line in lines:
            found.setdefault(line[0], {}).update(zip(header, line, strict=True))
    return list(found.values())


def test_the_table_of_forms() -> None:
    step, call = cells_of(forms.full_table(fake_forms()))
    assert (step["int8"], step["best float32 peer"]) == ("4.0", "30.0 onnxruntime")
    assert (step["int8 peer / int8"], step["float32 peer / int8"], step["float32 / int8"]) == ("2.50", "7.50", "3.00")
    assert (step["float32 / float16"], step["int8 over bound"], step["float16 over bound"]) == ("1.50", "2.00", "2.00")
    assert "bfloat16" not in step
    assert (call["int8 peer / int8"], call["float32 / int8"], call["float16"]) == ("", "3.00", "")
    assert call["best float32 peer"] == "12,000 torch"


def test_the_summary_of_forms() -> None:
    """Shapes that an engine has no time for do not count."""
    results = fake_forms()
    results["vad_step"] = {"seconds": {"int8": 1e-6, "torch int8": 10e-6}, "bounds": {}}
    lines = {line["time of the other / ours"]: line for line in cells_of(forms.summary(results))}
    beside = lines["int8 steps, beside the best int8 peer"]
    assert (beside["shapes"], beside["geometric mean"]) == ("2", "5.00")
    assert (beside["smallest"], beside["at"]) == ("2.50", "market model of 2 x 128, 1 step")
    assert lines["int8 sequences, beside our float32"]["geometric mean"] == "3.00"
    assert "int8 batches, beside our float32" not in lines


def test_the_summary_names_shapes_of_the_grid() -> None:
    assert {*forms.STEPS, *forms.SEQUENCES, *forms.BATCHES} <= set(shapes.PUBLIC)
    assert all(shapes.PUBLIC[name].streams() for name in forms.STEPS)


def test_weights_beyond_l2(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them between two steps of a stream, the recurrent ones of a layer within a sequence, of one row."""
    monkeypatch.setattr(forms, "l2_bytes", lambda: 1 << 20)
    assert {name for name, shape in shapes.PUBLIC.items() if forms.beyond_l2(shape)} == {
        "stac_small", "stac_med", "stac_deep", *forms.SEQUENCES
    }  # fmt: skip


def test_forms_run(tmp_path: Path) -> None:
    """A whole run of ours, whose figures mean nothing."""
    page, kept = page_with(tmp_path, "forms"), tmp_path / "kept.json"
    small = ("--shapes", "amp_step", "odd_13", "--rounds", 1, "--budget", 1e-4, "--engines", *engines.FORMS)
    printed = run("forms", *small, "--json", kept, "--page", page)
    results = json.loads(kept.read_text(encoding="utf-8"))["runs"]["1"]
    assert set(results) == {"amp_step", "odd_13"}
    assert all(set(result["seconds"]) == set(engines.FORMS) for result in results.values())
    bounds = results["odd_13"]["bounds"]
    assert 0 < bounds["int8"] <= bounds["float16"] == bounds["bfloat16"] <= bounds["float32"]
    assert "One core, microseconds" in printed
    assert "| odd_13 " in page.read_text(encoding="utf-8")


def test_forms_that_fail_are_a_failure(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> None:
        raise turns.Failed("int8: it broke")

    monkeypatch.setattr(turns, "run_engine", fail)
    monkeypatch.setattr(machine, "measure", lambda **_: LIMITS)
    assert forms.main(["--shapes", "amp_step", "--engines", "int8"]) == 1
    assert "! int8: it broke" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("engine", trainers.TRAINERS)
@pytest.mark.parametrize("shape", [shapes.Shape(3, 5, 2, True, steps=4, batch=2), shapes.Shape(4, 6, 1, False, 3, 5)])
def test_trainers_give_the_same_gradients(engine: str, shape: shapes.Shape, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the input and of all parameters, step after step; against differences of NumPy in float64."""
    monkeypatch.setenv("XLA_FLAGS", "")  # put back afterwards
    case = shapes.case(shape)
    try:
        trainer = trainers.TRAINERS[engine](case, 1)
    except (ModuleNotFoundError, engines.Unsupported) as error:
        pytest.skip(str(error))
    d_output, h = trainers.output_gradient(shape).astype(np.float64), 1e-5
    exact = [array.astype(np.float64) for array in (case.x, *case.weights.values())]

    def loss(x: np.ndarray, *weights: np.ndarray) -> float:
        output = oracle.lstm(dict(zip(case.weights, weights, strict=True)), x).output
        return float((output * d_output).sum())

    for _ in range(2):
        found = trainer.output(trainer.call())
        parts = np.split(found, np.cumsum(trainers.sizes(case))[:-1])
    for k, part in enumerate(parts):
        for place in (0, part.size - 1):
            near = []
            for change in (h, -h):
                moved = [array.copy() for array in exact]
                moved[k].ravel()[place] += change
                near.append(loss(*moved))
            np.testing.assert_allclose(part[place], (near[0] - near[1]) / (2 * h), rtol=1e-4, atol=1e-5)


def test_trainers_take_no_single_steps() -> None:
    for engine in ("numba_lstm", "jax"):
        with pytest.raises(engines.Unsupported):
            trainers.TRAINERS[engine](shapes.case(STATEFUL[0]), 1)


def test_what_torch_keeps() -> None:
    """More than gates and c, whichever of its ways it takes; its own not the input, nor the parameters."""
    pytest.importorskip("torch")
    shape = shapes.Shape(300, 8, steps=20, batch=4)
    least = 5 * shape.hidden_size * shape.steps * shape.batch * 4
    onednn, own = (
        trainers.TRAINERS[engine](shapes.case(shape), 1).kept()["kept"] for engine in ("torch", "torch without oneDNN")
    )
    assert onednn >= least
    assert least <= own < 2 * least < 4 * shape.input_size * shape.steps * shape.batch


def fake_training() -> dict[str, Any]:
    mib = 2.0**20
    whole = {
        "seconds": {"numba_lstm": 10e-3, "torch": 20e-3, "jax": 40e-3},
        "forward": {"numba_lstm": 4e-3, "torch": 5e-3, "jax": 9e-3},
        "kept": {"numba_lstm": 3 * mib, "torch": 6 * mib},
        trainers.STATES: {"numba_lstm": mib},
        "flop": 5e8, "peak": 1e11, "difference": 1e-6,
    }  # fmt: skip
    return {"adding_b32": whole, "awd_b20": {"seconds": {"torch": 1.0}, "flop": 1, "peak": 1}}


def test_the_tables_of_training() -> None:
    first, second = cells_of(training.full_table(fake_training()))
    assert (first["numba_lstm"], first["best peer"], first["ratio"]) == ("10,000", "torch", "2.00")
    assert (first["our forward"], first["backward / forward"], first["its backward / forward"]) == (
        "4,000", "1.50", "3.00",
    )  # fmt: skip
    assert (first["GFLOP/s"], first["of the peak"]) == ("50.0", "0.50")
    assert (second["numba_lstm"], second["ratio"], second["GFLOP/s"]) == ("", "", "")
    first, second = cells_of(training.memory_table(fake_training()))
    assert (first["sizes"], first["numba_lstm"], first['with keep="states"']) == (
        "2 to 64; L\xa0=\xa0100, N\xa0=\xa032", "3.00", "1.00",
    )  # fmt: skip
    assert (first["torch / ours"], first['torch / keep="states"']) == ("2.00", "6.00")
    assert second["torch / ours"] == ""


def test_training_runs(tmp_path: Path) -> None:
    """A whole run of ours, whose figures mean nothing."""
    page, kept = page_with(tmp_path, "training"), tmp_path / "kept.json"
    small = ("--shapes", "odd_13", "amp_step", "--rounds", 1, "--budget", 1e-4, "--engines", "numba_lstm")
    printed = run("training", *small, "--json", kept, "--page", page)
    results = json.loads(kept.read_text(encoding="utf-8"))["runs"]["1"]
    assert not results["amp_step"]["seconds"]  # a single step
    found = results["odd_13"]
    assert all(found[figure]["numba_lstm"] > 0 for figure in ("seconds", "forward"))
    assert 0 < found[trainers.STATES]["numba_lstm"] < found["kept"]["numba_lstm"]
    assert "There is no peer to compare with." in printed
    assert "| odd_13 " in page.read_text(encoding="utf-8")


def test_gradients_that_differ_are_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of one array of many, by a part of its own largest number."""

    def lines(python: str, engine: str, threads: int, options: Any, outputs: Path | None) -> list[dict[str, Any]]:
        parts = [np.ones(size, np.float32) for size in trainers.sizes(shapes.case(shapes.ODD["odd_13"]))]
        parts[1] *= 1e-6 * (1 if engine == "torch" else 1.001)
        if outputs:
            np.save(outputs / f"{engine}.odd_13.npy", np.concatenate(parts))
        return [{"shape": "odd_13", "seconds": 1e-6, "forward": 1e-7, "kept": 1}]

    monkeypatch.setattr(turns, "run_engine", lines)
    monkeypatch.setattr(machine, "measure", lambda **_: LIMITS)
    assert training.main(["--shapes", "odd_13", "--engines", "numba_lstm", "torch"]) == 1
    assert "! odd_13: gradients differ from those of torch by 1.0e-03" in capsys.readouterr().err


def test_limits_of_forms() -> None:
    """Bytes by the form, and for int8 the rate of dot products."""
    limits = machine.of_forms(LIMITS)
    assert {form: each.itemsize for form, each in limits.items()} == dict(zip(engines.FORMS, (4, 2, 2, 1), strict=True))
    assert limits["float16"].flop_per_second == LIMITS.flop_per_second
    assert limits["int8"].flop_per_second > 1e8
    assert limits["int8"].bytes_per_second == LIMITS.bytes_per_second


def test_the_table_of_packing() -> None:
    figures = {"float32": packing.Seconds(0.0, 0.5), "int8": packing.Seconds(0.3, 0.2)}
    first, second = cells_of(packing.table(figures))
    assert (first["both, s"], first["over float32"]) == ("0.50", "1.00")
    assert (second["quantizing, s"], second["both, s"], second["over float32"]) == ("0.30", "0.50", "1.00")
    assert 99e6 < sum(map(sum, shapes.Shape(packing.SIZE, packing.SIZE).weights())) < 101e6


def test_every_shape_of_the_pages_has_words_of_its_own() -> None:
    chosen = shapes.select(["public", "few", "training"])
    assert {*shapes.WORDS} == {*chosen}
    assert len({shapes.words(name) for name in chosen}) == len(chosen)
    assert shapes.words("odd_13") == "odd_13"


def test_a_difference_is_a_failure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """An engine whose output is wrong does not pass; outputs are compared in full."""

    def lines(python: str, engine: str, threads: int, options: Any, outputs: Path | None) -> list[dict[str, Any]]:
        output = np.zeros(40, np.float32)
        output[-1] = 1e-4 * (engine == "torch")
        if outputs:
            np.save(outputs / f"{engine}.amp_step.npy", output)
        return [{"shape": "amp_step", "seconds": 1e-6}]

    monkeypatch.setattr(turns, "run_engine", lines)
    monkeypatch.setattr(machine, "measure", lambda **_: LIMITS)
    assert peers.main(["--shapes", "amp_step", "--engines", "numba_lstm", "torch"]) == 1
    assert "! numba_lstm, amp_step: differs from torch by 1.0e-04" in capsys.readouterr().err


def test_an_engine_that_fails_is_a_failure(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> None:
        raise turns.Failed("torch: it broke")

    monkeypatch.setattr(turns, "run_engine", fail)
    monkeypatch.setattr(machine, "measure", lambda **_: LIMITS)
    assert peers.main(["--shapes", "amp_step", "--engines", "torch"]) == 1
    assert "! torch: it broke" in capsys.readouterr().err


def test_a_block_needs_its_place(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="should have one line"):
        report.write_block(page_with(tmp_path, "speed"), "other", "text")


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("README.md", ["speed", "measured"]),
        ("docs/performance.md", ["peers", "bound", "measured"]),
        ("docs/performance/engines.md", ["engines", "few", "proteins", "measured"]),
        ("docs/performance/forms.md", ["forms", "packing", "measured"]),
        ("docs/performance/streams.md", ["streams", "serving", "workers", "voice", "startup", "measured"]),
        ("docs/performance/training.md", ["training", "accelerate", "measured"]),
        ("docs/performance/limits.md", ["ways", "sweep", "special", "measured"]),
        ("docs/howto/weights.md", ["trained", "measured"]),
        ("docs/reliability.md", ["reliability", "measured"]),
        ("docs/explain/accuracy.md", ["accuracy", "measured"]),
        ("docs/howto/threads.md", ["neighbours", "measured"]),
    ],
)
def test_pages_have_the_places(page: str, names: list[str], tmp_path: Path) -> None:
    copy = tmp_path / "page.md"
    copy.write_text((ROOT / page).read_text(encoding="utf-8"), encoding="utf-8")
    for name in names:
        report.write_block(copy, name, f"text of {name}")
    assert all(f"text of {name}" in copy.read_text(encoding="utf-8") for name in names)


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("sweep", ["--sizes", 3, 16, "--batches", 1, 2]),
        ("streams", ["--budget", 1e-4]),
        ("serving", ["--rounds", 2]),
        pytest.param("workers", ["--rounds", 1, "--copies", 1], marks=pytest.mark.slow),
        ("ways", ["--threads", 2]),
        ("accuracy", ["--shapes", "amp_block64"]),
        ("packing", ["--size", 20, "--rounds", 1]),
        ("trained", ["--rounds", 1, "--budget", 1e-4]),
        pytest.param("special", ["--shapes", "vad_step", "--budget", 1e-4], marks=pytest.mark.slow),
        pytest.param("startup", [], marks=pytest.mark.slow),
        pytest.param("proteins", ["--budget", 1e-4], marks=pytest.mark.slow),
    ],
)
def test_commands_print_and_write_tables(command: str, arguments: list[object], tmp_path: Path) -> None:
    page = page_with(tmp_path, command)
    printed = run(command, *arguments, "--page", page)
    table = [line for line in printed.splitlines() if line.startswith("|")]
    assert len(table) > 2
    assert "\n".join(table[:2]) in page.read_text(encoding="utf-8")


def test_what_the_voice_servers_load_test_prints_becomes_a_table() -> None:
    printed = """ours, 1 core(s)
  300 callers: median 4.6 ms, 99 % in 7.8 ms, sent 1.1 ms late

| engine | cores | callers | median ms | 99 % in ms |
| --- | ---: | ---: | ---: | ---: |
| ours | 1 | 600 | 7.7 | 13.8 |
| ours | 2 | 900 | 6.0 | 12.0 |
| torch | 1 | 120 | 3.3 | 7.1 |
| onnxruntime | 2 | 450 | 1.6 | 7.9 |
"""
    table = voice.table(list(voice.parsed(printed))).splitlines()
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table]
    assert lines[2:] == [
        ["1", "numba_lstm", "600", "7.7", "13.8", ""],
        ["1", "torch", "120", "3.3", "7.1", "5.00"],
        ["2", "numba_lstm", "900", "6.0", "12.0", ""],
        ["2", "onnxruntime", "450", "1.6", "7.9", "2.00"],
    ]
    assert voice.LOAD_TEST.is_file()


def test_pages_agree_on_what_was_measured() -> None:
    """Figures of one machine are of one set of days and versions; a page and a part have one machine each."""
    captions = {name: report.read_block(page, report.MEASURED) for name, page in tables.PAGES.items()}
    found = {name: report.read_caption(caption) for name, caption in captions.items()}
    assert None not in found.values()
    assert len(set(captions.values())) == len({about["machine"] for about in found.values() if about})
    for part in tables.PARTS.values():
        assert len({captions[name] for name in part.blocks}) == 1, part
    for name, page in tables.PAGES.items():
        text = page.read_text(encoding="utf-8")
        days = set(re.findall(r"; (20\d\d-\d\d-\d\d(?: to [-\d]+)?); ", " ".join(text.split())))
        assert days == {found[name]["date"]}


def test_every_block_of_the_pages_has_a_part() -> None:
    """What one command does not write would be of another day."""
    written = {place for part in tables.PARTS.values() for place in part.places()}
    for name, page in tables.PAGES.items():
        blocks = set(re.findall(r"<!-- (\w+) -->", page.read_text(encoding="utf-8"))) - {report.MEASURED}
        assert {(name, block) for block in blocks} == {pair for pair in written if pair[0] == name}
    others = [path for path in (ROOT / "docs").rglob("*.md") if path not in tables.PAGES.values()]
    assert not [path for path in others if "_build" not in path.parts and "<!-- end of" in path.read_text("utf-8")]


def test_circumstances_come_back_from_their_sentence() -> None:
    about = report.own_circumstances("pytest", "no-such-package")
    assert set(about["versions"]) == {"Python", "numba", "numpy", "pytest"}
    assert report.read_caption(report.caption(about)) == about
    about |= {"date": "2020-01-01 to 2020-01-03", "machine": "a (R) CPU; of two, parts"}
    assert report.read_caption(report.caption(about)) == about
    assert report.read_caption("") is None


def test_figures_of_different_runs() -> None:
    def run_on(day: str, machine: str = "a CPU", **versions: str) -> dict[str, Any]:
        return {"machine": machine, "date": day, "versions": versions}

    both = report.together([run_on("2020-01-02", numba="1"), run_on("2020-01-01", torch="2"), run_on("2020-01-02")])
    assert both == run_on("2020-01-01 to 2020-01-02", numba="1", torch="2")
    assert report.together([both, run_on("2020-01-03", numba="1")])["date"] == "2020-01-01 to 2020-01-03"
    for other in (run_on("2020-01-01", machine="another"), run_on("2020-01-01", numba="2")):
        with pytest.raises(SystemExit, match="should not stand on one page"):
            report.together([both, other])


def test_a_page_does_not_mix_machines(tmp_path: Path) -> None:
    page = page_with(tmp_path, "speed")
    report.publish("speed", "one", {"machine": "a CPU", "date": "2020-01-01", "versions": {"numba": "1"}}, page)
    other = {"machine": "another", "date": "2020-01-01", "versions": {"numba": "1"}}
    with pytest.raises(SystemExit, match="should not stand on one page"):
        report.publish("speed", "two", other, page)
    assert report.read_block(page, "speed") == "one"


class Project:
    """Copies of the pages, and parts that write without measuring."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.ran: list[str] = []
        self.broken: set[str] = set()
        pages = {name: root / page.relative_to(ROOT) for name, page in tables.PAGES.items()}
        for name, page in pages.items():
            page.parent.mkdir(parents=True, exist_ok=True)
            text = tables.PAGES[name].read_text(encoding="utf-8")
            page.write_text(text, encoding="utf-8")
            report.write_block(page, report.MEASURED, "")
        monkeypatch.setattr(report, "ROOT", root)
        monkeypatch.setattr(tables, "PAGES", pages)
        monkeypatch.setattr(tables, "run", self.run)
        monkeypatch.setattr(tables, "check", lambda pythons, names: None)
        monkeypatch.setattr(report, "machine", lambda: "a CPU")

    def run(self, name: str, command: list[str], folder: Path) -> bool:
        self.ran.append(name)
        if name in self.broken:
            raise tables.Failed(f"{name} has failed")
        about = report.circumstances({name: f"{self.ran.count(name)}"})
        for page, block in tables.PARTS[name].places():
            copy = tables.copy_of(tables.PAGES[page], folder)
            assert any(str(copy) in word for word in command), command
            report.publish(block, f"{block}, {self.ran.count(name)}", about, copy)
        return name != "neighbours"

    def main(self, *arguments: str) -> int:
        return tables.main(["--folder", str(self.root / "work"), *arguments])

    def block(self, name: str, page: str) -> str:
        return report.read_block(tables.PAGES[page], name)

    def captions(self) -> set[str]:
        return {self.block(report.MEASURED, page) for page in tables.PAGES}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    return Project(tmp_path, monkeypatch)


def test_one_run_writes_all_pages(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert project.main() == 1
    assert "! neighbours misses a limit" in capsys.readouterr().err
    assert project.ran == list(tables.PARTS)
    for part in tables.PARTS.values():
        for page, block in part.places():
            assert project.block(block, page) == f"{block}, 1"
    (caption,) = project.captions()
    assert all(name in " ".join(caption.split()) for name in tables.PARTS)
    assert not (project.root / "work").exists()


def test_a_part_that_fails_leaves_the_pages_alone(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    before = {page: page.read_text(encoding="utf-8") for page in tables.PAGES.values()}
    project.broken = {"few"}
    assert project.main() == 1
    assert "! no page was changed: few are missing" in capsys.readouterr().err
    assert before == {page: page.read_text(encoding="utf-8") for page in tables.PAGES.values()}
    project.broken = set()
    project.ran.clear()
    page = tables.PAGES["readme"]
    page.write_text(page.read_text(encoding="utf-8") + "\nwritten meanwhile\n", encoding="utf-8")
    assert project.main("--only", "few") == 0
    assert project.ran == ["few"]
    assert project.block("few", "engines") == "few, 1"
    assert project.block("speed", "readme") == "speed, 1"
    assert len(project.captions()) == 1
    assert "written meanwhile" in page.read_text(encoding="utf-8")


def test_only_some_parts(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="a machine that it does not name: --only streams serving"):
        project.main("--only", "streams")
    project.main()
    report.write_block(tables.PAGES["streams"], "streams", "old")
    monkeypatch.setattr(project, "ran", [])
    assert project.main("--only", "streams") == 0
    assert project.ran == ["streams"]
    assert project.block("streams", "streams") == "streams, 1"
    assert len(project.captions()) == 1
    monkeypatch.setattr(report, "machine", lambda: "another")
    with pytest.raises(SystemExit, match="has figures of a CPU"):
        project.main("--only", "streams")


def test_a_page_of_another_machine(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.main()
    monkeypatch.setattr(report, "machine", lambda: "another")
    with pytest.raises(SystemExit, match=r"limits\.md has figures of a CPU: --only ways sweep special measures all"):
        project.main("--only", "sweep")
    assert project.main("--only", "ways", "sweep", "special") == 0
    assert "another; " in project.block(report.MEASURED, "limits")
    assert "a CPU; " in project.block(report.MEASURED, "streams")
    assert len(project.captions()) == 2
    # Parts that write on several pages are those of one machine, too.
    with pytest.raises(SystemExit, match=r"engines\.md has figures of a CPU"):
        project.main("--only", "peers")


def test_a_part_without_its_tables_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its exit status; one that wrote them and ends with 1 has missed a limit."""
    page = page_with(tmp_path, "streams")
    monkeypatch.setattr(tables, "copy_of", lambda path, folder: page)
    with pytest.raises(tables.Failed, match="streams has failed"):
        tables.run("streams", [sys.executable, "-c", ""], tmp_path)
    assert report.read_block(page, "streams") == ""
    code = f"import pathlib, asv_bench.report as r; r.write_block(pathlib.Path({str(page)!r}), 'streams', 'x')"
    for status in (0, 1):
        command = [sys.executable, "-c", f"{code}; raise SystemExit({status})"]
        assert tables.run("streams", command, tmp_path) == (status == 0)


@pytest.mark.parametrize("name", tables.PARTS)
def test_commands_of_parts_are_understood(name: str, tmp_path: Path) -> None:
    """Their options exist: ``--help`` ends before anything is done, and after all that stands before it was parsed."""
    pythons = dict.fromkeys(("own", "peers", "clients"), sys.executable)
    command = tables.words(tables.PARTS[name], pythons, 1, tmp_path)
    assert not [word for word in command if "{" in word]
    done = subprocess.run([*command, "--help"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_missing_clients_and_other_versions_are_refused_before_anything_is_timed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installed = {"own": {"numba": "1"}, "peers": {"numba": "1", "torch": "2"}, "clients": {"numba": "1", "torch": "2"}}
    packages = {entry.package: "1" for entry in programs.PROGRAMS.values()}
    monkeypatch.setattr(pictures, "figure_class", lambda: None)
    monkeypatch.setattr(
        report, "versions_of", lambda python, *names: {n: v for n, v in installed[python].items() if n in names}
    )
    pythons = {name: name for name in installed}
    tables.check(pythons, ["streams"])
    with pytest.raises(SystemExit, match=r"clients has no easyocr, fastai, flair, .*: --clients names another"):
        tables.check(pythons, ["clients"])
    installed["clients"] |= packages
    tables.check(pythons, ["clients"])
    installed["clients"]["torch"] = "3"
    with pytest.raises(SystemExit, match=r"clients has .*'torch': '3'.*, other interpreters .*'torch': '2'"):
        tables.check(pythons, ["streams"])


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_busy_processes_end() -> None:
    """Whether all is well, an exception comes, or one of them has ended before."""
    with busy.spinning(2) as processes:
        assert [process.poll() for process in processes] == [None, None]
        processes[0].kill()
    assert all(process.returncode is not None for process in processes)
    with pytest.raises(KeyboardInterrupt), busy.spinning(1) as processes:
        raise KeyboardInterrupt
    assert processes[0].returncode is not None


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signals")
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_busy_processes_end_with_whoever_started_them(number: str) -> None:
    code = """
import signal, sys, time
from asv_bench.busy import spinning
signal.signal(signal.SIGINT, signal.default_int_handler)
with spinning(2) as processes:
    print(*(process.pid for process in processes), flush=True)
    time.sleep(600)
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert parent.stdout
    children = [int(word) for word in parent.stdout.readline().split()]
    assert len(children) == 2
    parent.send_signal(getattr(signal, number))
    parent.wait(300)
    parent.stdout.close()
    limit = time.monotonic() + 300
    while any(map(alive, children)):
        assert time.monotonic() < limit, "busy processes are left"
        time.sleep(0.05)


def test_a_group_with_a_quota_is_removed() -> None:
    with busy.group_with_quota(1.5) as group:
        if not group:
            pytest.skip("no control group with a quota can be made here")
        quota = group / "cpu.max" if (group / "cpu.max").exists() else group / "cpu.cfs_quota_us"
        assert quota.read_text(encoding="ascii").split()[0] == "150000"
    assert not group.exists()


def test_when_full_speed_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that calls move: a slow one, a lucky one, two slow ones, and full speed from then on."""
    clock = [0.0]
    durations = iter([0.6, 0.2, 0.1, 0.2, 0.2, *[0.1] * 10])

    def call() -> None:
        clock[0] += next(durations)

    monkeypatch.setattr(disturbed.time, "perf_counter", lambda: clock[0])
    with busy.spinning(1) as (neighbour,):
        assert disturbed.seconds_until_back(call, neighbour, 0.11) == pytest.approx(0.7)
        assert neighbour.returncode is not None
    durations = iter([0.6, *[0.2] * 10])
    with busy.spinning(1) as (neighbour,):
        assert disturbed.seconds_until_back(call, neighbour, 0.11) == float("inf")


def fake_neighbours(**changes: float) -> Any:
    def figures(alone: float, one: float, two: float, quota: float, back: float) -> dict[str, Any]:
        return {"seconds": {"0": alone, "1": one, "2": two, "quota": quota}, "back": back}

    ours = figures(4e-3, 8.8e-3, 20e-3, 16e-3, 0.1)
    ours["seconds"] |= {place: value for place, value in changes.items() if place != "back"}
    ours["back"] = changes.get("back", ours["back"])
    return {"ge2e_b1": {neighbours.OURS: ours, neighbours.ONE: figures(8e-3, 10e-3, 18e-3, 8e-3, 0.0)}}


def test_limits_beside_neighbours() -> None:
    assert neighbours.missed(fake_neighbours()) == []
    assert "1.25 times one thread undisturbed" in neighbours.missed(fake_neighbours(**{"1": 10e-3}))[0]
    assert "1.25 times one thread in the same place" in neighbours.missed(fake_neighbours(**{"2": 22.5e-3}))[0]
    assert "back after 0.30 s" in neighbours.missed(fake_neighbours(back=0.3))[0]
    assert "back after inf s" in neighbours.missed(fake_neighbours(back=float("inf")))[0]
    assert neighbours.missed({"ge2e_b1": {}}) == []


def test_the_table_of_neighbours() -> None:
    results = fake_neighbours()
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in neighbours.table(results).splitlines()]
    assert lines[3] == ["speaker encoder, 1 utterance: one busy process", "8.80", "10.00", "1.10", "0.88"]
    assert lines[5] == ["speaker encoder, 1 utterance: a quota of 1 CPU", "16.00", "8.00", "2.00", "2.00"]
    for row in results["ge2e_b1"].values():
        del row["seconds"]["quota"]
    assert neighbours.table(results).count("no cgroup here") == 2


def test_neighbours_run(tmp_path: Path) -> None:
    """A whole run, whose figures mean nothing; limits may be missed."""
    page, kept = page_with(tmp_path, "neighbours"), tmp_path / "kept.json"
    words = ["--shapes", "amp_block64", "--engines", "numba_lstm", "--seconds", "0.01", "--json", str(kept)]
    if len(os.sched_getaffinity(0)) < neighbours.THREADS:
        pytest.skip("one core")
    command = [sys.executable, "-W", "error", "-m", "asv_bench.neighbours", *words, "--page", str(page)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1)
    assert "Traceback" not in done.stderr
    row = json.loads(kept.read_text(encoding="utf-8"))["results"]["amp_block64"]
    assert set(row) == {neighbours.OURS, neighbours.ONE}
    assert all({"0", "1", "2"} <= set(figures["seconds"]) for figures in row.values())
    assert "guitar amplifier, 64 steps: two busy processes" in page.read_text(encoding="utf-8")


def test_sweep_draws(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from asv_bench import sweep

    page = page_with(tmp_path, "sweep")
    arguments = ["--sizes", "8", "16", "--batches", "1", "--plot", str(tmp_path / "plot.png"), "--page", str(page)]
    sweep.main(arguments)
    for name in ("plot.png", "plot_dark.png"):
        assert (tmp_path / name).stat().st_size > 1000
        assert f"{{image}} {name}\n" in page.read_text(encoding="utf-8")


def test_sweep_draws_each_line_in_its_own_way() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    from asv_bench import pictures, sweep

    for colours in pictures.STYLES.values():
        with matplotlib.rc_context({"axes.prop_cycle": matplotlib.cycler(color=colours.drawn)}):
            ways = {tuple(sorted(way.items())) for way in sweep.more_lines()}
        assert len(ways) >= max(len(sweep.DRAWN_SIZES), len(sweep.DRAWN_BATCHES))


def test_suspicious_pairs_are_timed_together() -> None:
    from asv_bench.sweep import REPEATS, compare, largest

    times = {(10, 1): 3.0, (16, 1): 2.0, (10, 2): 1.0, (16, 2): 4.0, (5, 1): 2.0}
    timed: list[tuple[int, int]] = []

    def again(point: tuple[int, int]) -> float:  # (10, 1) met a slow moment; (5, 1) does take 1.5 times as long
        timed.append(point)
        return {(10, 1): 1.9, (16, 1): 2.0, (5, 1): 3.0}[point]

    pairs = [((10, 1), (16, 1)), ((10, 2), (16, 2)), ((5, 1), (10, 1))]
    ratios = compare(pairs[:2], times, again)
    assert largest(ratios, 1) == [(0.95, (10, 1))]
    assert ratios[pairs[1]] == 0.25
    assert timed == [(10, 1), (16, 1)]
    assert times[10, 1] == 1.9
    assert compare(pairs[2:], times, again)[pairs[2]] == pytest.approx(3 / 1.9)
    assert len(timed) == 2 + 2 * REPEATS


def test_flop_counts_products() -> None:
    """Against a count from the shapes of torch's parameters: two for each weight, row and step."""
    for shape in (shapes.PUBLIC | shapes.ODD | shapes.FEW).values():
        matrices = [array for array in shapes.parameters(shape).values() if array.ndim == 2]
        assert shape.flop() == 2 * shape.steps * shape.batch * sum(array.size for array in matrices)


def test_bound_is_the_slower_of_reading_and_arithmetic() -> None:
    # weight_hh has 65,536 bytes, read in every step at the speed of the next smaller array; weight_ih is read once, for
    # ten rows, whose arithmetic takes longer.
    few, many = shapes.Shape(32, 64, steps=10), shapes.Shape(32, 64, steps=10, batch=100)
    assert LIMITS.bound(few) == pytest.approx(10 * 2 * 8192 / 1e11 + 10 * 65_536 / 1e11)
    assert LIMITS.bound(many) == pytest.approx(many.flop() / 1e11)
    assert LIMITS._replace(threads=2).bound(many) == pytest.approx(many.flop() / 2e11)


@pytest.mark.parametrize("threads", [1, 2])
def test_machine_is_measured(threads: int) -> None:
    if threads > numba.config.NUMBA_NUM_THREADS:
        pytest.skip("one core")
    before = numba.get_num_threads()
    limits = machine.measure(threads=threads)
    assert numba.get_num_threads() == before
    assert limits.threads == threads
    assert limits.flop_per_second > 1e8
    assert all(speed > 1e7 for speed in limits.bytes_per_second.values())


def test_costs_are_measured(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """On one CPU what crews cost stays as it is; every number is one that plans can be made with."""
    monkeypatch.setattr(costs, "pin", lambda threads: [])
    monkeypatch.setitem(costs.ASSUMED, "cpus", 1)
    made = costs.measure()
    assert "way" not in costs.ASSUMED
    assert made.meet_ns == costs.costs().meet_ns
    assert made != costs.costs()
    assert all(np.isfinite(number) for number in dataclasses.asdict(made).values())
    costs.main([], lambda: made)
    assert f"    fma_ns={made.fma_ns!r},  # the table has {costs.costs().fma_ns!r}" in capsys.readouterr().out


def test_unknown_shapes_are_named() -> None:
    with pytest.raises(ValueError, match="no shape or group 'oops'"):
        shapes.select(["amp_step", "oops"])
