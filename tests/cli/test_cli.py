"""The command line: every command, and one clear line for every kind of bad input."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from support.processes import HANG

import numba_lstm
from numba_lstm import cli, demo

pytestmark = pytest.mark.usefixtures("threads")

COMMAND = [sys.executable, "-c", "import sys; from numba_lstm.cli import main; sys.exit(main())"]
INPUT_SIZE, HIDDEN_SIZE = 3, 5


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder with a weights file of two LSTMs and an input."""
    monkeypatch.chdir(tmp_path)
    state = numba_lstm.LSTM(INPUT_SIZE, HIDDEN_SIZE, seed=1).state_dict()
    two_way = numba_lstm.LSTM(INPUT_SIZE, HIDDEN_SIZE, 2, bidirectional=True, seed=2).state_dict()
    arrays = {**state, **{"encoder.lstm." + name: array for name, array in two_way.items()}}
    save_file({name: np.array(array) for name, array in arrays.items()}, "weights.safetensors")
    np.savez("weights.npz", **state)
    np.save("x.npy", np.random.default_rng(0).standard_normal((7, 2, INPUT_SIZE), np.float32))
    return tmp_path


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    """Return what was printed, which must be one line of complaint and nothing else."""
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = printed.err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("numba-lstm: error: ")
    return lines[0]


def leftovers(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"weights.safetensors", "weights.npz", "x.npy"}


# --- run --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", ["weights.safetensors", "weights.npz"])
def test_run_gives_what_the_module_gives(folder: Path, weights: str, capsys: Any) -> None:
    assert cli.main(["run", weights, "x.npy", "-o", "out.npz"]) == 0
    lstm = numba_lstm.LSTM.load(weights).eval()
    output, (h_n, c_n) = lstm(np.load("x.npy"))
    with np.load("out.npz") as written:
        assert sorted(written.files) == ["c_n", "h_n", "output"]
        np.testing.assert_array_equal(written["output"], output)
        np.testing.assert_array_equal(written["h_n"], h_n)
        np.testing.assert_array_equal(written["c_n"], c_n)
    assert "output (7, 2, 5)" in capsys.readouterr().out
    assert leftovers(folder) == {"out.npz"}


def test_run_with_every_option(folder: Path) -> None:
    lstm = numba_lstm.LSTM.load(
        "weights.safetensors", prefix="encoder.lstm.", batch_first=True, dtype=np.float64
    )
    random = np.random.default_rng(3)
    h_0, c_0 = random.standard_normal((2, 4, 7, HIDDEN_SIZE))
    np.save("h0.npy", h_0)
    np.save("c0.npy", c_0)
    options = "--prefix encoder.lstm. --h0 h0.npy --c0 c0.npy --batch-first --dtype float64 --threads 1"
    assert cli.main(["run", "weights.safetensors", "x.npy", "-o", "out.npz", *options.split()]) == 0
    output, _ = lstm.eval()(np.load("x.npy").astype(np.float64), (h_0, c_0))
    with np.load("out.npz") as written:
        assert written["output"].dtype == np.float64
        np.testing.assert_array_equal(written["output"], output)


def test_run_takes_either_byte_order_and_fortran_order(folder: Path) -> None:
    x = np.load("x.npy")
    assert cli.main(["run", "weights.npz", "x.npy", "-o", "native.npz"]) == 0
    np.save("x.npy", np.asfortranarray(x.astype(x.dtype.newbyteorder())))
    assert cli.main(["run", "weights.npz", "x.npy", "-o", "swapped.npz"]) == 0
    with np.load("native.npz") as native, np.load("swapped.npz") as swapped:
        np.testing.assert_array_equal(native["output"], swapped["output"])


def test_run_rounds_what_is_too_large(folder: Path) -> None:
    """To infinity, as it does parameters, and with no warning."""
    np.save("wide.npy", np.full_like(np.load("x.npy"), 1e300, np.float64))
    np.save("infinite.npy", np.full_like(np.load("x.npy"), np.inf))
    for name in ("wide", "infinite"):
        arguments = ["--dtype", "float32", "-o", f"{name}_out.npz"]
        assert cli.main(["run", "weights.npz", f"{name}.npy", *arguments]) == 0
    wide, infinite = np.load("wide_out.npz"), np.load("infinite_out.npz")
    np.testing.assert_array_equal(wide["output"], infinite["output"])


