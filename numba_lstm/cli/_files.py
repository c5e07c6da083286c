"""The commands that read files of weights: ``run``, ``info`` and ``convert``."""

from __future__ import annotations

import argparse
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from .. import io
from ..contract.saved.saving import contents_of
from ..contract.state_dict import nothing_under
from ..contract.weight_form import SCALE
from ..formats.printable import columns, listed, padded
from ..io import keras, names
from ..io._by_content import format_of
from ..io._found import Found
from ._console import (
    InputError,
    check_shows,
    notice_compiling,
    prepare_kernels,
    set_threads,
    show,
    shown,
    standard_buffer,
)
from ._output import STANDARD, Output

_ITEM_SIZES = {"bfloat16": 2}
"""Bytes of numbers of dtypes that NumPy lacks."""

_SHOWN = 10
"""Reasons in one message."""


# --- what is in a file ------------------------------------------------------------------------------------


def _weights(options: argparse.Namespace) -> tuple[Path, Any, dict[str, Any]]:
    """Return the file of weights, the module that reads it, and what the user says of the file."""
    path: Path = options.weights
    if path == STANDARD:
        raise InputError("weights come from a file, not from standard input: parts of it are read, and its name counts")
    module = format_of(path)
    more: dict[str, Any] = {}
    if options.config is not None:
        more["config"] = options.config.read_text(encoding="utf-8")
        try:
            json.loads(more["config"])
        except ValueError as error:
            raise InputError(f"{options.config} is no JSON: {error}") from None
    if options.keras_version is not None:
        more["keras_version"] = options.keras_version
    if more and module is not keras:
        raise InputError(f"--config and --keras-version are for files of Keras, and {path} is none")
    return path, module, more


def _sources(options: argparse.Namespace, module: Any) -> list[Path]:
    """Return what is read of the network: the file of weights, all that belong to it, and a configuration."""
    files = module.files(options.weights) if hasattr(module, "files") else [options.weights]
    return [*files, *([] if options.config is None else [options.config])]


def _found(path: Path, module: Any, more: dict[str, Any]) -> list[Found]:
    """Return what is recurrent in a file, which has to be something."""
    found: list[Found] = module.describe(path, **more)
    if not found:
        what = f": {nothing_under('', io.describe(path))}" if module is names else ""
        raise InputError(f"{path} holds no LSTM{what}")
    return found


def _named(found: list[Found], name: str) -> list[Found]:
    """Return what has a name, whose last dot may be left out."""
    return [each for each in found if each.name in (name, f"{name}.")]


def _chosen(path: Path, name: str | None, found: list[Found]) -> str:
    """Return the name of what is to be run: what was given, or the only one that can be."""
    about = found if name is None else _named(found, name)
    able = [each.name for each in about if each.obstacle is None]
    if about and not able:
        raise InputError(f"{path}: {_obstacles(about)}")
    if name is not None:
        return name
    if len(able) > 1 and "" not in able:
        raise InputError(f"{path} holds {listed(able)}: choose one with --node")
    return able[0] if len(able) == 1 else ""


def _obstacles(found: list[Found]) -> str:
    """Return what stands in the way of all of these."""
    reasons = [f"{each.kind} {each.name!r} cannot be run: {each.obstacle}" for each in found[:_SHOWN]]
    return "; ".join(reasons + [f"and {len(found) - _SHOWN} more"] * (len(found) > _SHOWN))


# --- run --------------------------------------------------------------------------------------------------


