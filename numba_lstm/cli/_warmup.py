"""The command that compiles ahead of time."""

from __future__ import annotations

import argparse
from functools import partial

import numpy as np

import numba_lstm

from ..contract.weight_form import FORMS
from ..execution.entries import cache_folder, entry_for
from ._console import check_shows, show, timed_compiling


def add_options(parser: argparse.ArgumentParser) -> None:
    """Say what may follow ``warmup``."""
    parser.add_argument(
        "--dtype", nargs="+", choices=["float32", "float64"], default=["float32"],
        help="for weights of these; float32 without it",
    )  # fmt: skip
    parser.add_argument(
        "--cells", choices=["all", "torch"], default="all",
        help="torch leaves out those with the activations and peepholes of ONNX and Keras, which compile for seconds",
    )  # fmt: skip
    parser.add_argument("--weights", nargs="+", choices=FORMS, default=[], help="also for weights in 8 or 16 bits")
    parser.add_argument("--gradients", action="store_true", help="also for LSTM.vjp and LSTM.trace")


def warmup(options: argparse.Namespace) -> None:
    """Fill the compile cache."""

    def prepare(dtype: str, form: str | None = None) -> None:
        gradients = options.gradients and form is None
        numba_lstm.warmup(dtype, cells=options.cells, weights=form, gradients=gradients)
        for entry in ("parallel", "pool parallel"):  # what compiles may have fewer CPUs than what will run
            entry_for(entry, np.dtype(dtype))

    check_shows()
    for name in dict.fromkeys(options.dtype):
        show(f"{name}: {timed_compiling(partial(prepare, name), ahead=None)}")
    for form in dict.fromkeys(options.weights):
        show(f"{form}: {timed_compiling(partial(prepare, 'float32', form), ahead=None)}")
    folder = cache_folder(np.dtype(options.dtype[0]))
    show(f"cache: {folder or 'none, no folder is writable; set NUMBA_CACHE_DIR'}")
