"""The command ``numba-lstm run``."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from ..io import names
from ._console import InputError, check_shows, notice_compiling, prepare_kernels, set_threads, show
from ._inputs import files_of, found_in, name_of_one, read_array, weights_of
from ._output import STANDARD, Output


def run(options: argparse.Namespace) -> None:
    """Apply weights to an input."""
    path, module, more = weights_of(options)
    arrays = [array for array in (options.input, options.h0, options.c0) if array is not None]
    if arrays.count(STANDARD) > 1:
        raise InputError("standard input is one array")
    output = None
    if options.output is None:
        check_shows()
    else:
        output = Output(options.output, [".npz"], lambda: [*files_of(options, module), *arrays], options.force)
    set_threads(options.threads)
    name = name_of_one(path, options.name, found_in(path, module, more))
    if options.batch_first:
        if module is not names:
            raise InputError(f"--batch-first is for torch's names: {path} says itself how its input is laid out")
        more["batch_first"] = True
    runner = module.runner(path, name, options.dtype, **more)
    x = _cast(read_array(options.input, "input"), options.dtype, runner.dtype, "input")
    if (options.h0 is None) != (options.c0 is None):
        raise InputError("--h0 and --c0 go together")
    states = None
    if options.h0 is not None:
        states = (
            _cast(read_array(options.h0, "h0"), options.dtype, runner.dtype, "h0"),
            _cast(read_array(options.c0, "c0"), options.dtype, runner.dtype, "c0"),
        )
    prepare_kernels(runner.dtype, weights=runner.form)
    with notice_compiling():  # activations of other formats
        results = runner.run(x, states)
    if output is None:
        for name, array in results.items():
            values = f"from {array.min():.6g} to {array.max():.6g}" if array.size else "empty"
            show(f"{name} {array.shape} {array.dtype}, {values}")
        return
    output.write(lambda file: np.savez(file, **results))
    shapes = ", ".join(f"{name} {array.shape}" for name, array in results.items())
    output.note(f"{shapes}, {runner.dtype}")


def _cast(array: np.ndarray, wanted: str | None, dtype: np.dtype[Any], role: str) -> np.ndarray:
    """Return the array in the module's dtype; only an explicit ``--dtype`` changes values."""
    if wanted is None and array.dtype.newbyteorder("=") != dtype:
        raise InputError(f"{role} is {array.dtype}, the weights are {dtype}: choose with --dtype")
    with np.errstate(all="ignore"):  # to infinity and zero, as parameters
        return np.asarray(array, dtype, order="C")
