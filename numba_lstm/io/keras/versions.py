"""What the version of the Keras that wrote a file means, and how a description of a model shows it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_BEFORE_3 = {"time_major", "implementation", "batch_input_shape"}
"""Options that Keras 2 writes of every LSTM layer or input, and Keras 3 of none."""


def shown_by(model: Mapping[str, Any]) -> str | None:
    """Return the version of Keras that a description shows: its number, or 3 by what is in it; None if in doubt."""
    version = known(model.get("keras_version"))
    if version is not None:
        return version
    # Keras 2.12 and later name modules too, in the archives whose metadata have the number.
    return "3" if "module" in model and not _has(model, _BEFORE_3) else None


def _has(model: Mapping[str, Any], options: set[str]) -> bool:
    """Return whether any part of a description has one of some options."""
    waiting: list[Any] = [model]
    while waiting:
        part = waiting.pop()
        if isinstance(part, Mapping):
            if not options.isdisjoint(part):
                return True
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part
    return False


def common(of_file: str | None, of_model: str | None) -> str | None:
    """Return the version of a file and a description of its model; None if it is not known, or they disagree on 3."""
    if of_file is not None and of_model is not None and is_old(of_file) != is_old(of_model):
        return None
    return of_file or of_model


def known(version: Any) -> str | None:
    """Return what a file has as a version if it is one: a text that has a number."""
    return version if isinstance(version, str) and numbers(version) else None


def is_old(version: str) -> bool:
    """Return whether a version of Keras is before 3.

    Examples
    --------
    >>> is_old("2.2.4-tf"), is_old("3.5.0")
    (True, False)
    """
    return numbers(version) < (3,)


def has(version: str, since: tuple[int, ...]) -> bool:
    """Return whether a version of Keras is at least the one in which something came.

    What came with Keras 2.4 is in TensorFlow's 2.3.0-tf already.

    Examples
    --------
    >>> has("2.3.1", (2, 4)), has("2.3.0-tf", (2, 4)), has("2.0.5", (2, 0, 6)), has("3.5.0", (2, 0, 6))
    (False, True, False, True)
    """
    if "tf" in version and since == (2, 4):
        since = (2, 3)
    return _all_numbers(version) >= since


def before_tensorflow(version: str | None) -> bool:
    """Return whether this is a Keras of several backends before 3: its Bidirectional leaves zero_output_for_mask."""
    return version is not None and "tf" not in version and numbers(version) < (2, 4)


def numbers(version: str) -> tuple[int, ...]:
    """Return the first two numbers of a version."""
    return _all_numbers(version)[:2]


def _all_numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d{1,6}", version))
