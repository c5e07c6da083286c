"""Groups and arrays of a file, by their paths."""

from __future__ import annotations

from typing import Any

import numpy as np

from .attributes import attribute, attribute_name, dense_attributes
from .file_bytes import FileBytes, Unknown
from .groups import links
from .headers import ATTRIBUTE, ATTRIBUTE_INFO, LAYOUT, messages
from .values import array


class Node:
    """A group or an array of a file.

    Parameters
    ----------
    file : FileBytes
        Where it is.
    address : int
        Of its header.
    path : str
        What messages call it.
    """

    def __init__(self, file: FileBytes, address: int, path: str) -> None:
        self.address, self.path = address, path
        self._file = file
        self._messages = list(messages(file, address))
        self._children: dict[str, int | None] | None = None
        self._attribute_places: dict[str, int] | None = None
        self._nodes: dict[str, Node] = {}

    @property
    def is_array(self) -> bool:
        """Whether this is an array, not a group."""
        return any(kind == LAYOUT for kind, _ in self._messages)

    def names(self) -> list[str]:
        """Return the names of what is in a group."""
        return list(self._links())

    def find(self, path: str) -> Node | None:
        """Return what stands under a path such as ``a/b``, or None."""
        node = self
        for name in path.split("/"):
            found = node._nodes.get(name) or node._child(name)
            if found is None:
                return None
            node = found
        return node

    def _child(self, name: str) -> Node | None:
        links = self._links()
        if name not in links:
            return None
        address, place = links[name], f"{self.path}/{name}".lstrip("/")
        if address is None:
            raise Unknown(f"{place} is a link to another place, which is not followed")
        node = self._nodes[name] = Node(self._file, address, place)
        return node

    def _links(self) -> dict[str, int | None]:
        if self._children is None:
            self._children = dict(links(self._file, self._messages)) if not self.is_array else {}
        return self._children

    def attributes(self) -> list[str]:
        """Return the names of the attributes."""
        return list(self._attributes())

    def attribute(self, name: str) -> Any:
        """Return an attribute, a text or a list of texts, or None if there is none of this name."""
        place = self._attributes().get(name)
        return None if place is None else attribute(self._file, place)

    def _attributes(self) -> dict[str, int]:
        """Return where the attributes are, by name."""
        if self._attribute_places is None:
            places: dict[str, int] = {}
            for kind, place in self._messages:
                if kind == ATTRIBUTE_INFO and dense_attributes(self._file, place):
                    raise Unknown(f"the attributes of {self.path or 'the file'} are stored in a way that is not read")
                if kind == ATTRIBUTE:
                    places.setdefault(attribute_name(self._file, place), place)
            self._attribute_places = places
        return self._attribute_places

    def array(self) -> np.ndarray:
        """Return the numbers, a view of the file; bfloat16 as its bits, two bytes each."""
        return array(self._file, self._messages, self.path)[0]

    @property
    def is_bfloat16(self) -> bool:
        """Whether the array holds bfloat16, which NumPy lacks."""
        return array(self._file, self._messages, self.path)[1] or self.attribute("dtype") == "bfloat16"

    def shape(self) -> tuple[int, ...]:
        """Return the shape of an array."""
        return self.array().shape
