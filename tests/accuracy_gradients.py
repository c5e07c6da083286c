"""Errors of gradients against the float64 oracle, ours over torch's: ``python tests/accuracy_gradients.py [--steps N]
[SHAPE ...]``.

Prints a line for every gradient of each of the shapes that training is timed with (``../shared/bench/train.py``) and of
some odd ones; ends with status 1 if a ratio of the root mean squares is above 1.1, but for `ONLY_SHOWN`.  ``--steps``
cuts sequences short; whole, it takes some minutes, most of them in the oracle.
"""

from __future__ import annotations

import argparse
import runpy
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from accuracy_vs_torch import LIMIT, check_names, torch_module
from support import gradient_oracle
from support.cases import Case, Shape, module, random_case
from support.gradient_cases import Given, named, random_given
from support.oracle import of_cell
from support.places import SHARED

TRAINING = SHARED / "bench" / "train.py"

ODD = {
    "h13_b1": Shape(5, 13, steps=100, rows=1),
    "h51_b7": Shape(31, 51, 2, bidirectional=True, steps=60, rows=7),
    "h100_b9": Shape(11, 100, steps=150, rows=9),
    "h33_p17": Shape(9, 33, 2, True, True, 17, 40, 9),
    "biasless": Shape(7, 40, 2, bias=False, steps=50, rows=32),
    "long": Shape(3, 20, steps=2000, rows=7),
}

ONLY_SHOWN = {"h33_p17"}
"""Projections, which oneDNN does not have: torch then adds the sums of single steps, which for few rows is as short as
chains can be, and is up to a seventh closer than ours, whose chains have 32 terms; with 16 it is a tenth."""

NUMBERS, MOST_SEEDS = 4000, 60
"""Of each gradient, about: small ones have several seeds, so that a ratio is no accident, but at most so many."""


def torch_gradients(
    case: Case,
    given: Given,
    lengths: Sequence[int] | None = None,
    masks: Sequence[np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    """Return the gradients that torch's autograd finds, by name, in the dtype of the case.

    With masks every layer is a module of its own, and its output is multiplied in between.
    """
    shape, rnn = case.shape, torch.nn.utils.rnn
    values = {
        name: torch.from_numpy(value.copy()).requires_grad_()
        for name, value in (("input", case.x), ("h_0", case.h_0), ("c_0", case.c_0))
    }
    parts = [(case, slice(None))] if masks is None else [_layer(case, k) for k in range(shape.num_layers)]
    source, states, layers = values["input"], [], []
    for number, (part, cells) in enumerate(parts):
        if number:
            source = source * torch.from_numpy(masks[number - 1].astype(case.x.dtype))
        layers.append(torch_module(part))
        ends = [shape.steps] * shape.rows if lengths is None else list(lengths)
        packed = rnn.pack_padded_sequence(source, ends, enforce_sorted=False)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "LSTM with projections is not supported with oneDNN")
            hx = values["h_0"][cells], values["c_0"][cells]
            output, state = layers[-1](source if lengths is None else packed, hx)
        source = output if lengths is None else rnn.pad_packed_sequence(output, total_length=shape.steps)[0]
        states.append(state)
    results = source, *(torch.cat(kind) for kind in zip(*states, strict=True))
    torch.autograd.backward(results, [torch.from_numpy(d) for d in given.flat])
    found = {name: value.grad.numpy() for name, value in values.items()}
    for number, layer in enumerate(layers):
        for name, value in layer.named_parameters():
            found[name if masks is None else name.replace("_l0", f"_l{number}")] = value.grad.numpy()
    return found


def _layer(case: Case, number: int) -> tuple[Case, slice]:
    """Return the case of one layer, and its place among the states."""
    shape = case.shape
    size = 1 + shape.bidirectional
    weights = {
        f"{name}_l0{suffix}": value
        for suffix in ("", "_reverse")[:size]
        for name, value in of_cell(case.state_dict, number, suffix).items()
    }
    width = shape.input_size if number == 0 else size * shape.output_size
    one = case._replace(shape=replace(shape, num_layers=1, input_size=width), state_dict=weights)
    return one, slice(number * size, (number + 1) * size)


def our_gradients(case: Case, given: Given) -> dict[str, np.ndarray]:
    """Return our own."""
    _, backward = module(case).vjp(case.x, case.hx)
    return named(backward(*given))


def squared_errors(case: Case, seed: int) -> dict[str, np.ndarray]:
    """Return for each gradient the sums of squared errors of ours and torch's, and how many numbers they are."""
    given = random_given(case, seed)
    run = gradient_oracle.forward(case.state_dict, case.x, *case.hx)
    ours, theirs = our_gradients(case, given), torch_gradients(case, given)
    return {
        name: np.array([*(np.square(found[name] - right).sum() for found in (ours, theirs)), right.size])
        for name, right in named(gradient_oracle.backward(run, *given.flat)).items()
    }


def on_shape(shape: Shape) -> dict[str, tuple[float, float]]:
    """Return the root mean square errors of ours and torch's for every gradient of a shape."""
    first = squared_errors(random_case(shape, 0), 0)
    seeds = min(MOST_SEEDS, 1 + NUMBERS // int(min(size for *_, size in first.values())))
    more = [squared_errors(random_case(shape, seed), seed) for seed in range(1, seeds)]
    found = {}
    for name in first:
        ours, theirs, size = sum((one[name] for one in more), first[name])
        found[name] = float(np.sqrt(ours / size)), float(np.sqrt(theirs / size))
    return found


def training_shapes() -> dict[str, Shape]:
    """Return the shapes that training is timed with, and odd ones."""
    table = runpy.run_path(str(TRAINING))["SHAPES"] if TRAINING.exists() else {}
    timed = {name: Shape(i, h, layers, True, bool(bi), p, t, b) for name, (i, h, layers, bi, p, t, b) in table.items()}
    return {**timed, **ODD}


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int)
    parser.add_argument("shapes", nargs="*")
    arguments = parser.parse_args()
    check_names(parser, arguments.shapes, training_shapes())
    print(f"root mean square errors of gradients against float64; torch {torch.__version__}")
    if not TRAINING.exists():
        print(f"no {TRAINING}: the shapes that are timed are left out")
    worst, failed = 0.0, False
    for shape_name, shape in training_shapes().items():
        if arguments.shapes and shape_name not in arguments.shapes:
            continue
        cut = replace(shape, steps=min(shape.steps, arguments.steps or shape.steps))
        for name, (ours, theirs) in on_shape(cut).items():
            if shape_name not in ONLY_SHOWN:
                worst = max(worst, ours / theirs)
                failed |= not ours / theirs <= LIMIT  # NaN is no success
            errors = f"ours {ours:.3e}  torch {theirs:.3e}  ratio {ours / theirs:.3f}"
            print(f"{shape_name:11s} {name:22s} {errors}", flush=True)
    print(f"worst ratio {worst:.3f}, allowed {LIMIT}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
