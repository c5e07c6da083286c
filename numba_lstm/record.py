"""What `LSTM.save` writes beside the weights, because their names and shapes cannot tell it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

_RECORD = "numba_lstm"
"""The name under which `LSTM.save` records, beside the weights, what their shapes cannot tell."""


class Recorded:
    """The default of an argument of `LSTM.load`: what the file has recorded, else a value."""

    def __init__(self, otherwise: Any) -> None:
        self.otherwise = otherwise

    def __repr__(self) -> str:
        return repr(self.otherwise)


RECORDED_OR_FALSE, RECORDED_OR_ZERO = Recorded(False), Recorded(0.0)


def encode_record(batch_first: bool, dropout: float, dtype: np.dtype[Any]) -> dict[str, str]:
    """Return the metadata that a file of weights gets."""
    return {_RECORD: json.dumps({"batch_first": batch_first, "dropout": dropout, "dtype": dtype.name})}


def read_record(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return what `LSTM.save` has recorded, or nothing."""
    try:
        record = json.loads(metadata.get(_RECORD, "{}"))
    except ValueError:
        record = None
    if not isinstance(record, dict):
        raise ValueError(f"the record {_RECORD!r} in it is damaged: {metadata[_RECORD]!r}")
    return record


def common_dtype(arrays: Mapping[str, np.ndarray]) -> np.dtype[Any]:
    """Return float64 if one of the arrays is, else float32; arrays of floats only."""
    for name, array in arrays.items():
        if array.dtype.kind != "f":
            raise ValueError(f"{name} holds {array.dtype}, not floats: say with dtype= what to make of it")
    return np.result_type(np.float32, *(array.dtype for array in arrays.values())).newbyteorder("=")
