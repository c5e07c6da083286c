"""What stands for the objects of a pickle, of which none is made."""

from __future__ import annotations

from typing import Any, NamedTuple


class Global(NamedTuple):
    """The name of something to import, which is not done."""

    module: str
    name: str


class Pairs(list[Any]):
    """A dict: keys and values in turn."""

    __slots__ = ()


class Placeholder:
    """An object of a class that is not looked for."""

    __slots__ = ("arguments", "items", "kind", "pairs", "state")

    def __init__(self, kind: Any, arguments: Any) -> None:
        self.kind = kind
        self.arguments = arguments
        self.items: list[Any] = []
        self.pairs = Pairs()
        self.state: Any = None


def value_of(pairs: Any, key: str) -> Any:
    """Return a value of a dict, or None.

    Examples
    --------
    >>> value_of(Pairs(["a", 1, "b", 2, "a", 3]), "a")
    3
    """
    if isinstance(pairs, Pairs):
        for index in range(len(pairs) - 2, -1, -2):  # of equal keys the last one counts
            if type(pairs[index]) is str and pairs[index] == key:
                return pairs[index + 1]
    return None
