"""The soak: a short one holds, and what it should find makes it fail."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soak
from support import soak_threads
from support.cases import Shape, random_case
from support.places import TESTS
from support.soak_ways import WAYS, distance, right

import numba_lstm

pytestmark = pytest.mark.usefixtures("threads")

SHORT = ["--seconds", "3", "--threads", "3", "--rows", "3"]


@pytest.mark.parametrize("seconds", [6, pytest.param(60, marks=pytest.mark.slow)])
def test_command(seconds: int) -> None:
    """In a process of its own, every way is taken, and all results are right."""
    command = [sys.executable, "-W", "error", str(TESTS / "soak.py"), "--seconds", str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines() if line[:1] == "|"]
    counts = {row[0]: int(row[1].replace(",", "")) for row in rows if row[0] in {*WAYS, "shared"}}
    assert counts.keys() == {*WAYS, "shared"}
    assert all(counts.values())
    moments = [int(row[0]) for row in rows[2:12]]
    assert moments == sorted(moments)
    assert moments[-1] >= seconds
    assert "all of it right" in done.stdout


def failures(capsys: pytest.CaptureFixture[str]) -> str:
    assert soak.main(SHORT) == 1
    printed = capsys.readouterr()
    assert "all of it right" not in printed.out
    return printed.err


def test_a_wrong_result_is_found(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    step = numba_lstm.streaming.sliding_window.SlidingWindow.push

    def wrong(self: Any, x: np.ndarray) -> np.ndarray | None:
        output = step(self, x)
        return None if output is None else output + output.dtype.type(1e-3)

    monkeypatch.setattr(numba_lstm.streaming.sliding_window.SlidingWindow, "push", wrong)
    assert "window, LSTM(" in failures(capsys)


def test_a_mixture_of_weights_is_found(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def half(self: numba_lstm.LSTM, weights: Any) -> None:
        for name in list(weights)[:2]:
            setattr(self, name, weights[name])

    monkeypatch.setattr(numba_lstm.LSTM, "load_state_dict", half)
    assert "shared, LSTM(" in failures(capsys)


def test_an_error_is_found(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(self: Any, path: Path) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(numba_lstm.LSTM, "save", fail)
    assert "OSError('the disk is full')" in failures(capsys)


def test_memory_that_grows_is_found(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = iter(range(10**6))
    monkeypatch.setattr(soak, "resident_mib", lambda: float(next(sizes)))
    assert "memory grew by 100.0 MiB" in failures(capsys)


def test_a_thread_that_hangs_is_found(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    end = threading.Event()

    def hang(*arguments: Any) -> Any:
        end.wait(60)
        raise ValueError

    monkeypatch.setattr(soak_threads, "HANG_SECONDS", 0.1)
    monkeypatch.setitem(WAYS, "packed", hang)
    before = threading.enumerate()
    try:
        assert "hangs" in failures(capsys)
    finally:
        end.set()
        for thread in threading.enumerate():
            if thread not in before:
                thread.join()  # it would go on beside the tests that follow, and they measure what is allocated


@pytest.mark.parametrize("wrong", [["--seconds", "0"], ["--threads", "0"], ["--rows", "-1"], ["--seconds", "x"]])
def test_bad_arguments(wrong: list[str]) -> None:
    with pytest.raises(SystemExit):
        soak.main(wrong)


def test_growth() -> None:
    assert soak_threads.growth([]) == 0
    assert soak_threads.growth([900, 900, 100, 102, 150, 150, 121, 121]) == 20


@pytest.mark.parametrize(("bidirectional", "proj_size"), [(False, 0), (True, 0), (False, 7), (True, 7)])
def test_what_is_right_is_so_for_each_row_alone(bidirectional: bool, proj_size: int) -> None:
    case = random_case(Shape(5, 11, 3, True, bidirectional, proj_size, 9, 4), 1, np.float64)
    for lengths in (None, [9, 9, 9, 9], [3, 9, 1, 5]):
        output, states = right(case.state_dict, case.x, case.hx, lengths)
        for row, length in enumerate(lengths or [9] * 4):
            one = np.s_[:, row : row + 1]
            alone = right(case.state_dict, case.x[:length, row : row + 1], (case.h_0[one], case.c_0[one]))
            assert distance((output[:length, row : row + 1], (states[0][one], states[1][one])), alone) < 1e-13
            assert not output[length:, row].any()


def test_distances() -> None:
    zero, one = np.zeros((2, 3)), np.ones((2, 3))
    assert distance((zero, (zero, zero)), (zero, (zero, one))) == 1
    assert distance((zero, (zero * np.nan, zero)), (zero, (zero, zero))) == np.inf
    assert distance((zero, (zero, zero[:1])), (zero, (zero, zero))) == np.inf
