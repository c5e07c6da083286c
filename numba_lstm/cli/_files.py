"""The commands that read files of weights: ``run`` and ``info``."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np

import numba_lstm

from .. import io
from ..parameters import infer, prefixes
from ._console import InputError, check_target, prepare_kernels, set_threads


def run(options: argparse.Namespace) -> None:
    """Apply weights to an input."""
    check_target(options.output)
    set_threads(options.threads)
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
    prepare_kernels(dtype)
    output, (h_n, c_n) = lstm(x, states)
    io.write_whole(options.output, lambda file: np.savez(file, output=output, h_n=h_n, c_n=c_n))
    print(f"{options.output}: output {output.shape}, h_n {h_n.shape}, c_n {c_n.shape}, {dtype}")


def info(options: argparse.Namespace) -> None:
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
