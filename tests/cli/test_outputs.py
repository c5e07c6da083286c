"""What is written, and where: files whole or not at all, and nothing destroyed that was there."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import signal
import stat
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.commands import complaint
from support.processes import HANG, PACKAGE, posix

import numba_lstm
from numba_lstm import cli
from numba_lstm import io as files

pytestmark = [posix, pytest.mark.usefixtures("threads")]

COMMAND = [sys.executable, "-c", "import sys; from numba_lstm.cli import main; sys.exit(main())"]

as_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root")
with_proc = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder with weights and an input."""
    monkeypatch.chdir(tmp_path)
    numba_lstm.LSTM(3, 5, seed=1).save("w.npz")
    np.save("x.npy", np.random.default_rng(0).standard_normal((7, 2, 3), np.float32))
    return tmp_path


def expected() -> np.ndarray:
    output: np.ndarray = numba_lstm.LSTM.load("w.npz").eval()(np.load("x.npy"))[0]
    return output


def check_archive(content: bytes) -> None:
    """What ``numba-lstm run`` wrote has to be whole and right."""
    with np.load(io.BytesIO(content)) as written:
        assert sorted(written.files) == ["c_n", "h_n", "output"]
        np.testing.assert_array_equal(written["output"], expected())


def refused(capsys: Any, *words: str) -> str:
    """Run a command that is refused, and return its one line."""
    capsys.readouterr()
    return complaint(capsys, *words)


def process(*words: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run the command as users do."""
    variables = {**os.environ, "PYTHONPATH": str(PACKAGE.parent), **options.pop("env", {})}
    if "stdout" not in options and "stderr" not in options:
        options["capture_output"] = True
    return subprocess.run([*COMMAND, *words], env=variables, timeout=HANG, check=False, **options)


def shell(line: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line of a shell, in which ``numba-lstm`` is the command."""
    function = f"numba-lstm() {{ {shlex.join(COMMAND)} \"$@\"; }}"
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent), **variables}
    return subprocess.run(
        ["bash", "-c", f"{function}\n{line}"], env=environment, capture_output=True, timeout=HANG, check=False
    )


def names() -> set[str]:
    return {path.name for path in Path().iterdir()}


def collected(pipe: str) -> tuple[threading.Thread, list[bytes]]:
    """Read all that comes out of a pipe, beside."""
    content: list[bytes] = []
    reader = threading.Thread(target=lambda: content.append(Path(pipe).read_bytes()))
    reader.start()
    return reader, content


def as_user(folder: Path, do: Callable[[], object]) -> None:
    """Do something in a process of a user who may not do everything; root becomes one whose folder this is."""
    if os.geteuid() == 0:
        os.chown(folder, 4321, 4321)
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(4321)
                os.setuid(4321)
            do()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def run_it(target: str) -> None:
    assert cli.main(["run", "w.npz", "x.npy", "-o", target]) == 0


def convert_it(target: str) -> None:
    assert cli.main(["convert", "w.npz", target]) == 0


def save_it(target: str) -> None:
    numba_lstm.LSTM(3, 5, seed=1).save(target)


def save_a_cell(target: str) -> None:
    numba_lstm.LSTMCell(3, 5, seed=1).save(target)


def write_it(target: str) -> None:
    files.write(target, {"weight": np.ones(3)})


WRITERS = [run_it, convert_it, save_it, save_a_cell, write_it]
every_writer = pytest.mark.parametrize("write", WRITERS, ids=lambda function: function.__name__)


# --- what is no regular file ------------------------------------------------------------------------------


