"""The measuring of programs of packages, on one of our own; the packages are not here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asv_bench import report
from asv_bench.clients import PAGE, __main__, measure, programs

INFINITE = float("inf")


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0),
        ([1.0, 2.5], [1.0, 2.0], 0.25),  # of the largest, not of its own
        (np.array([-4.0, 1.0]), np.array([-4.0, 2.0]), 0.25),
        ({"a": np.zeros(2), "b": (np.ones(2), "text")}, {"a": np.zeros(2), "b": (np.ones(2), "text")}, 0.0),
        (["one", 1.0], ["other", 1.0], INFINITE),
        (np.zeros(2), np.zeros(3), INFINITE),
        (np.array([0.0, np.nan]), np.array([0.0, 1.0]), INFINITE),
        (np.array([-np.inf, 1.0]), np.array([-np.inf, 1.0]), 0.0),
        (np.array([-np.inf, 1.0]), np.array([np.inf, 1.0]), INFINITE),
        ([np.ones(1)], [np.ones(1), np.ones(1)], INFINITE),
        (np.array([3, 1]), np.array([3, 4]), 0.75),
        (np.zeros(0), np.zeros(0), 0.0),
        (None, None, 0.0),
        (np.array([True]), np.array([False]), 1.0),
        ("text", np.zeros(1), INFINITE),
    ],
)
def test_differences_are_divided_by_the_scale(ours: Any, theirs: Any, expected: float) -> None:
    assert measure.difference(ours, theirs) == expected


def small_program() -> measure.Program:
    """Return a program with an LSTM in it, one of a subclass, and a cell; results depend on random numbers."""
    import torch

    class Outer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = torch.nn.LSTM(3, 4)
            self.cell = torch.nn.LSTMCell(4, 5)

        def forward(self, x: Any) -> Any:
            return self.cell(self.lstm(x)[0][-1])

    model = Outer().eval()

    def run() -> Any:
        with torch.no_grad():
            return model(torch.randn(6, 2, 3))

    return measure.Program(model, run)


def test_a_program_is_measured() -> None:
    pytest.importorskip("torch")
    figures = measure.measure(small_program, 1, 1e-3)
    assert figures["difference"] < 1e-6
    assert figures["replaced"] == "1 LSTM, 1 LSTMCell"
    for theirs, ours in (figures["whole"], figures["lstm"]):
        assert theirs > 0
        assert ours > 0


def test_the_clock_runs_in_lstms_only() -> None:
    torch = pytest.importorskip("torch")

    class Wrapped(torch.nn.LSTM):  # type: ignore[misc, name-defined]
        """Has another LSTM in it, whose time must not count twice."""

        def __init__(self) -> None:
            super().__init__(3, 4)
            self.inner = torch.nn.LSTM(3, 4)

        def forward(self, x: Any) -> Any:
            times.append(clock.seconds)
            return self.inner(x)

    times: list[float] = []
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), Wrapped())
    x = torch.zeros(2, 1, 3)
    with measure.clocked(model) as clock:
        model[0](x)
        assert clock.seconds == 0
        began = measure.time.process_time()
        model(x)
        taken = measure.time.process_time() - began
        assert 0 < clock.seconds <= taken
        assert times == [0]
    before = clock.seconds
    model(x)
    assert clock.seconds == before
    assert list(measure.lstms(model)) == ["1", "1.inner"]
    assert measure.replaced(model) == "0 of 1 Wrapped, 0 of 1 LSTM"


def test_a_program_without_lstms_is_no_measurement() -> None:
    torch = pytest.importorskip("torch")

    def make() -> measure.Program:
        model = torch.nn.ModuleDict({"used": torch.nn.Linear(2, 2), "unused": torch.nn.LSTM(2, 2)}).eval()
        return measure.Program(model, lambda: model["used"](torch.zeros(1, 2)))

    with pytest.raises(RuntimeError, match="no LSTM ran"):
        measure.measure(make, 1, 1e-3)


def test_a_program_that_fails_is_a_line_of_the_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Those of packages that are not installed, for one, each in a process of its own."""
    entry = programs.Entry(small_program, "no-such-package", "MIT", "nothing")
    monkeypatch.setitem(programs.PROGRAMS, "unknown", entry)
    page = tmp_path / "page.md"
    page.write_text("".join(f"<!-- {n} --><!-- end of {n} -->\n" for n in ("clients", report.MEASURED)), "utf-8")
    assert __main__.main(["unknown", "--rounds", "1", "--budget", "1e-3", "--page", str(page)]) == 1
    line = report.read_block(page, "clients").splitlines()[2]
    assert line.startswith("| no-such-package is not installed (MIT): nothing |")
    assert "Error: " in line
    assert "Failed: `unknown`." in page.read_text("utf-8")
    assert "Traceback" in capsys.readouterr().err


def test_programs_are_named() -> None:
    with pytest.raises(SystemExit):
        __main__.main(["oops"])
    assert len({entry.package for entry in programs.PROGRAMS.values()}) >= 12
    assert "<!-- clients -->" in PAGE.read_text("utf-8")


def test_errors_are_told_by_their_first_line() -> None:
    text = (
        "a warning\nTraceback (most recent call last):\n  File\n    code\nValueError: first\n\n"
        "During handling of the above exception, another exception occurred:\n\n"
        "Traceback (most recent call last):\n  File\n    code\nTypeError: second\nand more\n"
    )
    assert __main__.error_of(text) == "TypeError: second"
    assert __main__.error_of("killed") == ""


def test_the_summary() -> None:
    results = {
        "flair_tagger": {"whole": [2.0, 1.0], "lstm": [8.0, 1.0]},
        "easyocr": {"whole": [1.0, 2.0], "lstm": [2.0, 1.0]},
        "fastai": {"error": "TypeError: cannot"},
    }
    assert __main__.summary(results) == (
        "Whole programs: geometric mean 1.00, smallest 0.50 (`easyocr`); their LSTMs: geometric mean 4.00, smallest "
        "2.00 (`easyocr`). Failed: `fastai`."
    )
    assert __main__.summary({"fastai": {"error": "x"}}) == "Failed: `fastai`."
