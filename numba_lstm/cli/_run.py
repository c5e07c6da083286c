"""The command ``numba-lstm run``."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..formats.printable import listed
from ..io import names
from ..io._found import Runner, State
from ._console import (
    ERRORS,
    SOME_NOT_DONE,
    InputError,
    check_shows,
    notice_compiling,
    prepare_kernels,
    reason,
    say,
    set_threads,
    show,
    show_json,
    warmup_of,
)
from ._inputs import files_of, found_in, name_of_one, read_array, weights_of
from ._output import STANDARD, Output, in_one_file

_SUFFIX = ".npz"


def run(options: argparse.Namespace) -> int:
    """Apply weights to inputs, one after the other."""
    path, module, more = weights_of(options)
    states_read = [array for array in (options.h0, options.c0) if array is not None]
    arrays: list[Path] = [*options.inputs, *states_read]
    if arrays.count(STANDARD) > 1:
        raise InputError("standard input is one array")
    outputs = _outputs(options, lambda: [*files_of(options, module), *arrays])
    set_threads(options.threads)
    name = name_of_one(path, options.name, found_in(path, module, more))
    if options.batch_first:
        if module is not names:
            raise InputError(f"--batch-first is for torch's names: {path} says itself how its input is laid out")
        more["batch_first"] = True
    runner = module.runner(path, name, options.dtype, **more)
    if (options.h0 is None) != (options.c0 is None):
        raise InputError("--h0 and --c0 go together")
    states: State | None = None
    if options.h0 is not None:
        states = (
            _cast(read_array(options.h0, "h0"), options.dtype, runner.dtype, "h0"),
            _cast(read_array(options.c0, "c0"), options.dtype, runner.dtype, "c0"),
        )
    failed = 0
    figures: list[dict[str, Any]] = []
    for source, output in zip(options.inputs, outputs, strict=True):
        try:
            x = _cast(read_array(source, "input"), options.dtype, runner.dtype, "input")
            results = _computed(runner, x, states)
        except ERRORS as error:
            if len(outputs) == 1:
                raise
            words = reason(error)
            named = words.startswith((f"{source}: ", f"input {source} "))
            say(f"error: {words}" if named else f"error: {source}: {words}")
            failed += 1
            continue
        _warn(source, x, results)
        if output is not None:
            _write(output, results)
        if options.json:
            figures.append(_figures(source, output, results))
        else:
            _tell(source, output, results, several=len(outputs) > 1)
    if failed == len(outputs):
        raise InputError(f"none of {len(outputs)} inputs could be computed")
    if options.json:
        show_json({"weights": path, "name": name, "inputs": figures})
    return SOME_NOT_DONE if failed else 0


def _outputs(options: argparse.Namespace, inputs: Callable[[], list[Path]]) -> list[Output] | list[None]:
    """Return where the results of every input go, as far as can be told before any work; None: they are printed."""
    if options.output is None or options.json:
        check_shows()
    if options.output is None:
        return [None] * len(options.inputs)
    targets: list[Path] = [options.output]
    if options.output != STANDARD and options.output.is_dir():
        if STANDARD in options.inputs:
            raise InputError(f"standard input has no name for a file in {options.output}: name one with -o")
        targets = [options.output / source.with_suffix(_SUFFIX).name for source in options.inputs]
    elif len(options.inputs) > 1:
        raise InputError(f"{len(options.inputs)} inputs need a folder for their results, which {options.output} is not")
    twice = sorted(str(target) for target, count in Counter(targets).items() if count > 1)
    if twice:
        raise InputError(f"several inputs would have their results in {listed(twice)}: run them one by one")
    outputs = [Output(target, [_SUFFIX], inputs, options.force) for target in targets]
    if len(outputs) > 1 and (alike := in_one_file(outputs)):
        raise InputError(
            "several inputs would have their results in one file, by links or on a disk that does not tell their "
            f"names apart: {listed(sorted(map(str, alike)))}; run them one by one, into several folders"
        )
    if options.json and any(output.is_standard for output in outputs):
        raise InputError("--json and the results would both go to standard output: name a file with -o")
    return outputs


def _computed(runner: Runner, x: np.ndarray, states: State | None) -> dict[str, np.ndarray]:
    """Run it on an input that has been read, which is refused before anything is compiled for it."""
    prepare_kernels(runner.dtype, runner.form)
    with notice_compiling(warmup_of(runner.dtype, runner.form)):  # activations of other formats
        return runner.run(x, states)


def _write(output: Output, results: dict[str, Any]) -> None:
    output.write(lambda file: np.savez(file, **results))


def _cast(array: np.ndarray, wanted: str | None, dtype: np.dtype[Any], role: str) -> np.ndarray:
    """Return the array in the module's dtype; only an explicit ``--dtype`` changes values."""
    if wanted is None and array.dtype.newbyteorder("=") != dtype:
        raise InputError(f"{role} is {array.dtype}, the weights are {dtype}: choose with --dtype")
    with np.errstate(all="ignore"):  # to infinity and zero, as parameters
        return np.asarray(array, dtype, order="C")


# --- what is told of results ------------------------------------------------------------------------------


def _warn(source: Path, x: np.ndarray, results: dict[str, np.ndarray]) -> None:
    """Say so if results have numbers that are none, which nobody would see in a file."""
    counts = []
    for name, array in results.items():
        nan, infinite = int(np.isnan(array).sum()), int(np.isinf(array).sum())
        kinds = [f"{count:,} {kind}" for count, kind in ((nan, "NaN"), (infinite, "infinite")) if count]
        if kinds:
            counts.append(f"{name} has {' and '.join(kinds)} of {array.size:,} numbers")
    if counts:
        own = "is finite" if np.isfinite(x).all() else "is not finite either"
        say(f"warning: {source}: {', '.join(counts)}; the input {own}")


def _tell(source: Path, output: Output | None, results: dict[str, np.ndarray], several: bool) -> None:
    """Print what was computed, and where it is."""
    if output is not None:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in results.items())
        output.note(f"{shapes}, {next(iter(results.values())).dtype}")
        return
    for name, array in results.items():
        values = f"from {array.min():.6g} to {array.max():.6g}" if array.size else "empty"
        show(f"{f'{source}: ' if several else ''}{name} {array.shape} {array.dtype}, {values}")


def _figures(source: Path, output: Output | None, results: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return the same for a program; least and greatest are of the finite numbers, which JSON has alone."""

    def of(array: np.ndarray) -> dict[str, Any]:
        finite = array[np.isfinite(array)]
        return {
            "shape": list(array.shape),
            "dtype": str(array.dtype),
            "min": float(finite.min()) if finite.size else None,
            "max": float(finite.max()) if finite.size else None,
            "nan": int(np.isnan(array).sum()),
            "infinite": int(np.isinf(array).sum()),
        }

    return {
        "input": source,
        "output": None if output is None else output.path,
        "results": {name: of(array) for name, array in results.items()},
    }