def test_run_replaces_an_older_output_if_it_is_told_to(folder: Path, capsys: Any) -> None:
    Path("out.npz").write_text("older")
    assert cli.main(["run", "weights.npz", "x.npy", "-o", "out.npz"]) == 2
    assert "out.npz is there already: --force replaces it" in error_line(capsys)
    assert Path("out.npz").read_text() == "older"
    assert cli.main(["run", "weights.npz", "x.npy", "-o", "out.npz", "--force"]) == 0
    with np.load("out.npz") as written:
        assert written["output"].shape == (7, 2, HIDDEN_SIZE)


def _truncate(name: str) -> None:
    path = Path(name)
    path.write_bytes(path.read_bytes()[:-40])


def _save(name: str, array: Any) -> None:
    np.save(name, array, allow_pickle=True)


BAD_RUNS: list[tuple[str, Any, str, str]] = [
    # what is done to the files, the command's arguments, what the line says
    ("no weights", None, "none.npz x.npy", "none.npz: No such file"),
    ("weights of no known kind", lambda: Path("w.txt").write_text("x"), "w.txt x.npy", ".safetensors"),
    ("truncated weights", lambda: _truncate("weights.npz"), "weights.npz x.npy", "weights.npz"),
    ("truncated tensors", lambda: _truncate("weights.safetensors"), "weights.safetensors x.npy", "weights"),
    ("unknown prefix", None, "weights.safetensors x.npy --prefix decoder.", "encoder.lstm."),
    ("no input", None, "weights.npz none.npy", "none.npy: No such file"),
    ("input is a folder", lambda: Path("d.npy").mkdir(), "weights.npz d.npy", "d.npy: Is a directory"),
    ("input is no npy", None, "weights.npz weights.npz", "not a complete .npy file"),
    ("truncated input", lambda: _truncate("x.npy"), "weights.npz x.npy", "not a complete .npy file"),
    ("empty input", lambda: Path("x.npy").write_bytes(b""), "weights.npz x.npy", "not a complete .npy file"),
    ("input of objects", lambda: _save("x.npy", np.array([{}])), "weights.npz x.npy", "not a complete .npy"),
    ("input of text", lambda: _save("x.npy", np.array(["a"])), "weights.npz x.npy", "holds <U1"),
    ("complex input", lambda: _save("x.npy", np.ones((2, 1, 3), "c8")), "weights.npz x.npy", "holds complex"),
    ("other dtype", lambda: _save("x.npy", np.ones((2, 1, 3))), "weights.npz x.npy", "choose with --dtype"),
    ("wrong width", lambda: _save("x.npy", np.ones((2, 1, 4), "f4")), "weights.npz x.npy", "4"),
    ("wrong number of axes", lambda: _save("x.npy", np.ones(3, "f4")), "weights.npz x.npy", "1D"),
    ("no axes", lambda: _save("x.npy", np.float32(1)), "weights.npz x.npy", "0D"),
    ("no steps", lambda: _save("x.npy", np.ones((0, 1, 3), "f4")), "weights.npz x.npy", "larger than 0"),
    ("one state", None, "weights.npz x.npy --h0 x.npy", "--h0 and --c0 go together"),
    ("state of a wrong shape", None, "weights.npz x.npy --h0 x.npy --c0 x.npy", "(1, 2, 5)"),
    ("unknown dtype", None, "weights.npz x.npy --dtype float16", "float16"),
    ("no threads", None, "weights.npz x.npy --threads 0", "at least 1"),
    ("too many threads", None, "weights.npz x.npy --threads 99999", "99999"),
    ("unknown option", None, "weights.npz x.npy --what", "--what"),
]


@pytest.mark.parametrize(
    ("damage", "arguments", "complaint"), [row[1:] for row in BAD_RUNS], ids=[row[0] for row in BAD_RUNS]
)
def test_run_with_bad_input(folder: Path, capsys: Any, damage: Any, arguments: str, complaint: str) -> None:
    """One line, status 2, and the output that was there before is still whole."""
    if damage is not None:
        damage()
    before = leftovers(folder)
    Path("out.npz").write_text("older")
    assert cli.main(["run", *arguments.split(), "-o", "out.npz", "--force"]) == 2
    assert complaint in error_line(capsys)
    assert Path("out.npz").read_text() == "older"
    assert leftovers(folder) == before | {"out.npz"}


