"""Ctrl-C at every moment at which it can come, one after the other."""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.processes import PACKAGE


def interrupted_after(calls: int, wing: str, action: Callable[[], Any]) -> bool:
    """Return whether Ctrl-C came, which does when so many functions that a wing calls have returned."""
    before: dict[Any, str] = {}

    def trace(frame: Any, event: str, _: Any) -> Any:
        nonlocal calls
        if Path(frame.f_code.co_filename).parent != PACKAGE / wing:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            name = dis.opname[frame.f_code.co_code[frame.f_lasti]]
            # Where Python looks for signals, and in a few places more.  It does so in the call itself, which a `with`
            # that is left by `return` still covers, but not what puts the result aside.
            if before.get(frame, "").startswith("CALL") and name not in ("SWAP", "RETURN_VALUE"):
                calls -= 1
                if calls == 0:
                    raise KeyboardInterrupt
            before[frame] = name
        return trace

    former = sys.gettrace()
    sys._getframe().f_trace_opcodes = True  # of any frame: Python 3.12 asks for it when a tracer is set, and not later
    sys.settrace(trace)
    try:
        action()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(former)
        before.clear()  # of frames, which hold what is in them
    assert calls > 0
    return False
