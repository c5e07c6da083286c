"""What the version of the Keras that wrote a file means, and how a description of a model shows it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any


def shown_by(model: Mapping[str, Any]) -> str | None:
    """Return the version of Keras that a description shows: 3 names modules, 2 its number."""
    version = model.get("keras_version")
    return version if isinstance(version, str) else "3" if "module" in model else None


def is_old(version: str) -> bool:
    """Return whether a version of Keras is before 3.

    Examples
    --------
    >>> is_old("2.2.4-tf"), is_old("3.5.0")
    (True, False)
    """
    return numbers(version) < (3,)


def before_tensorflow(version: str | None) -> bool:
    """Return whether this is a Keras of several backends before 3: its Bidirectional leaves zero_output_for_mask."""
    return version is not None and "tf" not in version and numbers(version) < (2, 4)


def numbers(version: str) -> tuple[int, ...]:
    """Return the first two numbers of a version."""
    return tuple(int(number) for number in re.findall(r"\d{1,6}", version)[:2])
