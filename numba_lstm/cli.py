"""The command ``numba-lstm``.

Exit status: 0, or 2 after bad input, with one line on stderr; 130 after Ctrl-C;
141 when the reader of a pipe is gone.
"""
from __future__ import annotations

import argparse
import importlib.util
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numba.core import event
from tqdm import tqdm

import numba_lstm

from . import io
from .demo import (
    DisorderNetwork,
    bundled_proteins,
    format_table,
    most_disordered,
    published_scores,
    read_fasta,
)
from .entries import cache_folder
from .parameters import infer, prefixes

PROGRAM = "numba-lstm"
TABLE_ROWS = 10
PLOT_ROWS = 5


class InputError(Exception):
    """What the user gave cannot be used; the text is the whole message."""


# --- helpers ----------------------------------------------------------------------------------------------


def _say(text: str) -> None:
    print(f"{PROGRAM}: {text}", file=sys.stderr, flush=True)


def _fail(error: BaseException) -> int:
    """Report an error in one line; return the exit status."""
    if isinstance(error, OSError) and error.filename is not None:
        text = f"{error.filename}: {error.strerror}"
    else:
        text = str(error) or type(error).__name__
    _say("error: " + " ".join(text.split()))
    return 2


class _CompileNotice(event.Listener):
    """Tell the user, once, why it takes long; loading compiled kernels is quick and does not come here."""

    heard = False

    def on_start(self, event: event.Event) -> None:
        """Called by Numba when it starts to compile a function."""
        if not self.heard:
            self.heard = True
            _say("compiling kernels, once on this machine; `numba-lstm warmup` does it ahead of time ...")

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


def _prepare_kernels(dtype: Any) -> str:
    """Compile or load the kernels; return a line on what it took."""
    notice = _CompileNotice()
    start = time.perf_counter()
    with _abrupt_ctrl_c(), event.install_listener("numba:compile", notice):
        numba_lstm.warmup(dtype)
    source = "compiled" if notice.heard else "loaded from the cache"
    return f"kernels {source} in {time.perf_counter() - start:.2f} s"


