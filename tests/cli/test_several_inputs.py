"""``numba-lstm run`` on several inputs, and on what gives NaN."""

from __future__ import annotations

import errno
import os
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.commands import complaint, printed

from numba_lstm import LSTM, cli

pytestmark = pytest.mark.usefixtures("threads")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with weights, three inputs of different lengths, and a folder for results."""
    monkeypatch.chdir(tmp_path)
    LSTM(3, 5, seed=1).save("w.npz")
    random = np.random.default_rng(0)
    for steps, name in enumerate("abc", start=4):
        np.save(f"{name}.npy", random.standard_normal((steps, 2, 3), np.float32))
    Path("results").mkdir()
    return tmp_path


def results() -> set[str]:
    return {path.name for path in Path("results").iterdir()}


def check(*names: str, states: Any = None) -> None:
    """There are results of these inputs, and no others."""
    assert results() == {f"{name}.npz" for name in names}
    lstm = LSTM.load("w.npz")
    for name in names:
        output, (h_n, c_n) = lstm(np.load(f"{name}.npy"), states)
        with np.load(f"results/{name}.npz") as written:
            np.testing.assert_array_equal(written["output"], output)
            np.testing.assert_array_equal(written["h_n"], h_n)
            np.testing.assert_array_equal(written["c_n"], c_n)


# --- several inputs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["results", "results/"])
def test_every_input_has_a_file(folder: Path, target: str, capsys: Any) -> None:
    text = printed(capsys, "run", "w.npz", "a.npy", "b.npy", "c.npy", "-o", target)
    assert [line.split(":")[0] for line in text.splitlines()] == ["results/a.npz", "results/b.npz", "results/c.npz"]
    check("a", "b", "c")


def test_one_input_and_a_folder(folder: Path, capsys: Any) -> None:
    printed(capsys, "run", "w.npz", "b.npy", "-o", "results/")
    check("b")


def test_all_have_the_same_states(folder: Path, capsys: Any) -> None:
    h_0, c_0 = np.random.default_rng(1).standard_normal((2, 1, 2, 5), np.float32)
    np.save("h0.npy", h_0)
    np.save("c0.npy", c_0)
    printed(capsys, "run", "w.npz", "a.npy", "c.npy", "-o", "results", "--h0", "h0.npy", "--c0", "c0.npy")
    check("a", "c", states=(h_0, c_0))


def test_without_an_output_lines_name_the_input(folder: Path, capsys: Any) -> None:
    text = printed(capsys, "run", "w.npz", "a.npy", "b.npy")
    assert [line.split(" (")[0] for line in text.splitlines()] == [
        f"{name}.npy: {result}" for name in "ab" for result in ("output", "h_n", "c_n")
    ]


def test_one_bad_input_does_not_stop_the_others(folder: Path, capsys: Any) -> None:
    np.save("b.npy", np.zeros((4, 2, 7), np.float32))
    Path("d.npy").write_bytes(Path("c.npy").read_bytes()[:-8])
    words = ["none.npy", "a.npy", "b.npy", "d.npy", "c.npy"]
    assert cli.main(["run", "w.npz", *words, "-o", "results"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.startswith("numba-lstm: error: ") for line in lines] == [True] * 3
    assert "none.npy: No such file" in lines[0]
    assert "b.npy: " in lines[1]
    assert "Expected 3, got 7" in lines[1]
    assert "input d.npy is not a complete .npy file" in lines[2]
    check("a", "c")


def test_none_that_can_be_computed(folder: Path, capsys: Any) -> None:
    assert cli.main(["run", "w.npz", "x.npy", "y.npy", "-o", "results"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.partition("error: ")[2] for line in err.splitlines()] == [
        "x.npy: No such file or directory",
        "y.npy: No such file or directory",
        "none of 2 inputs could be computed",
    ]
    assert results() == set()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("a.npy b.npy -o out.npz", "2 inputs need a folder for their results, which out.npz is not"),
        ("a.npy b.npy -o none/", "2 inputs need a folder for their results, which none is not"),
        ("a.npy b.npy -o -", "2 inputs need a folder for their results, which - is not"),
        ("a.npy - -o results", "standard input has no name for a file in results"),
        ("a.npy results/a.npy -o results", "several inputs would have their results in 'results/a.npz'"),
        ("- - -o results", "standard input is one array"),
        ("a.npy b.npy -o results", "results/b.npz is there already: --force replaces it"),
        ("a.npy results/b.npz -o results --force", "results/b.npz: it is read as well"),
        ("a.npy c.npy -o results --h0 a.npy", "--h0 and --c0 go together"),
    ],
)
def test_what_is_refused_before_anything_is_written(folder: Path, words: str, message: str, capsys: Any) -> None:
    Path("results/b.npz").write_text("older")
    assert message in complaint(capsys, "run", "w.npz", *words.split())
    assert results() == {"b.npz"}
    assert Path("results/b.npz").read_text() == "older"


def test_a_folder_in_the_place_of_a_file(folder: Path, capsys: Any) -> None:
    Path("results/b.npz").mkdir()
    words = ("run", "w.npz", "a.npy", "b.npy", "-o", "results", "--force")
    assert "cannot write results/b.npz: it is a folder" in complaint(capsys, *words)
    assert results() == {"b.npz"}


# --- outputs that are one file ----------------------------------------------------------------------------


def inputs_named(*names: str) -> list[str]:
    """Have inputs of some names, each in a folder of its own, since a disk may not tell them apart."""
    paths = []
    for number, name in enumerate(names):
        Path(f"in{number}").mkdir()
        paths.append(f"in{number}/{name}.npy")
        np.save(paths[-1], np.zeros((4, 3), np.float32))
    return paths


ALIKE = pytest.mark.parametrize(
    "names",
    [
        ("x", "X"),
        ("caf\u00e9", "cafe\u0301"),
        ("caf\u00e9", "CAFE\u0301"),
        ("stra\u00dfe", "STRASSE"),
        ("\u212b", "\u00e5"),  # the sign of the unit, and the letter
    ],
    ids=ascii,
)


@ALIKE
@pytest.mark.parametrize("options", [(), ("--force",), ("--json",)])
def test_names_that_the_disk_does_not_tell_apart(
    folder: Path, names: tuple[str, str], options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def folded(path: Path) -> str:
        return unicodedata.normalize("NFD", unicodedata.normalize("NFD", path.name).casefold())

    def touch(path: Path, exist_ok: bool) -> None:
        """Make a file as disks do that take both names for one."""
        if folded(path) in map(folded, path.parent.iterdir()):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        path.write_bytes(b"")

    inputs = inputs_named("other", *names)
    monkeypatch.setattr(Path, "touch", touch)
    complained = complaint(capsys, "run", "w.npz", *inputs, "-o", "results", *options)
    assert "several inputs would have their results in one file" in complained
    assert "other" not in complained
    assert results() == set()


@ALIKE
def test_names_that_the_disk_tells_apart(folder: Path, names: tuple[str, str], capsys: Any) -> None:
    """As those of chains of proteins, of which some databases have a and A."""
    Path("probe").mkdir()
    for name in names:
        Path("probe", name).write_bytes(b"")
    if len(list(Path("probe").iterdir())) < len(names):
        pytest.skip("this disk takes both for one")
    inputs = inputs_named("other", *names)
    for _ in range(2):  # the second time they are replaced
        printed(capsys, "run", "w.npz", *inputs, "-o", "results", "--force")
        assert results() == {f"{name}.npz" for name in ("other", *names)}


def test_long_names_that_are_alike(folder: Path, capsys: Any) -> None:
    """The disk cannot be asked about names that have no room for another one beside them."""
    inputs = inputs_named("x" * 245, "X" * 245)
    assert "in one file" in complaint(capsys, "run", "w.npz", *inputs, "-o", "results")
    assert results() == set()


def test_names_that_every_disk_tells_apart(folder: Path, capsys: Any) -> None:
    names = "x", "x1", "\u00e9", "e", "x\u0301"
    printed(capsys, "run", "w.npz", *inputs_named(*names), "-o", "results")
    assert len(results()) == len(names)


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
@pytest.mark.parametrize(
    "links",
    [
        {"results/a.npz": "b.npz"},
        {"results/a.npz": "../other.npz", "results/b.npz": "../other.npz"},
        {"results/a.npz": "link.npz", "results/link.npz": "../results/b.npz"},
        {"again": "results", "results/a.npz": "../again/b.npz"},
        {"results/a.npz": "/dev/null", "results/b.npz": "/dev/null"},
    ],
    ids=["to the other", "to a third", "over another link", "by another folder", "to a device"],
)
@pytest.mark.parametrize("present", [False, True], ids=("nothing there", "replaced"))
def test_links_to_one_file(folder: Path, links: dict[str, str], present: bool, capsys: Any) -> None:
    """Links that lead to nothing yet need no --force, and the second result would have replaced the first."""
    if present:
        Path("results/b.npz").write_text("older")
        Path("other.npz").write_text("older")
    for link, target in links.items():
        Path(link).unlink(missing_ok=True)
        Path(link).symlink_to(target)
    before = {path: path.is_file() and path.read_bytes() for path in folder.rglob("*")}
    words = "run", "w.npz", "a.npy", "b.npy", "c.npy", "-o", "results", "--force"
    assert "in one file, by links or" in complaint(capsys, *words)
    assert {path: path.is_file() and path.read_bytes() for path in folder.rglob("*")} == before


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_links_to_different_files(folder: Path, capsys: Any) -> None:
    Path("one").mkdir()
    Path("two").mkdir()
    Path("results/a.npz").symlink_to("../one/x.npz")
    Path("results/b.npz").symlink_to("../two/x.npz")
    printed(capsys, "run", "w.npz", "a.npy", "b.npy", "-o", "results")
    assert Path("results/a.npz").is_symlink()
    check("a", "b")


def test_two_hard_links_become_two_files(folder: Path, capsys: Any) -> None:
    Path("results/a.npz").write_text("older")
    os.link("results/a.npz", "results/b.npz")
    os.link("results/a.npz", "kept")
    printed(capsys, "run", "w.npz", "a.npy", "b.npy", "-o", "results", "--force")
    check("a", "b")
    assert Path("kept").read_text() == "older"


def test_a_hard_link_of_an_input_is_refused(folder: Path, capsys: Any) -> None:
    os.link("b.npy", "results/a.npz")
    before = Path("b.npy").read_bytes()
    words = "run", "w.npz", "a.npy", "b.npy", "-o", "results", "--force"
    assert "cannot write results/a.npz: it is read as well (by the name of b.npy)" in complaint(capsys, *words)
    assert Path("b.npy").read_bytes() == before


# --- NaN --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [(), ("-o", "results")])
def test_nan_is_told(folder: Path, target: tuple[str, ...], capsys: Any) -> None:
    x = np.load("b.npy")
    x[3, 1, 0] = np.nan
    np.save("b.npy", x)
    assert cli.main(["run", "w.npz", "a.npy", "b.npy", *target]) == 0
    err = capsys.readouterr().err
    # Steps 3 and 4 of 5 in one of two sequences, with 5 features each.
    assert err == (
        "numba-lstm: warning: b.npy: output has 10 NaN of 50 numbers, h_n has 5 NaN of 10 numbers, "
        "c_n has 5 NaN of 10 numbers; the input is not finite either\n"
    )


def test_nan_of_weights(folder: Path, capsys: Any) -> None:
    """That the input is finite says where to look."""
    lstm = LSTM(3, 5, seed=1)
    lstm.bias_ih_l0 = np.full(20, np.nan, np.float32)
    lstm.save("bad.npz")
    assert cli.main(["run", "bad.npz", "a.npy", "-o", "out.npz"]) == 0
    assert "a.npy: output has 40 NaN of 40 numbers" in (err := capsys.readouterr().err)
    assert err.endswith("; the input is finite\n")


def test_finite_results_have_no_warning(folder: Path, capsys: Any) -> None:
    assert cli.main(["run", "w.npz", "a.npy", "-o", "out.npz"]) == 0
    assert capsys.readouterr().err == ""