@pytest.mark.parametrize(
    ("target", "complaint"),
    [
        ("missing/out.npz", "no folder"),
        ("x.npy/out.npz", "x.npy/out.npz: Not a directory"),
        ("out.safetensors", "the name must end in .npz"),
        ("out.npy", "the name must end in .npz"),
        ("out", "the name must end in .npz"),
    ],
)
def test_run_refuses_an_output_that_it_could_not_write(
    folder: Path, capsys: Any, target: str, complaint: str
) -> None:
    assert cli.main(["run", "weights.npz", "x.npy", "-o", target]) == 2
    assert complaint in error_line(capsys)
    assert leftovers(folder) == set()


def test_a_write_that_fails_half_way_leaves_nothing(
    folder: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: Any, **_: Any) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device", "out.npz")

    monkeypatch.setattr(np, "savez", full)
    Path("out.npz").write_text("older")
    assert cli.main(["run", "weights.npz", "x.npy", "-o", "out.npz", "--force"]) == 2
    assert "No space left" in error_line(capsys)
    assert Path("out.npz").read_text() == "older"
    assert leftovers(folder) == {"out.npz"}


# --- info, warmup, version --------------------------------------------------------------------------------


def test_info_describes_every_lstm_of_a_file(folder: Path, capsys: Any) -> None:
    assert cli.main(["info", "weights.safetensors"]) == 0
    printed = capsys.readouterr().out
    assert "prefix ''" in printed
    assert "prefix 'encoder.lstm.'" in printed
    assert [line.split()[1] for line in printed.splitlines() if "bidirectional" in line] == ["False", "True"]
    assert "weight_hh_l1_reverse" in printed


def test_info_of_one_prefix(folder: Path, capsys: Any) -> None:
    assert cli.main(["info", "weights.safetensors", "--prefix", "encoder.lstm."]) == 0
    printed = capsys.readouterr().out
    assert "prefix ''" not in printed
    state = numba_lstm.LSTM.load("weights.safetensors", prefix="encoder.lstm.").state_dict()
    count = sum(array.size for array in state.values())
    assert f"{count:,} parameters, {4 * count:,} bytes" in printed


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("none.safetensors", "No such file"),
        ("x.npy", ".safetensors"),
        ("weights.safetensors --prefix decoder.", "encoder.lstm."),
        ("other.npz", "holds no LSTM"),
    ],
)
def test_info_with_bad_input(folder: Path, capsys: Any, arguments: str, complaint: str) -> None:
    np.savez("other.npz", weight=np.ones(3))
    assert cli.main(["info", *arguments.split()]) == 2
    assert complaint in error_line(capsys)


def test_warmup_says_where_the_kernels_are(capsys: Any) -> None:
    assert cli.main(["warmup", "--dtype", "float32"]) == 0
    first, last = capsys.readouterr().out.splitlines()
    assert first.startswith("float32: kernels ")
    assert Path(last.removeprefix("cache: ")).is_dir()


def test_warmup_of_forms(capsys: Any) -> None:
    assert cli.main(["warmup", "--cells", "torch", "--weights", "int8"]) == 0
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == ["float32", "int8", "cache"]


@pytest.mark.parametrize("option", ["-V", "--version"])
def test_version(option: str, capsys: Any) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main([option])
    assert stopped.value.code == 0
    assert capsys.readouterr().out.split() == ["numba-lstm", numba_lstm.__version__]


@pytest.mark.parametrize("arguments", ["fly", "run", "demo --limit many", "warmup --dtype"])
def test_bad_usage(capsys: Any, arguments: str) -> None:
    assert cli.main(arguments.split()) == 2
    assert "--help" in error_line(capsys)


# --- demo -------------------------------------------------------------------------------------------------


