"""What may follow the program's name."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numba_lstm

from ..contract.weight_form import FORMS
from ..io import WRITTEN
from . import _convert, _demo, _info, _run, _warmup
from ._console import PROGRAM, InputError, errors_of_output, show


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return number


def _name(text: str) -> str:
    """Return a name as files have it, in UTF-8, whatever the locale has made of it."""
    try:
        return os.fsencode(text).decode("utf-8")
    except UnicodeError:
        return text


_FILE = ".safetensors, .npz, what torch writes (.pt, .ckpt, .jit ...), .onnx, or what Keras writes (.keras, .h5)"


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, in the program's own format."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see {self.prog} --help)")

    def _print_message(self, message: str, file: Any = None) -> None:
        """Write help or version, and fail if that is not possible; argparse would, or not, by Python's version."""
        if message and file is not None:
            with errors_of_output():
                file.write(message)
                file.flush()


class _Commands:
    """The commands of a parser."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._parsers = parser.add_subparsers(metavar="COMMAND", title="commands")

    def add(
        self, name: str, does: str, examples: str, command: Callable[[argparse.Namespace], object]
    ) -> argparse.ArgumentParser:
        """Add one, with a line on what it does, and lines of arguments that show how it is used."""
        lines = "\n".join(f"  {PROGRAM} {name} {example}" for example in examples.split("\n"))
        parser: argparse.ArgumentParser = self._parsers.add_parser(
            name, help=does, description=f"{does[0].upper()}{does[1:]}.", epilog=f"examples:\n{lines}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        parser.set_defaults(command=command)
        return parser


def parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=PROGRAM, description="LSTMs by torch's names, on NumPy arrays and Numba kernels.",
        epilog=f"{PROGRAM} COMMAND --help lists the options of a command, with examples.",
    )  # fmt: skip
    parser.add_argument(
        "-V", "--version", action="version", version=f"{PROGRAM} {numba_lstm.__version__}", help="print the version"
    )
    parser.set_defaults(command=lambda options: _no_command(parser))
    commands = _Commands(parser)

    demo = commands.add(
        "demo", "score proteins for disorder with a published network",
        "--limit 20\n--fasta my.fasta --plot profiles.png\n"
        "--fasta proteome.fasta.gz -o scores.parquet --workers 4 --resume",
        _demo.demo,
    )  # fmt: skip
    demo.add_argument(
        "--fasta", type=Path, metavar="FILE",
        help="your proteins, not the bundled 120; also packed by gzip; - for standard input",
    )  # fmt: skip
    demo.add_argument(
        "-o", "--output", type=Path, metavar="OUT.csv",
        help="write the scores of all proteins, as its name says in .csv or .parquet; - for CSV on standard output",
    )  # fmt: skip
    demo.add_argument("--resume", action="store_true", help="go on with an output whose command was stopped")
    demo.add_argument("--plot", type=Path, metavar="OUT.png", help="draw the most disordered profiles")
    demo.add_argument("--limit", type=_positive, metavar="N", help="score only the first N proteins")
    computing = demo.add_mutually_exclusive_group()
    computing.add_argument("--workers", type=_positive, metavar="N", help="compute in N processes of one thread each")
    computing.add_argument("--scheduler", metavar="tcp://HOST:PORT", help="compute on a Dask cluster that runs")

    run = commands.add(
        "run", "apply the weights of a file to arrays",
        "model.safetensors input.npy -o output.npz\nmodel.safetensors a.npy b.npy c.npy -o results/\n"
        "model.pt input.npy --prefix lstm. --batch-first",
        _run.run,
    )  # fmt: skip
    run.add_argument("weights", type=Path, metavar="FILE", help=_FILE)
    run.add_argument(
        "inputs", type=Path, metavar="INPUT.npy", nargs="+",
        help="(L, N, H_in), (N, L, H_in) or (L, H_in), each run by itself; - for standard input",
    )  # fmt: skip
    run.add_argument(
        "-o", "--output", type=Path, metavar="OUT.npz",
        help="write output, h_n, c_n, or what the format has; a folder that is there gets a file for each input, "
        "x.npz for x.npy; - for standard output. Without it shapes and ranges are printed",
    )  # fmt: skip
    run.add_argument("--h0", type=Path, metavar="H0.npy", help="initial hidden state; zeros without it")
    run.add_argument("--c0", type=Path, metavar="C0.npy", help="initial cell state; goes with --h0")
    run.add_argument("--batch-first", action="store_true", help="input and output are (N, L, ...)")
    run.add_argument("--dtype", choices=["float32", "float64"], help="cast weights and inputs to it, and compute in it")

    info = commands.add(
        "info", "describe the LSTMs in a file", "model.safetensors\nmodel.onnx --json", _info.info
    )  # fmt: skip
    info.add_argument("weights", type=Path, metavar="FILE", help=_FILE)

    convert = commands.add(
        "convert", "write the LSTMs of a file by torch's names",
        "model.onnx lstm.safetensors\nmodel.safetensors small.safetensors --weights int8 --check input.npy",
        _convert.convert,
    )  # fmt: skip
    convert.add_argument("weights", type=Path, metavar="FILE", help=_FILE)
    convert.add_argument("target", type=Path, metavar="OUT.safetensors", help="or .npz; - for standard output")
    convert.add_argument("--format", choices=[suffix[1:] for suffix in WRITTEN], help="if the name does not tell it")
    convert.add_argument("--weights", dest="form", choices=FORMS, help="keep weights in 8 or 16 bits, for small files")
    convert.add_argument(
        "--check", type=Path, metavar="INPUT.npy",
        help="with --weights: run on an input, and print the error against float32",
    )  # fmt: skip

    for command in (run, info, convert):
        command.add_argument(
            "--node", "--prefix", dest="name", type=_name, metavar="NAME",
            help="which LSTM: a node, a layer, or what precedes weight_ih_l0; without it run takes the one that has "
            "nothing there, or the only one, and info and convert take all",
        )  # fmt: skip
        command.add_argument(
            "--config", type=Path, metavar="JSON",
            help="for weights of Keras alone: a file with what model.to_json() gives, or with options by layer",
        )  # fmt: skip
        command.add_argument("--keras-version", metavar="X.Y", help="which Keras wrote FILE, if it does not say so")

    for command in (demo, run, convert):
        command.add_argument("--force", action="store_true", help="replace an output that is there already")

    warmup = commands.add(
        "warmup", "compile the kernels into the cache, for container images",
        "--dtype float32 float64\n--cells torch --weights int8\n--gradients",
        _warmup.warmup,
    )  # fmt: skip
    _warmup.add_options(warmup)

    for command in (demo, run):
        command.add_argument("--threads", type=_positive, metavar="N", help="use at most N threads")
    for command in (demo, run, info, convert):
        command.add_argument("--json", action="store_true", help="print figures as JSON, for programs")
    return parser


def _no_command(parser: argparse.ArgumentParser) -> int:
    """Show what commands there are; that none was given is an error, of a script whose variable is empty say."""
    show(parser.format_help().rstrip())
    return 2
