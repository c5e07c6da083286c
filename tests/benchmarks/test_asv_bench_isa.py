"""The comparison with fewer instructions: what is held to what, and the table."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.places import ROOT
from support.processes import two_widths

from asv_bench import isa, shapes


def fake_results(ours: float) -> dict[str, Any]:
    torch = {"torch": 40e-6, "torch without oneDNN": 60e-6}
    return {
        "AVX2": {
            "understood": {"numba_lstm": "avx2", "torch": "AVX2"},
            "seconds": {
                "vad_step": {"numba_lstm": 30e-6, "stream": ours, **torch},
                "awd_b1": {"numba_lstm": 4 * ours, **torch},
            },
        }
    }


def test_shapes_are_of_the_grid() -> None:
    assert set(isa.SHAPES) <= set(shapes.PUBLIC)


def test_the_table_and_what_is_said_of_it() -> None:
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in isa.table(fake_results(10e-6)).splitlines()]
    assert rows[0] == ["network", "AVX2: numba_lstm", "torch", "ratio"]
    assert rows[2:] == [
        ["voice detector, 1 step", "10.0", "40.0", "4.00"],
        ["language model, 1 sequence", "40.0", "40.0", "1.00"],
        ["geometric mean", "", "", "2.00"],
    ]
    said = isa.describe({"runs": {"1": fake_results(10e-6)}})
    assert "AVX2: ours avx2, torch's AVX2." in " ".join(said.split())
    assert "One core\n\n| network" in said


@pytest.mark.parametrize(("ours", "status"), [(20e-6, 0), (21e-6, 1)])
def test_slower_than_torch_in_the_mean_is_a_failure(
    ours: float, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = fake_results(ours)["AVX2"]
    monkeypatch.setattr(isa, "understood", lambda *_: made["understood"])
    monkeypatch.setattr(isa, "take_turns", lambda *_: ({"seconds": made["seconds"]}, {}, []))
    assert isa.main(["--sets", "AVX2"]) == status
    assert ("AVX2, threads 1: geometric mean 0.95" in capsys.readouterr().err) == bool(status)


def test_kernels_for_other_instructions_are_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(isa, "understood", lambda *_: {"numba_lstm": "neon", "torch": ""})
    assert isa.main(["--sets", "SSE2"]) == 1
    assert "SSE2: kernels are compiled for neon, not for sse2 without FMA" in capsys.readouterr().err


@two_widths
def test_each_set_runs(tmp_path: Path) -> None:
    """Kernels are compiled for it, and torch says the same, where it is installed; the figures mean nothing."""
    kept, page = tmp_path / "kept.json", tmp_path / "page.md"
    blocks = [f"<!-- {name} -->\n<!-- end of {name} -->\n" for name in ("isa", "measured")]
    page.write_text("".join(blocks), encoding="utf-8")
    small = ["--shapes", "amp_step", "--rounds", "1", "--budget", "1e-4", "--engines", "stream"]
    command = [sys.executable, "-W", "error", "-m", "asv_bench.isa", *small, "--json", str(kept), "--page", str(page)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(kept.read_text(encoding="utf-8"))["runs"]["1"]
    assert list(found) == list(isa.SETS)
    assert all(result["seconds"]["amp_step"]["stream"] > 0 for result in found.values())
    assert {result["understood"]["torch"] for result in found.values()} in ({"AVX512", "AVX2", "DEFAULT"}, {""})
    assert re.search(r"\| guitar amplifier, 1 step +\|( +[\d.]+ \| +\| +\|){3}", page.read_text(encoding="utf-8"))
