"""What all commands share: standard streams, messages, notices, and how a process ends."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, BinaryIO, TextIO

import numpy as np
from numba.core import event

import numba_lstm

from ..contract.weight_form import FORMS
from ..execution.compile_notice import CompileNotice
from ..formats.printable import printable

PROGRAM = "numba-lstm"

SOME_NOT_DONE = 1
"""The exit status if some of the inputs could not be computed, and the others are."""


class InputError(Exception):
    """What the user gave cannot be used; the text is the whole message."""


ERRORS = (InputError, OSError, ValueError, TypeError, RuntimeError, MemoryError, ModuleNotFoundError)
"""What is told in one line; anything else is a mistake of this program."""


# --- helpers ----------------------------------------------------------------------------------------------


def shown(text: object) -> str:
    """Return a text, such as a name in a file, as standard output can show it."""
    return printable(str(text), getattr(sys.stdout, "encoding", None))


def check_shows() -> None:
    """Refuse, before any work, to print what a command is asked for where nobody can see it."""
    if sys.stdout is None:
        raise InputError("standard output is closed")


def show(text: str) -> None:
    """Print what a command is asked for, in lines."""
    check_shows()
    note(text)


def show_json(figures: dict[str, Any]) -> None:
    """Print figures for programs, in ASCII, whatever the terminal can show; null stands for NaN and infinity."""
    show(json.dumps(_plain(figures), indent=2, allow_nan=False))


def _plain(value: Any) -> Any:
    """Return what JSON has for a value."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def note(text: str) -> None:
    """Print, on standard output if there is one, what was done besides."""
    with errors_of_output():
        _print(text, sys.stdout)


def say(text: str) -> None:
    """Print a message to the user, on standard error; nobody may be there to read it."""
    with contextlib.suppress(OSError):
        _print(f"{PROGRAM}: {text}", sys.stderr)


def _print(text: str, stream: TextIO | None) -> None:
    if stream is not None:
        lines = (printable(line, getattr(stream, "encoding", None)) for line in text.split("\n"))
        print("\n".join(lines), file=stream, flush=True)


@contextmanager
def errors_of_output() -> Iterator[None]:
    """Have errors of the system say that standard output could not be written."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, "standard output") from error


def settle(stream: TextIO | None) -> None:
    """Write what a stream holds back, or drop it: Python would try on its way out, and complain."""
    if stream is None:
        return
    try:
        stream.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):  # no stream of the system's, or closed
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def standard_buffer(name: str, role: str) -> BinaryIO:
    """Return the bytes of ``sys.stdin`` or ``sys.stdout``, which may be closed."""
    stream = getattr(sys, name)
    if stream is None:
        raise InputError(f"standard {role} is closed")
    buffer: BinaryIO = stream.buffer
    return buffer


def write_all(buffer: BinaryIO, content: memoryview) -> None:
    """Write bytes to standard output, which with ``python -u`` takes as many as it likes at a time."""
    with errors_of_output():
        while content:
            taken = buffer.write(content)
            if taken is None:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            content = content[taken:]
        buffer.flush()


def reason(error: BaseException) -> str:
    """Return what an error says, in one line."""
    if isinstance(error, OSError) and error.strerror is not None:
        where = "" if error.filename is None else printable(f"{error.filename}: ")
        text = where + error.strerror
    else:
        text = str(error) or type(error).__name__
    return " ".join(text.split())


def fail(error: BaseException) -> int:
    """Report an error in one line; return the exit status."""
    say(f"error: {reason(error)}")
    return 2


@contextmanager
def _abrupt_ctrl_c() -> Iterator[None]:
    """Let Ctrl-C end the process at once, which the shell reports as 130 too.

    LLVM compiles for seconds without a look at signals, and what Python raises in its callbacks is printed and lost.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:  # ignored, as under nohup
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class _Terminated(BaseException):
    """The process was asked to end."""


@contextmanager
def tidy_termination() -> Iterator[None]:
    """Let what is left by an exception be cleaned up before SIGTERM or SIGHUP ends the process, as by Ctrl-C."""

    def terminate(number: int, frame: FrameType | None) -> None:
        raise _Terminated(number)

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    replaced = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    for number in replaced:
        signal.signal(number, terminate)
    try:
        yield
    except _Terminated as asked:
        if asked.args[0] not in replaced:  # that of a context around this one, which tidies up as well
            raise
        signal.signal(asked.args[0], signal.SIG_DFL)
        signal.raise_signal(asked.args[0])
    finally:
        for number in replaced:
            signal.signal(number, signal.SIG_DFL)


def warmup_of(dtype: Any, form: str | None) -> str:
    """Return the command that compiles ahead of time what weights of a dtype and a form need."""
    name = np.dtype(dtype).name
    return "".join(
        [
            f"{PROGRAM} warmup",
            f" --dtype {name}" if name != "float32" else "",
            f" --weights {form}" if form in FORMS else "",
        ]
    )


@contextmanager
def notice_compiling(ahead: str | None) -> Iterator[CompileNotice]:
    """Say so when kernels are compiled, and which command does it ahead of time, if not this one; let Ctrl-C end it."""
    advice = "" if ahead is None else f"; `{ahead}` does it ahead of time"
    notice = CompileNotice(lambda: say(f"compiling kernels, once on this machine{advice} ..."))
    with _abrupt_ctrl_c(), event.install_listener("numba:compile", notice):
        yield notice


def prepare_kernels(dtype: Any, form: str | None = None) -> str:
    """Compile or load the kernels that weights of a dtype and a form need; return a line on what it took."""
    return timed_compiling(lambda: numba_lstm.warmup(dtype, weights=form), warmup_of(dtype, form))


def timed_compiling(prepare: Callable[[], None], ahead: str | None) -> str:
    """Have a function compile or load kernels, see `notice_compiling`; return a line on what it took."""
    start = time.perf_counter()
    with notice_compiling(ahead) as notice:
        prepare()
    source = "compiled" if notice.heard else "loaded from the cache"
    return f"kernels {source} in {time.perf_counter() - start:.2f} s"


def set_threads(count: int | None) -> None:
    if count is not None:
        numba_lstm.set_num_threads(count)
