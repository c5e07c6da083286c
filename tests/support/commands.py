"""Commands of ``numba-lstm``, in this process."""

from __future__ import annotations

from typing import Any

from numba_lstm import cli


def printed(capsys: Any, *words: str) -> str:
    """Run a command that succeeds, and return what it prints."""
    assert cli.main([*words]) == 0, capsys.readouterr().err
    return str(capsys.readouterr().out)


def complaint(capsys: Any, *words: str) -> str:
    """Run a command that fails, and return its one line."""
    assert cli.main([*words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("numba-lstm: error: ")
    assert err.count("\n") == 1
    return str(err)