def _check_target(path: Path) -> None:
    """Refuse, before any work, an output that could not be written after it."""
    if path.is_dir():
        raise InputError(f"cannot write {path}: it is a folder")
    if not path.parent.is_dir():
        raise InputError(f"cannot write {path}: there is no folder {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"cannot write {path}: the folder {path.parent} is not writable")


def _read_array(path: Path, role: str) -> np.ndarray:
    """Read one numeric array from an .npy file."""
    try:
        array = io.read_array(path)
    except ValueError as error:
        raise InputError(f"{role} {path} is not a complete .npy file of numbers: {error}") from None
    if array.dtype.kind not in "fiub":
        raise InputError(f"{role} {path} holds {array.dtype}, not real numbers")
    return array


def _cast(array: np.ndarray, wanted: str | None, dtype: np.dtype[Any], role: str) -> np.ndarray:
    """Return the array in the module's dtype; only an explicit ``--dtype`` changes values."""
    if wanted is None and array.dtype.newbyteorder("=") != dtype:
        raise InputError(f"{role} is {array.dtype}, the weights are {dtype}: choose with --dtype")
    return np.asarray(array, dtype, order="C")


def _set_threads(count: int | None) -> None:
    if count is not None:
        numba_lstm.set_num_threads(count)


# --- commands ---------------------------------------------------------------------------------------------


def _demo(options: argparse.Namespace) -> None:
    """Score proteins."""
    if options.plot is not None:
        _check_plot(options.plot)
    _set_threads(options.threads)
    proteins = bundled_proteins() if options.fasta is None else read_fasta(options.fasta)
    proteins = proteins[: options.limit]
    residues = sum(len(protein.sequence) for protein in proteins)

    network = DisorderNetwork()
    prepared = _prepare_kernels(np.float32)
    start = time.perf_counter()
    with tqdm(total=residues, unit=" residues", unit_scale=True, desc="scoring", leave=False) as bar:
        scores = network.score_many((protein.sequence for protein in proteins), bar.update)
    seconds = time.perf_counter() - start

    rows = most_disordered(proteins, scores, TABLE_ROWS)
    print(f"The most disordered of {len(proteins)} proteins (metapredict V3):\n")
    print(format_table(rows))
    print(f"\n{residues:,} residues in {seconds:.2f} s: {residues / seconds:,.0f} residues per second")
    print(f"{prepared}, not counted above")
    if options.fasta is None:
        pairs = zip(scores, published_scores(), strict=False)  # --limit leaves some published ones over
        largest = max(float(np.abs(ours - theirs).max()) for ours, theirs in pairs)
        print(f"largest difference from the published scores: {largest:.1e}")
    if options.plot is not None:
        from .demo.plot import draw_profiles  # matplotlib is optional

        ending = options.plot.suffix[1:].lower()
        io.write_whole(options.plot, lambda file: draw_profiles(rows[:PLOT_ROWS], file, ending))
        print(f"wrote {options.plot}")


def _check_plot(path: Path) -> None:
    """Refuse a picture that could not be drawn, before the proteins are scored."""
    if importlib.util.find_spec("matplotlib") is None:
        raise InputError("--plot needs matplotlib: pip install 'numba-lstm[plot]'")
    from .demo.plot import supported_formats

    if path.suffix[1:].lower() not in supported_formats():
        endings = ", ".join(supported_formats())
        raise InputError(f"cannot write {path}: the name must end in one of {endings}")
    _check_target(path)


def _run(options: argparse.Namespace) -> None:
    """Apply weights to an input."""
    _check_target(options.output)
    _set_threads(options.threads)
    lstm = numba_lstm.LSTM.load(options.weights, prefix=options.prefix, dtype=options.dtype).eval()
    if options.batch_first:  # otherwise as the file has recorded
        lstm.batch_first = True
    dtype = np.dtype(lstm.dtype)
    x = _cast(_read_array(options.input, "input"), options.dtype, dtype, "input")
    if (options.h0 is None) != (options.c0 is None):
        raise InputError("--h0 and --c0 go together")
    states = None
    if options.h0 is not None:
        states = (
            _cast(_read_array(options.h0, "h0"), options.dtype, dtype, "h0"),
            _cast(_read_array(options.c0, "c0"), options.dtype, dtype, "c0"),
        )
    _prepare_kernels(dtype)
    output, (h_n, c_n) = lstm(x, states)
    io.write_whole(options.output, lambda file: np.savez(file, output=output, h_n=h_n, c_n=c_n))
    print(f"{options.output}: output {output.shape}, h_n {h_n.shape}, c_n {c_n.shape}, {dtype}")


def _info(options: argparse.Namespace) -> None:
    """Describe the LSTMs of a weights file."""
    arrays = io.read(options.weights)
    chosen = prefixes(arrays) if options.prefix is None else [options.prefix]
    if not chosen:
        raise InputError(f"{options.weights} holds no LSTM: no name ends in weight_ih_l0")
    described = [_describe(arrays, prefix) for prefix in chosen]
    print(f"{options.weights}: {os.path.getsize(options.weights):,} bytes, {len(arrays)} arrays")
    for text in described:
        print(f"\n{text}")


def _describe(arrays: dict[str, np.ndarray], prefix: str) -> str:
    """Return the lines about one LSTM: its sizes and its parameters."""
    architecture = infer(arrays, prefix)
    shapes = architecture.shapes()
    width = max(len(name) for name in shapes)
    lines = [f"prefix {prefix!r}"]
    lines += [
        f"  {field:<14} {getattr(architecture, field)}"
        for field in ("input_size", "hidden_size", "num_layers", "bias", "bidirectional", "proj_size")
    ]
    lines.append("  parameters")
    for name, shape in shapes.items():
        lines.append(f"    {name:<{width}}  {shape!s:<14}  {arrays[prefix + name].dtype}")
    count = sum(arrays[prefix + name].size for name in shapes)
    size = sum(arrays[prefix + name].nbytes for name in shapes)
    lines.append(f"  {count:,} parameters, {size:,} bytes")
    return "\n".join(lines)


def _warmup(options: argparse.Namespace) -> None:
    """Fill the compile cache."""
    for name in dict.fromkeys(options.dtype):
        print(f"{name}: {_prepare_kernels(name)}")
    folder = cache_folder(np.dtype(options.dtype[0]))
    print(f"cache: {folder or 'none, no folder is writable; set NUMBA_CACHE_DIR'}")


# --- arguments --------------------------------------------------------------------------------------------


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return number


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, in the program's own format."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see {self.prog} --help)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog=PROGRAM, description="LSTMs by torch's names, on NumPy arrays and Numba kernels.")
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {numba_lstm.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="score proteins for disorder with a published network")
    demo.add_argument("--fasta", type=Path, metavar="FILE", help="your proteins, not the bundled 120")
    demo.add_argument("--plot", type=Path, metavar="OUT.png", help="draw the most disordered profiles")
    demo.add_argument("--limit", type=_positive, metavar="N", help="score only the first N proteins")
    demo.set_defaults(command=_demo)

    run = commands.add_parser("run", help="apply the weights of a file to an array")
    run.add_argument("weights", type=Path, metavar="WEIGHTS", help=".safetensors or .npz, by torch's names")
    run.add_argument("input", type=Path, metavar="INPUT.npy", help="(L, N, H_in), (N, L, H_in) or (L, H_in)")
    run.add_argument("-o", "--output", type=Path, required=True, metavar="OUT.npz", help="output, h_n, c_n")
    run.add_argument("--prefix", default="", help="what precedes weight_ih_l0 in the file, such as lstm.")
    run.add_argument("--h0", type=Path, metavar="H0.npy", help="initial hidden state; zeros without it")
    run.add_argument("--c0", type=Path, metavar="C0.npy", help="initial cell state")
    run.add_argument("--batch-first", action="store_true", help="input and output are (N, L, ...)")
    run.add_argument("--dtype", choices=["float32", "float64"], help="compute in it, and cast to it")
    run.set_defaults(command=_run)

    info = commands.add_parser("info", help="describe the LSTMs in a weights file")
    info.add_argument("weights", type=Path, metavar="WEIGHTS", help=".safetensors or .npz")
    info.add_argument("--prefix", help="describe this one only")
    info.set_defaults(command=_info)

    warmup = commands.add_parser("warmup", help="compile the kernels into the cache, for container images")
    warmup.add_argument("--dtype", nargs="+", choices=["float32", "float64"], default=["float32"])
    warmup.set_defaults(command=_warmup)

    for command in (demo, run):
        command.add_argument("--threads", type=_positive, metavar="N", help="use at most N threads")
    return parser


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
        options = _parser().parse_args(arguments)
        options.command(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        _say("interrupted")
        return 130
    except BrokenPipeError:
        # Python flushes stdout once more on its way out, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (InputError, OSError, ValueError, TypeError, RuntimeError, MemoryError) as error:
        return _fail(error)
    return 0
