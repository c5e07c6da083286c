"""JSON of files, in which no name may be there twice."""

from __future__ import annotations

import json
from typing import Any


def parse(content: bytes) -> Any:
    """Return what a text says.

    Raises
    ------
    ValueError
        If it is damaged, or has a name twice, of which readers would see different ones.

    Examples
    --------
    >>> parse(b'{"a": [1]}')
    {'a': [1]}
    """
    try:
        return json.loads(content.decode("utf-8-sig"), object_pairs_hook=_mapping)
    except RecursionError:
        raise ValueError("lists in lists, too deep") from None


def _mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    for name, value in pairs:
        if name in mapping:
            raise ValueError(f"it has the name {name!r} twice")
        mapping[name] = value
    return mapping