def run(options: argparse.Namespace) -> None:
    """Apply weights to an input."""
    path, module, more = _weights(options)
    arrays = [array for array in (options.input, options.h0, options.c0) if array is not None]
    if arrays.count(STANDARD) > 1:
        raise InputError("standard input is one array")
    output = None
    if options.output is None:
        check_shows()
    else:
        output = Output(options.output, [".npz"], lambda: [*_sources(options, module), *arrays], options.force)
    set_threads(options.threads)
    name = _chosen(path, options.name, _found(path, module, more))
    if options.batch_first:
        if module is not names:
            raise InputError(f"--batch-first is for torch's names: {path} says itself how its input is laid out")
        more["batch_first"] = True
    runner = module.runner(path, name, options.dtype, **more)
    x = _cast(_read_array(options.input, "input"), options.dtype, runner.dtype, "input")
    if (options.h0 is None) != (options.c0 is None):
        raise InputError("--h0 and --c0 go together")
    states = None
    if options.h0 is not None:
        states = (
            _cast(_read_array(options.h0, "h0"), options.dtype, runner.dtype, "h0"),
            _cast(_read_array(options.c0, "c0"), options.dtype, runner.dtype, "c0"),
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


def _read_array(path: Path, role: str) -> np.ndarray:
    """Read one numeric array from an .npy file, or standard input."""
    try:
        array = io.read_array(standard_buffer("stdin", "input") if path == STANDARD else path)
    except ValueError as error:
        raise InputError(f"{role} {path} is not a complete .npy file of numbers: {error}") from None
    if array.dtype.kind not in "fiub":
        raise InputError(f"{role} {path} holds {array.dtype}, not real numbers")
    return array


def _cast(array: np.ndarray, wanted: str | None, dtype: np.dtype[Any], role: str) -> np.ndarray:
    """Return the array in the module's dtype; only an explicit ``--dtype`` changes values."""
    if wanted is None and array.dtype.newbyteorder("=") != dtype:
        raise InputError(f"{role} is {array.dtype}, the weights are {dtype}: choose with --dtype")
    with np.errstate(all="ignore"):  # to infinity and zero, as parameters
        return np.asarray(array, dtype, order="C")


# --- info -------------------------------------------------------------------------------------------------


def info(options: argparse.Namespace) -> None:
    """Describe what is recurrent in a file."""
    path, module, more = _weights(options)
    check_shows()
    found = _found(path, module, more)
    if options.name is not None:
        there = [each.name for each in found]
        found = _named(found, options.name)
        if not found:
            raise InputError(f"{path} holds nothing recurrent named {options.name!r}, but {listed(there)}")
    show(f"{shown(path)}: {os.path.getsize(path):,} bytes")
    for each in found:
        show(f"\n{_described(each, module is names)}")


def _described(found: Found, prefixed: bool) -> str:
    """Return the lines about one of them: its sizes and its parameters, or why it cannot be taken."""
    kind = shown(found.kind)
    lines = [f"{kind} under prefix {found.name!r}" if prefixed else f"{kind} {found.name!r}"]
    if found.obstacle is not None:
        lines.append(f"  cannot be run: {shown(found.obstacle)}")
    width = max([14, *map(columns, found.sizes)])
    lines += [f"  {padded(name, width)} {shown(value)}" for name, value in found.sizes.items()]
    if found.parameters:
        lines.append("  parameters")
        parameters = {shown(name): declared for name, declared in found.parameters.items()}
        width = max(map(columns, parameters))
        for name, (shape, dtype) in parameters.items():
            lines.append(f"    {padded(name, width)}  {shape!s:<14}  {shown(dtype)}")
        size = sum(math.prod(shape) * _item_size(dtype) for shape, dtype in found.parameters.values())
        scales = found.sizes.get("form") == "int8"  # which are there besides, and are none
        own = [shape for name, (shape, _) in found.parameters.items() if not (scales and name.endswith(SCALE))]
        lines.append(f"  {sum(map(math.prod, own)):,} parameters, {size:,} bytes")
    return "\n".join(lines)


def _item_size(dtype: str) -> int:
    """Return the bytes of a number; one for those of formats that nothing here computes with."""
    try:
        return _ITEM_SIZES.get(dtype) or np.dtype(dtype).itemsize
    except TypeError:
        return 1


# --- convert ----------------------------------------------------------------------------------------------


def convert(options: argparse.Namespace) -> None:
    """Write the LSTMs of a file under torch's names."""
    path, module, more = _weights(options)
    suffixes = list(io.WRITTEN) if options.format is None else [f".{options.format}"]
    if options.check is not None and options.form is None:
        raise InputError("--check says what --weights costs: without that nothing is rounded")
    checked = [] if options.check is None else [options.check]
    output = Output(options.target, suffixes, lambda: [*_sources(options, module), *checked], options.force)
    suffix = output.suffix or (options.format and suffixes[0])
    if suffix is None:
        raise InputError(f"cannot tell what to write to {options.target}: say it with --format")
    found = _found(path, module, more)
    joins = getattr(module, "JOINS", False)  # ONNX, whose weights may be of 8 bits in the file
    if joins:
        modules = {"": module.load_lstm(path, options.name, weights=options.form and "float32")}
    elif options.name is not None:
        name = _chosen(path, options.name, found)
        modules = {name: module.load_lstm(path, name, **more)}
    else:
        chosen = [each.name for each in found if each.obstacle is None]
        if not chosen:
            raise InputError(f"{path} holds no LSTM that could be converted: {_obstacles(found)}")
        modules = {name: module.load_lstm(path, name, **more) for name in chosen}
        if len(modules) < len(chosen):
            raise InputError(f"{path} holds {listed(chosen)}, some of one name: they cannot lie in one file")
    starts = {name: f"{name.removesuffix('.')}." if name and len(modules) > 1 else "" for name in modules}
    left = {starts[each.name]: each.left for each in found if each.name in starts}
    made = {starts[name]: module for name, module in modules.items()}
    if len(made) < len(modules):
        raise InputError(f"{path} holds {listed(list(modules))}, which would have one name in a file")
    found_error = ""
    if options.form is not None:
        if joins:
            small = {"": module.load_lstm(path, options.name, weights=options.form)}
        else:
            small = {start: lstm.quantize(options.form) for start, lstm in made.items()}
        if options.check is not None:
            found_error = _error(options.check, small, made)
        made = small
    values = {start: {name: value for name, (value, _) in beside.items()} for start, beside in left.items()}
    arrays, metadata = contents_of(made, values)
    output.write(lambda file: io.WRITTEN[suffix].write(file, arrays, metadata))
    for start, lstm in made.items():
        output.note(f"prefix {start!r}, {lstm}" if len(made) > 1 else str(lstm))
        for option, (value, instead) in left.get(start, {}).items():
            output.note(f"  that layer has {option}={value}: {instead}")
    if found_error:
        output.note(found_error)


def _error(path: Path, small: dict[str, Any], exact: dict[str, Any]) -> str:
    """Return a line on how far a quantized module is from the one that it was made of, on an input."""
    if len(exact) > 1:
        raise InputError(f"--check runs one LSTM, and there are {listed(list(exact))}: choose one with --node")
    (one,), (other,) = small.values(), exact.values()
    x = _read_array(path, "input")
    if x.dtype.newbyteorder("=") != other.dtype:
        raise InputError(f"input is {x.dtype}, the weights are {other.dtype}: save it with astype('{other.dtype}')")
    if not x.size or not np.isfinite(x).all():
        state = "has numbers that are not finite" if x.size else "is empty"
        raise InputError(f"input {path} {state}, and tells nothing of the error")
    for each in (one, other):
        prepare_kernels(each.dtype, weights=each.form)
    with notice_compiling():
        wide = other(x)[0].astype(np.float64)  # the output, or a cell's next h
        error = one(x)[0] - wide
    size = f"rms {_rms(error):.3g}, max {np.abs(error).max():.3g}; outputs: rms {_rms(wide):.3g}"
    read_as = ""
    if x.ndim == 3:  # which layout it has, only the file of weights can say
        rows, steps = (0, 1) if other.batch_first else (1, 0)
        read_as = f"; {x.shape[rows]:,} sequences of {x.shape[steps]:,} steps"
    return f"error of {one.form} against {other.form}: {size}{read_as}"


def _rms(array: np.ndarray) -> float:
    return float(np.sqrt(np.mean(array**2)))
