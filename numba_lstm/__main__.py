"""``python -m numba_lstm`` is the command ``numba-lstm``."""

from __future__ import annotations

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
