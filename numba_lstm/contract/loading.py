"""What a module takes of a state dict: the parameters that fit, or everything that is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from .checks.arrays import MaskedArrayError, as_array
from .parameter import Parameter, Shapes, cast
from .weight_form import SCALE, is_weight


class IncompatibleKeys(NamedTuple):
    """What `LSTM.load_state_dict` returns."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"IncompatibleKeys(missing_keys={self.missing_keys!r}, unexpected_keys={self.unexpected_keys!r})"


def take(
    state_dict: Mapping[str, Any], shapes: Shapes, dtype: np.dtype[Any], strict: bool, kind: str
) -> tuple[dict[str, Parameter], IncompatibleKeys]:
    """Return the parameters of some names and shapes, copied and cast, and the names that differ.

    Parameters
    ----------
    state_dict : mapping of str to array
        As `LSTM.load_state_dict` is given it.
    shapes : mapping of str to tuple of int
        Of all parameters of the module.
    dtype : float32 or float64
        The module's.
    strict : bool
        Whether names that differ are an error.
    kind : str
        What the error calls the module.

    Raises
    ------
    RuntimeError
        With all that is wrong, in torch's words.
    TypeError
        If there are masked arrays.

    Examples
    --------
    >>> import numpy as np
    >>> arrays, keys = take({"bias_ih": [1, 2, 3, 4]}, {"bias_ih": (4,)}, np.dtype(np.float32), True, "LSTMCell")
    >>> arrays["bias_ih"].dtype, keys
    (dtype('float32'), <All keys matched successfully>)
    """
    missing = [name for name in shapes if name not in state_dict]
    unexpected = [name for name in state_dict if name not in shapes]
    errors = []
    if strict and missing:
        errors.append(f"Missing key(s) in state_dict: {_quoted(missing)}. ")
    if strict and unexpected:
        errors.append(f"Unexpected key(s) in state_dict: {_quoted(unexpected)}. ")
    loaded: dict[str, Parameter] = {}
    for name, shape in shapes.items():
        if name not in state_dict:
            continue
        if name + SCALE in state_dict:
            errors.append(f"{name} is quantized, as {name + SCALE} tells: take the state dict of dequantize(). ")
            continue
        try:
            value = state_dict[name]
            array = cast(value, dtype)
        except MaskedArrayError as error:
            raise TypeError(f"{name} {error}") from None
        except Exception as error:  # reading a lazy mapping or another library's array may raise anything
            errors.append(f'While copying the parameter named "{name}", an exception occurred: {error}')
            continue
        if is_weight(name) and (words := _coded(value)):
            errors.append(f"{name} holds {words}: take the state dict of dequantize(). ")
        elif array.shape == shape:
            loaded[name] = array
        else:
            errors.append(
                f"size mismatch for {name}: copying a param with shape {array.shape} from checkpoint, "
                f"the shape in current model is {shape}."
            )
    if errors:
        lines = "\n\t".join(errors)
        raise RuntimeError(f"Error(s) in loading state_dict for {kind}:\n\t{lines}")
    return loaded, IncompatibleKeys(missing, unexpected)


def _coded(value: Any) -> str | None:
    """Return what an array holds if it is of 8 or 16 bits and no floats: that stands for numbers that are not in it.

    Torch would take it for numbers.
    """
    dtype = as_array(value).dtype if hasattr(value, "dtype") else None  # a list of integers stands for itself
    if dtype is None or dtype.kind not in "iu" or dtype.itemsize > 2:
        return None
    return f"{dtype}, as of quantized weights, which are nothing without their scales"


def _quoted(names: list[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
