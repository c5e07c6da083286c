"""What `LSTM.save` writes beside the weights, because their names and shapes cannot tell it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ...formats.contents import Contents
from ..weight_form import check_form

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


def record(
    batch_first: bool, dropout: float, dtype: np.dtype[Any], form: str | None, left: Mapping[str, object]
) -> dict[str, Any]:
    """Return what is recorded of a module.

    ``form`` is the one in which its weights are kept, if that is not the dtype, and ``left`` what it has left behind
    where it comes from.
    """
    recorded = {"batch_first": batch_first, "dropout": dropout, "dtype": dtype.name}
    return recorded | ({"form": form} if form else {}) | ({"left": dict(left)} if left else {})


def encode_records(records: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return the metadata that a file of modules gets, whose records are given by prefix.

    That of a module alone in its file counts under any prefix, so that its parameters may be renamed.
    """
    alone = records.get("") if len(records) == 1 else None
    return {_RECORD: json.dumps({_MODULES: records} if alone is None else alone)}


class Records:
    """What is recorded of the modules in what was read.

    Parameters
    ----------
    contents : Contents
        Of a file, or of several.
    """

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._parsed: dict[str, Any] = {}

    def of(self, prefix: str, names: Iterable[str]) -> dict[str, Any]:
        """Return what is recorded of the module under a prefix, or nothing; ``names`` are those of its arrays.

        Raises
        ------
        ValueError
            If the record is damaged, or the arrays are in several files that do not say the same.
        """
        beside, otherwise = self._contents.beside, self._contents.metadata
        texts = {beside.get(name, otherwise).get(_RECORD) for name in names}
        if len(texts) > 1:
            raise ValueError(f"what is under prefix {prefix!r} lies in files whose records {_RECORD!r} differ")
        text = texts.pop() if texts else None
        if text is None:
            return {}
        if text not in self._parsed:  # once, however many modules there are
            try:
                self._parsed[text] = json.loads(text)
            except (ValueError, RecursionError):
                self._parsed[text] = None
        found = self._parsed[text]
        if isinstance(found, dict) and _MODULES in found:
            modules = found[_MODULES]
            found = modules.get(prefix, {}) if isinstance(modules, dict) else None
        if not isinstance(found, dict):
            raise ValueError(f"the record {_RECORD!r} in it is damaged: {text[:200]!r}")
        return found


def recorded_form(recorded: Mapping[str, Any]) -> str | None:
    """Return the form in which weights are, by a record; None if it tells of none.

    Raises
    ------
    ValueError
        If the form is none that is known, or the record contradicts itself.

    Examples
    --------
    >>> recorded_form({"dtype": "float32", "form": "int8"}), recorded_form({"dtype": "float64"})
    ('int8', None)
    """
    form: str | None = recorded.get("form")
    if form is not None:
        check_form(form)
        if recorded.get("dtype", "float32") != "float32":
            raise ValueError(f"its record has dtype {recorded['dtype']!r}, and weights in {form} belong to float32")
    return form


_INSTEAD = "save them as float32"
_INTEGERS = f"integers, as of quantized weights, whose scales are elsewhere: dequantize them, and {_INSTEAD}"

_NOT_FLOATS = {
    "b": "truth values",
    "i": _INTEGERS,
    "u": _INTEGERS,
    "c": "complex numbers, with which an LSTM does not compute",
    "V": f"numbers that NumPy cannot name, such as bfloat16 of ml_dtypes and JAX: {_INSTEAD}, with "
    "array.astype('float32') where they were made, or array.view(ml_dtypes.bfloat16).astype('float32')",
}
"""What is wrong with an array of a kind."""


def not_floats(dtype: str) -> str | None:
    """Return what is wrong with weights of a dtype, as NumPy or a format calls it; None if they are floats.

    Examples
    --------
    >>> not_floats("float16"), not_floats("bfloat16"), not_floats(">f8")
    (None, None, None)
    >>> not_floats("complex64")
    'complex64, complex numbers, with which an LSTM does not compute'
    >>> not_floats("F8_E4M3")
    'F8_E4M3, which is not computed with: save them as float32'
    """
    if dtype == "bfloat16":
        return None
    if dtype.startswith(("[", "{")):
        return f"{dtype}, records"
    try:
        kind = np.dtype(dtype).kind
    except (TypeError, ValueError, SyntaxError):  # in the words of a format
        return f"{dtype}, which is not computed with: {_INSTEAD}"
    return None if kind == "f" else f"{dtype}, {_NOT_FLOATS.get(kind, 'no numbers')}"


def check_floats(dtypes: Mapping[str, Any]) -> None:
    """Raise ValueError if weights are no floats: integers would be wrong numbers without the scale they had.

    Parameters
    ----------
    dtypes : mapping of str to dtype
        By the names of the weights, in the words of NumPy or a format.
    """
    for name, dtype in dtypes.items():
        problem = not_floats(str(dtype))
        if problem is not None:
            raise ValueError(f"{name} holds {problem}")


def common_dtype(arrays: Mapping[str, np.ndarray]) -> np.dtype[Any]:
    """Return float64 if one of the arrays is, else float32; arrays of floats only."""
    for name, array in arrays.items():
        if array.dtype.itemsize > 8:
            raise ValueError(f"{name} holds {array.dtype}: say with dtype 'float64' that it is to be rounded")
    return np.result_type(np.float32, *(array.dtype for array in arrays.values())).newbyteorder("=")
