"""Packages that only some formats need."""

from __future__ import annotations

import importlib
from types import ModuleType


def need(package: str, extra: str, purpose: str) -> ModuleType:
    """Import a package, or raise ImportError with the command that installs it.

    Parameters
    ----------
    package : str
        What to import, such as ``"onnx"`` or ``"onnx.numpy_helper"``.
    extra : str
        The extra of numba-lstm that brings it.
    purpose : str
        What it is needed for: the message begins with it.

    Examples
    --------
    >>> need("a_package_of_no_one", "onnx", "reading ONNX files")
    Traceback (most recent call last):
        ...
    ModuleNotFoundError: reading ONNX files needs a_package_of_no_one: pip install 'numba-lstm[onnx]'
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        top = package.partition(".")[0]
        if error.name != top:  # it is there, and something that it needs is not
            raise
        text = f"{purpose} needs {top}: pip install 'numba-lstm[{extra}]'"
        raise ModuleNotFoundError(text, name=top) from None
