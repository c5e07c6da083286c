"""What a weight file holds, and what can be written into one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from . import bfloat16

_OURS = ("numba_lstm.io.torch.Accelerated", "numba_lstm.io._torch_modules.Accelerated")
"""How names of the classes begin with which `numba_lstm.io.torch.accelerate` replaces torch's; in files made before the
package had wings, the latter."""

_CLASSES = {
    cell: {f"torch.nn.modules.rnn.{name}", *(f"{ours}{name}" for ours in _OURS)}
    for cell, name in ((False, "LSTM"), (True, "LSTMCell"))
}
"""Classes that compute what ours do."""

_SIZES = ("input_size", "hidden_size", "num_layers", "bias", "bidirectional", "proj_size")

OPTIONS = {"batch_first": (bool,), "dropout": (int, float)} | dict.fromkeys(_SIZES, (bool, int))
"""Attributes of torch's modules, and their types."""


METADATA = "__metadata__"
"""The name of what is recorded beside the arrays, in safetensors and in npz files that are written here."""


class WholeModule(NamedTuple):
    """What a file says of a module, beside its parameters."""

    kind: str
    """Its class, with the module that the class is in."""
    options: Mapping[str, Any]
    """Options that the file has, some of `OPTIONS`."""

    @property
    def is_other_lstm(self) -> bool:
        """Whether its class calls itself an LSTM, and is not torch's."""
        return "LSTM" in self.kind.rpartition(".")[2] and not any(self.kind in known for known in _CLASSES.values())

    def complain_if_other(self, cell: bool) -> None:
        """Raise ValueError if it is no LSTM of torch's, or no cell.

        Examples
        --------
        >>> WholeModule("my.NormedLSTM", {}).complain_if_other(cell=False)
        Traceback (most recent call last):
            ...
        ValueError: it is a my.NormedLSTM, not torch.nn.LSTM, and may compute something else; if it does not, save \
its state_dict
        """
        if self.kind not in _CLASSES[cell]:
            expected = "LSTMCell" if cell else "LSTM"
            raise ValueError(
                f"it is a {self.kind}, not torch.nn.{expected}, and may compute something else; if it does not, save "
                "its state_dict"
            )

    def complain_of_sizes(self, sizes: Mapping[str, object]) -> None:
        """Raise ValueError if its attributes say something else than these, which its parameters tell."""
        for name in _SIZES:
            size = sizes[name]
            if self.options.get(name, size) != size:
                raise ValueError(f"the module has {name}={self.options[name]}, and parameters for {name}={size}")


class Declared(NamedTuple):
    """What a file says of an array."""

    shape: tuple[int, ...]
    dtype: str
    """In the words of the format, where NumPy has none."""


class Contents(NamedTuple):
    """What was read from a file."""

    arrays: dict[str, np.ndarray]
    """Arrays that were wanted, by name."""
    names: list[str]
    """Names of all arrays in the file."""
    metadata: dict[str, str]
    """What was recorded beside the arrays."""
    inner: Mapping[str, str] = {}
    """Names without what precedes them because the file has a state dict within dicts, by whole name."""
    modules: Mapping[str, WholeModule] = {}
    """Modules that lie whole in the file, by prefix."""
    beside: Mapping[str, Mapping[str, str]] = {}
    """What was recorded in the file in which an array is, by its name, if the arrays are in several files."""


def writable(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Return what is to be written as plain arrays, if nothing is lost and no name would be read back as another.

    Arrays in the bfloat16 of another library are of `bfloat16.DTYPE`.

    Raises
    ------
    TypeError
        If one is a masked array, also if nothing is masked at the moment; holds objects; or is no array at all.  If a
        name, or what else is recorded, is no text.
    ValueError
        If a name is that of what else is recorded, or cannot be encoded; if an array is of another type that NumPy
        lacks.

    Examples
    --------
    >>> writable({"weight": np.ma.masked_less([3, -1], 0)}, {})
    Traceback (most recent call last):
        ...
    TypeError: weight is a masked array, and which of its numbers count would be forgotten: call filled(value)
    """
    for key, text in metadata.items():
        if not isinstance(key, str) or not isinstance(text, str):
            raise TypeError(f"keys and values of metadata should be of type str, got: {key!r}: {text!r}")
    plain = {}
    for name, value in arrays.items():
        _complain_of_name(name)
        if isinstance(value, type) or not hasattr(value, "__array__"):
            raise TypeError(f"{name} should be a NumPy array, got: {type(value).__name__}")
        array = np.asanyarray(value)  # what another library makes of it may be masked as well
        if isinstance(array, np.ma.MaskedArray):
            raise TypeError(
                f"{name} is a masked array, and which of its numbers count would be forgotten: call filled(value)"
            )
        if array.dtype.hasobject:
            raise TypeError(f"{name} holds {array.dtype}: objects would have to be pickled, which is never done")
        array = np.asarray(array)
        if array.dtype.name == "bfloat16":
            array = array.astype(array.dtype.newbyteorder("="), copy=False).view("u2").astype("<u2", copy=False)
            array = array.view(bfloat16.DTYPE)
        if is_foreign(array.dtype):
            raise ValueError(f"{name} holds {array.dtype}, which NumPy lacks, so it could not be read: save float32")
        plain[name] = array
    return plain


def is_foreign(dtype: np.dtype[Any]) -> bool:
    """Return whether a type is that of another library, or has a part that is: files would only tell its size.

    Examples
    --------
    >>> is_foreign(np.dtype([("x", np.float32)]))
    False
    """
    if dtype.subdtype:
        return is_foreign(dtype.base)
    if dtype.names is not None:
        return any(is_foreign(dtype[name]) for name in dtype.names)
    return type(dtype) not in vars(np.dtypes).values()


def _complain_of_name(name: Any) -> None:
    """Raise an error if no array can have a name, whatever the format."""
    if not isinstance(name, str):
        raise TypeError(f"names of arrays should be of type str, got: {name!r}")
    if name == METADATA:
        raise ValueError(f"no array can have the name {name}: it is that of the metadata")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ValueError(f"no array can have the name {name!r}, which has half of a character") from None
