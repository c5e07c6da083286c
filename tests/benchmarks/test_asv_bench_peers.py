"""The comparison with other engines: its run, its tables and pictures, and what makes it fail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.benchmarks import LIMITS, cells_of, page_with, run

from asv_bench import engines, machine, peer_tables, peers, report, turns


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
    most = "takes at most 0.50 of the time of a call that is given the states (guitar amplifier, 1 step)."
    assert " ".join(text.split()).count(most) == 2


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


def test_the_full_table_takes_the_stream_for_ours() -> None:
    lines = peer_tables.full_table(fake_run("1")["runs"]["1"]).splitlines()
    header, _, step, sequence = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines)
    figures = dict(zip(header, step, strict=True))
    assert "first step" not in figures
    assert (figures["stream"], figures["ratio"], figures["over bound"]) == ("1.0", "4.00", "1.00")
    assert (figures["openvino"], figures["torch"]) == ("**4.0**", "8.0")  # the best peer's is bold
    figures = dict(zip(header, sequence, strict=True))
    assert (figures["stream"], figures["over bound"]) == ("", "3.00")


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
