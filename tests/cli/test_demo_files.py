"""``numba-lstm demo --fasta``: what is wrong with one protein, outputs that grow, and commands that are killed."""

from __future__ import annotations

import argparse
import contextlib
import gzip
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.commands import complaint, printed
from support.disks import recorded
from support.processes import HANG, PACKAGE, posix, run

import numba_lstm
from numba_lstm import cli, demo
from numba_lstm.cli._console import InputError
from numba_lstm.cli._scores import Scores
from numba_lstm.demo import scoring
from numba_lstm.demo.journal import HEADER, InUseError, Journal, read_journal

pytestmark = pytest.mark.usefixtures("threads")

COMMAND = [sys.executable, "-c", "import sys; from numba_lstm.cli import main; sys.exit(main())"]
BAD = b">good one\r\nmkvlaagivg\r\n>\n>twice\nMK1\n>twice\nMKVL*\n>=1+1\nM\x00K\n>\xff\nMKV\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder with some proteins, which are several windows."""
    numba_lstm.warmup("float32")  # nobody says then that kernels are compiled
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(scoring, "WINDOW_RESIDUES", 2000)
    monkeypatch.setattr(scoring, "TASK_RESIDUES", 500)
    letters = random.Random(1)
    lengths = [letters.randint(1, 300) for _ in range(60)]
    text = "".join(f">P{n}\n{''.join(letters.choices('ACDEFGHIKL', k=k))}\n" for n, k in enumerate(lengths))
    Path("p.fasta").write_text(text)
    Path("bad.fasta").write_bytes(BAD)
    return tmp_path


def names() -> set[str]:
    return {path.name for path in Path().iterdir()} - {"p.fasta", "bad.fasta"}


def undisturbed(capsys: Any) -> bytes:
    """Return the rows of a command that nothing happens to."""
    printed(capsys, "demo", "--fasta", "p.fasta", "-o", "whole.csv")
    content = Path("whole.csv").read_bytes()
    Path("whole.csv").unlink()
    return content


# --- what is wrong with one of them -----------------------------------------------------------------------


def test_what_is_wrong_with_one_does_not_stop_the_others(folder: Path, capsys: Any) -> None:
    assert cli.main(["demo", "--fasta", "bad.fasta", "-o", "out.csv"]) == 1
    out, err = capsys.readouterr()
    assert err.splitlines() == [
        "numba-lstm: bad.fasta: record 2 (protein_2): no residues",
        "numba-lstm: bad.fasta: record 3 (twice): '1' at position 3 is not an amino acid",
        "numba-lstm: bad.fasta: record 5 (=1+1): '\\x00' at position 2 is not an amino acid",
    ]
    assert "of 3 proteins" in out
    assert "out.csv: 6 rows" in out
    network = demo.DisorderNetwork()
    rows = list(read_journal("out.csv"))
    assert [row.name for row in rows] == ["good", "protein_2", "twice", "twice", "=1+1", "\ufffd"]
    for row, sequence in zip(rows, ["MKVLAAGIVG", None, None, "MKVL", None, "MKV"], strict=True):
        assert (row.error is None) == (sequence is not None)
        if sequence is not None:
            assert row.scores is not None
            np.testing.assert_array_equal(row.scores, network.score(sequence))


