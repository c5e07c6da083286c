"""What all commands share: messages, notices, and checks of what the user gave."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numba.core import event

import numba_lstm

PROGRAM = "numba-lstm"


class InputError(Exception):
    """What the user gave cannot be used; the text is the whole message."""


# --- helpers ----------------------------------------------------------------------------------------------


def say(text: str) -> None:
    print(f"{PROGRAM}: {text}", file=sys.stderr, flush=True)


def fail(error: BaseException) -> int:
    """Report an error in one line; return the exit status."""
    if isinstance(error, OSError) and error.filename is not None:
        text = f"{error.filename}: {error.strerror}"
    else:
        text = str(error) or type(error).__name__
    say("error: " + " ".join(text.split()))
    return 2


class _CompileNotice(event.Listener):
    """Tell the user, once, why it takes long; loading compiled kernels is quick and does not come here."""

    heard = False

    def on_start(self, event: event.Event) -> None:
        """Called by Numba when it starts to compile a function."""
        if not self.heard:
            self.heard = True
            say("compiling kernels, once on this machine; `numba-lstm warmup` does it ahead of time ...")

    def on_end(self, event: event.Event) -> None:
        """Called by Numba when it is done with a function."""


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


@contextmanager
def notice_compiling() -> Iterator[_CompileNotice]:
    """Say so when kernels are compiled, and let Ctrl-C end that."""
    notice = _CompileNotice()
    with _abrupt_ctrl_c(), event.install_listener("numba:compile", notice):
        yield notice


def prepare_kernels(dtype: Any, prepare: Callable[[Any], None] = numba_lstm.warmup) -> str:
    """Compile or load the kernels that a function asks for; return a line on what it took."""
    start = time.perf_counter()
    with notice_compiling() as notice:
        prepare(dtype)
    source = "compiled" if notice.heard else "loaded from the cache"
    return f"kernels {source} in {time.perf_counter() - start:.2f} s"


def check_target(path: Path) -> None:
    """Refuse, before any work, an output that could not be written after it."""
    if path.is_dir():
        raise InputError(f"cannot write {path}: it is a folder")
    if not path.parent.is_dir():
        raise InputError(f"cannot write {path}: there is no folder {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"cannot write {path}: the folder {path.parent} is not writable")


def set_threads(count: int | None) -> None:
    if count is not None:
        numba_lstm.set_num_threads(count)
