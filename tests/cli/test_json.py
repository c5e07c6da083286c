"""``--json``: the figures of the commands, for programs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.commands import complaint, printed

from numba_lstm import LSTM, LSTMCell, cli, demo

pytestmark = pytest.mark.usefixtures("threads")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with weights of an LSTM and an input."""
    monkeypatch.chdir(tmp_path)
    LSTM(3, 5, seed=1).save("w.npz")
    np.save("x.npy", np.random.default_rng(0).standard_normal((7, 2, 3), np.float32))
    return tmp_path


def figures(capsys: Any, *words: str) -> Any:
    """Return what a command prints, which has to be JSON without NaN, and nothing else."""

    def no_number(text: str) -> None:
        raise AssertionError(text)

    return json.loads(printed(capsys, *words, "--json"), parse_constant=no_number)


def test_info(folder: Path, capsys: Any) -> None:
    found = figures(capsys, "info", "w.npz")
    assert found == {
        "file": "w.npz",
        "bytes": Path("w.npz").stat().st_size,
        "modules": [
            {
                "name": "",
                "kind": "LSTM",
                "obstacle": None,
                "sizes": {
                    "input_size": 3, "hidden_size": 5, "num_layers": 1, "bias": True, "bidirectional": False,
                    "proj_size": 0,
                },
                "parameters": {
                    "weight_ih_l0": {"shape": [20, 3], "dtype": "float32"},
                    "weight_hh_l0": {"shape": [20, 5], "dtype": "float32"},
                    "bias_ih_l0": {"shape": [20], "dtype": "float32"},
                    "bias_hh_l0": {"shape": [20], "dtype": "float32"},
                },
                "parameter_count": 20 * (3 + 5 + 1 + 1),
                "parameter_bytes": 4 * 20 * (3 + 5 + 1 + 1),
            }
        ],
    }  # fmt: skip


def test_info_of_what_cannot_be_run(folder: Path, capsys: Any) -> None:
    np.savez("gru.npz", **{"слой.weight_ih_l0": np.zeros((15, 3), "f4"), "слой.weight_hh_l0": np.zeros((15, 5), "f4")})
    (found,) = figures(capsys, "info", "gru.npz")["modules"]
    assert found["name"] == "слой."
    assert found["kind"] == "GRU"
    assert found["obstacle"]


def test_run(folder: Path, capsys: Any) -> None:
    x = np.load("x.npy")
    x[:, 1] = np.nan
    np.save("y.npy", x)
    found = figures(capsys, "run", "w.npz", "x.npy", "y.npy")
    assert (found["weights"], found["name"]) == ("w.npz", "")
    for name, each in zip(("x.npy", "y.npy"), found["inputs"], strict=True):
        output, (h_n, c_n) = LSTM.load("w.npz")(np.load(name))
        assert (each["input"], each["output"]) == (name, None)
        assert each["results"] == {
            result: {
                "shape": list(array.shape),
                "dtype": "float32",
                "min": np.nanmin(array),
                "max": np.nanmax(array),
                "nan": np.isnan(array).sum(),
                "infinite": 0,
            }
            for result, array in {"output": output, "h_n": h_n, "c_n": c_n}.items()
        }


def test_run_with_nothing_finite(folder: Path, capsys: Any) -> None:
    np.save("x.npy", np.full((7, 2, 3), np.nan, np.float32))
    (found,) = figures(capsys, "run", "w.npz", "x.npy", "-o", "out.npz")["inputs"]
    assert found["output"] == "out.npz"
    assert (found["results"]["h_n"]["min"], found["results"]["h_n"]["max"]) == (None, None)
    assert found["results"]["h_n"]["nan"] == 10


def test_convert_with_check(folder: Path, capsys: Any) -> None:
    found = figures(capsys, "convert", "w.npz", "small.npz", "--weights", "int8", "--check", "x.npy")
    wide, narrow = (LSTM.load(name)(np.load("x.npy"))[0].astype(np.float64) for name in ("w.npz", "small.npz"))
    rms = math.sqrt(np.mean((narrow - wide) ** 2)), math.sqrt(np.mean(wide**2))
    assert [found.pop(key) for key in ("rms", "max", "outputs_rms")] == pytest.approx(
        [rms[0], np.abs(narrow - wide).max(), rms[1]], rel=1e-12
    )
    assert found == {"output": "small.npz", "form": "int8", "against": "float32", "sequences": 2, "steps": 7}


def test_convert_a_cell_with_check(folder: Path, capsys: Any) -> None:
    """Which has no steps."""
    LSTMCell(3, 5, seed=1).save("cell.npz")
    np.save("row.npy", np.load("x.npy")[0])
    found = figures(capsys, "convert", "cell.npz", "small.npz", "--weights", "float16", "--check", "row.npy")
    assert (found["sequences"], found["steps"]) == (None, None)


def test_demo(folder: Path, capsys: Any) -> None:
    found = figures(capsys, "demo", "--limit", "3", "-o", "scores.csv")
    proteins = {protein.name: len(protein.sequence) for protein in demo.bundled_proteins()[:3]}
    assert {row["name"]: row["residues"] for row in found["most_disordered"]} == proteins
    means = [row["mean"] for row in found["most_disordered"]]
    assert means == sorted(means, reverse=True)
    assert set(found["most_disordered"][0]) == {"name", "residues", "mean", "disordered"}
    assert (found["proteins"], found["not_scored"], found["from_before"]) == (3, 0, 0)
    assert found["residues"] == sum(proteins.values())
    assert found["residues_per_second"] == pytest.approx(found["residues"] / found["seconds"])
    assert 0 < found["largest_difference"] <= 2e-5


def test_demo_of_ones_own(folder: Path, capsys: Any) -> None:
    Path("my.fasta").write_text(">mine\nMSSSSSQAAAGGGG\n>bad\nM1\n")
    assert cli.main(["demo", "--fasta", "my.fasta", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["proteins"], found["not_scored"], found["largest_difference"]) == (1, 1, None)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("run w.npz x.npy -o -", "--json and the results would both go to standard output"),
        ("demo --limit 2 -o -", "--json and the scores would both go to standard output"),
        ("convert w.npz - --format npz --weights int8 --check x.npy", "would both go to standard output"),
        ("convert w.npz out.npz", "--json prints the figures of --check"),
    ],
)
def test_what_is_refused(folder: Path, words: str, message: str, capsys: Any) -> None:
    assert message in complaint(capsys, *words.split(), "--json")
    assert not Path("out.npz").exists()