@as_root
@every_writer
def test_a_device_is_written_to(folder: Path, write: Callable[[str], None]) -> None:
    for name in ("null.npz", "link.npz"):
        if name == "null.npz":
            os.mknod(name, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        else:
            Path(name).symlink_to("null.npz")
        write(name)
    assert stat.S_ISCHR(Path("null.npz").stat().st_mode)
    assert Path("link.npz").is_symlink()
    assert names() == {"w.npz", "x.npy", "null.npz", "link.npz"}


@as_root
@every_writer
def test_a_full_device(folder: Path, write: Callable[[str], None], capsys: Any) -> None:
    os.mknod("full.npz", 0o666 | stat.S_IFCHR, os.makedev(1, 7))
    if write in (run_it, convert_it):
        words = ["run", "w.npz", "x.npy", "-o"] if write is run_it else ["convert", "w.npz"]
        assert "full.npz: No space left on device" in refused(capsys, *words, "full.npz")
    else:
        with pytest.raises(OSError, match=r"No space left on device: 'full\.npz'"):
            write("full.npz")
    assert names() == {"w.npz", "x.npy", "full.npz"}


@every_writer
def test_a_pipe_is_written_to(folder: Path, write: Callable[[str], None]) -> None:
    os.mkfifo("pipe.npz")
    reader, content = collected("pipe.npz")
    write("pipe.npz")
    reader.join(HANG)
    assert stat.S_ISFIFO(Path("pipe.npz").stat().st_mode)
    Path("got.npz").write_bytes(content[0])
    Path("pipe.npz").unlink()
    write("pipe.npz")  # now a file: with the same content
    assert files.read("got.npz").keys() == files.read("pipe.npz").keys()
    for name, array in files.read("pipe.npz").items():
        np.testing.assert_array_equal(files.read("got.npz")[name], array)


def test_a_pipe_needs_no_suffix_for_results_and_a_format_for_weights(folder: Path, capsys: Any) -> None:
    os.mkfifo("pipe")
    reader, content = collected("pipe")
    run_it("pipe")
    reader.join(HANG)
    check_archive(content[0])
    assert "--format" in refused(capsys, "convert", "w.npz", "pipe")
    reader, content = collected("pipe")
    assert cli.main(["convert", "w.npz", "pipe", "--format", "safetensors"]) == 0
    reader.join(HANG)
    Path("got.safetensors").write_bytes(content[0])
    assert files.read("got.safetensors").keys() == files.read("w.npz").keys()
    os.mkfifo("pipe.safetensors")
    assert "must end in .npz" in refused(capsys, "run", "w.npz", "x.npy", "-o", "pipe.safetensors")


def test_nothing_reaches_a_pipe_before_all_is_made(folder: Path) -> None:
    os.mkfifo("pipe.npz")

    def fail(file: Any) -> None:
        file.write(b"half")
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):  # without a reader, so that opening it would block
        files.write_whole(Path("pipe.npz"), fail)


@with_proc
@pytest.mark.parametrize("way", ["/dev/stdout", "/dev/fd/{}", "/proc/self/fd/{}", "/proc/{pid}/fd/{}", "link.npz"])
def test_what_is_open_is_written_to(folder: Path, way: str) -> None:
    """From where it is: what was written before stays."""
    with open("out.bin", "w+b") as file:
        file.write(b"before")
        file.flush()
        number = file.fileno()
        kept = os.dup(1)
        target = way.format(number, pid=os.getpid())
        if way == "link.npz":
            Path(way).symlink_to(f"/proc/self/fd/{number}")
        if way == "/dev/stdout":
            os.dup2(number, 1)
        try:
            files.write_whole(Path(target), lambda out: out.write(b"content"))
        finally:
            os.dup2(kept, 1)
            os.close(kept)
        file.write(b"after")
    assert Path("out.bin").read_bytes() == b"beforecontentafter"


@with_proc
def test_what_another_process_has_open_is_written_to(folder: Path) -> None:
    with open("out.bin", "w+b") as file, subprocess.Popen(["sleep", "60"], stdout=file) as other:
        files.write_whole(Path(f"/proc/{other.pid}/fd/1"), lambda out: out.write(b"content"))
        other.kill()
        assert file.read() == b"content"


@with_proc
def test_a_descriptor_that_is_not_open(folder: Path, capsys: Any) -> None:
    number = os.dup(0)
    os.close(number)
    assert f"/proc/self/fd/{number}: " in refused(capsys, "run", "w.npz", "x.npy", "-o", f"/proc/self/fd/{number}")


def test_a_folder_is_no_output(folder: Path) -> None:
    Path("out.npz").mkdir()
    with pytest.raises(IsADirectoryError, match=r"'out\.npz'"):
        save_it("out.npz")
    assert names() == {"w.npz", "x.npy", "out.npz"}


