"""Calls beside busy processes: these processes end, and what is held to limits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from support.benchmarks import page_with
from support.places import ROOT

from asv_bench import busy, disturbed, neighbours


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
