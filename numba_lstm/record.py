"""What `LSTM.save` writes beside the weights, because their names and shapes cannot tell it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

_RECORD = "numba_lstm"
"""The name under which `LSTM.save` records, beside the weights, what their shapes cannot tell."""

_MODULES = "modules"
"""Under which there is a record for each prefix, in a file of several."""


class Recorded:
    """The default of an argument of `LSTM.load`: what the file has recorded, else a value."""

    def __init__(self, otherwise: Any) -> None:
        self.otherwise = otherwise

    def __repr__(self) -> str:
        return repr(self.otherwise)


RECORDED_OR_FALSE, RECORDED_OR_ZERO = Recorded(False), Recorded(0.0)


def record(batch_first: bool, dropout: float, dtype: np.dtype[Any], left: Mapping[str, object]) -> dict[str, Any]:
    """Return what is recorded of a module; ``left`` is what it has left behind where it comes from."""
    recorded = {"batch_first": batch_first, "dropout": dropout, "dtype": dtype.name}
    return recorded | ({"left": dict(left)} if left else {})


def encode_records(records: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return the metadata that a file of modules gets, whose records are given by prefix.

    That of a module alone in its file counts under any prefix, so that its parameters may be renamed.
    """
    alone = records.get("") if len(records) == 1 else None
    return {_RECORD: json.dumps({_MODULES: records} if alone is None else alone)}


def read_record(metadata: Mapping[str, str], prefix: str) -> dict[str, Any]:
    """Return what was recorded of the module under a prefix, or nothing."""
    try:
        whole = json.loads(metadata.get(_RECORD, "{}"))
        found = whole[_MODULES].get(prefix, {}) if _MODULES in whole else whole
    except (ValueError, TypeError, AttributeError):
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"the record {_RECORD!r} in it is damaged: {metadata[_RECORD]!r}")
    return found


def common_dtype(arrays: Mapping[str, np.ndarray]) -> np.dtype[Any]:
    """Return float64 if one of the arrays is, else float32; arrays of floats only."""
    for name, array in arrays.items():
        if array.dtype.kind != "f":
            raise ValueError(f"{name} holds {array.dtype}, not floats: say what they become, with dtype= (--dtype)")
    return np.result_type(np.float32, *(array.dtype for array in arrays.values())).newbyteorder("=")
