"""Where public names say they are from.

Users never see in which file something is written: `LSTM` is ``numba_lstm.LSTM`` in documentation, in messages, and in
pickles, which would otherwise stop loading whenever a module moves.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any


def publish(namespace: Mapping[str, Any], *met: Any) -> None:
    """Have the classes and functions that a module makes public say that they are from there.

    Parameters
    ----------
    namespace : dict
        ``globals()`` of the module.
    met : class or function
        Others than those of its ``__all__``, which users meet without making them.  The module has them by name too,
        as pickles need it.

    Notes
    -----
    The methods of a class follow it, and so do its bases in the same file.  A base in another file is one of ``met``:
    ``help`` shows bases, and from which a method is inherited.
    """
    module = namespace["__name__"]
    for each in filter(callable, (*map(namespace.get, namespace["__all__"]), *met)):
        home: str = each.__module__
        kinds = inspect.getmro(each) if inspect.isclass(each) else ()
        members = (getattr(member, "__func__", member) for kind in kinds for member in vars(kind).values())
        for part in (each, *kinds, *filter(inspect.isfunction, members)):
            if part.__module__ == home:
                part.__module__ = module