def test_demo_prints_table_rate_and_difference(folder: Path, capsys: Any) -> None:
    assert cli.main(["demo", "--limit", "12", "--threads", "1"]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    names = {protein.name for protein in demo.bundled_proteins()[:12]}
    assert sum(line.split()[0] in names for line in lines if line) == cli.TABLE_ROWS
    assert any(line.endswith("residues per second") for line in lines)
    assert any(line.startswith("kernels ") for line in lines)
    difference = lines[-1].removeprefix("largest difference from the published scores: ")
    assert float(difference) <= 2e-5
    assert printed.err == ""  # no terminal, no bar


def test_demo_scores_the_users_proteins(folder: Path, capsys: Any) -> None:
    Path("my.fasta").write_text(">mine\nMSSSSSQAAAGGGG\n")
    assert cli.main(["demo", "--fasta", "my.fasta"]) == 0
    printed = capsys.readouterr().out
    assert "mine" in printed
    assert "published" not in printed


def test_demo_draws(folder: Path, capsys: Any) -> None:
    pytest.importorskip("matplotlib")
    assert cli.main(["demo", "--limit", "2", "--plot", "out.PNG"]) == 0
    assert Path("out.PNG").read_bytes().startswith(b"\x89PNG")
    assert leftovers(folder) == {"out.PNG"}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("--fasta none.fasta", "none.fasta: No such file"),
        ("--fasta empty.fasta", "no proteins"),
        ("--limit 0", "at least 1"),
        ("--limit -3", "at least 1"),
    ],
)
def test_demo_with_bad_input(folder: Path, capsys: Any, arguments: str, complaint: str) -> None:
    Path("empty.fasta").touch()
    assert cli.main(["demo", *arguments.split()]) == 2
    assert complaint in error_line(capsys)


@pytest.mark.parametrize(
    ("target", "complaint"),
    [("out.txt", "must end in"), ("out", "must end in"), ("missing/out.png", "no folder")],
)
def test_demo_refuses_a_picture_before_it_scores(
    folder: Path, capsys: Any, target: str, complaint: str
) -> None:
    pytest.importorskip("matplotlib")
    assert cli.main(["demo", "--plot", target]) == 2
    assert complaint in error_line(capsys)


def test_a_picture_without_matplotlib_says_what_to_install(
    folder: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert cli.main(["demo", "--plot", "out.png"]) == 2
    assert "pip install 'numba-lstm[plot]'" in error_line(capsys)


# --- the process ------------------------------------------------------------------------------------------


def test_bad_input_as_a_process(folder: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "run", "none.npz", "x.npy", "-o", "out.npz"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "numba-lstm: error: none.npz: No such file or directory\n"


def open_when_read(fifo: str, process: subprocess.Popen[str]) -> int:
    """Open a FIFO for writing once the process reads from it."""
    while process.poll() is None:
        try:
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # no reader yet
            time.sleep(0.05)
    raise AssertionError(f"the command ended before it read: {process.communicate()[1]}")


def heed_ctrl_c() -> None:
    """Undo what a shell does to its background jobs, which ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
def test_ctrl_c(folder: Path) -> None:
    """Interrupted while it waits for its input: status 130, no traceback, no output."""
    os.mkfifo("slow.fasta")
    command = [*COMMAND, "demo", "--fasta", "slow.fasta"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=heed_ctrl_c)
    writer = open_when_read("slow.fasta", process)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, complaint = process.communicate(timeout=HANG)
    os.close(writer)
    assert process.returncode == 130
    assert complaint == "numba-lstm: interrupted\n"


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
def test_ctrl_c_while_kernels_compile(folder: Path) -> None:
    """It ends at once, within LLVM too, and by the signal itself: a shell says 130."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder / "kernels")}
    with subprocess.Popen(
        [*COMMAND, "warmup"], stderr=subprocess.PIPE, text=True, env=environment, preexec_fn=heed_ctrl_c
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "numba-lstm: compiling kernels, once on this machine ...\n"
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == ""
    assert process.returncode == -signal.SIGINT


@pytest.mark.skipif(os.name == "nt", reason="pipes differ")
def test_a_reader_that_leaves(folder: Path) -> None:
    """``numba-lstm info ... | head -0``: quiet."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*COMMAND, "info", "weights.npz"], stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)
    assert done.returncode == 141
    assert done.stderr == ""


def test_compiling_is_announced_and_loading_is_not(folder: Path) -> None:
    """The first process says what takes long and how to avoid it; the second has nothing to say."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder / "kernels"), "NUMBA_NUM_THREADS": "1"}
    command = [*COMMAND, "run", "weights.npz", "x.npy", "-o", "out.npz", "--force"]
    first, second = (
        subprocess.run(command, capture_output=True, text=True, check=True, env=environment) for _ in range(2)
    )
    assert len(first.stderr.splitlines()) == 1
    assert "numba-lstm warmup" in first.stderr
    assert second.stderr == ""