def test_many_that_are_wrong_are_counted(folder: Path, capsys: Any) -> None:
    Path("bad.fasta").write_text(">x\n\n" * 40 + ">good\nMKV\n")
    assert cli.main(["demo", "--fasta", "bad.fasta"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 11
    assert lines[-1] == "numba-lstm: bad.fasta: in all 40 of 41 proteins were not scored"


def test_nothing_that_can_be_scored(folder: Path, capsys: Any) -> None:
    Path("bad.fasta").write_text(">x\n\n>y\n1\n")
    assert cli.main(["demo", "--fasta", "bad.fasta"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[2:] == ["numba-lstm: error: bad.fasta: none of 2 proteins could be scored"]


def test_a_gzip_file_that_was_cut_off(folder: Path, capsys: Any) -> None:
    """What comes before is written, and gone on with when the file is whole."""
    whole = gzip.compress(Path("p.fasta").read_bytes())
    Path("p.fasta.gz").write_bytes(whole[: len(whole) * 2 // 3])
    assert "p.fasta.gz: this gzip file is damaged or was cut off" in complaint(
        capsys, "demo", "--fasta", "p.fasta.gz", "-o", "out.csv"
    )
    there = len(list(read_journal("out.csv")))
    assert there > 10
    Path("p.fasta.gz").write_bytes(whole)
    text = printed(capsys, "demo", "--fasta", "p.fasta.gz", "-o", "out.csv", "--resume")
    assert f"out.csv: 60 rows, {there} of them from before" in text
    assert Path("out.csv").read_bytes() == undisturbed(capsys)


# --- outputs ----------------------------------------------------------------------------------------------


def test_an_output_that_is_there(folder: Path, capsys: Any) -> None:
    whole = undisturbed(capsys)
    Path("out.csv").write_bytes(b"mine\n")
    words = ["demo", "--fasta", "p.fasta", "-o", "out.csv"]
    assert "out.csv is there already: --resume goes on with it" in complaint(capsys, *words)
    assert "no file of results" in complaint(capsys, *words, "--resume")
    assert "no proteins" in complaint(capsys, "demo", "--fasta", os.devnull, "-o", "out.csv", "--force")
    assert Path("out.csv").read_bytes() == b"mine\n"
    printed(capsys, *words, "--force")
    assert Path("out.csv").read_bytes() == whole


@pytest.mark.parametrize(("output", "rows"), [("out.csv", "out.csv"), ("out.parquet", "out.parquet.partial")])
def test_an_output_that_comes_while_it_gets_ready(folder: Path, output: str, rows: str) -> None:
    """That of another command, say, which took less time for its kernels, and has ended since."""
    if output.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    options = argparse.Namespace(output=Path(output), fasta=None, force=False, resume=False)
    scores = Scores(options)
    Path(rows).write_bytes(b"mine\n")
    with scores, pytest.raises(InputError, match=rf"{rows} is there .*--resume goes on with it"):
        list(scores.stored(iter([])))
    assert Path(rows).read_bytes() == b"mine\n"
    options.force = True
    with Scores(options) as scores:
        assert list(scores.stored(iter([]))) == []
    assert Path(rows).read_bytes() == HEADER


@pytest.mark.parametrize("count", [0, 1, 30, 60])
def test_what_is_there_is_not_computed_again(
    folder: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    whole = undisturbed(capsys)
    lines = whole.splitlines(keepends=True)
    Path("out.csv").write_bytes(b"".join(lines[: count + 1]) + b"".join(lines[count + 1 : count + 2])[:-1])
    computed: list[int] = []
    original = demo.DisorderNetwork.score_many

    def score_many(network: Any, sequences: list[str]) -> Any:
        computed.append(len(sequences))
        return original(network, sequences)

    monkeypatch.setattr(demo.DisorderNetwork, "score_many", score_many)
    text = printed(capsys, "demo", "--fasta", "p.fasta", "-o", "out.csv", "--resume")
    assert sum(computed) == 60 - count
    assert f"60 rows, {count} of them from before" in text
    assert "The most disordered of 60 proteins" in text
    assert Path("out.csv").read_bytes() == whole


def test_resume_refuses_another_input(folder: Path, capsys: Any) -> None:
    whole = undisturbed(capsys)
    Path("out.csv").write_bytes(whole)
    words = ["demo", "-o", "out.csv", "--resume", "--fasta"]
    assert "row 1 was not made of record 1 (good)" in complaint(capsys, *words, "bad.fasta")
    for force in ([], ["--force"]):  # which is for a picture, then
        assert "--force instead of --resume starts anew" in complaint(capsys, *words, "bad.fasta", *force)
    assert "more rows than" in complaint(capsys, *words, "p.fasta", "--limit", "9")
    assert Path("out.csv").read_bytes() == whole
    assert "name it with -o" in complaint(capsys, "demo", "--resume")


def test_first_some_and_then_all(folder: Path, capsys: Any) -> None:
    whole = undisturbed(capsys)
    printed(capsys, "demo", "--fasta", "p.fasta", "-o", "out.csv", "--limit", "7")
    assert Path("out.csv").read_bytes() == b"".join(whole.splitlines(keepends=True)[:8])
    printed(capsys, "demo", "--fasta", "p.fasta", "-o", "out.csv", "--resume")
    assert Path("out.csv").read_bytes() == whole


@pytest.mark.parametrize(
    ("words", "words_of_complaint"),
    [
        ("-o out.txt", "must end in .csv or .parquet"),
        ("-o none/out.csv", "no folder"),
        ("-o p.fasta", "must end in .csv or .parquet"),
        ("--threads 2 --workers 2", "a worker has one thread"),
        ("--workers 2 --scheduler tcp://127.0.0.1:1", "not allowed with"),
        ("--workers 0", "at least 1"),
        ("-o /dev/null --resume", "--resume goes on with a regular file"),
    ],
)
def test_outputs_and_workers_that_are_refused(
    folder: Path, capsys: Any, words: str, words_of_complaint: str
) -> None:
    assert words_of_complaint in complaint(capsys, "demo", "--fasta", "p.fasta", *words.split())
    assert names() == set()


def test_without_dask_it_says_what_to_install(
    folder: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("distributed", "pyarrow"):
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "pyarrow.parquet", raising=False)
    assert "pip install 'numba-lstm[dask]'" in complaint(capsys, "demo", "--workers", "2")
    assert "pip install 'numba-lstm[parquet]'" in complaint(capsys, "demo", "-o", "out.parquet")
    assert names() == set()


def test_parquet(folder: Path, capsys: Any) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    words = ["demo", "--fasta", "p.fasta", "-o", "out.parquet"]
    printed(capsys, *words)
    assert names() == {"out.parquet"}
    whole, rows = Path("out.parquet").read_bytes(), undisturbed(capsys)
    table = parquet.read_table("out.parquet")
    Path("rows.csv").write_bytes(rows)
    for row, scores in zip(read_journal("rows.csv"), table["scores"].to_pylist(), strict=True):
        assert row.scores is not None
        np.testing.assert_array_equal(row.scores, np.array(scores, np.float32))
    # finished: nothing is done
    assert "60 rows, 60 of them from before" in printed(capsys, *words, "--resume")
    assert "row 1 was not made" in complaint(capsys, "demo", "--fasta", "bad.fasta", "-o", "out.parquet", "--resume")
    assert Path("out.parquet").read_bytes() == whole
    # stopped before, between and after its rows; and with the finished file there already
    for end, finished in ((len(HEADER), False), (len(rows) // 2, False), (len(rows), False), (len(rows), True)):
        Path("out.parquet.partial").write_bytes(rows[:end])
        if not finished:
            Path("out.parquet").unlink()
            assert "--resume goes on with it, --force starts anew" in complaint(capsys, *words)
        printed(capsys, *words, "--resume")
        assert Path("out.parquet").read_bytes() == whole
        assert names() == {"out.parquet", "rows.csv"}


@posix
@pytest.mark.parametrize("limit", ["5", "60"])
def test_rows_are_removed_once_the_disk_has_the_parquet_file(
    folder: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    """However many they are, the disk is asked for it once; and nobody can go on with rows that are about to go."""
    pytest.importorskip("pyarrow")
    rows, remove = Path("out.parquet.partial"), Path.unlink
    in_use = []

    def unlink(path: Path, **options: Any) -> None:
        if path == rows:
            with pytest.raises(InUseError):
                Journal(rows)
            in_use.append(path)
        remove(path, **options)

    monkeypatch.setattr(Path, "unlink", unlink)
    events = recorded(monkeypatch, folder)
    printed(capsys, "demo", "--fasta", "p.fasta", "--limit", limit, "-o", "out.parquet")
    assert in_use == [rows]
    assert names() == {"out.parquet"}
    assert [event for event in events if event != "remove temporary"] == [
        f"keep temporary of {len(HEADER)} bytes", "temporary becomes out.parquet.partial", "keep names",
        f"keep temporary of {Path('out.parquet').stat().st_size} bytes", "temporary becomes out.parquet", "keep names",
        "remove out.parquet.partial",
    ]  # fmt: skip


@posix
def test_the_disk_has_all_rows_in_the_end(folder: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    events = recorded(monkeypatch, folder)
    printed(capsys, "demo", "--fasta", "p.fasta", "-o", "out.csv")
    assert events[-1] == f"keep out.csv of {Path('out.csv').stat().st_size} bytes"
    assert len([event for event in events if event.startswith("keep out.csv")]) == 1


# --- as processes -----------------------------------------------------------------------------------------


def process(*words: str, **options: Any) -> subprocess.Popen[bytes]:
    variables = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    return subprocess.Popen([*COMMAND, "demo", *words], env=variables, **options)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_device_that_is_full_is_named(folder: Path, capsys: Any) -> None:
    assert "/dev/full: No space left" in complaint(capsys, "demo", "--fasta", "p.fasta", "-o", "/dev/full")


@posix
def test_standard_input_and_output(folder: Path, capsys: Any) -> None:
    with Path("p.fasta").open("rb") as file:
        done = process("--fasta", "-", "-o", "-", stdin=file, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = done.communicate(timeout=HANG)
    assert (done.returncode, err) == (0, b"")
    assert out == undisturbed(capsys)


def grown(path: Path, size: int, command: subprocess.Popen[bytes]) -> None:
    """Wait for a file to have some bytes."""
    while command.poll() is None and (not path.exists() or path.stat().st_size < size):
        time.sleep(0.001)


@posix
def test_killed_again_and_again(folder: Path, capsys: Any) -> None:
    """Whatever was killed at any time, what goes on with it writes what would have been written."""
    letters = random.Random(2)
    Path("p.fasta").write_text(Path("p.fasta").read_text() * 60)
    whole, path = undisturbed(capsys), Path("out.csv")
    kills = 0
    for part in sorted(letters.random() for _ in range(3)):
        command = process("--fasta", "p.fasta", "-o", "out.csv", "--resume", stdout=subprocess.DEVNULL)
        grown(path, round(part * len(whole)), command)
        command.kill()
        kills += command.wait(HANG) == -signal.SIGKILL
        assert whole.startswith(path.read_bytes() or HEADER)
    assert kills > 0
    assert cli.main(["demo", "--fasta", "p.fasta", "-o", "out.csv", "--resume"]) == 0
    assert path.read_bytes() == whole


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_workers_end_quietly(folder: Path, number: signal.Signals) -> None:
    """Ctrl-C goes to all processes of a terminal; what is written stays."""
    pytest.importorskip("distributed")
    Path("p.fasta").write_text(Path("p.fasta").read_text() * 400)
    command = process(
        "--fasta", "p.fasta", "-o", "out.csv", "--workers", "1",
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=lambda: (os.setsid(), signal.signal(signal.SIGINT, signal.SIG_DFL)),
    )  # fmt: skip
    grown(Path("out.csv"), 10_000, command)
    os.killpg(command.pid, number) if number == signal.SIGINT else command.send_signal(number)
    out, err = command.communicate(timeout=HANG)  # the pipes are closed when the worker is gone, too
    assert (out, err) == (b"", b"numba-lstm: interrupted\n" if number == signal.SIGINT else b"")
    assert command.returncode == (130 if number == signal.SIGINT else -number)
    rows = list(read_journal("out.csv"))
    assert [row.record for row in rows] == list(range(1, len(rows) + 1))


@posix
@pytest.mark.slow
def test_killed_workers_lose_nothing(folder: Path, capsys: Any) -> None:
    """Three are killed at any time, as the system does when memory is short: each protein is in the file once."""
    pytest.importorskip("distributed")
    import psutil  # distributed needs it

    letters = random.Random(4)
    Path("p.fasta").write_text(Path("p.fasta").read_text() * 400)
    whole, path = undisturbed(capsys), Path("out.csv")
    command = process("--fasta", "p.fasta", "-o", "out.csv", "--workers", "2", stdout=subprocess.DEVNULL)
    for part in sorted(letters.random() for _ in range(3)):
        grown(path, round(part * len(whole) / 2), command)
        workers: list[Any] = []
        while not workers:  # the last one may be on its way out, and the next one on its way in
            for child in psutil.Process(command.pid).children():
                with contextlib.suppress(psutil.Error):
                    workers += [child] if any("spawn_main" in word for word in child.cmdline()) else []
        letters.choice(workers).kill()
    assert command.wait(HANG) == 0
    assert path.read_bytes() == whole


PEAK = """
import os, resource, sys
from numba_lstm import cli
folder, output = sys.argv[1:]
os.chdir(folder)
status = cli.main(["demo", "--fasta", "many.fasta", "-o", output, "--force", "--threads", "1"])
print(status, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak(count: int, output: str, longest: int) -> int:
    """Return the most bytes that a command has for so many proteins of 20 residues or more."""
    letters = random.Random(3)
    with Path("many.fasta").open("w") as file:
        for number in range(count):
            file.write(f">P{number}\n{''.join(letters.choices('ACDEFGHIKL', k=letters.randint(20, longest)))}\n")
    status, size = run(PEAK, os.fspath(Path.cwd()), output).stdout.split()[-2:]
    assert status == "0"
    return int(size) << 10


@posix
@pytest.mark.parametrize("output", ["out.csv", "out.parquet"])
@pytest.mark.parametrize(
    ("count", "longest"),
    [
        (10_000, 60),
        pytest.param(100_000, 60, marks=pytest.mark.slow),
        pytest.param(10_000, 2000, marks=pytest.mark.slow),
    ],
)
def test_memory_does_not_grow_with_the_file(folder: Path, output: str, count: int, longest: int) -> None:
    if output.endswith("parquet"):
        pytest.importorskip("pyarrow")
    peak(100, output, longest)  # kernels are compiled
    assert peak(count, output, longest) - peak(100, output, longest) < 50_000_000
