"""What is loaded from a file by name, and why the rest is not."""

from __future__ import annotations

from typing import TypeVar

from ..formats.printable import MOST_LISTED, listed, printable

T = TypeVar("T")


class Taken(dict[str, T]):
    """What of a file can be run, by name; asking for something else raises an error that says why.

    Attributes
    ----------
    obstacles : dict of str to str
        What stands in the way of the others that are recurrent, by name.
    """

    noun = "layer"

    def __init__(self, path: str) -> None:
        super().__init__()
        self.obstacles: dict[str, str] = {}
        self._path = path

    def __missing__(self, name: str) -> T:
        if name in self.obstacles:
            raise ValueError(f"{self._path}: {printable(f'{name} cannot be taken: {self.obstacles[name]}')}")
        found = whole_names([*self, *self.obstacles])
        raise KeyError(f"{self._path}: no recurrent {self.noun} {name!r}; found: {found}")

    def complain_if_empty(self) -> None:
        """Raise ValueError with all reasons if nothing can be taken."""
        if self:
            return
        reasons = [
            f"{whole_names([name for name, its in self.obstacles.items() if its == text])}: {text}"
            for text in [*dict.fromkeys(self.obstacles.values())][:MOST_LISTED]
        ]
        why = "; ".join(reasons) or "none is in it"
        raise ValueError(f"{self._path}: no LSTM {self.noun} that can be taken: {printable(why)}")


def whole_names(names: list[str]) -> str:
    """Return some names for a message, whole: one of them is to be given to load it."""
    return listed(names, longest=None)
