"""Where public names say they are from, and where they said so before.

Users never see in which file something is written: `LSTM` is ``numba_lstm.LSTM`` in documentation, in messages, and in
pickles, which would otherwise stop loading whenever a module moves.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

FORMER = {
    "numba_lstm": {
        "arrays": "MaskedArrayError",
        "entries": "warmup",
        "kernel_cache": "CacheWarning",
        "module": "IncompatibleKeys Module",
        "packed_sequence": "PackedSequence pack_padded_sequence pack_sequence pad_packed_sequence pad_sequence "
        "unpack_sequence unpad_sequence",
        "parameters": "Architecture Parameter",
        "sliding_window": "SlidingWindow",
        "stream": "Stream",
        "threads": "get_num_threads set_num_threads",
    },
    "numba_lstm.io": {"io._contents": "Contents Declared", "io._writing": "write_whole"},
    "numba_lstm.io.onnx": {
        "cell_rule": "Activation",
        "io.onnx.operation": "Operation",
        "io.onnx.sizes": "Size",
        "io.onnx.values": "Deferred",
    },
    "numba_lstm.io.torch": {
        "io._torch_modules": "AcceleratedLSTM AcceleratedLSTMCell _blank",
        "io._torch_recurrent": "Recurrent",
    },
}
"""Modules that were in the package before it had wings, with what they held that is public or in pickles, by where
that is now.

Pickles made then name them, so that unpickling finds them here; nothing else should.
"""


def publish(namespace: dict[str, Any], *met: Any, later: Iterable[str] = ()) -> None:
    """Have the classes and functions that a module makes public say that they are from there, and ``dir`` show them.

    What else is in the module, as what it imports, ``dir`` does not show.

    Parameters
    ----------
    namespace : dict
        ``globals()`` of the module.
    met : class or function
        Others than those of its ``__all__``, which users meet without making them.  The module has them by name too,
        as pickles need it.
    later : iterable of str
        Public modules that the module imports when they are first asked for.

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
    special = (name for name in namespace if name.startswith("__") and name.endswith("__"))
    shown = sorted({*namespace["__all__"], *(each.__name__ for each in met), *later, *special})
    namespace["__dir__"] = lambda: list(shown)


class _Former(ModuleType):
    """A module that is no more.  What it held is looked up, and imported, when somebody asks for it."""

    def __init__(self, name: str, now: str, held: str) -> None:
        super().__init__(name, f"Only for pickles that name it: what it held is in {now}.")
        self.__spec__ = ModuleSpec(name, None)
        self._now, self._held = now, held.split()

    def __getattr__(self, name: str) -> Any:
        if name in self._held:  # all else is asked for by who looks through sys.modules, as pickle does
            try:
                return getattr(import_module(self._now), name)
            except ImportError as error:
                raise AttributeError(f"{self.__name__}.{name} is in {self._now}: {error}") from error
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


def find_former(package: str) -> None:
    """Let imports find the modules of `FORMER`, of which no file is left."""
    for now, modules in FORMER.items():
        for name, held in modules.items():
            sys.modules[f"{package}.{name}"] = _Former(f"{package}.{name}", now, held)
