"""The arguments of constructors."""

from __future__ import annotations

import numbers
import sys
import warnings
from typing import Any, NamedTuple

import numpy as np

from ..architecture import GATES, MOST_LAYERS, Architecture

_LONGEST_NUMBER = 8
"""Bytes of a parameter's number, at most."""


def boolean(name: str, value: Any) -> bool:
    """Return a bool, or raise TypeError."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} should be of type bool, got: {type(value).__name__}")
    return value


def integer(name: str, value: Any) -> int:
    """Return an int, or raise TypeError."""
    if not isinstance(value, int):
        raise TypeError(f"{name} should be of type int, got: {type(value).__name__}")
    return int(value)


def probability(value: Any) -> float:
    """Return ``dropout`` as a float, or raise ValueError (TypeError for what is nothing like a number)."""
    words = "dropout should be a number in range [0, 1] representing the probability of an element being zeroed"
    try:
        result = float(value)
    except TypeError:
        raise TypeError(f"{words}, got: {type(value).__name__}") from None
    except (ValueError, OverflowError):
        raise ValueError(words) from None
    if not isinstance(value, numbers.Number) or isinstance(value, bool) or not 0 <= result <= 1:
        raise ValueError(words)
    return result


def generator(seed: Any) -> np.random.Generator:
    """Return a generator of random numbers, or raise an error that names ``seed``."""
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        raise type(error)(f"seed should be what numpy.random.default_rng takes, got: {seed!r} ({error})") from None


class Options(NamedTuple):
    """The arguments of a constructor, checked."""

    architecture: Architecture
    batch_first: bool
    dropout: float


def options(
    input_size: Any,
    hidden_size: Any,
    num_layers: Any,
    bias: Any,
    batch_first: Any,
    dropout: Any,
    bidirectional: Any,
    proj_size: Any,
) -> Options:
    """Check what ``torch.nn.LSTM`` takes.

    Raises
    ------
    TypeError, ValueError
        Of torch's type and in torch's words; also where torch takes, or trips over, what is of the wrong type.

    Warns
    -----
    UserWarning
        About dropout in a single layer, which does nothing.
    """
    rate = probability(dropout)
    if rate > 0 and num_layers == 1:
        warnings.warn(
            "dropout option adds dropout after all but last recurrent layer, so non-zero dropout expects "
            f"num_layers greater than 1, but got dropout={dropout} and num_layers={num_layers}",
            stacklevel=3,  # whoever makes the module
        )
    boolean("bias", bias)
    boolean("batch_first", batch_first)
    boolean("bidirectional", bidirectional)
    for name, value in (("input_size", input_size), ("hidden_size", hidden_size), ("num_layers", num_layers)):
        if integer(name, value) <= 0:
            raise ValueError(f"{name} must be greater than zero")
    if integer("proj_size", proj_size) < 0:
        raise ValueError("proj_size should be a positive integer or zero to disable projections")
    if proj_size >= hidden_size:
        raise ValueError("proj_size has to be smaller than hidden_size")
    sizes = Architecture(int(input_size), int(hidden_size), int(num_layers), bias, bidirectional, int(proj_size))
    _complain_of_sizes(sizes)
    return Options(sizes, batch_first, rate)


def _complain_of_sizes(sizes: Architecture) -> None:
    """Raise ValueError if parameters cannot be named or lie in memory, before anybody goes through so many layers."""
    not_too_long("input_size", sizes.input_size)
    not_too_long("hidden_size", sizes.hidden_size)
    if sizes.num_layers > MOST_LAYERS:
        raise ValueError(f"num_layers must be at most {MOST_LAYERS}")

    def numbers_in(layer: int) -> int:
        width = sizes.layer_input_size(layer) + sizes.output_size
        return sizes.num_directions * (GATES * sizes.hidden_size * width + sizes.proj_size * sizes.hidden_size)

    if numbers_in(0) + (sizes.num_layers - 1) * numbers_in(1) > sys.maxsize // _LONGEST_NUMBER:
        raise ValueError(
            f"input_size={sizes.input_size}, hidden_size={sizes.hidden_size} and num_layers={sizes.num_layers} make "
            "more parameters than memory has addresses"
        )


def not_too_long(name: str, value: int) -> None:
    """Raise ValueError for a size that no array can have."""
    if value > sys.maxsize:  # which may be too long to be printed as well
        raise ValueError(f"{name} must be at most {sys.maxsize}, which is all that an array can have")
