"""The command ``numba-lstm``.

Exit status: 0; 1 if some inputs or proteins could not be computed, and the rest is done; 2 after bad input, with one
line on stderr, and without a command, with the help; 130 after Ctrl-C; 141 when the reader of a pipe is gone.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from .. import ctrl_c
from ._arguments import parser
from ._console import ERRORS, fail, say, settle
from ._demo import TABLE_ROWS

__all__ = ["TABLE_ROWS", "main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        What follows the program's name; ``sys.argv[1:]`` by default.

    Returns
    -------
    int
        The exit status.
    """
    logging.getLogger("numba_lstm").setLevel(logging.ERROR)  # the program has words of its own for what it logs
    try:
        ctrl_c.interrupt()
        options = parser().parse_args(arguments)
        status: int | None = options.command(options)
    except KeyboardInterrupt:
        ctrl_c.end_at_once()
        say("interrupted")
        return 130
    except BrokenPipeError:
        return 141
    except ERRORS as error:
        return fail(error)
    finally:
        ctrl_c.end_at_once()
        settle(sys.stdout)
        settle(sys.stderr)
    return status or 0
