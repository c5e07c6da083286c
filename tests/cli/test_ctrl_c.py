"""Ctrl-C at any moment of the command: quiet, and a status that a shell reports as 130; SIGTERM tidies up first."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.processes import HANG, PACKAGE, posix

pytestmark = posix

SCRIPT = "import sys\nfrom numba_lstm.cli import main\nif __name__ == '__main__':\n    sys.exit(main())\n"
"""What pip writes for the command."""

MOMENTS = {
    "the first import": ("numba", "import"),
    "a late import": ("tqdm", "import"),
    "its end": ("", "exit"),
}

AT_THE_MOMENT = """
import atexit, os, signal, sys

class Interruption:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r} and "multiprocessing.spawn" not in sys.modules:
            os.kill(os.getpid(), signal.SIGINT)

if {event!r} == "import":
    sys.meta_path.insert(0, Interruption())
else:
    atexit.register(lambda: os.kill(os.getpid(), signal.SIGINT))
"""
"""Is imported by Python before all else, as ``sitecustomize``, and interrupts itself."""


def started(folder: Path, program: str, *, heed: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the command, by a script of its name or as a module."""
    if program == "script":
        (folder / "numba-lstm").write_text(SCRIPT)
    words = [str(folder / "numba-lstm")] if program == "script" else ["-m", "numba_lstm"]
    return subprocess.run(
        [sys.executable, *words, "--version"],
        env={**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{PACKAGE.parent}"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL if heed else signal.SIG_IGN),
        capture_output=True, text=True, timeout=HANG, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("program", ["script", "module"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_ctrl_c(moment: str, program: str, tmp_path: Path) -> None:
    name, event = MOMENTS[moment]
    (tmp_path / "sitecustomize.py").write_text(AT_THE_MOMENT.format(name=name, event=event))
    done = started(tmp_path, program)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


NESTED = """
import signal, sys
from numba_lstm.cli._console import tidy_termination
with tidy_termination():
    try:
        with tidy_termination():
            try:
                signal.raise_signal(int(sys.argv[1]))
            finally:
                print("written", flush=True)
    finally:
        print("ended", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_all_that_is_open_is_tidied_up_before_a_signal_ends_it(number: signal.Signals) -> None:
    """An output that is written while workers run: they are ended as well."""
    done = subprocess.run(
        [sys.executable, "-c", NESTED, str(int(number))],
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
        capture_output=True, text=True, timeout=HANG, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (-number, "written\nended\n", "")


def test_who_ignores_it_goes_on(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(AT_THE_MOMENT.format(name="numba", event="import"))
    done = started(tmp_path, "module", heed=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("numba-lstm ")


def test_other_programs_keep_their_way(tmp_path: Path) -> None:
    """Who imports the package is interrupted as ever, whatever the name of an argument."""
    code = "import signal, numba_lstm.cli; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    done = subprocess.run(
        [sys.executable, "-c", code, "numba-lstm", "-m", "numba_lstm"],
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        capture_output=True, text=True, timeout=HANG, check=True,
    )  # fmt: skip
    assert done.stdout == "True\n"
