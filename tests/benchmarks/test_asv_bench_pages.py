"""The pages with figures: their blocks, what they say of the machine, and the run that writes them all."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.benchmarks import page_with
from support.places import ROOT

from asv_bench import pictures, report, tables
from asv_bench.clients import programs


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
