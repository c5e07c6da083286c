"""The comparison of training steps: the gradients of all sides, and the tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import oracle
from support.benchmarks import LIMITS, STATEFUL, cells_of, page_with, run

from asv_bench import engines, machine, shapes, trainers, training, turns


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
