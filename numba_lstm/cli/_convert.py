"""The command ``numba-lstm convert``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from .. import io
from ..contract.saved.saving import check_names, contents_of
from ..formats.printable import listed
from ._console import InputError, check_shows, notice_compiling, prepare_kernels, say, show_json, warmup_of
from ._inputs import files_of, found_in, name_of_one, obstacles, read_array, weights_of
from ._output import Output


def convert(options: argparse.Namespace) -> None:
    """Write the LSTMs of a file under torch's names."""
    path, module, more = weights_of(options)
    suffixes = list(io.WRITTEN) if options.format is None else [f".{options.format}"]
    if options.check is not None and options.form is None:
        raise InputError("--check says what --weights costs: without that nothing is rounded")
    if options.json and options.check is None:
        raise InputError("--json prints the figures of --check: without that there are none")
    checked = [] if options.check is None else [options.check]
    output = Output(options.target, suffixes, lambda: [*files_of(options, module), *checked], options.force)
    if options.json and output.is_standard:
        raise InputError("--json and the weights would both go to standard output: name a file")
    if options.json:
        check_shows()
    suffix = output.suffix or (options.format and suffixes[0])
    if suffix is None:
        raise InputError(f"cannot tell what to write to {options.target}: say it with --format")
    found = found_in(path, module, more)
    joins = getattr(module, "JOINS", False)  # ONNX, whose weights may be of 8 bits in the file
    if joins:
        modules = {"": module.load_lstm(path, options.name, weights=options.form and "float32")}
    elif options.name is not None:
        name = name_of_one(path, options.name, found)
        modules = {name: module.load_lstm(path, name, **more)}
    else:
        chosen = [each.name for each in found if each.obstacle is None]
        if not chosen:
            raise InputError(f"{path} holds no LSTM that could be converted: {obstacles(found)}")
        modules = {name: module.load_lstm(path, name, **more) for name in chosen}
        if len(modules) < len(chosen):
            raise InputError(f"{path} holds {listed(chosen)}, some of one name: they cannot lie in one file")
        if len(chosen) < len(found):
            say(f"warning: left out: {obstacles([each for each in found if each.obstacle is not None])}")
    starts = {name: f"{name.removesuffix('.')}." if name and len(modules) > 1 else "" for name in modules}
    left = {starts[each.name]: each.left for each in found if each.name in starts}
    made = {starts[name]: module for name, module in modules.items()}
    if len(made) < len(modules):
        raise InputError(f"{path} holds {listed(list(modules))}, which would have one name in a file")
    figures: dict[str, Any] | None = None
    if options.form is not None:
        if joins:
            small = {"": module.load_lstm(path, options.name, weights=options.form)}
        else:
            small = {start: lstm.quantize(options.form) for start, lstm in made.items()}
        if options.check is not None:
            figures = _error(options.check, small, made)
        made = small
    values = {start: {name: value for name, (value, _) in beside.items()} for start, beside in left.items()}
    arrays, metadata = contents_of(made, values)
    try:
        check_names(arrays, made)
    except ValueError as error:
        raise InputError(f"{path} holds {listed(list(modules))}, which cannot lie in one file: {error}") from None
    output.write(lambda file: io.WRITTEN[suffix].write(file, arrays, metadata))
    if options.json:
        show_json({"output": output.path, **(figures or {})})
        return
    for start, lstm in made.items():
        output.note(f"prefix {start!r}, {lstm}" if len(made) > 1 else str(lstm))
        for option, (value, instead) in left.get(start, {}).items():
            output.note(f"  that layer has {option}={value}: {instead}")
    if figures is not None:
        output.note(_told(figures))


def _error(path: Path, small: dict[str, Any], exact: dict[str, Any]) -> dict[str, Any]:
    """Return figures on how far a quantized module is from the one that it was made of, on an input."""
    if len(exact) > 1:
        raise InputError(f"--check runs one LSTM, and there are {listed(list(exact))}: choose one with --node")
    (one,), (other,) = small.values(), exact.values()
    x = read_array(path, "input")
    if x.dtype.newbyteorder("=") != other.dtype:
        raise InputError(f"input is {x.dtype}, the weights are {other.dtype}: save it with astype('{other.dtype}')")
    if not x.size or not np.isfinite(x).all():
        state = "has numbers that are not finite" if x.size else "is empty"
        raise InputError(f"input {path} {state}, and tells nothing of the error")
    for each in (one, other):
        prepare_kernels(each.dtype, each.form)
    with notice_compiling(warmup_of(one.dtype, one.form)):
        wide = other(x)[0].astype(np.float64)  # the output, or a cell's next h
        error = one(x)[0] - wide
    rows, steps = (0, 1) if getattr(other, "batch_first", False) else (1, 0)
    layout = x.shape if x.ndim == 3 else None  # which layout it has, only the file of weights can say
    return {
        "form": one.form,
        "against": other.form,
        "rms": _rms(error),
        "max": float(np.abs(error).max()),
        "outputs_rms": _rms(wide),
        "sequences": layout and layout[rows],
        "steps": layout and layout[steps],
    }


def _told(error: dict[str, Any]) -> str:
    """Return the same as a line."""
    size = f"rms {error['rms']:.3g}, max {error['max']:.3g}; outputs: rms {error['outputs_rms']:.3g}"
    read_as = "" if error["steps"] is None else f"; {error['sequences']:,} sequences of {error['steps']:,} steps"
    return f"error of {error['form']} against {error['against']}: {size}{read_as}"


def _rms(array: np.ndarray) -> float:
    return float(np.sqrt(np.mean(array**2)))
