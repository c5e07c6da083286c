"""What the program of a TorchScript file tells of its modules.  It is text, which is searched and never run."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Any

from ..contents import OPTIONS, WholeModule
from ..zip_archive import Archive
from . import own_calls
from .pickled_objects import Global

SCRIPTED = "__torch__"
"""The module that TorchScript puts before those of Python's classes."""

_MODULE = "torch.nn.modules.rnn"
"""The one whose classes have options."""
_LSTMS = ("LSTM", "LSTMCell")

_VALUE = r"(True|False|\d{1,18}|\d{1,18}\.\d{0,18}(?:e[+-]?\d{1,3})?)"
_CONSTANT = re.compile(rf"^  (\w+) : Final\[\w+\] = {_VALUE}$", re.MULTILINE)
_CLASS = re.compile(r"^class (\w+)\(Module\):\n", re.MULTILINE)
_CALL = re.compile(
    r"torch\.lstm\([^()\n]*, (?P<bias>True|False), (?P<num_layers>\d{1,9}), (?P<dropout>[\d.e+-]{1,30}), "
    r"(?:True|False|\w{1,30}), (?P<bidirectional>True|False), (?P<batch_first>True|False)\)"
)
"""The call that a traced module is; one for packed sequences has no ``batch_first``, and lacks the last argument."""


class Program:
    """The texts under ``code/`` of an archive; all that are looked at have so many bytes at most."""

    def __init__(self, archive: Archive, root: str, room: int) -> None:
        self._archive, self._root, self._room = archive, root, room
        self._texts: dict[str, str] = {}
        self._bodies: dict[str, dict[str, str]] = {}
        self._modules: dict[Global, WholeModule] = {}

    def module(self, kind: Global) -> WholeModule:
        """Return what the program knows of all modules of some class: of torch's, those of `OPTIONS`.

        Raises
        ------
        ValueError
            If it was inlined together with another, so that nobody knows which is which.
        """
        name = class_name(kind)
        if name != f"{_MODULE}.{kind.name}":
            return WholeModule(name, {})
        if kind not in self._modules:  # once, however many modules are of a class
            body = self._classes(f"{self._root}/code/{kind.module.replace('.', '/')}.py").get(kind.name, "")
            if kind.name in _LSTMS:
                name += own_calls.of_script(body, kind.name == "LSTMCell")
            if kind.name == "LSTM" and self._is_uncalled(body):
                name += " that its program does not call"  # so that nothing tells its options
            self._modules[kind] = WholeModule(name, self._options_of(kind, body))
        return self._modules[kind]

    def _is_uncalled(self, body: str) -> bool:
        return body != "" and not _has_methods(body) and not any("torch.lstm(" in text for text in self._around)

    def _options_of(self, kind: Global, body: str) -> dict[str, Any]:
        found = dict(_CONSTANT.findall(body))
        call = _CALL.search(body)
        if call:  # of modules that were traced, constants are only there
            found = call.groupdict() | found
        elif kind.name == "LSTM" and not _has_methods(body):
            found = self._inlined | found
        options = {name: _number(text) for name, text in found.items() if name in OPTIONS}
        return {name: option for name, option in options.items() if type(option) in OPTIONS[name]}

    def _classes(self, member: str) -> dict[str, str]:
        """Return the bodies of the modules in a text, by their names."""
        if member not in self._bodies:
            bodies = self._bodies[member] = {}
            _, *parts = _CLASS.split(self._text(member))
            for name, body in zip(parts[::2], parts[1::2], strict=True):
                bodies.setdefault(name, body.partition("\nclass ")[0])
        return self._bodies[member]

    @cached_property
    def _around(self) -> list[str]:
        """Return the texts of the program without those of torch's own LSTMs."""
        code = f"{self._root}/code/"
        own = f"{code}{SCRIPTED}/{_MODULE.replace('.', '/')}"
        programs = [name for name in self._archive.members if name.startswith(code) and not name.startswith(own)]
        return [self._text(name) for name in programs if name.endswith(".py")]

    @cached_property
    def _inlined(self) -> dict[str, str]:
        """Return the options that all calls outside of LSTMs' own texts have, where freezing leaves them."""
        calls = [call.groupdict() for text in self._around for call in _CALL.finditer(text)]
        options = [{name: call[name] for name in ("batch_first", "dropout")} for call in calls]
        if any(option != options[0] for option in options):
            raise ValueError(
                "TorchScript that was frozen, and its LSTMs differ in batch_first or dropout: save it from before "
                "torch.jit.freeze"
            )
        return options[0] if options else {}

    def _text(self, member: str) -> str:
        """Return the text of a member, or nothing."""
        if member in self._archive.members and member not in self._texts:
            content = self._archive.read(member, self._room)
            self._room -= len(content)
            self._texts[member] = content.decode()
        return self._texts.get(member, "")


def _has_methods(body: str) -> bool:
    return "  def " in body


def class_name(kind: Global) -> str:
    """Return the whole name of a class, without what TorchScript adds.

    Examples
    --------
    >>> class_name(Global("__torch__.torch.nn.modules.rnn.___torch_mangle_0", "LSTM"))
    'torch.nn.modules.rnn.LSTM'
    """
    parts = [part for part in (*kind.module.split("."), kind.name) if not part.startswith("___torch_mangle_")]
    return ".".join(parts[1:] if parts[0] == SCRIPTED else parts)


def _number(text: str) -> Any:
    if text in ("True", "False"):
        return text == "True"
    return float(text) if not text.isdigit() else int(text)