# --- links, modes, owners ---------------------------------------------------------------------------------


@every_writer
def test_links_are_followed(folder: Path, write: Callable[[str], None]) -> None:
    """Through several, in another folder, to a file that is not there yet."""
    Path("store").mkdir()
    Path("link.npz").symlink_to("store/second.npz")
    Path("store/second.npz").symlink_to("0123abcd")
    write("link.npz")
    assert Path("link.npz").readlink() == Path("store/second.npz")
    assert Path("store/second.npz").readlink() == Path("0123abcd")
    assert not Path("store/0123abcd").is_symlink()
    assert files.read("link.npz")
    assert {path.name for path in Path("store").iterdir()} == {"second.npz", "0123abcd"}


def test_a_link_to_a_file_of_another_format(folder: Path, capsys: Any) -> None:
    Path("model.safetensors").write_bytes(b"whatever")
    Path("out.npz").symlink_to("model.safetensors")
    line = refused(capsys, "run", "w.npz", "x.npy", "-o", "out.npz", "--force")
    assert "model.safetensors: the name must end in .npz" in line
    assert Path("model.safetensors").read_bytes() == b"whatever"


def test_links_in_a_circle(folder: Path, capsys: Any) -> None:
    Path("a.npz").symlink_to("b.npz")
    Path("b.npz").symlink_to("a.npz")
    with pytest.raises(OSError, match=r"Too many .*symbolic links: 'a\.npz'"):
        save_it("a.npz")
    assert "a.npz: Too many" in refused(capsys, "run", "w.npz", "x.npy", "-o", "a.npz")
    Path("lost.npz").symlink_to("nowhere/lost.npz")
    with pytest.raises(FileNotFoundError, match=r"'lost\.npz'"):
        save_it("lost.npz")
    assert "there is no folder" in refused(capsys, "run", "w.npz", "x.npy", "-o", "lost.npz")
    assert names() == {"w.npz", "x.npy", "a.npz", "b.npz", "lost.npz"}


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755, 0o444 | 0o200])
def test_a_file_keeps_its_mode(folder: Path, mode: int) -> None:
    Path("out.npz").touch()
    Path("out.npz").chmod(mode)
    save_it("out.npz")
    assert stat.S_IMODE(Path("out.npz").stat().st_mode) == mode
    Path("link.npz").symlink_to("out.npz")
    save_it("link.npz")
    assert stat.S_IMODE(Path("out.npz").stat().st_mode) == mode


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_a_new_file_has_the_mode_of_the_mask(folder: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        save_it("out.npz")
    finally:
        os.umask(before)
    assert stat.S_IMODE(Path("out.npz").stat().st_mode) == 0o666 & ~mask


@as_root
def test_a_file_keeps_its_owner(folder: Path) -> None:
    Path("out.npz").touch()
    os.chown("out.npz", 1234, 5678)
    Path("out.npz").chmod(0o640)
    save_it("out.npz")
    status = Path("out.npz").stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (1234, 5678, 0o640)


@as_root
def test_a_file_of_another_group_is_not_opened_to_ones_own(folder: Path) -> None:
    """A user who may replace it and may not give it away: the group has no rights that all have not."""
    Path("out.npz").touch()
    os.chown("out.npz", 1234, 5678)
    Path("out.npz").chmod(0o662)  # the group may read and write, others only write
    as_user(folder, lambda: files.write_whole(Path("out.npz"), lambda out: out.write(b"new")))
    status = Path("out.npz").stat()
    assert (status.st_uid, status.st_gid) == (4321, 4321)
    assert stat.S_IMODE(status.st_mode) == 0o622
    assert Path("out.npz").read_bytes() == b"new"


def test_what_is_write_protected(folder: Path) -> None:
    """Also if the folder would let it be replaced."""
    Path("out.npz").write_text("older")
    Path("out.npz").chmod(0o444)
    Path("closed").mkdir(mode=0o555)

    def check() -> None:
        with pytest.raises(PermissionError, match=r"'out\.npz'"):
            write_it("out.npz")
        with pytest.raises(PermissionError, match=r"'closed/out\.npz'"):
            write_it("closed/out.npz")
        for target, words in (("out.npz", "write-protected"), ("closed/out.npz", "not writable")):
            with contextlib.redirect_stderr(io.StringIO()) as printed:
                assert cli.main(["run", "w.npz", "x.npy", "-o", target, "--force"]) == 2
            assert words in printed.getvalue()

    as_user(folder, check)
    assert Path("out.npz").read_text() == "older"
    assert names() == {"w.npz", "x.npy", "out.npz", "closed"}


def test_the_longest_name(folder: Path) -> None:
    name = "n" * 251 + ".npz"
    save_it(name)
    assert names() == {"w.npz", "x.npy", name}
    with pytest.raises(OSError, match=f"'n{name}'"):
        save_it("n" + name)


# --- what is there, and what is read ----------------------------------------------------------------------


@pytest.mark.parametrize("link", [None, os.link, os.symlink], ids=["itself", "hard link", "link"])
@pytest.mark.parametrize(
    ("words", "read"),
    [
        ("run w.npz x.npy -o", "w.npz"),
        ("run big.npz h.npy --h0 h.npy --c0 c.npy -o", "c.npy"),
        ("convert big.npz", "big.npz"),
        ("convert big.npz", "./big.npz"),
    ],
)
@pytest.mark.parametrize("force", [[], ["--force"]])
def test_an_output_that_is_an_input(
    folder: Path, capsys: Any, words: str, read: str, link: Any, force: list[str]
) -> None:
    np.savez("big.npz", other=np.zeros(3), **files.read("w.npz"))
    for name in ("h.npy", "c.npy"):
        np.save(name, np.zeros((1, 2, 5), np.float32))
    target = read
    if link is not None:
        target = "same.npz"
        link(Path(read).resolve(), target)
    elif read.endswith(".npy"):  # the name alone would do
        assert "must end in .npz" in refused(capsys, *words.split(), target, *force)
        return
    before = {name: Path(name).read_bytes() for name in names()}
    line = refused(capsys, *words.split(), target, *force)
    assert "is read as well" in line or "must end in" in line
    assert {name: Path(name).read_bytes() for name in names()} == before


@pytest.mark.parametrize("link", [None, os.link, os.symlink], ids=["itself", "hard link", "link"])
def test_an_output_in_which_tensors_of_the_model_lie(folder: Path, capsys: Any, link: Any) -> None:
    onnx = pytest.importorskip("onnx")
    from support import onnx_files

    model = onnx.ModelProto()
    model.ParseFromString(onnx_files.layers_and_a_general_node())
    del model.graph.node[-1]
    onnx.save_model(model, "m.onnx", save_as_external_data=True, location="data.npz", size_threshold=0)
    target = "data.npz"
    if link is not None:
        target = "same.npz"
        link("data.npz", target)
    before = Path("data.npz").read_bytes()
    assert before
    for words in (["convert", "m.onnx"], ["run", "m.onnx", "x.npy", "-o"]):
        assert "is read as well" in refused(capsys, *words, target, "--force")
    assert Path("data.npz").read_bytes() == before
    assert cli.main(["convert", "m.onnx", "other.npz"]) == 0


def test_a_picture_over_the_proteins(folder: Path, capsys: Any) -> None:
    pytest.importorskip("matplotlib")
    Path("my.png").write_text(">one\nMKVLAAGIVG\n")
    assert "is read as well" in refused(capsys, "demo", "--fasta", "my.png", "--plot", "my.png", "--force")
    Path("other.png").write_text("older")
    assert "--force" in refused(capsys, "demo", "--limit", "1", "--plot", "other.png")
    assert "goes to standard output" in refused(capsys, "demo", "--limit", "1", "--plot", "-")
    assert Path("other.png").read_text() == "older"
    assert cli.main(["demo", "--limit", "1", "--plot", "other.png", "--force"]) == 0
    assert Path("other.png").read_bytes().startswith(b"\x89PNG")


def test_convert_replaces_only_by_force(folder: Path, capsys: Any) -> None:
    Path("out.safetensors").write_text("older")
    assert "--force" in refused(capsys, "convert", "w.npz", "out.safetensors")
    assert Path("out.safetensors").read_text() == "older"
    assert cli.main(["convert", "w.npz", "out.safetensors", "--force"]) == 0
    assert files.read("out.safetensors").keys() == files.read("w.npz").keys()
    assert "must end in .safetensors or .npz" in refused(capsys, "convert", "w.npz", "out.onnx")
    assert "must end in .npz" in refused(capsys, "convert", "w.npz", "new.safetensors", "--format", "npz")


def test_a_library_call_replaces(folder: Path) -> None:
    Path("out.npz").write_text("older")
    save_it("out.npz")
    lstm = numba_lstm.LSTM.load("out.npz")
    lstm.save("out.npz")  # its own file
    assert numba_lstm.LSTM.load("out.npz").state_dict().keys() == lstm.state_dict().keys()


def test_two_of_one_name_are_not_written_to_one_file(folder: Path, capsys: Any) -> None:
    """An LSTM and a cell under one prefix: the cell would be lost."""
    np.savez("both.npz", **files.read("w.npz"), **numba_lstm.LSTMCell(3, 5).state_dict())
    assert "one name" in refused(capsys, "convert", "both.npz", "out.npz")
    assert "out.npz" not in names()


# --- standard streams -------------------------------------------------------------------------------------


def test_dashes_are_the_standard_streams(folder: Path) -> None:
    process("run", "w.npz", "x.npy")  # if kernels are compiled, it says so
    content = Path("x.npy").read_bytes()
    done = process("run", "w.npz", "-", "-o", "-", input=content)
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    check_archive(done.stdout)
    with open("x.npy", "rb") as file:
        done = process("run", "w.npz", "-", stdin=file)
    assert done.stdout.startswith(b"output (7, 2, 5) float32, from ")
    done = process("convert", "w.npz", "-", "--format", "npz")
    Path("got.npz").write_bytes(done.stdout)
    np.testing.assert_array_equal(
        files.read("got.npz")["weight_hh_l0"], numba_lstm.LSTM.load("w.npz").weight_hh_l0
    )


@pytest.mark.parametrize(
    ("words", "content", "complaint"),
    [
        ("run w.npz -", b"", "no array"),
        ("run w.npz -", b"neither", "no array"),
        ("run w.npz - --h0 -", b"", "one array"),
        ("run - x.npy", b"", "weights come from a file"),
        ("info -", b"", "weights come from a file"),
        ("convert - out.npz", b"", "weights come from a file"),
        ("convert w.npz -", b"", "--format"),
    ],
)
def test_standard_streams_that_do_not_fit(
    folder: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, words: str, content: bytes, complaint: str
) -> None:
    reading, writing = os.pipe()
    os.write(writing, content)
    os.close(writing)
    with open(reading) as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        assert complaint in refused(capsys, *words.split())
    assert names() == {"w.npz", "x.npy"}


def test_arrays_through_pipes_are_whole(folder: Path) -> None:
    """Longer than a pipe holds, cut short, and followed by more."""
    array = np.arange(100_000, dtype=np.float32)
    content = io.BytesIO()
    np.save(content, array)
    whole = content.getvalue()

    def received(sent: bytes) -> np.ndarray:
        os.mkfifo("pipe")
        writer = threading.Thread(target=lambda: Path("pipe").write_bytes(sent))
        writer.start()
        try:
            return files.read_array("pipe")
        finally:
            writer.join(HANG)
            Path("pipe").unlink()

    np.testing.assert_array_equal(received(whole), array)
    for sent in (whole[:-4], whole + b"more"):
        with pytest.raises(ValueError, match="are there"):
            received(sent)


def test_results_in_the_middle_of_what_a_shell_collects(folder: Path) -> None:
    """The notice on what was written does not go where the results do, and what is there already stays."""
    line = "{ echo first; numba-lstm run w.npz x.npy -o /dev/stdout; echo last; } > collected"
    done = shell(line)
    assert done.stderr == b""
    content = Path("collected").read_bytes()
    assert content.startswith(b"first\n")
    assert content.endswith(b"last\n")
    check_archive(content[6:-5])


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_leaves_while_results_are_written(folder: Path, unbuffered: str) -> None:
    numba_lstm.warmup("float32")  # else the other process says that it compiles
    np.save("long.npy", np.zeros((100_000, 1, 3), np.float32))
    line = "numba-lstm run w.npz long.npy -o - | head -c 1 > /dev/null; echo ${PIPESTATUS[0]}"
    done = shell(line, PYTHONUNBUFFERED=unbuffered)
    assert (done.stdout, done.stderr) == (b"141\n", b"")
    assert names() == {"w.npz", "x.npy", "long.npy"}


@pytest.mark.parametrize(
    ("line", "status", "words"),
    [
        ("numba-lstm info w.npz >&-", 2, b"standard output is closed"),
        ("numba-lstm run w.npz x.npy -o - >&-", 2, b"standard output is closed"),
        ("numba-lstm run w.npz x.npy -o /dev/stdout >&-", 2, b"standard output is closed"),
        ("numba-lstm run w.npz x.npy -o - >> w.npz", 2, b"is read as well"),
        ("numba-lstm convert w.npz /dev/stdout --format npz >> w.npz", 2, b"is read as well"),
        ("numba-lstm run w.npz x.npy -o out.npz >&-", 0, b""),
        ("numba-lstm run w.npz - -o out.npz <&-", 2, b"standard input is closed"),
        ("numba-lstm run none.npz x.npy 2>&-", 2, b""),
        ("numba-lstm run w.npz x.npy -o out.npz <&- >&- 2>&-", 0, b""),
        ("numba-lstm demo --limit 1 2>&-", 0, b""),
        ("numba-lstm --help | head -c 1", 0, b""),
    ],
)
def test_closed_streams(folder: Path, line: str, status: int, words: bytes) -> None:
    numba_lstm.warmup("float32")  # else the other process says that it compiles
    weights = Path("w.npz").read_bytes()
    done = shell(line)
    assert Path("w.npz").read_bytes() == weights
    assert done.returncode == status, done.stderr
    assert done.stderr.count(b"\n") == bool(words)
    assert words in done.stderr
    if "out.npz" in line and status == 0:
        check_archive(Path("out.npz").read_bytes())
    else:
        assert names() == {"w.npz", "x.npy"}


@as_root
@pytest.mark.parametrize(
    "line", ["info w.npz", "run w.npz x.npy", "run w.npz x.npy -o -", "--version", "--help", "run --help", ""]
)
@pytest.mark.parametrize("buffered", [True, False])
def test_a_full_standard_output(folder: Path, line: str, buffered: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    numba_lstm.warmup("float32")
    monkeypatch.setenv("PYTHONUNBUFFERED", "" if buffered else "1")
    os.mknod("full", 0o666 | stat.S_IFCHR, os.makedev(1, 7))
    done = shell(f"numba-lstm {line} > full; echo $?; numba-lstm run none.npz x.npy 2> full; echo $?")
    assert done.stdout == b"2\n2\n"
    assert done.stderr == b"numba-lstm: error: standard output: No space left on device\n"


# --- in the middle ----------------------------------------------------------------------------------------

SLOWLY = """
import signal, sys, time
# A job in the background of a script ignores Ctrl-C, and one under nohup a closed terminal; so would what it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
from pathlib import Path
import numpy as np
from numba_lstm import cli
def savez(file, **arrays):
    file.write(b"half")
    print("writing", flush=True)
    time.sleep(300)
np.savez = savez
sys.exit(cli.main(["run", "w.npz", "x.npy", "-o", "out.npz", "--force"]))
"""


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM), (signal.SIGHUP, -signal.SIGHUP)]
)
def test_a_signal_while_it_writes(folder: Path, number: signal.Signals, status: int) -> None:
    numba_lstm.warmup()  # else the other process says that it compiles
    Path("out.npz").write_text("older")
    variables = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    command = [sys.executable, "-c", SLOWLY]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=variables) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"writing\n"
        time.sleep(0.1)
        writer.send_signal(number)
        _, complaint = writer.communicate(timeout=HANG)
    assert writer.returncode == status
    assert complaint == (b"numba-lstm: interrupted\n" if number == signal.SIGINT else b"")
    assert Path("out.npz").read_text() == "older"
    assert names() == {"w.npz", "x.npy", "out.npz"}
