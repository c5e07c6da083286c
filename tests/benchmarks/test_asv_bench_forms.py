"""The comparison of weights in 8 and 16 bits: its tables, and what packing takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.benchmarks import LIMITS, cells_of, page_with, run

from asv_bench import engines, forms, machine, packing, shapes, turns


def fake_forms() -> dict[str, Any]:
    step = {"float32": 12e-6, "float16": 8e-6, "int8": 4e-6, "torch int8": 20e-6, "onnxruntime int8": 10e-6}
    call = {"float32": 9e-3, "int8": 3e-3, "torch": 12e-3, "openvino": 15e-3}
    bounds = {"float32": 8e-6, "float16": 4e-6, "bfloat16": 4e-6, "int8": 2e-6}
    return {
        "stac_tiny": {"seconds": {**step, "onnxruntime": 30e-6, "torch": 60e-6}, "bounds": bounds},
        "elmo_b1": {"seconds": call, "bounds": dict.fromkeys(bounds, 2e-3)},
    }


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
