"""Ctrl-C before the command does anything, and after it is done.

Imports take half a second, in which Python would answer Ctrl-C with a traceback of whatever is being imported.  Nothing
is begun by then, so that the process of the command may just end, by the signal itself, which a shell reports as 130.
Importing this module sees to that, which is why the package imports it first, and why it imports next to nothing.  In
all other processes it does nothing.
"""

from __future__ import annotations

import os
import signal
import sys


def _is_command() -> bool:
    """Whether Python was started for ``numba-lstm`` or ``python -m numba_lstm``, and not for a process of its own."""
    position = len(sys.orig_argv) - len(sys.argv)  # before what follows the program, options of Python are left out
    if position < 1 or not sys.argv:
        return False
    program = sys.orig_argv[position]
    if program.removeprefix("-m") == __package__:
        return True
    return os.path.splitext(os.path.basename(program))[0] == "numba-lstm"


def end_at_once() -> None:
    """Let Ctrl-C end the process of the command, unless it is ignored, as under ``nohup``."""
    if _COMMAND and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def interrupt() -> None:
    """Let Ctrl-C raise `KeyboardInterrupt` again, for what has something to tidy up."""
    if _COMMAND and signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)


_COMMAND = _is_command()
end_at_once()
