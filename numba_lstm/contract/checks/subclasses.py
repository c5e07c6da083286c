"""What a call of a module does in subclasses, which may override ``forward`` or ``__call__``."""

from __future__ import annotations

import inspect
from itertools import takewhile
from typing import Any


def own_call(cls: type) -> Any:
    """Return what is to be the ``__call__`` of a subclass, or None if it has the right one.

    A front end's ``__call__`` is its ``forward``: another function in between would cost a call of one step 0.1 us.  So
    the first ``forward`` among a subclass and its other bases, as Python looks for it, is to be its ``__call__`` too.

    Raises
    ------
    TypeError
        If they have a ``__call__`` as well.  It may call that of the front end, which knows nothing of their forward.
    """
    before = list(takewhile(lambda base: "_FRONT_END" not in vars(base), cls.__mro__))
    forwards = [base.__name__ for base in before if "forward" in vars(base)]
    calls = [base.__name__ for base in before if vars(base).get("__call__", _forward(base)) is not _forward(base)]
    if forwards and calls:
        raise TypeError(
            f"{cls.__name__} has the forward of {forwards[0]} and the __call__ of {calls[0]}, and a subclass may have "
            "one of them: what super().__call__ calls would not be that forward"
        )
    return _forward(cls) if forwards else None


def _forward(cls: type) -> Any:
    """Return the function, or whatever else it is, not bound to anything."""
    return inspect.getattr_static(cls, "forward", None)
