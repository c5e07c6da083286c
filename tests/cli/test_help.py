"""What the command says of itself."""

from __future__ import annotations

import argparse
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import numba_lstm
from numba_lstm import cli
from numba_lstm.cli._arguments import parser
from numba_lstm.cli._console import warmup_of


def commands() -> dict[str, argparse.ArgumentParser]:
    (action,) = (each for each in parser()._actions if isinstance(each, argparse._SubParsersAction))
    return dict(action.choices)


COMMANDS = commands()


def test_a_bare_call_shows_the_commands(capsys: Any) -> None:
    """And fails, as a call of git: a script whose variable is empty has not done anything."""
    assert cli.main([]) == 2
    out, err = capsys.readouterr()
    assert out.startswith("usage: numba-lstm ")
    assert all(f"\n    {name} " in out for name in COMMANDS)
    assert err == ""


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_every_option(name: str) -> None:
    for action in COMMANDS[name]._actions:
        assert action.help, action.option_strings or action.dest


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_examples_that_can_be_given(name: str) -> None:
    epilog = COMMANDS[name].epilog
    assert epilog is not None
    title, *examples = epilog.splitlines()
    assert title == "examples:"
    assert examples
    for example in examples:
        program, *words = example.split()
        assert program == "numba-lstm"
        assert words[0] == name
        parser().parse_args(words)


@pytest.mark.parametrize(
    ("dtype", "form", "options"),
    [
        (np.float32, None, {"dtype": ["float32"], "weights": []}),
        (np.dtype("float64"), "float64", {"dtype": ["float64"], "weights": []}),
        ("float32", "int8", {"dtype": ["float32"], "weights": ["int8"]}),
    ],
)
def test_what_compiles_ahead_of_time(dtype: Any, form: str | None, options: dict[str, Any]) -> None:
    """The command that a notice names compiles what the notice is about."""
    program, *words = warmup_of(dtype, form).split()
    given = vars(parser().parse_args(words))
    assert program == "numba-lstm"
    assert {name: given[name] for name in options} == options


def test_the_package_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "numba_lstm", "-V"], capture_output=True, text=True, check=True)
    assert done.stdout == f"numba-lstm {numba_lstm.__version__}\n"
    assert done.stderr == ""
