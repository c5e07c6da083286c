"""Pickles, read without running any of them.

A pickle is a program for a machine with a stack.  The machine here makes numbers, texts and containers.  What a program
names to be imported is only a name, what it calls becomes a `Placeholder` that remembers what it was called with; the
caller says which few calls mean something.  Nothing is imported, nothing of the file is called.

Texts and numbers of the file are never hashed, so that none can be chosen to collide: a dict is a list of pairs.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from .pickled_objects import Global, Pairs, Placeholder

_OBJECT, _MEMO_ENTRY = 96, 160
"""Bytes that Python takes for an object of no length, and for an entry of a dict with its key; rounded up."""

_OPERATIONS, _OPERATIONS_SHARE = 1_000_000, 1 / 16
"""Operations that a pickle may have: a million takes most of a second.  And a share of the bytes of memory that it
may take, since those of large files have more to describe."""

_LONGEST_NUMBER, _LONGEST_DECIMAL = 1024, 100
"""Bytes of a binary number, and digits of another."""

_UINT2, _INT4, _UINT4, _UINT8 = (struct.Struct(code) for code in ("<H", "<i", "<I", "<Q"))
_FLOAT = struct.Struct(">d")


class Machine:
    """Reads one pickle.

    Parameters
    ----------
    content : bytes
        What is read, from ``position`` on.
    memory : int
        Bytes that all objects together may take, about.
    call : callable
        Takes a Global (or what else a pickle calls) and a tuple of arguments; returns what it stands for, or a
        `Placeholder`.
    refer : callable
        Takes what the pickle says of an object that is stored beside it; returns what stands for that.
    sought : type or tuple of types
        What the caller looks for: ``holders`` has the id of every container with one of those in it, or with another
        such container.
    """

    def __init__(
        self,
        content: bytes,
        memory: int,
        call: Callable[[Any, Any], Any],
        refer: Callable[[Any], Any],
        sought: type | tuple[type, ...],
        position: int = 0,
    ) -> None:
        self.position = position
        self.holders: set[int] = set()
        self._content = content
        self._room = memory
        self._operations = int(_OPERATIONS + _OPERATIONS_SHARE * memory)
        self._call, self._refer, self._sought = call, refer, sought
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: list[Any] = []  # of the numbers in turn, as all picklers give them
        self._sparse: dict[int, Any] = {}

    def run(self) -> Any:
        """Return what the pickle makes; ``position`` is behind it then.

        Raises
        ------
        ValueError
            If it is damaged, or takes more than it may, or needs what was not written by torch.
        """
        content, operations = self._content, _METHODS
        try:
            for _ in range(self._operations):
                code = content[self.position]
                self.position += 1
                if code == _STOP:
                    return self._stack.pop()
                operations[code](self)
                if self._room < 0:
                    raise ValueError("its pickle makes more objects than a file of this size should")
        except (IndexError, struct.error, UnicodeDecodeError, TypeError, AttributeError):
            raise ValueError(f"its pickle is damaged near byte {self.position:,}") from None
        except KeyError:
            raise ValueError(f"its pickle has an operation that torch's have not, byte {self.position - 1:,}") from None
        raise ValueError("its pickle is longer than that of a file of this size should be")

    # --- reading ----------------------------------------------------------------------------------------------

    def _take(self, length: int) -> bytes:
        end = self.position + length
        if length < 0 or end > len(self._content):
            raise IndexError
        taken = self._content[self.position : end]
        self.position = end
        return taken

    def _number(self, kind: struct.Struct) -> Any:
        (number,) = kind.unpack_from(self._content, self.position)
        self.position += kind.size
        return number

    def _skip(self, length: int) -> None:
        self._take(length)

    def _line(self) -> str:
        end = self._content.find(b"\n", self.position)
        line = self._take(end - self.position)
        self.position += 1
        return line.decode()

    def _text(self, length: int) -> None:
        self._push(self._take(length).decode("utf-8", "surrogatepass"), length)

    def _old_text(self, length: int) -> None:
        """Take what is a text in Python 2, and may have been meant as bytes: one that is no UTF-8 stays bytes."""
        taken = self._take(length)
        try:
            self._push(taken.decode(), length)
        except UnicodeDecodeError:
            self._push(taken, length)

    def _bytes(self, length: int) -> None:
        self._push(self._take(length), length)

    # --- the stack --------------------------------------------------------------------------------------------

    def _push(self, value: Any, size: int = 0) -> None:
        self._room -= _OBJECT + size
        self._stack.append(value)

    def _since_mark(self) -> list[Any]:
        start = self._marks.pop()
        items = self._stack[start:]
        del self._stack[start:]
        return items

    def _mark(self) -> None:
        self._room -= _OBJECT
        self._marks.append(len(self._stack))

    def _pop(self) -> None:
        self._stack.pop()

    def _pop_mark(self) -> None:
        self._since_mark()

    def _long(self, length: int) -> None:
        if length > _LONGEST_NUMBER:
            raise ValueError(f"its pickle has a number of {length:,} bytes")
        self._push(int.from_bytes(self._take(length), "little", signed=True), length)

    def _decimal(self, digits: str) -> None:
        if len(digits) > _LONGEST_DECIMAL:
            raise ValueError(f"its pickle has a number of {len(digits):,} digits")
        known = {"01": True, "00": False}
        self._push(known[digits] if digits in known else int(digits))

    # --- containers -------------------------------------------------------------------------------------------

    def _holds(self, container: Any, added: list[Any]) -> None:
        """Note whether what was added to a container is, or holds, what is sought."""
        if any(isinstance(value, self._sought) or id(value) in self.holders for value in added):
            self.holders.add(id(container))

    def _push_tuple(self, items: list[Any]) -> None:
        made = tuple(items)
        self._holds(made, items)
        self._push(made, 8 * len(items))

    def _short_tuple(self, count: int) -> None:
        if len(self._stack) < count:
            raise IndexError
        items = self._stack[-count:]
        del self._stack[-count:]
        self._push_tuple(items)

    def _extend(self, items: list[Any]) -> None:
        """Append to the list, the set or the placeholder on the stack."""
        target = self._stack[-1]
        place = target.items if isinstance(target, Placeholder) else target
        if type(place) is not list:
            raise TypeError
        place.extend(items)
        self._room -= 16 * len(items)
        self._holds(target, items)

    def _set_items(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if len(items) % 2:
            raise IndexError
        pairs = target.pairs if isinstance(target, Placeholder) else target
        if not isinstance(pairs, Pairs):
            raise TypeError
        pairs.extend(items)
        self._room -= 16 * len(items)
        self._holds(target, items[1::2])

    def _set_item(self) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._set_items([key, value])

    # --- objects ----------------------------------------------------------------------------------------------

    def _global(self) -> None:
        module = self._line()
        self._push(Global(module, self._line()), 256)

    def _stack_global(self) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise TypeError
        self._push(Global(module, name))

    def _reduce(self) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        made = self._call(function, arguments)
        self._holds(made, [arguments])
        self._push(made, 5 * _OBJECT)

    def _new_with_names(self) -> None:
        self._stack.pop()
        self._reduce()

    def _old_object(self) -> None:
        items = self._since_mark()
        self._stack += [items[0], tuple(items[1:])]
        self._reduce()

    def _build(self) -> None:
        state = self._stack.pop()
        target = self._stack[-1]
        if isinstance(target, Placeholder):
            target.state = state
            self._holds(target, [state])

    def _referred(self) -> None:
        self._push(self._refer(self._stack.pop()))

    # --- the memo ---------------------------------------------------------------------------------------------

    def _put(self, index: int) -> None:
        value = self._stack[-1]
        if index == len(self._memo):
            self._room -= 16
            self._memo.append(value)
        elif index < len(self._memo):
            self._memo[index] = value
        else:
            self._room -= _MEMO_ENTRY
            self._sparse[index] = value

    def _get(self, index: int) -> None:
        known = self._memo
        value = known[index] if index < len(known) else self._sparse.get(index, known)
        if value is known:
            raise IndexError
        self._push(value)


_STOP = ord(".")

_METHODS: dict[int, Callable[[Machine], None]] = {
    code[0]: method
    for code, method in {
        b"\x80": lambda m: m._skip(1),  # the protocol
        b"\x95": lambda m: m._skip(8),  # the length of a frame
        b"(": Machine._mark,
        b"0": Machine._pop,
        b"1": Machine._pop_mark,
        b"2": lambda m: m._push(m._stack[-1]),
        b"N": lambda m: m._push(None),
        b"\x88": lambda m: m._push(True),
        b"\x89": lambda m: m._push(False),
        b"I": lambda m: m._decimal(m._line()),  # protocol 1, and large ones of Python 2
        b"L": lambda m: m._decimal(m._line().removesuffix("L")),
        b"J": lambda m: m._push(m._number(_INT4)),
        b"K": lambda m: m._push(m._take(1)[0]),
        b"M": lambda m: m._push(m._number(_UINT2)),
        b"\x8a": lambda m: m._long(m._take(1)[0]),
        b"\x8b": lambda m: m._long(m._number(_INT4)),
        b"G": lambda m: m._push(m._number(_FLOAT)),
        b"X": lambda m: m._text(m._number(_UINT4)),
        b"\x8c": lambda m: m._text(m._take(1)[0]),
        b"\x8d": lambda m: m._text(m._number(_UINT8)),
        b"T": lambda m: m._old_text(m._number(_INT4)),
        b"U": lambda m: m._old_text(m._take(1)[0]),
        b"B": lambda m: m._bytes(m._number(_UINT4)),
        b"C": lambda m: m._bytes(m._take(1)[0]),
        b"\x8e": lambda m: m._bytes(m._number(_UINT8)),
        b"\x96": lambda m: m._bytes(m._number(_UINT8)),
        b"]": lambda m: m._push([]),
        b"\x8f": lambda m: m._push([]),  # a set
        b"\x91": lambda m: m._push_tuple(m._since_mark()),  # a frozenset
        b"a": lambda m: m._extend([m._stack.pop()]),
        b"e": lambda m: m._extend(m._since_mark()),
        b"\x90": lambda m: m._extend(m._since_mark()),
        b")": lambda m: m._push(()),
        b"\x85": lambda m: m._short_tuple(1),
        b"\x86": lambda m: m._short_tuple(2),
        b"\x87": lambda m: m._short_tuple(3),
        b"t": lambda m: m._push_tuple(m._since_mark()),
        b"}": lambda m: m._push(Pairs()),
        b"s": Machine._set_item,
        b"u": lambda m: m._set_items(m._since_mark()),
        b"c": Machine._global,
        b"\x93": Machine._stack_global,
        b"R": Machine._reduce,
        b"\x81": Machine._reduce,  # a new object of a class
        b"\x92": Machine._new_with_names,
        b"o": Machine._old_object,
        b"b": Machine._build,
        b"Q": Machine._referred,
        b"q": lambda m: m._put(m._take(1)[0]),
        b"r": lambda m: m._put(m._number(_UINT4)),
        b"\x94": lambda m: m._put(len(m._memo) + len(m._sparse)),
        b"h": lambda m: m._get(m._take(1)[0]),
        b"j": lambda m: m._get(m._number(_UINT4)),
    }.items()
}
"""What to do for every operation of the binary protocols, 1 to 5, except for extension registers and buffers that are
kept elsewhere.  Protocol 0 cannot refer to storages, so that torch's own pickler refuses it."""
